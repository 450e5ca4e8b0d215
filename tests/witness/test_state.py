"""The state file: durable, forward only, one process, and nothing else is taken for it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ledger.errors import DataDirectoryBusy, OperationError
from ledger.witness import StandingHead, WitnessState

HEAD = StandingHead(5, b"\1" * 32, 1000, b"note")
NEXT = StandingHead(9, b"\2" * 32, 1001, b"next")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "witness.db"


async def test_what_was_swapped_is_there_after_closing(path: Path) -> None:
    """Every field of every log."""
    state = WitnessState.open(path, create=True)
    assert state.heads == {}
    await state.swap("a", None, HEAD)
    await state.swap("a", HEAD, NEXT)
    await state.swap("ü b", None, HEAD)
    await state.close()
    await state.close()
    state = WitnessState.open(path)
    assert state.heads == {"a": NEXT, "ü b": HEAD}
    await state.close()


async def test_many_logs_at_once(path: Path) -> None:
    """What waits together is written together, in a few transactions."""
    state = WitnessState.open(path, create=True)
    commits: list[int] = []
    real = state._commit
    state._commit = lambda group: (commits.append(len(group)), real(group))[1]  # type: ignore[method-assign,func-returns-value]
    await asyncio.gather(*(state.swap(f"log {k}", None, HEAD) for k in range(500)))
    assert len(commits) <= 2
    assert sum(commits) == len(state.heads) == 500
    await state.close()


@pytest.mark.parametrize(
    "wrong",
    [
        StandingHead(4, HEAD.root, 1000, b""),
        StandingHead(5, NEXT.root, 1000, b""),
        StandingHead(9, NEXT.root, 999, b""),
        StandingHead(9, b"short", 1000, b""),
        StandingHead(-1, HEAD.root, 1000, b""),
    ],
    ids=["smaller", "another root", "an earlier time", "no root", "no size"],
)
async def test_it_only_goes_forward(path: Path, wrong: StandingHead) -> None:
    """The file refuses what contradicts the head it holds, whatever the code above thinks."""
    state = WitnessState.open(path, create=True)
    await state.swap("a", None, HEAD)
    with pytest.raises(OperationError):
        await state.swap("a", HEAD, wrong)
    assert state.heads == {"a": HEAD}
    await state.swap("a", HEAD, NEXT)
    await state.close()


async def test_a_swap_from_another_head_is_refused(path: Path) -> None:
    """With all that waited beside it: nothing of them was told to anybody."""
    state = WitnessState.open(path, create=True)
    await state.swap("a", None, HEAD)
    for expected in (None, NEXT, StandingHead(5, HEAD.root, 999, HEAD.note), StandingHead(5, NEXT.root, 1000, b"")):
        done = await asyncio.gather(
            state.swap("b", None, HEAD), state.swap("a", expected, NEXT), return_exceptions=True
        )
        assert [type(error) for error in done] == [OperationError] * 2
    assert state.heads == {"a": HEAD}
    await state.close()
    state = WitnessState.open(path)
    assert state.heads == {"a": HEAD}
    await state.close()


async def test_a_hand_with_an_sql_shell_cannot_turn_it_back(path: Path) -> None:
    """Nor make it forget a log."""
    state = WitnessState.open(path, create=True)
    await state.swap("a", None, HEAD)
    await state.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        for statement in (
            "UPDATE head SET size = 4",
            "UPDATE head SET root = zeroblob(32)",
            "UPDATE head SET time_s = 999",
            "UPDATE head SET origin = 'b', size = 6",
            "DELETE FROM head",
        ):
            with pytest.raises(sqlite3.IntegrityError):
                shell.execute(statement)


async def test_a_second_process_is_refused(path: Path) -> None:
    """While the first has the file: also a second opening in the same process, and a shell that would read."""
    state = WitnessState.open(path, create=True)
    await state.swap("a", None, HEAD)
    with pytest.raises(DataDirectoryBusy):
        WitnessState.open(path)
    code = (
        "import sys; from pathlib import Path; from ledger.witness import WitnessState\n"
        "from ledger.errors import DataDirectoryBusy\n"
        "try: WitnessState.open(Path(sys.argv[1]))\n"
        "except DataDirectoryBusy: print('busy')\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    second = await asyncio.to_thread(lambda: subprocess.run(command, capture_output=True, text=True, check=False))
    assert (second.stdout, second.returncode) == ("busy\n", 0), second.stderr
    await state.swap("a", HEAD, NEXT)
    await state.close()
    state = WitnessState.open(path)
    assert state.heads == {"a": NEXT}
    await state.close()


async def test_a_file_that_was_replaced_while_in_use(path: Path) -> None:
    """Two witnesses would come of it: nothing more is written."""
    state = WitnessState.open(path, create=True)
    other = WitnessState.open(path.with_name("other.db"), create=True)
    await other.close()
    os.replace(path.with_name("other.db"), path)
    with pytest.raises(OperationError, match="replaced"):
        await state.swap("a", None, HEAD)
    await state.close()


def test_it_is_made_only_when_asked_to(path: Path) -> None:
    """A lost state is not begun anew by itself, and a present one is never overwritten."""
    with pytest.raises(OperationError, match="no witness state"):
        WitnessState.open(path)

    async def cosign() -> None:
        await WitnessState.open(path, create=True).close()
        # A start that failed after it had made the state, on a busy port say, is repeated as it was.
        state = WitnessState.open(path, create=True)
        await state.swap("a", None, HEAD)
        await state.close()

    asyncio.run(cosign())
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    with pytest.raises(OperationError, match="already"):
        WitnessState.open(path, create=True)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_another_file_is_not_taken_for_one(path: Path) -> None:
    """Empty, no database, another program's database, a folder."""
    path.write_bytes(b"")
    with pytest.raises(OperationError, match="no witness state"):
        WitnessState.open(path)
    path.write_bytes(b"something else" * 1000)
    with pytest.raises(OperationError, match="not a database"):
        WitnessState.open(path)
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE head (x)")
    with pytest.raises(OperationError, match="no witness state"):
        WitnessState.open(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(OperationError):
        WitnessState.open(path)


async def test_a_database_that_cannot_be_written_is_refused_at_the_start(path: Path) -> None:
    """Not when the first head comes."""
    await WitnessState.open(path, create=True).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DataDirectoryBusy):
            WitnessState.open(path)
        other.execute("ROLLBACK")
    await WitnessState.open(path).close()
