"""A command line under test: run in this process, against a ledger in memory, in a folder of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.cli.app import run
from ledger.keyfile import load_issuer_key
from tests.fakes import TOKEN, FakeClock, FakeLedger
from tests.receipt_builder import policy_text
from tests.samples import BadgeIssuer, ob2_hosted, ob3_json


@dataclass
class Ran:
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it is."""
        return msgspec.json.decode(self.out)


class Cli:
    """Runs commands; `clock` starts at the machine's time and moves only by pauses."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self.folder = folder
        self.clock = FakeClock(time.time_ns() // 1_000_000)

    def __call__(self, *arguments: str | Path) -> Ran:
        """Run one command line."""
        self._capsys.readouterr()
        status = run([str(argument) for argument in arguments], clock=self.clock)
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err
        return Ran(status, captured.out, captured.err)

    def ok(self, *arguments: str | Path) -> Ran:
        """Run one that has to succeed."""
        ran = self(*arguments)
        assert ran.status == 0, ran.err
        return ran


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A command line in an empty folder, without configuration and variables."""
    for name in list(os.environ):
        if name.startswith("BADGE_LEDGER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.chdir(tmp_path)
    return Cli(capsys, tmp_path)


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Iterator[FakeLedger]:
    """A running ledger, its address in BADGE_LEDGER_URL, its policy in trust.policy."""
    with FakeLedger() as running:
        monkeypatch.setenv("BADGE_LEDGER_URL", running.url)
        (cli.folder / "trust.policy").write_text(policy_text(running.origin))
        yield running


@pytest.fixture
def key(cli: Cli, ledger: FakeLedger) -> Path:
    """The key file of a registered issuer, under its own did:key."""
    cli.ok("keygen", "acme.key")
    cli.ok("issuer", "add", "--key", "acme.key", "--token", TOKEN)
    return cli.folder / "acme.key"


@dataclass
class Badges:
    """Makes badge files of the issuer behind a key file."""

    folder: Path
    issuer: BadgeIssuer

    def signed(self, name: str, number: int) -> Path:
        """An Open Badges 3.0 badge with a proof."""
        return self._write(name, ob3_json(self.issuer, number))

    def hosted(self, name: str, number: int) -> Path:
        """An Open Badges 2.0 badge without one, so that its commitment needs a salt."""
        return self._write(name, ob2_hosted(self.issuer, number))

    def _write(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


@pytest.fixture
def badges(key: Path) -> Badges:
    """Badge files in the folder `badges`."""
    return Badges(key.parent / "badges", BadgeIssuer(load_issuer_key(key).seed))
