"""ledger.tiles: paths and geometry against the specification's examples, contents and proofs against ledger.merkle."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from hashlib import sha256

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger import merkle, tiles
from ledger.errors import MalformedInput, ProofInvalid
from ledger.tiles import Edge, ExpandedTile, Tile

SIZES = (1, 2, 3, 7, 8, 9, 255, 256, 257, 300, 511, 512, 513, 1000, 4096, 65535, 65536, 65537, 65793, 70_000)


@cache
def leaves() -> list[bytes]:
    return [sha256(b"%d" % i).digest() for i in range(70_000)]


@cache
def levels() -> list[list[bytes]]:
    return merkle.tree_levels(leaves())


def contents(tile: Tile) -> bytes:
    """The tile as the specification defines it: MTH(D[(n * 256 + i) * 256**l : (n * 256 + i + 1) * 256**l])."""
    start = tile.index * 256
    return b"".join(levels()[8 * tile.level][start : start + tile.width])


# Paths ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(0, 1234, 5), "tile/0/x001/234.p/5"),
        (Tile(63, 999, 255), "tile/63/999.p/255"),
        (Tile(1, 1000, 1), "tile/1/x001/000.p/1"),
        (Tile(-1, 0), "tile/entries/000"),
        (Tile(-1, 273, 112), "tile/entries/273.p/112"),
        (Tile(2, 2**63 - 1), "tile/2/x009/x223/x372/x036/x854/x775/807"),
    ],
)
def test_paths(tile: Tile, path: str) -> None:
    """The specification's way to write an index, with and without a width."""
    assert tiles.tile_path(tile) == path
    assert tiles.parse_tile_path(path) == tile


@given(st.integers(-1, 63), st.integers(0, 2**63 - 1) | st.integers(0, 10**7), st.integers(1, 256))
@settings(deadline=None)
def test_paths_round_trip(level: int, index: int, width: int) -> None:
    """Every tile has one path and is read back from it."""
    tile = Tile(level, index, width)
    assert tiles.parse_tile_path(tiles.tile_path(tile)) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile//000",
        "/tile/0/000",
        "tile/0/000/",
        "Tile/0/000",
        "tile/entries",
        "tile/entry/000",
        "tile/data/000",
        "tile/-1/000",
        "tile/00/000",
        "tile/01/000",
        "tile/64/000",
        "tile/+1/000",
        "tile/ 1/000",
        "tile/1_0/000",
        "tile/\u0661/000",
        "tile/8/0/000",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/1000",
        "tile/0/x00/000",
        "tile/0/x000/000",
        "tile/0/x000/x001/000",
        "tile/0/x001",
        "tile/0/x001/x000",
        "tile/0/001/000",
        "tile/0/xx001/000",
        "tile/0/X001/000",
        "tile/0/-01",
        "tile/0/0\u0661\u0661",
        "tile/0/00\u00b2",
        "tile/0/ 00",
        "tile/0/000\n",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/+1",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/0/000.p.p/1",
        "tile/0/000/1",
        "tile/0/.p/1",
        "tile/0/x001.p/1",
        "tile/0/../000",
        "tile/0/%30%30%30",
        "tile/0/x009/x223/x372/x036/x854/x775/808",
        "tile/0/x001/x000/x000/x000/x000/x000/x000/000",
        "tile/0/" + "x001/" * 1000 + "000",
    ],
)
def test_other_spellings_are_refused(path: str) -> None:
    """Nothing but the one spelling is read: no second cache key, no way around a check of the path."""
    with pytest.raises(MalformedInput):
        tiles.parse_tile_path(path)


@given(st.text(alphabet="tile/enrsx.p0123456789 -_", max_size=30) | st.text(max_size=20))
@settings(deadline=None)
@example("tile/0/x123/456.p/78")
def test_a_path_is_read_only_if_it_is_written_so(text: str) -> None:
    """Any text: either refused as malformed, or exactly what the tile it gave is written as."""
    for path in (text, "tile/0/" + text, "tile/entries/" + text):
        try:
            tile = tiles.parse_tile_path(path)
        except MalformedInput:
            continue
        assert tiles.tile_path(tile) == path


@given(st.integers(0, 63), st.integers(0, 10**7), st.integers(1, 256), st.data())
@settings(deadline=None)
def test_one_character_more_less_or_other(level: int, index: int, width: int, data: st.DataObject) -> None:
    """A path with one character changed is another tile's path or none."""
    path = tiles.tile_path(Tile(level, index, width))
    at = data.draw(st.integers(0, len(path)))
    character = data.draw(st.sampled_from("0123456789x./p -+_\u0661\x00"))
    for changed in (
        path[:at] + path[at + 1 :],
        path[:at] + character + path[at:],
        path[:at] + character + path[at + 1 :],
    ):
        try:
            tile = tiles.parse_tile_path(changed)
        except MalformedInput:
            continue
        assert tiles.tile_path(tile) == changed


def test_no_such_tile() -> None:
    """A Tile outside the ranges of the specification cannot be made."""
    for level, index, width in ((-2, 0, 1), (64, 0, 1), (0, -1, 1), (0, 2**63, 1), (0, 0, 0), (0, 0, 257)):
        with pytest.raises(ValueError, match="no such tile"):
            Tile(level, index, width)


# Geometry ------------------------------------------------------------------------------------------------------------


def test_the_specifications_example() -> None:
    """70,000 leaves: 273 full tiles and one of 112; one full, one of 17; one of 1. 256 leaves: one full, one of 1."""
    found = tiles.tiles_for_size(70_000)
    assert found[:273] == [Tile(0, n) for n in range(273)]
    assert found[273:] == [Tile(0, 273, 112), Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert tiles.tiles_for_size(256) == [Tile(0, 0), Tile(1, 0, 1)]
    assert tiles.tiles_for_size(0) == []
    assert [tiles.partial_width(level, 70_000) for level in (-1, 0, 1, 2, 3)] == [112, 112, 17, 1, 0]
    assert [tiles.partial_width(level, 65_536) for level in (-1, 0, 1, 2, 3)] == [0, 0, 0, 1, 0]


@given(st.integers(0, 300_000))
@settings(deadline=None)
def test_tiles_for_any_size(size: int) -> None:
    """Each level holds floor(size / 256^l) hashes, none twice, the last tile being as wide as partial_width says."""
    found = tiles.tiles_for_size(size)
    assert found == sorted(found)
    for level in range(8):
        row = [tile for tile in found if tile.level == level]
        assert [tile.index for tile in row] == list(range(len(row)))
        assert sum(tile.width for tile in row) == size // 256**level
        assert all(tile.width == 256 for tile in row[:-1])
        if row:
            assert row[-1].width == (tiles.partial_width(level, size) or 256)


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 5000))
@settings(deadline=None)
def test_bundles_for_any_range(start: int, length: int, more: int) -> None:
    """The bundles hold the range, start and end within the first and last, at the width they have in that log."""
    end, size = start + length, start + length + more
    bundles = list(tiles.bundles_for_range(start, end, size))
    if not length:
        assert bundles == []
        return
    assert bundles[0].index == start // 256
    assert bundles[-1].index == (end - 1) // 256
    assert [bundle.index for bundle in bundles] == list(range(bundles[0].index, bundles[-1].index + 1))
    for bundle in bundles:
        assert bundle.level == -1
        assert bundle.width == min(256, size - 256 * bundle.index)


def test_bundles_outside_the_log() -> None:
    """No bundles past the end, before the start or back to front."""
    for start, end, size in ((0, 2, 1), (-1, 1, 1), (2, 1, 5), (0, 1, 2**63)):
        with pytest.raises(ValueError, match="no entries"):
            tiles.bundles_for_range(start, end, size)


def test_every_node_has_a_tile() -> None:
    """Every complete subtree of trees around the tile boundaries: the tile exists at that size and yields the hash."""
    for size in (1, 5, 256, 257, 511, 700):
        existing = set(tiles.tiles_for_size(size))
        for height in range(size.bit_length()):
            for number in range(size >> height):
                node = (height, number)
                tile = tiles.tile_for_node(node, size)
                assert tile in existing
                assert tiles.node_from_tile(node, tile, contents(tile)) == levels()[height][number]
            with pytest.raises(ValueError, match="no complete subtree"):
                tiles.tile_for_node((height, size >> height), size)


def test_nodes_that_no_tile_holds() -> None:
    """Negative, beyond the tree, or at an impossible size."""
    for node, size in (((0, 0), 0), ((-1, 0), 1), ((0, -1), 1), ((64, 0), 2**63 - 1), ((63, 0), 2**63), ((9, 1), 1023)):
        with pytest.raises(ValueError, match="no complete subtree"):
            tiles.tile_for_node(node, size)
    assert tiles.tile_for_node((62, 0), 2**63 - 1) == Tile(7, 0, 127)
    assert tiles.tile_for_node((0, 2**63 - 2), 2**63 - 1) == Tile(0, 2**55 - 1, 255)


# Contents ------------------------------------------------------------------------------------------------------------


def build_from_tiles(plan: merkle.Plan, size: int) -> list[bytes]:
    """A proof from nothing but tile bytes, each node both hashed alone and taken from an expanded tile."""
    hashes: dict[merkle.Node, bytes] = {}
    existing = frozenset(tiles.tiles_for_size(size)) if size <= 1000 else None
    for tile, nodes in tiles.plan_tiles((node for part in plan for node in part), size).items():
        assert existing is None or tile in existing
        data = contents(tile)
        assert len(data) == 32 * tile.width
        expanded = ExpandedTile(data)
        for node in nodes:
            hashes[node] = tiles.node_from_tile(node, tile, data)
            assert expanded.node(*tiles.place_in_tile(node, tile)) == hashes[node]
    return merkle.build(plan, hashes)


@pytest.mark.parametrize("size", SIZES)
def test_every_kind_of_proof_from_tiles(size: int) -> None:
    """Root, inclusion, consistency and multiproofs built purely from the tiles of that size verify."""
    rng = random.Random(size)
    [root] = build_from_tiles([merkle.plan_root(size)], size)
    assert root == merkle.tree_hash(leaves()[:size])
    indexes = range(size) if size <= 300 else {0, 1, 255, 256, size // 2, size - 1, *rng.sample(range(size), 20)}
    for index in indexes:
        proof = build_from_tiles(merkle.plan_inclusion(index, size), size)
        merkle.verify_inclusion(leaves()[index], index, size, proof, root)
    for first in range(1, size + 1) if size <= 300 else {1, 255, 256, size - 1, size, *rng.sample(range(1, size), 20)}:
        old = merkle.tree_hash(leaves()[:first])
        merkle.verify_consistency(first, size, old, root, build_from_tiles(merkle.plan_consistency(first, size), size))
    for count in (1, 2, 4, 30):
        targets = {size - 1, *rng.sample(range(size), min(count, size))}
        proof = build_from_tiles(merkle.plan_multiproof(targets, size), size)
        assert merkle.root_from_multiproof({target: leaves()[target] for target in targets}, size, proof) == root


def test_a_flipped_bit_in_a_tile_breaks_the_proof() -> None:
    """A tile that lies about any hash a proof needs makes a proof that does not verify."""
    size, index = 700, 300
    root = merkle.tree_hash(leaves()[:size])
    plan = merkle.plan_inclusion(index, size)
    planned = tiles.plan_tiles((node for part in plan for node in part), size)
    assert len(planned) == 3
    for liar in planned:
        hashes: dict[merkle.Node, bytes] = {}
        for tile, nodes in planned.items():
            data = bytearray(contents(tile))
            if tile == liar:
                height, position = tiles.place_in_tile(nodes[0], tile)
                data[(position << height) * 32] ^= 1
            hashes |= {node: tiles.node_from_tile(node, tile, bytes(data)) for node in nodes}
        with pytest.raises(ProofInvalid):
            merkle.verify_inclusion(leaves()[index], index, size, merkle.build(plan, hashes), root)


def test_node_from_the_wrong_tile() -> None:
    """A tile of the wrong length is malformed; a node of another tile is the caller's error."""
    tile = Tile(0, 1, 10)
    data = contents(tile)
    assert tiles.node_from_tile((3, 32), tile, data) == levels()[3][32]
    for bad in (data[:-1], data + b"\0", data + bytes(32), data[:-32], b""):
        with pytest.raises(MalformedInput, match="bytes, not 320"):
            tiles.node_from_tile((3, 32), tile, bad)
    for node in ((0, 255), (0, 266), (0, 512), (1, 127), (3, 33), (8, 1), (8, 0), (16, 0)):
        with pytest.raises(ValueError, match="is not in tile/0/001"):
            tiles.node_from_tile(node, tile, data)


@pytest.mark.parametrize("width", [1, 2, 3, 100, 255, 256])
def test_an_expanded_tile_has_all_its_complete_subtrees(width: int) -> None:
    """Every height from 0 to 8 and every number inside, asked in any order, and nothing that is not complete."""
    data = contents(Tile(0, 2, width))
    expanded = ExpandedTile(data)
    assert expanded.width == width
    for level in (3, *range(9)):
        for index in range(width >> level):
            start = 512 + (index << level)
            assert expanded.node(level, index) == merkle.tree_hash(leaves()[start : start + (1 << level)])
        with pytest.raises(ValueError, match="has no node"):
            expanded.node(level, width >> level)
    for level, index in ((-1, 0), (9, 0), (0, -1)):
        with pytest.raises(ValueError, match="has no node"):
            expanded.node(level, index)


def test_an_expanded_tile_takes_1_to_256_hashes() -> None:
    """Neither nothing nor more than a tile nor half a hash."""
    for length in (0, 31, 33, 8191, 8193, 8224):
        with pytest.raises(MalformedInput):
            ExpandedTile(bytes(length))


@given(st.lists(st.binary(max_size=70), max_size=300))
@settings(deadline=None)
def test_bundles_round_trip(entries: list[bytes]) -> None:
    """Entries in, the same entries out, and only with their exact count."""
    data = tiles.encode_bundle(iter(entries))
    assert tiles.decode_bundle(data, len(entries)) == entries
    for count in (len(entries) - 1, len(entries) + 1):
        with pytest.raises(MalformedInput):
            tiles.decode_bundle(data, count)


def test_bundle_bytes() -> None:
    """u16 big-endian length, then the entry; up to 65,535 bytes."""
    longest = b"x" * 65_535
    data = tiles.encode_bundle([b"ab", b"", longest])
    assert data == b"\x00\x02ab\x00\x00\xff\xff" + longest
    assert tiles.decode_bundle(data, 3) == [b"ab", b"", longest]
    assert tiles.decode_bundle(b"", 0) == []
    with pytest.raises(ValueError, match="longer than"):
        tiles.encode_bundle([longest + b"x"])


def test_every_truncation_and_extension_of_a_bundle_is_refused() -> None:
    """A bundle cut anywhere, or with bytes to spare, is malformed."""
    entries = [b"abc", b"", b"\x00\x01", b"z" * 9]
    data = tiles.encode_bundle(entries)
    for cut in range(len(data)):
        with pytest.raises(MalformedInput):
            tiles.decode_bundle(data[:cut], len(entries))
    for more in (b"\0", b"\0\0", b"\0\1z", b"\0\5z"):
        with pytest.raises(MalformedInput):
            tiles.decode_bundle(data + more, len(entries))


# Growing -------------------------------------------------------------------------------------------------------------


def check_edge(edge: Edge, size: int, stored: dict[tuple[int, int], bytes]) -> None:
    """The edge and the full tiles it gave so far are exactly the tiles of that size."""
    assert edge.size == size
    assert edge.root() == edge.root() == merkle.tree_hash(leaves()[:size])
    expected = tiles.tiles_for_size(size)
    full = {(tile.level, tile.index) for tile in expected if tile.width == 256}
    assert stored.keys() == full
    assert all(data == contents(Tile(level, index)) for (level, index), data in stored.items())
    partials = {tile.level: contents(tile) for tile in expected if tile.width < 256}
    assert {level: edge.partial(level) for level in range(9) if edge.partial(level)} == partials
    assert edge.partials() == tuple(
        edge.partial(level) for level in range(1 + max((t.level for t in expected), default=-1))
    )


def grow(batches: Sequence[int], *, reload: bool) -> None:
    edge, size = Edge(), 0
    stored: dict[tuple[int, int], bytes] = {}
    for batch in batches:
        new = edge.extend(leaves()[size : size + batch])
        size += batch
        assert new == sorted(new)
        for level, index, data in new:
            assert (level, index) not in stored
            stored[level, index] = data
        check_edge(edge, size, stored)
        if reload:
            edge = Edge.from_tiles(size, edge.partials())


@given(st.lists(st.integers(0, 700) | st.sampled_from([1, 255, 256, 257, 512]), max_size=6), st.booleans())
@settings(deadline=None, max_examples=60)
def test_an_edge_grows_in_any_batches(batches: list[int], reload: bool) -> None:
    """However leaves are split into batches, with or without a restart from stored tiles in between: the same log."""
    grow(batches, reload=reload)


def test_an_edge_grows_leaf_by_leaf() -> None:
    """One at a time over two tile boundaries."""
    grow([1] * 515, reload=False)


@pytest.mark.parametrize("batches", [[70_000], [65_535, 1, 1, 4463], [300, 65_236, 4464], [1000] * 70], ids=str)
def test_an_edge_of_three_tile_levels(batches: list[int]) -> None:
    """The specification's example of 70,000 leaves: 273 + 1 full tiles, partial ones of 112, 17 and 1."""
    edge, size = Edge(), 0
    stored: dict[tuple[int, int], bytes] = {}
    for batch in batches:
        stored |= {(level, index): data for level, index, data in edge.extend(leaves()[size : size + batch])}
        size += batch
    check_edge(edge, 70_000, stored)
    assert [len(data) // 32 for data in edge.partials()] == [112, 17, 1]


@given(st.integers(0, 70_000), st.integers(0, 600))
@settings(deadline=None, max_examples=40)
def test_an_edge_from_stored_tiles(size: int, more: int) -> None:
    """An edge read back at any size has the root and goes on as one that was never stored."""
    size = min(size, 70_000 - more)
    stored = {tile.level: contents(tile) for tile in tiles.tiles_for_size(size) if tile.width < 256}
    partials = [stored.get(level, b"") for level in range(3)]
    edge = Edge.from_tiles(size, partials)
    assert edge.root() == merkle.tree_hash(leaves()[:size])
    assert Edge.from_tiles(size, edge.partials()).root() == edge.root()
    for level, index, data in edge.extend(leaves()[size : size + more]):
        assert data == contents(Tile(level, index))
    assert edge.root() == merkle.tree_hash(leaves()[: size + more])


def test_an_edge_hashes_each_subtree_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """n leaves onto an empty log cost n minus one per complete subtree left at the edge, and the root those minus 1."""
    calls = 0

    def counting(data: bytes) -> object:
        nonlocal calls
        calls += 1
        return sha256(data)

    batch, rest = leaves()[:65_000], leaves()[65_000:65_003]
    edge = Edge()
    monkeypatch.setattr(merkle, "sha256", counting)
    edge.extend(batch)
    assert calls == 65_000 - (65_000).bit_count()
    edge.root()
    edge.root()
    assert calls == 65_000 - 1
    edge.extend(rest)
    edge.root()
    assert calls == 65_000 - 1 + (3 - (65_003).bit_count() + (65_000).bit_count()) + (65_003).bit_count() - 1


def test_a_copy_of_an_edge_is_independent() -> None:
    """Extending a copy leaves the original as it was."""
    edge = Edge()
    edge.extend(leaves()[:300])
    twin = edge.copy()
    twin.extend(leaves()[300:600])
    assert (edge.size, edge.partial(0), edge.root()) == (
        300,
        contents(Tile(0, 1, 44)),
        merkle.tree_hash(leaves()[:300]),
    )
    assert (twin.size, twin.partial(0), twin.root()) == (
        600,
        contents(Tile(0, 2, 88)),
        merkle.tree_hash(leaves()[:600]),
    )


def test_edge_arguments() -> None:
    """Partial tiles that do not have the width of that size are malformed; trailing empty ones may be left out."""
    hashes = b"".join(leaves()[:3])
    assert Edge.from_tiles(3, [hashes, b"", b""]).partials() == (hashes,)
    assert Edge.from_tiles(0, []).root() == merkle.EMPTY_ROOT
    with pytest.raises(MalformedInput):
        Edge.from_tiles(256, [])
    for size, partials in (
        (3, []),
        (3, [hashes[:-1]]),
        (3, [hashes + bytes(32)]),
        (3, [hashes, hashes]),
        (0, [hashes]),
    ):
        with pytest.raises(MalformedInput):
            Edge.from_tiles(size, partials)
    for size in (-1, 2**63):
        with pytest.raises(ValueError, match="no tree has"):
            Edge.from_tiles(size, [])
    largest = Edge.from_tiles(2**63 - 1, [bytes(255 * 32)] * 7 + [bytes(127 * 32)])
    before = largest.partials()
    with pytest.raises(ValueError, match="no tree has"):
        largest.extend(leaves()[:1])
    assert (largest.size, largest.partials()) == (2**63 - 1, before)


@pytest.mark.parametrize("length", [0, 1, 43, 74, 300])
@pytest.mark.parametrize("count", [0, 1, 2, 255, 256])
def test_entries_of_one_length_are_the_same_entries(length: int, count: int) -> None:
    """The short way for bulk issuance reads what the long way reads, and one byte off goes the long way."""
    entries = [bytes([k & 255]) * length for k in range(count)]
    data = tiles.encode_bundle(entries)
    assert tiles.decode_bundle(data, count) == entries
    for wrong in (data + b"\0", data[:-1]) if data else ():
        with pytest.raises(MalformedInput):
            tiles.decode_bundle(wrong, count)
    if count > 1 and length > 3:
        odd = [*entries[:-2], entries[-1] + b"x", entries[-1][:-1]]
        assert len(tiles.encode_bundle(odd)) == len(data)
        assert tiles.decode_bundle(tiles.encode_bundle(odd), count) == odd
