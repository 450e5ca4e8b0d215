"""From the units of a commit to the bytes that the store writes: entry bundles, tiles and offsets. Pure.

A `Tip` is the right edge of the log in memory: the tile edge (for hashes) and the entries that no full bundle holds
yet. `Tip.extend` takes the units of one commit and gives the next tip and what became complete. The old tip stays
valid, so a commit whose outcome is unknown is forgotten by dropping the new one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ledger.block import Block
from ledger.entry import Entry, IssuerKey, LogParams, StatusList, StatusRoot
from ledger.tiles import TILE_WIDTH, Edge


class Logged(msgspec.Struct, frozen=True, gc=False):
    """One unit as it stands in the log. `data` is the entry, or the submission entry that heads `block`."""

    index: int
    data: bytes
    leaf: bytes
    entry: Entry
    block: Block | None = None

    @property
    def count(self) -> int:
        """Leaves of the unit."""
        return 1 if self.block is None else 1 + self.block.submission.count

    @property
    def unit(self) -> LogParams | IssuerKey | StatusList | StatusRoot | Block:
        """What `replay` takes."""
        return self.block if self.block is not None else self.entry  # type: ignore[return-value]

    def leaves(self) -> list[bytes]:
        """The leaf hashes, in log order."""
        return [self.leaf] if self.block is None else [self.leaf, *self.block.leaf_hashes]


class Grown(msgspec.Struct, frozen=True):
    """What one commit added to the log."""

    tip: Tip
    full_tiles: list[tuple[int, int, bytes]]
    bundles: list[tuple[int, bytes]]
    #: Index of the first entry that no full bundle holds, among the entries of this commit; then those entries.
    tail_first: int
    tail_entries: bytes
    tail_hashes: bytes
    submission_offsets: list[int]
    event_nodes: list[tuple[int, bytes]]


class Tip:
    """Size, tile edge and the length-prefixed entries since the last bundle boundary."""

    __slots__ = ("edge", "pending")

    def __init__(self, edge: Edge, pending: bytes = b"") -> None:
        self.edge = edge
        self.pending = pending

    @property
    def size(self) -> int:
        return self.edge.size

    def root(self) -> bytes:
        """The root hash at this size."""
        return self.edge.root()

    def extend(self, units: Sequence[Logged]) -> Grown:
        """The log with `units` behind this tip; the first unit's index is this tip's size."""
        first = self.size
        leaves: list[bytes] = []
        for unit in units:
            leaves += unit.leaves()
        edge = self.edge.copy()
        full_tiles = edge.extend(leaves)
        cutter = _BundleCutter(first, self.pending)
        for unit in units:
            cutter.add(unit)
        boundary = edge.size - edge.size % TILE_WIDTH
        tail_first = max(first, boundary)
        pending = b"".join(cutter.parts)
        # Where no bundle was completed, the tail row of this commit holds this commit's entries only: the earlier
        # ones stand in the rows of their own commits.
        tail_entries = pending[len(self.pending) :] if not cutter.full else pending
        return Grown(
            tip=Tip(edge, pending),
            full_tiles=full_tiles,
            bundles=cutter.full,
            tail_first=tail_first,
            tail_entries=tail_entries,
            tail_hashes=b"".join(leaves[tail_first - first :]),
            submission_offsets=[unit.index - first for unit in units if unit.block is not None],
            event_nodes=[
                (unit.index, unit.block.event_nodes)
                for unit in units
                if unit.block is not None and unit.block.event_nodes
            ],
        )


class _BundleCutter:
    """Cuts a stream of units into bundles of 256 length-prefixed entries (C2SP tlog-tiles, "Log entries")."""

    def __init__(self, first: int, pending: bytes) -> None:
        self.index = first
        self.parts = [pending] if pending else []
        self.full: list[tuple[int, bytes]] = []

    def add(self, unit: Logged) -> None:
        self._put(len(unit.data).to_bytes(2, "big") + unit.data, 1)
        if unit.block is None:
            return
        done, count = 0, unit.block.submission.count
        while done < count:
            take = min(count - done, TILE_WIDTH - self.index % TILE_WIDTH)
            self._put(unit.block.bundle_slice(done, done + take), take)
            done += take

    def _put(self, data: bytes, count: int) -> None:
        self.parts.append(data)
        self.index += count
        if self.index % TILE_WIDTH == 0:
            self.full.append((self.index // TILE_WIDTH - 1, b"".join(self.parts)))
            self.parts = []
