"""A process that stands still (SIGSTOP: a suspended machine, a long pause) while another takes over, and wakes up.

Two processes on one database and one guard. The stopped one loses its locks after `lock_timeout_s`; when it goes on, in
the middle of whatever it was doing, it forks nothing and signs no old head with a fresh time.

One lock has no timeout: SQLite's on the guard's file, for the length of a swap. Whoever stands still inside it holds up
publication (nothing else) until it goes on; nothing false is said meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from ledger.faults import POINTS
from ledger.guard import SqliteGuard
from ledger.note import parse_vkey
from ledger.store import EmbeddedPostgres, Store
from tests.faults.load import Load
from tests.service.harness import Process, Recorder, check_log, until

LOCK_TIMEOUT_S = 0.6


class Pair:
    """Two processes, each with a load of its own; `a` is to be stopped, `b` takes over."""

    def __init__(self, directory: Path, dsn: str) -> None:
        self.directory = directory
        self.dsn = dsn
        self.recorder = Recorder()
        self.loads: list[Load] = []
        self.processes: list[Process] = []
        self._numbers = itertools.count()

    async def start(self, *, fault: str = "") -> Process:
        """One more process on the same data directory: same keys, same guard."""
        process = Process(
            self.directory / "data",
            name=f".{next(self._numbers)}",
            database_url=self.dsn,
            lock_timeout_s=LOCK_TIMEOUT_S,
            answer_timeout_s=1.5,
            fault=fault,
        )
        self.processes.append(process)
        await process.start()
        return process

    async def load(self, process: Process) -> Load:
        """Another load, of issuers of its own, against this process."""
        load = Load(self.recorder, workers=2)
        for worker in load.workers:
            worker.party = type(worker.party)(f"{len(self.loads)} {worker.party.identifier}")
        self.loads.append(load)
        client = await load.target.set(process.url, process.token)
        await load.register(client)
        load.start()
        return load

    async def end(self) -> None:
        for load in self.loads:
            await load.abandon()
        for process in self.processes:
            await process.kill()
            print(process.name, process.log()[-3000:])  # shown where the test failed


@pytest.fixture
async def postgres(directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(directory / "database")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def pair(directory: Path, postgres: EmbeddedPostgres) -> AsyncIterator[Pair]:
    pair = Pair(directory, postgres.dsn)
    yield pair
    await pair.end()


async def publishes(process: Process) -> bool:
    async with process.client(Recorder()) as client:
        return b"badge_ledger_publisher 1.0" in (await client.get("/metrics")).body


def is_stopped(process: Process) -> bool:
    return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)


def holds_the_guard(pair: Pair) -> bool:
    """Whether somebody is in the middle of a swap."""
    connection = sqlite3.connect(pair.directory / "data/guard.db", timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    finally:
        connection.close()
    return False


async def check(pair: Pair) -> None:
    """The final check, on the shared database and guard."""
    for process in pair.processes:
        assert not process.running
        for bad in ("sequencer.bug", "node.bug", "node.stopped", "publisher.stopped", "sequencer.fork"):
            assert bad not in process.log(), process.log()[-3000:]
    store = await Store.connect(pair.dsn, min_size=1)
    guard = await SqliteGuard.open(pair.directory / "data/guard.db", create=False)
    keys = pair.processes[0].keys
    try:
        assert await check_log(store, guard, pair.recorder, (parse_vkey(keys[0]), parse_vkey(keys[1]))) is not None
    finally:
        await guard.close()
        await store.close()


@pytest.mark.slow
async def test_a_publisher_that_stands_still_at_random(pair: Pair) -> None:
    """Stopped under load, longer than every lock lives; the other publishes; then both go on."""
    rng = random.Random(8)
    processes = [await pair.start(), await pair.start()]
    loads = [await pair.load(process) for process in processes]
    held = taken_over = 0
    while taken_over < 4 or (not held and taken_over < 8):
        for load in loads:
            await load.progress(rng.randint(1, 6))
        stopped = 0 if await publishes(processes[0]) else 1
        other = 1 - stopped
        processes[stopped].signal(signal.SIGSTOP)
        try:
            if holds_the_guard(pair):
                held += 1
                repeated = sum(worker.repeated for worker in loads[other].workers)
                while sum(worker.repeated for worker in loads[other].workers) < repeated + 4:
                    loads[other].check()
                    await asyncio.sleep(0.01)
                continue
            await until(lambda process=processes[other]: publishes(process), "the other takes over")  # type: ignore[misc]
            await loads[other].progress(8)
            taken_over += 1
        finally:
            processes[stopped].signal(signal.SIGCONT)
    for load in loads:
        await load.stop()
    for process in processes:
        await process.stop()
    await check(pair)


@pytest.mark.slow
async def test_a_process_that_stands_still_at_every_fault_point(pair: Pair) -> None:
    """Between any two steps of commit and publication: after the guard moved and before it signed, say."""
    standby = await pair.start()
    for point in POINTS:
        victim = await pair.start(fault=f"stop@{point}:5")
        load = await pair.load(victim)
        # The victim inherits publication: a standby takes its place behind it.
        await load.progress(1, while_=lambda process=victim: not is_stopped(process))  # type: ignore[misc]
        await standby.stop()
        standby = await pair.start() if is_stopped(victim) else await started_behind(pair, victim)
        other = await pair.load(standby)
        await until(lambda process=victim: is_stopped(process), f"{point} is reached")  # type: ignore[misc]
        await other.progress(5)
        assert await publishes(standby)
        victim.signal(signal.SIGCONT)
        await load.progress(5)
        for each in (load, other):
            await each.stop()
        await victim.stop()
    await standby.stop()
    await check(pair)


async def started_behind(pair: Pair, publisher: Process) -> Process:
    """A process that starts once the other publishes, or has reached its fault point on the way there."""

    async def elected() -> bool:
        return is_stopped(publisher) or await publishes(publisher)

    await until(elected, "the other publishes")
    return await pair.start()
