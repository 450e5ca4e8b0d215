"""Where a commitment stands in the log: a cache of what is recent in front of the store's sorted index.

Safety comes from slots, so this index is outside the commit path: a random insert into a large B-tree costs more than
everything else that a bulk issuance does. Each node keeps the entries since `filled_to` in memory, in runs; a task in
the background writes whole runs to the store, sorted, and drops them. Keys are 8-byte prefixes: the reader compares
the whole commitment with the entry it finds. A node that starts reads back what the index does not hold yet.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Protocol

from ledger.block import Block
from ledger.entry import ISSUE

#: Issue entries of a run. A larger one would write the index more cheaply and stop the event loop longer: sorting this
#: many takes some 50 ms.
RUN_ENTRIES = 200_000

_PREFIX = struct.Struct(">q")
_PREFIXES = struct.Struct(">q24x")


def prefix_of(commitment: bytes) -> int:
    """The first 8 bytes of a commitment as a signed integer, as Postgres stores a bigint."""
    value: int = _PREFIX.unpack_from(commitment)[0]
    return value


def prefixes_of(commitments: Sequence[bytes]) -> list[int]:
    """`prefix_of` of each of many commitments."""
    return [prefix for (prefix,) in _PREFIXES.iter_unpack(b"".join(commitments))]


class LookupStore(Protocol):
    """What this index needs of the store."""

    async def lookup(self, prefixes: Sequence[int]) -> list[tuple[int, int]]: ...

    async def lookup_filled_to(self) -> int: ...

    async def fill_lookup(self, rows: Sequence[tuple[int, int]], filled_from: int, filled_to: int) -> bool: ...


class _Run:
    """Issue entries by prefix: log index, or several where prefixes collide. None stands before index `first`; the
    newest block's submission stands at `last`."""

    __slots__ = ("first", "last", "rows")

    def __init__(self, first: int) -> None:
        self.first = first
        self.last = first
        self.rows: dict[int, int | tuple[int, ...]] = {}

    def pairs(self) -> list[tuple[int, int]]:
        """(prefix, log index) of every entry, sorted."""
        found: list[tuple[int, int]] = []
        for prefix in sorted(self.rows):
            indexes = self.rows[prefix]
            if isinstance(indexes, int):
                found.append((prefix, indexes))
            else:
                found += [(prefix, index) for index in sorted(indexes)]
        return found


class Lookup:
    """The index of one node. `filled_to` is the log size up to which the store's index is complete."""

    def __init__(self, store: LookupStore, filled_to: int = 0, *, run_entries: int = RUN_ENTRIES) -> None:
        self._store = store
        self.filled_to = filled_to
        self._run_entries = run_entries
        #: Oldest first; the last one grows. A run holds what stands from its `first` on, up to the next one's.
        self._runs = [_Run(filled_to)]

    def __len__(self) -> int:
        return sum(len(run.rows) for run in self._runs)

    @property
    def has_whole_run(self) -> bool:
        """Whether a `fill` is worth its while."""
        return len(self._runs) > 1

    def add_block(self, index: int, block: Block) -> None:
        """Remember the issue events of the block whose submission stands at `index`."""
        if index < self.filled_to:
            return
        prefixes = prefixes_of(block.commitments())
        run = self._runs[-1]
        if len(run.rows) >= self._run_entries and index > run.last:
            run = _Run(index)
            self._runs.append(run)
        run.last = max(run.last, index)
        if len(prefixes) == block.count:
            fresh: dict[int, int | tuple[int, ...]] = dict(
                zip(prefixes, range(index + 1, index + 1 + len(prefixes)), strict=True)
            )
            if len(fresh) == len(prefixes) and self.disjoint(prefixes):
                run.rows.update(fresh)
                return
        positions = (k for k, kind in enumerate(block.kinds) if kind == ISSUE)
        for k, prefix in zip(positions, prefixes, strict=True):
            at = index + 1 + k
            if at in self.recent(prefix):
                continue  # a node that rereads the log meets what it knows already
            known = run.rows.get(prefix)
            if known is None:
                run.rows[prefix] = at
            else:
                run.rows[prefix] = (*((known,) if isinstance(known, int) else known), at)

    def recent(self, prefix: int) -> tuple[int, ...]:
        """Log indexes of recent issue entries with this prefix."""
        found: tuple[int, ...] = ()
        for run in self._runs:
            indexes = run.rows.get(prefix)
            if indexes is not None:
                found += (indexes,) if isinstance(indexes, int) else indexes
        return found

    def disjoint(self, prefixes: Sequence[int]) -> bool:
        """Whether none of these prefixes is among the recent ones."""
        return all(run.rows.keys().isdisjoint(prefixes) for run in self._runs)

    async def candidates(self, commitment: bytes) -> list[int]:
        """Log indexes, ascending, of issue entries whose commitment has the same first 8 bytes."""
        prefix = prefix_of(commitment)
        # Memory first: what a `fill` moves into the store between the two readings is then found twice, not never.
        recent = self.recent(prefix)
        stored = [index for _, index in await self._store.lookup([prefix])]
        return sorted({*stored, *recent})

    def take_recent(self, other: Lookup) -> None:
        """Forget the recent entries and take over those of `other`, which has read the log anew."""
        self._runs = other._runs

    async def fill(self, size: int, *, whole_runs: bool = False) -> int:
        """Write what is recent below `size` (a published size) to the store's index; the number of rows written.

        `whole_runs`: only runs that are full and lie below `size` as a whole.
        """
        written = 0
        while self.filled_to < size:
            end = self._runs[1].first if self.has_whole_run else None
            if end is None or end > size:
                if whole_runs:
                    break
                end = size
            pairs = [pair for pair in self._runs[0].pairs() if self.filled_to <= pair[1] < end]
            if await self._store.fill_lookup(pairs, self.filled_to, end):
                written += len(pairs)
            else:
                # Another node was faster: what it wrote is in the store; this node keeps only what lies behind it.
                end = await self._store.lookup_filled_to()
                if end <= self.filled_to:
                    break  # the store has lost what it had: a rereading of the log puts that right
            self._drop(end)
        return written

    def _drop(self, size: int) -> None:
        """Forget what stands below `size`: the store's index has it."""
        self.filled_to = max(self.filled_to, size)
        while len(self._runs) > 1 and self._runs[1].first <= size:
            del self._runs[0]
        run = self._runs[0]
        if run.first >= size:
            return
        kept = _Run(size)
        for prefix, indexes in run.rows.items():
            left = tuple(i for i in ((indexes,) if isinstance(indexes, int) else indexes) if i >= size)
            if left:
                kept.rows[prefix] = left[0] if len(left) == 1 else left
        self._runs[0] = kept
