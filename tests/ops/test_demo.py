"""The demo leaves nothing behind, however it ends. That it shows what it should, it asserts itself; CI runs it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc"),
]


class Run:
    """The demo in a folder for temporary files that is its own, with its output read up to a text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "ops" / "demo.py"],
            env=os.environ | {"TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.printed = b""

    def read_until(self, text: bytes) -> None:
        assert self.process.stdout is not None
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.printed:
            ready, _, _ = select.select([self.process.stdout], [], [], deadline - time.monotonic())
            piece = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert piece, self.printed.decode()
            self.printed += piece

    def end(self) -> int:
        """Its exit status; the rest of the output is in `printed`."""
        self.printed += self.process.communicate(timeout=DEADLINE_S)[0]
        return self.process.returncode

    def processes(self) -> dict[int, str]:
        """What runs in its folder, by command line: the service and the PostgreSQL below it."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                folder = os.readlink(entry / "cwd")
            except OSError:
                continue
            if entry.name.isdigit() and int(entry.name) != self.process.pid and str(self.folder) in line + folder:
                found[int(entry.name)] = line
        return found

    def assert_nothing_left(self) -> None:
        assert self.processes() == {}
        assert list(self.folder.iterdir()) == []


@pytest.fixture
def demo() -> Iterator[Run]:
    # Not in pytest's folder: as root, PostgreSQL runs as another user, who may not enter that.
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        try:
            yield run
        finally:
            run.process.kill()
            run.process.wait()
            for pid in run.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert run.process.stdout is not None
            run.process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(demo: Run, number: signal.Signals) -> None:
    """Ctrl-C and TERM while commands run: exit status 128 + n, no process, no file."""
    demo.read_until(b"badge-ledger issue badges/")
    assert any("postgres" in line for line in demo.processes().values())
    demo.process.send_signal(number)
    assert demo.end() == 128 + number
    assert b"interrupted" in demo.printed
    demo.assert_nothing_left()


def test_interrupted_while_the_service_starts_it_leaves_nothing_behind(demo: Run) -> None:
    """The hardest moment: PostgreSQL is on its way up and nobody knows of it yet."""
    deadline = time.monotonic() + DEADLINE_S
    while not any("postgres" in line for line in demo.processes().values()):
        assert time.monotonic() < deadline
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 130
    assert b"keygen" not in demo.printed
    demo.assert_nothing_left()


def test_a_service_that_dies_fails_the_demo_and_leaves_nothing_behind(demo: Run) -> None:
    """kill -9 of the service: the demo says so, and its PostgreSQL ends too."""
    demo.read_until(b"badge-ledger keygen")
    (service,) = [pid for pid, line in demo.processes().items() if "badge-ledger serve" in line]
    os.kill(service, signal.SIGKILL)
    assert demo.end() == 1
    assert b"failed" in demo.printed
    demo.assert_nothing_left()


def test_a_closed_pipe_ends_the_demo_quietly(demo: Run) -> None:
    """`ops/demo | head`: no traceback, nothing left."""
    demo.read_until(b"badge-ledger serve")
    assert demo.process.stdout is not None
    demo.process.stdout.close()
    assert demo.process.wait(DEADLINE_S) == 1
    demo.assert_nothing_left()
