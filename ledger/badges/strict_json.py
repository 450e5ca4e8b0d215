"""Strict JSON for badges (wire.md "Commitment", RFC 8259) and its canonical form (RFC 8785, JCS).

A commitment is over the *meaning* of a JSON document, so two readers must never see two meanings in one text. Refused:

    {"a": 1, "\\u0061": 2}      two names equal after unescaping          9007199254740992   integers of 2^53 or more
    "\\ud800"                   lone surrogates                           1e999              numbers that overflow
    EF BB BF, invalid UTF-8    another text for the same document        [[[... 1,001 deep  nesting past 1,000
    [1], "text", null          a top level that is no object             NaN, 01, 'a'       what RFC 8259 refuses

An integer is a number token without fraction or exponent: `1e20` is a float and stays.

Parser and canonicaliser keep their own stack. The standard library's and rfc8785's recurse, so what they accept would
depend on how deep the caller's stack happens to be; here 1,000 levels always pass and 1,001 never do. Numbers and
strings, the difficult part of RFC 8785, are rfc8785's. No message repeats anything of the document.

What this does not do: know anything about badges (`ledger.badges.read`).
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

import rfc8785

from ledger.errors import MalformedBadge

#: The most bytes of JSON (or of a compact JWS) that are read, 2 MiB.
MAX_JSON_BYTES: Final = 2 * 1024 * 1024
#: The deepest nesting that is read; the top-level object is level 1.
MAX_NESTING: Final = 1_000
#: Integers have a magnitude below this: what a double, and so JavaScript, holds exactly.
INTEGER_LIMIT: Final = 2**53

_BOM = b"\xef\xbb\xbf"
_WHITESPACE = " \t\n\r"
# One token with the whitespace before it. Possessive quantifiers: nothing is ever tried twice, so time is linear.
_TOKEN = re.compile(
    r"[ \t\n\r]*+(?:"
    r"([{}\[\]:,])"
    r'|"([^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+)"'
    r"|(true|false|null)"
    r"|(-?(?:0|[1-9][0-9]*+))((?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)"
    r")"
)
_PUNCTUATION, _STRING, _WORD = 1, 2, 3
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}
_SURROGATE = re.compile("[\ud800-\udfff]")

# What may come next.
_VALUE, _VALUE_OR_CLOSE, _NAME, _NAME_OR_CLOSE, _COLON, _COMMA_OR_CLOSE = range(6)


def strict_json(data: bytes) -> dict[str, Any]:
    """The object that `data` (at most MAX_JSON_BYTES of UTF-8) holds, without a doubt about its meaning.

    Returns dict, list, str, int (magnitude below 2^53), float (finite), bool and None only. Raises MalformedBadge.
    """
    if len(data) > MAX_JSON_BYTES:
        raise MalformedBadge(f"the badge's JSON is larger than {MAX_JSON_BYTES} bytes")
    if data.startswith(_BOM):
        raise MalformedBadge("the badge's JSON begins with a byte order mark")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedBadge("the badge's JSON is not UTF-8") from None
    return _parse(text.rstrip(_WHITESPACE))


def _parse(text: str) -> dict[str, Any]:
    match = _TOKEN.match(text)
    if match is None or match[1] != "{":
        raise MalformedBadge("the badge's JSON is not an object at its top level")
    root: dict[str, Any] = {}
    here: dict[str, Any] | list[Any] = root
    enclosing: list[dict[str, Any] | list[Any]] = []
    name = ""
    state = _NAME_OR_CLOSE
    while True:
        position = match.end()
        match = _TOKEN.match(text, position)
        if match is None:
            _refuse(position)
        token = match.lastindex
        value: Any
        if token == _PUNCTUATION:
            mark = match[1]
            if mark == ",":
                if state != _COMMA_OR_CLOSE:
                    _refuse(position)
                state = _NAME if isinstance(here, dict) else _VALUE
                continue
            if mark == ":":
                if state != _COLON:
                    _refuse(position)
                state = _VALUE
                continue
            if mark in "}]":
                is_object = isinstance(here, dict)
                if is_object != (mark == "}") or state not in (
                    _COMMA_OR_CLOSE,
                    _NAME_OR_CLOSE if is_object else _VALUE_OR_CLOSE,
                ):
                    _refuse(position)
                if not enclosing:
                    break
                here = enclosing.pop()
                state = _COMMA_OR_CLOSE
                continue
            value = {} if mark == "{" else []
        elif token == _STRING:
            value = _string(match[2])
            if state in (_NAME, _NAME_OR_CLOSE):
                if value in here:
                    raise MalformedBadge("the badge's JSON has an object with the same name twice")
                name = value
                state = _COLON
                continue
        elif token == _WORD:
            value = _WORDS[match[3]]
        else:
            value = _number(match[4], match[5])
        if state not in (_VALUE, _VALUE_OR_CLOSE):
            _refuse(position)
        if isinstance(here, dict):
            here[name] = value
        else:
            here.append(value)
        state = _COMMA_OR_CLOSE
        if token == _PUNCTUATION:
            if len(enclosing) + 2 > MAX_NESTING:
                raise MalformedBadge(f"the badge's JSON is nested deeper than {MAX_NESTING} levels")
            enclosing.append(here)
            here = value
            state = _NAME_OR_CLOSE if mark == "{" else _VALUE_OR_CLOSE
    if match.end() != len(text):
        raise MalformedBadge("something follows the object in the badge's JSON")
    return root


def _refuse(position: int) -> NoReturn:
    # The position and never the text: errors end in logs, badges hold personal data.
    raise MalformedBadge(f"the badge's JSON is not well-formed at character {position}")


def _string(raw: str) -> str:
    if "\\" not in raw:
        return raw  # decoded from UTF-8: it cannot hold a surrogate
    value: str = json.loads(f'"{raw}"')
    if _SURROGATE.search(value):
        raise MalformedBadge("the badge's JSON has a lone surrogate in a string")
    return value


def _number(integer: str, rest: str) -> int | float:
    if rest:
        value = float(integer + rest)
        if value in (float("inf"), float("-inf")):
            raise MalformedBadge("the badge's JSON has a number too large for a double")
        return value
    # The length first: int() of a million digits is slow, and refused with another exception.
    if len(integer) > 17 or abs(int(integer)) >= INTEGER_LIMIT:
        raise MalformedBadge("the badge's JSON has an integer of magnitude 2^53 or more")
    return int(integer)


def canonical_json(document: dict[str, Any]) -> bytes:
    """The RFC 8785 form of a document from `strict_json`, as UTF-8 bytes; any nesting that strict_json admits."""
    out: list[bytes] = []
    # What is still to be written, last first. Bytes are output, everything else a value.
    work: list[Any] = [document]
    while work:
        item = work.pop()
        if isinstance(item, bytes):
            out.append(item)
        elif isinstance(item, dict):
            out.append(b"{")
            work.append(b"}")
            # RFC 8785 section 3.2.3: names sort by their UTF-16 code units.
            members = sorted(item.items(), key=lambda member: member[0].encode("utf-16-be"))
            for place in range(len(members) - 1, -1, -1):
                member_name, value = members[place]
                work.append(value)
                work.append((b"," if place else b"") + rfc8785.dumps(member_name) + b":")
        elif isinstance(item, list):
            out.append(b"[")
            work.append(b"]")
            for place in range(len(item) - 1, -1, -1):
                work.append(item[place])
                if place:
                    work.append(b",")
        else:
            out.append(rfc8785.dumps(item))
    return b"".join(out)
