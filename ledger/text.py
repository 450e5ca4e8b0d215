"""Strict text primitives: canonical decimals, base64 (RFC 4648 section 4) and lowercase hexadecimal.

Python's own readers are lenient (`int("1_000")`, `int(" 42 ")`, Arabic digits, base64 that drops junk), so every
reader here parses, formats again and compares. Two texts that differ never mean the same value.
"""

from __future__ import annotations

import base64
import binascii

from ledger.errors import MalformedInput


def parse_decimal(text: str, *, what: str = "number", max_value: int = 2**63 - 1) -> int:
    """An ASCII decimal without sign or leading zeros, 0 to `max_value`. Raises MalformedInput."""
    if not text or len(text) > 20 or not (text.isascii() and text.isdigit()) or (text[0] == "0" and text != "0"):
        raise MalformedInput(f"{what} is not a decimal number without leading zeros: {text[:40]!r}")
    value = int(text)
    if value > max_value:
        raise MalformedInput(f"{what} is larger than {max_value}")
    return value


def format_base64(data: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def parse_base64(text: str, *, what: str = "value", length: int | None = None) -> bytes:
    """Canonical standard base64 with padding; exactly `length` bytes if given. Raises MalformedInput."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise MalformedInput(f"{what} is not base64") from error
    if format_base64(data) != text:
        raise MalformedInput(f"{what} is not canonical base64")
    if length is not None and len(data) != length:
        raise MalformedInput(f"{what} has {len(data)} bytes, not {length}")
    return data


def parse_hex(text: str, *, what: str = "value", length: int) -> bytes:
    """Exactly `length` bytes as lowercase hexadecimal. Raises MalformedInput."""
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise MalformedInput(f"{what} is not hexadecimal") from error
    if data.hex() != text or len(data) != length:
        raise MalformedInput(f"{what} is not {2 * length} lowercase hexadecimal digits")
    return data


def printable(text: str) -> str:
    """The text with everything unprintable, line ends and direction marks included, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
