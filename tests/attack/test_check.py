"""Spoiled tables: `badge-ledger check` names what is wrong, in one sentence, whatever a row has become."""

from __future__ import annotations

import pytest

from ledger.check import check_store
from ledger.errors import LedgerError
from ledger.store import Store
from tests.service.harness import Party, World
from tests.store.conftest import RunSql

SPOILT = {
    "bundles hold nothing behind their entries": (
        r"UPDATE tiles SET data = data || '\x00'::bytea WHERE level = -1",
        "bundle 0",
    ),
    "an answer names another index": (
        "UPDATE submissions SET first_index = first_index + 1",
        "repetition of submission",
    ),
    "an answer names another count": ("UPDATE submissions SET count = count + 1", "repetition of submission"),
    "slots are handed out from another issuer's list": (
        "UPDATE slot_lists SET issuer = set_byte(issuer, 3, (get_byte(issuer, 3) + 1) % 256)",
        "lists of other issuers",
    ),
    "a list is gone": ("DELETE FROM slot_lists", "lists of other issuers"),
    "the time of the next heads is in the future": ("UPDATE head SET time_ms = time_ms + 1000000000", "head's time"),
    "the lookup index claims too much": ("UPDATE lookup_state SET filled_to = 1000000", "lookup index"),
    "the lookup index claims nothing": ("DELETE FROM lookup_state", "lookup_state"),
    "another origin": (r"UPDATE meta SET value = value || '\x78'::bytea WHERE key = 'origin'", "origin"),
    "no origin": ("DELETE FROM meta WHERE key = 'origin'", "origin"),
    "another guard": (r"UPDATE meta SET value = value || '\x78'::bytea WHERE key = 'guard'", "guard"),
    "another candidate": ("UPDATE published SET marked_root = set_byte(marked_root, 0, 1)", "candidate"),
    "half a submission": (r"UPDATE commits SET submissions = submissions || '\x00'::bytea", "no whole submissions"),
    "no head": ("DELETE FROM head", "no head"),
    "no published head": ("DELETE FROM published", "no head"),
    "a snapshot of another state": (
        r"INSERT INTO snapshots SELECT tree_size, '\x424c534e01'::bytea FROM commits",
        "the snapshot at",
    ),
    "a snapshot of no head": (r"INSERT INTO snapshots VALUES (1, '\x00')", "at no head"),
}


@pytest.mark.parametrize("what", SPOILT)
async def test_the_check_finds_it(world: World, run_sql: RunSql, what: str) -> None:
    statement, words = SPOILT[what]
    service = await world.start()
    party = await Party("alice").register(service.client)
    for count in (1, 300, 2):
        await service.client.submit(party.issues(count))
    await world.stop(service)
    await run_sql("SET session_replication_role = replica")
    await run_sql(statement)
    world.broken = words
    store, guard = await Store.connect(world.dsn, min_size=1), await world.open_guard()
    try:
        with pytest.raises(LedgerError, match=words):
            await check_store(store, guard=guard)
    finally:
        await guard.close()
        await store.close()
