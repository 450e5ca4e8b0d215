"""Embedded proofs: what holds is verified, whatever is altered is not, and what is not known is said to be so."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.authenticity.check import check_document
from ledger.authenticity.keys import offline_keys, parse_pin
from ledger.base58 import format_base58, parse_base58
from tests.authenticity.builders import (
    CONTEXTS,
    NOW_S,
    OTHER,
    SIGNER,
    V1,
    V2,
    V2_2020,
    Json,
    Signer,
    badge,
    changed,
    find,
    sign,
    sign_options,
)

SUITES = [
    ("eddsa-rdfc-2022", "Ed25519"),
    ("eddsa-jcs-2022", "Ed25519"),
    ("Ed25519Signature2020", "Ed25519"),
    ("ecdsa-rdfc-2019", "P-256"),
    ("ecdsa-rdfc-2019", "P-384"),
    ("ecdsa-jcs-2019", "P-256"),
    ("ecdsa-jcs-2019", "P-384"),
]


def signed(suite: str, kind: str = "Ed25519", **members: Any) -> Json:
    signer = Signer(kind)
    return sign(badge(signer.did, V2_2020 if suite == "Ed25519Signature2020" else None, **members), suite, signer)


@pytest.mark.parametrize(("suite", "kind"), SUITES)
def test_a_signed_badge_is_verified(suite: str, kind: str) -> None:
    """By every suite, with the key's name, the suite's and the issuer's, and without a reason."""
    found = find(signed(suite, kind))
    assert (found.signature, found.scheme, found.reason) == ("verified", suite, None)
    assert (found.key, found.issuer) == (Signer(kind).method, Signer(kind).did)


@pytest.mark.parametrize(("suite", "kind"), SUITES)
@pytest.mark.parametrize(
    "path",
    [
        ("name",),
        ("id",),
        ("issuer", "name"),
        ("credentialSubject", "id"),
        ("credentialSubject", "achievement", "criteria", "narrative"),
        ("proof", "created"),
    ],
)
def test_an_altered_badge_is_invalid(suite: str, kind: str, path: tuple[str, ...]) -> None:
    """Whichever member it is, the proof's own included."""
    value = "2023-01-01T00:00:00Z" if path[-1] == "created" else "urn:altered"
    assert find(changed(signed(suite, kind), *path, to=value)).signature == "invalid"


@pytest.mark.parametrize(("suite", "kind"), SUITES)
def test_every_byte_of_a_signature_counts(suite: str, kind: str) -> None:
    """One bit of any byte flipped: never verified."""
    document = signed(suite, kind)
    raw = parse_base58(document["proof"]["proofValue"][1:])
    places = range(len(raw)) if suite.endswith("jcs-2022") else range(0, len(raw), 9)
    for place in places:
        spoilt = bytearray(raw)
        spoilt[place] ^= 1 << (place % 8)
        found = find(changed(document, "proof", "proofValue", to="z" + format_base58(bytes(spoilt))))
        assert found.signature == "invalid", place


@pytest.mark.parametrize("value", [None, "", "z", "u" + "A" * 86, 7, "z" + "1" * 64, "z" + "2" * 5000, "zO0Il"])
def test_a_broken_proof_value_is_invalid(value: Any) -> None:
    """Another encoding, another length, no text at all."""
    assert find(changed(signed("eddsa-rdfc-2022"), "proof", "proofValue", to=value)).signature == "invalid"


@pytest.mark.parametrize("context", [V1, V2])
def test_both_data_models(context: list[str]) -> None:
    """VC 1.1 with its own contexts, and VC 2.0."""
    suite = "Ed25519Signature2020" if context is V1 else "eddsa-rdfc-2022"
    assert find(sign(badge(context=context), suite)).signature == "verified"


def test_no_proof_is_none() -> None:
    """And has neither scheme nor reason."""
    found = find(badge())
    assert (found.signature, found.scheme, found.reason) == ("none", None, None)
    assert find({**badge(), "proof": []}).signature == "none"


@pytest.mark.parametrize("proof", ["x", [1], [None], {}, [[]], True])
def test_what_is_no_proof_is_never_verified(proof: Any) -> None:
    """A proof of no shape."""
    assert find({**badge(), "proof": proof}).signature in ("invalid", "not-checked")


def test_a_key_of_another_did_is_invalid() -> None:
    """Its signature holds, but the issuer is a DID that says which key it has."""
    found = find(sign(badge(), signer=OTHER))
    assert found.signature == "invalid"
    assert found.reason is not None
    assert "issuer" in found.reason


def test_the_issuers_name_with_another_key_is_invalid() -> None:
    """The proof names the issuer's key and is made with another."""
    assert find(sign(badge(), signer=OTHER, method=SIGNER.method)).signature == "invalid"
    assert find(sign(badge(), method=f"{SIGNER.did}#{OTHER.multikey}")).signature == "invalid"
    assert find(sign(badge(), method=f"{SIGNER.did}#key-1")).signature == "invalid"


def test_a_proof_moved_to_another_badge_is_invalid() -> None:
    """Also between badges of one issuer."""
    one, two = sign(badge()), sign(badge(name="Another"))
    assert find({**one, "proof": two["proof"]}).signature == "invalid"


def test_a_proof_under_another_suite_is_invalid() -> None:
    """The suite's name is signed, and a key goes with its suites only."""
    document = sign(badge())
    assert find(changed(document, "proof", "cryptosuite", to="eddsa-jcs-2022")).signature == "invalid"
    found = find(changed(document, "proof", "cryptosuite", to="ecdsa-rdfc-2019"))
    assert found.signature == "invalid"
    assert found.reason == "the key is not one that ecdsa-rdfc-2019 signs with"


def test_several_proofs_must_all_hold() -> None:
    """Two that hold are verified; one that does not hold, is unknown, or is somebody else's lowers the badge."""
    two = sign(sign(badge(context=V2_2020)), "Ed25519Signature2020")
    found = find(two)
    assert (found.signature, found.scheme) == ("verified", "eddsa-rdfc-2022 + Ed25519Signature2020")
    for place in (0, 1):
        assert find(changed(two, "proof", place, "created", to="2023-01-01T00:00:00Z")).signature == "invalid"
        unknown = find(changed(two, "proof", place, "type", to="BbsBlsSignature2020"))
        assert unknown.signature == "not-checked"
        assert unknown.notes == (
            f"one of its proofs ({unknown.scheme.split(' + ')[0] if unknown.scheme else ''}) is "
            + ("not-checked" if place == 0 else "verified"),
            f"one of its proofs ({unknown.scheme.split(' + ')[1] if unknown.scheme else ''}) is "
            + ("verified" if place == 0 else "not-checked"),
        )
    assert find(sign(two, signer=OTHER)).signature == "invalid"


def test_proofs_with_the_same_id_are_invalid() -> None:
    """A `previousProof` could mean either."""
    document = sign(badge())
    twice = [{**document["proof"], "id": "urn:p"}, {**document["proof"], "id": "urn:p"}]
    found = find({**document, "proof": twice})
    assert found.signature == "invalid"
    assert "same id" in str(found.reason)


def test_more_proofs_than_the_limit_are_not_checked() -> None:
    """16 are, 17 are not."""
    document = sign(badge(), "eddsa-jcs-2022")
    assert find({**document, "proof": [document["proof"]] * 16}).signature == "verified"
    assert find({**document, "proof": [document["proof"]] * 17}).signature == "not-checked"


def options(**members: Any) -> Json:
    """Options of a proof, as they are signed."""
    return {
        "@context": V2,
        "type": "DataIntegrityProof",
        "cryptosuite": "eddsa-rdfc-2022",
        "created": "2024-01-02T00:00:00Z",
        "verificationMethod": SIGNER.method,
        "proofPurpose": "assertionMethod",
        **members,
    }


@pytest.mark.parametrize(
    ("members", "signature", "reason"),
    [
        ({}, "verified", None),
        ({"domain": "example.com", "challenge": "x", "nonce": "y"}, "verified", None),
        ({"proofPurpose": "authentication"}, "invalid", "the proof is not for assertionMethod"),
        ({"expires": "2026-01-01T00:00:00Z"}, "invalid", "the proof itself has expired"),
        ({"expires": "2100-01-01T00:00:00Z"}, "verified", None),
        ({"created": "2099-01-01T00:00:00Z"}, "invalid", "the proof says that it is made in the future"),
        ({"created": "yesterday"}, "invalid", "the proof has a date that cannot be read"),
        ({"created": None}, "verified", None),
        (
            {"previousProof": "urn:p"},
            "not-checked",
            "the proof builds on another one; chains of proofs are not checked",
        ),
    ],
)
def test_the_options_of_a_proof(members: Json, signature: str, reason: str | None) -> None:
    """Purpose, dates and chains, all validly signed."""
    found = find({**badge(), "proof": sign_options(badge(), options(**members))})
    assert (found.signature, found.reason) == (signature, reason)


@pytest.mark.parametrize("suite", ["MerkleProof2019", "merkle-proof-2019", "MerkleProof2017"])
def test_a_blockcerts_proof_is_not_checked(suite: str) -> None:
    """And is called what it is."""
    kind = {"type": suite} if suite[0] == "M" else {"type": "DataIntegrityProof", "cryptosuite": suite}
    found = find({**badge(), "proof": {**kind, "proofValue": "z1", "proofPurpose": "assertionMethod"}})
    assert (found.signature, found.scheme) == ("not-checked", suite)
    assert found.reason == "a Blockcerts chain proof is not checked: it needs the block chain"


def test_a_suite_that_is_not_known_is_named_without_its_text() -> None:
    """A name that is no name does not reach the terminal."""
    known = find({**badge(), "proof": {"type": "DataIntegrityProof", "cryptosuite": "bbs-2023"}})
    assert (known.signature, known.reason) == ("not-checked", "the suite `bbs-2023` is not known")
    hostile = find({**badge(), "proof": {"type": "DataIntegrityProof", "cryptosuite": "\x1b[31mverified"}})
    assert (hostile.signature, hostile.scheme) == ("not-checked", "unknown")


def test_a_missing_context_is_named() -> None:
    """And nothing is fetched."""
    document = changed(sign(badge()), "@context", to=[*V2, "https://w3id.org/blockcerts/v3.1"])
    found = find(document)
    assert (found.signature, found.reason) == ("not-checked", "context `https://w3id.org/blockcerts/v3.1` missing")


@pytest.mark.parametrize(
    "change",
    [
        {"undefined": "x"},
        {"credentialSubject": {**badge()["credentialSubject"], "undefined": {"a": 1}}},
        {"type": ["VerifiableCredential", "OpenBadgeCredential", "Undefined"]},
        {"revoked2": [1, 2]},
        {"evidence": "no address"},
    ],
)
def test_what_the_signature_does_not_cover_is_not_verified(change: Json) -> None:
    """A member, a type or an identifier that vanishes on the way to RDF: anybody could add it to a signed badge."""
    document = sign(badge())
    found = find({**document, **change})
    assert found.signature == "invalid"
    whole_json = sign(badge(**change), "eddsa-jcs-2022")
    assert find(whole_json).signature == "verified"


@pytest.mark.parametrize(
    "respell",
    [
        lambda d: {**d, "https://www.w3.org/2018/credentials#validUntil": d["validUntil"], "validUntil": None},
        lambda d: {**{k: v for k, v in d.items() if k != "validUntil"}, "evidence": {"id": d["id"], "validUntil": "x"}},
        lambda d: {**{k: v for k, v in d.items() if k != "name"}, "@included": []},
        lambda d: {**d, "name": [[d["name"]]]},
        lambda d: {**d, "@context": [*V2, {"until": "https://www.w3.org/2018/credentials#validUntil"}]},
        lambda d: {**d, "@context": [*V2, {"@vocab": "https://example.com/"}]},
        lambda d: {**d, "@context": [*V2, {"@import": V2[0]}]},
        lambda d: {**d, "@context": [*V2, None]},
        lambda d: {**d, "@context": {}},
        lambda d: {k: v for k, v in d.items() if k != "@context"},
    ],
)
def test_another_spelling_of_what_is_signed_is_not_verified(respell: Any) -> None:
    """The same RDF, but an expiry, a name or a status that a reader of the JSON does not find."""
    document = sign(badge(validUntil="2026-01-01T00:00:00Z"))
    assert find(document).signature == "verified"
    found = check_document(respell(document), SIGNER.did, keys=offline_keys(), contexts=CONTEXTS, now_s=NOW_S)
    assert found.signature in ("invalid", "not-checked")


def test_a_status_entry_moved_out_of_sight_is_not_verified() -> None:
    """RDF does not tell whether the entry is described under credentialStatus or elsewhere."""
    entry = {
        "id": "https://example.com/status/1#5",
        "type": "BitstringStatusListEntry",
        "statusPurpose": "revocation",
        "statusListIndex": "5",
        "statusListCredential": "https://example.com/status/1",
    }
    stub = {"id": entry["id"]}
    both = badge(credentialStatus=entry, evidence={"id": entry["id"]})
    document = {**both, "proof": sign_options(both, options())}
    assert find(document).signature == "verified"
    hidden = {**document, "credentialStatus": stub, "evidence": entry}
    assert find(hidden).signature in ("invalid", "not-checked")


def test_a_proof_with_another_context_than_the_badge_is_invalid() -> None:
    """By either canonical form."""
    for suite in ("eddsa-rdfc-2022", "eddsa-jcs-2022"):
        document = sign(badge(), suite)
        assert find(changed(document, "proof", "@context", to=V2[:1])).signature == "invalid"


def test_dates_of_the_badge_are_not_the_signatures() -> None:
    """An expired badge can be authentic."""
    assert find(sign(badge(validUntil="2024-06-01T00:00:00Z")), now_s=NOW_S).signature == "verified"


def test_a_key_in_the_method_of_an_https_issuer_is_self_asserted_until_pinned() -> None:
    """1EdTech's way of naming keys: the Multikey after the issuer's address."""
    issuer = "https://example.com/issuers/1"
    document = sign(badge(issuer), method=f"{issuer}#{SIGNER.multikey}")
    found = find(document)
    assert (found.signature, found.issuer) == ("self-asserted", None)
    assert "the badge itself carries its key" in str(found.reason)
    pinned = find(document, keys=offline_keys([parse_pin(issuer, SIGNER.multikey.encode())]))
    assert (pinned.signature, pinned.issuer) == ("verified", issuer)
    wrong = find(document, keys=offline_keys([parse_pin(issuer, OTHER.multikey.encode())]))
    assert wrong.signature == "invalid"
    elsewhere = find(
        document, keys=offline_keys([parse_pin("https://example.com/issuers/2", SIGNER.multikey.encode())])
    )
    assert elsewhere.signature == "self-asserted"


def test_a_did_key_under_an_https_issuer_is_self_asserted() -> None:
    """It holds, but nobody but the signer says that it is the issuer's."""
    assert find(sign(badge("https://example.com/issuers/1"))).signature == "self-asserted"


@pytest.mark.parametrize("method", [None, 7, {"id": "x"}, "", "did:web:example.com#k", "did:key:zzz#zzz"])
def test_a_method_without_a_key_is_not_verified(method: Any) -> None:
    """Absent, no text, or of an identifier that nobody knows."""
    assert find(changed(sign(badge()), "proof", "verificationMethod", to=method)).signature in (
        "invalid",
        "not-checked",
    )
