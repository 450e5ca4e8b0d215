"""ledger.badges.commitment: the bytes of wire.md "Commitment", computed here a second time with hashlib."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from ledger.badges import commitment, derive_salt, needs_salt, read
from ledger.errors import MalformedBadge
from tests.samples import BadgeIssuer, bake, ob2_hosted, ob2_jws, ob3_json, ob3_jwt, samples

ISSUER = BadgeIssuer(bytes(range(32)))
SALT = bytes(range(100, 132))
TAG = b"badge-ledger/v1 commitment\n"

HOSTED = b"""{
  "type": "Assertion", "@context": "https://w3id.org/openbadges/v2",
  "recipient": {"type": "email", "hashed": true, "identity": "sha256$00"},
  "verification": {"type": "hosted"}, "id": "https://example.org/a/1", "credits": 1.50, "n\\u0061me": "\\u00e9\\/"
}"""
HOSTED_CANONICAL = (
    '{"@context":"https://w3id.org/openbadges/v2","credits":1.5,"id":"https://example.org/a/1","name":"é/",'
    '"recipient":{"hashed":true,"identity":"sha256$00","type":"email"},"type":"Assertion",'
    '"verification":{"type":"hosted"}}'
).encode()


def test_json_commitment_is_over_the_canonical_document() -> None:
    """Form 2, salted: tag, 02, 20, salt, RFC 8785 text written by hand."""
    badge = read(HOSTED)
    assert badge.canonical == HOSTED_CANONICAL
    assert commitment(badge, SALT) == hashlib.sha256(TAG + b"\x02\x20" + SALT + HOSTED_CANONICAL).digest()
    assert commitment(badge, SALT).hex() == "d1f84925bffac194f48a6e2c7fe583277e4ba85f0b58d725eeca63e1b1c5173c"


def test_jws_commitment_is_over_the_exact_token() -> None:
    """Form 1, without salt and with one: tag, 01, length, salt, the token's own bytes."""
    token = ob2_jws(ISSUER, 1)
    assert commitment(read(token)) == hashlib.sha256(TAG + b"\x01\x00" + token).digest()
    assert commitment(read(token), SALT) == hashlib.sha256(TAG + b"\x01\x20" + SALT + token).digest()
    assert commitment(read(token)).hex() == "f93b06bdf667e04e4cd1c63b46ee10a741d9e737e8d0f14e8ebfc0fcaaeb25e1"


def test_proof_is_part_of_the_commitment() -> None:
    """The whole document counts: another proof value is another badge."""
    document = json.loads(ob3_json(ISSUER, 1))
    first = commitment(read(json.dumps(document).encode()))
    document["proof"]["proofValue"] = document["proof"]["proofValue"][::-1]
    assert commitment(read(json.dumps(document).encode())) != first


def test_any_wrapping_gives_the_same_commitment() -> None:
    """Plain, reformatted, escaped, surrounded by whitespace or baked under either keyword: one commitment."""
    for text in (ob3_json(ISSUER, 1), ob2_hosted(ISSUER, 2)):
        shuffled = dict(reversed(json.loads(text).items()))
        variants = [
            text,
            json.dumps(shuffled, indent=3).encode(),
            json.dumps(json.loads(text), separators=(",", ":")).replace("a", "\\u0061").encode(),
            b"\r\n\t " + text + b"\n",
            bake(text),
            bake(text, keyword=b"openbadges"),
            bake(b"\n" + text + b"\n"),
        ]
        assert len({commitment(read(variant), SALT) for variant in variants}) == 1
    for token in (ob3_jwt(ISSUER, 3), ob2_jws(ISSUER, 4)):
        variants = [token, b" " + token + b"\r\n", bake(token), bake(token + b"\n", keyword=b"openbadges")]
        assert len({commitment(read(variant)) for variant in variants}) == 1


def test_distinct_badges_have_distinct_commitments() -> None:
    """Every form and every recipient has a commitment of its own; a JSON text is never a token's."""
    found = [commitment(read(data), SALT) for first in (0, 10) for data in samples(ISSUER, first).values()]
    assert len(set(found)) == len(found) == 10


def test_salt_is_an_hmac_of_form_and_badge() -> None:
    """The salt is the HMAC of wire.md, the same at each run, another for each key and badge."""
    key = bytes(range(32))
    badge = read(HOSTED)
    message = b"badge-ledger/v1 salt\n\x02" + HOSTED_CANONICAL
    assert derive_salt(key, badge) == hmac.new(key, message, hashlib.sha256).digest()
    assert derive_salt(key, read(bake(HOSTED))) == derive_salt(key, badge)
    others = [derive_salt(bytes(32), badge), derive_salt(key, read(ob2_hosted(ISSUER, 1)))]
    assert len({derive_salt(key, badge), *others}) == 3


def test_salt_is_needed_exactly_without_a_proof() -> None:
    """Hosted badges need a salt, signed ones do not, and a badge that needs one is not committed without it."""
    needed = {name: needs_salt(read(data)) for name, data in samples(ISSUER).items()}
    assert needed == {"ob3-json": False, "ob3-jwt": False, "ob3-png": False, "ob2-hosted": True, "ob2-jws": False}
    with pytest.raises(MalformedBadge, match="needs a salt"):
        commitment(read(HOSTED))


@pytest.mark.parametrize("salt", [b"", bytes(31), bytes(33)])
def test_refuses_salts_and_keys_of_another_length(salt: bytes) -> None:
    """A salt or salt key that has not 32 bytes is a programmer's mistake, an empty salt too."""
    with pytest.raises(ValueError, match="32 bytes"):
        commitment(read(HOSTED), salt)
    with pytest.raises(ValueError, match="32 bytes"):
        derive_salt(salt, read(HOSTED))
