"""A log of opaque entries that grows by commits as a sequencer would write them, and knows what must be read back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from ledger.merkle import leaf_hashes, tree_hash
from ledger.store import Commit, Store
from ledger.tiles import (
    TILE_WIDTH,
    Edge,
    Tile,
    bundles_for_range,
    decode_bundle,
    encode_bundle,
    split_hashes,
    tiles_for_size,
)


def entry_bytes(index: int, *, salt: str = "") -> bytes:
    """Entry number `index`: 75 to 90 bytes or so, no two alike."""
    return hashlib.sha512(f"{salt}{index}".encode()).digest() + bytes(11 + index % 16)


class GrowingLog:
    """`next_commit(n)` plans the commit of n more entries, `took_hold` accepts it; `grow` does both on a store."""

    def __init__(self, *, salt: str = "") -> None:
        self.salt = salt
        self.edge = Edge()
        self.entries: list[bytes] = []
        self.hashes: list[bytes] = []
        self.commits: list[Commit] = []
        self._planned: tuple[Commit, Edge, list[bytes], list[bytes]] | None = None

    @property
    def size(self) -> int:
        return len(self.entries)

    def next_commit(self, count: int, **extras: Any) -> Commit:
        first, size = self.size, self.size + count
        fresh = [entry_bytes(index, salt=self.salt) for index in range(first, size)]
        hashes = leaf_hashes(fresh)
        edge = self.edge.copy()
        tiles = edge.extend(hashes)
        entries = self.entries + fresh
        boundary = size - size % TILE_WIDTH
        tail_first = max(first, boundary)
        changed = [level for level in range(1, 8) if first >> 8 * level != size >> 8 * level]
        commit = Commit(
            first_index=first,
            tree_size=size,
            time_ms=1_000 * size,
            root=edge.root(),
            edge={level: edge.partial(level) for level in changed},
            tail_first=tail_first,
            tail_entries=encode_bundle(entries[tail_first:]),
            tail_hashes=b"".join(hashes[tail_first - first :]),
            full_tiles=tiles,
            bundles=[
                (index, encode_bundle(entries[index * TILE_WIDTH : (index + 1) * TILE_WIDTH]))
                for index in range(first // TILE_WIDTH, size // TILE_WIDTH)
            ],
            **extras,
        )
        self._planned = commit, edge, fresh, hashes
        return commit

    def took_hold(self) -> None:
        assert self._planned is not None
        commit, self.edge, fresh, hashes = self._planned
        self.entries += fresh
        self.hashes += hashes
        self.commits.append(commit)
        self._planned = None

    async def grow(self, store: Store, *counts: int, **extras: Any) -> None:
        for count in counts:
            commit = self.next_commit(count, **extras)
            async with store.append() as append:
                await append.write(commit)
            self.took_hold()

    def tile(self, tile: Tile) -> bytes:
        """What a tile must hold, computed from the entries alone."""
        if tile.level < 0:
            return encode_bundle(self.entries[tile.index * TILE_WIDTH :][: tile.width])
        span = 1 << 8 * tile.level
        first = tile.index * TILE_WIDTH
        return b"".join(tree_hash(self.hashes[i * span : (i + 1) * span]) for i in range(first, first + tile.width))

    async def check(self, store: Store) -> None:
        """Everything that the store says of the log is true: heads, edge, every tile and bundle, entries, commits."""
        head = await store.head()
        assert (head.size, head.root) == (self.size, tree_hash(self.hashes))
        assert head.edge == self.edge.partials()[1:]
        tiles = [*tiles_for_size(self.size), *bundles_for_range(0, self.size, self.size)]
        read = await store.read_tiles(tiles)
        assert read == {tile: self.tile(tile) for tile in tiles}
        assert await store.read_entries(0, self.size) == self.entries
        assert await store.read_hashes(0, self.size) == self.hashes
        rows = await store.commits(0, len(self.commits) + 1)
        assert [(row.first_index, row.tree_size, row.time_ms, row.root) for row in rows] == [
            (commit.first_index, commit.tree_size, commit.time_ms, commit.root) for commit in self.commits
        ]


def root_of_tiles(read: dict[Tile, bytes], size: int) -> bytes:
    """The root that level 0 leads to, after checking that each bundle's entries hash to its tile."""
    hashes: list[bytes] = []
    for index in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - index * TILE_WIDTH)
        row = split_hashes(read[Tile(0, index, width)])
        assert leaf_hashes(decode_bundle(read[Tile(-1, index, width)], width)) == row
        hashes += row
    return tree_hash(hashes)


def full_and_partial(size: int) -> Sequence[Tile]:
    """Level 0 and the bundles of a tree of `size`."""
    return [*(tile for tile in tiles_for_size(size) if tile.level == 0), *bundles_for_range(0, size, size)]
