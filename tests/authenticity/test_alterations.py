"""Signed badges altered in every place and in many ways: what is no other spelling of the same is never verified.

And whatever a badge holds, the check ends with a finding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.authenticity.check import check, check_document, check_jws
from ledger.authenticity.keys import offline_keys
from ledger.authenticity.model import Authenticity
from ledger.badges import read, strict_json
from ledger.badges.jws import CompactJws
from tests.authenticity.builders import CONTEXTS, NOW_S, SIGNER, V2, V2_2020, Json, badge, changed, sign

SUBJECT = badge()["credentialSubject"]
FULL: Json = {
    "validUntil": "2030-01-01T00:00:00Z",
    "credentialStatus": {
        "id": "https://example.com/status/1#5",
        "type": "BitstringStatusListEntry",
        "statusPurpose": "revocation",
        "statusListIndex": "5",
        "statusListCredential": "https://example.com/status/1",
    },
    "credentialSubject": {
        **SUBJECT,
        "identifier": [
            {"type": "IdentityObject", "hashed": True, "identityHash": "sha256$00", "identityType": "emailAddress"}
        ],
        "achievement": {**SUBJECT["achievement"], "tag": ["a", "b"], "creditsAvailable": 3.5},
    },
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every member and element."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in pairs:
        yield (*path, name)
        yield from places(item, (*path, name))


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        document = document[step]
    return document


def judged(document: Json) -> Authenticity:
    return check_document(document, SIGNER.did, keys=offline_keys(), contexts=CONTEXTS, now_s=NOW_S)


def without(document: Json, path: tuple[Any, ...]) -> Json:
    out = changed(document, *path, to=None)
    del at(out, path[:-1])[path[-1]]
    return out


@pytest.mark.parametrize("suite", ["eddsa-rdfc-2022", "eddsa-jcs-2022", "Ed25519Signature2020"])
def test_every_place_of_a_signed_badge_counts(suite: str) -> None:
    """Each member and element taken away, or replaced by a text, a number, nothing, an object, an array in an array."""
    document = sign(badge(context=V2_2020 if suite[0] == "E" else V2, **FULL), suite)
    assert judged(document).signature == "verified"
    found = 0
    for path in places(document):
        old = at(document, path)
        for new in ("urn:other", 7, True, None, [], {}, [[old]], {"id": "urn:other"}, {"@value": old}):
            if new == old:
                continue
            altered = judged(changed(document, *path, to=new))
            assert altered.signature in ("invalid", "not-checked") or path == ("proof",), (path, new)
            found += 1
        gone = judged(without(document, path))
        assert gone.signature in ("invalid", "not-checked") or path == ("proof",), path
    assert found > 300
    assert judged(without(document, ("proof",))).signature == "none"


@pytest.mark.parametrize("suite", ["eddsa-rdfc-2022", "eddsa-jcs-2022"])
@pytest.mark.parametrize(
    "name", ["undefined", "name ", "Name", "urn:x", "@id", "@type", "@graph", "@reverse", "revoked"]
)
def test_no_member_can_be_added_anywhere(suite: str, name: str) -> None:
    """To no object of a signed badge, its proof included."""
    document = sign(badge(**FULL), suite)
    objects = [(), *(path for path in places(document) if isinstance(at(document, path), dict))]
    assert len(objects) >= 8
    for path in objects:
        assert judged(changed(document, *path, name, to="urn:added")).signature in ("invalid", "not-checked"), path


def test_texts_in_a_language() -> None:
    """VC 2.0 has names as objects with a language: signed, and the language too; a direction is not in the RDF."""
    text = {"@value": "Un insigne", "@language": "fr"}
    document = sign(badge(name=text))
    assert judged(document).signature == "verified"
    assert judged(changed(document, "name", "@language", to="en")).signature == "invalid"
    assert judged(changed(document, "name", "@direction", to="rtl")).signature == "invalid"
    assert judged(without(document, ("name", "@language"))).signature in ("invalid", "not-checked")


def test_a_defined_member_cannot_be_added_either() -> None:
    """It changes the RDF."""
    document = sign(badge(**FULL))
    for path in ((), ("issuer",), ("credentialSubject",), ("credentialSubject", "achievement"), ("credentialStatus",)):
        for name in ("description", "validUntil2", "image", "evidence", "termsOfUse", "endorsement"):
            altered = changed(document, *path, name, to="urn:added")
            assert judged(altered).signature in ("invalid", "not-checked"), (path, name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "type", "proof", "@context", "@value", "@id", "issuer", "cryptosuite", "x:y", ""])
            | st.text(max_size=6),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
SIGNED = sign(badge(**FULL))
PLACES = sorted(places(SIGNED), key=str)


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(PLACES), value=JSON)
def test_anything_in_any_place_ends_in_a_finding(path: tuple[Any, ...], value: Any) -> None:
    """And is never verified unless it comes to the same."""
    altered = changed(SIGNED, *path, to=value)
    found = judged(altered)
    if found.signature == "verified":
        assert value in (at(SIGNED, path), [at(SIGNED, path)])
    assert found.reason is None or ("\n" not in found.reason and len(found.reason) < 1000)


@settings(max_examples=100, deadline=None)
@given(header=st.dictionaries(st.sampled_from(["kid", "jwk", "crit", "b64", "jku", "x5c", "typ"]), JSON, max_size=4))
def test_any_header_ends_in_a_finding(header: Json) -> None:
    """Whatever a token's header holds, under a signature that does not hold."""
    for algorithm in ("EdDSA", "RS256", "HS256", "\x1b[0m"):
        jws = CompactJws(b"e30.e30.AAAA", {"alg": algorithm, **header}, badge(), b"\0" * 64, algorithm)
        found = check_jws(jws, SIGNER.did, keys=offline_keys(), now_s=NOW_S)
        assert found.signature in ("invalid", "not-checked")
        assert found.scheme is not None
        assert found.scheme.isprintable()


@settings(max_examples=100, deadline=None)
@given(proof=JSON)
def test_any_proof_ends_in_a_finding(proof: Any) -> None:
    """Through the reader, as `verify` does it."""
    document = {**badge(), "proof": proof}
    found = check(read(json.dumps(document).encode()), keys=offline_keys(), contexts=CONTEXTS, now_s=NOW_S)
    assert found.signature in ("none", "invalid", "not-checked")


def test_nesting_as_deep_as_the_reader_allows() -> None:
    """1,000 levels inside a badge with a proof, in either canonical form."""
    deep = b'{"a":' * 980 + b"1" + b"}" * 980
    for suite in ("eddsa-rdfc-2022", "eddsa-jcs-2022"):
        document = {**sign(badge(), suite), "more": strict_json(deep)}
        assert judged(document).signature in ("invalid", "not-checked")
