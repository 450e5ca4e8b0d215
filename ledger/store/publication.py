"""The publisher's session and the listeners: what happens after a commit.

    acquire   session advisory lock: one publisher at a time. Economy only; safety is the guard's
    mark      commits the name of the candidate BEFORE the guard moves and anything is signed
    publish   records the signed and cosigned note; only ever moves forward
    listen    LISTEN badge_ledger: "integrated", "published"

`mark` and `publish` have no timeout anywhere and take any WARNING for a failure: with synchronous replication a
cancelled wait at COMMIT is reported as success with a warning, and what is signed then could be lost in a failover.
This module signs nothing and knows no guard.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any

from ledger.errors import DatabaseError, ForkDetected, LedgerError
from ledger.store.session import (
    CHANNEL,
    FAILURES,
    Connection,
    Sessions,
    close_connection,
    commit,
    one_sentence,
    reading,
    roll_back,
)

PUBLISHER_LOCK = int.from_bytes(b"bl.publi", "big")

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_PROBE_EVERY_S, _PROBE_TIMEOUT_S = 30.0, 10.0

_LOCK = "BEGIN; SELECT FROM published FOR UPDATE"
_STANDING = """
SELECT size, root, marked_size, marked_root, (SELECT root FROM commits WHERE tree_size = $1) AS committed_root
FROM published
"""
_MARK = "UPDATE published SET marked_size = $1, marked_root = $2"
_PUBLISH = """
WITH moved AS (
    UPDATE published SET size = $1, root = $2, time_s = $3, note = $4, marked_size = greatest(marked_size, $1),
           marked_root = CASE WHEN marked_size > $1 THEN marked_root ELSE $2 END
)
SELECT pg_notify($5::text, 'published')
"""


class PublisherSession:
    """One dedicated connection. Comes from `Store.publisher`; an async context manager whose exit closes it.

    The server ends it when it has been idle for `idle_session_timeout_ms` (or a stopped process would keep the lock):
    `ping` more often than that. After a DatabaseError or OutcomeUnknown, `acquire` again: it reconnects if it must.
    """

    def __init__(self, sessions: Sessions, idle_session_timeout_ms: int) -> None:
        self._sessions = sessions
        self._idle_ms = idle_session_timeout_ms
        self._connection: Connection | None = None
        self._held = False
        self._warnings: list[str] = []

    async def __aenter__(self) -> PublisherSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def acquire(self) -> bool:
        """True if this session holds the publisher's lock, False if another does. Idempotent; does not wait.

        Raises DatabaseError.
        """
        if self._connection is None or self._connection.is_closed():
            self._held = False
            self._connection = await self._sessions.dedicated(
                "publisher",
                idle_session_timeout=self._idle_ms,
                idle_in_transaction_session_timeout=self._idle_ms,
            )
            self._connection.add_log_listener(self._take_warning)
        with reading("taking the publisher's lock"):
            if self._held:
                await self._connection.execute("SELECT 1")
            else:
                self._held = await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", PUBLISHER_LOCK)
        return self._held

    async def ping(self) -> None:
        """Resets the idle timeout. Raises DatabaseError if the session, and with it the lock, is gone."""
        with reading("asking the publisher's session"):
            await self._alive().execute("SELECT 1")

    async def mark(self, size: int, root: bytes) -> None:
        """Commit the marker of the candidate (size, root): whatever is signed next is replicated as this is.

        The same candidate may be marked again. Raises DatabaseError if a larger marker stands or no commit has this
        size, ForkDetected if the log has another root at this size, OutcomeUnknown.
        """
        async with self._changing("marking the candidate") as connection:
            standing = await self._standing(connection, size, root)
            if standing["marked_size"] > size:
                raise DatabaseError(f"a larger candidate of size {standing['marked_size']} is marked already")
            await connection.execute(_MARK, size, root)

    async def publish(self, size: int, root: bytes, time_s: int, note: bytes) -> bool:
        """Record the published head and notify. True if it is now the published one, False if a larger one stands.

        The same head again replaces the note (more cosignatures). Raises DatabaseError if no commit has this size,
        ForkDetected if the log has another root at this size, OutcomeUnknown.
        """
        async with self._changing("publishing the head") as connection:
            standing = await self._standing(connection, size, root)
            moves: bool = standing["size"] <= size
            if moves:
                await connection.execute(_PUBLISH, size, root, time_s, note, CHANNEL)
        return moves

    async def close(self) -> None:
        """Ends the session, which frees the lock. Never raises for what the database does."""
        connection, self._connection, self._held = self._connection, None, False
        if connection is not None:
            await close_connection(connection)

    def _alive(self) -> Connection:
        if self._connection is None or self._connection.is_closed() or not self._held:
            raise DatabaseError("the publisher's session does not hold its lock")
        return self._connection

    async def _standing(self, connection: Connection, size: int, root: bytes) -> Any:
        """The published row, locked; refuses a head that is not one of the log's own commits."""
        standing = await connection.fetchrow(_STANDING, size)
        if standing["committed_root"] is None:
            raise DatabaseError(f"no commit of the log ends at size {size}")
        if standing["committed_root"] != root:
            raise ForkDetected(f"two roots of size {size}: the log's own is another", size=size)
        return standing

    def _take_warning(self, _connection: Connection, message: Any) -> None:
        if message.severity_en == "WARNING":
            self._warnings.append(one_sentence(message))

    @contextlib.asynccontextmanager
    async def _changing(self, what: str) -> AsyncIterator[Connection]:
        connection = self._alive()
        self._warnings.clear()
        try:
            with reading(what):
                await connection.execute(_LOCK)
                yield connection
            await asyncio.sleep(0)  # asyncpg hands notices to the loop; let them arrive
            if self._warnings:
                raise DatabaseError(f"{what} drew a warning: {self._warnings[0]}")
        except BaseException:
            await roll_back(connection)
            raise
        await commit(connection, what)


class Listener:
    """LISTEN on a connection of its own that comes back by itself. Comes from `Store.listen`."""

    def __init__(
        self, sessions: Sessions, callback: Callable[[str], None], pause: Callable[[float], Awaitable[None]]
    ) -> None:
        self._sessions = sessions
        self._callback = callback
        self._pause = pause

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connected when entered (DatabaseError if that fails); from then on every loss is repaired."""
        connection, lost = await self._connect()
        task = asyncio.create_task(self._run(connection, lost), name="store-listener")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _connect(self) -> tuple[Connection, asyncio.Event]:
        connection = await self._sessions.dedicated("listener", idle_session_timeout=0)
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            with reading("listening to the database"):
                await connection.add_listener(CHANNEL, lambda _c, _pid, _channel, payload: self._call(payload))
        except BaseException:
            connection.terminate()
            raise
        self._call("connected")
        return connection, lost

    def _call(self, payload: str) -> None:
        try:
            self._callback(payload)
        except Exception:
            _log.exception("a listener's callback failed on %s", payload)

    async def _run(self, connection: Connection, lost: asyncio.Event) -> None:
        while True:
            try:
                await self._watch(connection, lost)
            finally:
                connection.terminate()
            connection, lost = await self._reconnect()

    async def _watch(self, connection: Connection, lost: asyncio.Event) -> None:
        """Returns once the connection is lost. The probe finds a peer that vanished without a word."""
        while not lost.is_set():
            try:
                # Not `asyncio.wait_for`: before Python 3.12 it may swallow a cancellation.
                async with asyncio.timeout(_PROBE_EVERY_S):
                    await lost.wait()
            except TimeoutError:
                try:
                    await connection.execute("SELECT 1", timeout=_PROBE_TIMEOUT_S)
                except FAILURES:
                    return

    async def _reconnect(self) -> tuple[Connection, asyncio.Event]:
        wait = _FIRST_PAUSE_S
        while True:
            try:
                return await self._connect()
            except LedgerError as error:
                _log.warning("the listener cannot reach the database: %s", error.detail)
            await self._pause(wait)
            wait = min(2 * wait, _LONGEST_PAUSE_S)
