"""The guard: one register, moved by comparison only, durable, never lowered."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import sqlite3
import stat
from collections.abc import AsyncIterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from ledger.errors import OperationError
from ledger.guard import NOTHING, Guard, GuardConflict, GuardHead, SqliteGuard, swap_or_confirm
from ledger.merkle import EMPTY_ROOT


def head(size: int, *, note: str = "") -> GuardHead:
    return GuardHead(size, hashlib.sha256(f"{size}{note}".encode()).digest(), 1_700_000_000 + size)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "guard.db"


@pytest.fixture
async def guard(path: Path) -> AsyncIterator[SqliteGuard]:
    guard = await SqliteGuard.open(path)
    yield guard
    await guard.close()


async def test_a_new_register_holds_the_empty_tree_and_an_identity_of_its_own(path: Path, guard: SqliteGuard) -> None:
    """A guard begins at size 0, root EMPTY_ROOT, time 0, and no two have one identity."""
    assert await guard.read() == NOTHING == GuardHead(0, EMPTY_ROOT, 0)
    other = await SqliteGuard.open(path.with_name("other.db"))
    await other.close()
    assert len(guard.identity) == 32
    assert guard.identity != other.identity


async def test_a_swap_stands_after_the_register_is_opened_again(path: Path, guard: SqliteGuard) -> None:
    """What was swapped, and the identity, are in the file."""
    await guard.swap(NOTHING, head(2))
    await guard.swap(head(2), head(9))
    again = await SqliteGuard.open(path, create=False)
    try:
        assert await again.read() == head(9)
        assert again.identity == guard.identity
    finally:
        await again.close()


async def test_only_its_owner_may_read_or_write_the_files(path: Path, guard: SqliteGuard) -> None:
    """Mode 0600, for SQLite's log and shared memory too; nothing else is left behind by making it."""
    await guard.swap(NOTHING, head(1))
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert files == {"guard.db": 0o600, "guard.db-wal": 0o600, "guard.db-shm": 0o600}


async def test_a_swap_is_synced_before_it_returns(guard: SqliteGuard) -> None:
    """The connection runs with the settings under which COMMIT syncs the log file."""
    settings = [guard._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert settings == ["wal", 2]


@pytest.mark.parametrize(
    "wrong",
    [head(4), GuardHead(5, head(4).root, head(5).time_s), GuardHead(5, head(5).root, 0), NOTHING],
    ids=["size", "root", "time", "nothing"],
)
async def test_a_wrong_expectation_swaps_nothing_and_says_what_stands(guard: SqliteGuard, wrong: GuardHead) -> None:
    """Size, root and time must all be as expected; the conflict carries the standing head."""
    await guard.swap(NOTHING, head(5))
    with pytest.raises(GuardConflict) as caught:
        await guard.swap(wrong, head(6))
    assert caught.value.standing == head(5)
    assert await guard.read() == head(5)


@pytest.mark.parametrize("size", [0, 4, 5])
async def test_sizes_only_grow(guard: SqliteGuard, size: int) -> None:
    """Not even the right expectation lowers or repeats a size; the file itself refuses, whoever asks."""
    await guard.swap(NOTHING, head(5))
    with pytest.raises(ValueError, match="only grows"):
        await guard.swap(head(5), head(size, note="other"))
    with pytest.raises(sqlite3.IntegrityError, match="only grows"):
        guard._connection.execute("UPDATE guard SET size = ?", (size,))
    with pytest.raises(sqlite3.IntegrityError, match="never lowered"):
        guard._connection.execute("DELETE FROM guard")
    assert await guard.read() == head(5)


async def test_a_root_has_32_bytes(guard: SqliteGuard) -> None:
    """A value that is no hash is the caller's mistake, found before the file is touched."""
    with pytest.raises(ValueError, match="32 bytes"):
        await guard.swap(NOTHING, GuardHead(1, b"short", 1))


async def test_tasks_of_one_process_stand_in_line(guard: SqliteGuard) -> None:
    """Of many swaps at once from the same head exactly one takes hold."""
    heads = [head(3, note=str(n)) for n in range(20)]
    results = await asyncio.gather(*(guard.swap(NOTHING, new) for new in heads), return_exceptions=True)
    assert [type(result) for result in results].count(type(None)) == 1
    assert await guard.read() == heads[results.index(None)]


def _race(path: Path, name: str, steps: int, barrier: Barrier, results: multiprocessing.Queue[list[bool]]) -> None:
    async def run() -> list[bool]:
        barrier.wait()  # both make the file at once, too
        guard = await SqliteGuard.open(path, timeout_s=30)
        won = []
        for step in range(steps):
            barrier.wait()
            standing = await guard.read()
            barrier.wait()
            try:
                await guard.swap(standing, head(step + 1, note=name))
                won.append(True)
            except GuardConflict as conflict:
                won.append(conflict.standing == head(step + 1, note=name))
        await guard.close()
        return won

    results.put(asyncio.run(run()))


def test_of_two_processes_exactly_one_wins_each_step(path: Path) -> None:
    """Two processes read the same head and swap at once, forty times: one moves it, the other is told."""
    steps = 40
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    racers = [context.Process(target=_race, args=(path, name, steps, barrier, results)) for name in ("a", "b")]
    for racer in racers:
        racer.start()
    won = [results.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join()
    assert [first + second for first, second in zip(*won, strict=True)] == [1] * steps
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT size FROM guard").fetchone() == (steps,)
    connection.close()


class Lossy:
    """A guard whose answers to swaps are lost, after or before they take hold."""

    def __init__(self, guard: Guard, *, takes_hold: bool) -> None:
        self._guard = guard
        self._takes_hold = takes_hold
        self.identity = guard.identity

    async def read(self) -> GuardHead:
        return await self._guard.read()

    async def swap(self, expected: GuardHead, new: GuardHead) -> None:
        if self._takes_hold:
            await self._guard.swap(expected, new)
        raise OperationError("the answer was lost")

    async def close(self) -> None:
        await self._guard.close()


async def test_a_swap_whose_answer_was_lost_is_found_in_the_register(guard: SqliteGuard) -> None:
    """swap_or_confirm returns if the register holds our value, and repeats the failure if it never moved."""
    await swap_or_confirm(Lossy(guard, takes_hold=True), NOTHING, head(1))
    assert await guard.read() == head(1)
    with pytest.raises(OperationError, match="answer was lost"):
        await swap_or_confirm(Lossy(guard, takes_hold=False), head(1), head(2))
    assert await guard.read() == head(1)


async def test_a_lost_swap_that_somebody_overtook_is_a_conflict(guard: SqliteGuard) -> None:
    """If neither the expected nor our head stands, another process moved the register."""
    await guard.swap(NOTHING, head(7))
    with pytest.raises(GuardConflict) as caught:
        await swap_or_confirm(Lossy(guard, takes_hold=False), head(1), head(2))
    assert caught.value.standing == head(7)


async def test_repeating_a_swap_that_took_hold_succeeds(guard: SqliteGuard) -> None:
    """After a crash between swap and answer the same swap is made again; another one in its place is a conflict."""
    await guard.swap(NOTHING, head(4))
    await swap_or_confirm(guard, NOTHING, head(4))
    with pytest.raises(GuardConflict):
        await swap_or_confirm(guard, NOTHING, head(4, note="other"))


def _table_dropped(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE guard")
    connection.close()


def _overwritten(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [_table_dropped, _overwritten, _emptied])
async def test_a_spoilt_file_is_refused_in_one_sentence(path: Path, spoil: object) -> None:
    """Neither a file without its table nor garbage nor an empty file is taken for a new register."""
    await (await SqliteGuard.open(path)).close()
    assert callable(spoil)
    spoil(path)
    with pytest.raises(OperationError) as caught:
        await SqliteGuard.open(path)
    assert str(path) in caught.value.detail
    assert "\n" not in caught.value.detail


async def test_a_missing_file_is_made_only_when_asked(path: Path) -> None:
    """`create=False` is for those who must find the register that the database knows."""
    with pytest.raises(OperationError, match="there is no guard"):
        await SqliteGuard.open(path, create=False)
    assert not path.exists()  # noqa: ASYNC240


async def test_a_file_replaced_under_the_process_is_noticed(path: Path, guard: SqliteGuard, tmp_path: Path) -> None:
    """Two processes with two files under one name would be two registers: both operations refuse."""
    await guard.swap(NOTHING, head(3))
    await (await SqliteGuard.open(tmp_path / "other.db")).close()
    (tmp_path / "other.db").rename(path)
    for operation in (guard.read(), guard.swap(head(3), head(4))):
        with pytest.raises(OperationError, match="replaced"):
            await operation


async def test_a_lock_held_too_long_is_an_operation_error(path: Path) -> None:
    """A process that hangs in the middle of a swap does not hang the others beyond their timeout."""
    guard = await SqliteGuard.open(path, timeout_s=0.05)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(OperationError, match="locked"):
            await guard.swap(NOTHING, head(1))
        assert await guard.read() == NOTHING
    finally:
        blocker.close()
        await guard.close()
