"""Tree nodes from stored tiles: plan which tiles hold them, read those once, hash up inside them.

The I/O boundary of every proof that the service builds falls here. `TileCache` keeps full tiles, which never change,
with their inner levels once computed: expanding one costs some 100 microseconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol

from ledger.merkle import Node
from ledger.tiles import TILE_HEIGHT, TILE_WIDTH, ExpandedTile, Tile, plan_tiles


class TileSource(Protocol):
    """Whatever serves tiles: the store, or a mirror."""

    async def read_tiles(self, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        """The bytes of these tiles, full or partial. Raises NotFound."""


class TileCache:
    """A least-recently-used cache of full tiles in front of a source."""

    def __init__(self, source: TileSource, capacity: int = 4096) -> None:
        self._source = source
        self._capacity = capacity
        self._full: OrderedDict[Tile, ExpandedTile] = OrderedDict()
        self._partial: dict[Tile, ExpandedTile] = {}
        self._partial_size = 0

    async def tiles(self, wanted: Iterable[Tile], size: int) -> dict[Tile, ExpandedTile]:
        """These tiles of the tree of `size` leaves."""
        if size != self._partial_size:
            # Partial tiles belong to one tree size: those of an older head are of no more use.
            self._partial, self._partial_size = {}, size
        found: dict[Tile, ExpandedTile] = {}
        missing: list[Tile] = []
        for tile in wanted:
            expanded = self._full.get(tile) if tile.width == TILE_WIDTH else self._partial.get(tile)
            if expanded is None:
                missing.append(tile)
                continue
            if tile.width == TILE_WIDTH:
                self._full.move_to_end(tile)
            found[tile] = expanded
        if missing:
            for tile, data in (await self._source.read_tiles(missing)).items():
                expanded = found[tile] = ExpandedTile(data)
                if tile.width == TILE_WIDTH:
                    self._full[tile] = expanded
                elif size == self._partial_size:
                    self._partial[tile] = expanded
            while len(self._full) > self._capacity:
                self._full.popitem(last=False)
        return found

    async def nodes(self, nodes: Iterable[Node], size: int) -> dict[Node, bytes]:
        """The hashes of these complete subtrees of the tree of `size` leaves."""
        plan = plan_tiles(nodes, size)
        tiles = await self.tiles(plan, size)
        return {node: _node(tiles[tile], tile, node) for tile, group in plan.items() for node in group}


def _node(expanded: ExpandedTile, tile: Tile, node: Node) -> bytes:
    level, index = node
    inner = level - TILE_HEIGHT * tile.level
    return expanded.node(inner, index - (tile.index << (TILE_HEIGHT - inner)))


async def read_nodes(source: TileSource, nodes: Iterable[Node], size: int) -> dict[Node, bytes]:
    """The hashes of these complete subtrees, without a cache: what is stored now."""
    return await TileCache(source, capacity=64).nodes(nodes, size)
