"""Files around a genuine badge that show another one: who reads only the outside must not be told that it is valid."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ledger.badges import nested, read
from ledger.errors import BadgeElsewhere, MalformedBadge
from tests.made_samples import enveloped, made, serialised

TOKEN = made("ob3-jwt-eddsa")
ENVELOPE: dict[str, Any] = json.loads(enveloped(TOKEN))
FLATTENED: dict[str, Any] = json.loads(serialised(TOKEN))
FORGED: dict[str, Any] = {
    "issuer": {"id": "did:web:university.example", "name": "University"},
    "name": "PhD in Physics",
    "credentialSubject": {"id": "mailto:mallory@example.org", "achievement": {"name": "PhD in Physics"}},
}
TYPE = "EnvelopedVerifiableCredential"
V2 = "https://www.w3.org/ns/credentials/v2"

ENVELOPES: dict[str, dict[str, Any]] = {
    "a whole credential": FORGED | {"type": ["VerifiableCredential", "OpenBadgeCredential", TYPE]},
    "a credential of that type alone": FORGED,
    "a name": {"name": "PhD in Physics"},
    "a proof": {"proof": {"type": "DataIntegrityProof"}},
    "a status": {"credentialStatus": {"type": "BitstringStatusListEntry"}},
    "another id": {"@id": "data:application/vc+jwt,a.b.c"},
    "another type": {"@type": "VerifiableCredential"},
    "a name by its address": {"https://schema.org/name": "PhD in Physics"},
    "two types": {"type": [TYPE, "VerifiableCredential"]},
    "its type twice": {"type": [TYPE, TYPE]},
    "its type by its address": {"type": "https://www.w3.org/2018/credentials#" + TYPE},
    "a context of its own": {"@context": [V2, {"id": "urn:x"}]},
    "another context": {"@context": "https://www.w3.org/2018/credentials/v1"},
    "no context but null": {"@context": None},
    "a token beside": FLATTENED,
}


def dumps(document: Any) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize("name", ENVELOPES)
def test_an_envelope_holds_its_token_and_nothing_else(name: str) -> None:
    """Whatever else it says nobody signed; inside a transcript, neither."""
    forged = ENVELOPE | ENVELOPES[name]
    with pytest.raises(MalformedBadge, match="the badge is an envelope"):
        read(dumps(forged))
    record = json.loads(made("clr2-eddsa-rdfc-2022"))
    record["credentialSubject"]["verifiableCredential"] = [forged]
    with pytest.raises(MalformedBadge, match="the badge is an envelope"):
        nested(read(dumps(record)))


@pytest.mark.parametrize("spelling", [{"@type": TYPE}, {"@type": [TYPE], "@id": ENVELOPE["id"]}])
def test_an_envelope_in_keywords_is_none(spelling: dict[str, Any]) -> None:
    """A reader of JSON-LD sees the same; it is not guessed at here."""
    with pytest.raises(MalformedBadge, match="the badge is an envelope"):
        read(dumps(FORGED | {"@context": V2} | spelling))


@pytest.mark.parametrize("change", [{}, {"type": [TYPE]}, {"@context": [V2]}])
def test_a_plain_envelope_is_its_token(change: dict[str, Any]) -> None:
    """The very badge, and so the same commitment."""
    assert read(dumps(ENVELOPE | change)).canonical == TOKEN
    bare = {name: value for name, value in ENVELOPE.items() if name != "@context"}
    assert read(dumps(bare)).canonical == TOKEN


@pytest.mark.parametrize(
    "more",
    [
        FORGED,
        {"type": "BadgeClass", "name": "PhD in Physics"},
        {"id": "https://university.example/assertions/1"},
        {"@type": "Assertion", "badge": "x"},
    ],
)
def test_a_document_beside_the_address_of_a_badge_is_no_badge(more: dict[str, Any]) -> None:
    """The badge at that address may be valid, and says nothing of what is shown here."""
    address = {"verify": {"type": "hosted", "url": "https://school.example/assertions/1"}}
    for members in (address, address | {"@context": "https://w3id.org/openbadges/v1", "type": "Address"}):
        with pytest.raises(BadgeElsewhere):
            read(dumps(members))
    with pytest.raises(MalformedBadge, match=r"neither an Open Badges|has no credentialSubject") as caught:
        read(dumps(address | more))
    assert not isinstance(caught.value, BadgeElsewhere)


@pytest.mark.parametrize("more", [FORGED, {"type": TYPE, "id": ENVELOPE["id"]}, {"signatures": []}, {"@context": V2}])
def test_a_serialised_token_has_no_further_members(more: dict[str, Any]) -> None:
    """In both serialisations."""
    for general in (False, True):
        document = json.loads(serialised(TOKEN, general=general)) | more
        with pytest.raises(MalformedBadge):
            read(dumps(document))
