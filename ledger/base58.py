"""base58btc, the alphabet of Bitcoin as multibase `z` uses it: the text form of did:key identifiers and proof values.

    "z" + format_base58(ed 01 ‖ public key[32])        the method-specific part of a did:key

A leading zero byte is a leading `1`; beside those the text is the number in base 58 without leading zeros, so each byte
string has exactly one text. Knows nothing of multibase prefixes, multicodec numbers or checksums.
"""

from __future__ import annotations

from ledger.errors import MalformedInput

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
#: Longest text that is read. The conversion is quadratic; an ML-DSA-44 public key (1,312 bytes) needs 1,792 characters.
MAX_CHARS = 4096
_DIGITS = {character: value for value, character in enumerate(ALPHABET)}


def format_base58(data: bytes) -> str:
    """Bytes of any length as base58btc, without a multibase prefix. Nothing gives the empty text."""
    number = int.from_bytes(data, "big")
    digits: list[str] = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(ALPHABET[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return ALPHABET[0] * zeros + "".join(reversed(digits))


def parse_base58(text: str, *, what: str = "value", length: int | None = None) -> bytes:
    """The bytes of a base58btc text of at most 4,096 characters; `length` bytes if given. Raises MalformedInput."""
    if len(text) > MAX_CHARS:
        raise MalformedInput(f"{what} has more than {MAX_CHARS} base58 characters")
    number = 0
    try:
        for character in text:
            number = number * 58 + _DIGITS[character]
    except KeyError as error:
        raise MalformedInput(f"{what} is not base58btc") from error
    zeros = len(text) - len(text.lstrip(ALPHABET[0]))
    data = bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    if length is not None and len(data) != length:
        raise MalformedInput(f"{what} has {len(data)} bytes, not {length}")
    return data
