"""read() on hostile input: whatever it is given, it answers with a Badge or a MalformedBadge, and with the same Badge
in every wrapping. More examples: HYPOTHESIS_EXAMPLES=20000 pytest tests/badges/test_fuzz.py."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.badges import FORM_JWS, MAX_JSON_BYTES, Badge, commitment, nested, read
from ledger.errors import MalformedBadge
from tests.made_samples import MADE, enveloped, in_png, in_svg, in_text_chunk, made, serialised
from tests.samples import BadgeIssuer, bake, samples, status_entry

ISSUER = BadgeIssuer(bytes(range(32)))
EXAMPLES = settings(deadline=None, max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "100")))
TOKEN = made("ob3-jwt-eddsa")
SAMPLES = [
    *samples(ISSUER).values(),
    bake(samples(ISSUER)["ob2-hosted"], keyword=b"openbadges"),
    *map(made, MADE),
    *(in_svg(made(name), MADE[name].family) for name in ("ob2-badgr", "ob3-jwt-eddsa", "clr2-jwt")),
    *(in_text_chunk(data) for data in (made("ob1-hosted"), b"https://a.example/1")),
    *(enveloped(TOKEN), serialised(TOKEN), serialised(TOKEN, general=True)),
]
DOCUMENTS = [
    json.loads(samples(ISSUER)["ob3-json"]) | {"credentialStatus": status_entry("https://l.example/1", 5)},
    json.loads(samples(ISSUER)["ob2-hosted"]),
    *(
        json.loads(made(name))
        for name in (
            "ob1-hosted",
            "ob2-moodle",
            "ob2-moodle-revoked",
            "ob3-status",
            "clr2-eddsa-rdfc-2022",
            "blockcerts3",
        )
    ),
    *(json.loads(data) for data in (enveloped(TOKEN), serialised(TOKEN), serialised(TOKEN, general=True))),
]
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=8)
NAMES = st.sampled_from(
    [
        *("type", "id", "@context", "issuer", "iss", "vc", "name", "proof", "proofValue"),
        *("cryptosuite", "validFrom", "validUntil", "exp", "nbf", "sub", "recipient", "badge", "verify"),
        *(
            "verification",
            "url",
            "hashed",
            "identifier",
            "credentialSubject",
            "achievement",
            "credentialStatus",
            "statusListIndex",
        ),
        *("uid", "revoked", "payload", "signature", "signatures", "protected", "header", "verifiableCredential"),
    ]
)
VALUES = st.recursive(
    SCALARS
    | st.sampled_from(
        ["VerifiableCredential", "Assertion", "hosted", "https://h.example/", "BitstringStatusListEntry"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)


def read_or_refuse(data: bytes) -> Badge | None:
    """A Badge that has a commitment, or a MalformedBadge; anything else fails the test. So for what is in a CLR."""
    try:
        badge = read(data)
    except MalformedBadge:
        return None
    assert len(commitment(badge, bytes(32))) == 32
    repr(badge)
    with contextlib.suppress(MalformedBadge):
        for inner in nested(badge):
            # Not its canonical form: see test_a_large_float_is_a_badge_whose_canonical_form_is_none.
            alone = inner.canonical if inner.form == FORM_JWS else json.dumps(inner.document).encode()
            assert commitment(read(alone), bytes(32)) == commitment(inner, bytes(32))
    return badge


def same_in_every_wrapping(data: bytes) -> None:
    """What can be read has one commitment, however it is wrapped; what cannot is not made readable by a wrapping."""
    badge = read_or_refuse(data)
    wrappings = [in_png(data), in_svg(data), in_text_chunk(data)]
    if badge is not None and badge.form == FORM_JWS:
        token = badge.canonical
        wrappings += [token, in_svg(token), enveloped(token), serialised(token), serialised(token, general=True)]
    for wrapped in wrappings:
        again = read_or_refuse(wrapped)
        if badge is None:
            assert again is None
        else:
            assert again is not None
            assert (again.kind, again.id, again.issuer) == (badge.kind, badge.id, badge.issuer)
            assert commitment(again, bytes(32)) == commitment(badge, bytes(32))


@EXAMPLES
@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    """Random bytes, bare and behind the beginnings of each form."""
    for start in (b"", b"\x89PNG\r\n\x1a\n", b"{", b'{"type":"Assertion",', b"e30.", b"https://", b"<svg", b"\x1f\x8b"):
        read_or_refuse(start + data)


@EXAMPLES
@given(st.sampled_from(SAMPLES), st.data())
def test_mutated_samples(sample: bytes, data: st.DataObject) -> None:
    """Samples with pieces overwritten, inserted, deleted and repeated."""
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(sample)))
        end = data.draw(st.integers(start, min(len(sample), start + 40)))
        piece = data.draw(st.binary(max_size=8) | st.just(sample[start:end] * 2))
        sample = sample[:start] + piece + sample[end:]
    read_or_refuse(sample)


@EXAMPLES
@given(st.sampled_from(DOCUMENTS), st.data())
def test_members_of_any_type(document: dict[str, Any], data: st.DataObject) -> None:
    """Well-formed documents in which any member anywhere has any value, as JSON, JWS and `vc` claim."""
    document = json.loads(json.dumps(document))
    here: Any = document
    while True:
        places: list[Any] = list(here) if isinstance(here, dict) else list(range(len(here)))
        place = data.draw(st.sampled_from(places))
        if isinstance(here[place], dict | list) and here[place] and data.draw(st.booleans()):
            here = here[place]
            continue
        here[place] = data.draw(VALUES)
        break
    document |= data.draw(st.dictionaries(NAMES, VALUES, max_size=2))
    same_in_every_wrapping(json.dumps(document).encode())
    for payload in (document, {"vc": document, "iss": data.draw(VALUES), "exp": data.draw(VALUES)}):
        text = json.dumps(payload).encode()
        read_or_refuse(text)
        read_or_refuse(b"e30." + base64.urlsafe_b64encode(text).rstrip(b"=") + b"." + b"A" * 86)
        header = base64.urlsafe_b64encode(b'{"alg":"EdDSA"}').rstrip(b"=")
        read_or_refuse(header + b"." + base64.urlsafe_b64encode(text).rstrip(b"=") + b"." + b"A" * 86)


def test_a_large_float_is_a_badge_whose_canonical_form_is_none() -> None:
    """Found here: RFC 8785 writes 9007199254740992.0 as an integer, and integers of that size are refused. So the text
    that was handed in is the badge; what is baked or sent on has to be that text, or be read again first."""
    text = json.dumps(DOCUMENTS[0] | {"@context": ["https://www.w3.org/ns/credentials/v2", 2.0**53]}).encode()
    badge = read(text)
    assert b"9007199254740992]" in badge.canonical
    with pytest.raises(MalformedBadge, match="2\\^53"):
        read(badge.canonical)
    same_in_every_wrapping(text)


SVG_PIECES = st.sampled_from(
    [
        *(
            "<",
            ">",
            "/>",
            "&",
            ";",
            "'",
            '"',
            "=",
            " ",
            "<g>",
            "</g>",
            "<!--",
            "-->",
            "<![CDATA[",
            "]]>",
            "<?x ?>",
            "]>",
        ),
        *("<o:credential", "</o:credential>", " verify=", "<openbadges:assertion", "</openbadges:assertion>", "{}"),
        *(
            ' xmlns:o="https://purl.imsglobal.org/ob/v3p0"',
            ' xmlns:openbadges="http://openbadges.org"',
            ' xmlns="urn:x"',
        ),
        *("<!DOCTYPE svg", " [", "<!ENTITY a 'b'>", "&a;", "&#65;", "&#xd800;", "\ud7ff", "\0", "<svg>", "</svg>"),
        *(
            '"https://a.example/1"',
            f'"{TOKEN.decode()}"',
            '{"type":"Assertion"}',
            "<?xml version='1.0' encoding='",
            "'?>",
        ),
    ]
)


@EXAMPLES
@given(st.lists(SVG_PIECES | st.text(max_size=3), max_size=20), st.booleans(), st.sampled_from(["utf-8", "utf-16"]))
def test_pieces_of_svg(pieces: list[str], has_root: bool, encoding: str) -> None:
    """What XML is made of, in any order."""
    inside = "".join(pieces)
    text = f'<svg xmlns="http://www.w3.org/2000/svg">{inside}</svg>' if has_root else inside
    read_or_refuse(text.encode(encoding, "surrogatepass"))


@pytest.mark.parametrize("name", MADE)
def test_every_prefix_is_refused(name: str) -> None:
    """Half a badge is no badge. Of a token, half the signature is another one, which nothing here checks."""
    data = made(name)
    for length in range(len(data)):
        badge = read_or_refuse(data[:length])
        assert badge is None or badge.form == FORM_JWS


def fill(start: bytes, unit: bytes, end: bytes = b"") -> bytes:
    """As much of `unit` between start and end as the limit admits."""
    return start + unit * ((MAX_JSON_BYTES - len(start) - len(end)) // len(unit)) + end


@pytest.mark.parametrize(
    "data",
    [
        fill(b'{"a":', b"["),
        fill(b"", b'{"a":'),
        fill(b'{"a":"', b"\\"),
        fill(b'{"a":"', b"\\u0041", b'"'),
        fill(b'{"a":"', b"\\ud800", b'"}'),
        fill(b'{"a":1.', b"1", b"}"),
        fill(b'{"a":', b"9", b"}"),
        fill(b'{"a":1e', b"9", b"}"),
        fill(b'{"type":"Assertion","a":[', b"1,", b"1]}"),
        fill(b'{"type":"Assertion","a":[', b"{},", b"1]}"),
        fill(b"", b"A."),
        fill(b"", b"A"),
        fill(b"{", b" "),
        fill(b"{}", b" ", b"x"),
        fill(b"https://", b"a"),
        fill(b'{"type":"Assertion","issuedOn":"', b"2026-01-01", b'"}'),
        fill(b'{"type":"Assertion","id":"https://', b"a.", b'"}'),
        bytes(64 << 20),
    ],
    ids=lambda data: repr(data[:26]),
)
def test_worst_cases_end_quickly(data: bytes) -> None:
    """Inputs of the largest size made to be slow take seconds at most, on a slow machine too."""
    started = time.process_time()
    with contextlib.suppress(MalformedBadge):
        read(data)
    assert time.process_time() - started < 20
