"""What one node believes of the log: a copy of the store's, for validating the next entries and for proofs.

    replay, tip     the rules' state and the right edge, both at the same size
    heads           the heads since the one published last, oldest first

It is only a cache. Catching up reads the entries behind it; whatever does not fit (a database that failed over and lost
an integrated tail, an outcome nobody knows, a reading that broke off half way) is not judged but thrown away, and the
log is read again from a stored snapshot. Only entries that do not lead to the stored head then, are a contradiction.
The old state stays in use until the new one is whole: readers never see half a log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec
import structlog

from ledger.assemble import Grown, Logged, Tip
from ledger.entry import LIST_CHUNKS, StatusRoot, decode
from ledger.errors import ForkDetected, InputError, MalformedInput, RuleViolation
from ledger.lookup import Lookup
from ledger.replay import Draft, Replay
from ledger.status import StatusTree
from ledger.store import Store
from ledger.tiles import TILE_WIDTH, Edge, Tile, encode_bundle, partial_width
from ledger.units import UnitReader

#: Entries read at a time when catching up.
_PAGE = 50_000


class HeadState(msgspec.Struct, frozen=True):
    """What proofs under the head of `size` leaves need: its last leaf and its status tree."""

    size: int
    status_root: StatusRoot
    entry: bytes
    status: StatusTree


class LogState:
    """One node's copy. Whoever calls `catch_up` or `integrate` holds the sequencer's lock."""

    def __init__(self, store: Store, lookup: Lookup, origin: str) -> None:
        self._store = store
        self._lookup = lookup
        self._origin = origin
        self._heads: deque[HeadState] = deque()
        #: Whether the next `catch_up` reads the log anew, as a node does that knows nothing yet.
        self.doubtful = True
        self._log = structlog.get_logger("sequencer")
        self.replay = Replay(origin)
        self.tip = Tip(Edge())

    def stands_at(self, size: int, root: bytes) -> bool:
        """Whether this is, without doubt, the state at that head."""
        return not self.doubtful and self.replay.size == size and self.tip.root() == root

    def doubt(self) -> None:
        """Take nothing of this for granted any more: the next `catch_up` reads the log anew."""
        self.doubtful = True

    def integrate(self, draft: Draft, units: Sequence[Logged], grown: Grown) -> None:
        """Take over what this node committed."""
        self.doubtful = True  # until both have moved
        self.replay.merge(draft)
        self.tip = grown.tip
        for unit in units:
            if unit.block is not None:
                self._lookup.add_block(unit.index, unit.block)
        self._heads.append(_head_state(self.replay, units[-1]))
        self.doubtful = False

    async def catch_up(self, size: int, root: bytes) -> None:
        """Bring the state to the head (size, root) of the store. Raises ForkDetected if its entries lead elsewhere."""
        if not self.doubtful and self.replay.size <= size:
            self.doubtful = True  # a reading that breaks off leaves the replay ahead of the tip
            try:
                tip = await self._read(self.replay, self.tip.edge.copy(), self._heads, self._lookup, size)
                if tip.root() == root:
                    self.tip, self.doubtful = tip, False
                    return
            except _DoesNotFit:
                pass
            self._log.warning("sequencer.reread", reason="the stored log does not continue what this node knew")
        heads: deque[HeadState] = deque()
        lookup = Lookup(self._store, self._lookup.filled_to)
        replay, edge = await self._from_snapshot(size)
        try:
            tip = await self._read(replay, edge, heads, lookup, size)
        except _DoesNotFit as error:
            raise ForkDetected(
                f"the stored entries break a rule of the log ({error}): run `badge-ledger check`"
            ) from error
        if tip.root() != root:
            raise ForkDetected(
                f"the stored entries do not lead to the stored head of size {size}: run `badge-ledger check`"
            )
        self.replay, self.tip, self._heads, self.doubtful = replay, tip, heads, False
        self._lookup.take_recent(lookup)  # without what the store has lost

    def head_state(self, size: int) -> HeadState | None:
        """The state at the head of exactly `size` leaves, if it is still known; older ones are dropped."""
        while self._heads and self._heads[0].size < size:
            self._heads.popleft()
        if self._heads and self._heads[0].size == size:
            return self._heads[0]
        return None

    async def past_state(self, size: int) -> HeadState:
        """The state at a past head of `size` leaves, read back from the store: after a start ahead of publication."""
        data = (await self._store.read_entries(size - 1, size))[0]
        entry = decode(data)
        if not isinstance(entry, StatusRoot):
            raise ForkDetected(f"the head of size {size} does not end in a status_root: run `badge-ledger check`")
        chunks = await self._store.status_chunks(0, entry.lists * LIST_CHUNKS - 1, size) if entry.lists else {}
        status = StatusTree.from_chunks(entry.lists, chunks)
        if status.root != entry.root:
            raise ForkDetected(f"the stored status at size {size} is not the logged one: run `badge-ledger check`")
        return HeadState(size, entry, data, status)

    async def _read(self, replay: Replay, edge: Edge, heads: deque[HeadState], lookup: Lookup, size: int) -> Tip:
        """Read on from `replay` to `size`, into all four. Raises _DoesNotFit where the rules do not admit that."""
        reader = UnitReader(replay.size)
        draft = replay.draft()
        for start in range(replay.size, size, _PAGE):
            entries = await self._store.read_entries(start, min(size, start + _PAGE))
            try:
                for logged in reader.feed(entries):
                    draft.append(logged.unit, leaf=logged.leaf, trusted=True)
                    edge.extend(logged.leaves())
                    if logged.block is not None:
                        lookup.add_block(logged.index, logged.block)
                    if isinstance(logged.entry, StatusRoot):
                        replay.merge(draft)
                        heads.append(_head_state(replay, logged))
                        draft = replay.draft()
            except (RuleViolation, InputError) as error:
                raise _DoesNotFit(error.detail) from error
            await asyncio.sleep(0)
        if replay.size != size or reader.waiting:
            raise _DoesNotFit(f"the head of size {size} does not end in a status_root")
        boundary = size - size % TILE_WIDTH
        pending = await self._store.read_entries(boundary, size) if size % TILE_WIDTH else []
        return Tip(edge, encode_bundle(pending))

    async def _from_snapshot(self, size: int) -> tuple[Replay, Edge]:
        """The newest stored state at or below `size`, the empty log's if there is none that this code reads.

        Only below what the lookup index holds: what lies behind that has to be read to be found.
        """
        found = await self._store.load_snapshot(min(size, self._lookup.filled_to)) if size else None
        if found is None:
            return Replay(self._origin), Edge()
        at, data = found
        try:
            replay = Replay.from_snapshot(data, self._origin)
        except MalformedInput as error:
            self._log.warning("snapshot.unreadable", size=at, reason=error.detail)
            return Replay(self._origin), Edge()
        commit = await self._store.commit_of(at - 1)
        edge = await edge_at(self._store, at)
        if edge.root() != commit.root or (replay.size, commit.tree_size) != (at, at):
            raise ForkDetected(f"the snapshot at {at} does not belong to this log: run `badge-ledger check`")
        return replay, edge


class _DoesNotFit(Exception):
    """Stored entries that the rules do not admit behind what is believed."""


def _head_state(replay: Replay, last: Logged) -> HeadState:
    assert isinstance(last.entry, StatusRoot)  # noqa: S101 - every commit ends so, replay demands it
    return HeadState(replay.size, last.entry, last.data, replay.status)


def tile_levels(size: int) -> int:
    """Number of tile levels that a tree of `size` leaves has."""
    levels = 0
    while size:
        levels, size = levels + 1, size >> 8
    return levels


async def edge_at(store: Store, size: int) -> Edge:
    """The tile edge of the log at `size`, from the store's tiles."""
    tiles = [
        Tile(level, size >> 8 * (level + 1), width)
        for level in range(tile_levels(size))
        if (width := partial_width(level, size))
    ]
    data = await store.read_tiles(tiles)
    by_level = {tile.level: data[tile] for tile in tiles}
    return Edge.from_tiles(size, [by_level.get(level, b"") for level in range(tile_levels(size))])
