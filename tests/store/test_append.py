"""The write path: one transaction under the head's lock, and what its failures mean."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import msgspec
import pytest

from ledger.errors import DatabaseError, OutcomeUnknown
from ledger.store import Commit, Store
from ledger.store.append import Append
from tests.store.conftest import RunSql
from tests.store.growing import GrowingLog
from tests.store.proxy import cutting_proxy


async def wait_for_lock(run_sql: RunSql, waiting: int = 1) -> None:
    """Returns once that many sessions of this database wait for a lock."""
    query = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    async def count() -> bool:
        return bool((await run_sql(query))[0]["n"] >= waiting)

    await until(count)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Asks the server again and again, for 10 s at most."""
    async with asyncio.timeout(10):
        while not await holds():
            pass


# What is a commit ----------------------------------------------------------------------------------------------------


async def test_an_append_without_a_write_leaves_nothing(store: Store) -> None:
    """A clean exit without write() is a rollback."""
    async with store.append() as append:
        assert append.head == await store.head()
    assert (await store.head()).size == 0


async def test_an_exception_inside_rolls_back_and_passes_through(store: Store, run_sql: RunSql) -> None:
    """The caller's exception arrives as it was, nothing of the written commit is left, and the lock is free."""
    log = GrowingLog()

    async def fail() -> None:
        async with store.append() as append:
            await append.write(log.next_commit(300, submission_offsets=[0], slot_lists=[(0, bytes(32))]))
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await fail()
    for table in ("commits", "tails", "tiles", "edge", "slot_lists"):
        assert await run_sql(f"SELECT * FROM {table}") == []
    await log.grow(store, 300)
    await log.check(store)


async def test_one_append_writes_one_commit(store: Store) -> None:
    """A second write() is the caller's mistake, and so is a commit from another place than the head's."""
    log = GrowingLog()

    async def write_twice() -> None:
        async with store.append() as append:
            await append.write(log.next_commit(3))
            await append.write(log.next_commit(3))

    with pytest.raises(ValueError, match="one commit"):
        await write_twice()
    await log.grow(store, 5)
    stranger = GrowingLog(salt="other")
    with pytest.raises(ValueError, match="does not extend"):
        await stranger.grow(store, 6)
    await log.check(store)


async def test_everything_beside_the_tiles_is_written_and_found(store: Store) -> None:
    """Idempotency keys, events trees, status nodes, chunks and lists of a commit are all there after it."""
    log, key, issuer = GrowingLog(), os.urandom(32), os.urandom(32)
    await log.grow(
        store,
        600,
        submission_offsets=[0, 590],
        event_nodes=[(0, bytes(64))],
        submissions=[(key, 0, 589, 99), (bytes(32), 590, 8, 99)],
        status_nodes=[(0, 5, b"n" * 32), (3, 0, b"m" * 32)],
        status_chunks=[(5, b"c" * 64)],
        slot_lists=[(0, issuer), (1, bytes(32))],
    )
    assert await store.event_nodes(0) == bytes(64)
    assert await store.event_nodes(590) is None
    assert await store.status_nodes([(0, 5), (3, 0), (4, 0)], 600) == {(0, 5): b"n" * 32, (3, 0): b"m" * 32}
    assert await store.status_chunks(0, 511, 600) == {5: b"c" * 64}
    assert await store.slot_room(issuer) == 131_072
    async with store.append() as append:
        assert await append.find_submissions([key, b"x" * 32, bytes(32)]) == {key: (0, 589), bytes(32): (590, 8)}
    await log.check(store)


SPOILT: dict[str, dict[str, Any]] = {
    "a tile is missing": {"full_tiles": ()},
    "a bundle is missing": {"bundles": ()},
    "a tile is there twice": {"full_tiles": [(0, 0, bytes(8192)), (0, 0, bytes(8192))]},
    "a tile is cut": {"full_tiles": [(0, 0, bytes(8191))]},
    "the edge is missing": {"edge": {}},
    "the edge is too wide": {"edge": {1: bytes(64)}},
    "the edge has level 0": {"edge": {1: bytes(32), 0: bytes(44 * 32)}},
    "the tail begins elsewhere": {"tail_first": 255},
    "the tail has a hash too few": {"tail_hashes": bytes(43 * 32)},
    "the tail has no entries": {"tail_entries": b""},
    "the root is no hash": {"root": b"root"},
    "an offset is past the end": {"submission_offsets": [300]},
    "offsets are out of order": {"submission_offsets": [5, 4]},
    "it has no entry": {"tree_size": 0},
    "time goes back": {"time_ms": -1},
}


@pytest.mark.parametrize("change", SPOILT.values(), ids=SPOILT.keys())
async def test_a_commit_with_a_hole_is_refused_before_it_is_sent(store: Store, change: dict[str, Any]) -> None:
    """A commit that lacks what its sizes demand would leave a hole in the tiles for ever: ValueError, no effect."""
    log = GrowingLog()
    good = log.next_commit(300)
    with pytest.raises(ValueError, match=r"wrong|extend"):
        async with store.append() as append:
            await append.write(msgspec.structs.replace(good, **change))
    assert (await store.head()).size == 0


async def test_a_value_the_database_refuses_changes_nothing(store: Store) -> None:
    """A constraint that fails inside the statement takes the whole commit back: DatabaseError."""
    log = GrowingLog()
    await log.grow(store, 3, submissions=[(bytes(32), 0, 1, 1)])
    with pytest.raises(DatabaseError, match="duplicate key"):
        await log.grow(store, 3, submissions=[(bytes(32), 3, 1, 1)])
    await log.check(store)


async def test_a_small_commit_writes_few_bytes(store: Store, run_sql: RunSql) -> None:
    """One event (three entries with submission and status_root) and its idempotency key: under 16 kB of WAL."""
    log = GrowingLog()
    await log.grow(store, 66_000, 3, 3)  # behind the first full-page images of the log's right edge

    async def position() -> int:
        rows = await run_sql("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS at")
        return int(rows[0]["at"])

    costs = []
    for _ in range(20):
        before = await position()
        await log.grow(store, 3, submission_offsets=[0], submissions=[(os.urandom(32), log.size, 1, log.size)])
        costs.append(await position() - before)
    print(f"WAL of a one-event commit: median {sorted(costs)[10]} bytes, largest {max(costs)}")
    assert sorted(costs)[10] < 16_384
    await log.check(store)


# Who may write -------------------------------------------------------------------------------------------------------


async def test_appends_stand_in_line_and_see_each_other(dsn: str, run_sql: RunSql) -> None:
    """Two nodes append: the second waits for the first's COMMIT and then reads its head and its edge, not older ones.

    The edge is the trap: a statement that waited for the row lock sees the rest of the database as of before.
    """
    one, two = await Store.connect(dsn), await Store.connect(dsn)
    log = GrowingLog()
    await log.grow(one, 255)

    async def second() -> Append:
        async with two.append() as append:
            await append.write(log.next_commit(70_000))
        return append

    async with one.append() as append:
        await append.write(log.next_commit(1))
        waiting = asyncio.create_task(second())
        await wait_for_lock(run_sql)
        log.took_hold()
    after = await waiting
    assert after.head.size == 256
    assert len(after.head.edge) == 1
    assert after.head.edge == log.edge.partials()[1:]
    log.took_hold()
    await log.check(one)
    await one.close()
    await two.close()


async def test_many_appends_at_once_lose_nothing(dsn: str) -> None:
    """Eight tasks on two nodes, each rereading under the lock: sixty-four commits, one history."""
    stores = [await Store.connect(dsn, max_size=4) for _ in range(2)]
    log = GrowingLog()

    async def work(store: Store) -> None:
        for _ in range(8):
            async with store.append() as append:
                assert append.head.size == log.size
                await append.write(log.next_commit(37))
                log.took_hold()  # while the lock is still ours

    await asyncio.gather(*(work(stores[n % 2]) for n in range(8)))
    await log.check(stores[0])
    for store in stores:
        await store.close()


async def test_a_session_idle_in_a_transaction_loses_the_lock(dsn: str) -> None:
    """A stopped process frees the head: its session is ended by the server, its commit is refused, others go on."""
    stopped = await Store.connect(dsn, idle_in_transaction_timeout_ms=50)
    other = await Store.connect(dsn)
    log = GrowingLog()

    async def stop_in_the_middle() -> None:
        async with stopped.append() as append:
            await append.write(log.next_commit(5))
            await log.grow(other, 7)  # waits for the lock until the server has ended the idle session

    with pytest.raises(DatabaseError) as caught:
        await stop_in_the_middle()
    assert not isinstance(caught.value, OutcomeUnknown)
    await log.check(other)
    await log.grow(stopped, 2)  # a new session
    await log.check(stopped)
    await stopped.close()
    await other.close()


# What failures mean --------------------------------------------------------------------------------------------------


async def kill_sessions(run_sql: RunSql) -> None:
    await run_sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def test_a_session_lost_before_the_write_changes_nothing(store: Store, run_sql: RunSql) -> None:
    """DatabaseError, and the store works again at once."""
    log = GrowingLog()

    async def lose_it() -> None:
        async with store.append() as append:
            await kill_sessions(run_sql)
            await append.write(log.next_commit(5))

    with pytest.raises(DatabaseError):
        await lose_it()
    await log.grow(store, 5)
    await log.check(store)


async def test_a_session_lost_before_the_commit_changes_nothing(store: Store, run_sql: RunSql) -> None:
    """If the loss was noticed before COMMIT was sent, it is known that nothing stands: DatabaseError."""
    log = GrowingLog()

    async def lose_it() -> None:
        async with store.append() as append:
            await append.write(log.next_commit(5))
            lost = asyncio.Event()
            append._connection.add_termination_listener(lambda _: lost.set())
            await kill_sessions(run_sql)
            await asyncio.wait_for(lost.wait(), 10)

    with pytest.raises(DatabaseError, match="before the commit"):
        await lose_it()
    assert (await store.head()).size == 0


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_an_unanswered_commit_has_an_unknown_outcome(dsn: str, store: Store, cut: str) -> None:
    """The client cannot tell a COMMIT that got lost from an answer that got lost: OutcomeUnknown both times. The head
    tells, and the store works again at once.
    """
    async with cutting_proxy(dsn) as (proxy, through):
        cut_off = await Store.connect(through, min_size=1)
        log = GrowingLog()
        await log.grow(cut_off, 3)
        proxy.cut = cut
        with pytest.raises(OutcomeUnknown):
            await log.grow(cut_off, 4)
        proxy.cut = None
        assert (await store.head()).size == (3 if cut == "before" else 7)
        if cut == "after":
            log.took_hold()
        await log.check(store)
        await cut_off.close()


async def test_a_slow_commit_that_times_out_has_an_unknown_outcome(dsn: str, run_sql: RunSql, store: Store) -> None:
    """The client gives up waiting at `command_timeout_s`: what the server does with the COMMIT is not known."""
    await run_sql(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$"
    )
    await run_sql(
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION dawdle()"
    )
    hasty = await Store.connect(dsn, command_timeout_s=0.3)
    log = GrowingLog()
    with pytest.raises(OutcomeUnknown):
        await log.grow(hasty, 4)
    await hasty.close()
    assert (await store.head()).size == 0


async def test_a_commit_that_the_server_refuses_changes_nothing(run_sql: RunSql, store: Store) -> None:
    """An ERROR in answer to COMMIT is an answer: DatabaseError."""
    await run_sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room'; RETURN NULL; END $$"
    )
    await run_sql(
        "CREATE CONSTRAINT TRIGGER refusal AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    with pytest.raises(DatabaseError, match="no room"):
        await GrowingLog().grow(store, 4)
    assert (await store.head()).size == 0


async def test_a_warning_at_commit_is_an_unknown_outcome(run_sql: RunSql, store: Store) -> None:
    """A COMMIT that succeeds with a WARNING may be on this machine only (a cancelled wait for the replica)."""
    await run_sql(
        "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE WARNING 'not replicated'; RETURN NULL; END $$"
    )
    await run_sql(
        "CREATE CONSTRAINT TRIGGER warning AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION warn()"
    )
    with pytest.raises(OutcomeUnknown, match="not replicated"):
        await GrowingLog().grow(store, 4)
    assert (await store.head()).size == 4


async def test_a_cancelled_append_leaves_no_lock_behind(store: Store, run_sql: RunSql) -> None:
    """A task cancelled while it waits for the lock, and one cancelled while it holds it, both let go."""
    log = GrowingLog()
    holding = asyncio.Event()

    async def hold() -> None:
        async with store.append() as append:
            await append.write(log.next_commit(9))
            holding.set()
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    await holding.wait()
    waiter = asyncio.create_task(log.grow(store, 1))
    await wait_for_lock(run_sql)
    for task in (waiter, holder):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await log.grow(store, 4)
    await log.check(store)


async def test_an_edge_that_does_not_fit_is_noticed(store: Store, run_sql: RunSql) -> None:
    """A head whose edge was lost or belongs to another size is refused, not hashed on."""
    await GrowingLog().grow(store, 300)
    await run_sql("UPDATE edge SET data = data || data")
    with pytest.raises(DatabaseError, match="edge does not fit"):
        await store.head()
    with pytest.raises(DatabaseError, match="edge does not fit"):
        async with store.append():
            raise AssertionError("entered")


async def test_the_head_row_is_updated_in_its_page(store: Store, run_sql: RunSql) -> None:
    """Each update of the head is HOT: the row's index never grows."""
    await GrowingLog().grow(store, *[1] * 300)
    (size,) = await run_sql("SELECT pg_relation_size('head') AS heap, pg_relation_size('head_pkey') AS index")
    assert (size["heap"], size["index"]) == (8192, 2 * 8192)


async def test_asyncpg_never_shows(dsn: str) -> None:
    """A database that does not exist or does not answer is a DatabaseError in one line."""
    for wrong in (dsn.replace("/test", "/nobody"), "postgresql://postgres@/postgres?host=/nowhere"):
        with pytest.raises(DatabaseError) as caught:
            await Store.connect(wrong)
        assert "\n" not in caught.value.detail
    assert not issubclass(DatabaseError, asyncpg.PostgresError)


def test_a_commit_of_no_consequence_needs_no_more_than_its_tail() -> None:
    """All the rest of a Commit has an empty default."""
    commit = Commit(
        first_index=0,
        tree_size=1,
        time_ms=0,
        root=bytes(32),
        tail_first=0,
        tail_entries=bytes(2),
        tail_hashes=bytes(32),
    )
    assert not any([commit.edge, commit.full_tiles, commit.bundles, commit.submissions])
