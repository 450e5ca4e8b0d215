"""What an operator's machine can do to a ledger: half-written tokens, odd options, old guards."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from api.serve import MIN_TOKEN_CHARS, operator_token
from ledger.check import check_store
from ledger.errors import DatabaseError, KeyFileError, LedgerError
from ledger.guard import SqliteGuard
from ledger.store import Store
from tests.cli.conftest import Cli
from tests.service.harness import Client, Party, World
from tests.store.conftest import RunSql


@pytest.mark.parametrize("content", [b"", b"\n", b" \n", b"short\n", b"\xff" * 40, "\u00a0".encode() * 20])
def test_a_token_that_is_none(tmp_path: Path, content: bytes) -> None:
    """An empty token, as a full disk left one, used to let in whoever sent white space (Bearer U+00A0)."""
    file = tmp_path / "operator.token"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(KeyFileError, match="holds no token"):
        operator_token(file)


def test_a_token_is_made_whole_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "operator.token"
    token = operator_token(file)
    assert len(token) >= 2 * MIN_TOKEN_CHARS
    assert operator_token(file) == token
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_token_that_others_read_or_nobody_can(tmp_path: Path) -> None:
    file = tmp_path / "operator.token"
    operator_token(file)
    file.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        operator_token(file)
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    with pytest.raises(KeyFileError, match="folder"):
        operator_token(folder)


async def test_white_space_is_no_token(client: Client) -> None:
    for presented in ("\u00a0", "\u2003" * 3, "\u00a0" + client.token):
        headers = {"Authorization": f"Bearer {presented}", "Content-Type": "application/json"}
        answer = await client.request("POST", "/v1/issuers", data=b"{}", headers=headers)
        assert answer.status == web.HTTPForbidden.status_code


@pytest.mark.parametrize("option", ["--heartbeat", "--answer-timeout", "--publish-interval"])
def test_no_number_is_no_number_of_seconds(cli: Cli, option: str) -> None:
    """`nan` used to pass: a ledger without heartbeats, or one that ended as a bug."""
    ran = cli("serve", "--data", "data", option, "nan")
    assert ran.status == 2
    assert "is not a number" in ran.err
    assert not (cli.folder / "data").exists()


async def test_addresses_of_databases_that_are_none() -> None:
    with pytest.raises(DatabaseError, match="URL"):
        await Store.connect("postgresql://[bad")


async def test_the_check_names_an_old_guard(world: World, run_sql: RunSql, tmp_path: Path) -> None:
    """An old copy of the guard is a head of the log and yet wrong: heads were released behind it."""
    service = await world.start()
    party = await Party("alice").register(service.client)
    standing = await service.node.guard.read()
    await service.client.submit(party.issues(3))
    await world.stop(service)
    store = await Store.connect(world.dsn, min_size=1)
    identity = (await store.meta())["guard"].decode()
    old = await SqliteGuard.open(tmp_path / "old.db", new_identity=lambda: identity)
    try:
        await old.swap(await old.read(), standing)
        with pytest.raises(LedgerError, match="an old copy"):
            await check_store(store, guard=old)
    finally:
        await old.close()
        await store.close()
