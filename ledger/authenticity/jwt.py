"""Badges as compact JWS: VC-JWT (Open Badges 3.0, CLR 2.0, VC 2.0 and 1.1) and signed Open Badges 2.0.

    algorithm    one of `ledger.authenticity.publickey.ALGORITHMS`, and of the key's kind
    key          Open Badges 3.0 and VC: the header's `kid`, else its `jwk`, else the issuer's keys
                 Open Badges 2.0: the address in `verification.creator` (before: `verify.url`)
    issuer       `iss` and the credential's issuer, which are the same (`ledger.badges.fields`)
                 Open Badges 2.0: the one that the badge class names, in the badge or at its address

    typ          absent, JWT, vc+jwt, vc+ld+jwt, vc-ld+jwt (VC-JOSE-COSE and its drafts)
                 Open Badges 2.0: absent, JWT, JWS, JOSE
                 any other token is no badge (RFC 8725 section 3.11), although the same key may have signed it

The signature is over the token's own bytes, so nothing is canonicalized and no context is needed. `exp`, `nbf` and the
credential's dates are the verdict's; `sub` and `aud` are no matter of the signature's.

Not followed: `jku` and `x5u` (addresses that the token itself chooses), `x5c` (certificates). A header with `crit` has
extensions that this code does not know, so its token is not checked (RFC 7515 section 4.1.11).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ledger.authenticity.binding import Candidate, candidates
from ledger.authenticity.keys import KeySource
from ledger.authenticity.model import Invalid, NotChecked, shown
from ledger.authenticity.publickey import ALGORITHMS, PublicKey, parse_jwk
from ledger.badges.jws import CompactJws
from ledger.errors import MalformedInput

#: Algorithms whose key is no public key: the signature could be anybody's who can check it.
_SECRET = ("HS256", "HS384", "HS512")
#: `typ` in lower case, without "application/" (RFC 7515 section 4.1.9).
_CREDENTIAL_TYPES = ("jwt", "vc+jwt", "vc+ld+jwt", "vc-ld+jwt")
_ASSERTION_TYPES = ("jwt", "jws", "jose")


def check_token(jws: CompactJws, issuer: str | None, keys: KeySource, now_s: int) -> Candidate:
    """The key under which a credential's token holds. Raises NotChecked or Invalid."""
    _require_type(jws, _CREDENTIAL_TYPES)
    _require_algorithm(jws)
    return _first_that_holds(jws, candidates(keys, issuer, _kid(jws.header), _carried(jws.header), now_s=now_s))


def check_assertion(jws: CompactJws, issuer: str | None, keys: KeySource, now_s: int) -> tuple[Candidate, str | None]:
    """The key under which a signed Open Badges 2.0 assertion holds, and the badge's issuer where its class names one.

    Raises NotChecked or Invalid.
    """
    _require_type(jws, _ASSERTION_TYPES)
    _require_algorithm(jws)
    doubt = None
    if issuer is None:
        try:
            issuer = _class_issuer(jws.payload, keys)
        except NotChecked as reason:
            doubt = f"the badge names its issuer only by its badge class, and {reason}"
    possible = candidates(keys, issuer, _creator(jws.payload), _carried(jws.header), now_s=now_s)
    found = _first_that_holds(jws, possible)
    return (found if doubt is None else replace(found, doubt=doubt, note=None)), issuer


def _require_type(jws: CompactJws, allowed: tuple[str, ...]) -> None:
    if "typ" not in jws.header:
        return
    kind = jws.header["typ"]
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in allowed:
        raise Invalid(f"the token is of the type {shown(kind)}, which is no badge's")


def _require_algorithm(jws: CompactJws) -> None:
    if jws.algorithm in _SECRET:
        raise Invalid("the token is authenticated by a shared secret, which is no signature")
    if "crit" in jws.header or "b64" in jws.header:
        raise NotChecked("the token has extensions in its header that are not known")
    if jws.algorithm not in ALGORITHMS:
        raise NotChecked(f"the algorithm {shown(jws.algorithm)} is not known")


def _first_that_holds(jws: CompactJws, possible: tuple[Candidate, ...]) -> Candidate:
    fitting = [candidate for candidate in possible if candidate.key.kind == ALGORITHMS[jws.algorithm]]
    if not fitting:
        raise Invalid("the token's algorithm is not one of its key's")
    message = jws.text.rpartition(b".")[0]
    reason = Invalid("the signature does not verify")
    for candidate in fitting:
        try:
            candidate.key.verify(jws.algorithm, message, jws.signature)
        except Invalid as error:
            reason = error
        else:
            return candidate
    raise reason


def _kid(header: dict[str, Any]) -> str | None:
    kid = header.get("kid")
    if kid is None:
        return None
    if not isinstance(kid, str) or not kid:
        raise Invalid("the token's kid is no text")
    return kid


def _carried(header: dict[str, Any]) -> PublicKey | None:
    """The key in the header. One that cannot be read is refused: it may not be passed over for another."""
    if "jwk" not in header:
        return None
    try:
        return parse_jwk(header["jwk"])
    except MalformedInput as error:
        raise Invalid(f"the key in the token's header cannot be used: {error.detail}") from None


def _creator(assertion: dict[str, Any]) -> str | None:
    """Open Badges 2.0 `verification.creator`; Open Badges 1 `verify.url`. Absent: any of the issuer's keys."""
    for name in ("verification", "verify"):
        way = assertion.get(name)
        if isinstance(way, dict):
            creator = way.get("creator", way.get("url"))
            return creator if isinstance(creator, str) else None
    return None


def _class_issuer(assertion: dict[str, Any], keys: KeySource) -> str:
    badge_class = assertion.get("badge")
    address = badge_class.get("id") if isinstance(badge_class, dict) else badge_class
    if not isinstance(address, str):
        raise NotChecked("there is none")
    return keys.class_issuer(address)
