"""C2SP tlog-tiles (https://c2sp.org/tlog-tiles): where the hashes and entries of a log lie, and what is in a tile.

    tile/<L>/<N>[.p/<W>]         W (256 if full) hashes of 32 bytes; hash i of tile N at level L is the complete subtree
                                 of height 8 L and number 256 N + i
    tile/entries/<N>[.p/<W>]     W entries, each behind its u16 length: the entries of tile/0/<N>

    <N> in groups of three digits, x before all but the last: x001/x234/067
    in a tree of s leaves the last tile at level L is partial with (s >> 8 L) & 255 hashes; it does not exist with none

Heights inside a tile (0 to 8) are hashed up from its bottom row. `plan_tiles` says which tiles hold planned nodes, the
caller fetches them, `node_from_tile` or an ExpandedTile hands the nodes to `merkle.build`. Edge is the growing side:
leaf hashes in, full tiles out. Nothing here reads or writes, and nothing prunes: the log's minimum index is 0 forever.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from ledger.errors import MalformedInput
from ledger.merkle import HASH_BYTES, MAX_SIZE, Frontier, Node, tree_hash, tree_levels
from ledger.text import parse_decimal

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 256
TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
#: The level of entry bundles, which lie beside the hash tiles of level 0.
ENTRIES_LEVEL: Final = -1
MAX_ENTRY_BYTES: Final = 0xFFFF


class Tile(msgspec.Struct, frozen=True, order=True):
    """A tile or bundle: level 0..63 (-1 for entries), index 0..2^63 - 1, width 1..256. Raises ValueError."""

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not (-1 <= self.level <= 63 and 0 <= self.index <= MAX_SIZE and 1 <= self.width <= TILE_WIDTH):
            raise ValueError(f"no such tile: level {self.level}, index {self.index}, width {self.width}")


# Paths ---------------------------------------------------------------------------------------------------------------


def tile_path(tile: Tile) -> str:
    """`tile/0/x001/234.p/5`, `tile/entries/000`: relative to the log's URL prefix, without a slash in front."""
    groups = [f"{tile.index % 1000:03d}"]
    rest = tile.index // 1000
    while rest:
        groups.append(f"x{rest % 1000:03d}")
        rest //= 1000
    level = "entries" if tile.level == ENTRIES_LEVEL else str(tile.level)
    suffix = "" if tile.width == TILE_WIDTH else f".p/{tile.width}"
    return f"tile/{level}/{'/'.join(reversed(groups))}{suffix}"


def parse_tile_path(path: str) -> Tile:
    """The inverse of `tile_path`: accepts exactly what that gives. Raises MalformedInput."""
    parts = path[:100].split("/")
    if len(parts) < 3 or parts[0] != "tile":
        raise MalformedInput(f"not a tile path: {path[:100]!r}")
    level = ENTRIES_LEVEL if parts[1] == "entries" else parse_decimal(parts[1], max_value=63, what="tile level")
    groups = parts[2:]
    width = TILE_WIDTH
    if len(groups) > 1 and groups[-2].endswith(".p"):
        width = parse_decimal(groups.pop(), max_value=TILE_WIDTH - 1, what="tile width")
        groups[-1] = groups[-1].removesuffix(".p")
    # Read leniently, then compare with the one way to write what was read.
    digits = "".join(group.removeprefix("x") for group in groups)
    index = parse_decimal(digits.lstrip("0") or "0", max_value=MAX_SIZE, what="tile index")
    if width:
        tile = Tile(level, index, width)
        if tile_path(tile) == path:
            return tile
    raise MalformedInput(f"not a tile path as C2SP tlog-tiles writes it: {path[:100]!r}")


# Geometry ------------------------------------------------------------------------------------------------------------


def partial_width(level: int, size: int) -> int:
    """Hashes (at level -1 entries) in the partial tile at the right edge of a tree of `size`: 0 (none) to 255."""
    return size >> TILE_HEIGHT * max(level, 0) & (TILE_WIDTH - 1)


def tiles_for_size(size: int) -> list[Tile]:
    """Every hash tile of a tree of `size` leaves, full and partial: by level, then index."""
    tiles: list[Tile] = []
    level = 0
    while count := size >> TILE_HEIGHT * level:
        tiles += _row(level, 0, count, count)
        level += 1
    return tiles


def bundles_for_range(start: int, end: int, size: int) -> Iterator[Tile]:
    """The entry bundles that hold entries [start, end) of a log of `size`, as wide as they are at that size, one after
    the other: the size may be one that somebody merely claims, and a list of its bundles larger than any memory.

    Raises ValueError unless 0 <= start <= end <= size.
    """
    if not 0 <= start <= end <= size <= MAX_SIZE:
        raise ValueError(f"no entries [{start}, {end}) in a log of {size}")
    return _row(ENTRIES_LEVEL, start, end, size)


def _row(level: int, start: int, end: int, count: int) -> Iterator[Tile]:
    """The tiles that hold positions [start, end) of a level with `count` positions."""
    indexes = range(start >> TILE_HEIGHT, (end - 1 >> TILE_HEIGHT) + 1 if end > start else 0)
    return (Tile(level, index, min(TILE_WIDTH, count - index * TILE_WIDTH)) for index in indexes)


def tile_for_node(node: Node, size: int) -> Tile:
    """The tile that yields the node, as wide as it is in a tree of `size`.

    Raises ValueError if the node is not a complete subtree of that tree.
    """
    height, number = node
    if not (0 <= height <= 63 and number >= 0 and (number + 1) << height <= size <= MAX_SIZE):
        raise ValueError(f"a tree of {size} has no complete subtree {node}")
    level, inside = divmod(height, TILE_HEIGHT)
    index = number << inside >> TILE_HEIGHT
    return Tile(level, index, min(TILE_WIDTH, (size >> TILE_HEIGHT * level) - index * TILE_WIDTH))


def plan_tiles(nodes: Iterable[Node], size: int) -> dict[Tile, list[Node]]:
    """Which tiles to fetch for the nodes, and which nodes each yields. Raises ValueError as `tile_for_node` does."""
    tiles: dict[Tile, list[Node]] = {}
    for node in nodes:
        tiles.setdefault(tile_for_node(node, size), []).append(node)
    return tiles


# Contents ------------------------------------------------------------------------------------------------------------


def split_hashes(data: bytes) -> list[bytes]:
    """The 32-byte hashes in a tile. Raises MalformedInput if its length is no multiple of 32."""
    if len(data) % HASH_BYTES:
        raise MalformedInput(f"{len(data)} bytes are no whole number of hashes")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def node_from_tile(node: Node, tile: Tile, data: bytes) -> bytes:
    """The hash of a node, from the tile that `tile_for_node` named.

    Raises MalformedInput if `data` is not `32 * tile.width` bytes, ValueError if the node is not in the tile.
    """
    if len(data) != HASH_BYTES * tile.width:
        raise MalformedInput(f"{tile_path(tile)} has {len(data)} bytes, not {HASH_BYTES * tile.width}")
    inside, position = place_in_tile(node, tile)
    if (position + 1) << inside > tile.width:
        raise ValueError(f"node {node} is not in {tile_path(tile)}")
    span = HASH_BYTES << inside
    return tree_hash(split_hashes(data[position * span : (position + 1) * span]))


def place_in_tile(node: Node, tile: Tile) -> tuple[int, int]:
    """(height inside the tile 0..7, position in that row) of a node: what `ExpandedTile.node` takes.

    Raises ValueError if the node belongs to another tile.
    """
    level, inside = divmod(node[0], TILE_HEIGHT)
    position = node[1] - (tile.index << TILE_HEIGHT - inside)
    if level != tile.level or not 0 <= position < TILE_WIDTH >> inside:
        raise ValueError(f"node {node} is not in {tile_path(tile)}")
    return inside, position


class ExpandedTile:
    """A hash tile with its inner rows, for caches: hashed up on the first question above the bottom row, then kept.

    Holds at most 16 kB: the tile and 255 hashes. Raises MalformedInput unless `data` is 1 to 256 hashes.
    """

    __slots__ = ("_rows", "width")

    def __init__(self, data: bytes) -> None:
        if not data or len(data) > TILE_BYTES or len(data) % HASH_BYTES:
            raise MalformedInput(f"a tile of {len(data)} bytes")
        self.width = len(data) // HASH_BYTES
        self._rows = [data]

    @property
    def data(self) -> bytes:
        """The tile itself."""
        return self._rows[0]

    def node(self, level: int, index: int) -> bytes:
        """The complete subtree of height `level` (0..8) and number `index` inside the tile.

        Raises ValueError if the tile is too narrow to have it.
        """
        if not (0 <= level <= TILE_HEIGHT and index >= 0 and (index + 1) << level <= self.width):
            raise ValueError(f"a tile of {self.width} hashes has no node {index} at height {level}")
        if level and len(self._rows) == 1:
            # One buffer a row instead of an object a hash: a third of the memory. Assigned once, so threads may race.
            self._rows = [b"".join(row) for row in tree_levels(split_hashes(self._rows[0]))]
        return self._rows[level][index * HASH_BYTES : (index + 1) * HASH_BYTES]


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Entries of 0 to 65,535 bytes, each behind its big-endian u16 length. Raises ValueError for a longer one."""
    try:
        return b"".join([part for entry in entries for part in (len(entry).to_bytes(2, "big"), entry)])
    except OverflowError as error:
        raise ValueError(f"an entry is longer than {MAX_ENTRY_BYTES} bytes") from error


def decode_bundle(data: bytes, count: int) -> list[bytes]:
    """Exactly `count` entries, and nothing after them. Raises MalformedInput."""
    step = 2 + int.from_bytes(data[:2], "big")
    if len(data) == step * count and data[::step] == data[:1] * count and data[1::step] == data[1:2] * count:
        # Entries of one length, as bulk issuance makes them: a fifth of the time of walking from length to length.
        return [entry for (entry,) in struct.iter_unpack(f"2x{step - 2}s", data)]
    entries: list[bytes] = []
    at, end = 0, len(data)
    while at < end and len(entries) < count:
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        entries.append(data[start:at])
    # A length cut in half, or one that points past the end, leaves `at` beyond it.
    if at != end or len(entries) != count:
        raise MalformedInput(f"an entry bundle of {end} bytes does not hold exactly {count} entries")
    return entries


# Growing -------------------------------------------------------------------------------------------------------------


class Edge:
    """The right edge of a growing log: the partial tiles, and the frontier for the root. Hashes every subtree once."""

    __slots__ = ("_frontier", "_partials")

    def __init__(self) -> None:
        self._frontier = Frontier()
        #: By tile level: the bytes of the partial tile, b"" where the last tile is full.
        self._partials: list[bytes] = []

    @classmethod
    def from_tiles(cls, size: int, partials: Sequence[bytes]) -> Edge:
        """The edge of a log of `size` leaves, from its partial tiles, level 0 first (b"" or left out: none).

        The hashes are believed; compare `root()` with a root that is trusted. Raises MalformedInput if a partial tile
        is not as wide as that size makes it, ValueError for a size out of range.
        """
        if not 0 <= size <= MAX_SIZE:
            raise ValueError(f"no tree has {size} leaves")
        edge = cls()
        levels = _tile_levels(size)
        tiles = [*partials, *([b""] * (levels - len(partials)))]
        hashes: list[bytes] = []
        for level in reversed(range(len(tiles))):
            width = partial_width(level, size)
            if len(tiles[level]) != width * HASH_BYTES:
                raise MalformedInput(
                    f"the partial tile at level {level} has {len(tiles[level])} bytes, not {width} hashes"
                )
            row = split_hashes(tiles[level])
            start = 0
            for bit in reversed(range(TILE_HEIGHT)):
                if width >> bit & 1:
                    hashes.append(tree_hash(row[start : start + (1 << bit)]))
                    start += 1 << bit
        edge._partials = tiles[:levels]
        edge._frontier = Frontier(size, hashes)
        return edge

    @property
    def size(self) -> int:
        """Leaves in the log."""
        return self._frontier.size

    def extend(self, leaf_hashes: Sequence[bytes]) -> list[tuple[int, int, bytes]]:
        """Append leaves of 32 bytes each (not checked: this is the hot path).

        Returns the tiles that this filled as (level, index, 8,192 bytes), by level, then index.
        Raises ValueError, changing nothing, past 2^63 - 1 leaves.
        """
        before = self._frontier.size
        completed = self._frontier.extend(leaf_hashes)
        full: list[tuple[int, int, bytes]] = []
        for level, nodes in enumerate(completed[::TILE_HEIGHT]):
            if level == len(self._partials):
                self._partials.append(b"")
            row = self._partials[level] + b"".join(nodes)
            cut = len(row) // TILE_BYTES
            first = before >> TILE_HEIGHT * (level + 1)
            full += [(level, first + k, row[k * TILE_BYTES : (k + 1) * TILE_BYTES]) for k in range(cut)]
            self._partials[level] = row[cut * TILE_BYTES :]
        return full

    def root(self) -> bytes:
        """The 32-byte root: at most 62 hashes after an `extend`, none when asked again."""
        return self._frontier.root()

    def partial(self, level: int) -> bytes:
        """The partial tile at a level (0 or more), b"" if there is none."""
        return self._partials[level] if level < len(self._partials) else b""

    def partials(self) -> tuple[bytes, ...]:
        """The partial tiles from level 0 to the log's highest tile level, b"" where there is none: for `from_tiles`."""
        return tuple(self._partials)

    def copy(self) -> Edge:
        """An independent copy; the tiles' bytes are shared."""
        twin = Edge()
        twin._frontier = self._frontier.copy()
        twin._partials = self._partials.copy()
        return twin


def _tile_levels(size: int) -> int:
    """Levels of a log that have any tile."""
    return -(-size.bit_length() // TILE_HEIGHT)
