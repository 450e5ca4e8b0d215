"""Work on many badges in several processes, or in this one where starting them would take longer.

Reading, hashing and formatting are Python and hold the interpreter's lock, so threads would not help. Processes are
spawned, not forked: a fork would take the event loop and its connections along. They ignore Ctrl-C, which is the
parent's, and end with it, however it ends: what they were doing is in the journal, and the next run does it again.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from ledger.errors import OperationError

#: From so many badges on, starting processes pays: each takes half a second to load.
POOL_FROM: Final = 2_000
_MAX_PROCESSES: Final = 16

_T = TypeVar("_T")
_R = TypeVar("_R")


def processes_for(count: int) -> int:
    """How many processes to start for so many badges; 0 for none."""
    if count < POOL_FROM:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MAX_PROCESSES)


class Workers:
    """Some processes, as a context manager; until `start`, everything is done here."""

    def __init__(self) -> None:
        self.processes = 0
        self._pool: ProcessPoolExecutor | None = None

    def start(self, processes: int) -> None:
        """Have so many processes from here on, unless there are some already; 0 for none."""
        if processes and self._pool is None:
            context = multiprocessing.get_context("spawn")
            self.processes = processes
            self._pool = ProcessPoolExecutor(processes, context, initializer=_begin)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    async def run(self, function: Callable[..., _R], *arguments: Any) -> _R:
        """`function(*arguments)`; both have to be importable by name and picklable. Raises what it raises, and
        OperationError if a process dies."""
        if self._pool is None:
            result = function(*arguments)
            await asyncio.sleep(0)
            return result
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        except BrokenProcessPool as error:
            raise OperationError("a process of this run has ended: run the same command again") from error

    async def map(
        self, function: Callable[..., _R], chunks: Iterable[_T], *arguments: Any
    ) -> AsyncIterator[tuple[_T, _R]]:
        """(chunk, `function(chunk, *arguments)`) for each chunk, in order, a few at a time."""
        ahead: deque[tuple[_T, asyncio.Task[_R]]] = deque()
        try:
            for chunk in chunks:
                ahead.append((chunk, asyncio.create_task(self.run(function, chunk, *arguments))))
                if len(ahead) > 2 * self.processes:
                    first, task = ahead.popleft()
                    yield first, await task
            while ahead:
                first, task = ahead.popleft()
                yield first, await task
        finally:
            for _, task in ahead:
                task.cancel()
            await asyncio.gather(*(task for _, task in ahead), return_exceptions=True)


async def together(coroutines: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Run them all; the first failure ends the others and is raised."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def chunked(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Lists of `size` items, the last one shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
