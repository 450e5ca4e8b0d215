"""Sessions with Postgres: how a connection is set up, and what its failures mean.

Two answers only leave this package when something breaks:

    DatabaseError    nothing changed
    OutcomeUnknown   the COMMIT (or the one autocommitted statement) was sent and its answer never came

So that the second stays rare and the first stays true, statements of a transaction are classed by when they fail:
anything before COMMIT is rolled back by the server when the session ends. A server WARNING at COMMIT counts as
"unknown": with synchronous replication a cancelled wait reports success with a warning, committed here only.

Not for pools that share server sessions between clients (transaction pooling): prepared statements, session locks and
LISTEN need a session of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg

from ledger.errors import DatabaseError, LedgerError, OutcomeUnknown

#: An asyncpg connection. The library is untyped; this alias is where that ends.
Connection = Any

CHANNEL = "badge_ledger"
MINIMUM_VERSION = 15

#: What asyncpg raises: server errors, its own, and the socket's (TimeoutError is an OSError).
FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

_ROLLBACK_TIMEOUT_S = 5.0


def one_sentence(error: BaseException) -> str:
    """The failure as one line without a trailing period."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text[:300]


def is_refusal(error: BaseException) -> bool:
    """True if the server (or asyncpg before sending) answered with an error: the statement had no effect.

    A FATAL in place of an answer to COMMIT is none: the session may have been ended while it waited for a replica.
    Except 25P03: only a session that has not sent its COMMIT idles in a transaction.
    """
    if isinstance(error, asyncpg.PostgresError):
        return getattr(error, "severity_en", None) == "ERROR" or error.sqlstate == "25P03"
    return isinstance(error, ValueError | TypeError)  # an argument that asyncpg would not encode


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Failures inside become DatabaseError: for statements that change nothing, or that a COMMIT has yet to follow."""
    try:
        yield
    except FAILURES as error:
        raise DatabaseError(f"{what} failed: {one_sentence(error)}") from error


@contextlib.contextmanager
def writing(what: str) -> Iterator[None]:
    """Failures inside become DatabaseError if the server refused, OutcomeUnknown if it did not answer."""
    try:
        yield
    except FAILURES as error:
        raise _after_sending(what, error) from error


def _after_sending(what: str, error: BaseException) -> LedgerError:
    if is_refusal(error):
        return DatabaseError(f"{what} failed: {one_sentence(error)}")
    return OutcomeUnknown(f"{what} was sent and not answered: {one_sentence(error)}", retry_after_s=1)


def server_settings(application_name: str, **settings: int | str) -> dict[str, str]:
    """Session settings that the store relies on, whatever the database's or role's defaults are.

    No statement timeout: it would cancel a COMMIT's wait for its replica and look like success. The client's own
    timeout ends such a session instead, which is an unknown outcome. No sequential scans where an index serves: every
    query here has one, and a plan made while a table was empty would read all of it once it is large.
    """
    return {
        "application_name": application_name,
        "default_transaction_isolation": "read committed",
        "statement_timeout": "0",
        "enable_seqscan": "off",
        "jit": "off",
    } | {name: str(value) for name, value in settings.items()}


async def open_connection(
    dsn: str, settings: dict[str, str], *, command_timeout_s: float | None = None, connect_timeout_s: float = 10.0
) -> Connection:
    """A connection outside the pool. Raises DatabaseError."""
    with reading("connecting to the database"):
        try:
            return await asyncpg.connect(
                dsn, server_settings=settings, command_timeout=command_timeout_s, timeout=connect_timeout_s
            )
        except ValueError as error:
            raise DatabaseError(f"the database's URL cannot be read: {one_sentence(error)}") from error


async def close_connection(connection: Connection) -> None:
    """Say goodbye, or cut. Never raises for what the database does."""
    if not is_lost(connection):
        try:
            await connection.close(timeout=5.0)
        except FAILURES:
            cut(connection)


async def check_server(connection: Connection) -> None:
    """Refuses a server that is too old or that would lose commits it has acknowledged. Raises DatabaseError."""
    with reading("asking the database for its settings"):
        version = connection.get_server_version().major
        row = await connection.fetchrow(
            "SELECT current_setting('synchronous_commit') AS commit, current_setting('fsync') AS fsync,"
            " current_setting('full_page_writes') AS pages, pg_is_in_recovery() AS standby"
        )
    if version < MINIMUM_VERSION:
        raise DatabaseError(f"the database is PostgreSQL {version}; {MINIMUM_VERSION} or newer is needed")
    if row["standby"]:
        raise DatabaseError("the database is a standby in recovery and takes no writes")
    if row["commit"] in ("off", "local"):
        raise DatabaseError(f"the database runs with synchronous_commit = {row['commit']}: commits could be lost")
    if row["fsync"] != "on" or row["pages"] != "on":
        raise DatabaseError("the database runs without fsync or full_page_writes: commits could be lost")


class Warnings:
    """Collects the server's WARNINGs on a connection while inside `with`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.texts: list[str] = []

    def _take(self, _connection: Connection, message: Any) -> None:
        if message.severity_en == "WARNING":
            self.texts.append(one_sentence(message))

    def __enter__(self) -> Warnings:
        self._connection.add_log_listener(self._take)
        return self

    def __exit__(self, *_: object) -> None:
        if not is_lost(self._connection):
            self._connection.remove_log_listener(self._take)


def is_lost(connection: Connection) -> bool:
    """True if the session is known to be gone. A pooled connection that was lost or cut is the pool's again and
    refuses every question.
    """
    try:
        closed: bool = connection.is_closed()
    except asyncpg.InterfaceError:
        return True
    return closed


def cut(connection: Connection) -> None:
    """End the session without a word."""
    if not is_lost(connection):
        connection.terminate()


async def roll_back(connection: Connection) -> None:
    """End the open transaction without effect; a session that does not obey is cut, which has the same effect."""
    if is_lost(connection):
        return
    try:
        await connection.execute("ROLLBACK", timeout=_ROLLBACK_TIMEOUT_S)
    except BaseException as error:
        cut(connection)
        if not isinstance(error, FAILURES):
            raise


async def commit(connection: Connection, what: str) -> None:
    """COMMIT. Raises DatabaseError (nothing changed) or OutcomeUnknown; the session is cut after either."""
    if is_lost(connection):  # lost before COMMIT was sent: the server rolls back
        raise DatabaseError(f"{what} failed: the connection was lost before the commit")
    with Warnings(connection) as warnings:
        try:
            status = await connection.execute("COMMIT")
            await asyncio.sleep(0)  # asyncpg hands notices to the loop; let those of this COMMIT arrive
        except FAILURES as error:
            cut(connection)
            raise _after_sending(what, error) from error
        except BaseException:  # cancelled: the caller is gone, and the session must not be reused in mid-commit
            cut(connection)
            raise
    if status != "COMMIT":
        raise DatabaseError(f"{what} failed: the database answered {status} to COMMIT")
    if warnings.texts:
        raise OutcomeUnknown(f"{what} was committed with a warning: {warnings.texts[0]}", retry_after_s=1)


async def _keep(_connection: Connection) -> None:
    """Nothing to reset between users of the pool: no code here changes a session, and a reset costs a round trip."""


class Sessions:
    """A pool of sessions. One per Store."""

    def __init__(self, pool: Any, dsn: str, application_name: str) -> None:
        self._pool = pool
        self._dsn = dsn
        self._application_name = application_name

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        min_size: int,
        max_size: int,
        idle_in_transaction_timeout_ms: int,
        command_timeout_s: float,
        application_name: str,
    ) -> Sessions:
        settings = server_settings(application_name, idle_in_transaction_session_timeout=idle_in_transaction_timeout_ms)
        with reading("connecting to the database"):
            # No floor (min_size=0): asyncpg would fill the log with its attempts to keep one while the server is away.
            # Sessions are opened when needed, the first few right here, and stay open.
            pool = await asyncpg.create_pool(
                dsn,
                min_size=0,
                max_size=max_size,
                max_inactive_connection_lifetime=0,
                command_timeout=command_timeout_s,
                timeout=10.0,
                server_settings=settings,
                reset=_keep,
            )
            try:
                first = await asyncio.gather(*(pool.acquire() for _ in range(min_size)))
                for connection in first:
                    await pool.release(connection)
            except BaseException:
                pool.terminate()
                raise
        return cls(pool, dsn, application_name)

    async def close(self, timeout_s: float) -> None:
        """Waits for sessions in use, then cuts them. Never raises for what the database does."""
        try:
            await asyncio.wait_for(self._pool.close(), timeout_s)
        except (TimeoutError, *FAILURES):
            self._pool.terminate()

    async def dedicated(self, purpose: str, **settings: int | str) -> Connection:
        """A connection of its own without a client-side timeout. Raises DatabaseError."""
        return await open_connection(self._dsn, server_settings(f"{self._application_name} {purpose}", **settings))

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """A pooled session. Failing to get one is a DatabaseError; failures inside pass through untouched."""
        with reading("connecting to the database"):
            connection = await self._pool.acquire()
        try:
            yield connection
        finally:
            with contextlib.suppress(*FAILURES):  # a broken session is dropped by the pool
                await self._pool.release(connection)

    @contextlib.asynccontextmanager
    async def transaction(self, what: str) -> AsyncIterator[Connection]:
        """BEGIN ... COMMIT. Failures of the statements inside become DatabaseError, COMMIT's as `commit` says."""
        async with self.session() as connection:
            try:
                with reading(what):
                    await connection.execute("BEGIN")
                    yield connection
            except BaseException:
                await roll_back(connection)
                raise
            await commit(connection, what)

    async def fetch(self, what: str, sql: str, *arguments: Any) -> list[Any]:
        """Rows of one reading statement: one snapshot. Raises DatabaseError."""
        async with self.session() as connection:
            with reading(what):
                rows: list[Any] = await connection.fetch(sql, *arguments)
                return rows

    async def fetch_row(self, what: str, sql: str, *arguments: Any) -> Any:
        """The first row of one reading statement, or None. Raises DatabaseError."""
        async with self.session() as connection:
            with reading(what):
                return await connection.fetchrow(sql, *arguments)

    async def change(self, what: str, sql: str, *arguments: Any) -> Any:
        """The first row of one writing statement that commits by itself. Raises DatabaseError or OutcomeUnknown."""
        async with self.session() as connection:
            with writing(what):
                return await connection.fetchrow(sql, *arguments)


class Part:
    """A part of the store's methods, on the store's sessions."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
