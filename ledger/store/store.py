"""The ledger's tables in Postgres behind one class.

    append.py        the write path             reads.py      tiles, entries, commits, status, lookup
    publication.py   publisher, listeners       upkeep.py     slots, snapshots, settings
    session.py       connections, failures      migrate.py    the schema

Every failure is a DatabaseError (nothing changed) or an OutcomeUnknown (a COMMIT's answer was lost), and NotFound where
a method says so; asyncpg's exceptions never leave. A bad argument of the caller is a ValueError.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from ledger.store.append import LOCK, READ_HEAD, Append, head_from_row
from ledger.store.migrate import migrate
from ledger.store.publication import Listener, PublisherSession
from ledger.store.reads import Reads
from ledger.store.session import (
    Sessions,
    check_server,
    close_connection,
    commit,
    open_connection,
    reading,
    roll_back,
    server_settings,
)
from ledger.store.upkeep import Upkeep

_CLOSE_TIMEOUT_S = 10.0
_MIGRATION_IDLE_MS = 60_000


class Store(Reads, Upkeep):
    """One per process and database."""

    @classmethod
    async def connect(
        cls,
        dsn: str,
        *,
        min_size: int = 2,
        max_size: int = 10,
        idle_in_transaction_timeout_ms: int = 10_000,
        command_timeout_s: float = 60.0,
        application_name: str = "badge-ledger",
    ) -> Store:
        """Check the server, bring the schema up to date and open the pool.

        `idle_in_transaction_timeout_ms`: after that long a stopped process loses its session and so the head's lock.
        `command_timeout_s`: after that long without an answer a session is given up. Raises DatabaseError.
        """
        settings = server_settings(
            f"{application_name} migration",
            idle_session_timeout=_MIGRATION_IDLE_MS,  # a stopped process must not keep the migration lock
            idle_in_transaction_session_timeout=_MIGRATION_IDLE_MS,
        )
        connection = await open_connection(dsn, settings)
        try:
            await check_server(connection)
            await migrate(connection)
        finally:
            await close_connection(connection)
        return cls(
            await Sessions.open(
                dsn,
                min_size=min_size,
                max_size=max_size,
                idle_in_transaction_timeout_ms=idle_in_transaction_timeout_ms,
                command_timeout_s=command_timeout_s,
                application_name=application_name,
            )
        )

    async def close(self) -> None:
        """Ends all pooled sessions; those in use have 10 s. Publisher sessions and listeners close themselves."""
        await self._sessions.close(_CLOSE_TIMEOUT_S)

    @contextlib.asynccontextmanager
    async def append(self) -> AsyncIterator[Append]:
        """An open group commit with the head row locked: COMMIT on a clean exit after write(), else ROLLBACK.

        Waits for the lock. After OutcomeUnknown (or a cancellation) on exit, read the head to see what stands.
        """
        async with self._sessions.session() as connection:
            try:
                with reading("locking the head"):
                    await connection.execute(LOCK)
                    row = await connection.fetchrow(READ_HEAD)
                append = Append(connection, head_from_row(row))
                yield append
            except BaseException:
                await roll_back(connection)
                raise
            if append.written:
                await commit(connection, "the commit")
            else:
                await roll_back(connection)

    def publisher(self, *, idle_session_timeout_ms: int = 15_000) -> PublisherSession:
        """A publisher's session, not yet connected: `acquire` connects."""
        return PublisherSession(self._sessions, idle_session_timeout_ms)

    def listen(
        self, callback: Callable[[str], None], *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> AbstractAsyncContextManager[None]:
        """While inside, callback("integrated") or ("published") after each commit of anyone, in the loop's thread.

        callback("connected") comes first and after each reconnection: what was notified meanwhile is lost, so reread.
        `pause` waits between attempts to reconnect. Entering raises DatabaseError if the database cannot be reached.
        """
        return Listener(self._sessions, callback, pause).running()


__all__ = ["Append", "PublisherSession", "Store"]
