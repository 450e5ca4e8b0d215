"""read() on hostile input: whatever it is given, it answers with a Badge or a LedgerError."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.badges import MAX_JSON_BYTES, commitment, read
from ledger.errors import LedgerError, MalformedBadge
from tests.samples import BadgeIssuer, bake, samples, status_entry

ISSUER = BadgeIssuer(bytes(range(32)))
SAMPLES = [*samples(ISSUER).values(), bake(samples(ISSUER)["ob2-hosted"], keyword=b"openbadges")]
DOCUMENTS = [
    json.loads(samples(ISSUER)["ob3-json"]) | {"credentialStatus": status_entry("https://l.example/1", 5)},
    json.loads(samples(ISSUER)["ob2-hosted"]),
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


def read_or_refuse(data: bytes) -> None:
    """A Badge that has a commitment, or a LedgerError; anything else fails the test."""
    with contextlib.suppress(LedgerError):
        badge = read(data)
        assert len(commitment(badge, bytes(32))) == 32
        repr(badge)


@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    """Random bytes, bare and behind the beginnings of each form."""
    for start in (b"", b"\x89PNG\r\n\x1a\n", b"{", b'{"type":"Assertion",', b"e30.", b"https://"):
        read_or_refuse(start + data)


@settings(deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_mutated_samples(sample: bytes, data: st.DataObject) -> None:
    """Samples with pieces overwritten, inserted, deleted and repeated."""
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(sample)))
        end = data.draw(st.integers(start, min(len(sample), start + 40)))
        piece = data.draw(st.binary(max_size=8) | st.just(sample[start:end] * 2))
        sample = sample[:start] + piece + sample[end:]
    read_or_refuse(sample)


@settings(deadline=None)
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
    for payload in (document, {"vc": document, "iss": data.draw(VALUES), "exp": data.draw(VALUES)}):
        text = json.dumps(payload).encode()
        read_or_refuse(text)
        read_or_refuse(b"e30." + base64.urlsafe_b64encode(text).rstrip(b"=") + b"." + b"A" * 86)
        header = base64.urlsafe_b64encode(b'{"alg":"EdDSA"}').rstrip(b"=")
        read_or_refuse(header + b"." + base64.urlsafe_b64encode(text).rstrip(b"=") + b"." + b"A" * 86)


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
