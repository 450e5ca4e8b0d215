"""The verdict of a dated receipt: on the present, as of any receipt, and on its moment (docs/protocol.md, "Verdicts").

    Verdict              of the present: what `decide` makes of the receipt in the dated one
      .then              of the moment: the same findings, with the status then and the badge's own dates at that time
         .asked          whether the verifier asked about that moment; only then it is the answer

A holder chooses which file to show, and a badge that is revoked now was valid once. So a dated receipt answers for its
moment only where the verifier has asked for one; else the present decides, and the past is told beside it.

What else speaks of a badge has no past. Its own signature counts as it is found now. What a status list of somebody
else, or the address of a hosted badge, says now does not tell since when: set there, the past is not proven; clear
there, it is qualified. The age of the head does not matter to the past: nothing that comes later changes it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger import verdict_findings as findings
from ledger.authenticity.model import Authenticity, ListFinding
from ledger.badges import Badge
from ledger.dated import DatedReceipt, ProvenPast, verify_past
from ledger.errors import InputError, VerificationError
from ledger.policy import Policy
from ledger.receipt import Receipt
from ledger.verdict import Then, Verdict, decide, prove, unchecked
from ledger.verdict_findings import Finding, HostedState, Lists, format_ms
from ledger.verify import Proven

LISTS_NO_PAST: Final = "status lists of others do not tell the past"
_PURPOSES: Final = ("revocation", "suspension")
_SINCE_WHEN: Final = "it says so now, and not since when"


def decide_dated(
    badge: Badge,
    dated: DatedReceipt,
    policy: Policy,
    now_s: int,
    max_age_s: int | None = None,
    salt: bytes | None = None,
    *,
    asked_ms: int | None = None,
    authenticity: Authenticity | None = None,
    lists: tuple[ListFinding, ...] = (),
    hosted: HostedState | None = None,
    status_base: str | None = None,
) -> Verdict:
    """The verdict by a dated receipt; its `then` is on the moment `asked_ms` (milliseconds since the Unix epoch), or,
    where none was asked for, on the receipt's own. The other parameters, and what is raised, are `decide`'s.

    A receipt of another moment serves as well, if its heads enclose the one that was asked for.
    """
    receipt = dated.receipt
    now = decide(
        badge,
        receipt,
        policy,
        now_s,
        max_age_s,
        salt,
        authenticity=authenticity,
        lists=lists,
        hosted=hosted,
        status_base=status_base,
    )
    own = unchecked(badge) if authenticity is None else authenticity
    at_ms = dated.at_ms if asked_ms is None else asked_ms
    then = Then(at_ms, asked_ms is not None, "not_proven")
    try:
        proven, _ = prove(badge, receipt, policy, now_s, None, salt if salt is not None else receipt.salt)
        past = verify_past(msgspec.structs.replace(dated, at_ms=at_ms), proven)
    except (VerificationError, InputError) as error:
        then = msgspec.structs.replace(then, reasons=(error.detail,))
        return _refused(now, then, error.slug)
    base = f"{receipt.origin}/status/" if status_base is None else status_base
    return msgspec.structs.replace(now, then=_judge(badge, own, proven, past, receipt, lists, hosted, base, then))


def _refused(now: Verdict, then: Then, error: str) -> Verdict:
    """A past that does not hold makes the whole document worthless, except that a revocation stays one."""
    if now.result == "revoked" or now.error is not None or then.asked:
        return msgspec.structs.replace(now, then=then)
    return msgspec.structs.replace(
        now, result="not_proven", qualifier=None, reasons=(*then.reasons, *now.reasons), error=error, then=then
    )


def _judge(
    badge: Badge,
    own: Authenticity,
    proven: Proven,
    past: ProvenPast,
    receipt: Receipt,
    lists: tuple[ListFinding, ...],
    hosted: HostedState | None,
    base: str,
    then: Then,
) -> Then:
    entries = _without_past(findings.sort_entries(badge, base, lists))
    found = findings.of_badge(badge, own, entries, None, past.at_ms)
    if hosted == "revoked":
        sentence = f"revoked now, by what the badge's own address answers: {_SINCE_WHEN}"
        found.append(Finding(findings.UNKNOWN, sentence))
    found += findings.of_entry(badge, proven, own, entries, base)
    if past.state == "unissued":
        sentence = (
            f"not yet issued: its entry {receipt.index} is behind the head of that moment, of {past.size} entries"
        )
        found.append(Finding(findings.UNPROVEN, sentence))
    elif past.state == "revoked":
        found.append(Finding(findings.REVOKED, f"revoked, on {format_ms(past.at_ms)}"))
    elif past.state == "suspended":
        found.append(Finding(findings.SUSPENDED, f"suspended, on {format_ms(past.at_ms)}"))
    found.sort(key=lambda finding: finding.weight.order)
    missing = [findings.qualifier(badge, proven, own, entries)]
    if any(answer is not None for _, answer in entries.others):
        missing.append(LISTS_NO_PAST)
    qualifier = "; ".join(part for part in missing if part is not None) or None
    return msgspec.structs.replace(
        then,
        result=found[0].weight.result if found else "valid",
        reasons=tuple(finding.sentence for finding in found),
        qualifier=None if found else qualifier,
        state=past.state,
        head_size=past.size,
        head_time_ms=past.status_root.time,
        until_ms=past.until_ms,
    )


def _without_past(lists: Lists) -> Lists:
    """The same with what is set now as not known then."""
    others = tuple(
        (
            entry,
            ListFinding(finding.entry, "unknown", _SINCE_WHEN)
            if finding is not None and finding.state == "set" and entry.status_purpose in _PURPOSES
            else finding,
        )
        for entry, finding in lists.others
    )
    return Lists(lists.own, others)
