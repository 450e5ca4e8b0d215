"""Keys and signatures of the sample badges in tests/made_samples.py, made with tools that are not this project's.

    proof(document, suite)             over what pyld (RDF) or rfc8785 (JCS) make of the document, by `cryptography`
    secured(document, suite, ...)      the document with proofs in it
    token(payload, algorithm, header)  a compact JWS, by PyJWT

    Ed25519   seed 00 01 ... 1f        ED_DID (did:key), its method is ED_METHOD
    P-256     scalar 32 bytes of 07    EC_DID (did:jwk), its method is EC_DID + "#0"
    RSA-2048  primes from SHA-512      RSA_PUBLIC_PEM

Keys are made from constants: the same bytes in every run, but for tokens signed with ES256, whose signatures are
random.

The JSON-LD contexts are those that openbadgeslib bundles; of VC 1.1 and Ed25519Signature2020, which it does not, only
the terms that the samples use are mapped here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any, Final

import jwt
import rfc8785
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from openbadgeslib.ob3.clr import bundled_clr_contexts
from openbadgeslib.ob3.contexts import bundled_contexts
from pyld import jsonld

from ops.demo_badges import BadgeIssuer

Json = dict[str, Any]

ISSUER: Final = BadgeIssuer(bytes(range(32)))
ED_DID: Final = ISSUER.did
ED_METHOD: Final = ISSUER.verification_method()
CREATED: Final = "2026-01-01T00:00:00Z"
VC1: Final = "https://www.w3.org/2018/credentials/v1"
ED25519_2020: Final = "https://w3id.org/security/suites/ed25519-2020/v1"

# Keys --------------------------------------------------------------------------------------------------------------

_ED: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_EC: Final = ec.derive_private_key(int.from_bytes(b"\7" * 32), ec.SECP256R1())
# What is added to the odd number made from the name gives a prime; found by search.
_RSA_OFFSETS: Final = {b"p": 296, b"q": 238}


def _prime(name: bytes) -> int:
    halves = (hashlib.sha512(b"badge-ledger sample RSA " + name + bytes((place,))).digest() for place in range(2))
    return (int.from_bytes(b"".join(halves)) | 3 << 1022 | 1) + _RSA_OFFSETS[name]


def _rsa() -> rsa.RSAPrivateKey:
    p, q, e = _prime(b"p"), _prime(b"q"), 65_537
    d = pow(e, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(e, p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)
    return numbers.private_key()


_RSA: Final = _rsa()
RSA_PUBLIC_PEM: Final = _RSA.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def ec_jwk() -> dict[str, str]:
    """The public P-256 key."""
    point = _EC.public_key().public_numbers()
    return {
        "crv": "P-256",
        "kty": "EC",
        "x": _base64url(point.x.to_bytes(32)),
        "y": _base64url(point.y.to_bytes(32)),
    }


def rsa_jwk() -> dict[str, str]:
    """The public RSA key."""
    return {"e": "AQAB", "kty": "RSA", "n": _base64url(_RSA.public_key().public_numbers().n.to_bytes(256))}


EC_DID: Final = "did:jwk:" + _base64url(rfc8785.dumps(ec_jwk()))

# Signatures --------------------------------------------------------------------------------------------------------

_CRED: Final = "https://www.w3.org/2018/credentials#"
_SEC: Final = "https://w3id.org/security#"
_DATE: Final = "http://www.w3.org/2001/XMLSchema#dateTime"
_IDS: Final = {"@version": 1.1, "id": "@id", "type": "@type"}


def _reference(identifier: str) -> Json:
    return {"@id": identifier, "@type": "@id"}


def _contexts() -> dict[str, Json]:
    vc1 = {
        **_IDS,
        "VerifiableCredential": {
            "@id": f"{_CRED}VerifiableCredential",
            "@context": {
                **_IDS,
                "credentialSubject": _reference(f"{_CRED}credentialSubject"),
                "issuer": _reference(f"{_CRED}issuer"),
                "issuanceDate": {"@id": f"{_CRED}issuanceDate", "@type": _DATE},
                "expirationDate": {"@id": f"{_CRED}expirationDate", "@type": _DATE},
                "proof": {**_reference(f"{_SEC}proof"), "@container": "@graph"},
            },
        },
    }
    purpose = {"@version": 1.1, "assertionMethod": {**_reference(f"{_SEC}assertionMethod"), "@container": "@set"}}
    ed25519 = {
        **_IDS,
        "Ed25519Signature2020": {
            "@id": f"{_SEC}Ed25519Signature2020",
            "@context": {
                **_IDS,
                "created": {"@id": "http://purl.org/dc/terms/created", "@type": _DATE},
                "proofPurpose": {"@id": f"{_SEC}proofPurpose", "@type": "@vocab", "@context": purpose},
                "proofValue": {"@id": f"{_SEC}proofValue", "@type": f"{_SEC}multibase"},
                "verificationMethod": _reference(f"{_SEC}verificationMethod"),
            },
        },
    }
    return {
        **bundled_contexts(),
        **bundled_clr_contexts(),
        VC1: {"@context": vc1},
        ED25519_2020: {"@context": ed25519},
    }


def _rdf(document: Json) -> bytes:
    held = _contexts()

    def load(url: str, options: Any = None) -> Json:
        return {"contentType": "application/ld+json", "contextUrl": None, "documentUrl": url, "document": held[url]}

    options = {"algorithm": "URDNA2015", "format": "application/n-quads", "documentLoader": load}
    return str(jsonld.normalize(document, options)).encode("utf-8")


def _base58(data: bytes) -> str:
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    number, digits = int.from_bytes(data), ""
    while number:
        number, digit = divmod(number, 58)
        digits = alphabet[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def proof(document: Json, suite: str) -> Json:
    """A proof of an unsecured document by the Ed25519 key: `suite` is a cryptosuite, or Ed25519Signature2020."""
    options: Json = {"type": "Ed25519Signature2020"}
    if suite != "Ed25519Signature2020":
        options = {"type": "DataIntegrityProof", "cryptosuite": suite}
    options |= {"created": CREATED, "verificationMethod": ED_METHOD, "proofPurpose": "assertionMethod"}
    canonical: Callable[[Json], bytes] = rfc8785.dumps if suite == "eddsa-jcs-2022" else _rdf
    with_context = {"@context": document["@context"], **options}
    signed = hashlib.sha256(canonical(with_context)).digest() + hashlib.sha256(canonical(document)).digest()
    kept = with_context if suite == "eddsa-jcs-2022" else options
    return {**kept, "proofValue": "z" + _base58(_ED.sign(signed))}


def secured(document: Json, *suites: str) -> Json:
    """The document with a proof of each suite: an object if there is one, an array of several."""
    proofs = [proof(document, suite) for suite in suites]
    return {**document, "proof": proofs if len(proofs) > 1 else proofs[0]}


def token(payload: Json, algorithm: str, header: Json) -> bytes:
    """A compact JWS by PyJWT: EdDSA, ES256 or RS256, with the key of that kind."""
    key: Any = {"EdDSA": _ED, "ES256": _EC, "RS256": _RSA}[algorithm]
    return jwt.encode(payload, key, algorithm=algorithm, headers=header).encode("ascii")
