"""Directories for real processes: short, and passable for the database's user."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ledger.guard import SqliteGuard
from ledger.note import parse_vkey
from ledger.store import EmbeddedPostgres, Store
from tests.faults.load import Load
from tests.service.harness import Process, Recorder, check_log


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="blf-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def load() -> AsyncIterator[Load]:
    load = Load(Recorder())
    yield load
    await load.abandon()


@pytest.fixture
async def process(directory: Path) -> AsyncIterator[Process]:
    """The service as operators run it, not started; whatever the test left of it is killed."""
    process = Process(directory / "data", answer_timeout_s=5.0)
    yield process
    await process.kill()
    print(process.log()[-4000:])  # shown where the test failed
    with contextlib.suppress(OSError):
        print((process.data / "postgres/postgres.log").read_text(encoding="utf-8")[-4000:])


async def check_process(process: Process, recorder: Recorder) -> None:
    """The final check of a stopped process's log, on its own database and guard."""
    assert not process.running
    postgres = EmbeddedPostgres(process.data / "postgres")
    store = await Store.connect(await postgres.start(), min_size=1)
    guard = await SqliteGuard.open(process.options.get("guard", process.data / "guard.db"), create=False)
    try:
        report = await check_log(store, guard, recorder, (parse_vkey(process.keys[0]), parse_vkey(process.keys[1])))
    finally:
        await guard.close()
        await store.close()
        await postgres.stop()
    assert report is not None
    assert report.events > 0
