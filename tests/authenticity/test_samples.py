"""Real badges of others, each found to be what the README beside them says: `shared/samples`.

Most of them are by issuers with https addresses that serve no keys: their signatures hold under keys that the badges
carry, so they are self-asserted until a key is pinned to the issuer, and verified then.
"""

from __future__ import annotations

import json

import pytest

from ledger.authenticity.check import check
from ledger.authenticity.keys import offline_keys, parse_pin
from ledger.authenticity.lists import check_foreign_status
from ledger.badges import Badge, read
from ledger.badges.jws import decode_compact
from tests.authenticity.builders import CONTEXTS, NOW_S, find
from tests.samples import shared_sample

#: The finding without pins, and the scheme.
FOUND = {
    "blockcerts-v3.json": ("not-checked", "merkle-proof-2019"),
    "clr2-simple.json": ("self-asserted", "eddsa-rdfc-2022"),
    "ob2-badgr-embedded.json": ("none", None),
    "ob2-baked-heart.png": ("none", None),
    "ob2-hosted-baked.png": ("none", None),
    "ob2-signed.jws": ("not-checked", "JWS RS256"),
    "ob3-bad-proof-value.json": ("invalid", "eddsa-rdfc-2022"),
    "ob3-baked-json.png": ("self-asserted", "eddsa-rdfc-2022"),
    "ob3-baked-jwt-rs256.png": ("self-asserted", "JWT RS256"),
    "ob3-baked-jwt-vc11.svg": ("self-asserted", "JWT RS256"),
    "ob3-didkey.json": ("verified", "eddsa-rdfc-2022"),
    "ob3-ed25519signature2020.json": ("self-asserted", "Ed25519Signature2020"),
    "ob3-eddsa-rdfc-2022.json": ("self-asserted", "eddsa-rdfc-2022"),
    "ob3-expired.json": ("self-asserted", "eddsa-rdfc-2022"),
    "ob3-noproof.json": ("none", None),
    "ob3-status-revoked.json": ("self-asserted", "eddsa-rdfc-2022"),
    "vc2-eddsa-jcs-2022.json": ("self-asserted", "eddsa-jcs-2022"),
    "vc2-tampered.json": ("invalid", "Ed25519Signature2020"),
    "vc2-two-proofs.json": ("verified", "eddsa-rdfc-2022 + Ed25519Signature2020"),
}


def key_of(badge: Badge) -> bytes:
    """The key that the badge carries, as a file to pin."""
    if badge.form == 1:
        return json.dumps(decode_compact(badge.canonical).header["jwk"]).encode()
    proof = badge.document["proof"]
    method = (proof[0] if isinstance(proof, list) else proof)["verificationMethod"]
    return str(method.partition("#")[2]).encode()


@pytest.mark.parametrize("name", FOUND)
def test_a_sample_is_found_to_be_what_it_is(name: str) -> None:
    """Offline, without pins."""
    found = find(shared_sample(name))
    assert (found.signature, found.scheme) == FOUND[name]


@pytest.mark.parametrize("name", [name for name, (word, _) in FOUND.items() if word == "self-asserted"])
def test_a_self_asserted_sample_is_verified_once_its_key_is_pinned(name: str) -> None:
    """To the issuer that it names."""
    badge = read(shared_sample(name))
    assert badge.issuer is not None
    found = check(badge, keys=offline_keys([parse_pin(badge.issuer, key_of(badge))]), contexts=CONTEXTS, now_s=NOW_S)
    assert (found.signature, found.issuer) == ("verified", badge.issuer)


def test_the_signed_open_badges_2_sample() -> None:
    """With its CryptographicKey pinned the signature holds; whose badge it is, its class at another address says."""
    text = shared_sample("ob2-signed.jws")
    key = parse_pin("http://example.org/key1.json", shared_sample("ob2-signed.key.json"))
    found = find(text, keys=offline_keys([key]))
    assert found.signature == "self-asserted"
    assert "https://example.org/robotics-badge.json" in str(found.reason)
    address, owner = "https://example.org/robotics-badge.json", "https://example.org/organization.json"
    badge_class = parse_pin(address, json.dumps({"type": "BadgeClass", "id": address, "issuer": owner}).encode())
    found = find(text, keys=offline_keys([key, badge_class]))
    assert (found.signature, found.issuer) == ("verified", owner)


def test_the_revoked_sample() -> None:
    """Its list says so, with the key of both pinned and without: badge and list are by the same key."""
    badge = read(shared_sample("ob3-status-revoked.json"))
    assert badge.issuer is not None
    answer = shared_sample("ob3-status-revoked.list.json")
    for keys in (offline_keys(), offline_keys([parse_pin(badge.issuer, key_of(badge))])):
        (found,) = check_foreign_status(
            badge, badge.status, fetch=lambda _: answer, keys=keys, contexts=CONTEXTS, now_s=NOW_S
        )
        assert (found.state, found.reason) == ("set", None)


def test_each_badge_in_the_transcript() -> None:
    """The credential in the CLR sample has a proof of its own, which holds."""
    document = read(shared_sample("clr2-simple.json")).document
    (inner,) = document["credentialSubject"]["verifiableCredential"]
    assert find(inner).signature == "self-asserted"
