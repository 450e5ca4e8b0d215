"""Identifiers and pins: one key has one identifier, and a pin that cannot be read is refused at once."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ledger.authenticity.keys import MAX_DOCUMENT_BYTES, offline_keys, parse_pin
from ledger.authenticity.model import Authenticity, ListFinding, NotChecked, shown
from ledger.authenticity.publickey import parse_jwk, parse_multikey
from ledger.badges import StatusEntry
from ledger.base58 import format_base58, parse_base58
from ledger.errors import MalformedInput
from tests.authenticity.builders import OTHER, SIGNER, Signer, badge, find, sign
from tests.authenticity.test_jwt import did_jwk

ISSUER = "https://example.com/issuers/1"


@pytest.mark.parametrize("kind", ["Ed25519", "P-256", "P-384"])
def test_a_key_is_the_same_in_every_form(kind: str) -> None:
    """Multikey, JWK, did:key and did:jwk."""
    signer = Signer(kind)
    key = parse_multikey(signer.multikey)
    assert key.kind == kind
    assert parse_jwk(signer.jwk()) == key
    keys = offline_keys()
    for did, fragment in ((signer.did, signer.multikey), (did_jwk(signer.jwk()), "0")):
        (method,) = keys.holder(did).methods
        assert (method.id, method.key, method.asserts) == (f"{did}#{fragment}", key, True)
    assert parse_multikey(Signer(kind, seed=2).multikey) != key


RAW = parse_base58(SIGNER.multikey[1:])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "z",
        SIGNER.multikey[1:],
        "u" + base64.urlsafe_b64encode(RAW).decode(),
        "z1" + SIGNER.multikey[1:],
        SIGNER.multikey + "1",
        SIGNER.multikey + " ",
        SIGNER.multikey.upper(),
        "z" + format_base58(RAW[:-1]),
        "z" + format_base58(RAW + b"\0"),
        # The same multicodec number as a longer varint.
        "z" + format_base58(b"\xed\x81\x00" + RAW[2:]),
        # X25519, secp256k1, and an uncompressed point of P-256.
        "z" + format_base58(b"\xec\x01" + RAW[2:]),
        "z" + format_base58(b"\xe7\x01" + b"\x02" + RAW[2:]),
        "z" + format_base58(b"\x80\x24" + b"\x04" + bytes(64)),
        "z" + format_base58(b"\x80\x24" + b"\x02" + b"\xff" * 32),
    ],
)
def test_another_text_is_no_identifier(text: str) -> None:
    """Neither for the same key nor for one that is not known."""
    with pytest.raises(MalformedInput):
        parse_multikey(text)
    with pytest.raises(NotChecked):
        offline_keys().holder(f"did:key:{text}")


@pytest.mark.parametrize("text", ["", "e30", "AAAA", "e30=", "W10", "eyJhIjoxLCJhIjoyfQ", "!"])
def test_a_did_jwk_that_holds_no_key_is_refused(text: str) -> None:
    """Empty, padded, no object, two names."""
    with pytest.raises(NotChecked):
        offline_keys().holder(f"did:jwk:{text}")


def test_a_did_key_of_small_order_signs_nothing() -> None:
    """Under it a signature would hold for many messages; `ledger.signing` refuses it."""
    low = "z" + format_base58(b"\xed\x01" + b"\x01" + bytes(31))
    document = sign(badge(f"did:key:{low}"), method=f"did:key:{low}#{low}")
    document["proof"]["proofValue"] = "z" + format_base58(b"\x01" + bytes(63))
    assert find(document).signature == "invalid"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "not a Multikey"),
        (b"{}", "about another id"),
        (b'{"id": "https://example.com/other"}', "about another id"),
        (json.dumps({"id": ISSUER}).encode(), "holds no key"),
        (b'{"keys": []}', "holds no key"),
        (b'{"keys": [{"kty": "oct", "k": "AA"}]}', "holds no key"),
        (b'{"kty": "EC"}', "neither Ed25519 nor"),
        (b'{"a": 1, "a": 2}', "the document's JSON has an object with the same name twice"),
        (b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----", "not a public key"),
        (b"\xff\xfe", "neither JSON nor PEM"),
        (b"{" + b" " * MAX_DOCUMENT_BYTES + b"}", "larger than"),
        (b'{"type": "BadgeClass", "id": "https://example.com/issuers/1"}', "names no issuer"),
        (b'{"type": "BadgeClass", "id": "https://example.com/x", "issuer": "https://a.example"}', "another id"),
    ],
)
def test_a_pin_that_cannot_be_read_is_refused(file: bytes, message: str) -> None:
    """In one sentence."""
    with pytest.raises(MalformedInput, match=message):
        parse_pin(ISSUER, file)


def test_a_pin_without_an_identifier_is_refused() -> None:
    """And one with a whole novel."""
    for identifier in ("", "x" * 5000):
        with pytest.raises(MalformedInput, match="an identifier to pin"):
            parse_pin(identifier, SIGNER.multikey.encode())


def test_the_first_of_two_pins_counts() -> None:
    """For one identifier."""
    pins = [parse_pin(ISSUER, signer.multikey.encode()) for signer in (SIGNER, OTHER)]
    assert offline_keys(pins).holder(ISSUER).methods[0].key == parse_multikey(SIGNER.multikey)


def test_a_pinned_profile_with_its_keys() -> None:
    """Open Badges 2.0: embedded keys of the profile's own, and no others."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    def key(signer: Signer, owner: str, name: str) -> dict[str, Any]:
        pem = signer.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        return {"type": "CryptographicKey", "id": name, "owner": owner, "publicKeyPem": pem}

    profile = {
        "type": "Profile",
        "id": ISSUER,
        "publicKey": [key(SIGNER, ISSUER, f"{ISSUER}#a"), key(OTHER, "https://evil.example", f"{ISSUER}#b"), "x", 7],
    }
    holder = parse_pin(ISSUER, json.dumps(profile).encode()).holder
    assert holder is not None
    assert [method.id for method in holder.methods] == [f"{ISSUER}#a"]


def test_findings_have_reasons_where_they_need_them() -> None:
    """A finding without the reason that it needs is a fault of the code, and says so."""
    with pytest.raises(ValueError, match="invalid with the reason None"):
        Authenticity("invalid", "x")
    with pytest.raises(ValueError, match="verified with the reason"):
        Authenticity("verified", "x", reason="why")
    with pytest.raises(ValueError, match="unknown with the reason None"):
        ListFinding(StatusEntry("https://a.example", 1, "revocation"), "unknown")


def test_what_is_shown_is_one_plain_line() -> None:
    """Control characters and other scripts become question marks, long texts are cut."""
    assert shown("a\x1b[31m\nb\u202e") == "`a?[31m?b?`"
    assert len(shown("x" * 10_000)) < 210
    assert shown(7) == "what is no text"
