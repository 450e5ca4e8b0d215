"""Histories of badges as the service builds them: everything under one published head (`ledger.badge_history`).

    issue          by the lookup index
    status events  the versions of the slot's status chunk name the commits that touched it; their bundles are searched
                   for the issuer's id and the slot, which stand side by side in every event
    proofs         as receipts have them

A chunk holds 256 slots, so commits are searched that changed a neighbour only. What one request may cost is bounded: by
the events of a slot, the commits of its chunk, and the bundles in these; two are built at a time, the others wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from ledger.badge_history import MAX_HISTORY_EVENTS, History, SignedEvents, plan_history
from ledger.entry import ISSUE, REINSTATE, Issue, decode
from ledger.errors import NotFound, TooLarge
from ledger.merkle import build
from ledger.prover import BUNDLE, Prover
from ledger.publication import PublishedHead
from ledger.receipt import MAX_KEYS
from ledger.status import chunk_number
from ledger.store import Store
from ledger.tiles import TILE_WIDTH, Tile, decode_bundle

#: Commits that touched the slot's chunk, and bundles of 256 entries in them, that are searched for one badge.
MAX_COMMITS: Final = 10_000
MAX_BUNDLES: Final = 10_000
#: Bundles that are read at once: 5 MB if they hold events.
_BATCH: Final = 256
#: Histories in the making; each holds one batch at a time.
_AT_ONCE: Final = 2


class HistoryProver:
    """Builds histories for one node."""

    def __init__(self, store: Store, prover: Prover) -> None:
        self._store = store
        self._prover = prover
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def history(self, index: int, head: PublishedHead, *, all_signatures: bool = False) -> History:
        """The history of the slot that the entry at `index` issues. Raises NotFound if it issues none, TooLarge."""
        if not 0 <= index < head.size:
            raise NotFound(f"no entry {index} in the published tree of {head.size} leaves")
        data = await self._prover.entries.entry(index, head.size)
        if data[1] != ISSUE:
            raise NotFound(f"entry {index} issues nothing")
        issue = decode(data)
        assert isinstance(issue, Issue)  # noqa: S101 - data[1] says so
        async with self._turns:
            events = [(index, data), *await self._status_events(index, issue, head.size)]
        submissions = await self._submissions(events, head.size)
        keys: dict[int, bytes] = {}
        for shown in submissions:
            keys |= dict((await self._prover.submission(shown.index, head.size))[2])
        if len(keys) > MAX_KEYS:
            raise _too_long()
        chunk, status_proof = head.status.proof(issue.slot)
        indexes = [*(at for at, _ in events), *(shown.index for shown in submissions), *keys]
        plan = plan_history(indexes, head.size)
        nodes = await self._prover.tiles.nodes((node for group in plan for node in group), head.size)
        return History(
            origin=self._prover.origin(head),
            tree_size=head.size,
            submissions=tuple(submissions),
            keys=tuple(sorted(keys.items())),
            status_root=head.status_root_entry,
            chunk=chunk,
            log_proof=tuple(build(plan, nodes)),
            status_proof=tuple(status_proof),
            signatures=self._prover.lines(head, all_signatures),
        )

    async def _status_events(self, index: int, issue: Issue, size: int) -> list[tuple[int, bytes]]:
        """The suspensions, reinstatements and revocation of the slot below `size`, by log index."""
        commits = await self._store.chunk_commits(chunk_number(issue.slot), index, size, MAX_COMMITS + 1)
        # Neighbouring commits can share a bundle: each is read once.
        numbers = sorted({n for c in commits for n in _bundles(c.first_index, c.tree_size)})
        if len(commits) > MAX_COMMITS or len(numbers) > MAX_BUNDLES:
            raise _too_long()
        sought = issue.issuer + issue.slot.to_bytes(8, "big")
        found: list[tuple[int, bytes]] = []
        for start in range(0, len(numbers), _BATCH):
            tiles = [Tile(BUNDLE, n, min(TILE_WIDTH, size - n * TILE_WIDTH)) for n in numbers[start : start + _BATCH]]
            for tile, bundle in (await self._store.read_tiles(tiles)).items():
                if sought in bundle:
                    found += _events(decode_bundle(bundle, tile.width), tile.index * TILE_WIDTH, sought)
        found = sorted(event for event in found if event[0] > index)
        if len(found) >= MAX_HISTORY_EVENTS:
            raise _too_long()
        return found

    async def _submissions(self, events: Sequence[tuple[int, bytes]], size: int) -> list[SignedEvents]:
        """The events under their submissions, each with one proof."""
        grouped: dict[int, list[tuple[int, bytes]]] = {}
        for event in events:
            grouped.setdefault(await self._prover.submission_of(event[0], size), []).append(event)
        submissions = []
        for at, inside in grouped.items():
            entry, count, _ = await self._prover.submission(at, size)
            proof = await self._prover.events_proof(at, count, [index - at - 1 for index, _ in inside], size)
            submissions.append(SignedEvents(at, entry, tuple(inside), tuple(proof)))
        return submissions


def _bundles(first: int, size: int) -> range:
    return range(first // TILE_WIDTH, (size - 1) // TILE_WIDTH + 1)


def _events(entries: Sequence[bytes], first: int, sought: bytes) -> Iterator[tuple[int, bytes]]:
    """The status events among these entries whose issuer and slot are those sought."""
    for k, entry in enumerate(entries):
        if ISSUE < entry[1] <= REINSTATE and entry[2:42] == sought:
            yield first + k, entry


def _too_long() -> TooLarge:
    return TooLarge("the history of this badge is too long for one answer: read the log's own entries")
