"""The guard: a compare-and-swap register outside the database that holds the largest head that may have been signed.

    read            the standing head
    swap(old, new)  atomic and durable before it returns; sizes only ever grow
    identity        given once, when the register is made; the database records it and takes no other

A database that is rolled back, or fails over with its tail lost, cannot make the ledger sign a second history: nothing
is signed before the guard has moved to it, and the guard is never lowered. What to do when it is ahead of the database
is the operator's to decide (docs/operations); nothing here resets it.

SqliteGuard serves the processes of one machine. On the database's own disk it does not survive a rollback of that disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from ledger.errors import LedgerError, OperationError
from ledger.merkle import EMPTY_ROOT, HASH_BYTES

T = TypeVar("T")


class GuardHead(msgspec.Struct, frozen=True):
    """A head: tree size, root (32 bytes) and the time it is signed with, in seconds."""

    size: int
    root: bytes
    time_s: int


#: What a new register holds.
NOTHING = GuardHead(0, EMPTY_ROOT, 0)


class GuardConflict(OperationError):
    """The register holds another head (`standing`) than the one that a swap expected; nothing was swapped."""

    slug, title, status = "guard-conflict", "Another process moved the guard", 503

    def __init__(self, standing: GuardHead) -> None:
        super().__init__(f"the guard stands at another head, of size {standing.size}", size=standing.size)
        self.standing = standing


class Guard(Protocol):
    """A register as above. Every failure is an OperationError."""

    @property
    def identity(self) -> str:
        """32 hexadecimal digits."""

    async def read(self) -> GuardHead:
        """The standing head."""

    async def swap(self, expected: GuardHead, new: GuardHead) -> None:
        """Replace `expected` by `new`, whose size must be larger (else ValueError). Raises GuardConflict.

        After any other OperationError, or a cancellation, the register may hold either: see `swap_or_confirm`.
        """

    async def close(self) -> None:
        """Let go of the register."""


async def swap_or_confirm(guard: Guard, expected: GuardHead, new: GuardHead) -> None:
    """`swap`, or find that an earlier swap to exactly `new`, whose answer was lost, took hold.

    Raises GuardConflict if another head stands, OperationError if the register cannot be asked or did not move.
    """
    try:
        await guard.swap(expected, new)
    except GuardConflict as conflict:
        if conflict.standing != new:
            raise
    except OperationError:
        standing = await guard.read()
        if standing == expected:
            raise
        if standing != new:
            raise GuardConflict(standing) from None


# The trigger holds even against a hand with an SQL shell.
_SCHEMA = """
CREATE TABLE guard (
    single   INTEGER PRIMARY KEY CHECK (single = 1),
    identity TEXT NOT NULL CHECK (length(identity) = 32),
    size     INTEGER NOT NULL CHECK (size >= 0),
    root     BLOB NOT NULL CHECK (typeof(root) = 'blob' AND length(root) = 32),
    time_s   INTEGER NOT NULL
);
CREATE TRIGGER guard_grows BEFORE UPDATE ON guard WHEN NEW.size <= OLD.size OR NEW.identity <> OLD.identity
BEGIN SELECT RAISE(ABORT, 'the guard only grows'); END;
CREATE TRIGGER guard_stays BEFORE DELETE ON guard BEGIN SELECT RAISE(ABORT, 'the guard is never lowered'); END;
"""
_READ = "SELECT identity, size, root, time_s FROM guard WHERE single = 1"
_SWAP = "UPDATE guard SET size = ?, root = ?, time_s = ? WHERE single = 1"


class SqliteGuard:
    """The register as an SQLite file of mode 0600, for the processes of one machine.

    Journal: WAL with synchronous=FULL, which syncs the log file before COMMIT returns: durable, with one sync. The
    rollback journal commits by deleting a file, and FULL does not sync that deletion: after a power loss the journal
    may be back and undo a swap that was reported done. WAL needs a local file system (shared memory).
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, executor: ThreadPoolExecutor) -> None:
        """Use `open`."""
        self._path = path
        self._connection = connection
        self._executor = executor
        self._file = _file_id(path)
        self._identity = _row(connection)[0]

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        create: bool = True,
        timeout_s: float = 5.0,
        new_identity: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> SqliteGuard:
        """Open the register, making it at size 0 if there is no file and `create`.

        `timeout_s` bounds the wait for another process's swap. Raises OperationError if there is none, if it cannot
        be read, or if the file is no guard: an empty or foreign file is never taken for a new register.
        """
        executor = ThreadPoolExecutor(1, thread_name_prefix="guard")  # swaps of one process stand in line here

        def open_file() -> SqliteGuard:
            with _one_sentence(path):
                if not path.exists():
                    if not create:
                        raise OperationError(f"there is no guard at {path}")
                    _create(path, new_identity())
                connection = _connect(path, timeout_s)
                try:
                    return cls(path, connection, executor)
                except BaseException:
                    connection.close()
                    raise

        try:
            return await asyncio.get_running_loop().run_in_executor(executor, open_file)
        except BaseException:
            executor.shutdown(wait=False)
            raise

    @property
    def identity(self) -> str:
        return self._identity

    async def read(self) -> GuardHead:
        return await self._run(lambda: _row(self._connection)[1])

    async def swap(self, expected: GuardHead, new: GuardHead) -> None:
        if new.size <= expected.size:
            raise ValueError(f"the guard only grows: {expected.size} to {new.size}")
        if len(new.root) != HASH_BYTES:
            raise ValueError(f"a root has {HASH_BYTES} bytes, not {len(new.root)}")
        await self._run(lambda: self._swap(expected, new))

    async def close(self) -> None:
        """Waits for a swap under way."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._connection.close)
        self._executor.shutdown(wait=False)

    async def _run(self, action: Callable[[], T]) -> T:
        def act() -> T:
            with _one_sentence(self._path):
                # Whoever moves another file into this place makes two registers out of one: we hold the old file.
                if _file_id(self._path) != self._file:
                    raise OperationError(f"the guard's file {self._path} was replaced while in use")
                return action()

        return await asyncio.get_running_loop().run_in_executor(self._executor, act)

    def _swap(self, expected: GuardHead, new: GuardHead) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            identity, standing = _row(connection)
            if identity != self._identity:
                raise OperationError(f"the guard in {self._path} has another identity than when it was opened")
            if standing != expected:
                raise GuardConflict(standing)
            connection.execute(_SWAP, (new.size, new.root, new.time_s))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextlib.contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    """Failures of SQLite and of the file system become OperationErrors."""
    try:
        yield
    except LedgerError:
        raise
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OperationError(f"the guard in {path} cannot be used: {reason}") from error


def _connect(path: Path, timeout_s: float) -> sqlite3.Connection:
    # mode=rw: never makes a file. One connection, used by one thread at a time: the executor's.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        (journal,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
        if (journal, synchronous) != ("wal", 2):
            raise OperationError(f"the guard in {path} cannot be made durable: its file system has no shared memory")
    except BaseException:
        connection.close()
        raise
    return connection


def _row(connection: sqlite3.Connection) -> tuple[str, GuardHead]:
    row = connection.execute(_READ).fetchone()
    if row is None:
        raise OperationError("the guard's file holds no head")
    identity, size, root, time_s = row
    return identity, GuardHead(size, root, time_s)


def _file_id(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _create(path: Path, identity: str) -> None:
    """Make the file whole under another name and link it into place: it appears with its row or not at all.

    If another process was faster, its file stays and is used.
    """
    made = path.with_name(f"{path.name}.{identity}.new")
    try:
        os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(made, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.executescript(f"BEGIN;{_SCHEMA}")
            connection.execute("INSERT INTO guard VALUES (1, ?, 0, ?, 0)", (identity, EMPTY_ROOT))
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")  # recorded in the file
        finally:
            connection.close()
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        made.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
