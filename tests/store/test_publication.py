"""The publisher's session, its lock and its warnings; listeners that come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from ledger.errors import DatabaseError, ForkDetected, OutcomeUnknown
from ledger.store import PublisherSession, Store
from ledger.store.embedded import EmbeddedPostgres
from tests.store.conftest import RunSql
from tests.store.growing import GrowingLog
from tests.store.test_append import kill_sessions, until


@pytest.fixture
async def session(store: Store) -> AsyncIterator[PublisherSession]:
    async with store.publisher() as session:
        assert await session.acquire()
        yield session


async def test_there_is_one_publisher_at_a_time(store: Store, session: PublisherSession) -> None:
    """A second session does not get the lock until the first closes; asking again changes nothing."""
    async with store.publisher() as other:
        assert not await other.acquire()
        assert await session.acquire()
        with pytest.raises(DatabaseError, match="does not hold its lock"):
            await other.mark(0, bytes(32))
        await session.close()
        assert await other.acquire()


async def test_a_publisher_that_went_silent_loses_its_lock(store: Store) -> None:
    """A stopped process is ended by the server after its idle timeout; a ping in time would have kept it."""
    async with store.publisher(idle_session_timeout_ms=100) as silent, store.publisher() as other:
        assert await silent.acquire()

        async def freed() -> bool:
            return await other.acquire()

        await until(freed)
        with pytest.raises(DatabaseError):
            await silent.ping()
        assert not await silent.acquire()  # reconnected, and the lock is another's
        await other.close()
        assert await silent.acquire()
        await silent.ping()


async def test_marks_and_publications_show_in_the_head(store: Store, session: PublisherSession) -> None:
    """mark sets the marker alone; publish sets the published head and its note; both are read in one snapshot."""
    log = GrowingLog()
    await log.grow(store, 3, 4)
    (first, second) = log.commits
    await session.mark(first.tree_size, first.root)
    head = await store.head()
    assert (head.marked_size, head.marked_root, head.published_size) == (3, first.root, 0)
    assert await session.publish(3, first.root, 77, b"note three")
    await session.mark(7, second.root)
    head = await store.head()
    assert (head.published_size, head.published_root, head.published_time_s) == (3, first.root, 77)
    assert (head.published_note, head.marked_size, head.size) == (b"note three", 7, 7)
    async with store.append() as append:
        assert append.head == head


async def test_the_published_head_only_moves_forward(store: Store, session: PublisherSession) -> None:
    """A smaller head is not published (False), the same one again takes the newer note, markers do not go back."""
    log = GrowingLog()
    await log.grow(store, 3, 4, 5)
    roots = {commit.tree_size: commit.root for commit in log.commits}
    assert await session.publish(7, roots[7], 70, b"seven")
    before = await store.head()
    assert not await session.publish(3, roots[3], 71, b"three")
    assert await store.head() == before
    assert await session.publish(7, roots[7], 70, b"seven, with more cosignatures")
    assert (await store.head()).published_note == b"seven, with more cosignatures"
    assert await session.publish(12, roots[12], 72, b"twelve")
    with pytest.raises(DatabaseError, match="larger candidate"):
        await session.mark(7, roots[7])
    await session.mark(12, roots[12])
    assert (await store.head()).published_size == 12


async def test_only_heads_of_this_log_are_marked_and_published(store: Store, session: PublisherSession) -> None:
    """A size at which no commit ended, and a root that is not the log's, are refused: nothing of a fork gets in."""
    await GrowingLog().grow(store, 3, 4)
    for size in (0, 2, 8):
        with pytest.raises(DatabaseError, match="no commit"):
            await session.mark(size, bytes(32))
    with pytest.raises(ForkDetected):
        await session.mark(7, bytes(32))
    with pytest.raises(ForkDetected):
        await session.publish(7, bytes(32), 1, b"note")
    head = await store.head()
    assert (head.marked_size, head.published_size) == (0, 0)
    await session.ping()  # the session and its lock are as before


@pytest.mark.parametrize("when", ["at once", "at commit"])
async def test_any_warning_fails_mark_and_publish(
    store: Store, session: PublisherSession, run_sql: RunSql, when: str
) -> None:
    """A WARNING before COMMIT rolls back; one at COMMIT may mean that the replica never got it: an unknown outcome."""
    log = GrowingLog()
    await log.grow(store, 3)
    await run_sql(
        "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE WARNING 'canceling wait'; RETURN NULL; END $$"
    )
    timing = "" if when == "at once" else "DEFERRABLE INITIALLY DEFERRED"
    await run_sql(
        f"CREATE CONSTRAINT TRIGGER warning AFTER UPDATE ON published {timing} FOR EACH ROW EXECUTE FUNCTION warn()"
    )
    expected = DatabaseError if when == "at once" else OutcomeUnknown
    with pytest.raises(expected, match="canceling wait"):
        await session.mark(3, log.commits[0].root)
    with pytest.raises(expected, match="canceling wait"):
        await session.publish(3, log.commits[0].root, 1, b"note")
    assert (await store.head()).published_size == (0 if when == "at once" else 3)


async def test_a_cancelled_wait_for_the_replica_fails_the_mark(short_dir: Path) -> None:
    """The real thing: a synchronous standby is named and absent. mark waits without a timeout; when somebody cancels
    the wait the server reports success with a warning, and mark must not.
    """
    server = EmbeddedPostgres(short_dir / "synchronous")
    store = await Store.connect(await server.start())
    log = GrowingLog()
    await log.grow(store, 3)
    admin = await asyncpg.connect(server.dsn)
    try:
        async with store.publisher() as session:
            assert await session.acquire()
            await admin.execute("SET synchronous_commit = local")
            await admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            await admin.execute("SELECT pg_reload_conf()")
            marking = asyncio.create_task(session.mark(3, log.commits[0].root))
            query = (
                "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name LIKE '%publisher'"
            )

            async def waits() -> bool:
                return await admin.fetchval(query) is not None

            await until(waits)
            assert not marking.done()
            await admin.execute("SELECT pg_cancel_backend($1)", await admin.fetchval(query))
            with pytest.raises(OutcomeUnknown, match="canceling wait for synchronous replication"):
                await marking
    finally:
        await admin.close()
        await store.close()
        await server.stop()


async def test_a_lost_session_is_replaced_by_acquire(store: Store, session: PublisherSession, run_sql: RunSql) -> None:
    """After the server ended it every call is a DatabaseError until acquire has reconnected and has the lock again."""
    log = GrowingLog()
    await log.grow(store, 3)
    await kill_sessions(run_sql)
    for call in (session.ping(), session.mark(3, log.commits[0].root)):
        with pytest.raises(DatabaseError):
            await call
    assert await session.acquire()
    await session.mark(3, log.commits[0].root)


class Heard:
    """Collects payloads; `expect` waits for the next one."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue()

    def __call__(self, payload: str) -> None:
        self._queue.put_nowait(payload)

    async def expect(self, *payloads: str) -> None:
        heard = [await asyncio.wait_for(self._queue.get(), 10) for _ in payloads]
        assert heard == list(payloads)


async def test_listeners_hear_commits_and_publications(dsn: str, store: Store) -> None:
    """Another node's listener hears "integrated" and "published", after they took hold, and nothing of a rollback."""
    other, heard, log = await Store.connect(dsn), Heard(), GrowingLog()
    async with other.listen(heard), store.publisher() as session:
        await heard.expect("connected")
        async with store.append() as append:
            await append.write(log.next_commit(2))
        await heard.expect("integrated")
        log.took_hold()
        with pytest.raises(DatabaseError):
            await log.grow(store, 3, submissions=[(bytes(32), 2, 1, 1), (bytes(32), 2, 1, 1)])
        assert await session.acquire()
        await session.publish(2, log.commits[0].root, 1, b"note")
        await heard.expect("published")
    await other.close()


async def test_a_listener_comes_back_and_says_so(store: Store, run_sql: RunSql) -> None:
    """What was notified while the connection was lost is gone, so the listener says "connected" to make its owner
    reread; a callback that fails does not end it.
    """
    heard, log = Heard(), GrowingLog()

    def callback(payload: str) -> None:
        heard(payload)
        if payload == "connected":
            raise LookupError("the callback's own trouble")

    async with store.listen(callback):
        await heard.expect("connected")
        await kill_sessions(run_sql)
        await heard.expect("connected")
        await log.grow(store, 2)
        await heard.expect("integrated")


async def test_a_listener_waits_longer_and_longer_for_a_server_that_is_down(short_dir: Path) -> None:
    """Pauses double from 0.1 s; once the server is back the listener is, too."""
    server = EmbeddedPostgres(short_dir / "listened")
    store = await Store.connect(await server.start())
    heard, pauses, stopped = Heard(), list[float](), asyncio.Event()

    async def pause(seconds: float) -> None:
        await stopped.wait()
        pauses.append(seconds)
        if len(pauses) == 4:
            await server.start()

    async with store.listen(heard, pause=pause):
        await heard.expect("connected")
        await server.stop()
        stopped.set()
        await heard.expect("connected")
    assert pauses == [0.1, 0.2, 0.4, 0.8]
    await store.close()
    await server.stop()


async def test_listening_to_nobody_is_refused(dsn: str, store: Store, run_sql: RunSql) -> None:
    """Entering fails with a DatabaseError if the database cannot be reached at all."""
    unreachable = await Store.connect(dsn)
    unreachable._sessions._dsn = "postgresql://postgres@/postgres?host=/nowhere"
    with pytest.raises(DatabaseError):
        async with unreachable.listen(print):
            raise AssertionError("entered")
    await unreachable.close()
