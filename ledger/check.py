"""The operator's check of the whole log: everything that the store holds is recomputed from the entries.

    entries      decoded, grouped into units, replayed under all rules with every signature
    hashes       every leaf, every hash tile, every bundle to the byte; the root of every commit
    derived      status nodes and chunks of the newest head, events trees, submission offsets, lookup index, snapshots
    beside       the answers to repeated submissions; whose the lists are that slots are handed out from; origin, guard
    heads        the published note verifies and names the root; the guard's head is a head of this log;
                 any other heads handed in (the tests hand in every head they ever saw) are prefixes of it

The first thing wrong raises, naming the index. The store is only read. Not checked, because nothing is answered from
it: status nodes and chunks of past heads, how many slots of a list were handed out, the key that shuffles them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from ledger.checkpoint import open_checkpoint
from ledger.cosignature import verify_cosignature
from ledger.entry import ISSUE, StatusRoot
from ledger.errors import ForkDetected, NotFound
from ledger.guard import Guard
from ledger.lookup import prefix_of
from ledger.merkle import EMPTY_ROOT
from ledger.message import idempotency_key
from ledger.note import find_lines, parse_note, parse_vkey
from ledger.replay import Replay
from ledger.store import CommitRow, Head, Store
from ledger.tiles import ENTRIES_LEVEL, TILE_WIDTH, Edge, Tile, encode_bundle, partial_width
from ledger.units import UnitReader

_PAGE = 32_768


class Broken(ForkDetected):
    """The store does not hold what its entries say."""

    slug, title = "check-failed", "The store contradicts itself"


class Report(msgspec.Struct, frozen=True):
    """What was checked."""

    size: int
    root: bytes
    published_size: int
    commits: int
    submissions: int
    events: int
    issued: int
    revoked: int
    suspended: int
    heads: int


def _require(holds: bool, detail: str) -> None:
    if not holds:
        raise Broken(detail)


async def check_store(
    store: Store,
    *,
    guard: Guard | None = None,
    heads: Sequence[bytes] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Check the whole log. `heads` are signed notes seen earlier. Raises Broken or the error of the rule broken."""
    checker = _Checker(store)
    head = await store.head()
    await checker.entries(head, progress)
    await checker.derived(head)
    await checker.beside(head, guard)
    seen = await checker.released(head, guard, heads)
    return Report(
        size=head.size,
        root=head.root,
        published_size=head.published_size,
        commits=checker.commits,
        submissions=checker.submissions,
        events=checker.events,
        issued=checker.replay.issued,
        revoked=checker.replay.revoked,
        suspended=checker.replay.suspended,
        heads=seen,
    )


class _Checker:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.replay = Replay()
        self.edge = Edge()
        self.roots: dict[int, bytes] = {0: EMPTY_ROOT}
        self.commits = self.submissions = self.events = 0
        self._offsets: list[int] = []
        self._rows: list[CommitRow] = []
        self._snapshots: dict[int, bytes] = {}
        self._answers: dict[bytes, tuple[int, int]] = {}

    async def entries(self, head: Head, progress: Callable[[int, int], None]) -> None:
        """Replay every entry, compare every tile and every commit."""
        reader = UnitReader()
        self._snapshots = await self.store.snapshots()
        for start in range(0, head.size, _PAGE):
            stop = min(head.size, start + _PAGE)
            entries = await self.store.read_entries(start, stop)
            _require(len(entries) == stop - start, f"entries from {start} on are missing")
            await self._bundles(start // TILE_WIDTH, entries)
            for logged in reader.feed(entries):
                if logged.block is not None:
                    await self._submission(logged.index, logged.block.event_nodes)
                    await self._lookup(logged.index, logged.block.kinds, logged.block.commitments())
                    self.events += logged.block.count
                    self._answers[idempotency_key(logged.block.submission)] = (logged.index, logged.block.count)
                self.replay.apply(logged.unit, leaf=logged.leaf)
                for level, index, data in self.edge.extend(logged.leaves()):
                    await self._tile(Tile(level, index, TILE_WIDTH), data)
                if isinstance(logged.entry, StatusRoot):
                    await self._commit_end(logged.entry)
                if logged.index % 64 == 0:
                    await asyncio.sleep(0)
            await self._repetitions()
            progress(stop, head.size)
        _require(not reader.waiting, "the log ends in the middle of a submission")
        _require(self.edge.size == head.size, f"the log has {self.edge.size} entries, its head says {head.size}")
        _require(head.size == 0 or self.replay.sealed, "the log does not end in a status_root")
        _require(self.edge.root() == head.root, f"the root at {head.size} is not the stored one")
        for level in range(8):
            width = partial_width(level, head.size)
            if width:
                tile = Tile(level, head.size >> 8 * (level + 1), width)
                await self._tile(tile, self.edge.partial(level))

    async def _tile(self, tile: Tile, data: bytes) -> None:
        try:
            stored = (await self.store.read_tiles([tile]))[tile]
        except NotFound:
            raise Broken(f"tile {tile.level}/{tile.index} is missing") from None
        _require(stored == data, f"tile {tile.level}/{tile.index} does not hold the hashes of its entries")

    async def _bundles(self, first: int, entries: Sequence[bytes]) -> None:
        """Whole bundles hold their entries and nothing behind them: they are served as they are."""
        tiles = [Tile(ENTRIES_LEVEL, first + k, TILE_WIDTH) for k in range(len(entries) // TILE_WIDTH)]
        stored = await self.store.read_tiles(tiles)
        for k, tile in enumerate(tiles):
            expected = encode_bundle(entries[k * TILE_WIDTH : (k + 1) * TILE_WIDTH])
            _require(stored[tile] == expected, f"entry bundle {tile.index} does not hold its entries alone")

    async def _repetitions(self) -> None:
        """What a repeated submission is answered."""
        found = await self.store.find_submissions(list(self._answers))
        for key, answer in self._answers.items():
            # What is not remembered is no fault: answers are forgotten in time.
            _require(found.get(key, answer) == answer, f"a repetition of submission {answer[0]} is answered wrongly")
        self._answers = {}

    async def _submission(self, index: int, nodes: bytes | None) -> None:
        self.submissions += 1
        self._offsets.append(index)
        if nodes is not None:
            _require(await self.store.event_nodes(index) == nodes, f"the events tree of submission {index} is wrong")

    async def _lookup(self, index: int, kinds: bytes, commitments: list[bytes]) -> None:
        filled_to = await self.store.lookup_filled_to()
        positions = [k for k, kind in enumerate(kinds) if kind == ISSUE]
        wanted = {
            (prefix_of(commitment), index + 1 + k)
            for k, commitment in zip(positions, commitments, strict=True)
            if index + 1 + k < filled_to
        }
        if wanted:
            found = set(await self.store.lookup([prefix for prefix, _ in wanted]))
            _require(wanted <= found, f"commitments of submission {index} are missing from the lookup index")

    async def _commit_end(self, root: StatusRoot) -> None:
        size = self.edge.size
        if not self._rows:
            self._rows = await self.store.commits(max(self.roots), 1000)
        if not self._rows or self._rows[0].tree_size > size:
            return  # a status_root inside a commit: allowed, no head ends there
        row = self._rows.pop(0)
        self.commits += 1
        _require(row.tree_size == size, f"the commit that ends at {row.tree_size} does not end in a status_root")
        _require(row.first_index == max(self.roots), f"the commit that ends at {size} begins elsewhere")
        self.roots[size] = self.edge.root()
        snapshot = self._snapshots.pop(size, b"")
        # A snapshot of another version is not read by a start either.
        if snapshot[:5] == (expected := self.replay.snapshot() if snapshot else b"")[:5]:
            _require(snapshot == expected, f"the snapshot at {size} is not the replayed state")
        _require(row.root == self.roots[size], f"the root of the commit that ends at {size} is not the stored one")
        _require(row.time_ms == root.time, f"the time of the commit that ends at {size} is not its entry's")
        offsets = tuple(index - row.first_index for index in self._offsets)
        _require(row.submission_offsets == offsets, f"the offsets of the commit that ends at {size} are wrong")
        self._offsets = []

    async def derived(self, head: Head) -> None:
        """Status chunks and nodes as of the newest head."""
        status = self.replay.status
        chunks = await self.store.status_chunks(0, max(0, 512 * status.lists - 1), head.size)
        expected = status.chunks()
        empty = bytes(64)
        for number in expected.keys() | chunks.keys():
            _require(
                chunks.get(number, empty) == expected.get(number, empty),
                f"status chunk {number} is not the replayed one",
            )
        keys = [(level, number >> level) for number in expected for level in range(10)]
        stored = await self.store.status_nodes(sorted(set(keys)), head.size)
        for node, hash_ in stored.items():
            _require(status.node(node) == hash_, f"status node {node} is not the replayed one")
        _require(len(stored) == len(set(keys)), "status nodes are missing")

    async def beside(self, head: Head, guard: Guard | None) -> None:
        """What is not in the log and yet decides what the service does."""
        _require(not self._snapshots, f"the snapshots at {sorted(self._snapshots)} are at no head of this log")
        _require(head.time_ms == self.replay.time or not head.size, "the head's time is not its last entry's")
        _require(await self.store.lookup_filled_to() <= head.size, "the lookup index reaches past the log")
        lists = dict(enumerate(self.replay.lists))
        _require(await self.store.slot_lists() == lists, "slots are handed out from lists of other issuers")
        meta = await self.store.meta()
        _require(meta.get("origin", b"").decode(errors="replace") == self.replay.origin, "the stored origin is another")
        if guard is not None:
            _require(meta.get("guard") == guard.identity.encode(), "the database records another guard than this one")
        marked = self.roots.get(head.marked_size)
        _require(not head.marked_size or marked == head.marked_root, "the candidate named last is not of this log")

    async def released(self, head: Head, guard: Guard | None, heads: Sequence[bytes]) -> int:
        """Every head that was ever released is a head of this log."""
        notes = [*heads, *([head.published_note] if head.published_note else [])]
        lines = (await self.store.meta()).get("verifier_keys", b"").decode(errors="replace").split("\n")
        vkeys = [parse_vkey(line) for line in lines]
        for note in notes:
            checkpoint, _ = open_checkpoint(note, vkeys[0])
            for key, line in find_lines(parse_note(note), vkeys[1:]):
                verify_cosignature(checkpoint, key, line)
            _require(
                self.roots.get(checkpoint.size) == checkpoint.root,
                f"a released head of size {checkpoint.size} contradicts the log",
            )
        _require(self.roots.get(head.published_size) == head.published_root, "the published head is not of this log")
        if head.published_note:
            checkpoint, opened = open_checkpoint(head.published_note, vkeys[0])
            times = [verify_cosignature(checkpoint, key, line) for key, line in find_lines(opened, vkeys[1:])]
            named = (checkpoint.size, checkpoint.root, times)
            _require(
                named == (head.published_size, head.published_root, [head.published_time_s]),
                "the published note is not that of the published head and its time",
            )
        if guard is not None:
            standing = await guard.read()
            _require(
                standing.size >= head.published_size,
                f"the guard ({standing.size}) is behind the published head ({head.published_size}): an old copy of it",
            )
            _require(
                self.roots.get(standing.size) == standing.root, f"the guard's head ({standing.size}) is not of this log"
            )
        return len(notes)
