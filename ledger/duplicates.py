"""A badge is issued once: a commitment that its issuer has issued before is refused when it is found.

This is a courtesy to issuers (a rerun without its journal, a manifest with a line twice), not a rule of the log: no
proof depends on it, and an auditor does not check it. A duplicate is found within one group commit, among the recent
entries that a node has in memory, and for submissions of at most `limit` events also in the stored index: looking up
100,000 random keys would cost more than logging them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from ledger.block import Block
from ledger.entry import ISSUE
from ledger.errors import RuleViolation
from ledger.lookup import Lookup, prefixes_of

#: Reads the entry at a log index.
ReadEntry = Callable[[int], Awaitable[bytes]]
#: Finds (prefix, log index) rows of the stored index.
FindPrefixes = Callable[[Sequence[int]], Awaitable[list[tuple[int, int]]]]


class Duplicates:
    """The check for one group commit."""

    def __init__(self, lookup: Lookup, read_entry: ReadEntry, *, limit: int) -> None:
        self._lookup = lookup
        self._read_entry = read_entry
        self._limit = limit
        self._stored: dict[int, list[int]] = {}
        self._seen: dict[bytes, set[bytes]] = {}

    async def prepare(self, blocks: Iterable[Block], find: FindPrefixes) -> None:
        """Look the small blocks' commitments up in the stored index, all by one question."""
        if self._lookup.filled_to == 0:
            return
        wanted = [
            prefix for block in blocks if block.count <= self._limit for prefix in prefixes_of(block.commitments())
        ]
        for prefix, index in await find(wanted) if wanted else []:
            self._stored.setdefault(prefix, []).append(index)

    async def find(self, block: Block) -> RuleViolation | None:
        """The refusal (duplicate-commitment), with the positions of the events that issue a badge again; or None."""
        commitments = block.commitments()
        if not commitments:
            return None
        issuer = block.submission.issuer
        seen = self._seen.get(issuer, set())
        failing: list[int] = []
        if len(set(commitments)) < len(commitments) or not seen.isdisjoint(commitments):
            failing = _repeated(commitments, seen)
        prefixes = prefixes_of(commitments)
        if not self._lookup.disjoint(prefixes) or not self._stored.keys().isdisjoint(prefixes):
            for k, prefix in enumerate(prefixes):
                for index in (*self._lookup.recent(prefix), *self._stored.get(prefix, ())):
                    entry = await self._read_entry(index)
                    if entry[2:34] == issuer and entry[-32:] == commitments[k]:
                        failing.append(k)
                        break
        if not failing:
            return None
        positions = [k for k, kind in enumerate(block.kinds) if kind == ISSUE]
        return RuleViolation(
            "this issuer has issued a badge with this commitment before",
            rule="duplicate-commitment",
            positions=sorted({positions[k] for k in failing}),
        )

    def accept(self, block: Block) -> None:
        """The block is in the draft: its commitments count for the rest of the group."""
        self._seen.setdefault(block.submission.issuer, set()).update(block.commitments())


def _repeated(commitments: Sequence[bytes], seen: set[bytes]) -> list[int]:
    known = set(seen)
    failing = []
    for k, commitment in enumerate(commitments):
        if commitment in known:
            failing.append(k)
        known.add(commitment)
    return failing
