"""Reading the log: any width that ever was, from one snapshot, while it grows."""

from __future__ import annotations

import asyncio
import hashlib
import random

import pytest

from ledger.errors import DatabaseError, NotFound
from ledger.merkle import tree_hash
from ledger.store import Store
from ledger.store.reads import cut_bundle, split_bundle
from ledger.tiles import Tile, encode_bundle
from tests.store.conftest import RunSql
from tests.store.growing import GrowingLog, full_and_partial, root_of_tiles


async def test_every_width_that_ever_was_can_still_be_read(store: Store) -> None:
    """A partial tile of any older tree is a prefix of what stands now: of tails, of the edge, or of a full tile."""
    log = GrowingLog()
    for count in (200, 100, 66_000):
        await log.grow(store, count)
        tiles = [Tile(level, 0, width) for level in (-1, 0) for width in (1, 7, 100, 199, 200)]
        tiles += [Tile(1, 0, width) for width in range(1, min(256, log.size // 256) + 1, 50)]
        last = (log.size - 1) // 256
        tiles += [Tile(level, last, width) for level in (-1, 0) for width in range(1, log.size % 256 + 1, 11)]
        assert await store.read_tiles(tiles) == {tile: log.tile(tile) for tile in tiles}


async def test_what_the_log_does_not_reach_is_not_found(store: Store) -> None:
    """One hash more than is committed, the next tile, a level above: NotFound, whatever else was asked."""
    log = GrowingLog()
    with pytest.raises(NotFound):
        await store.read_tiles([Tile(0, 0, 1)])
    await log.grow(store, 300, 40)
    for tile in (
        *(Tile(level, 1, 85) for level in (0, -1)),
        *(Tile(level, 1) for level in (0, -1)),
        *(Tile(level, 2, 1) for level in (0, -1)),
        *(Tile(level, (1 << 55) - 1, 1) for level in (0, -1)),
        *(Tile(level, (1 << 63) - 1, 1) for level in (0, -1)),
        Tile(1, 0, 2),
        Tile(1, 0),
        Tile(2, 0, 1),
        Tile(63, 0, 1),
    ):
        with pytest.raises(NotFound):
            await store.read_tiles([Tile(0, 0), tile])
    for start, end in ((0, 341), (340, 341), (339, 600)):
        with pytest.raises(NotFound):
            await store.read_entries(start, end)
        with pytest.raises(NotFound):
            await store.read_hashes(start, end)
    assert await store.read_tiles([]) == {}


async def test_any_range_of_entries_and_hashes(store: Store) -> None:
    """Every range's ends in and out of bundles and tails; a range that runs backwards is the caller's mistake."""
    log = GrowingLog()
    await log.grow(store, 250, 3, 3, 300, 20, 1)
    marks = [0, 1, 250, 253, 255, 256, 257, 511, 512, 556, 576, 577]
    for start in marks:
        for end in (end for end in marks if end >= start):
            assert await store.read_entries(start, end) == log.entries[start:end]
            assert await store.read_hashes(start, end) == log.hashes[start:end]
    with pytest.raises(ValueError, match="no range"):
        await store.read_entries(5, 4)


async def test_an_old_tree_is_read_whole_while_commits_complete_its_bundles(store: Store) -> None:
    """Readers ask for the tiles of the newest head they know, over and over, while a writer completes bundle after
    bundle: each answer is one snapshot, never a bundle that is neither tails nor tile, and leads to that head's root.
    """
    log, rng, reads = GrowingLog(), random.Random(7), 0
    await log.grow(store, 3)
    done = asyncio.Event()

    async def write() -> None:
        for _ in range(120):
            async with store.append() as append:
                await append.write(log.next_commit(rng.choice([1, 2, 40, 200, 255, 257, 300])))
                log.took_hold()  # before anybody can see it
        done.set()

    async def read() -> None:
        nonlocal reads
        while not done.is_set():
            head = await store.head()
            size = head.size
            whole = reads % 10 == 0
            tiles = [tile for tile in full_and_partial(size) if whole or tile.index >= size // 256 - 1]
            read = await store.read_tiles(tiles)
            if whole:
                assert root_of_tiles(read, size) == head.root == tree_hash(log.hashes[:size])
            assert read == {tile: log.tile(tile) for tile in tiles}
            reads += 1

    await asyncio.gather(write(), *(read() for _ in range(4)))
    assert reads > 40
    await log.check(store)


async def test_commits_are_found_by_index_and_in_order(store: Store) -> None:
    """commit_of gives the commit that holds an entry; commits pages through them by tree size."""
    log = GrowingLog()
    await log.grow(store, 2, 5, 1, submission_offsets=[0])
    rows = await store.commits(0, 10)
    assert [(row.first_index, row.tree_size, row.submission_offsets) for row in rows] == [
        (0, 2, (0,)),
        (2, 7, (0,)),
        (7, 8, (0,)),
    ]
    assert await store.commits(2, 1) == rows[1:2]
    assert await store.commits(8, 5) == []
    holders = [await store.commit_of(index) for index in range(8)]
    assert holders == [rows[0]] * 2 + [rows[1]] * 5 + [rows[2]]
    with pytest.raises(NotFound):
        await store.commit_of(8)


async def test_the_submission_that_heads_an_entry_is_the_last_before_it(store: Store) -> None:
    """submission_of: the newest submission entry at or before the index in its commit, None before the first."""
    log = GrowingLog()
    await log.grow(store, 4)
    await log.grow(store, 10, submission_offsets=[2, 3, 7])
    found = [await store.submission_of(index) for index in range(14)]
    assert found == [None] * 6 + [6, 7, 7, 7, 7, 11, 11, 11]
    with pytest.raises(NotFound):
        await store.submission_of(14)


async def test_status_is_read_as_of_any_version(store: Store) -> None:
    """Nodes and chunks are append-only: the newest version at or below the asked one, nothing if there was none."""
    log, hashes = GrowingLog(), [hashlib.sha256(bytes([n])).digest() for n in range(3)]
    await log.grow(store, 2, status_nodes=[(0, 5, hashes[0])], status_chunks=[(5, hashes[0] * 2)])
    await log.grow(store, 2)
    await log.grow(store, 2, status_nodes=[(0, 5, hashes[1]), (9, 0, hashes[2])], status_chunks=[(5, hashes[1] * 2)])
    for version, node, top in ((1, None, None), (2, 0, None), (5, 0, None), (6, 1, 2), (99, 1, 2)):
        nodes = {} if node is None else {(0, 5): hashes[node]}
        if top is not None:
            nodes[9, 0] = hashes[top]
        assert await store.status_nodes([(0, 5), (9, 0), (1, 1)], version) == nodes
        assert await store.status_chunks(5, 5, version) == ({} if node is None else {5: hashes[node] * 2})
        assert await store.status_chunks(6, 511, version) == {}
    assert await store.status_nodes([], 6) == {}


async def test_a_lost_tail_is_not_passed_over(store: Store, run_sql: RunSql) -> None:
    """If a row of the tails is gone, what lies behind it is not served in its place."""
    await GrowingLog().grow(store, 3, 3, 3)
    await run_sql("DELETE FROM tails WHERE first_index = 3")
    assert len(await store.read_entries(0, 3)) == 3
    with pytest.raises(NotFound):
        await store.read_entries(0, 9)


def test_bundles_are_cut_by_counting_entries() -> None:
    """A prefix of a bundle is as long as its entries say; a bundle that is cut short is never padded."""
    entries = [b"", b"a", b"bc" * 300]
    bundle = encode_bundle(entries)
    for count in range(4):
        assert cut_bundle(bundle, count) == encode_bundle(entries[:count])
        assert split_bundle(bundle, count) == entries[:count]
    for cut in (bundle[:-1], bundle[:4], bundle[:1], b""):
        for reader in (cut_bundle, split_bundle):
            with pytest.raises(DatabaseError, match="cut short"):
                reader(cut, 3)
