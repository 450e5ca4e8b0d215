"""Compact tokens in JSON wrappings: the token inside is the badge, so that it has one commitment in all of them.

    {"payload", "protected", "signature"}                    RFC 7515 section 7.2.2, flattened
    {"payload", "signatures": [{"protected", "signature"}]}  section 7.2.1, general, with exactly one signature
    {"type": "EnvelopedVerifiableCredential", "id": "data:application/vc+jwt,<token>"}    VC 2.0 section 4.13

Refused: an unprotected `header`, which no compact token can hold; two signatures; an envelope whose `id` is no data:
URL of a JWT; and members beyond these, but for the `@context` of VC 2.0 in an envelope. Whatever else stood there would
be shown by readers of documents, and nobody signed it: the token alone is the badge.

What this does not do: read the token (`ledger.badges.jws`).
"""

from __future__ import annotations

import re
from typing import Any, Final

from ledger.errors import MalformedBadge

_ENVELOPE: Final = "EnvelopedVerifiableCredential"
_ENVELOPE_MEMBERS: Final = frozenset({"@context", "id", "type"})
_CONTEXT: Final = "https://www.w3.org/ns/credentials/v2"
# `vc+ld+jwt` and `vc-ld+jwt` are what drafts of VC-JOSE-COSE called application/vc+jwt.
_DATA_URL: Final = re.compile(
    r"data:application/(?:vc\+jwt|vc\+ld\+jwt|vc-ld\+jwt|jwt),([A-Za-z0-9._-]++)", re.IGNORECASE
)
_PART: Final = re.compile(r"[A-Za-z0-9_-]++")


def token_in(document: dict[str, Any]) -> bytes | None:
    """The compact token that the document wraps, ASCII; None if it wraps none. Raises MalformedBadge."""
    if _calls_itself_envelope(document):
        return _enveloped(document)
    if "payload" in document and ("signature" in document or "signatures" in document):
        return _serialised(document)
    return None


def _calls_itself_envelope(document: dict[str, Any]) -> bool:
    """Whether one of its types is the envelope's, by whatever name a reader of JSON-LD may know it."""
    kinds: list[Any] = []
    for member in ("type", "@type"):
        value = document.get(member)
        kinds += value if isinstance(value, list) else [value]
    return any(isinstance(kind, str) and kind.endswith(_ENVELOPE) for kind in kinds)


def _enveloped(document: dict[str, Any]) -> bytes:
    if not document.keys() <= _ENVELOPE_MEMBERS:
        raise MalformedBadge("the badge is an envelope with members that nobody signed")
    if document.get("type") not in (_ENVELOPE, [_ENVELOPE]):
        raise MalformedBadge("the badge is an envelope that says to be something else, too")
    if "@context" in document and document["@context"] not in (_CONTEXT, [_CONTEXT]):
        raise MalformedBadge("the badge is an envelope with another context than that of VC 2.0")
    url = document.get("id")
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
