"""Files that commands read: regular ones only, however they were named, and none longer than its limit."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ledger.cli.files import open_file, read_bounded
from ledger.errors import InputError, TooLarge
from tests.cli.conftest import Cli
from tests.fakes import FakeLedger

#: Commands with a place for a file that others may have made.
READERS = [
    ["inspect", "ODD.json"],
    ["inspect", "a.json", "--pin", "did:x=ODD.json"],
    ["verify", "ODD.json", "--policy", "trust.policy"],
    ["verify", "a.json", "--receipt", "ODD.json", "--policy", "trust.policy"],
    ["verify", "a.json", "--policy", "ODD.json"],
    ["verify-list", "ODD.json", "--policy", "trust.policy"],
    ["bake", "a.json", "ODD.json"],
    ["sign", "ODD.json", "--key", "ODD.json"],
    ["issue", "ODD.csv", "--key", "acme.key", "--out", "out"],
    ["issue", "ODD.ndjson", "--key", "acme.key", "--out", "out"],
    ["issue", "ODD.zip", "--key", "acme.key", "--out", "out"],
    ["issuer", "keys", "--key", "acme.key", "--add", "ODD.json"],
    ["log", "--config", "ODD.json"],
]


@pytest.mark.parametrize("kind", ["pipe", "zero", "folder"])
@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_no_pipe_is_waited_for_and_no_device_read(
    cli: Cli, ledger: FakeLedger, key: Path, arguments: list[str], kind: str
) -> None:
    """One sentence at once. A command that hangs is let go by the timer, and fails the test."""
    (cli.folder / "a.json").write_text("{}")
    for path in {cli.folder / argument.rpartition("=")[2] for argument in arguments if "ODD" in argument}:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "zero":
            path.symlink_to("/dev/zero")
        else:
            path.mkdir()
    waited: list[Path] = []

    def let_go() -> None:
        for path in cli.folder.glob("ODD.*"):
            waited.append(path)
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))

    timer = threading.Timer(20, let_go)
    timer.start()
    ran = cli(*arguments)
    timer.cancel()
    assert (ran.status, waited) == (2, [])


def test_what_is_no_regular_file_is_called_that(tmp_path: Path) -> None:
    """With its name, once."""
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path / "pipe", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path, "is a directory"),
        (tmp_path / "none", "no such file"),
    ):
        for read in (lambda path: read_bounded(path, 100), open_file):
            with pytest.raises(InputError, match=reason) as caught:
                read(path)
            assert caught.value.detail.count(str(path)) == 1


def test_exactly_the_limit(tmp_path: Path) -> None:
    """A file of the limit is read; one byte more is not; one whose size says nothing, in pieces."""
    path = tmp_path / "x"
    for length in (0, 1, 99, 100):
        path.write_bytes(bytes(length))
        assert read_bounded(path, 100) == bytes(length)
    path.write_bytes(bytes(101))
    with pytest.raises(TooLarge):
        read_bounded(path, 100)
    assert read_bounded(Path("/proc/self/status"), 1 << 20).startswith(b"Name:")
    with pytest.raises(TooLarge):
        read_bounded(Path("/proc/self/status"), 100)
