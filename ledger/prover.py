"""Receipts as the service builds them: everything under one published head, from tiles, bundles and memory.

    issue entry        the bundle that holds its index
    status             the head's own status tree, in memory
    submission, keys   (full) found by walking back from the event; key entries come from `replay`
    proofs             planned by `receipt`, nodes from the tile cache

Nothing here is trusted by anybody: a verifier recomputes it all. A receipt never mixes two heads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from ledger.entry import ISSUE, NONE_INDEX, SUBMISSION, Issue, IssuerKey, Submission, decode
from ledger.errors import NotFound
from ledger.lookup import Lookup
from ledger.merkle import HASH_BYTES, Node, build, plan_multiproof, tree_levels
from ledger.note import SignatureLine, parse_note
from ledger.publication import PublishedHead
from ledger.receipt import Receipt, plan_receipt
from ledger.store import Store
from ledger.tilereader import TileCache
from ledger.tiles import TILE_HEIGHT, TILE_WIDTH, ExpandedTile, Tile, decode_bundle

BUNDLE = -1


class EntryCache:
    """Decoded entry bundles, least recently used last out."""

    def __init__(self, store: Store, capacity: int = 1024) -> None:
        self._store = store
        self._capacity = capacity
        self._bundles: OrderedDict[Tile, list[bytes]] = OrderedDict()

    async def bundle(self, number: int, size: int) -> list[bytes]:
        """The entries of bundle `number` in the tree of `size` leaves."""
        tile = Tile(BUNDLE, number, min(TILE_WIDTH, size - number * TILE_WIDTH))
        entries = self._bundles.get(tile)
        if entries is None:
            entries = decode_bundle((await self._store.read_tiles([tile]))[tile], tile.width)
            self._bundles[tile] = entries
            while len(self._bundles) > self._capacity:
                self._bundles.popitem(last=False)
        else:
            self._bundles.move_to_end(tile)
        return entries

    async def entry(self, index: int, size: int) -> bytes:
        """The entry at `index` in the tree of `size` leaves."""
        return (await self.bundle(index // TILE_WIDTH, size))[index % TILE_WIDTH]


class Prover:
    """Builds receipts for one node."""

    def __init__(self, store: Store, lookup: Lookup, *, cache_tiles: int = 4096, cache_bundles: int = 1024) -> None:
        self._store = store
        self._lookup = lookup
        self.tiles = TileCache(store, cache_tiles)
        self.entries = EntryCache(store, cache_bundles)
        self._cache_groups = cache_tiles
        #: Bundle number -> the submission whose block covers the bundle's first entry.
        self._submissions: dict[int, int] = {}
        #: Submission -> its entry, its count, its key entries.
        self._headers: dict[int, tuple[bytes, int, tuple[tuple[int, bytes], ...]]] = {}
        #: (First event, group number) -> the leaf hashes of 256 events, with their inner nodes.
        self._groups: dict[tuple[int, int], ExpandedTile] = {}
        self._event_levels: dict[int, list[list[bytes]]] = {}
        self._signatures: tuple[bytes, tuple[SignatureLine, ...]] = (b"", ())

    async def find(self, commitment: bytes, head: PublishedHead) -> list[int]:
        """Log indexes, ascending, of the issue entries with this commitment in the published tree."""
        found = []
        for index in await self._lookup.candidates(commitment):
            if index < head.size and (await self.entries.entry(index, head.size))[-32:] == commitment:
                found.append(index)
        return found

    async def receipt(self, index: int, head: PublishedHead, *, full: bool, all_signatures: bool = False) -> Receipt:
        """The receipt of the issue entry at `index` under `head`. Raises NotFound if there is none."""
        if not 0 <= index < head.size:
            raise NotFound(f"no entry {index} in the published tree of {head.size} leaves")
        data = await self.entries.entry(index, head.size)
        if data[1] != ISSUE:
            raise NotFound(f"entry {index} issues nothing")
        issue = decode(data)
        assert isinstance(issue, Issue)  # noqa: S101 - data[1] says so
        chunk, status_proof = head.status.proof(issue.slot)
        submission: tuple[int, bytes] | None = None
        keys: Sequence[tuple[int, bytes]] = ()
        events_proof: list[bytes] = []
        if full:
            at = await self.submission_of(index, head.size)
            entry, count, keys = await self.submission(at, head.size)
            submission = (at, entry)
            events_proof = await self.events_proof(at, count, [index - at - 1], head.size)
        plan = plan_receipt(index, head.size, submission[0] if submission else None, [i for i, _ in keys])
        nodes = await self.tiles.nodes((node for group in plan for node in group), head.size)
        return Receipt(
            full=full,
            salt=None,
            origin=self.origin(head),
            tree_size=head.size,
            index=index,
            issue=data,
            status_root=head.status_root_entry,
            chunk=chunk,
            submission=submission,
            keys=tuple(keys),
            log_proof=tuple(build(plan, nodes)),
            status_proof=tuple(status_proof),
            events_proof=tuple(events_proof),
            signatures=self.lines(head, all_signatures),
        )

    def origin(self, head: PublishedHead) -> str:
        """The log's name, as the head's note has it."""
        return head.note[: head.note.index(b"\n")].decode()

    def lines(self, head: PublishedHead, all_signatures: bool) -> tuple[SignatureLine, ...]:
        """The note's signature lines; the log's own ML-DSA-44 line only on request, for its size."""
        if self._signatures[0] != head.note:
            self._signatures = (head.note, parse_note(head.note).signatures)
        lines, origin = self._signatures[1], self.origin(head)
        return lines if all_signatures else tuple(x for x in lines if x.name != origin or len(x.signature) < 1024)

    async def submission_of(self, index: int, size: int) -> int:
        """Index of the submission entry that heads the block of the event at `index`."""
        known = self._submissions.get(index // TILE_WIDTH)
        number = index // TILE_WIDTH
        bundle = await self.entries.bundle(number, size)
        for position in range(index % TILE_WIDTH - 1, -1, -1):
            if bundle[position][1] == SUBMISSION:
                return number * TILE_WIDTH + position
        # No submission starts in this bundle before the event, so one block covers the bundle's first entry too.
        if known is not None:
            return known
        found = await self._store.submission_of(index)
        if found is None:
            raise NotFound(f"entry {index} belongs to no submission")
        self._submissions[number] = found
        while len(self._submissions) > 65_536:
            del self._submissions[next(iter(self._submissions))]
        return found

    async def submission(self, at: int, size: int) -> tuple[bytes, int, tuple[tuple[int, bytes], ...]]:
        """The submission entry at `at`, its count, and its chain of key entries."""
        known = self._headers.get(at)
        if known is None:
            entry = await self.entries.entry(at, size)
            header = decode(entry)
            assert isinstance(header, Submission)  # noqa: S101 - the walk stopped at its type
            known = self._headers[at] = (entry, header.count, tuple(await self._key_chain(header.key, size)))
            while len(self._headers) > self._cache_groups:
                del self._headers[next(iter(self._headers))]
        return known

    async def _key_chain(self, key: int, size: int) -> list[tuple[int, bytes]]:
        """The key entry at `key`, its signer's, and so on to the issuer's first."""
        chain: list[tuple[int, bytes]] = []
        while key != NONE_INDEX:
            data = await self.entries.entry(key, size)
            entry = decode(data)
            assert isinstance(entry, IssuerKey)  # noqa: S101 - replay admitted it as a key
            chain.append((key, data))
            key = entry.signer
        return chain

    async def events_proof(self, at: int, count: int, positions: Sequence[int], size: int) -> list[bytes]:
        """The proof of these events, by their positions, under the events_root of the submission at `at`."""
        plan = plan_multiproof(positions, count)
        needed = [node for group in plan for node in group]
        low = [node for node in needed if node[0] < TILE_HEIGHT]
        hashes: dict[Node, bytes] = {}
        if low:
            await self._low_nodes(at + 1, count, low, size, hashes)
        if len(low) < len(needed):
            levels = await self._high_levels(at)
            for level, position in needed:
                if level >= TILE_HEIGHT:
                    hashes[level, position] = levels[level - TILE_HEIGHT][position]
        return build(plan, hashes)

    async def _low_nodes(
        self, first: int, count: int, nodes: Sequence[Node], size: int, hashes: dict[Node, bytes]
    ) -> None:
        """Nodes below level 8, from the leaf hashes of the 256-event groups that hold them."""
        for node in nodes:
            level, position = node
            number = position << level >> TILE_HEIGHT
            group = self._groups.get((first, number))
            if group is None:
                start, stop = number * TILE_WIDTH, min(count, (number + 1) * TILE_WIDTH)
                group = ExpandedTile(await self._leaves(first + start, first + stop, size))
                self._groups[first, number] = group
                while len(self._groups) > self._cache_groups:
                    del self._groups[next(iter(self._groups))]
            hashes[node] = group.node(level, position - (number << TILE_HEIGHT - level))

    async def _leaves(self, start: int, stop: int, size: int) -> bytes:
        """The leaf hashes [start, stop) of the log, joined."""
        wanted = [(0, number) for number in range(start // TILE_WIDTH, (stop - 1) // TILE_WIDTH + 1)]
        tiles = await self.tiles.tiles(wanted, size)
        skip = (start - wanted[0][1] * TILE_WIDTH) * HASH_BYTES
        return b"".join([tiles[place].data for place in wanted])[skip : skip + (stop - start) * HASH_BYTES]

    async def _high_levels(self, at: int) -> list[list[bytes]]:
        levels = self._event_levels.get(at)
        if levels is None:
            data = await self._store.event_nodes(at)
            if data is None:
                raise NotFound(f"the events tree of submission {at} is not stored")
            levels = tree_levels([data[i : i + 32] for i in range(0, len(data), 32)])
            self._event_levels[at] = levels
            while len(self._event_levels) > 256:
                del self._event_levels[next(iter(self._event_levels))]
        return levels
