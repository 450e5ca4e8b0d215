"""The finding about a badge's own signature: every proof of it taken together, in one word.

    of several proofs    one that does not hold makes the badge invalid, else one that could not be checked leaves it
                         not-checked, else one whose key is not bound to the issuer makes it self-asserted

So *verified* means that every signature on the badge was checked, holds, and is by the issuer: who adds a proof to a
signed badge cannot raise what it is worth, and can only lower it. Nothing here raises for what is wrong with a badge.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ledger.authenticity.binding import Candidate
from ledger.authenticity.contexts import Contexts
from ledger.authenticity.dataintegrity import Unsecured, check_proof, proofs_of, suite_name
from ledger.authenticity.jwt import check_assertion, check_token
from ledger.authenticity.keys import KeySource
from ledger.authenticity.model import Authenticity, Invalid, NotChecked, OwnSignature, shown
from ledger.badges import FORM_JWS, Badge
from ledger.badges.jws import CompactJws, decode_compact

_ALGORITHM_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,16}")
#: The weakest first: of several findings, the first in this order is the badge's.
_ORDER: Final[tuple[OwnSignature, ...]] = ("invalid", "not-checked", "self-asserted", "verified")


def check(badge: Badge, *, keys: KeySource, contexts: Contexts, now_s: int) -> Authenticity:
    """What the badge's own signature is worth, at `now_s` (seconds). Raises nothing for what a badge may hold."""
    if badge.form == FORM_JWS:
        is_assertion = badge.kind.startswith(("ob1", "ob2"))
        return check_jws(
            decode_compact(badge.canonical), badge.issuer, keys=keys, now_s=now_s, is_assertion=is_assertion
        )
    return check_document(badge.document, badge.issuer, keys=keys, contexts=contexts, now_s=now_s)


def check_document(
    document: dict[str, Any], issuer: str | None, *, keys: KeySource, contexts: Contexts, now_s: int
) -> Authenticity:
    """What the proofs in a JSON document by `issuer` are worth."""
    try:
        proofs = proofs_of(document)
    except Invalid as reason:
        return Authenticity("invalid", reason=str(reason))
    except NotChecked as reason:
        return Authenticity("not-checked", reason=str(reason))
    findings = []
    unsecured = Unsecured(document, contexts)
    for proof in proofs:
        scheme = suite_name(proof)
        try:
            key = check_proof(unsecured, proof, issuer, keys=keys, now_s=now_s)
        except Invalid as reason:
            # Nothing that follows can change the word.
            findings.append(Authenticity("invalid", scheme, reason=str(reason)))
            break
        except NotChecked as reason:
            findings.append(Authenticity("not-checked", scheme, reason=str(reason)))
        else:
            findings.append(_holds(key, scheme, issuer))
    return _joined(findings)


def check_jws(
    jws: CompactJws, issuer: str | None, *, keys: KeySource, now_s: int, is_assertion: bool = False
) -> Authenticity:
    """What a token by `issuer` is worth; `is_assertion`: it is a signed Open Badges 2.0 assertion, not a credential."""
    named = jws.algorithm if _ALGORITHM_NAME.fullmatch(jws.algorithm) else "unknown"
    scheme = f"{'JWS' if is_assertion else 'JWT'} {named}"
    try:
        if is_assertion:
            key, issuer = check_assertion(jws, issuer, keys, now_s)
        else:
            key = check_token(jws, issuer, keys, now_s)
    except Invalid as reason:
        return Authenticity("invalid", scheme, reason=str(reason))
    except NotChecked as reason:
        return Authenticity("not-checked", scheme, reason=str(reason))
    credential = jws.payload.get("vc", jws.payload)
    notes: tuple[str, ...] = ()
    if isinstance(credential, dict) and "proof" in credential:
        notes = ("the proof inside the token was not checked: the token's signature covers it",)
    return _holds(key, scheme, issuer, notes)


def _holds(key: Candidate, scheme: str, issuer: str | None, notes: tuple[str, ...] = ()) -> Authenticity:
    name = shown(key.name).strip("`")
    notes += () if key.note is None else (key.note,)
    if key.lapse is not None:
        reason = f"the signature holds, but the key {key.lapse}: nobody can tell whether it was made before"
        return Authenticity("not-checked", scheme, name, None, reason, notes)
    if key.doubt is not None:
        return Authenticity("self-asserted", scheme, name, None, key.doubt, notes)
    return Authenticity("verified", scheme, name, issuer, None, notes)


def _joined(findings: list[Authenticity]) -> Authenticity:
    """The finding about a document with these proofs."""
    if not findings:
        return Authenticity("none")
    if len(findings) == 1:
        return findings[0]
    worst = min(findings, key=lambda finding: _ORDER.index(finding.signature))
    notes = [note for finding in findings for note in finding.notes]
    if worst.signature != "verified":
        notes += [f"one of its proofs ({finding.scheme}) is {finding.signature}" for finding in findings]
    return Authenticity(
        worst.signature,
        " + ".join(dict.fromkeys(finding.scheme or "unknown" for finding in findings)),
        next((finding.key for finding in findings if finding.key is not None), None),
        worst.issuer,
        worst.reason,
        tuple(dict.fromkeys(notes)),
    )
