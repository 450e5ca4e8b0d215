"""The rules for a submission and its events (docs/protocol.md, "Entries" and "Status"), against the log as it stands.

    submission   count, window, unknown-key, key-retired, key-role, nonce, events-root, signature: at its index
    events       foreign-issuer, not-owner, slot-issued, illegal-transition: at the event's index; effects in order

    unissued           -issue->     active
    active             -suspend->   suspended
    suspended          -reinstate-> active
    active, suspended  -revoke->    revoked     the suspension bit is cleared; final

A block of nothing but issues, the common one, is judged by set operations that only ever accept; whatever they do not
accept goes event by event, so each refusal, with the positions of all failing events, has one origin. Nothing is
changed here: `judge` returns effects. Time order and the log's first entries are `replay`'s.
"""

from __future__ import annotations

from typing import NoReturn, Protocol

import msgspec

from ledger.block import Block
from ledger.entry import ISSUE, MAX_EVENTS, REINSTATE, REVOKE, ROLE_ISSUE, ROLE_STATUS, SUSPEND, TYPE_NAMES, Submission
from ledger.errors import RuleViolation, SignatureInvalid
from ledger.replay_state import KeyState
from ledger.status import HALF_BYTES, bit

#: A submission's not_after is at most this far past its time, milliseconds.
MAX_WINDOW_MS = 86_400_000
#: How many failing events a refusal names.
MAX_POSITIONS = 100
_ISSUES = {ISSUE}
_NONCE_KINDS = frozenset({SUSPEND, REINSTATE})


class View(Protocol):
    """The log as it stands before the block."""

    size: int
    origin: str

    def key(self, index: int) -> KeyState | None:
        """The key that the entry at this index added."""

    def nonce_until(self, nonce: bytes) -> int:
        """The latest not_after of a submission with this issuer || nonce that counts; -1 for none."""

    def owner(self, number: int) -> bytes | None:
        """The issuer of list `number`; None if there is no such list."""

    def is_issued(self, slot: int) -> bool:
        """Whether the slot has been issued, revoked ones included."""

    def clashes(self, slots: list[int], numbers: set[int]) -> bool:
        """Whether any of these slots is issued; `numbers` are the lists that hold them."""

    def chunk(self, number: int) -> bytes:
        """The 64 bytes of a status chunk; zeros if it was never touched."""


class Effects(msgspec.Struct, gc=False):
    """What a block does: newly issued slots and the lists they are in, chunks as they are afterwards, differences of
    two totals, and the issuer || nonce to remember until the submission's not_after."""

    issued: set[int]
    lists: set[int]
    chunks: dict[int, bytes]
    revoked: int = 0
    suspended: int = 0
    nonce: bytes | None = None


def judge(block: Block, view: View, *, trusted: bool) -> Effects:
    """The effects of the block as the next unit of the log. `trusted` leaves out signature and events_root.

    Raises RuleViolation. Where events fail, rule and index are the first one's, `positions` are those of all that fail
    (100 at most) and the member `rules` has the rule of each.
    """
    kinds = block.types
    key = _check_submission(block, view)
    _check_roles(key, kinds, view.size)
    nonce = _check_nonce(block.submission, view) if kinds & _NONCE_KINDS else None
    if not trusted:
        _check_signed(block, key, view)
    effects = _fresh(block, view) if kinds == _ISSUES and block.foreign_issuer is None else None
    if effects is None:
        effects = _one_by_one(block, view)
    effects.nonce = nonce
    return effects


def _require(holds: bool, rule: str, index: int, detail: str) -> None:
    if not holds:
        raise RuleViolation(detail, rule=rule, index=index)


def _check_submission(block: Block, view: View) -> KeyState:
    submission, index = block.submission, view.size
    stated, time, not_after = submission.count, submission.time, submission.not_after
    counts = 1 <= stated <= MAX_EVENTS and stated == block.count
    _require(counts, "count", index, f"the submission states {stated} events and has {block.count}")
    opens = time <= not_after <= time + MAX_WINDOW_MS
    _require(opens, "window", index, f"not_after {not_after} is not within the 24 hours from {time}")
    key = view.key(submission.key)
    if key is None or key.issuer != submission.issuer:
        raise RuleViolation(f"entry {submission.key} adds no key of the issuer", rule="unknown-key", index=index)
    _require(key.live, "key-retired", index, f"the key added by entry {key.index} is retired")
    return key


def _check_roles(key: KeyState, kinds: set[int], index: int) -> None:
    may_issue, may_change = bool(key.roles & ROLE_ISSUE), bool(key.roles & ROLE_STATUS)
    _require(
        may_issue or ISSUE not in kinds, "key-role", index, f"key {key.index} may not issue: it has not the role issue"
    )
    status = f"key {key.index} may not change a status: it has not the role status"
    _require(may_change or kinds <= _ISSUES, "key-role", index, status)


def _check_nonce(submission: Submission, view: View) -> bytes:
    """Of suspend and reinstate, which a replay would find admissible again: the nonce counts until its not_after."""
    nonce = submission.issuer + submission.nonce
    fresh = view.nonce_until(nonce) < submission.time
    _require(fresh, "nonce", view.size, "an earlier submission has this nonce, and its not_after is yet to pass")
    return nonce


def _check_signed(block: Block, key: KeyState, view: View) -> None:
    """That the live key signed these events: the root ties them to what is signed."""
    try:
        block.check_events_root()
        if block.verified_key != key.public_key or block.verified_origin != view.origin:
            block.verify_signature(view.origin, key.public_key)
    except RuleViolation as error:
        raise RuleViolation(error.detail, rule=error.rule, index=view.size) from error
    except SignatureInvalid as error:
        raise RuleViolation(f"it is not signed by key {key.index}", rule="signature", index=view.size) from error


def _fresh(block: Block, view: View) -> Effects | None:
    """The effects of a block of issues; None unless its slots are distinct, in the issuer's own lists, and unissued."""
    fresh = set(block.slots)
    if len(fresh) != block.count:
        return None
    lists = {slot >> 17 for slot in block.slots}
    issuer = block.submission.issuer
    if any(view.owner(number) != issuer for number in lists) or view.clashes(block.slots, lists):
        return None
    return Effects(fresh, lists, {})


def _one_by_one(block: Block, view: View) -> Effects:
    issuer = block.submission.issuer
    foreign: set[int] = set()
    if block.foreign_issuer is not None:
        foreign = {k for k, entry in enumerate(block.entries()) if entry[2:34] != issuer}
    own: dict[int, bool] = {}
    issued: set[int] = set()
    chunks: dict[int, bytearray] = {}
    revoked = suspended = 0
    failures: list[tuple[int, str]] = []
    for k, (kind, slot) in enumerate(zip(block.kinds, block.slots, strict=True)):
        number = slot >> 17
        mine = own.get(number)
        if mine is None:
            mine = own[number] = view.owner(number) == issuer
        rule = ""
        if k in foreign:
            rule = "foreign-issuer"
        elif not mine:
            rule = "not-owner"
        elif kind == ISSUE:
            if slot in issued or view.is_issued(slot):
                rule = "slot-issued"
            else:
                issued.add(slot)
        elif slot not in issued and not view.is_issued(slot):
            rule = "illegal-transition"
        else:
            chunk = chunks.get(slot >> 8)
            if chunk is None:
                chunk = chunks[slot >> 8] = bytearray(view.chunk(slot >> 8))
            offset, mask = bit(slot)
            is_suspended = chunk[HALF_BYTES + offset] & mask
            # Revoked is final; suspend needs an unsuspended slot, reinstate a suspended one, revoke takes either.
            if chunk[offset] & mask or (kind != REVOKE and bool(is_suspended) != (kind == REINSTATE)):
                rule = "illegal-transition"
            elif kind == REVOKE:
                chunk[offset] |= mask
                revoked += 1
                if is_suspended:
                    chunk[HALF_BYTES + offset] ^= mask
                    suspended -= 1
            else:
                chunk[HALF_BYTES + offset] ^= mask
                suspended += -1 if is_suspended else 1
        if rule:
            failures.append((k, rule))
            if len(failures) == MAX_POSITIONS:
                break
    if failures:
        _refuse(block, view.size, failures)
    after = {number: bytes(chunk) for number, chunk in chunks.items()}
    return Effects(issued, {slot >> 17 for slot in issued}, after, revoked, suspended)


_DETAILS = {
    "foreign-issuer": "it carries another issuer than the submission",
    "not-owner": "the slot's list is not the issuer's",
    "slot-issued": "the slot is issued already",
    "illegal-transition": "the slot's state does not admit it",
}


def _refuse(block: Block, index: int, failures: list[tuple[int, str]]) -> NoReturn:
    k, rule = failures[0]
    more = f", and {len(failures) - 1} more fail" if len(failures) > 1 else ""
    raise RuleViolation(
        f"event {k} ({TYPE_NAMES[block.kinds[k]]} slot {block.slots[k]}): {_DETAILS[rule]}{more}",
        rule=rule,
        index=index + 1 + k,
        positions=[position for position, _ in failures],
        rules=[name for _, name in failures],
    )
