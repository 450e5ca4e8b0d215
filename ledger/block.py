"""A submission and its events as one buffer: the unit of `replay`, and the hot path. No object is made per event.

    events           the event entries one after the other, exactly as the issuer signed them: issue 74 bytes,
                     revoke, suspend, reinstate 43 (`entry`)
    bundle form      u16 length ‖ entry, repeated (C2SP tlog-tiles, "Log entries")
    bulk body        "BLS1" ‖ issuer[32] ‖ u64 key ‖ u32 count ‖ u64 not_after ‖ nonce[16] ‖ events_root[32]
                     ‖ u8 algorithm ‖ signature[64] ‖ events        (a submission entry from its issuer on, then events)

Buffers of one entry length (all issues, or no issue) are read in columns by fixed stride; others are walked by type.
The columns are tried first and accept only what is wholly right, so each refusal, with the positions of the failing
events, comes from the walk.

Not judged here: everything that depends on the log (ownership, transitions, key, window), which is `replay`'s. That all
events carry the submission's issuer is computed (`foreign_issuer`) and left to `replay` to refuse.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import msgspec.structs

from ledger import entry as codec
from ledger.entry import EVENT_BYTES, ISSUE, ISSUE_BYTES, MAX_EVENTS, STATUS_EVENT_BYTES, SUBMISSION_BYTES, Submission
from ledger.errors import MalformedBody, MalformedEntry, RuleViolation, TooLarge, UnknownEntry
from ledger.merkle import fold, leaf_hashes, plan_root, tree_hash, tree_levels
from ledger.message import submission_message
from ledger.signing import Ed25519Key, verify_ed25519

BODY_MAGIC = b"BLS1"
#: Bytes of a submission entry before its issuer: version, type, the ledger's time.
_LEDGER_BYTES = 10
BODY_HEAD_BYTES = len(BODY_MAGIC) + SUBMISSION_BYTES - _LEDGER_BYTES
MAX_BODY_BYTES = BODY_HEAD_BYTES + MAX_EVENTS * ISSUE_BYTES
#: Height and width of the subtrees of the events tree whose hashes are kept, so that a proof needs few entries.
NODE_LEVEL = 8
NODE_WIDTH = 1 << NODE_LEVEL

_STATUS_KINDS = frozenset(EVENT_BYTES) - {ISSUE}
_MAX_REASON = max(codec.REASONS)
_PREFIX = {kind: size.to_bytes(2, "big") for kind, size in EVENT_BYTES.items()}
_MAX_POSITIONS = 100
#: From this many events on, comparing 32 columns is cheaper than comparing each event's issuer.
_COLUMNS_PAY = 64


class _Column:
    """One field out of every entry of a fixed length. Reading 256 entries by one call of struct costs a quarter of
    what slicing them one by one does."""

    __slots__ = ("_many", "_one")

    def __init__(self, layout: str) -> None:
        self._one = struct.Struct(">" + layout)
        self._many = struct.Struct(">" + layout * 256)

    def read(self, data: bytes, start: int, stop: int) -> list[Any]:
        """The field of the entries in data[start:stop], a whole number of entries."""
        values: list[Any] = []
        step = self._many.size
        while stop - start >= step:
            values += self._many.unpack_from(data, start)
            start += step
        if start < stop:
            values += [value for (value,) in self._one.iter_unpack(data[start:stop])]
        return values


_WHOLE = {size: _Column(f"{size}s") for size in (ISSUE_BYTES, STATUS_EVENT_BYTES)}
_SLOT = {size: _Column(f"34xQ{size - 42}x") for size in (ISSUE_BYTES, STATUS_EVENT_BYTES)}
_COMMITMENT = _Column("42x32s")


class _Events(msgspec.Struct, gc=False):
    """A parsed buffer, shared by the blocks that differ only in the ledger's time. `stride` is 0 for mixed buffers."""

    data: bytes
    stride: int
    starts: Sequence[int]
    kinds: bytes
    slots: list[int]
    reasons: bytes
    leaf_hashes: list[bytes]
    root: bytes | None = None
    nodes: bytes | None = None


class Block:
    """One submission and its events. The public attributes are not to be assigned; `verified_key` is set by
    `verify_signature` alone. Methods that compute may run in a thread: doing it twice at once is only wasteful."""

    __slots__ = (
        "_events",
        "events",
        "foreign_issuer",
        "kinds",
        "leaf_hashes",
        "reasons",
        "slots",
        "submission",
        "verified_key",
        "verified_origin",
    )

    def __init__(self, submission: Submission, events: _Events, foreign_issuer: int | None) -> None:
        self._events = events
        self.submission = submission
        #: The event entries, one after the other.
        self.events = events.data
        #: Type of each event (5 to 8), slot of each, and reason of each (0 for an issue).
        self.kinds = events.kinds
        self.slots = events.slots
        self.reasons = events.reasons
        #: RFC 6962 leaf hash of each event; the submission's own leaf is not among them.
        self.leaf_hashes = events.leaf_hashes
        #: Position of the first event that does not carry the submission's issuer.
        self.foreign_issuer = foreign_issuer
        #: The public key and the log's origin that the signature was verified with.
        self.verified_key: bytes | None = None
        self.verified_origin: str | None = None

    @classmethod
    def decode(cls, submission: Submission, events: bytes) -> Block:
        """Read the events of a submission. Raises MalformedEntry, naming the failing events' positions (from 0) as
        `positions`: an entry that is no event, cut short, a reason above 6, another number of events than `count`."""
        parsed = _parse(events)
        count = len(parsed.kinds)
        if submission.count != count:
            raise MalformedEntry(
                f"the submission states {submission.count} events and has {count}",
                positions=[min(count, submission.count)],
            )
        return cls(submission, parsed, _foreign_issuer(parsed, submission.issuer))

    @property
    def count(self) -> int:
        """The number of events, 1 to 100,000."""
        return len(self.kinds)

    @property
    def types(self) -> set[int]:
        """The entry types that occur among the events."""
        return set(self.kinds)

    def with_time(self, time_ms: int) -> Block:
        """The block with another time of the ledger. Shares the buffers and what is known of signature and root."""
        block = Block(msgspec.structs.replace(self.submission, time=time_ms), self._events, self.foreign_issuer)
        block.verified_key, block.verified_origin = self.verified_key, self.verified_origin
        return block

    def entry(self, k: int) -> bytes:
        """The entry of event `k`. Raises IndexError unless 0 <= k < count."""
        if k < 0:
            raise IndexError("event positions begin at 0")
        start = self._events.starts[k]
        return self.events[start : start + EVENT_BYTES[self.kinds[k]]]

    def entries(self) -> list[bytes]:
        """The entries of all events."""
        return self._pieces(0, self.count)

    def bundle_slice(self, start: int, stop: int) -> bytes:
        """Bundle form of the events k with start <= k < stop. Raises IndexError unless 0 <= start <= stop <= count."""
        if not 0 <= start <= stop <= self.count:
            raise IndexError(f"no events [{start}, {stop}) in a block of {self.count}")
        pieces = self._pieces(start, stop)
        if self._events.stride:
            prefix = _PREFIX[self.kinds[0]]
            return prefix + prefix.join(pieces) if pieces else b""
        return b"".join([_PREFIX[piece[1]] + piece for piece in pieces])

    def bundle_parts(self) -> list[bytes]:
        """Each event in bundle form. Whoever cuts bundles is better served by `bundle_slice`."""
        return [_PREFIX[piece[1]] + piece for piece in self._pieces(0, self.count)]

    def commitments(self) -> list[bytes]:
        """The commitments (32 bytes each) of the issue events, in order; their positions are where `kinds` is 5."""
        if self._events.stride:
            return _COMMITMENT.read(self.events, 0, len(self.events)) if self.kinds[0] == ISSUE else []
        starts = zip(self._events.starts, self.kinds, strict=True)
        return [self.events[start + 42 : start + 74] for start, kind in starts if kind == ISSUE]

    @property
    def events_root(self) -> bytes:
        """The RFC 6962 tree hash over the events' leaves, computed once from the buffer. 32 bytes."""
        return self._events.root or self._build_tree()

    @property
    def event_nodes(self) -> bytes | None:
        """The hashes of the complete 256-leaf subtrees of the events tree, joined; None for at most 256 events."""
        if self.count > NODE_WIDTH and self._events.nodes is None:
            self._build_tree()
        return self._events.nodes

    def check_events_root(self) -> None:
        """Raises RuleViolation (events-root) unless the submission's events_root is that of the events."""
        if self.events_root != self.submission.events_root:
            raise RuleViolation("the events do not have the events_root that the issuer signed", rule="events-root")

    def verify_signature(self, origin: str, public_key: bytes) -> None:
        """Raises SignatureInvalid unless `public_key` (32 bytes) signed this submission for the log `origin`. Covers
        the events only together with `check_events_root`. Releases the interpreter lock: callable in a thread."""
        verify_ed25519(public_key, submission_message(origin, self.submission), self.submission.signature)
        self.verified_key, self.verified_origin = public_key, origin

    def _pieces(self, start: int, stop: int) -> list[bytes]:
        stride, data = self._events.stride, self.events
        if stride:
            return _WHOLE[stride].read(data, start * stride, stop * stride)
        starts, kinds = self._events.starts, self.kinds
        return [data[starts[k] : starts[k] + EVENT_BYTES[kinds[k]]] for k in range(start, stop)]

    def _build_tree(self) -> bytes:
        events = self._events
        if self.count > NODE_WIDTH:
            levels = tree_levels(events.leaf_hashes)
            events.nodes = b"".join(levels[NODE_LEVEL])
            root = fold([levels[level][index] for level, index in plan_root(self.count)])
        else:
            root = tree_hash(events.leaf_hashes)
        events.root = root
        return root


def encode_body(block: Block) -> bytes:
    """The bulk body of the block, without the ledger's time. Raises MalformedEntry for a field out of range."""
    return b"".join((BODY_MAGIC, codec.encode(block.submission)[_LEDGER_BYTES:], block.events))


def decode_body(body: bytes) -> Block:
    """The block of a bulk body, its time 0. Raises TooLarge above 7,400,169 bytes, MalformedBody if it does not begin
    as one, MalformedEntry (with `positions` where events are at fault)."""
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(f"a bulk body has at most {MAX_BODY_BYTES} bytes")
    if body[: len(BODY_MAGIC)] != BODY_MAGIC:
        raise MalformedBody("a bulk body begins with BLS1")
    if len(body) < BODY_HEAD_BYTES:
        raise MalformedBody(f"a bulk body has at least {BODY_HEAD_BYTES} bytes before its events")
    head = bytes((codec.VERSION, codec.SUBMISSION)) + bytes(8) + body[len(BODY_MAGIC) : BODY_HEAD_BYTES]
    return Block.decode(codec.decode_submission(head), body[BODY_HEAD_BYTES:])


def sign_submission(
    origin: str, key: Ed25519Key, issuer: bytes, key_index: int, events: bytes, not_after: int, nonce: bytes
) -> Block:
    """The block of these events, signed for the log `origin`, its time 0. `key_index` is the log index of the key's
    entry, `not_after` in milliseconds, `nonce` 16 bytes. Raises MalformedEntry. For clients and tests."""
    parsed = _parse(events)
    draft = Submission(
        time=0,
        issuer=issuer,
        key=key_index,
        count=len(parsed.kinds),
        not_after=not_after,
        nonce=nonce,
        events_root=bytes(32),
        algorithm=codec.ALG_ED25519,
        signature=bytes(64),
    )
    block = Block(draft, parsed, _foreign_issuer(parsed, issuer))
    draft = msgspec.structs.replace(draft, events_root=block.events_root)
    signature = key.sign(submission_message(origin, draft))
    return Block(msgspec.structs.replace(draft, signature=signature), parsed, block.foreign_issuer)


def _parse(data: bytes) -> _Events:
    """Raises MalformedEntry unless `data` is 1 to 100,000 event entries and nothing else."""
    if not data:
        raise MalformedEntry("a submission has at least one event", positions=[0])
    count, rest = divmod(len(data), ISSUE_BYTES)
    if not rest and data[::ISSUE_BYTES] == b"\x01" * count and data[1::ISSUE_BYTES] == b"\x05" * count:
        return _uniform(data, ISSUE_BYTES, b"\x05" * count, bytes(count))
    count, rest = divmod(len(data), STATUS_EVENT_BYTES)
    if not rest and data[::STATUS_EVENT_BYTES] == b"\x01" * count:
        kinds, reasons = data[1::STATUS_EVENT_BYTES], data[STATUS_EVENT_BYTES - 1 :: STATUS_EVENT_BYTES]
        if set(kinds) <= _STATUS_KINDS and max(reasons) <= _MAX_REASON:
            return _uniform(data, STATUS_EVENT_BYTES, kinds, reasons)
    return _walk(data)


def _uniform(data: bytes, stride: int, kinds: bytes, reasons: bytes) -> _Events:
    _check_count(len(kinds))
    end = len(data)
    slots = _SLOT[stride].read(data, 0, end)
    hashes = leaf_hashes(_WHOLE[stride].read(data, 0, end))
    return _Events(data, stride, range(0, end, stride), kinds, slots, reasons, hashes)


def _walk(data: bytes) -> _Events:
    starts: list[int] = []
    kinds, reasons = bytearray(), bytearray()
    bad_reasons: list[int] = []
    start, end = 0, len(data)
    refusal: MalformedEntry | None = None
    while start < end:
        position = len(starts)
        _check_count(position + 1)
        kind = data[start + 1] if start + 1 < end else 0
        size = EVENT_BYTES.get(kind, 0)
        if data[start] != codec.VERSION or not size or start + size > end:
            refusal = _refusal(data[start:], position)
            break
        reason = 0 if kind == ISSUE else data[start + size - 1]
        if reason > _MAX_REASON:
            bad_reasons.append(position)
        starts.append(start)
        kinds.append(kind)
        reasons.append(reason)
        start += size
    if bad_reasons:
        raise MalformedEntry(f"the reason of event {bad_reasons[0]} is above 6", positions=bad_reasons[:_MAX_POSITIONS])
    if refusal is not None:
        raise refusal
    ends = [*starts[1:], end]
    pieces = [data[a:b] for a, b in zip(starts, ends, strict=True)]
    slots = [int.from_bytes(piece[34:42], "big") for piece in pieces]
    return _Events(data, 0, starts, bytes(kinds), slots, bytes(reasons), leaf_hashes(pieces))


def _refusal(rest: bytes, position: int) -> MalformedEntry:
    """Why the entry that begins `rest`, at event `position`, cannot be read as an event."""
    if rest[0] != codec.VERSION:
        return UnknownEntry(f"event {position} has the unknown version {rest[0]}", positions=[position])
    if len(rest) < 2 or rest[1] in EVENT_BYTES:
        return MalformedEntry(f"event {position} is cut short", positions=[position])
    if rest[1] not in codec.TYPE_NAMES:
        return UnknownEntry(f"event {position} has the unknown type {rest[1]}", positions=[position])
    return MalformedEntry(f"{codec.TYPE_NAMES[rest[1]]} stands where event {position} must", positions=[position])


def _check_count(count: int) -> None:
    if count > MAX_EVENTS:
        raise MalformedEntry(f"a submission has at most {MAX_EVENTS} events", positions=[MAX_EVENTS])


def _foreign_issuer(events: _Events, issuer: bytes) -> int | None:
    data, stride, count = events.data, events.stride, len(events.kinds)
    if (
        stride
        and count >= _COLUMNS_PAY
        and len(issuer) == 32
        and all(data[2 + j :: stride] == issuer[j : j + 1] * count for j in range(32))
    ):
        return None
    return next((k for k, start in enumerate(events.starts) if data[start + 2 : start + 34] != issuer), None)
