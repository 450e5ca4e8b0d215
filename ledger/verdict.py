"""What a badge and its receipt come to, in words for people (docs/protocol.md, "Verdicts").

    result        revoked      for good, however old the proof
                  expired      by the badge's own date
                  stale        proven once, but the head is older than was asked for
                  suspended    as of the head; may be lifted
                  not_proven   no proof, or one that does not hold, or a badge that contradicts its entry
                  valid        none of these; with a `qualifier` if something that *valid* promises is missing

Two statements, kept apart: *issued* (permanent) and *status as of* (it ages). What is plain valid needs somebody other
than the ledger's operator to speak for the issuer: the badge's own signature, or a key that the issuer's identifier
itself binds (self-certifying, published). Otherwise the badge is anchored, and the qualifier says by whose word.

This module checks no signature inside a badge: the caller says what it found (`own_signature`). It makes no network
request and reads no clock. Exit codes and colours are the command line's.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from ledger.badges import Badge, commitment
from ledger.entry import (
    BINDING_PUBLISHED,
    BINDING_SELF_CERTIFYING,
    BINDING_VOUCHED,
    issuer_id,
)
from ledger.errors import InputError, LedgerError, MalformedEntry, NotIssued, Stale, VerificationError
from ledger.policy import Policy
from ledger.receipt import Receipt
from ledger.status import index_in_list, list_of
from ledger.verify import Proven, verify_receipt

Result = Literal["valid", "revoked", "suspended", "expired", "stale", "not_proven"]
#: What the caller found when it checked the signature inside the badge.
OwnSignature = Literal["none", "not-checked", "verified", "invalid"]

BINDINGS: Final = {
    BINDING_SELF_CERTIFYING: "self-certifying",
    BINDING_PUBLISHED: "published",
    BINDING_VOUCHED: "vouched",
}
NOT_SHOWN: Final = "not shown"

ANCHORED_VOUCHED: Final = "anchored, vouched by the operator"
ANCHORED_AUDITED: Final = "anchored, audited"
ANCHORED_WORD: Final = "anchored by the operator's word"
ANCHORED_UNNAMED: Final = "anchored, the badge does not name its issuer"

#: The strongest first: of several findings, the first in this order is the result.
_ORDER: Final[tuple[Result, ...]] = ("not_proven", "revoked", "expired", "stale", "suspended")
_LIST_ADDRESS: Final = re.compile(r"(0|[1-9][0-9]{0,18})(?:/(revocation|suspension))?")


class Verdict(msgspec.Struct, frozen=True):
    """The verdict on a badge. Every member but `result`, `reasons` and `notes` is None or empty if nothing is proven.

    reasons: why the result is not valid, strongest first. qualifier: what is missing from a plain valid. notes: what
    else the reader should know. issued_at_ms: the ledger's time of the submission (full receipt); issued_before_ms:
    the head's, where that is all that is known (short). status_as_of_s: the moment that `state` is proven for;
    status_by: `witnesses`, or `log` under `quorum none`. issuer: SHA-256 of the identifier, hex. binding: of the
    issuer's first key, or "not shown". audited_by: auditors with a fresh cosignature; none means unaudited.
    """

    result: Result
    reasons: tuple[str, ...] = ()
    qualifier: str | None = None
    notes: tuple[str, ...] = ()
    profile: Literal["short", "full"] | None = None
    origin: str | None = None
    tree_size: int | None = None
    index: int | None = None
    slot: int | None = None
    issued_at_ms: int | None = None
    issued_before_ms: int | None = None
    state: Literal["active", "suspended", "revoked"] | None = None
    status_as_of_s: int | None = None
    status_by: Literal["witnesses", "log"] | None = None
    issuer: str | None = None
    identifier: str | None = None
    binding: str = NOT_SHOWN
    audited_by: tuple[str, ...] = ()
    error: str | None = None

    @property
    def is_plain_valid(self) -> bool:
        """Valid without a qualifier."""
        return self.result == "valid" and self.qualifier is None

    def to_json(self) -> dict[str, Any]:
        """The verdict as a JSON object; members without a value are left out, `audited` says what a list cannot."""
        document = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        document["reasons"], document["notes"] = list(self.reasons), list(self.notes)
        document["audited_by"] = list(self.audited_by)
        document["audited"] = bool(self.audited_by)
        return document

    def lines(self) -> list[str]:
        """The verdict for a terminal, one statement a line, without control characters."""
        head = self.result.replace("_", " ").upper()
        lines = [head if self.qualifier is None else f"{head}: {self.qualifier}"]
        lines += [f"  {reason}" for reason in self.reasons]
        if self.state is not None:
            if self.issued_at_ms is not None:
                lines.append(f"issued   {format_ms(self.issued_at_ms)}, by the ledger's time")
            elif self.issued_before_ms is not None:
                lines.append(f"issued   before {format_ms(self.issued_before_ms)}, by the ledger's time")
            state = "not revoked" if self.state == "active" else self.state
            audit = f"audited by {', '.join(self.audited_by)}" if self.audited_by else "unaudited"
            by = "" if self.status_by == "witnesses" else " by the log's own word"
            lines.append(f"status   {state} as of {format_ms((self.status_as_of_s or 0) * 1000)}{by}, {audit}")
            lines.append(f"issuer   {self.identifier or f'SHA-256 {self.issuer}'}")
            lines.append(f"binding  {self.binding}")
            lines.append(f"log      {self.origin}, entry {self.index} of {self.tree_size}, slot {self.slot}")
        lines += [f"note     {note}" for note in self.notes]
        return lines


def decide(
    badge: Badge,
    receipt: Receipt,
    policy: Policy,
    now_s: int,
    max_age_s: int | None = None,
    salt: bytes | None = None,
    *,
    own_signature: OwnSignature | None = None,
    status_base: str | None = None,
) -> Verdict:
    """The verdict on `badge` by this receipt, at `now_s` (seconds), for a head at most `max_age_s` old.

    `salt` (32 bytes) where the receipt carries none; `own_signature`: what the caller found, by default that a signed
    badge was not checked; `status_base`: address of the ledger's W3C status lists without scheme, by default
    `<origin>/status/`. Raises MalformedPolicy for a policy that two disjoint quorums can satisfy, and nothing else:
    whatever is wrong with badge or receipt is a verdict.
    """
    policy.quorums_intersect()
    if own_signature is None:
        own_signature = "not-checked" if badge.signed else "none"
    try:
        proven, stale = _prove(badge, receipt, policy, now_s, max_age_s, salt if salt is not None else receipt.salt)
    except (VerificationError, InputError) as error:
        return _not_proven(error, receipt)
    findings = _findings(badge, receipt, proven, now_s, own_signature, status_base)
    if stale is not None:
        findings.append(("stale", f"the proof is too old: {stale.detail}"))
    findings.sort(key=lambda finding: _ORDER.index(finding[0]))
    result: Result = findings[0][0] if findings else "valid"
    full = receipt.full
    submission = proven.submission
    return Verdict(
        result=result,
        reasons=tuple(sentence for _, sentence in findings),
        qualifier=_qualifier(badge, proven, own_signature) if result == "valid" else None,
        notes=tuple(_notes(proven, own_signature, max_age_s)),
        profile="full" if full else "short",
        origin=receipt.origin,
        tree_size=receipt.tree_size,
        index=receipt.index,
        slot=proven.issue.slot,
        issued_at_ms=submission.time if submission is not None else None,
        issued_before_ms=None if full else proven.status_root.time,
        state=proven.state,
        status_as_of_s=proven.head_time_s,
        status_by="log" if proven.own_time else "witnesses",
        issuer=proven.issue.issuer.hex(),
        identifier=proven.identifier,
        binding=NOT_SHOWN if proven.binding is None else BINDINGS[proven.binding],
        audited_by=proven.evaluation.audited_by,
        error=stale.slug if stale is not None else None,
    )


def format_ms(time_ms: int) -> str:
    """Milliseconds since the Unix epoch as `2026-05-03 10:11:12 UTC`; the bare number past the year 9999."""
    try:
        return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"


def _prove(
    badge: Badge, receipt: Receipt, policy: Policy, now_s: int, max_age_s: int | None, salt: bytes | None
) -> tuple[Proven, Stale | None]:
    """What the receipt proves of the badge; with the objection if that holds for an old head only."""
    if salt is not None and len(salt) != 32:
        raise NotIssued(f"a salt has 32 bytes, not {len(salt)}")
    expected = commitment(badge, salt)
    issuer: bytes | None = None
    if badge.issuer is not None:
        try:
            issuer = issuer_id(badge.issuer)
        except MalformedEntry as error:
            raise NotIssued(f"no log can hold the issuer that the badge names: {error.detail}") from error
    stale: Stale | None = None
    try:
        proven = verify_receipt(
            receipt, policy=policy, now_s=now_s, max_age_s=max_age_s, commitment=expected, issuer=issuer
        )
    except Stale as error:
        # Issuance and revocation are for good, so an old proof still tells them.
        stale = error
        proven = verify_receipt(receipt, policy=policy, now_s=now_s, commitment=expected, issuer=issuer)
    return proven, stale


def _not_proven(error: LedgerError, receipt: Receipt) -> Verdict:
    return Verdict(
        result="not_proven", reasons=(error.detail,), profile="full" if receipt.full else "short", error=error.slug
    )


def _findings(
    badge: Badge, receipt: Receipt, proven: Proven, now_s: int, own_signature: OwnSignature, status_base: str | None
) -> list[tuple[Result, str]]:
    found: list[tuple[Result, str]] = []
    if own_signature == "invalid":
        found.append(("not_proven", "the badge's own signature does not verify"))
    base = f"{receipt.origin}/status/" if status_base is None else status_base
    if not _slot_agrees(badge, proven.issue.slot, base):
        found.append(("not_proven", "the badge names another place in the status lists than its log entry"))
    as_of = format_ms(proven.head_time_s * 1000)
    if proven.state == "revoked":
        found.append(("revoked", f"revoked, as of {as_of}"))
    if badge.valid_until is not None and badge.valid_until < now_s * 1000:
        found.append(("expired", f"expired on {format_ms(badge.valid_until)}, by the badge's own date"))
    if proven.state == "suspended":
        found.append(("suspended", f"suspended, as of {as_of}"))
    if badge.valid_from is not None and badge.valid_from > now_s * 1000:
        found.append(("not_proven", f"not valid before {format_ms(badge.valid_from)}, by the badge's own date"))
    return found


def _slot_agrees(badge: Badge, slot: int, base: str) -> bool:
    """Whether every status entry of the badge in this ledger's lists is the slot of its log entry."""
    for entry in badge.status:
        address = entry.status_list_credential.partition("://")[2]
        if not address.startswith(base):
            continue
        match = _LIST_ADDRESS.fullmatch(address[len(base) :])
        if match is None or match[2] not in (None, entry.status_purpose):
            return False
        if (int(match[1]), entry.status_list_index) != (list_of(slot), index_in_list(slot)):
            return False
    return True


def _qualifier(badge: Badge, proven: Proven, own_signature: OwnSignature) -> str | None:
    """What keeps a valid badge from being plain valid, None if nothing does."""
    if own_signature != "verified":
        if proven.binding is None:
            return ANCHORED_AUDITED if proven.evaluation.audited_by else ANCHORED_WORD
        if proven.binding == BINDING_VOUCHED:
            return ANCHORED_VOUCHED
    return None if badge.issuer is not None else ANCHORED_UNNAMED


def _notes(proven: Proven, own_signature: OwnSignature, max_age_s: int | None) -> list[str]:
    notes = []
    if own_signature == "not-checked":
        notes.append("the badge's own signature was not checked")
    if proven.binding is None:
        notes.append("a short receipt shows neither the issuer's signature nor its key, and no time of issuance")
    elif proven.binding == BINDING_VOUCHED:
        notes.append("that the key belongs to this identifier is the word of the ledger's operator")
    if len(proven.keys) > 1:
        notes.append("the issuing key was added by an earlier key of the issuer, and is bound no better than that")
    if not proven.evaluation.audited_by:
        notes.append("no auditor has confirmed this head: that nothing is missing in it is the log's word")
    if proven.own_time:
        notes.append("the policy asks for no witness: the time and the uniqueness of this head are the log's word")
    if max_age_s is None:
        notes.append("no limit was set on the age of the proof")
    notes += [f"a cosignature did not count: {reason}" for reason in proven.evaluation.dropped]
    return notes
