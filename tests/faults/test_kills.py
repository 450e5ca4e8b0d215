"""kill -9 of the service and of its database, at any moment and at every fault point, under load.

After each restart the service is there by itself; what was answered stands, what was not answered is repeated byte for
byte and logged once; heads only grow. The whole log is checked at the end.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal

import psutil  # type: ignore[import-untyped]
import pytest

from ledger.faults import POINTS
from tests.faults.conftest import check_process
from tests.faults.load import Load
from tests.service.harness import Process, until

CYCLES = 50


async def started(process: Process, load: Load) -> None:
    await process.start(deadline_s=150)
    client = await load.target.set(process.url, process.token)
    if load.workers[0].party.index < 0:
        await load.register(client)


async def kill_service(process: Process, load: Load) -> None:
    """kill -9, then a start by hand, as a supervisor would."""
    await process.kill()
    await load.target.unset()
    await started(process, load)


async def kill_postmaster(process: Process) -> None:
    """kill -9 of the server's first process; the service starts another."""
    pid = process.postgres_pid
    os.kill(pid, signal.SIGKILL)
    await until(lambda: process.postgres_pid not in (0, pid), "the service starts its database again")


async def kill_session(process: Process, rng: random.Random) -> None:
    """kill -9 of one of the server's processes: it throws all sessions out and recovers by itself."""
    children = psutil.Process(process.postgres_pid).children()
    if children:
        rng.choice(children).kill()


@pytest.mark.slow
async def test_fifty_kills_under_load(process: Process, load: Load) -> None:
    """25 of the service, 25 of the database (its first process or one of its sessions), at random moments."""
    rng = random.Random(20)
    await started(process, load)
    load.start()
    await load.progress(5)
    plan = ["service"] * (CYCLES // 2) + ["postmaster"] * (CYCLES // 4 + 1) + ["session"] * (CYCLES // 4)
    assert len(plan) == CYCLES
    rng.shuffle(plan)
    for what in plan:
        await asyncio.sleep(rng.random() * 0.15)  # the moment of the kill, not a wait for anything
        if what == "service":
            await kill_service(process, load)
        elif what == "postmaster":
            await kill_postmaster(process)
        else:
            await kill_session(process, rng)
        assert process.running, process.log()[-2000:]
        # More than what may have been under way: whatever was killed is back before the next kill. (PostgreSQL 18 hangs
        # if it is told to shut down while it recovers; the service then kills it harder, but only a minute later.)
        await load.progress(2 * len(load.workers) + 1)
    await load.stop()
    await process.stop()
    assert load.answered > 3 * CYCLES
    assert sum(worker.repeated for worker in load.workers) > 0
    assert '"event": "sequencer.bug"' not in process.log()
    assert '"event": "node.bug"' not in process.log()
    await check_process(process, load.recorder)


@pytest.mark.slow
async def test_a_kill_at_every_fault_point(process: Process, load: Load) -> None:
    """Between any two steps of commit and publication, early in the process's life and later."""
    rng = random.Random(3)
    await started(process, load)
    load.start()
    for point in POINTS:
        await load.progress(2)
        await process.kill()
        await load.target.unset()
        # At its first commit or publication the service dies before it is ready, as it would with a poison pill: so
        # the point is armed for a later time, when there is load.
        await process.start(fault=f"{point}:{rng.randint(4, 9)}")
        await load.target.set(process.url, process.token)
        status = await process.wait(deadline_s=30)
        assert status == -signal.SIGKILL, (point, process.log()[-2000:])
        await load.target.unset()
        await started(process, load)
        await load.progress(3)
    await load.stop()
    await process.stop()
    await check_process(process, load.recorder)


@pytest.mark.slow
async def test_a_kill_at_every_fault_point_of_a_first_start(process: Process, load: Load) -> None:
    """An empty directory, and the very first commit and publication interrupted at each point in turn."""
    for point in POINTS:
        with pytest.raises(AssertionError, match="did not start"):
            # Each point comes up again only while nothing has been published; so the log starts afresh in between.
            await process.start(fault=point)
        assert await process.wait() == -signal.SIGKILL
        await process.start()
        await load.target.set(process.url, process.token)
        client = await load.target.client()
        assert await client.head_size() >= 2
        await process.stop()
        await load.target.unset()
        if point != POINTS[-1]:
            (process.data / "postgres").rename(process.data / f"postgres.{point}")
            (process.data / "guard.db").rename(process.data / f"guard.{point}")
            for extra in ("guard.db-wal", "guard.db-shm"):
                (process.data / extra).unlink(missing_ok=True)
            load.recorder.notes.clear()
    await started(process, load)
    load.start()
    await load.progress(5)
    await load.stop()
    await process.stop()
    await check_process(process, load.recorder)
