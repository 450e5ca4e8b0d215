"""A witness on a state of its own, with a clock turned by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ledger.keyfile import PrivateKey
from ledger.witness import Approve, Witness, WitnessedLog, WitnessState
from tests.fakes import FakeClock
from tests.witness.logs import ED_KEY, NOW_S, PQ_KEY, Log

MakeWitness = Callable[..., Witness]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW_S * 1000)


@pytest.fixture
async def make(tmp_path: Path, clock: FakeClock) -> AsyncIterator[MakeWitness]:
    """Makes witnesses; the same state file unless another name is given."""
    made: list[Witness] = []

    def make(
        *logs: WitnessedLog,
        keys: tuple[PrivateKey, ...] = (ED_KEY, PQ_KEY),
        state: str = "witness.db",
        approve: Approve | None = None,
    ) -> Witness:
        path = tmp_path / state
        opened = WitnessState.open(path, create=not path.exists())
        made.append(Witness(keys, {log.origin: log for log in logs}, opened, clock, approve=approve))
        return made[-1]

    yield make
    for witness in made:
        await witness.close()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def witness(make: MakeWitness, log: Log) -> Witness:
    return make(log.listed())
