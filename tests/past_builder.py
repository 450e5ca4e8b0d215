"""The past of a log of `tests.builders`, worked out from its entries: dated receipts and histories of its badges."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

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


class Liar:
    """A log whose entries break its rules, signed all the same."""

    def __init__(self, world: World) -> None:
        self.log = LogBuilder(world.log.origin)
        self.log.entries, self.log.leaves = list(world.log.entries), list(world.log.leaves)
        self.world = world

    def change(self, index: int, data: bytes) -> None:
        self.log.entries[index], self.log.leaves[index] = data, merkle.leaf_hash(data)

    def history(self, issue: int, *, shown: list[int] | None = None) -> History:
        """The history of a badge under its last head."""
        return self._world().history(issue, len(self.log.entries), shown=shown)

    def dated(self, issue: int, at_ms: int, first: int, successor: int) -> DatedReceipt:
        """The dated receipt with these two status_roots."""
        world, size = self._world(), len(self.log.entries)
        return DatedReceipt(at_ms, world.receipt(issue, size), world.past(issue, first, successor, size))

    def _world(self) -> World:
        world = World.__new__(World)
        world.log, world.roots, world.trees = self.log, self.world.roots, self.world.trees
        world.entries = [decode(data) for data in self.log.entries]
        return world


def rebuilt(world: World, history: History) -> History:
    """The same with the log proof that its entries need."""
    indexes = [index for index in history.entries() if index != history.tree_size - 1]
    plan = plan_history(indexes, history.tree_size)
    return replace(history, log_proof=tuple(merkle.build(plan, AllNodes(world.log.leaves[: history.tree_size]))))


def grown() -> LogBuilder:
    """Events of each kind in one submission and over many, several keys, neighbours, two issuers."""
    log = LogBuilder()
    school = log.issuer("https://school.example/badges", lists=1)
    online = log.add_key(school, roles=3)
    office = log.add_key(school, roles=2, signer=school.keys[0])
    log.seal()
    log.time += 1_000
    a, b, c = (school.slot(k) for k in (0, 1, 2))
    log.submit(school, [school.issue(slot) for slot in (a, b, c, school.slot(300))], key=online)
    log.seal()
    log.time += 1_000
    log.submit(school, [school.suspend(a, 3), school.suspend(b), school.reinstate(a)], key=office)
    log.submit(school, [school.suspend(a, 5)], key=online)
    log.seal()
    log.time += 1_000
    club = log.issuer(lists=1)
    log.issue(club, [club.slot(0)])
    log.submit(school, [school.reinstate(a), school.revoke(c, 6)], key=school.keys[0])
    log.seal()
    log.time += 1_000
    log.submit(school, [school.revoke(a, 1)], key=office)
    log.submit(school, [school.revoke(b, 2)], key=online)
    log.seal()
    log.time += 1_000
    log.seal()
    return log
