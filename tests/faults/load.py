"""Load that never forgets what it sent: each submission is repeated byte for byte until it is answered.

    Worker    one issuer; issues, suspends, reinstates and revokes in its own list, one submission after the other
    Poller    fetches the checkpoint all the time; no head may ever be smaller than one seen before
    Load      several of these against whatever process runs at the moment

A refusal of any kind is a failure: with one writer a list, the only way to a refusal is that something was logged
twice, half or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

import aiohttp

from ledger.block import Block
from tests.service.harness import Client, Party, Recorder

#: How long a worker waits before it repeats, seconds: a client would honour Retry-After; a test is in a hurry.
_PAUSE_S = 0.02


class Target:
    """Where the service is at the moment. `client` waits until there is one."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._client: Client | None = None
        self._there = asyncio.Event()

    async def set(self, url: str, token: str) -> Client:
        await self.unset()
        self._client = await Client(url, self.recorder, token).__aenter__()
        self._there.set()
        return self._client

    async def unset(self) -> None:
        self._there.clear()
        client, self._client = self._client, None
        if client is not None:
            await client.__aexit__()

    async def client(self) -> Client:
        while self._client is None:
            await self._there.wait()
        return self._client


class Worker:
    """One issuer's work. `answered` counts answers, `repeated` the repetitions that it took."""

    def __init__(self, name: str, target: Target) -> None:
        self.party = Party(name)
        self.target = target
        self.answered = 0
        self.repeated = 0
        self._rng = random.Random(name)
        self._states: dict[int, str] = {}
        self.unanswered: Block | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Submit until told to stop; the last submission may stay unanswered."""
        while not stop.is_set():
            if self.unanswered is None:
                self.unanswered = self._next()
            if await self._once(self.unanswered):
                self.unanswered = None

    async def finish(self) -> None:
        """Repeat what is still unanswered until it is answered."""
        while self.unanswered is not None and not await self._once(self.unanswered):
            pass
        self.unanswered = None

    async def _once(self, block: Block) -> bool:
        client = await self.target.client()
        try:
            answer = await client.send(block)
        except (aiohttp.ClientError, TimeoutError, OSError, RuntimeError):
            # Cut off in the middle, or the session of a process that is gone was closed.
            answer = None
        if answer is not None and answer.status == 200:
            self.answered += 1
            return True
        assert answer is None or answer.status == 503, answer
        self.repeated += 1
        await asyncio.sleep(_PAUSE_S)
        return False

    def _next(self) -> Block:
        """A submission that the rules admit if and only if all before it were logged exactly once."""
        events: list[bytes] = []
        count = self._rng.choice([1, 1, 2, 5, 5, 20, 300])
        for _ in range(count):
            slot = self.party.slot()
            events.append(self.party.issue(slot))
            if self._rng.random() < 0.1:
                self._states[slot] = "active"
        for slot, state in list(self._states.items())[:3]:
            if state == "active":
                events.append(self.party.suspend(slot))
                self._states[slot] = "suspended"
            elif self._rng.random() < 0.5:
                events.append(self.party.reinstate(slot))
                self._states[slot] = "again"
            else:
                events.append(self.party.revoke(slot))
                del self._states[slot]
        for slot in [slot for slot, state in self._states.items() if state == "again"]:
            events.append(self.party.revoke(slot))
            del self._states[slot]
        return self.party.block(events)


class Load:
    """Workers and a poller against one target."""

    def __init__(self, recorder: Recorder, workers: int = 3) -> None:
        self.recorder = recorder
        self.target = Target(recorder)
        self.workers = [Worker(f"worker {n}", self.target) for n in range(workers)]
        self.largest = 0
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def answered(self) -> int:
        return sum(worker.answered for worker in self.workers)

    async def register(self, client: Client) -> None:
        for worker in self.workers:
            await worker.party.register(client)

    def start(self) -> None:
        self._stop.clear()
        self._tasks = [asyncio.create_task(worker.run(self._stop)) for worker in self.workers]
        self._tasks.append(asyncio.create_task(self._poll()))

    def check(self) -> None:
        """Raise what a worker or the poller found wrong."""
        for task in self._tasks:
            if task.done() and (error := task.exception()) is not None:
                raise error

    async def progress(self, more: int, *, while_: Callable[[], bool] = lambda: True) -> None:
        """Wait until `more` further submissions are answered, or `while_` no longer holds."""
        goal = self.answered + more
        async with asyncio.timeout(60):
            while self.answered < goal and while_():
                self.check()
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Stop sending; what is unanswered then is repeated until it is answered."""
        self._stop.set()
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)
            self._tasks = []
            for worker in self.workers:
                await worker.finish()
        await self.target.unset()

    async def abandon(self) -> None:
        """Stop without a last word: for a test that has failed already."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.target.unset()

    async def _poll(self) -> None:
        """Heads only grow, across crashes too: what was released is never taken back."""
        while not self._stop.is_set():
            client = await self.target.client()
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, RuntimeError):
                answer = await client.get("/checkpoint")
                if answer.status == 200:
                    size = int(answer.body.split(b"\n")[1])
                    assert size >= self.largest, f"a head of size {self.largest} was released, and then one of {size}"
                    self.largest = size
            await asyncio.sleep(0.005)
