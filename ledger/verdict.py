"""What a badge and its receipt come to, in words for people (docs/protocol.md, "Verdicts").

    result        revoked      for good, however old the proof
                  expired      by the badge's own date
                  stale        proven once, but the head is older than was asked for
                  suspended    as of the head; may be lifted
                  not_proven   no proof, or one that does not hold, or a badge that contradicts its entry
                  valid        none of these; with a `qualifier` if something that *valid* promises is missing

Three statements, kept apart: the badge is *authentic* (its own signature), it was *issued* by the same issuer
(permanent), and its *status as of* a moment (it ages). What is plain valid needs somebody other than the ledger's
operator to speak for the issuer: the badge's own signature, or a key that the issuer's identifier itself binds
(self-certifying, published). Otherwise the badge is anchored, and the qualifier says by whose word. Status lists of
somebody else that the badge names count as well: revoked by either is revoked, and one that was not asked is said.

This module checks no signature inside a badge and asks no list: the caller says what it found (`ledger.authenticity`).
It makes no network request and reads no clock. Exit codes and colours are the command line's.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from ledger import verdict_findings as findings
from ledger.authenticity.model import Authenticity, ListFinding, OwnSignature
from ledger.badges import Badge, commitment, strip_personal
from ledger.entry import (
    BINDING_PUBLISHED,
    BINDING_SELF_CERTIFYING,
    BINDING_VOUCHED,
    issuer_id,
)
from ledger.errors import InputError, LedgerError, MalformedEntry, NotIssued, Stale, VerificationError
from ledger.policy import Policy
from ledger.receipt import Receipt
from ledger.text import printable
from ledger.verdict_findings import Finding, HostedState, IssuerBy, Lists, Result, format_ms
from ledger.verify import Proven, verify_receipt

BINDINGS: Final = {
    BINDING_SELF_CERTIFYING: "self-certifying",
    BINDING_PUBLISHED: "published",
    BINDING_VOUCHED: "vouched",
}
NOT_SHOWN: Final = "not shown"
_NOT_ASKED: Final = "whoever asked for this verdict did not check it"
_NO_SIGNATURE: Final = Authenticity("none")
_TIES: Final = {"host": ", by the host of the badge", "signature": ", by the badge's signature"}
_BADGE_LINES: Final = {
    "none": "no signature of its own",
    "not-checked": "its own signature was not checked",
    "self-asserted": "its own signature holds under a key that only the badge ties to its issuer",
    "verified": "its own signature verifies",
    "invalid": "its own signature does not verify",
}


class ListAnswer(msgspec.Struct, frozen=True):
    """A status list of somebody else: its address, the badge's index in it as the badge writes it, and what it said.

    `set` means what the purpose says. `unknown`: it was asked and gave no answer that counts.
    """

    address: str
    index: str
    purpose: str
    state: Literal["clear", "set", "unknown", "not-asked"]


class Then(msgspec.Struct, frozen=True):
    """What a dated receipt comes to at its moment `at_ms` (`ledger.verdict_dated`); result, reasons and qualifier as of
    a verdict. asked: whether it is this moment that was asked about, and not the present.

    state: the slot's under the head that was the newest then, of `head_size` entries and `head_time_ms`; the next one
    came at `until_ms`. All four are None where nothing is proven of the past.
    """

    at_ms: int
    asked: bool
    result: Result
    reasons: tuple[str, ...] = ()
    qualifier: str | None = None
    state: Literal["unissued", "active", "suspended", "revoked"] | None = None
    head_size: int | None = None
    head_time_ms: int | None = None
    until_ms: int | None = None


class Verdict(msgspec.Struct, frozen=True):
    """The verdict on a badge. Where nothing is proven, what speaks of the receipt is None or empty.

    reasons: why the result is not valid, strongest first. qualifier: what is missing from a plain valid. notes: what
    else the reader should know. own_signature, signature_*: what was found out about the signature in the badge: suite
    or algorithm, verification method, why it is not `verified`. lists: the status lists of others that the badge
    names. hosted: what the address of a hosted badge answered, if it was asked.

    issued_at_ms: the ledger's time of the submission (full receipt); issued_before_ms: the head's, where that is all
    that is known (short). status_as_of_s: the moment that `state` is proven for; status_by: `witnesses`, or `log` under
    `quorum none`. issuer: SHA-256 of the identifier, hex. issuer_by: what ties the badge to that issuer, the identifier
    in it, its signature or its host. slot_named: a status entry in the badge is the entry's slot. binding: of the
    issuer's first key, or "not shown". audited_by: auditors with a fresh cosignature; none means unaudited. then: what
    a dated receipt says of its moment; everything else is of the present.
    """

    result: Result
    reasons: tuple[str, ...] = ()
    qualifier: str | None = None
    notes: tuple[str, ...] = ()
    own_signature: OwnSignature = "none"
    signature_scheme: str | None = None
    signature_key: str | None = None
    signature_reason: str | None = None
    lists: tuple[ListAnswer, ...] = ()
    hosted: HostedState | None = None
    profile: Literal["short", "full"] | None = None
    origin: str | None = None
    tree_size: int | None = None
    index: int | None = None
    slot: int | None = None
    slot_named: bool | None = None
    issued_at_ms: int | None = None
    issued_before_ms: int | None = None
    state: Literal["active", "suspended", "revoked"] | None = None
    status_as_of_s: int | None = None
    status_by: Literal["witnesses", "log"] | None = None
    issuer: str | None = None
    identifier: str | None = None
    issuer_by: IssuerBy | None = None
    binding: str = NOT_SHOWN
    audited_by: tuple[str, ...] = ()
    error: str | None = None
    then: Then | None = None

    @property
    def answer(self) -> Verdict | Then:
        """What was asked about: the present, or a moment of the past."""
        return self.then if self.then is not None and self.then.asked else self

    @property
    def is_plain_valid(self) -> bool:
        """Valid without a qualifier, at the time that was asked about."""
        return self.answer.result == "valid" and self.answer.qualifier is None

    @property
    def headline(self) -> str:
        """The result that was asked for, in capitals, and its date if that is past: "VALID on 2026-05-03 ..."."""
        return _headline(self.answer)

    def to_json(self) -> dict[str, Any]:
        """The verdict as a JSON object; members without a value are left out, `audited` says what a list cannot."""
        document = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        document["reasons"], document["notes"] = list(self.reasons), list(self.notes)
        document["audited_by"] = list(self.audited_by)
        document["audited"] = bool(self.audited_by)
        document["lists"] = [msgspec.structs.asdict(answer) for answer in self.lists]
        if self.then is not None:
            then = msgspec.structs.asdict(self.then)
            document["then"] = {name: value for name, value in then.items() if value is not None}
            document["then"]["reasons"] = list(self.then.reasons)
        return document

    def lines(self) -> list[str]:
        """The verdict for a terminal, one statement a line; whatever cannot be printed is an escape."""
        lines = [_qualified(self.answer)]
        lines += [f"  {reason}" for reason in self.answer.reasons]
        if self.then is not None:
            lines += self._other_lines(self.then)
        if self.state is not None:
            lines += self._proven_lines(self.state)
        details = [text for text in (self.signature_scheme, _shown_key(self.signature_key)) if text is not None]
        lines.append(f"badge    {_BADGE_LINES[self.own_signature]}" + (f" ({', '.join(details)})" if details else ""))
        for answer in self.lists:
            said = f"{answer.state.replace('-', ' ')}, {answer.address}, number {answer.index}"
            lines.append(f"list     {answer.purpose} {said}")
        lines += [f"note     {note}" for note in self.notes]
        return [printable(line) for line in lines]

    def _other_lines(self, then: Then) -> list[str]:
        """Of present and past, the one that was not asked about; and by which heads the past is known."""
        other: Verdict | Then = self if then.asked else then
        lines = [f"{'now' if then.asked else 'then':8} {_qualified(other)}"]
        lines += [f"         {reason}" for reason in other.reasons]
        if then.state is not None:
            status = (
                "not revoked"
                if then.state == "active"
                else "not yet issued"
                if then.state == "unissued"
                else then.state
            )
            heads = f"in the head of {format_ms(then.head_time_ms or 0)}, until {format_ms(then.until_ms or 0)}"
            lines.append(f"past     {status} {heads}, by the ledger's time")
        return lines

    def _proven_lines(self, state: str) -> list[str]:
        lines = []
        if self.issued_at_ms is not None:
            lines.append(f"issued   {format_ms(self.issued_at_ms)}, by the ledger's time")
        elif self.issued_before_ms is not None:
            lines.append(f"issued   before {format_ms(self.issued_before_ms)}, by the ledger's time")
        status = "not revoked" if state == "active" else state
        audit = f"audited by {', '.join(self.audited_by)}" if self.audited_by else "unaudited"
        by = "" if self.status_by == "witnesses" else " by the log's own word"
        lines.append(f"status   {status} as of {format_ms((self.status_as_of_s or 0) * 1000)}{by}, {audit}")
        tie = _TIES.get(self.issuer_by or "", "")
        lines.append(f"issuer   {self.identifier or f'SHA-256 {self.issuer}'}{tie}")
        lines.append(f"binding  {self.binding}")
        named = ", as the badge says" if self.slot_named else ""
        lines.append(f"log      {self.origin}, entry {self.index} of {self.tree_size}, slot {self.slot}{named}")
        return lines


def decide(
    badge: Badge,
    receipt: Receipt,
    policy: Policy,
    now_s: int,
    max_age_s: int | None = None,
    salt: bytes | None = None,
    *,
    authenticity: Authenticity | None = None,
    lists: tuple[ListFinding, ...] = (),
    hosted: HostedState | None = None,
    status_base: str | None = None,
) -> Verdict:
    """The verdict on `badge` by this receipt, at `now_s` (seconds), for a head at most `max_age_s` old.

    `salt` (32 bytes) where the receipt carries none. `authenticity`: what the caller found out about the badge's own
    signature, by default that a signed badge was not checked. `lists`: what status lists of others said; one that the
    badge names and that is not among them was not asked. `hosted`: what the address of a hosted badge answered, None
    where it was not asked. `status_base`: address of the ledger's W3C status lists
    without scheme, by default `<origin>/status/`. Raises MalformedPolicy for a policy that two disjoint quorums can
    satisfy, and nothing else: whatever is wrong with badge or receipt is a verdict.
    """
    policy.quorums_intersect()
    if authenticity is None:
        authenticity = unchecked(badge)
    base = f"{receipt.origin}/status/" if status_base is None else status_base
    entries = findings.sort_entries(badge, base, lists)
    found = findings.of_badge(badge, authenticity, entries, hosted, now_s * 1000)
    notes = findings.notes_on_badge(badge, authenticity, entries, hosted)
    verdict = Verdict(
        result="valid",
        own_signature=authenticity.signature,
        signature_scheme=authenticity.scheme,
        signature_key=authenticity.key,
        signature_reason=authenticity.reason,
        lists=_answers(entries),
        hosted=hosted,
        profile="full" if receipt.full else "short",
    )
    try:
        proven, stale = prove(badge, receipt, policy, now_s, max_age_s, salt if salt is not None else receipt.salt)
    except (VerificationError, InputError) as error:
        found.append(Finding(findings.UNPROVEN, error.detail))
        return _closed(verdict, found, notes, error)
    found += findings.of_proof(badge, proven, authenticity, entries, base)
    if stale is not None:
        found.append(Finding(findings.STALE, f"the proof is too old: {stale.detail}"))
    submission = proven.submission
    verdict = msgspec.structs.replace(
        verdict,
        qualifier=None if found else findings.qualifier(badge, proven, authenticity, entries),
        origin=receipt.origin,
        tree_size=receipt.tree_size,
        index=receipt.index,
        slot=proven.issue.slot,
        slot_named=findings.names_slot(entries, proven, base) or None,
        issued_at_ms=submission.time if submission is not None else None,
        issued_before_ms=None if receipt.full else proven.status_root.time,
        state=proven.state,
        status_as_of_s=proven.head_time_s,
        status_by="log" if proven.own_time else "witnesses",
        issuer=proven.issue.issuer.hex(),
        identifier=proven.identifier,
        issuer_by=findings.issuer_by(badge, proven, authenticity),
        binding=NOT_SHOWN if proven.binding is None else BINDINGS[proven.binding],
        audited_by=proven.evaluation.audited_by,
    )
    return _closed(verdict, found, notes + findings.notes_on_proof(badge, proven, max_age_s), stale)


def _closed(verdict: Verdict, found: list[Finding], notes: list[str], error: LedgerError | None) -> Verdict:
    """The verdict with its result: that of the first finding in their order."""
    found = sorted(found, key=lambda finding: finding.weight.order)
    return msgspec.structs.replace(
        verdict,
        result=found[0].weight.result if found else "valid",
        reasons=tuple(finding.sentence for finding in found),
        notes=tuple(notes),
        error=error.slug if error is not None else None,
    )


def _answers(lists: Lists) -> tuple[ListAnswer, ...]:
    return tuple(
        ListAnswer(
            strip_personal(entry.status_list_credential),
            str(entry.status_list_index),
            entry.status_purpose,
            "not-asked" if finding is None else finding.state,
        )
        for entry, finding in lists.others
    )


def _headline(answer: Verdict | Then) -> str:
    words = answer.result.replace("_", " ").upper()
    return f"{words} on {format_ms(answer.at_ms)}" if isinstance(answer, Then) else words


def _qualified(answer: Verdict | Then) -> str:
    return _headline(answer) if answer.qualifier is None else f"{_headline(answer)}: {answer.qualifier}"


def _shown_key(name: str | None) -> str | None:
    """The name of a key for people; that of a did:key says the same twice, did:key:X#X."""
    whole, _, fragment = (name or "").partition("#")
    return whole if fragment and whole == f"did:key:{fragment}" else name


def unchecked(badge: Badge) -> Authenticity:
    """What is known of the badge's own signature if nobody looked at it."""
    return Authenticity("not-checked", reason=_NOT_ASKED) if badge.signed else _NO_SIGNATURE


def prove(
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
