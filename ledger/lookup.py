"""Where a commitment stands in the log: a cache of what is recent in front of the store's sorted index.

Safety comes from slots, so this index is outside the commit path: a random insert into a large B-tree costs more than
everything else that a bulk issuance does. Each node keeps the entries since `filled_to` in a dictionary; a background
task writes them to the store sorted, in large runs, and drops them. Keys are 8-byte prefixes: the reader compares the
whole commitment with the entry it finds. A node that starts reads back what the index does not hold yet.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Protocol

from ledger.block import Block
from ledger.entry import ISSUE

#: Issue entries kept in memory before they are written as one sorted run.
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


class Lookup:
    """The index of one node. `filled_to` is the log size up to which the store's index is complete."""

    def __init__(self, store: LookupStore, filled_to: int = 0) -> None:
        self._store = store
        self.filled_to = filled_to
        self._recent: dict[int, int | tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self._recent)

    def add_block(self, index: int, block: Block) -> None:
        """Remember the issue events of the block whose submission stands at `index`."""
        if index < self.filled_to:
            return
        prefixes = prefixes_of(block.commitments())
        if len(prefixes) == block.count:
            fresh: dict[int, int | tuple[int, ...]] = dict(
                zip(prefixes, range(index + 1, index + 1 + len(prefixes)), strict=True)
            )
            if len(fresh) == len(prefixes) and self._recent.keys().isdisjoint(fresh):
                self._recent.update(fresh)
                return
        positions = (k for k, kind in enumerate(block.kinds) if kind == ISSUE)
        for k, prefix in zip(positions, prefixes, strict=True):
            at = index + 1 + k
            known = self.recent(prefix)
            if not known:
                self._recent[prefix] = at
            elif at not in known:  # a node that rereads the log meets what it knows already
                self._recent[prefix] = (*known, at)

    def recent(self, prefix: int) -> tuple[int, ...]:
        """Log indexes of recent issue entries with this prefix."""
        found = self._recent.get(prefix, ())
        return (found,) if isinstance(found, int) else found

    def disjoint(self, prefixes: Sequence[int]) -> bool:
        """Whether none of these prefixes is among the recent ones."""
        return self._recent.keys().isdisjoint(prefixes)

    async def candidates(self, commitment: bytes) -> list[int]:
        """Log indexes, ascending, of issue entries whose commitment has the same first 8 bytes."""
        prefix = prefix_of(commitment)
        # Memory first: what a `fill` moves into the store between the two readings is then found twice, not never.
        recent = self.recent(prefix)
        stored = [index for _, index in await self._store.lookup([prefix])]
        return sorted({*stored, *recent})

    def take_recent(self, other: Lookup) -> None:
        """Forget the recent entries and take over those of `other`, which has read the log anew."""
        self._recent = other._recent

    async def fill(self, size: int) -> int:
        """Write what is recent below `size` (a published size) as one sorted run; the number of rows written."""
        filled_from = self.filled_to
        rows = sorted(row for row in self._rows() if filled_from <= row[1] < size)
        if not await self._store.fill_lookup(rows, filled_from, size):
            # Another node was faster: what it wrote is in the store, and this node keeps only what lies behind it.
            size = await self._store.lookup_filled_to()
            rows = []
        self._drop(size)
        return len(rows)

    def _rows(self) -> Iterator[tuple[int, int]]:
        for prefix, found in self._recent.items():
            for index in (found,) if isinstance(found, int) else found:
                yield prefix, index

    def _drop(self, size: int) -> None:
        kept: dict[int, int | tuple[int, ...]] = {}
        for prefix, found in self._recent.items():
            indexes = tuple(i for i in ((found,) if isinstance(found, int) else found) if i >= size)
            if indexes:
                kept[prefix] = indexes[0] if len(indexes) == 1 else indexes
        self._recent = kept
        self.filled_to = max(self.filled_to, size)
