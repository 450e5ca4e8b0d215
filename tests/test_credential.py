"""Badges made here: what is filled in, what is refused, and that others verify the outcome."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openbadgeslib.ob3 import OB3LdpVerifier
from openvc.did.did_web import DidWebResolver
from openvc.errors import OpenvcError
from openvc.proof.data_integrity import DataIntegrityProofSuite

from ledger.authenticity.check import check
from ledger.authenticity.contexts import bundled_contexts
from ledger.authenticity.keys import offline_keys, parse_pin
from ledger.badges import canonical_json, read
from ledger.base58 import parse_base58
from ledger.cli.sign import EXAMPLE
from ledger.credential import (
    MAX_DOCUMENT_BYTES,
    OB3_CONTEXT,
    VC2_CONTEXT,
    add_status,
    complete,
    key_document,
    pinned_contexts,
    sign,
    verification_method,
)
from ledger.entry import did_key
from ledger.errors import InputError, LedgerError, MalformedBadge, TooLarge
from ledger.signing import Ed25519Key

KEY = Ed25519Key.from_seed(bytes(range(32)))
DID = did_key(KEY.public_key)
WEB = "did:web:academy.example"
ID = "urn:uuid:0b6f6c61-5b0a-4a4e-9a3f-0d1b7a1d9a01"
NOW_MS = 1_793_000_000_999
BASE = "https://ledger.example/2026/status/"
CREDENTIAL: dict[str, Any] = {"type": ["VerifiableCredential"], "credentialSubject": {"id": "did:example:subject"}}

NAMES = [
    "@context",
    "@id",
    "@type",
    "@graph",
    "@included",
    "@reverse",
    "@language",
    "type",
    "id",
    "issuer",
    "validUntil",
    "credentialSubject",
    "evidence",
    "name",
    "achievement",
    "criteria",
    "foo",
    "image",
    "refreshService",
    "termsOfUse",
    "credentialSchema",
    "relatedResource",
]
VALUES: list[Any] = [
    *(None, True, 0, 1.5, 1e300, "", "x", "https://a.example/x", "_:b", "@id", "did:example:1", "2026-01-01T00:00:00Z"),
    *([], [[]], [None], ["VerifiableCredential"]),
    *({}, {"a": 1}, {"@id": "x"}, {"@value": 1}, {"id": "urn:x:y"}, {"@context": {}}),
]


def document(**changes: Any) -> dict[str, Any]:
    """The example with members changed; None takes one away."""
    changed = {**copy.deepcopy(EXAMPLE), **changes}
    return {name: value for name, value in changed.items() if value is not None}


def completed(identifier: str = DID, **changes: Any) -> dict[str, Any]:
    return complete(document(**changes), identifier, new_id=ID, now_ms=NOW_MS)


def signed(identifier: str = DID, **changes: Any) -> dict[str, Any]:
    return sign(add_status(completed(identifier, **changes), BASE, 3 * 131_072 + 94_567), KEY, created_ms=NOW_MS)


class TestComplete:
    def test_what_is_absent_is_filled_in(self) -> None:
        """Contexts, id, issuer and validFrom; the rest stays as it was."""
        made = completed(issuer=None)
        assert made["@context"] == [VC2_CONTEXT, OB3_CONTEXT]
        assert made["id"] == ID
        assert made["issuer"] == {"id": DID, "type": ["Profile"]}
        assert made["validFrom"] == "2026-10-26T07:33:20Z"
        assert made["credentialSubject"] == EXAMPLE["credentialSubject"]

    def test_what_is_there_stays(self) -> None:
        """An id, dates, another context of Open Badges, the issuer's profile, an issuer that is only an identifier."""
        older = OB3_CONTEXT.replace("3.0.3", "3.0.2")
        own: dict[str, Any] = {"@context": [VC2_CONTEXT, older], "validFrom": "2020-01-01T00:00:00+01:00"}
        made = completed(id="https://a.example/1", **own)
        assert made["@context"] == [VC2_CONTEXT, older]
        assert (made["id"], made["validFrom"]) == ("https://a.example/1", "2020-01-01T00:00:00+01:00")
        assert made["issuer"] == {"id": DID, "type": ["Profile"], "name": "Example Academy"}
        assert completed(issuer=DID)["issuer"] == DID

    def test_a_credential_that_is_no_badge_gets_no_context_of_badges(self) -> None:
        """And its issuer is an identifier."""
        made = complete(CREDENTIAL, DID, new_id=ID, now_ms=NOW_MS)
        assert (made["@context"], made["issuer"]) == ([VC2_CONTEXT], DID)

    def test_the_document_is_not_changed(self) -> None:
        """Neither by completing nor by signing."""
        before = copy.deepcopy(EXAMPLE)
        signed()
        assert before == EXAMPLE

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"proof": {}}, "carries a proof already"),
            ({"credentialStatus": []}, "names status lists already"),
            ({"type": "OpenBadgeCredential"}, "no verifiable credential"),
            ({"@context": ["https://www.w3.org/2018/credentials/v1", OB3_CONTEXT]}, "VC 1.1"),
            ({"@context": OB3_CONTEXT}, "the first @context"),
            ({"@context": [VC2_CONTEXT, "https://a.example/terms"]}, "https://a.example/terms is not one"),
            ({"@context": [VC2_CONTEXT, {"more": "https://a.example/more"}]}, "terms of its own"),
            ({"@context": [VC2_CONTEXT, OB3_CONTEXT.replace("-3.0.3", "")]}, "has changed"),
            ({"issuer": "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"}, "the key signs for did:key:"),
            ({"issuer": {"id": 7}}, "the key signs for"),
            ({"validFrom": "2026-01-01"}, "validFrom is not a date and time with"),
            ({"validUntil": "soon"}, "validUntil is not a date and time with"),
            ({"validUntil": "2026-13-01T00:00:00Z"}, "validUntil is not a date"),
            ({"credentialSubject": None}, "no credentialSubject"),
            ({"colour": "red", "shade": {"of": 1}}, "defines colour, shade: the proof would not cover"),
            ({"issuanceDate": "2026-01-01T00:00:00Z"}, "defines issuanceDate"),
        ],
    )
    def test_what_no_verifier_would_accept_is_refused_with_the_reason(
        self, changes: dict[str, Any], sentence: str
    ) -> None:
        """One sentence each."""
        with pytest.raises(InputError, match=sentence):
            completed(**changes)

    @pytest.mark.parametrize("name", ["id", "type", "name", "description", "criteria"])
    def test_an_achievement_lacks_nothing(self, name: str) -> None:
        """What Open Badges 3.0 requires of it is named where it is missing."""
        subject = copy.deepcopy(EXAMPLE["credentialSubject"])
        del subject["achievement"][name]
        with pytest.raises(MalformedBadge, match=rf"achievement has no {name},"):
            completed(credentialSubject=subject)

    @pytest.mark.parametrize("name", ["type", "id", "achievement"])
    def test_a_subject_lacks_nothing(self, name: str) -> None:
        """Its type, whom it is about, and for what."""
        subject = {member: value for member, value in EXAMPLE["credentialSubject"].items() if member != name}
        with pytest.raises(MalformedBadge, match="credentialSubject"):
            completed(credentialSubject=subject)

    def test_a_badge_that_others_do_not_read_for_its_size_is_refused(self) -> None:
        """252 KiB are accepted and leave room for the proof, a byte more is not."""
        room = MAX_DOCUMENT_BYTES - len(json.dumps(completed(name=""), separators=(",", ":")))
        largest = sign(add_status(completed(name="n" * room), BASE, 2**63 - 1), KEY, created_ms=NOW_MS)
        assert len(canonical_json(largest)) <= 256 * 1024
        OB3LdpVerifier().verify(json.dumps(largest, separators=(",", ":")))
        with pytest.raises(TooLarge):
            completed(name="n" * (room + 1))

    def test_a_term_inside_is_found_too(self) -> None:
        """JSON-LD drops terms at any depth."""
        subject = copy.deepcopy(EXAMPLE["credentialSubject"])
        subject["achievement"]["criteria"]["hint"] = "x"
        with pytest.raises(MalformedBadge, match="defines hint:"):
            completed(credentialSubject=subject)


class TestAddStatus:
    def test_both_entries_name_the_slot(self) -> None:
        """By list and index, the index as a string, and an id that is not the list's address."""
        entries = add_status({}, BASE, 3 * 131_072 + 94_567)["credentialStatus"]
        for purpose, entry in zip(("revocation", "suspension"), entries, strict=True):
            assert entry == {
                "id": f"{BASE}3/{purpose}#94567",
                "type": "BitstringStatusListEntry",
                "statusPurpose": purpose,
                "statusListIndex": "94567",
                "statusListCredential": f"{BASE}3/{purpose}",
            }

    def test_the_ledgers_own_reader_finds_the_slot(self) -> None:
        """As `issue` and `verify` do."""
        badge = read(json.dumps(signed()).encode())
        assert {(entry.status_list_index, entry.status_purpose) for entry in badge.status} == {
            (94_567, "revocation"),
            (94_567, "suspension"),
        }


class TestSign:
    def test_openvc_verifies_it_by_the_did_key(self) -> None:
        """Without a key being handed to it."""
        found = DataIntegrityProofSuite().verify(signed(), extra_contexts=pinned_contexts())
        assert found.issuer == DID

    def test_openbadgeslib_verifies_it(self) -> None:
        """And reads the same badge."""
        assert OB3LdpVerifier().verify(json.dumps(signed())).issuer.id == DID

    def test_the_same_document_and_time_give_the_same_proof(self) -> None:
        """Ed25519 draws no numbers. The time counts to the second."""
        assert signed() == signed()
        assert signed()["proof"]["created"] == "2026-10-26T07:33:20Z"

    @pytest.mark.parametrize("path", [("name",), ("issuer", "name"), ("credentialStatus", 0, "statusListIndex")])
    def test_the_proof_covers_it(self, path: tuple[str | int, ...]) -> None:
        """A change anywhere breaks it."""
        changed: Any = signed()
        place = changed
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = "7"
        with pytest.raises(Exception, match="does not verify"):
            DataIntegrityProofSuite().verify(changed, extra_contexts=pinned_contexts())

    @pytest.mark.parametrize(
        ("changes", "place"),
        [
            ({"id": "alice@example.org"}, "/id"),
            ({"type": ["VerifiableCredential", "OpenBadgeCredential", "Medal"]}, "/type/2"),
            ({"name": [["nested"]]}, "/name"),
        ],
    )
    def test_json_ld_that_a_proof_cannot_cover_is_refused_by_place_and_never_by_value(
        self, changes: dict[str, Any], place: str
    ) -> None:
        """What stands there may be somebody's address."""
        with pytest.raises(MalformedBadge, match=place) as caught:
            signed(**changes)
        assert "alice" not in caught.value.detail

    def test_deep_nesting_is_one_sentence(self) -> None:
        """JSON-LD processors recurse; the stack is not the user's concern."""
        nested: Any = {}
        for _ in range(900):
            nested = {"evidence": nested}
        with pytest.raises(LedgerError):
            signed(evidence=nested)


class TestOddDocuments:
    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def test_whatever_stands_in_a_document_ends_in_a_badge_or_a_sentence(self, data: st.DataObject) -> None:
        """Values of every kind under every name that JSON-LD or a badge gives a meaning; never another exception."""
        odd = copy.deepcopy(EXAMPLE)
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.sampled_from(_places(odd)))
            value = copy.deepcopy(data.draw(st.sampled_from(VALUES)))
            if isinstance(place, dict):
                place[data.draw(st.sampled_from([*NAMES, *place]))] = value
            else:
                place.insert(0, value)
        with suppress(LedgerError):
            made = complete(odd, DID, new_id=ID, now_ms=NOW_MS)
            sign(add_status(made, BASE, 1), KEY, created_ms=NOW_MS)

    def test_a_context_inside_that_is_no_address_is_one_sentence(self) -> None:
        """What the test above found: the processor raises an error of another kind for it."""
        subject = copy.deepcopy(EXAMPLE["credentialSubject"])
        subject["achievement"]["@context"] = ["VerifiableCredential"]
        with pytest.raises(MalformedBadge, match="not JSON-LD"):
            completed(credentialSubject=subject)


def _places(value: Any) -> list[Any]:
    """Every object and array in a document."""
    inside = value.values() if isinstance(value, dict) else value
    return [value, *(place for child in inside if isinstance(child, dict | list) for place in _places(child))]


class TestKeys:
    def test_the_key_of_a_did_key_is_in_it(self) -> None:
        """did:key:z6Mk#z6Mk; nothing is to be published."""
        assert verification_method(DID, KEY.public_key) == f"{DID}#{DID.removeprefix('did:key:')}"
        assert key_document(DID, KEY.public_key) is None

    @pytest.mark.parametrize("identifier", [WEB, "https://academy.example/issuer"])
    def test_any_other_issuer_has_to_list_the_key(self, identifier: str) -> None:
        """The document to publish names the very method that stands in the proof, with the very key."""
        proof = signed(identifier, issuer={"type": ["Profile"], "name": "Academy"})["proof"]
        published = key_document(identifier, KEY.public_key)
        assert published is not None
        (method,) = published["verificationMethod"]
        assert published["assertionMethod"] == [method["id"]] == [proof["verificationMethod"]]
        assert (published["id"], method["controller"]) == (identifier, identifier)
        assert parse_base58(method["publicKeyMultibase"][1:]) == b"\xed\x01" + KEY.public_key

    def test_who_serves_the_printed_document_is_verified(self) -> None:
        """openvc takes the key of a did:web from it, this program from it as a pin; without the method neither does."""
        badge = signed(WEB)
        document = key_document(WEB, KEY.public_key)
        assert document is not None
        resolver = DidWebResolver(lambda url: document)
        found = DataIntegrityProofSuite().verify(badge, resolver=resolver, extra_contexts=pinned_contexts())
        assert found.issuer == WEB
        keys = offline_keys([parse_pin(WEB, json.dumps(document).encode())])
        contexts = bundled_contexts()
        now_s = NOW_MS // 1000
        own = check(read(json.dumps(badge).encode()), keys=keys, contexts=contexts, now_s=now_s)
        assert (own.signature, own.reason) == ("verified", None)
        without = {**document, "assertionMethod": []}
        with pytest.raises(OpenvcError):
            DataIntegrityProofSuite().verify(
                badge, resolver=DidWebResolver(lambda url: without), extra_contexts=pinned_contexts()
            )

    def test_this_program_verifies_what_it_signs(self) -> None:
        """By the did:key alone, also under an https identifier whose document it has been given."""
        own = check(
            read(json.dumps(signed()).encode()),
            keys=offline_keys(),
            contexts=bundled_contexts(),
            now_s=NOW_MS // 1000,
        )
        assert own.signature == "verified"
        https = "https://academy.example/issuer"
        document = json.dumps(key_document(https, KEY.public_key)).encode()
        badge = signed(https, issuer={"type": ["Profile"], "name": "Academy"})
        own = check(
            read(json.dumps(badge).encode()),
            keys=offline_keys([parse_pin(https, document)]),
            contexts=bundled_contexts(),
            now_s=NOW_MS // 1000,
        )
        assert (own.signature, own.reason) == ("verified", None)

    @pytest.mark.parametrize("identifier", [did_key(bytes([7]) + bytes(31)), "did:jwk:eyJrdHkiOiJPS1AifQ"])
    def test_a_did_that_is_one_key_has_no_other(self, identifier: str) -> None:
        """A further key of such an issuer anchors badges, and cannot sign them."""
        with pytest.raises(InputError, match="is another key than this one"):
            verification_method(identifier, KEY.public_key)
