"""Compact tokens in JSON wrappings: the token inside is the badge, so that it has one commitment in all of them.

    {"payload", "protected", "signature"}                    RFC 7515 section 7.2.2, flattened
    {"payload", "signatures": [{"protected", "signature"}]}  section 7.2.1, general, with exactly one signature
    {"type": "EnvelopedVerifiableCredential", "id": "data:application/vc+jwt,<token>"}    VC 2.0 section 4.13

Refused: an unprotected `header`, which no compact token can hold; two signatures; members beyond these; an envelope
whose `id` is no data: URL of a JWT.

What this does not do: read the token (`ledger.badges.jws`).
"""

from __future__ import annotations

import re
from typing import Any, Final

from ledger.errors import MalformedBadge

_ENVELOPE: Final = "EnvelopedVerifiableCredential"
# `vc+ld+jwt` and `vc-ld+jwt` are what drafts of VC-JOSE-COSE called application/vc+jwt.
_DATA_URL: Final = re.compile(
    r"data:application/(?:vc\+jwt|vc\+ld\+jwt|vc-ld\+jwt|jwt),([A-Za-z0-9._-]++)", re.IGNORECASE
)
_PART: Final = re.compile(r"[A-Za-z0-9_-]++")


def token_in(document: dict[str, Any]) -> bytes | None:
    """The compact token that the document wraps, ASCII; None if it wraps none. Raises MalformedBadge."""
    kinds = document.get("type")
    if kinds == _ENVELOPE or (isinstance(kinds, list) and _ENVELOPE in kinds):
        return _enveloped(document.get("id"))
    if "payload" in document and ("signature" in document or "signatures" in document):
        return _serialised(document)
    return None


def _enveloped(url: Any) -> bytes:
    match = _DATA_URL.fullmatch(url) if isinstance(url, str) else None
    if match is None:
        raise MalformedBadge("the badge is an envelope around something else than a JWT in a data: URL")
    return match[1].encode("ascii")


def _serialised(document: dict[str, Any]) -> bytes:
    holder, outer = document, {"payload", "protected", "signature", "header"}
    if "signatures" in document:
        signatures, outer = document["signatures"], {"payload", "signatures"}
        if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
            raise MalformedBadge("the badge's JWS in JSON has not exactly one signature")
        (holder,) = signatures
        if not holder.keys() <= {"protected", "signature", "header"}:
            raise MalformedBadge("the badge's JWS in JSON has members that no compact JWS holds")
    if "header" in holder:
        raise MalformedBadge("the badge's JWS in JSON has an unprotected header, which no compact JWS holds")
    if not document.keys() <= outer:
        raise MalformedBadge("the badge's JWS in JSON has members that no compact JWS holds")
    parts = (holder.get("protected"), document["payload"], holder.get("signature"))
    if not all(isinstance(part, str) and _PART.fullmatch(part) for part in parts):
        raise MalformedBadge("the badge's JWS in JSON is not three base64url parts")
    return ".".join(map(str, parts)).encode("ascii")
