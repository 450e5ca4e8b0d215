"""`badge-ledger witness`: what it refuses before it listens. How it runs is in tests/witness/test_faults.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.note import parse_vkey
from tests.cli.conftest import Cli
from tests.witness.logs import Log
from tests.witness.process import Process

VKEY = "keyserver.geomys.org+16b31509+ARLJ+pmTj78HzTeBj04V+LVfB+GFAQyrg54CRIju7Nn8"


def make_key(cli: Cli, kind: str = "witness") -> Path:
    path = cli.folder / f"{kind}.key"
    cli.ok("keygen", path, "--kind", kind, "--name", "witness.example/w1")
    return path


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    path = tmp_path / "logs.txt"
    path.write_text(f"logs/v0\nvkey {VKEY}\nqpd 1\ncontact x\n")
    return path


def test_keygen_makes_witness_keys(cli: Cli) -> None:
    """Of algorithm 4 and 6, with the name that cosignatures carry."""
    for kind, algorithm in (("witness", 4), ("witness-pq", 6)):
        made = cli.ok("keygen", cli.folder / f"{kind}.key", "--kind", kind, "--name", "witness.example/w1", "--json")
        key = parse_vkey(made.json["verifier_key"])
        assert (key.name, key.algorithm) == ("witness.example/w1", algorithm)


def test_without_a_state_an_old_key_does_not_start(cli: Cli, logs: Path) -> None:
    """A lost or misnamed state is not begun anew by itself."""
    key = make_key(cli)
    ran = cli("witness", "--witness-key", key, "--logs", logs, "--state", cli.folder / "lost.db")
    assert (ran.status, "no witness state" in ran.err) == (2, True), ran.err
    assert not (cli.folder / "lost.db").exists()


def test_unusable_files_are_named(cli: Cli, logs: Path) -> None:
    """A key of another kind, a list that is none, no file."""
    key, other = make_key(cli), make_key(cli, "log")
    broken = cli.folder / "broken.txt"
    broken.write_text("logs/v0\nvkey x\n")
    state = ("--state", cli.folder / "w.db", "--new-state")
    for arguments, sentence in (
        (("--witness-key", key, "--logs", broken), "broken.txt: line 2"),
        (("--witness-key", key, "--logs", cli.folder / "none.txt"), "none.txt: no such file"),
        (("--witness-key", other, "--logs", logs), "log-ed25519 is no witness's key"),
        (("--witness-key", key, "--witness-key", key, "--logs", logs), "no two of them alike"),
        (("--witness-key", key), "--logs"),
        (("--logs", logs), "--witness-key"),
    ):
        ran = cli("witness", *arguments, *state)
        assert ran.status == 2
        assert sentence in ran.err
        (cli.folder / "w.db").unlink(missing_ok=True)


@pytest.mark.slow
async def test_it_says_where_it_is_and_stops_when_told(tmp_path: Path) -> None:
    """Its keys as others configure them, and an address of this machine only."""
    log = Log()
    process = Process(tmp_path, log.listed())
    await process.start()
    try:
        assert [parse_vkey(text).algorithm for text in process.verifier_keys] == [4, 6]
        answer = await process.add_checkpoint(log.submission(0, 5))
        assert answer is not None
        assert answer.status == 200
        assert (await process.get("/healthz")).status == 200
        assert await process.stop() == 0
        for event in ("cosigner.ready", "cosigner.stopping"):
            assert event in process.log()
    finally:
        await process.kill()
