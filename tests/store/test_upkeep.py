"""What stands beside the log: slots, lookup index, snapshots, purges, settings."""

from __future__ import annotations

import asyncio
import os
import random
import time

import pytest

from ledger.store import Store
from tests.store.conftest import RunSql
from tests.store.growing import GrowingLog

ISSUER, OTHER = b"i" * 32, b"o" * 32


async def open_lists(store: Store, *issuers: bytes) -> None:
    await GrowingLog().grow(store, 2, slot_lists=list(enumerate(issuers)))


async def test_a_setting_is_set_once(store: Store) -> None:
    """The first value stands, whoever asks and however many at once; all get the same answer."""
    answers = await asyncio.gather(*(store.set_meta_if_absent("origin", bytes([n])) for n in range(8)))
    assert len(set(answers)) == 1
    assert await store.set_meta_if_absent("origin", b"later") == answers[0]
    assert await store.meta() == {"origin": answers[0]}


async def test_the_databases_clock_is_in_milliseconds(store: Store) -> None:
    """On one machine it is this machine's clock."""
    before = time.time_ns() // 1_000_000
    now = await store.database_now_ms()
    assert before - 2 <= now <= time.time_ns() // 1_000_000 + 2


async def test_no_counter_is_handed_out_twice(dsn: str, store: Store) -> None:
    """Forty requests at once, on two nodes, for more than there is: every counter of both lists exactly once."""
    await open_lists(store, ISSUER, OTHER, ISSUER)
    other, rng = await Store.connect(dsn), random.Random(1)
    asked = [rng.randrange(1, 12_000) for _ in range(40)]
    asked += [2 * 131_072 - sum(asked) + 1_000]
    answers = await asyncio.gather(*((store, other)[n % 2].hand_out_slots(ISSUER, ask) for n, ask in enumerate(asked)))
    counters = [(number, first + n) for answer in answers for number, first, count in answer for n in range(count)]
    assert sorted(counters) == [(number, counter) for number in (0, 2) for counter in range(131_072)]
    short = [ask - sum(count for _, _, count in answer) for ask, answer in zip(asked, answers, strict=True)]
    assert sum(short) == 1_000
    assert await store.slot_room(ISSUER) == 0
    assert await store.slot_room(OTHER) == 131_072
    assert await store.hand_out_slots(ISSUER, 1) == []
    await other.close()


async def test_closed_lists_hand_out_nothing(store: Store) -> None:
    """After a restore only new lists serve."""
    await open_lists(store, ISSUER)
    assert await store.hand_out_slots(ISSUER, 10) == [(0, 0, 10)]
    assert await store.hand_out_slots(ISSUER, 5) == [(0, 10, 5)]
    assert await store.close_slot_lists() == 1
    assert await store.close_slot_lists() == 0
    assert await store.hand_out_slots(ISSUER, 5) == []
    assert await store.slot_room(ISSUER) == 0
    with pytest.raises(ValueError, match="starts at 1"):
        await store.hand_out_slots(ISSUER, 0)


async def test_the_lookup_index_is_filled_once_and_in_order(store: Store) -> None:
    """A run is taken only from where the index ends; a node that comes second is told, and adds nothing."""
    assert await store.lookup_filled_to() == 0
    runs = [[(-(1 << 63), 7), (5, 1), (5, 3)], [(-(1 << 63), 9), (5, 1)]]
    results = await asyncio.gather(*(store.fill_lookup(run, 0, 10) for run in runs))
    assert sorted(results) == [False, True]
    won = runs[results.index(True)]
    assert await store.lookup([5, -(1 << 63), 6]) == sorted(won)
    assert await store.lookup_filled_to() == 10
    assert not await store.fill_lookup([(6, 11)], 0, 20)
    assert await store.fill_lookup([], 10, 15)
    assert await store.fill_lookup([(6, 15)], 15, 20)
    async with store.append() as append:
        assert await append.find_prefixes([6, 8]) == [(6, 15)]
    with pytest.raises(ValueError, match="does not go back"):
        await store.fill_lookup([], 20, 19)


async def test_only_the_newest_two_snapshots_stay(store: Store, run_sql: RunSql) -> None:
    """An older one saved late goes at once; the same size again changes nothing; saving at once keeps two."""
    assert await store.load_snapshot(99) is None
    for size in (10, 30, 20, 40, 40, 5):
        await store.save_snapshot(size, str(size).encode() * 3)
    assert [row["size"] for row in await run_sql("SELECT size FROM snapshots ORDER BY size")] == [30, 40]
    assert await store.load_snapshot(100) == (40, b"404040")
    assert await store.load_snapshot(39) == (30, b"303030")
    assert await store.load_snapshot(29) is None
    await asyncio.gather(*(store.save_snapshot(50 + n, b"x") for n in range(8)))
    assert [row["size"] for row in await run_sql("SELECT size FROM snapshots ORDER BY size")] == [56, 57]


async def test_a_large_snapshot_comes_back(store: Store) -> None:
    """As large as the state of a hundred million badges."""
    data = os.urandom(1 << 20) * 37
    await store.save_snapshot(1, data)
    assert await store.load_snapshot(1) == (1, data)


async def test_expired_submissions_are_forgotten(store: Store, run_sql: RunSql) -> None:
    """Exactly those whose expiry lies before now, in as many runs as it takes."""
    keys = [os.urandom(32) for _ in range(25_000)]
    await GrowingLog().grow(store, 2, submissions=[(key, 0, 1, 1_000 + n) for n, key in enumerate(keys)])
    assert await store.purge_submissions(1_000) == 0
    assert await store.purge_submissions(1_000 + 24_000) == 24_000
    assert await store.purge_submissions(1_000 + 24_000) == 0
    async with store.append() as append:
        assert set(await append.find_submissions(keys)) == set(keys[24_000:])
    assert await store.find_submissions(keys[:24_001]) == {keys[24_000]: (0, 1)}
