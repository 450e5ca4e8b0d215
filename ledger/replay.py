"""The rules of the log as one state machine (docs/protocol.md, "Entries", "Status"): sequencer, auditor, tests alike.

    unit        LogParams | IssuerKey | StatusList | StatusRoot | Block (a submission and its events)
    Replay      the state after some whole number of units
    Draft       an overlay on a Replay: `append` takes a unit or raises RuleViolation and leaves no trace of it;
                `Replay.merge` makes it the state (after COMMIT), and dropping it forgets it

    rule                    index where an auditor stops
    of any entry            entry-order, time-decreases: the entry's
    log_params              origin
    status_list             list-number, unknown-issuer
    status_root             status-root: it equals, field for field, what is recomputed
    issuer_key              `replay_keys`
    submission, events      `replay_block`; of events that fail, the first one's, with the positions of all

Not judged here: what the codec refuses (unknown types never get this far), that a submission is followed by its events
(`units`), the hashes of the log itself (`merkle`), and whether published evidence is true (an auditor's alarm). There
is no clock: times are the log's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, TypeAlias

from ledger.block import Block
from ledger.entry import (
    LIST_CHUNKS,
    NONE_INDEX,
    IssuerKey,
    LogParams,
    StatusList,
    StatusRoot,
    encode,
    issuer_id,
)
from ledger.errors import LedgerError, MalformedInput, RuleViolation
from ledger.merkle import leaf_hash
from ledger.replay_block import judge
from ledger.replay_keys import next_issuer
from ledger.replay_snapshot import Snapshot, decode_snapshot, encode_snapshot, issuer_rows, read_issuers, totals_hold
from ledger.replay_state import IssuedBits, IssuerState, KeyState, Nonces
from ledger.status import ZERO_CHUNK, ChangedNode, State, StatusTree, slot_state

Single: TypeAlias = LogParams | IssuerKey | StatusList | StatusRoot
Unit: TypeAlias = Single | Block
SlotState: TypeAlias = State | Literal["unissued"]


class _Position:
    """What Replay and Draft both are: a point of the log, with its totals."""

    #: Number of entries.
    size: int = 0
    #: Time of the newest timed entry, milliseconds.
    time: int = 0
    origin: str = ""
    #: Index of the newest status_root; 2^64 - 1 before the first.
    previous_root_index: int = NONE_INDEX
    #: Whether the newest entry is a status_root: only then may a head be signed.
    sealed: bool = False
    #: Slots ever issued (revoked ones included), slots revoked, slots suspended now.
    issued: int = 0
    revoked: int = 0
    suspended: int = 0

    def _take_position(self, other: _Position | Snapshot) -> None:
        self.size, self.time, self.origin = other.size, other.time, other.origin
        self.previous_root_index, self.sealed = other.previous_root_index, other.sealed
        self.issued, self.revoked, self.suspended = other.issued, other.revoked, other.suspended


class Replay(_Position):
    """The state of one log. Changed by `merge` and `apply` alone; what it hands out stays true of its moment."""

    def __init__(self, origin: str | None = None) -> None:
        """The empty log. With an `origin`, a log_params of another one is a violation."""
        self._expected_origin = origin
        #: The issuer (32 bytes) of each status list, by number. Not to be changed.
        self.lists: list[bytes] = []
        self._issuers: dict[bytes, IssuerState] = {}
        self._key_issuers: dict[int, bytes] = {}
        self._bits = IssuedBits()
        self._nonces = Nonces()
        self._status = StatusTree.empty()

    @property
    def issuers(self) -> Mapping[bytes, IssuerState]:
        """Every issuer by its id, in the order of first keys."""
        return self._issuers

    @property
    def status(self) -> StatusTree:
        """The status tree as of now: an immutable value."""
        return self._status

    @property
    def list_count(self) -> int:
        """The number of status lists."""
        return len(self.lists)

    @property
    def nonces(self) -> int:
        """How many nonces are remembered."""
        return len(self._nonces)

    def issuer(self, issuer: bytes) -> IssuerState | None:
        """The issuer with this id (32 bytes), None if it has no key entry."""
        return self._issuers.get(issuer)

    def key(self, index: int) -> KeyState | None:
        """The key that the entry at this log index added, None if that entry added none."""
        issuer = self._key_issuers.get(index)
        return None if issuer is None else self._issuers[issuer].keys[index]

    def owner(self, number: int) -> bytes | None:
        """The issuer of a status list, None if there is no such list."""
        return self.lists[number] if 0 <= number < len(self.lists) else None

    def is_issued(self, slot: int) -> bool:
        """Whether the slot was ever issued."""
        return slot in self._bits

    def slot_state(self, slot: int) -> SlotState:
        """The state of a slot, whether or not its list is open."""
        return slot_state(self._status.chunk(slot >> 8), slot) if slot in self._bits else "unissued"

    def draft(self) -> Draft:
        """An overlay on the state as it is; several may exist, one of them may be merged."""
        return Draft(self)

    def merge(self, draft: Draft) -> None:
        """Make the draft the state. Raises ValueError for a draft of another Replay, or of this one before it grew."""
        if draft._base is not self or draft._base_size != self.size:
            raise ValueError("the draft is not based on this state")
        self._take_position(draft)
        self._status = draft.status
        self._issuers.update(draft._issuers)
        self._key_issuers.update(draft._key_issuers)
        self.lists.extend(draft._lists)
        if draft._issued:
            self._bits.add(draft._issued, draft._issued_lists)
        for key, not_after in draft._nonces.items():
            self._nonces.remember(key, not_after)
        self._nonces.expire(self.time)

    def apply(self, unit: Unit, *, leaf: bytes | None = None, trusted: bool = False) -> int:
        """Take one unit, as `Draft.append` does, and make it the state. Returns the index of its first entry."""
        draft = self.draft()
        index = draft.append(unit, leaf=leaf, trusted=trusted)
        self.merge(draft)
        return index

    def snapshot(self) -> bytes:
        """The whole state as bytes: equal for equal logs, in however many steps they were read."""
        ordinals = {issuer: k for k, issuer in enumerate(self._issuers)}
        return encode_snapshot(
            Snapshot(
                size=self.size,
                time=self.time,
                origin=self.origin,
                previous_root_index=self.previous_root_index,
                sealed=self.sealed,
                issued=self.issued,
                revoked=self.revoked,
                suspended=self.suspended,
                issuers=issuer_rows(self._issuers),
                owners=[ordinals[owner] for owner in self.lists],
                bits=list(self._bits.rows()),
                chunks=self._status.chunks(),
                status_root=self._status.root,
                nonces=self._nonces.rows(),
            )
        )

    @classmethod
    def from_snapshot(cls, data: bytes, origin: str | None = None) -> Replay:
        """The state of `snapshot`. Raises MalformedInput for another version, another origin than the one given, or
        parts that do not add up."""
        snapshot = decode_snapshot(data)
        if origin is not None and origin != snapshot.origin:
            raise MalformedInput(f"the snapshot is of the log {snapshot.origin!r}")
        replay = cls(origin)
        replay._take_position(snapshot)
        replay._issuers = read_issuers(snapshot.issuers, snapshot.owners)
        replay._key_issuers = {index: issuer.issuer for issuer in replay._issuers.values() for index in issuer.keys}
        ids = list(replay._issuers)
        replay.lists = [ids[owner] for owner in snapshot.owners]
        try:
            for row in snapshot.bits:
                replay._bits.load_row(*row)
            replay._status = StatusTree.from_chunks(len(replay.lists), snapshot.chunks)
        except ValueError as error:
            raise MalformedInput(f"the slots of the snapshot do not add up: {error}") from error
        if replay._status.root != snapshot.status_root or not totals_hold(snapshot):
            raise MalformedInput("the slots of the snapshot do not have the status root and the totals that it states")
        for key, not_after in snapshot.nonces:
            replay._nonces.remember(key, not_after)
        return replay


class Draft(_Position):
    """An overlay on a Replay, of no use once that has moved on: `append` then raises ValueError."""

    def __init__(self, base: Replay) -> None:
        self._base = base
        self._base_size = base.size
        self._base_status = self._tree = base.status
        self._take_position(base)
        # Chunks changed since `_tree`: hashing waits until somebody asks for the root.
        self._chunks: dict[int, bytes] = {}
        self._touched: set[int] = set()
        self._issuers: dict[bytes, IssuerState] = {}
        self._key_issuers: dict[int, bytes] = {}
        self._lists: list[bytes] = []
        self._issued: set[int] = set()
        self._issued_lists: set[int] = set()
        self._nonces: dict[bytes, int] = {}

    # What stands ------------------------------------------------------------------------------------------------------

    @property
    def list_count(self) -> int:
        """The number of status lists: that of the next one."""
        return len(self._base.lists) + len(self._lists)

    @property
    def status(self) -> StatusTree:
        """The status tree with everything appended so far."""
        if self._chunks or self._tree.lists != self.list_count:
            self._tree = self._tree.with_lists(self.list_count).update(self._chunks)[0]
            self._chunks = {}
        return self._tree

    @property
    def changed_nodes(self) -> list[ChangedNode]:
        """The (level, index, hash) of each complete node of the status tree that differs from the base's, chunks
        (level 0) included. A node that was never told has `status.empty_hash(level)`."""
        return self.status.changes_since(self._base_status)

    @property
    def changed_chunks(self) -> list[tuple[int, bytes]]:
        """The (number, 64 bytes) of each chunk that an event touched, ascending, even if another one undid that: the
        versions of a chunk in a store then name every commit that holds status events of its slots."""
        return [(number, self.status.chunk(number)) for number in sorted(self._touched)]

    def issuer(self, issuer: bytes) -> IssuerState | None:
        """As Replay.issuer."""
        return self._issuers.get(issuer) or self._base.issuer(issuer)

    def key(self, index: int) -> KeyState | None:
        """As Replay.key."""
        issuer = self._key_issuers.get(index) or self._base._key_issuers.get(index)
        state = None if issuer is None else self.issuer(issuer)
        return None if state is None else state.keys[index]

    def owner(self, number: int) -> bytes | None:
        """As Replay.owner."""
        before = len(self._base.lists)
        if number < before:
            return self._base.owner(number)
        return self._lists[number - before] if number < self.list_count else None

    def is_issued(self, slot: int) -> bool:
        """As Replay.is_issued."""
        return slot in self._issued or slot in self._base._bits

    def clashes(self, slots: list[int], numbers: set[int]) -> bool:
        """Whether any of these slots is issued; `numbers` are the lists that hold them."""
        return not self._issued.isdisjoint(slots) or self._base._bits.clashes(slots, numbers)

    def chunk(self, number: int) -> bytes:
        """The 64 bytes of a status chunk, zeros if nothing touched it."""
        changed = self._chunks.get(number)
        if changed is not None:
            return changed
        return self._tree.chunk(number) if number < LIST_CHUNKS * self._tree.lists else ZERO_CHUNK

    def nonce_until(self, nonce: bytes) -> int:
        """The latest not_after (milliseconds) of a submission with this issuer || nonce that counts; -1 for none."""
        return max(self._nonces.get(nonce, -1), self._base._nonces.until(nonce))

    def slot_state(self, slot: int) -> SlotState:
        """As Replay.slot_state."""
        return slot_state(self.chunk(slot >> 8), slot) if self.is_issued(slot) else "unissued"

    def status_root(self, time_ms: int) -> StatusRoot:
        """The only status_root that the rules admit here at that time."""
        return StatusRoot(
            time=time_ms,
            previous=self.previous_root_index,
            lists=self.list_count,
            issued=self.issued,
            revoked=self.revoked,
            suspended=self.suspended,
            root=self.status.root,
        )

    # What comes next --------------------------------------------------------------------------------------------------

    def append(
        self, unit: Unit, *, leaf: bytes | None = None, trusted: bool = False, veto: LedgerError | None = None
    ) -> int:
        """Take one unit, or raise and change nothing. Returns the log index of its first entry.

        `leaf` is the leaf hash (32 bytes) of a single entry, if the caller has it. `trusted` leaves out signatures and
        events_root: for one's own database. The signature of a block that says it was verified, for this origin and
        with the key that is live here, is not verified again. `veto` is the caller's own reason to refuse a block,
        raised only where the rules of the log have nothing to say.

        Raises RuleViolation with the rule, the log index where an auditor stops and the failing events' positions;
        MalformedEntry for a field that no entry can hold; ValueError if the base has moved on.
        """
        if self._base.size != self._base_size:
            raise ValueError("the draft is not based on the state as it is now")
        time = unit.submission.time if isinstance(unit, Block) else unit.time
        self._check_order(unit, time)
        index, count = self.size, 1
        if isinstance(unit, Block):
            self._append_block(unit, trusted, veto)
            count += unit.count
        else:
            self._append_single(unit, leaf, trusted)
        self.size = index + count
        self.time = time
        self.sealed = isinstance(unit, StatusRoot)
        return index

    def _require(self, holds: bool, rule: str, detail: str) -> None:
        if not holds:
            raise RuleViolation(detail, rule=rule, index=self.size)

    def _check_order(self, unit: Unit, time: int) -> None:
        self._require(
            isinstance(unit, LogParams) == (self.size == 0), "entry-order", "log_params is entry 0 and no other"
        )
        self._require(self.size != 1 or isinstance(unit, StatusRoot), "entry-order", "entry 1 is a status_root")
        self._require(time >= self.time, "time-decreases", f"time {time} is before {self.time}")

    def _append_single(self, unit: Single, leaf: bytes | None, trusted: bool) -> None:
        # Encoding first: a value that no entry can hold is refused before it counts.
        data = encode(unit)
        match unit:
            case LogParams():
                expected = self._base._expected_origin
                self._require(expected in (None, unit.origin), "origin", f"the log's origin is not {unit.origin!r}")
                self.origin = unit.origin
            case IssuerKey():
                self._append_key(unit, data, leaf_hash(data) if leaf is None else leaf, trusted)
            case StatusList():
                self._append_list(unit)
            case StatusRoot():
                self._check_root(unit)
                self.previous_root_index = self.size

    def _append_key(self, unit: IssuerKey, data: bytes, leaf: bytes, trusted: bool) -> None:
        before = self.issuer(issuer_id(unit.identifier))
        after = next_issuer(before, unit, index=self.size, origin=self.origin, data=data, leaf=leaf, trusted=trusted)
        self._issuers[after.issuer] = after
        if self.size in after.keys:
            self._key_issuers[self.size] = after.issuer

    def _append_list(self, unit: StatusList) -> None:
        self._require(unit.list == self.list_count, "list-number", f"the next list is number {self.list_count}")
        issuer = self.issuer(unit.issuer)
        if issuer is None:
            raise RuleViolation("the issuer has no key entry", rule="unknown-issuer", index=self.size)
        self._issuers[issuer.issuer] = replace(issuer, lists=(*issuer.lists, unit.list))
        self._lists.append(unit.issuer)

    def _check_root(self, unit: StatusRoot) -> None:
        expected = self.status_root(unit.time)
        wrong = [name for name in StatusRoot.__struct_fields__ if getattr(unit, name) != getattr(expected, name)]
        self._require(not wrong, "status-root", f"not as recomputed: {', '.join(wrong)}")

    def _append_block(self, block: Block, trusted: bool, veto: LedgerError | None) -> None:
        effects = judge(block, self, trusted=trusted)
        if veto is not None:
            raise veto
        # From here on nothing raises, so that what was refused left no trace.
        if effects.nonce is not None:
            self._nonces[effects.nonce] = block.submission.not_after
        self._chunks.update(effects.chunks)
        self._touched.update(effects.chunks)
        self.revoked += effects.revoked
        self.suspended += effects.suspended
        self.issued += len(effects.issued)
        # The first block's set is taken as it is, without a copy: nobody else holds it.
        self._issued_lists |= effects.lists
        if self._issued:
            self._issued |= effects.issued
        else:
            self._issued = effects.issued
