"""The newest published head as one node knows it, and everybody who waits for one.

A caller is answered only when its entries are in a published head: `wait_for(size)` returns the first head known here
that covers them. Heads only grow; an older one handed in late is ignored.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

import msgspec

from ledger.entry import StatusRoot
from ledger.errors import LedgerError, LedgerStopped, Pending
from ledger.status import StatusTree


class PublishedHead(msgspec.Struct, frozen=True):
    """A signed head that was released, with what proofs under it need."""

    size: int
    root: bytes
    time_s: int
    note: bytes
    #: The head's last leaf, at index size - 1, as entry and as bytes.
    status_root: StatusRoot
    status_root_entry: bytes
    status: StatusTree


class Publication:
    """Holds the newest published head and wakes those who wait for it.

    `lacking` says what keeps heads from being published, where this node knows of something.
    """

    def __init__(self, lacking: Callable[[], LedgerError | None] = lambda: None) -> None:
        self._lacking = lacking
        self._head: PublishedHead | None = None
        self._waiting: list[tuple[int, int, asyncio.Future[PublishedHead]]] = []
        self._order = itertools.count()
        self._failure: LedgerError | None = None

    @property
    def head(self) -> PublishedHead | None:
        """The newest published head; None before the first."""
        return self._head

    def release(self, head: PublishedHead) -> None:
        """Make `head` the newest and wake everybody whom it covers."""
        if self._head is not None and head.size <= self._head.size:
            return
        self._head = head
        while self._waiting and self._waiting[0][0] <= head.size:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(head)

    def fail(self, error: LedgerError) -> None:
        """The ledger has stopped: nobody will be answered any more; `error` tells why."""
        self._failure = error
        for _, _, future in self._waiting:
            if not future.done():
                future.set_exception(_stopped(error))
        self._waiting.clear()

    async def wait_for(self, size: int, timeout_s: float) -> PublishedHead:
        """The newest head of at least `size` leaves. Raises Pending after `timeout_s` seconds."""
        if self._head is not None and self._head.size >= size:
            return self._head
        if self._failure is not None:
            raise _stopped(self._failure)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[PublishedHead] = loop.create_future()
        heapq.heappush(self._waiting, (size, next(self._order), future))
        # A bare timer: `asyncio.wait_for` costs as much as the rest of a small submission's way through here.
        timer = loop.call_later(timeout_s, self._give_up, future)
        try:
            return await future
        finally:
            timer.cancel()

    def _give_up(self, future: asyncio.Future[PublishedHead]) -> None:
        if future.done():
            return
        lacking = self._lacking()
        why, members = ("", {}) if lacking is None else (f" ({lacking.detail})", lacking.members)
        future.set_exception(
            Pending(
                f"the entries are in the log but not yet in a published head{why}; "
                "repeat the identical request to get the answer",
                retry_after_s=1,
                **members,
            )
        )


def _stopped(error: LedgerError) -> LedgerStopped:
    """One for each who waits: what the caller adds to its members is of that caller's entries alone."""
    return LedgerStopped(f"the entries are in the log and will not be published: {error.detail}", cause=error.type)
