"""The compact JWS (RFC 7515 section 7.1), the form of an Open Badges 2.0 signed badge and of an Open Badges 3.0 VC-JWT.

    base64url(header) "." base64url(payload) "." base64url(signature)

wire.md: three non-empty parts of canonical base64url without padding, ASCII, outer whitespace removed. Whitespace is
JSON's: space, tab, line feed, carriage return. Header and payload are read by `strict_json`.

What this does not do: verify the signature, or know what the payload is.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any

from ledger.badges.quick_json import read_document
from ledger.badges.strict_json import MAX_JSON_BYTES
from ledger.errors import MalformedBadge

_COMPACT = re.compile(rb"[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++")


@dataclass(frozen=True, slots=True, eq=False)
class CompactJws:
    """A compact JWS in its parts. `text` is the exact token, `signature` the decoded third part."""

    text: bytes = field(repr=False)
    header: dict[str, Any]
    payload: dict[str, Any] = field(repr=False)
    signature: bytes = field(repr=False)
    algorithm: str


def is_compact(text: bytes) -> bool:
    """Whether `text`, without outer whitespace, has the outline of a compact JWS."""
    return _COMPACT.fullmatch(text) is not None


def decode_compact(text: bytes) -> CompactJws:
    """The parts of a token of at most MAX_JSON_BYTES without outer whitespace. Raises MalformedBadge.

    `alg` must be there and must not be `none`: such a token claims a form that it does not have.
    """
    if len(text) > MAX_JSON_BYTES:
        raise MalformedBadge(f"the badge's JWS is larger than {MAX_JSON_BYTES} bytes")
    if not is_compact(text):
        raise MalformedBadge("the badge's JWS is not three base64url parts")
    header_part, payload_part, signature_part = text.split(b".")
    header = read_document(_decode_part(header_part, "header"))
    payload = read_document(_decode_part(payload_part, "payload"))
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm.lower() == "none":
        raise MalformedBadge("the badge's JWS names no signature algorithm")
    return CompactJws(text, header, payload, _decode_part(signature_part, "signature"), algorithm)


def _decode_part(part: bytes, what: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except binascii.Error:
        raise MalformedBadge(f"the {what} of the badge's JWS is not base64url") from None
    # The last character can carry bits that no byte takes: without this, one token would have several spellings.
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part:
        raise MalformedBadge(f"the {what} of the badge's JWS is not canonical base64url")
    return data
