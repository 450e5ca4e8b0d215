"""The quick reading of JSON gives what the strict one gives, or leaves it to that."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.badges.quick_json import quickly, read_document, read_json
from ledger.badges.strict_json import MAX_JSON_BYTES, MAX_NESTING, canonical_json, strict_json
from ledger.errors import MalformedBadge
from tests.samples import BadgeIssuer, ob3_json

_TEXT = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(["", "é", "𝄞", "\ue000", "\x7f"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


def strictly(data: bytes) -> tuple[dict[str, Any], bytes] | str:
    """What the strict reader says: document and canonical form, or the refusal."""
    try:
        document = strict_json(data)
        return document, canonical_json(document)
    except MalformedBadge as error:
        return error.detail


def agrees(data: bytes) -> None:
    """`read_json` says the same, types included."""
    expected = strictly(data)
    if isinstance(expected, str):
        assert quickly(data) is None
        with pytest.raises(MalformedBadge) as refused:
            read_json(data)
        assert refused.value.detail == expected
        return
    document, canonical = read_json(data)
    assert canonical == expected[1]
    assert canonical_json(read_document(data)) == expected[1]
    if data.count(b"[") < MAX_NESTING // 2:  # repr recurses
        assert repr(document) == repr(expected[0])


@given(st.dictionaries(_TEXT, _VALUES, max_size=5), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_every_document_reads_the_same(document: dict[str, Any], ascii_only: bool, indent: Any) -> None:
    """However it is written."""
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    agrees(text.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=3), st.integers(0, 80), st.integers(0, 3))
@example(b"\x0c", 1, 0)
@example(b"\xa0", 1, 0)
def test_every_damage_is_judged_the_same(junk: bytes, at: int, gone: int) -> None:
    """Any bytes put anywhere into a document."""
    whole = b'{"a": [1, -0.5, {"b": "x\\n\xc3\xa9"}], "c": {"d": null, "e": true}, "f": "\\u00e9", "g": 12}'
    agrees(whole[:at] + junk + whole[at + gone :])


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":1,"\\u0061":2}',
        '{"a":9007199254740991}',
        '{"a":9007199254740992}',
        '{"a":-9007199254740992}',
        '{"a":1.0,"b":1e2,"c":-0.0,"d":1E400}',
        '{"a":-0}',
        '{"\U0001d11e":1,"\ue000":2}',
        '{"a\\n\U0001d11e\\"b":1,"a\\n\ue000":2}',
        '{"a":"\U0001d11e\\":","b":[1.5,12345678901234567890.5]}',
        '{"a":[1e5,[2E+3],{"b":-1234567890123456}]}',
        '{"\\ud834\\udd1e":1,"\\ue000":2}',
        '{"a":"\\ud800"}',
        '{"a":"\\/"}',
        '\ufeff{"a":1}',
        '{"a":1}\n\t \r',
        '{"a":1}\f',
        "[]",
        '"a"',
        "",
        '{"a":NaN}',
        '{"a":01}',
        '{"a":' + "[" * (MAX_NESTING - 1) + "]" * (MAX_NESTING - 1) + "}",
        '{"a":' + "[" * MAX_NESTING + "]" * MAX_NESTING + "}",
    ],
)
def test_the_places_where_readers_differ(text: str) -> None:
    """Two names, two spellings, two orders, two depths."""
    agrees(text.encode())


def test_too_large_is_refused() -> None:
    """By the same limit."""
    agrees(b'{"a":"' + b"x" * MAX_JSON_BYTES + b'"}')


def test_what_tools_write_is_read_quickly() -> None:
    """A badge as a tool writes it takes the quick way: otherwise this module is for nothing."""
    data = ob3_json(BadgeIssuer(bytes(32)), 1)
    assert quickly(data) is not None
    assert quickly(json.dumps(json.loads(data), indent=2, ensure_ascii=False).encode()) is not None
    assert quickly('{"name": "\U0001f393 urn:0e1x, 12345678901234567", "é": 1}'.encode()) is not None


@pytest.mark.parametrize("piece", ["\U0001d11e", '"\U0001d11e', '\\"\U0001d11e', ",1", ":1.", "1", '":', "\\\\"])
def test_time_is_linear(piece: str) -> None:
    """A hostile megabyte of what the patterns look for costs no more than reading it."""
    started = time.process_time()
    quickly(('{"a":"' + piece * (1_000_000 // len(piece))).encode() + b'"}')
    quickly(('{"a":["' + piece.replace('"', "") * (1_000_000 // len(piece))).encode() + b'"]}')
    assert time.process_time() - started < 2
