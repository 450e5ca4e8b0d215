"""What speaks for and against a badge (docs/protocol.md, "Verdicts"): findings, ties, qualifier, notes.

    finding        result       when
    contradiction  not_proven   its own signature is wrong, it names another slot, or it is not valid yet
    revoked        revoked      by the ledger, by a status list of somebody else, by the document, or by its address
    unproven       not_proven   the receipt does not hold for it
    expired        expired      by its own date
    stale          stale        the receipt's head is older than was asked for
    unknown        not_proven   a status list of somebody else was asked and gave no answer that counts
    suspended      suspended    by the ledger, or by a status list of somebody else

The first in this order is the result. A badge is tied to the entry's issuer by the identifier in it. Where it has none,
by that to which the key of its own signature is bound, or, a hosted Open Badges 2.0 or 1 badge, by the host that it
lies on, with all that it names: the same that a URL or did:web identifier names.

What this does not do: verify a receipt or a signature, or ask a list. It judges what was found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from ledger.authenticity.model import Authenticity, ListFinding
from ledger.badges import Badge, StatusEntry, canonical_json, nested, strict_json, strip_personal
from ledger.entry import BINDING_VOUCHED, issuer_id
from ledger.errors import MalformedBadge, MalformedEntry
from ledger.status import index_in_list, list_of
from ledger.verify import Proven

Result = Literal["valid", "revoked", "suspended", "expired", "stale", "not_proven"]
#: What the address of a hosted badge answers: this very document; another one; a revocation; that there is nothing; or
#: nothing that could be understood.
HostedState = Literal["same", "changed", "revoked", "gone", "unknown"]
IssuerBy = Literal["identifier", "signature", "host"]

ANCHORED_VOUCHED: Final = "anchored, vouched by the operator"
ANCHORED_AUDITED: Final = "anchored, audited"
ANCHORED_WORD: Final = "anchored by the operator's word"
UNNAMED: Final = "the badge does not name its issuer"
ANCHORED_UNNAMED: Final = f"anchored, {UNNAMED}"
LISTS_NOT_ASKED: Final = "status lists of others were not asked"
OTHER_STATUS: Final = "a status that is not understood"

_LIST_ADDRESS: Final = re.compile(r"(0|[1-9][0-9]{0,18})(?:/(revocation|suspension))?")
#: Host and port, in a URL or, after "did:web:", percent-encoded. No user names, no brackets: nothing with two readings.
_URL_HOST: Final = re.compile(r"https?://([a-z0-9._-]+)(?::([0-9]{1,5}))?(?:[/?#].*)?", re.IGNORECASE | re.ASCII)
_WEB_HOST: Final = re.compile(r"did:web:([a-z0-9._-]+)(?:%3a([0-9]{1,5}))?(?::.*)?", re.IGNORECASE | re.ASCII)
#: What a host may answer as `revoked`, in any case of letters; 1 is True. It is asked for just this, so it counts.
_YES: Final = (True, "true", "1", "yes")

_HOSTED_NOTES: Final[dict[HostedState, str]] = {
    "same": "the badge's own address answers this very document",
    "changed": "the badge's own address answers another document, which does not say that it is revoked",
    "gone": "the badge lies at its address no more: that is no revocation, and its status is what the ledger proves",
    "unknown": "the badge's own address gave no answer that tells anything: its status is what the ledger proves",
}


class Weight(NamedTuple):
    """How a kind of finding counts: its place in the order above and the result that it makes."""

    order: int
    result: Result


CONTRADICTION: Final = Weight(0, "not_proven")
REVOKED: Final = Weight(1, "revoked")
UNPROVEN: Final = Weight(2, "not_proven")
EXPIRED: Final = Weight(3, "expired")
STALE: Final = Weight(4, "stale")
UNKNOWN: Final = Weight(5, "not_proven")
SUSPENDED: Final = Weight(6, "suspended")


class Finding(NamedTuple):
    """One thing that speaks against a badge, as a sentence for people."""

    weight: Weight
    sentence: str


class Lists(NamedTuple):
    """The status entries of a badge: those in this ledger's lists, and each of the others with what its list said.

    `others` has None for a list that was not asked.
    """

    own: tuple[StatusEntry, ...]
    others: tuple[tuple[StatusEntry, ListFinding | None], ...]


def format_ms(time_ms: int) -> str:
    """Milliseconds since the Unix epoch as `2026-05-03 10:11:12 UTC`; the bare number past the year 9999."""
    try:
        return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"


def foreign_entries(badge: Badge, base: str) -> tuple[StatusEntry, ...]:
    """The badge's entries in status lists of somebody else. `base`: where this ledger's are, without scheme."""
    return tuple(entry for entry in badge.status if _path_in(entry, base) is None)


def sort_entries(badge: Badge, base: str, findings: Sequence[ListFinding]) -> Lists:
    """The badge's status entries, each of the others with its finding."""
    found = {finding.entry: finding for finding in findings}
    others = foreign_entries(badge, base)
    own = tuple(entry for entry in badge.status if entry not in others)
    return Lists(own, tuple((entry, found.get(entry)) for entry in others))


def judge_hosted(badge: Badge, status: int, body: bytes) -> HostedState:
    """What a hosted badge's own address says of it, by the HTTP status and the body of the answer.

    Open Badges 2.0: 410 and a document with `revoked: true` mean revoked. (Moodle answers 410 for badges that it never
    issued, too: that this one was issued is what the ledger proves.) 404 is no revocation: the host has let it go.
    """
    if status == 410:
        return "revoked"
    if status == 404:
        return "gone"
    if status != 200:
        return "unknown"
    try:
        document = strict_json(body)
        revoked = document.get("revoked")
        if (revoked.lower() if isinstance(revoked, str) else revoked) in _YES:
            return "revoked"
        if revoked not in (None, False):
            return "unknown"
        return "same" if canonical_json(document) == badge.canonical else "changed"
    except MalformedBadge:
        return "unknown"


def of_badge(
    badge: Badge, authenticity: Authenticity, lists: Lists, hosted: HostedState | None, now_ms: int
) -> list[Finding]:
    """What speaks against the badge whatever its receipt proves; `now_ms`: the moment that it is judged for."""
    found: list[Finding] = []
    if authenticity.signature == "invalid":
        found.append(Finding(CONTRADICTION, f"the badge's own signature does not verify: {authenticity.reason}"))
    if badge.valid_from is not None and badge.valid_from > now_ms:
        found.append(Finding(CONTRADICTION, f"not valid before {format_ms(badge.valid_from)}, by the badge's own date"))
    if badge.revoked:
        found.append(Finding(REVOKED, "revoked, by the badge document's own word"))
    if hosted == "revoked":
        found.append(Finding(REVOKED, "revoked, by what the badge's own address answers"))
    if badge.valid_until is not None and badge.valid_until < now_ms:
        found.append(Finding(EXPIRED, f"expired on {format_ms(badge.valid_until)}, by the badge's own date"))
    for entry, finding in lists.others:
        if finding is None or finding.state == "clear":
            continue
        where = f"the status list {strip_personal(entry.status_list_credential)}"
        if finding.state == "unknown":
            found.append(Finding(UNKNOWN, f"{entry.status_purpose} is not known: {where}: {finding.reason}"))
        elif entry.status_purpose == "revocation":
            found.append(Finding(REVOKED, f"revoked, by {where}"))
        elif entry.status_purpose == "suspension":
            found.append(Finding(SUSPENDED, f"suspended, by {where}"))
    return found


def of_proof(badge: Badge, proven: Proven, authenticity: Authenticity, lists: Lists, base: str) -> list[Finding]:
    """What the receipt proves against the badge."""
    found = of_entry(badge, proven, authenticity, lists, base)
    as_of = format_ms(proven.head_time_s * 1000)
    if proven.state == "revoked":
        found.append(Finding(REVOKED, f"revoked, as of {as_of}"))
    if proven.state == "suspended":
        found.append(Finding(SUSPENDED, f"suspended, as of {as_of}"))
    return found


def of_entry(badge: Badge, proven: Proven, authenticity: Authenticity, lists: Lists, base: str) -> list[Finding]:
    """Where the badge contradicts its entry in the log."""
    found: list[Finding] = []
    signer = _signer(badge, authenticity)
    if signer is not None and not _is_issuer(signer, proven):
        found.append(Finding(CONTRADICTION, "the badge was signed by another issuer than the one that anchored it"))
    if lists.own and not names_slot(lists, proven, base):
        found.append(Finding(CONTRADICTION, "the badge names another place in the status lists than its log entry"))
    return found


def names_slot(lists: Lists, proven: Proven, base: str) -> bool:
    """Whether the badge has entries in this ledger's lists, and every one is the slot of its log entry."""
    return bool(lists.own) and all(_is_slot(entry, proven.issue.slot, base) for entry in lists.own)


def issuer_by(badge: Badge, proven: Proven, authenticity: Authenticity) -> IssuerBy | None:
    """What ties the badge to the issuer of its entry; verification has compared an identifier already."""
    if badge.issuer is not None:
        return "identifier"
    signer = _signer(badge, authenticity)
    if signer is not None and _is_issuer(signer, proven):
        return "signature"
    if badge.hosted_at is not None and not badge.names_elsewhere and proven.identifier is not None:
        return "host" if badge.hosted_at == host_of(proven.identifier) else None
    return None


def _signer(badge: Badge, authenticity: Authenticity) -> str | None:
    """The issuer that the signature names where the badge does not."""
    return authenticity.issuer if badge.issuer is None and authenticity.signature == "verified" else None


def _is_issuer(identifier: str, proven: Proven) -> bool:
    try:
        return issuer_id(identifier) == proven.issue.issuer
    except MalformedEntry:
        return False  # no log can hold it


def host_of(identifier: str) -> str | None:
    """The host, in lower case, and the port, if given, that an issuer's URL or did:web names; None for any other."""
    match = _URL_HOST.fullmatch(identifier) or _WEB_HOST.fullmatch(identifier)
    if match is None:
        return None
    return match[1].lower() if match[2] is None else f"{match[1].lower()}:{int(match[2])}"


def qualifier(badge: Badge, proven: Proven, authenticity: Authenticity, lists: Lists) -> str | None:
    """What keeps a valid badge from being plain valid, None if nothing does: by whose word, then what was not asked."""
    word = _word(proven, authenticity)
    missing = [word]
    if issuer_by(badge, proven, authenticity) is None:
        missing.append(ANCHORED_UNNAMED if word is None else UNNAMED)
    if any(finding is None for _, finding in lists.others):
        missing.append(LISTS_NOT_ASKED)
    if badge.other_status or _set_otherwise(lists):
        missing.append(OTHER_STATUS)
    return "; ".join(part for part in missing if part is not None) or None


def _word(proven: Proven, authenticity: Authenticity) -> str | None:
    if authenticity.signature != "verified":
        if proven.binding is None:
            return ANCHORED_AUDITED if proven.evaluation.audited_by else ANCHORED_WORD
        if proven.binding == BINDING_VOUCHED:
            return ANCHORED_VOUCHED
    return None


def notes_on_badge(badge: Badge, authenticity: Authenticity, lists: Lists, hosted: HostedState | None) -> list[str]:
    """What the reader should know of the badge itself."""
    notes = []
    if authenticity.signature == "not-checked":
        notes.append(f"the badge's own signature was not checked: {authenticity.reason}")
    elif authenticity.signature == "self-asserted":
        notes.append(f"the badge's own signature says nothing of its issuer and counts as none: {authenticity.reason}")
    notes += authenticity.notes
    if hosted is not None and hosted in _HOSTED_NOTES:
        notes.append(_HOSTED_NOTES[hosted])
    not_asked = sum(finding is None for _, finding in lists.others)
    if not_asked:
        notes.append(
            f"the badge names {_count(not_asked, 'entry', 'entries')} in status lists that are not under this ledger's "
            "name, which were not asked: whether it is revoked there is not known"
        )
    notes += [
        f"the badge has a status of the kind {kind}, which is not understood: what it says is not known"
        for kind in badge.other_status
    ]
    notes += [
        f"a status list says {entry.status_purpose} of the badge, which is neither revocation nor suspension"
        for entry in _set_otherwise(lists)
    ]
    return notes + _on_nested(badge)


def notes_on_proof(badge: Badge, proven: Proven, max_age_s: int | None) -> list[str]:
    """What the reader should know of the receipt and its head."""
    notes = []
    if proven.binding is None:
        notes.append("a short receipt shows neither the issuer's signature nor its key, and no time of issuance")
    elif proven.binding == BINDING_VOUCHED:
        notes.append("that the key belongs to this identifier is the word of the ledger's operator")
    if badge.issuer is None and badge.hosted_at is not None and proven.identifier is not None:
        named = host_of(proven.identifier)
        if named is not None and named != badge.hosted_at:
            notes.append(f"the badge lies on {badge.hosted_at}, the issuer that anchored it on {named}")
    if badge.issuer is None and badge.hosted_at is not None and badge.names_elsewhere:
        notes.append(
            "the badge names a class, an issuer or an address that is not on its own host, which ties nobody to it"
        )
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


def _on_nested(badge: Badge) -> list[str]:
    if not badge.kind.startswith("clr2"):
        return []
    try:
        inside = len(nested(badge))
    except MalformedBadge as error:
        return [f"the badges inside the transcript cannot be read: {error.detail}"]
    if not inside:
        return []
    return [
        f"this is a transcript with {_count(inside, 'badge', 'badges')} inside: each has a commitment and a status of "
        "its own, and this verdict is on none of them"
    ]


def _set_otherwise(lists: Lists) -> list[StatusEntry]:
    """Entries whose bit is set for a purpose that is neither revocation nor suspension."""
    return [
        entry
        for entry, finding in lists.others
        if finding is not None and finding.state == "set" and entry.status_purpose not in ("revocation", "suspension")
    ]


def _path_in(entry: StatusEntry, base: str) -> str | None:
    """What follows `base` in the address of the entry's list, None if the list does not lie there."""
    address = entry.status_list_credential.partition("://")[2]
    return address[len(base) :] if address.startswith(base) else None


def _is_slot(entry: StatusEntry, slot: int, base: str) -> bool:
    match = _LIST_ADDRESS.fullmatch(_path_in(entry, base) or "")
    if match is None or match[2] not in (None, entry.status_purpose):
        return False
    return (int(match[1]), entry.status_list_index) == (list_of(slot), index_in_list(slot))


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
