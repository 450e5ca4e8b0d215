"""Tokens: the algorithm is the key's, the key is the issuer's, or the token is not verified."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ledger.authenticity.keys import OfflineKeys, offline_keys, parse_pin
from ledger.errors import MalformedBadge
from tests.authenticity.builders import OTHER, RSA, SIGNER, V1, Json, Signer, badge, find, sign, token

HTTPS = "https://example.com/issuers/1"


def did_jwk(jwk: Json) -> str:
    encoded = json.dumps(jwk, separators=(",", ":")).encode()
    return "did:jwk:" + base64.urlsafe_b64encode(encoded).rstrip(b"=").decode()


def rsa_jwk(key: rsa.RSAPrivateKey = RSA) -> Json:
    jwk: Json = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {"kty": "RSA", "n": jwk["n"], "e": jwk["e"]}


def pem(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def claims(issuer: str = SIGNER.did, **more: Any) -> Json:
    """VC 2.0: the payload is the credential."""
    return {**badge(issuer), "iss": issuer, **more}


def pinned(identifier: str, document: Json | str) -> OfflineKeys:
    text = document if isinstance(document, str) else json.dumps(document)
    return OfflineKeys([parse_pin(identifier, text.encode())])


@pytest.mark.parametrize(("kind", "algorithm"), [("Ed25519", "EdDSA"), ("P-256", "ES256"), ("P-384", "ES384")])
@pytest.mark.parametrize("kid", ["method", "multikey", "did", "none"])
def test_a_token_by_a_did_key_is_verified(kind: str, algorithm: str, kid: str) -> None:
    """With the whole kid, its fragment, the DID alone, and without one."""
    signer = Signer(kind)
    header = {} if kid == "none" else {"kid": getattr(signer, kid)}
    found = find(token(claims(signer.did), signer.private, algorithm, **header))
    assert (found.signature, found.scheme, found.issuer) == ("verified", f"JWT {algorithm}", signer.did)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_a_token_by_a_did_jwk_is_verified(algorithm: str) -> None:
    """RSA too, which did:key does not have."""
    did = did_jwk(rsa_jwk())
    assert find(token(claims(did), RSA, algorithm, kid=f"{did}#0")).signature == "verified"
    assert find(token(claims(did), RSA, algorithm, kid=f"{did}#1")).signature == "invalid"


def test_a_credential_under_vc_is_verified() -> None:
    """VC 1.1."""
    payload = {"iss": SIGNER.did, "nbf": 1_700_000_000, "vc": badge(context=V1)}
    assert find(token(payload, kid=SIGNER.method)).signature == "verified"


@pytest.mark.parametrize("typ", ["at+jwt", "vp+jwt", "vp+ld+jwt", "dpop+jwt", "application/at+jwt", "sd-jwt", 7])
def test_a_token_of_another_type_is_no_badge(typ: Any) -> None:
    """An access token signed with the issuer's key, whatever its payload looks like."""
    found = find(token(claims(), kid=SIGNER.method, typ=typ))
    assert found.signature == "invalid"
    assert "which is no badge's" in str(found.reason)


@pytest.mark.parametrize("typ", ["JWT", "jwt", "vc+jwt", "vc+ld+jwt", "vc-ld+jwt", "application/vc+jwt"])
def test_a_token_of_a_badges_type_is_verified(typ: str) -> None:
    """In any case of letters, with the long name too."""
    assert find(token(claims(), kid=SIGNER.method, typ=typ)).signature == "verified"
    assert find(token(assertion(), RSA, "RS256", typ=typ), keys=pinned(KEY, key_document())).signature == (
        "self-asserted" if typ.lower() == "jwt" else "invalid"
    )


def test_expiry_is_the_verdicts() -> None:
    """`exp` and `nbf` do not touch the signature, `sub` is not asked for."""
    assert find(token(claims(exp=1_700_000_000, nbf=1_690_000_000), kid=SIGNER.method)).signature == "verified"


def test_every_byte_of_a_token_counts() -> None:
    """One bit of any byte of payload or signature flipped: never verified."""
    text = token({"iss": SIGNER.did, "vc": badge()}, kid=SIGNER.method)
    header, payload, signature = (base64.urlsafe_b64decode(part + b"==") for part in text.split(b"."))
    for which, part in (("payload", payload), ("signature", signature)):
        for place in range(0, len(part), 7 if which == "payload" else 1):
            spoilt = bytearray(part)
            spoilt[place] ^= 1
            parts = (header, bytes(spoilt), signature) if which == "payload" else (header, payload, bytes(spoilt))
            joined = b".".join(base64.urlsafe_b64encode(item).rstrip(b"=") for item in parts)
            try:
                found = find(joined)
            except MalformedBadge:
                continue  # no JSON any more, or no credential
            assert found.signature != "verified", (which, place)


def with_header(text: bytes, **header: Any) -> bytes:
    """The token with another header, and its old signature."""
    old = json.loads(base64.urlsafe_b64decode(text.split(b".")[0] + b"=="))
    encoded = base64.urlsafe_b64encode(json.dumps({**old, **header}).encode()).rstrip(b"=")
    return encoded + text[text.index(b".") :]


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_secret_is_no_signature(algorithm: str) -> None:
    """The public key as the secret, the classic confusion."""
    secret = pem(RSA).encode()
    payload = claims(HTTPS)
    # PyJWT refuses to sign so, hence by hand.
    import hashlib
    import hmac

    head = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "jwk": rsa_jwk()}).encode()).rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=")
    mac = hmac.digest(secret, head + b"." + body, getattr(hashlib, f"sha{algorithm[2:]}"))
    text = head + b"." + body + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")
    assert find(text, keys=pinned(HTTPS, pem(RSA))).signature == "invalid"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "PS256", "Ed448", "ES256K", "RS1", "x" * 50])
def test_another_algorithm_is_not_verified(algorithm: str) -> None:
    """An Ed25519 key signs by EdDSA only."""
    text = with_header(token(claims(), kid=SIGNER.method), alg=algorithm)
    assert find(text).signature in ("invalid", "not-checked")


def test_rs256_and_ps256_are_two_algorithms() -> None:
    """A JWK that is for one is not for the other, and no signature is both."""
    text = token(claims(HTTPS), RSA, "RS256")
    assert find(text, keys=pinned(HTTPS, rsa_jwk())).signature == "verified"
    assert find(text, keys=pinned(HTTPS, {**rsa_jwk(), "alg": "RS256"})).signature == "verified"
    assert find(text, keys=pinned(HTTPS, {**rsa_jwk(), "alg": "PS256"})).signature == "invalid"
    assert find(with_header(text, alg="PS256"), keys=pinned(HTTPS, rsa_jwk())).signature == "invalid"


def test_none_is_refused_by_the_reader() -> None:
    """Such a token is no badge at all."""
    with pytest.raises(MalformedBadge):
        find(with_header(token(claims(), kid=SIGNER.method), alg="none"))


def test_unknown_extensions_are_not_checked() -> None:
    """RFC 7515: who does not know a critical extension may not accept the token."""
    for header in ({"crit": ["b64"], "b64": True}, {"crit": ["x"], "x": 1}, {"b64": False}):
        text = with_header(token(claims(), kid=SIGNER.method), **header)
        assert find(text).signature == "not-checked"


def test_a_jwk_in_the_header_alone_is_self_asserted() -> None:
    """Until it is pinned; a pin of another key makes it invalid."""
    text = token(claims(HTTPS), RSA, "RS256", jwk=rsa_jwk())
    found = find(text)
    assert (found.signature, found.scheme, found.issuer) == ("self-asserted", "JWT RS256", None)
    assert find(text, keys=pinned(HTTPS, rsa_jwk())).signature == "verified"
    assert find(text, keys=pinned(HTTPS, {"keys": [SIGNER.jwk(), rsa_jwk()]})).signature == "verified"
    assert find(text, keys=pinned(HTTPS, pem(RSA))).signature == "verified"
    assert find(text, keys=pinned(HTTPS, SIGNER.jwk())).signature == "invalid"


def test_a_jwk_cannot_be_smuggled_past_the_issuer() -> None:
    """The issuer is a DID: the key in the header must be its own, with and without a kid."""
    for header in ({}, {"kid": SIGNER.method}, {"kid": OTHER.method}, {"kid": "key-1"}):
        forged = token(claims(), OTHER.private, jwk=OTHER.jwk(), **header)
        assert find(forged).signature == "invalid", header
    assert find(token(claims(), jwk=SIGNER.jwk())).signature == "verified"
    assert find(token(claims(), jwk=OTHER.jwk(), kid=SIGNER.method)).signature == "invalid"


def test_the_kid_of_another_did_is_invalid() -> None:
    """Its signature holds under that DID's key."""
    assert find(token(claims(), OTHER.private, kid=OTHER.method)).signature == "invalid"
    assert find(token(claims(HTTPS), OTHER.private, kid=OTHER.method)).signature == "self-asserted"


@pytest.mark.parametrize(
    "jwk",
    [
        {**SIGNER.jwk(), "d": "AAAA"},
        {**SIGNER.jwk(), "use": "enc"},
        {**SIGNER.jwk(), "x": SIGNER.jwk()["x"] + "="},
        {**SIGNER.jwk(), "x": "AAAA"},
        {"kty": "oct", "k": "AAAA"},
        {},
        "x",
        None,
        rsa_jwk(rsa.generate_private_key(65537, 1024)),  # noqa: S505
        {**rsa_jwk(), "n": "AA" + rsa_jwk()["n"]},
        {**rsa_jwk(), "n": "_" * 4000},
        {**Signer("P-256").jwk(), "x": Signer("P-256").jwk()["y"]},
    ],
)
def test_a_key_that_cannot_be_used_is_refused(jwk: Any) -> None:
    """A private, short, malformed or off-curve key in the header is not passed over for another."""
    text = with_header(token(claims(HTTPS)), jwk=jwk)
    found = find(text, keys=pinned(HTTPS, SIGNER.jwk()))
    assert found.signature == "invalid"


def test_short_rsa_keys_are_refused_everywhere() -> None:
    """1024 bits: in the header, in did:jwk, in a pin."""
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        text = token(claims(did_jwk(rsa_jwk(short))), short, "RS256")
    assert find(text).signature == "not-checked"
    with pytest.raises(Exception, match="1024 bits"):
        parse_pin(HTTPS, pem(short).encode())


def test_a_pinned_key_set_by_kid() -> None:
    """A kid picks its key; one that is not there leaves the token unchecked."""
    keys = pinned(HTTPS, {"keys": [{**OTHER.jwk(), "kid": "a"}, {**SIGNER.jwk(), "kid": "b"}]})
    for kid in ("b", "#b", f"{HTTPS}#b"):
        assert find(token(claims(HTTPS), kid=kid), keys=keys).signature == "verified"
    assert find(token(claims(HTTPS), kid="a"), keys=keys).signature == "invalid"
    assert find(token(claims(HTTPS), kid="c"), keys=keys).signature == "not-checked"


def test_an_issuer_without_keys_is_not_checked() -> None:
    """did:web needs the network or a pin."""
    found = find(token(claims("did:web:example.com"), kid="did:web:example.com#k"))
    assert found.signature == "not-checked"
    assert "pin it, or allow the network" in str(found.reason)


def test_the_assertion_method_of_a_pinned_did_document() -> None:
    """Listed: verified. Listed under another relationship, or of another controller: not."""
    did = "did:web:example.com"
    method = {"id": "#k", "type": "JsonWebKey", "controller": did, "publicKeyJwk": SIGNER.jwk()}
    document = {"id": did, "verificationMethod": [method], "assertionMethod": ["#k"]}
    text = token(claims(did), kid=f"{did}#k")
    assert find(text, keys=pinned(did, document)).signature == "verified"
    embedded = {"id": did, "assertionMethod": [method]}
    assert find(text, keys=pinned(did, embedded)).signature == "verified"
    unlisted = {**document, "assertionMethod": [], "authentication": ["#k"]}
    assert find(text, keys=pinned(did, unlisted)).signature == "invalid"
    without = {"id": did, "verificationMethod": [method]}
    assert find(text, keys=pinned(did, without)).signature == "invalid"
    foreign = {
        **document,
        "verificationMethod": [{**method, "controller": "did:web:evil.example"}, method | {"id": "#z"}],
    }
    assert find(text, keys=pinned(did, foreign)).signature == "not-checked"
    twice = {**document, "verificationMethod": [method, {**method, "publicKeyJwk": OTHER.jwk()}]}
    assert find(text, keys=pinned(did, twice)).signature == "not-checked"


def test_a_proof_inside_a_token_is_mentioned() -> None:
    """The token's signature is what was checked."""
    inner = sign(badge(context=V1), "eddsa-jcs-2022")
    found = find(token({"iss": SIGNER.did, "vc": inner}, kid=SIGNER.method))
    assert found.signature == "verified"
    assert found.notes == ("the proof inside the token was not checked: the token's signature covers it",)


CLASS = "https://example.org/class.json"
KEY = "http://example.org/key.json"
ISSUER = "https://example.org/issuer.json"


def assertion(**members: Any) -> Json:
    return {
        "@context": "https://w3id.org/openbadges/v2",
        "type": "Assertion",
        "id": "https://example.org/assertion.json",
        "recipient": {"type": "email", "hashed": True, "salt": "x", "identity": "sha256$00"},
        "badge": CLASS,
        "issuedOn": "2024-01-01T00:00:00Z",
        "verification": {"type": "signed", "creator": KEY},
        **members,
    }


def key_document(**members: Any) -> Json:
    return {"type": "CryptographicKey", "id": KEY, "owner": ISSUER, "publicKeyPem": pem(RSA), **members}


def pin(identifier: str, document: Json) -> Any:
    return parse_pin(identifier, json.dumps(document).encode())


def test_a_signed_open_badges_2_assertion() -> None:
    """Verified with its key and its class pinned; with the key alone nobody knows whose badge it is."""
    text = token(assertion(), RSA, "RS256")
    key, badge_class = pin(KEY, key_document()), pin(CLASS, {"type": "BadgeClass", "id": CLASS, "issuer": ISSUER})
    assert find(text).signature == "not-checked"
    alone = find(text, keys=offline_keys([key]))
    assert (alone.signature, alone.scheme) == ("self-asserted", "JWS RS256")
    assert CLASS in str(alone.reason)
    found = find(text, keys=offline_keys([key, badge_class]))
    assert (found.signature, found.issuer, found.key) == ("verified", ISSUER, KEY)
    stranger = pin(KEY, key_document(owner="https://evil.example/issuer"))
    assert find(text, keys=offline_keys([stranger, badge_class])).signature == "self-asserted"
    embedded = {"type": "BadgeClass", "id": CLASS, "issuer": {"type": "Issuer", "id": ISSUER}}
    assert find(token(assertion(badge=embedded), RSA, "RS256"), keys=offline_keys([key])).signature == "verified"
    direct = offline_keys([pin(ISSUER, rsa_jwk()), badge_class])
    assert find(token(assertion(verification={"type": "signed"}), RSA, "RS256"), keys=direct).signature == "verified"


def test_a_key_document_for_another_address_is_refused() -> None:
    """Its own id says so."""
    with pytest.raises(Exception, match="another id"):
        pin("https://example.org/other.json", key_document())
