"""What a few entries of a log prove by themselves: the rules whose breach needs no more than the entries that break it.

A rule stands here only if no other entry of the log could make the breach undone. That a slot was issued twice is shown
by two entries for good; that a slot was never issued is not, and takes the whole log (`evidence`, kind prefix).

    rule                    entries of the excerpt, besides the one at `index`
    malformed-entry         none: the codec refuses it (an unknown version or type breaks nothing)
    entry-order             none: entry 0 is log_params and no other, entry 1 a status_root
    origin                  none: entry 0 names another log than the head
    head-unsealed           none: the last entry under the head is no status_root
    head-time               none: the last status_root is later than the log's own signature
    time-decreases          an earlier entry with a later time
    window                  none: the submission
    count                   the submission (at `index`) and what stands in the place of one of its events; or the
                            submission, and the entry that stands there (at `index`)
    foreign-issuer          the submission and the event (at `index`)
    unknown-key             the entry that is named as a key and is none of the issuer's
    key-retired             the key's entry, and its retirement before `index`
    key-role                the key's entry, and an event that needs another role
    signature               the key's entry, or none for a key's proof of possession
    events-root             all events of the submission
    nonce                   the earlier submission, and of each an event that is a suspension or a reinstatement
    slot-issued             the earlier issue of the slot
    illegal-transition      an earlier revocation of the slot
    key-prev                an earlier key entry of the issuer with the same `prev`
    key-duplicate           the earlier entry that added the same public key
    list-number             the earlier status_list of the same number
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from ledger.block import Block
from ledger.checkpoint import Checkpoint
from ledger.entry import (
    ADD,
    MAX_EVENTS,
    REINSTATE,
    RETIRE,
    REVOKE,
    ROLE_ISSUE,
    ROLE_MANAGE,
    ROLE_STATUS,
    SUSPEND,
    ZERO32,
    Entry,
    Issue,
    IssuerKey,
    LogParams,
    StatusEvent,
    StatusList,
    StatusRoot,
    Submission,
    decode,
    issuer_id,
)
from ledger.errors import LedgerError, MalformedEntry, SignatureInvalid, UnknownEntry
from ledger.message import key_message, submission_message
from ledger.replay_block import MAX_WINDOW_MS
from ledger.signing import verify_ed25519

_E = TypeVar("_E")


class Excerpt:
    """Entries proven to stand at their indexes under `head`; the breach is at `index`."""

    def __init__(self, head: Checkpoint, index: int, raw: dict[int, bytes], *, own_time_s: int | None = None) -> None:
        self.head = head
        self.index = index
        self.raw = raw
        self.own_time_s = own_time_s
        self.decoded: dict[int, Entry] = {}
        #: Indexes of entries of an unknown version or type, of which nothing can be said.
        self.unknown: set[int] = set()
        for at, data in raw.items():
            try:
                self.decoded[at] = decode(data)
            except UnknownEntry:
                self.unknown.add(at)
            except MalformedEntry:
                continue

    @property
    def entry(self) -> Entry | None:
        """The entry at `index`, None if it is not there or cannot be read."""
        return self.decoded.get(self.index)

    def earlier(self, kind: type[_E]) -> Iterator[_E]:
        """The entries of a type before `index`."""
        for at in sorted(self.decoded):
            entry = self.decoded[at]
            if at < self.index and isinstance(entry, kind):
                yield entry

    def events(self, index: int, submission: Submission) -> Iterator[tuple[int, Issue | StatusEvent]]:
        """The events at hand of the submission at `index`."""
        for at, entry in self.decoded.items():
            if index < at <= index + submission.count and isinstance(entry, (Issue, StatusEvent)):
                yield at, entry

    def submission_of(self, index: int) -> tuple[int, Submission] | None:
        """The submission at hand that the entry at `index` is inside of."""
        for at, entry in self.decoded.items():
            if isinstance(entry, Submission) and at < index <= at + entry.count:
                return at, entry
        return None

    def key(self, index: int, issuer: bytes) -> IssuerKey | None:
        """The entry at `index` if it adds a key of the issuer."""
        entry = self.decoded.get(index)
        if isinstance(entry, IssuerKey) and entry.action == ADD and issuer_id(entry.identifier) == issuer:
            return entry
        return None


def convict(rule: str, excerpt: Excerpt) -> str | None:
    """The sentence on how these entries break the rule; None if they do not, or no excerpt can show it."""
    check = _CHECKS.get(rule)
    try:
        return check(excerpt) if check is not None else None
    except LedgerError:
        # Whatever a hostile excerpt makes the codec or the signature check say, it is not a conviction.
        return None


def _malformed(x: Excerpt) -> str | None:
    try:
        decode(x.raw.get(x.index, b"\x01\x01"))
    except UnknownEntry:
        return None
    except MalformedEntry as error:
        return f"entry {x.index}: {error.detail}" if x.index in x.raw else None
    return None


def _entry_order(x: Excerpt) -> str | None:
    if x.entry is None:
        return None
    if isinstance(x.entry, LogParams) != (x.index == 0):
        return f"entry {x.index}: log_params is entry 0 and no other"
    return "entry 1 is no status_root" if x.index == 1 and not isinstance(x.entry, StatusRoot) else None


def _origin(x: Excerpt) -> str | None:
    params = x.decoded.get(0)
    if x.index == 0 and isinstance(params, LogParams) and params.origin != x.head.origin:
        return f"entry 0 names the log {params.origin!r}"
    return None


def _head_unsealed(x: Excerpt) -> str | None:
    if x.index != x.head.size - 1 or x.index not in x.raw or isinstance(x.entry, StatusRoot) or x.index in x.unknown:
        return None
    return f"the head of size {x.head.size} does not end in a status_root"


def _head_time(x: Excerpt) -> str | None:
    if x.index != x.head.size - 1 or not isinstance(x.entry, StatusRoot) or x.own_time_s is None:
        return None
    if x.own_time_s >= x.entry.time // 1000:
        return None
    return f"the log signed its head at {x.own_time_s}, before the time of its last entry, {x.entry.time // 1000}"


def _time_decreases(x: Excerpt) -> str | None:
    time = _time(x.entry)
    for entry in x.earlier(object):
        before = _time(entry)
        if time is not None and before is not None and before > time:
            return f"entry {x.index} has the time {time}, an earlier entry {before}"
    return None


def _time(entry: object) -> int | None:
    return entry.time if isinstance(entry, LogParams | IssuerKey | StatusList | Submission | StatusRoot) else None


def _window(x: Excerpt) -> str | None:
    if not isinstance(x.entry, Submission) or x.entry.time <= x.entry.not_after <= x.entry.time + MAX_WINDOW_MS:
        return None
    return f"submission {x.index} has the time {x.entry.time} and may be logged until {x.entry.not_after} only"


def _count(x: Excerpt) -> str | None:
    if isinstance(x.entry, Submission) and not 1 <= x.entry.count <= MAX_EVENTS:
        return f"submission {x.index} states {x.entry.count} events"
    inside = x.submission_of(x.index)
    if inside is None or x.entry is None or isinstance(x.entry, (Issue, StatusEvent)):
        return None
    return f"entry {x.index} stands where an event of submission {inside[0]} must"


def _foreign_issuer(x: Excerpt) -> str | None:
    inside = x.submission_of(x.index)
    if inside is None or not isinstance(x.entry, (Issue, StatusEvent)) or x.entry.issuer == inside[1].issuer:
        return None
    return f"event {x.index} carries another issuer than its submission {inside[0]}"


def _named_key(x: Excerpt) -> tuple[int, bytes] | None:
    """(index of the key that the entry says it is signed by, the issuer)."""
    if isinstance(x.entry, Submission):
        return x.entry.key, x.entry.issuer
    if isinstance(x.entry, IssuerKey) and x.entry.prev != ZERO32:
        return x.entry.signer, issuer_id(x.entry.identifier)
    return None


def _unknown_key(x: Excerpt) -> str | None:
    named = _named_key(x)
    if named is None:
        return None
    index, issuer = named
    if index < x.index and (index not in x.raw or index in x.unknown or x.key(index, issuer) is not None):
        return None
    return f"entry {x.index} names entry {index} as its key, which is no key of the issuer before it"


def _key_retired(x: Excerpt) -> str | None:
    named = _named_key(x)
    key = x.key(*named) if named else None
    if named is None or key is None:
        return None
    for at, entry in x.decoded.items():
        if not isinstance(entry, IssuerKey) or entry.action != RETIRE or not named[0] < at < x.index:
            continue
        if (entry.identifier, entry.public_key) == (key.identifier, key.public_key):
            return f"entry {x.index} is signed by key {named[0]}, which entry {at} retired"
    return None


def _key_role(x: Excerpt) -> str | None:
    if isinstance(x.entry, IssuerKey) and x.entry.prev == ZERO32:
        return None if x.entry.roles & ROLE_MANAGE else f"the first key {x.index} lacks the role manage"
    named = _named_key(x)
    key = x.key(*named) if named else None
    if named is None or key is None or named[0] >= x.index:
        return None
    if isinstance(x.entry, IssuerKey):
        return None if key.roles & ROLE_MANAGE else f"key {named[0]}, which signed entry {x.index}, may not manage keys"
    if not isinstance(x.entry, Submission):
        return None
    for at, event in x.events(x.index, x.entry):
        needed = ROLE_ISSUE if isinstance(event, Issue) else ROLE_STATUS
        if not key.roles & needed:
            return f"key {named[0]} has no role for event {at}"
    return None


def _signature(x: Excerpt) -> str | None:
    entry = x.entry
    if isinstance(entry, IssuerKey):
        message = key_message(
            x.head.origin, entry.action, entry.prev, entry.identifier, entry.roles, entry.algorithm, entry.public_key
        )
        if entry.action == ADD and not _verifies(entry.public_key, message, entry.possession_sig):
            return f"key entry {x.index} is not signed by the key that it adds"
        signer = x.key(entry.signer, issuer_id(entry.identifier)) if entry.prev != ZERO32 else None
        if signer is not None and not _verifies(signer.public_key, message, entry.manage_sig):
            return f"key entry {x.index} is not signed by key {entry.signer}"
        return None
    if not isinstance(entry, Submission):
        return None
    key = x.key(entry.key, entry.issuer)
    if key is None or entry.key >= x.index:
        return None
    if _verifies(key.public_key, submission_message(x.head.origin, entry), entry.signature):
        return None
    return f"submission {x.index} is not signed by key {entry.key}"


def _verifies(public_key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        verify_ed25519(public_key, message, signature)
    except SignatureInvalid:
        return False
    return True


def _events_root(x: Excerpt) -> str | None:
    if not isinstance(x.entry, Submission):
        return None
    positions = range(x.index + 1, x.index + 1 + x.entry.count)
    if len(x.raw) <= len(positions) or not all(at in x.raw for at in positions):
        return None
    block = Block.decode(x.entry, b"".join(x.raw[at] for at in positions))
    if [len(x.raw[at]) for at in positions] != [len(entry) for entry in block.entries()]:
        return None
    if block.events_root == x.entry.events_root:
        return None
    return f"the events after submission {x.index} are not those that were signed"


def _nonce(x: Excerpt) -> str | None:
    later = x.entry
    if not isinstance(later, Submission) or not _changes_back(x, x.index, later):
        return None
    for at, entry in x.decoded.items():
        if at >= x.index or not isinstance(entry, Submission) or not _changes_back(x, at, entry):
            continue
        same = (entry.issuer, entry.nonce) == (later.issuer, later.nonce)
        if same and entry.not_after >= later.time:
            return f"submission {x.index} has the nonce of submission {at}, which could still be repeated"
    return None


def _changes_back(x: Excerpt, index: int, submission: Submission) -> bool:
    kinds = {event.type for _, event in x.events(index, submission) if isinstance(event, StatusEvent)}
    return bool(kinds & {SUSPEND, REINSTATE})


def _slot_issued(x: Excerpt) -> str | None:
    if isinstance(x.entry, Issue) and any(entry.slot == x.entry.slot for entry in x.earlier(Issue)):
        return f"event {x.index} issues slot {x.entry.slot}, which was issued before"
    return None


def _illegal_transition(x: Excerpt) -> str | None:
    if not isinstance(x.entry, StatusEvent):
        return None
    slot = x.entry.slot
    if any(entry.type == REVOKE and entry.slot == slot for entry in x.earlier(StatusEvent)):
        return f"event {x.index} changes slot {slot}, which was revoked before"
    return None


def _key_prev(x: Excerpt) -> str | None:
    entry = x.entry
    if not isinstance(entry, IssuerKey):
        return None
    if any((e.identifier, e.prev) == (entry.identifier, entry.prev) for e in x.earlier(IssuerKey)):
        return f"key entry {x.index} follows the same key entry as an earlier one: it was replayed"
    return None


def _key_duplicate(x: Excerpt) -> str | None:
    entry = x.entry
    if not isinstance(entry, IssuerKey) or entry.action != ADD:
        return None
    mine = (entry.identifier, entry.public_key)
    if any(e.action == ADD and (e.identifier, e.public_key) == mine for e in x.earlier(IssuerKey)):
        return f"key entry {x.index} adds a public key that was added before"
    return None


def _list_number(x: Excerpt) -> str | None:
    if isinstance(x.entry, StatusList) and any(e.list == x.entry.list for e in x.earlier(StatusList)):
        return f"entry {x.index} opens status list {x.entry.list} a second time"
    return None


_CHECKS: dict[str, Callable[[Excerpt], str | None]] = {
    "malformed-entry": _malformed,
    "entry-order": _entry_order,
    "origin": _origin,
    "head-unsealed": _head_unsealed,
    "head-time": _head_time,
    "time-decreases": _time_decreases,
    "window": _window,
    "count": _count,
    "foreign-issuer": _foreign_issuer,
    "unknown-key": _unknown_key,
    "key-retired": _key_retired,
    "key-role": _key_role,
    "signature": _signature,
    "events-root": _events_root,
    "nonce": _nonce,
    "slot-issued": _slot_issued,
    "illegal-transition": _illegal_transition,
    "key-prev": _key_prev,
    "key-duplicate": _key_duplicate,
    "list-number": _list_number,
}
EXCERPT_RULES = frozenset(_CHECKS)
