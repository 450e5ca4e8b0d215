"""Tree nodes from stored tiles: plan which tiles hold them, read those once, hash up inside them.

The I/O boundary of every proof that the service builds falls here. `TileCache` keeps full tiles, which never change,
with their inner levels once computed: expanding one costs some 100 microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from ledger.merkle import Node
from ledger.tiles import TILE_HEIGHT, TILE_WIDTH, ExpandedTile, Tile


class TileSource(Protocol):
    """Whatever serves tiles: the store, or a mirror."""

    async def read_tiles(self, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        """The bytes of these tiles, full or partial. Raises NotFound."""


class TileCache:
    """Full tiles, which never change, and the partial ones of the newest tree size asked for, in front of a source."""

    def __init__(self, source: TileSource, capacity: int = 4096) -> None:
        self._source = source
        self._capacity = capacity
        # By (level, index). The oldest goes first, whether used or not: the few tiles of upper levels, which every
        # proof uses, are read again once per turnover, and a hit costs one look-up.
        self._full: dict[tuple[int, int], ExpandedTile] = {}
        self._partial: dict[tuple[int, int], ExpandedTile] = {}
        self._partial_size = 0

    async def tiles(self, wanted: Iterable[tuple[int, int]], size: int) -> dict[tuple[int, int], ExpandedTile]:
        """The tiles at these (level, index) in the tree of `size` leaves, as wide as they are there."""
        if size > self._partial_size:
            # Partial tiles belong to one tree size: those of an older head are of no more use.
            self._partial, self._partial_size = {}, size
        found: dict[tuple[int, int], ExpandedTile] = {}
        missing: list[Tile] = []
        for place in wanted:
            level, index = place
            width = min(TILE_WIDTH, (size >> TILE_HEIGHT * level) - index * TILE_WIDTH)
            expanded = self._full.get(place)
            if expanded is None and width < TILE_WIDTH and size == self._partial_size:
                expanded = self._partial.get(place)
            if expanded is None:
                missing.append(Tile(level, index, width))
            else:
                found[place] = expanded
        if missing:
            for tile, data in (await self._source.read_tiles(missing)).items():
                place = (tile.level, tile.index)
                found[place] = ExpandedTile(data)
                if tile.width == TILE_WIDTH:
                    self._full[place] = found[place]
                elif size == self._partial_size:
                    self._partial[place] = found[place]
            while len(self._full) > self._capacity:
                del self._full[next(iter(self._full))]
        return found

    async def nodes(self, nodes: Iterable[Node], size: int) -> dict[Node, bytes]:
        """The hashes of these complete subtrees of the tree of `size` leaves."""
        found: dict[Node, bytes] = {}
        later: list[tuple[Node, tuple[int, int]]] = []
        full = self._full
        for node in nodes:
            height, number = node
            inside = height % TILE_HEIGHT
            index = number >> TILE_HEIGHT - inside
            expanded = full.get((height // TILE_HEIGHT, index))
            if expanded is None:
                later.append((node, (height // TILE_HEIGHT, index)))
            else:
                found[node] = expanded.node(inside, number - (index << TILE_HEIGHT - inside))
        if later:
            tiles = await self.tiles({place for _, place in later}, size)
            for node, place in later:
                inside = node[0] % TILE_HEIGHT
                found[node] = tiles[place].node(inside, node[1] - (place[1] << TILE_HEIGHT - inside))
        return found


async def read_nodes(source: TileSource, nodes: Iterable[Node], size: int) -> dict[Node, bytes]:
    """The hashes of these complete subtrees, without a cache: what is stored now."""
    return await TileCache(source, capacity=64).nodes(nodes, size)
