"""`badge-ledger audit --follow` as operators run it: a process, its port, its signals, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.note import format_vkey
from tests.auditor.liar import Liar, signer
from tests.builders import LogBuilder, demo_log
from tests.interop.programs import free_port

pytestmark = pytest.mark.slow

COMMAND = Path(sys.executable).with_name("badge-ledger")


class Daemon:
    """The process in a folder with the log `log`, and its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        policy = "".join(f"log {format_vkey(key)}\n" for key in signer().verifier_keys) + "quorum none\n"
        (folder / "trust.policy").write_text(policy)
        arguments = ["audit", "log", "--policy", "trust.policy", "--follow", "--interval", "1s", "--json"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BADGE_LEDGER_")}
        self.process = subprocess.Popen(
            [COMMAND, *arguments, "--listen", f"127.0.0.1:{self.port}", "--evidence", "proof", "--no-fetch-documents"],
            cwd=folder,
            env=environment | {"XDG_CONFIG_HOME": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; 0 while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_for_size(self, size: int) -> None:
        """Until /healthz says that so many leaves passed."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            status, body = self.get("/healthz")
            if status == 200 and json.loads(body)["tree_size"] == size:
                return
            time.sleep(0.05)
        pytest.fail(f"no audit of {size} leaves: {self.get('/healthz')}")


@pytest.fixture
def log(tmp_path: Path) -> LogBuilder:
    log = demo_log()
    Liar(log).publish(tmp_path / "log")
    return log


@pytest.fixture
def daemon(tmp_path: Path, log: LogBuilder) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    daemon.process.kill()
    daemon.process.communicate()


def test_it_follows_and_stops(daemon: Daemon, log: LogBuilder) -> None:
    """New heads pass by themselves; SIGTERM ends it with status 0, and each head was printed once."""
    daemon.wait_for_size(log.size)
    first = log.size
    log.issue(log.issuers[1], [log.issuers[1].slot(9)])
    log.seal()
    Liar(log).publish(daemon.folder / "log")
    daemon.wait_for_size(log.size)
    assert f"badge_ledger_audit_tree_size {log.size}.0" in daemon.get("/metrics")[1]
    daemon.process.send_signal(signal.SIGTERM)
    out, _ = daemon.process.communicate(timeout=20)
    assert daemon.process.returncode == 0
    assert [json.loads(line)["size"] for line in out.splitlines()] == [first, log.size]


def test_a_conviction_ends_it(daemon: Daemon, log: LogBuilder) -> None:
    """Exit status 1, and the file that proves it in the folder that was named."""
    daemon.wait_for_size(log.size)
    liar = Liar(log)
    liar.seal(root=bytes(32))
    liar.publish(daemon.folder / "log")
    _, err = daemon.process.communicate(timeout=20)
    assert daemon.process.returncode == 1
    assert b"audit.convicted" in err
    assert [file.suffix for file in (daemon.folder / "proof").iterdir()] == [".evidence"]
