"""`strict_json` and `canonical_json` at once, some thirty times as fast for the badges that most tools write.

A document needs no strict reading token by token where writing it again gives back its own text. The text without its
white space is compared with what a plain encoder makes of the values read from it: equal, so no name stood twice, no
escape or number had a second spelling, and there is one meaning. What is left to see to:

    integers of 2^53 or more; floats, written otherwise    a number of 16 digits, with a fraction or an exponent
    names that sort otherwise by UTF-16                    a name with a character from U+E000 on
    nesting past 1,000                                     more than 1,000 opening brackets

Everything that this cannot be sure of, and every refusal with its reason, is left to `ledger.badges.strict_json`, whose
answer is the only one there is: this module gives the same or none.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from ledger.badges.strict_json import MAX_JSON_BYTES, MAX_NESTING, canonical_json, strict_json

#: Number tokens of compact JSON that are large integers or floats; the like inside a string is taken for one.
_NUMBER: Final = re.compile(rb"[:,\[]-?(?:[0-9]{16,}+|[0-9]++(?:\.[0-9]++|[eE][+-]?[0-9]++)++)[,\]}]")
#: Every digit and the sign as a 0.
_DIGITS: Final = bytes.maketrans(b"-123456789", b"0" * 10)
#: First bytes of the characters from U+E000 on in UTF-8.
_HIGH: Final = re.compile(rb"[\xee-\xff]")


def read_json(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The object in `data` and its RFC 8785 form: `strict_json(data)` and `canonical_json` of that.

    Raises MalformedBadge as `strict_json` does.
    """
    document = quickly(data)
    if document is not None:
        return document, msgspec.json.encode(document, order="sorted")
    document = strict_json(data)
    return document, canonical_json(document)


def read_document(data: bytes) -> dict[str, Any]:
    """The object in `data`: `strict_json(data)`. Raises MalformedBadge."""
    document = quickly(data)
    return strict_json(data) if document is None else document


def quickly(data: bytes) -> dict[str, Any] | None:
    """The object in `data`, None where it takes the strict reader to tell."""
    if len(data) > MAX_JSON_BYTES or data.count(b"{") + data.count(b"[") > MAX_NESTING:
        return None
    try:
        compact = msgspec.json.format(data, indent=-1)
        if _has_numbers(compact) and _NUMBER.search(compact) is not None:
            return None
        document = msgspec.json.decode(data)
        if not isinstance(document, dict) or msgspec.json.encode(document) != compact:
            return None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    doubtful = not compact.isascii() and _HIGH.search(compact) and _has_high_name(document)
    return None if doubtful else document


def _has_numbers(compact: bytes) -> bool:
    """Whether there may be a number in compact JSON: cheaper to ask than what numbers there are."""
    digits = compact.translate(_DIGITS)
    return b'":0' in digits or b"[0" in digits or b",0" in digits


def _has_high_name(document: dict[str, Any]) -> bool:
    work: list[Any] = [document]
    while work:
        item = work.pop()
        if isinstance(item, dict):
            if any(name and max(name) >= "\ue000" for name in item):
                return True
            work += item.values()
        elif isinstance(item, list):
            work += item
    return False
