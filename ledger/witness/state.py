"""The newest head that a witness cosigned, of each log: an SQLite file that is durable before anything is answered.

    head(origin, size, root, time_s, note)    `note` is the signed checkpoint with the witness's cosignatures

One process has the file at a time: it is opened in SQLite's exclusive locking mode and stays locked until it is closed.
Journal: WAL with synchronous=FULL, as the guard's (docs/decisions/0002). Heads of several logs that come at the same
time share one transaction and one sync. Triggers refuse to lower a size or a time, to put another root under a size,
and to forget a log, even to a hand with an SQL shell.

What this module does not do: notice that an older copy of the file was put in its place while no witness ran. Whoever
restores one lets the witness cosign a second history (docs/witness.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from ledger import faults
from ledger.errors import DataDirectoryBusy, LedgerError, OperationError
from ledger.witness.rules import StandingHead

_APPLICATION_ID: Final = 0x424C5753  # "BLWS"

_SCHEMA: Final = f"""
PRAGMA application_id = {_APPLICATION_ID};
CREATE TABLE head (
    origin TEXT PRIMARY KEY,
    size   INTEGER NOT NULL CHECK (size >= 0),
    root   BLOB NOT NULL CHECK (typeof(root) = 'blob' AND length(root) = 32),
    time_s INTEGER NOT NULL CHECK (time_s > 0),
    note   BLOB NOT NULL CHECK (typeof(note) = 'blob')
) WITHOUT ROWID;
CREATE TRIGGER head_grows BEFORE UPDATE ON head
WHEN NEW.size < OLD.size OR NEW.time_s < OLD.time_s OR NEW.origin <> OLD.origin
  OR (NEW.size = OLD.size AND NEW.root <> OLD.root)
BEGIN SELECT RAISE(ABORT, 'a witness only goes forward'); END;
CREATE TRIGGER head_stays BEFORE DELETE ON head BEGIN SELECT RAISE(ABORT, 'a witness forgets nothing'); END;
"""
_READ: Final = "SELECT origin, size, root, time_s, note FROM head"
_FIRST: Final = "INSERT INTO head (size, root, time_s, note, origin) VALUES (?, ?, ?, ?, ?)"
_SWAP: Final = (
    "UPDATE head SET size = ?, root = ?, time_s = ?, note = ? WHERE origin = ? AND size = ? AND root = ? AND time_s = ?"
)


class _Swap(NamedTuple):
    origin: str
    expected: StandingHead | None
    new: StandingHead
    done: asyncio.Future[None]


class WitnessState:
    """The open file. `heads` holds what is durable, by origin."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Use `open`."""
        self._path = path
        self._connection = connection
        self._file = _file_id(path)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="witness-state")
        self._waiting: list[_Swap] = []
        self._writing: asyncio.Task[None] | None = None
        self._closed = False
        self.heads = {row[0]: StandingHead(*row[1:]) for row in connection.execute(_READ)}

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> WitnessState:
        """Open the file, or with `create` make a new one, mode 0600; one that holds no head yet is as good as new.

        Raises OperationError if there is none, or with `create` if there is one with heads; if it cannot be read or
        made durable, or is something else. DataDirectoryBusy if another process has it.
        """
        with _one_sentence(path):
            if create and not path.exists():
                _create(path)
            elif not path.exists():
                raise OperationError(f"there is no witness state at {path}: an old key must not start without it")
            connection = _connect(path)
            try:
                state = cls(path, connection)
                if create and state.heads:
                    raise OperationError(f"there is a witness state at {path} already: start without making a new one")
            except BaseException:
                connection.close()
                raise
            return state

    async def swap(self, origin: str, expected: StandingHead | None, new: StandingHead) -> None:
        """Replace the head of a log; durable when it returns, and then in `heads`.

        Raises OperationError; then `heads`, and what stands in the file, are as before. One swap of a log at a time.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Swap(origin, expected, new, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await done

    async def close(self) -> None:
        """Waits for swaps under way. A second time it does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._writing is not None:
            await asyncio.wait([self._writing])
        await asyncio.get_running_loop().run_in_executor(self._executor, self._connection.close)
        self._executor.shutdown(wait=False)

    async def _write(self) -> None:
        """Write what is waiting, and what has come meanwhile, until nothing is."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            group, self._waiting = self._waiting, []
            failure: BaseException | None = None
            try:
                await loop.run_in_executor(self._executor, self._commit, group)
            except BaseException as error:
                failure = error
            else:
                # Before anybody is woken: a caller that went away meanwhile changes nothing about what is durable.
                self.heads.update((swap.origin, swap.new) for swap in group)
            for swap in group:
                if swap.done.cancelled():
                    continue
                if failure is None:
                    swap.done.set_result(None)
                else:
                    swap.done.set_exception(failure)

    def _commit(self, group: Sequence[_Swap]) -> None:
        with _one_sentence(self._path):
            # Whoever moves another file into this place makes two witnesses out of one: we hold the old file.
            if _file_id(self._path) != self._file:
                raise OperationError(f"the witness state {self._path} was replaced while in use")
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                for swap in group:
                    _swap(connection, swap)
                faults.reach("witness.before-commit")
                connection.execute("COMMIT")
                faults.reach("witness.after-commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise


def _swap(connection: sqlite3.Connection, swap: _Swap) -> None:
    new, old = swap.new, swap.expected
    row = (new.size, new.root, new.time_s, new.note, swap.origin)
    if old is None:
        connection.execute(_FIRST, row)
    elif connection.execute(_SWAP, (*row, old.size, old.root, old.time_s)).rowcount != 1:
        raise OperationError(f"the witness state holds another head of {swap.origin[:80]!r} than this witness")


@contextlib.contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    """Failures of SQLite and of the file system become OperationErrors."""
    try:
        yield
    except LedgerError:
        raise
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise DataDirectoryBusy(f"another process uses the witness state {path}") from error
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OperationError(f"the witness state {path} cannot be used: {reason}") from error


def _connect(path: Path) -> sqlite3.Connection:
    # mode=rw: never makes a file. One connection, used by one thread at a time: the opener's, then the executor's.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None, check_same_thread=False
    )
    try:
        # Before the first read: then the lock that it takes is kept, and no shared memory is needed.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        if connection.execute("PRAGMA application_id").fetchone() != (_APPLICATION_ID,):
            raise OperationError(f"{path} is no witness state")
        (journal,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
        if (journal, synchronous) != ("wal", 2):
            raise OperationError(f"the witness state {path} cannot be made durable on its file system")
        connection.execute("BEGIN IMMEDIATE")  # shows that it can be written, and takes the lock
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Make the file whole under another name and link it into place: it appears with its tables or not at all."""
    made = path.with_name(f".{path.name}.{os.getpid()}.new")
    made.unlink(missing_ok=True)
    try:
        os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(made, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.executescript(f"BEGIN;{_SCHEMA};COMMIT;")
            connection.execute("PRAGMA journal_mode = WAL")  # recorded in the file
        finally:
            connection.close()
        try:
            os.link(made, path)
        except FileExistsError:
            raise OperationError(
                f"there is a witness state at {path} already: start without making a new one"
            ) from None
    finally:
        made.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _file_id(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
