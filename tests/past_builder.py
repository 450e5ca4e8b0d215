"""The past of a log of `tests.builders`, worked out from its entries: dated receipts and histories of its badges."""

from __future__ import annotations

from collections.abc import Sequence

from ledger import merkle
from ledger.badge_history import History, SignedEvents, plan_history
from ledger.checkpoint import Checkpoint
from ledger.dated import DatedReceipt, Past, plan_past
from ledger.entry import ISSUE, REINSTATE, REVOKE, STATUS_ROOT, SUSPEND, StatusRoot, Submission, decode
from ledger.receipt import Receipt
from ledger.replay import Replay
from ledger.status import StatusTree
from tests.builders import LogBuilder
from tests.receipt_builder import AllNodes, build_from, key_chain, sign_head, submission_of


class World:
    """A log that grows head by head, and what its entries say, worked out without any tree."""

    def __init__(self, log: LogBuilder) -> None:
        self.log = log
        self.entries = [decode(data) for data in log.entries]
        self.roots = [index for index, data in enumerate(log.entries) if data[1] == STATUS_ROOT]
        #: The status tree at each head, by size.
        self.trees: dict[int, StatusTree] = {}
        replay = Replay()
        for _, unit in log.units:
            replay.apply(unit)
            if isinstance(unit, StatusRoot):
                self.trees[replay.size] = replay.status

    def issued(self) -> list[int]:
        return [index for index, data in enumerate(self.log.entries) if data[1] == ISSUE]

    def time(self, index: int) -> int:
        entry = self.entries[index]
        assert isinstance(entry, StatusRoot)
        return entry.time

    def naive(self, issue: int, below: int) -> str:
        """The state of the badge issued at `issue` after the first `below` entries."""
        if issue >= below:
            return "unissued"
        state = "active"
        for data in self.log.entries[issue + 1 : below]:
            if data[1] in (REVOKE, SUSPEND, REINSTATE) and data[34:42] == self.log.entries[issue][34:42]:
                state = {REVOKE: "revoked", SUSPEND: "suspended"}.get(data[1], "active")
        return state

    def receipt(self, issue: int, size: int, *, full: bool = True) -> Receipt:
        slot = int.from_bytes(self.log.entries[issue][34:42], "big")
        checkpoint = Checkpoint(self.log.origin, size, self.log.root(size))
        signatures = sign_head(checkpoint, self.time(size - 1) // 1000)
        proof = self.trees[size].proof(slot)
        return build_from(self.log.origin, self.log.entries[:size], issue, proof, signatures, full=full)

    def past(self, issue: int, first: int, successor: int, size: int) -> Past:
        leaves = merkle.leaf_hashes(self.log.entries[:size])
        plan = plan_past(first, successor, size)
        chunk: bytes | None = None
        proof: list[bytes] = []
        if issue < first:
            chunk, proof = self.trees[first + 1].proof(int.from_bytes(self.log.entries[issue][34:42], "big"))
        return Past(
            (first, self.log.entries[first]),
            (successor, self.log.entries[successor]),
            tuple(merkle.build(plan, AllNodes(leaves))),
            chunk,
            tuple(proof),
        )

    def dated(self, issue: int, at_ms: int, size: int, *, full: bool = True) -> DatedReceipt:
        """As a service would: the last head at or before the moment, and the one behind it."""
        heads = [index for index in self.roots if index < size]
        first = max(index for index in heads if self.time(index) <= at_ms)
        successor = min(index for index in heads if index > first)
        return DatedReceipt(at_ms, self.receipt(issue, size, full=full), self.past(issue, first, successor, size))

    def events(self, issue: int, size: int) -> list[int]:
        """Log indexes of the events of the badge issued at `issue`, among the first `size` entries."""
        slot = self.log.entries[issue][34:42]
        return [
            index
            for index, data in enumerate(self.log.entries[:size])
            if ISSUE <= data[1] <= REINSTATE and data[34:42] == slot
        ]

    def history(self, issue: int, size: int, *, shown: Sequence[int] | None = None) -> History:
        """The history of the slot; `shown`: of these events only."""
        entries = self.log.entries[:size]
        leaves = merkle.leaf_hashes(entries)
        grouped: dict[int, list[int]] = {}
        for index in self.events(issue, size) if shown is None else shown:
            grouped.setdefault(submission_of(entries, index), []).append(index)
        submissions, keys = [], dict[int, bytes]()
        for at, inside in grouped.items():
            header = decode(entries[at])
            assert isinstance(header, Submission)
            keys |= dict(key_chain(entries, header.key))
            plan = merkle.plan_multiproof([index - at - 1 for index in inside], header.count)
            proof = merkle.build(plan, AllNodes(leaves[at + 1 : at + 1 + header.count]))
            events = tuple((index, entries[index]) for index in inside)
            submissions.append(SignedEvents(at, entries[at], events, tuple(proof)))
        indexes = [*keys, *grouped, *(index for inside in grouped.values() for index in inside)]
        chunk, status_proof = self.trees[size].proof(int.from_bytes(entries[issue][34:42], "big"))
        checkpoint = Checkpoint(self.log.origin, size, self.log.root(size))
        return History(
            origin=self.log.origin,
            tree_size=size,
            submissions=tuple(submissions),
            keys=tuple(sorted(keys.items())),
            status_root=entries[-1],
            chunk=chunk,
            log_proof=tuple(merkle.build(plan_history(indexes, size), AllNodes(leaves))),
            status_proof=tuple(status_proof),
            signatures=sign_head(checkpoint, self.time(size - 1) // 1000),
        )
