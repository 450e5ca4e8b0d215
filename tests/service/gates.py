"""Guards and commits that misbehave on command: slow, full, torn."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import asyncpg

from ledger.errors import OperationError
from ledger.guard import Guard, GuardHead


class GateGuard:
    """A guard whose swaps wait for the gate: while it is closed nothing gets published."""

    def __init__(self, inner: Guard) -> None:
        self._inner = inner
        self.gate = asyncio.Event()
        self.gate.set()
        #: Each swap takes a random part of this, seconds.
        self.delay_s = 0.0
        #: So many swaps fail; `torn` ones fail after they took hold.
        self.failures = 0
        self.torn = 0
        self.swaps = 0

    @property
    def identity(self) -> str:
        return self._inner.identity

    async def read(self) -> GuardHead:
        return await self._inner.read()

    async def swap(self, expected: GuardHead, new: GuardHead) -> None:
        await self.gate.wait()
        if self.delay_s:
            await asyncio.sleep(random.random() * self.delay_s)
        if self.failures:
            self.failures -= 1
            raise OperationError("the guard cannot be used: no space left on device")
        await self._inner.swap(expected, new)
        self.swaps += 1
        if self.torn:
            self.torn -= 1
            raise OperationError("the guard cannot be used: the connection broke")

    async def close(self) -> None:
        """Nodes share it; whoever made it ends it."""

    async def end(self) -> None:
        await self._inner.close()


@contextlib.asynccontextmanager
async def locked_head(dsn: str) -> AsyncIterator[None]:
    """While inside, nobody can commit: what arrives waits for one group."""
    connection = await asyncpg.connect(dsn)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT FROM head FOR UPDATE")
    try:
        yield
    finally:
        await transaction.rollback()
        await connection.close()
