"""ledger.badges.strict_json: what it refuses (wire.md "Commitment"), and RFC 8785."""

from __future__ import annotations

import json
import sys
from types import FrameType
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ledger.badges import MAX_JSON_BYTES, canonical_json, strict_json
from ledger.errors import MalformedBadge

INTEGERS = st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1)
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
DOCUMENTS = st.dictionaries(st.text(), VALUES)


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """A document of `levels` levels; the object around it is the first."""
    return b'{"a":' + opening * (levels - 1) + closing * (levels - 1) + b"}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a":1,"a":1}', "same name twice"),
        (rb'{"a":1,"\u0061":2}', "same name twice"),
        (rb'{"x":[{"\ud83d\ude00":1,"' + "😀".encode() + rb'":1}]}', "same name twice"),
        (b'{"a":9007199254740992}', "2\\^53"),
        (b'{"a":-9007199254740992}', "2\\^53"),
        (b'{"a":' + b"9" * 1_000_000 + b"}", "2\\^53"),
        (rb'{"a":"\ud800"}', "lone surrogate"),
        (rb'{"a":"\udc00\ud800"}', "lone surrogate"),
        (rb'{"\udfff":1}', "lone surrogate"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a":"\xc0\xaf"}', "not UTF-8"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'\xef\xbb\xbf{"a":1}', "byte order mark"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a":1e309}', "too large for a double"),
        (b'{"a":-1e309}', "too large for a double"),
        (b'{"a":1e' + b"9" * 1_000_000 + b"}", "too large for a double"),
        (nested(1_001), "nested deeper"),
        (b'{"a":' + b"[" * 1_000_000, "nested deeper"),
        (b'{"a":' * 300_000, "nested deeper"),
        (b"[1]", "not an object"),
        (b'"text"', "not an object"),
        (b"null", "not an object"),
        (b"7", "not an object"),
        (b"", "not an object"),
        (b"{} {}", "something follows"),
        (b'{"a":1}x', "something follows"),
        (b" " * (MAX_JSON_BYTES + 1), "larger than"),
    ],
)
def test_refuses_with_its_reason(text: bytes, reason: str) -> None:
    """Each refusal of wire.md happens, for the reason it names."""
    with pytest.raises(MalformedBadge, match=reason):
        strict_json(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "{",
            "}",
            "{}}",
            "{,}",
            "{[]}",
            "{{}}",
            '{"a"}',
            '{"a":}',
            '{"a":1,}',
            '{"a":1 "b":2}',
            '{"a" 1}',
            '{"a":1]}',
        ),
        *(
            '{"a":[1,]}',
            '{"a":[,1]}',
            '{"a":[1 2]}',
            '{"a":[1}}',
            '{"a":{]}',
            '{"a"::1}',
            '{"a":1:2}',
            '{"a":[',
            '{"a":{',
        ),
        *(
            "{a:1}",
            "{'a':1}",
            "{1:1}",
            '{"a":01}',
            '{"a":-}',
            '{"a":+1}',
            '{"a":.5}',
            '{"a":1.}',
            '{"a":1e}',
            '{"a":1e+}',
        ),
        *(
            '{"a":0x1}',
            '{"a":1_0}',
            '{"a":１}',
            '{"a":NaN}',
            '{"a":Infinity}',
            '{"a":-Infinity}',
            '{"a":True}',
            '{"a":nul}',
        ),
        *('{"a":"x}', '{"a":"\\x"}', '{"a":"\\u12"}', '{"a":"\\u12g4"}', '{"a":"\\"}', '{"a":1/**/}', '{"a":[1]:2}'),
    ],
)
def test_refuses_what_is_not_json(text: str) -> None:
    """What RFC 8259 does not admit is refused, the standard library's extensions included."""
    with pytest.raises(MalformedBadge):
        strict_json(text.encode())


@pytest.mark.parametrize("text", [b'{"a":"\x00"}', b'{"a":"\n"}', b"{\x0c}", b'{"a":1}\x0b', "{\u00a0}".encode()])
def test_refuses_control_characters_and_foreign_whitespace(text: bytes) -> None:
    """Raw control characters in strings and whitespace other than JSON's four are refused."""
    with pytest.raises(MalformedBadge):
        strict_json(text)


def test_accepts_the_edges() -> None:
    """The largest integers, floats beyond 2^53, surrogate pairs, minus zero and outer whitespace are in."""
    document = strict_json(
        b' \t\r\n{"a":[9007199254740991,-9007199254740991,1e20,9007199254740993.0,1E-400],"\\ud83d\\ude00":-0,"e":""}\n'
    )
    assert document == {
        "a": [9007199254740991, -9007199254740991, 1e20, 9007199254740992.0, 0.0],
        "😀": 0,
        "e": "",
    }
    assert (
        canonical_json(document)
        == '{"a":[9007199254740991,-9007199254740991,100000000000000000000,9007199254740992,0],"e":"","😀":0}'.encode()
    )


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"b":', b"1}")])
def test_thousand_levels_pass_whatever_the_stack(opening: bytes, closing: bytes) -> None:
    """Nesting of exactly 1,000 is read and canonicalised even where the caller left nearly no stack."""
    text = nested(1_000, opening, closing)
    if opening == b'{"b":':
        text = b'{"a":' + opening * 999 + b"1" + b"}" * 1_000
    depth = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        depth += 1
        frame = frame.f_back
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 60)
    try:
        canonical = canonical_json(strict_json(text))
    finally:
        sys.setrecursionlimit(limit)
    assert canonical == text


def test_rfc_8785_examples() -> None:
    """The examples of RFC 8785 sections 3.2.2 and 3.2.3 come out as printed there."""
    numbers = rb"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    assert (
        canonical_json(strict_json(numbers))
        == (
            '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
            '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
        ).encode()
    )
    names = rb"""{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
      "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"""
    values = list(json.loads(canonical_json(strict_json(names))).values())
    assert [value.split()[0] for value in values] == ["Carriage", "One", "Control", "Latin", "Euro", "Emoji:", "Hebrew"]


@given(DOCUMENTS, st.booleans())
def test_agrees_with_the_recursive_readers(document: dict[str, Any], ascii_only: bool) -> None:
    """On every document that the standard library and rfc8785 can take, this reads and writes the same."""
    text = json.dumps(document, ensure_ascii=ascii_only, indent=1).encode("utf-8")
    assert strict_json(text) == document
    assert canonical_json(document) == rfc8785.dumps(document)


@given(st.dictionaries(st.text(), st.text() | INTEGERS | st.floats(-(2.0**52), 2.0**52) | st.floats(1e21, 1e300)))
def test_canonical_form_is_its_own(document: dict[str, Any]) -> None:
    """Reading a canonical text gives it back. Floats from 2^53 to 1e21 are left out: RFC 8785 writes those as integers,
    which wire.md refuses when read, so only the badge's own text can be read, not its canonical one."""
    canonical = canonical_json(document)
    assert canonical_json(strict_json(canonical)) == canonical


@given(st.text(alphabet='{}[]:,"\\u0a1.e-+ tnrl\n', max_size=30))
def test_accepts_nothing_that_the_standard_library_refuses(middle: str) -> None:
    """Any text that is accepted means to json.loads what it means here."""
    text = '{"a":' + middle + "}"
    try:
        document = strict_json(text.encode("utf-8"))
    except MalformedBadge:
        return
    assert json.loads(text) == document
