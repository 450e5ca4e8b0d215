"""From log entries back to the units that `replay` takes: single entries, and submissions with their events. Pure.

Whoever reads a log (a node that catches up, the checker, an auditor) feeds entries in order, in pieces of any size; a
submission whose events are not all there yet waits for the next piece. An entry that is no event where an event must
stand is a violation at that entry's index (rule "count"): nothing stands between a submission and its events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter

from ledger.assemble import Logged
from ledger.block import Block
from ledger.entry import (
    EVENT_BYTES,
    ISSUE,
    REINSTATE,
    Entry,
    Issue,
    StatusEvent,
    Submission,
    decode,
)
from ledger.errors import MalformedEntry, RuleViolation
from ledger.merkle import leaf_hash

_KIND = itemgetter(1)
_LENGTHS = frozenset(EVENT_BYTES.values())
_KINDS_OF = {size: {kind for kind, own in EVENT_BYTES.items() if own == size} for size in _LENGTHS}


class UnitReader:
    """Groups a stream of entries, the first at log index `index`, into units."""

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self._head: tuple[int, bytes, Submission] | None = None
        self._events: list[bytes] = []

    @property
    def waiting(self) -> bool:
        """Whether a submission still waits for some of its events."""
        return self._head is not None

    def feed(self, entries: Sequence[bytes]) -> Iterator[Logged]:
        """The units that these entries complete. Raises MalformedEntry or RuleViolation with the entry's index."""
        position, end = 0, len(entries)
        while position < end:
            if self._head is None:
                data = entries[position]
                entry = self._decode(data)
                position += 1
                if isinstance(entry, Submission):
                    self._head = (self.index, data, entry)
                elif isinstance(entry, (Issue, StatusEvent)):
                    raise RuleViolation(
                        f"entry {self.index} is an event outside any submission", rule="entry-order", index=self.index
                    )
                else:
                    yield Logged(self.index, data, leaf_hash(data), entry)
                self.index += 1
                continue
            index, head, submission = self._head
            take = entries[position : position + submission.count - len(self._events)]
            if not _are_events(take):
                self._refuse(index, take)
            self._events.extend(take)
            position += len(take)
            self.index += len(take)
            if len(self._events) == submission.count:
                try:
                    block = Block.decode(submission, b"".join(self._events))
                except MalformedEntry as error:
                    at = index + 1 + error.members.get("positions", [0])[0]
                    raise MalformedEntry(f"entry {at}: {error.detail}", **error.members, index=at) from error
                self._head, self._events = None, []
                yield Logged(index, head, leaf_hash(head), submission, block)

    def _refuse(self, index: int, take: Sequence[bytes]) -> None:
        """Raise for the first of these entries that is no event of the submission at `index`, if there is one."""
        for k, data in enumerate(take):
            if len(data) < 2 or not ISSUE <= data[1] <= REINSTATE:
                raise RuleViolation(
                    f"entry {self.index + k} stands where an event of submission {index} must",
                    rule="count",
                    index=self.index + k,
                )
            if len(data) != EVENT_BYTES[data[1]]:
                # Each by itself: joined, bytes could move from one entry to the next and the events still be right.
                raise MalformedEntry(
                    f"entry {self.index + k}: an event of type {data[1]} has {EVENT_BYTES[data[1]]} bytes, "
                    f"not {len(data)}",
                    index=self.index + k,
                )

    def _decode(self, data: bytes) -> Entry:
        try:
            return decode(data)
        except MalformedEntry as error:
            raise type(error)(f"entry {self.index}: {error.detail}", **error.members, index=self.index) from error


def _are_events(entries: Sequence[bytes]) -> bool:
    """Whether all of these look like events of one length: only ever said where it is so, at the speed of C."""
    lengths = set(map(len, entries))
    if len(lengths) != 1 or lengths.isdisjoint(_LENGTHS):
        return False
    return set(map(_KIND, entries)) <= _KINDS_OF[lengths.pop()]
