"""One public key that badges are signed with, read strictly, and the check of a signature under it.

    Multikey    "z" + base58btc(prefix[2] || key)   prefix ED 01 Ed25519 (32 bytes), 80 24 P-256 (33), 81 24 P-384 (49)
    JWK         OKP Ed25519, EC P-256 and P-384, RSA (RFC 7517, 7518, 8037)
    PEM         SubjectPublicKeyInfo of the same keys (RFC 7468 section 13)

    algorithm (RFC 7518, 8037, 9864)   key                   signature
    EdDSA, Ed25519                     Ed25519               64 bytes, by the fixed rule of `ledger.signing`
    ES256, ES384                       P-256, P-384          r || s, 64 or 96 bytes
    RS256, PS256                       RSA, 2048 to 8192     as long as the modulus

An algorithm goes with one kind of key, and a key with the algorithms of its kind, so that no header can choose how a
key is used. Secret-key algorithms do not exist here. The mathematics of ECDSA and RSA is PyJWT's.

What this module does not do: say whose a key is (`ledger.authenticity.keys`).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ledger.authenticity.model import Invalid
from ledger.base58 import parse_base58
from ledger.errors import MalformedInput, SignatureInvalid
from ledger.signing import verify_ed25519

KeyKind = Literal["Ed25519", "P-256", "P-384", "RSA"]

#: What kind of key each algorithm takes; every other algorithm is refused.
ALGORITHMS: Final[dict[str, KeyKind]] = {
    "EdDSA": "Ed25519",
    "Ed25519": "Ed25519",
    "ES256": "P-256",
    "ES384": "P-384",
    "RS256": "RSA",
    "PS256": "RSA",
}
MIN_RSA_BITS: Final = 2048
#: A modulus has no more bits, so that no key makes a check slow.
MAX_RSA_BITS: Final = 8192

_PREFIXES: Final[tuple[tuple[bytes, KeyKind, int], ...]] = (
    (b"\xed\x01", "Ed25519", 32),
    (b"\x80\x24", "P-256", 33),
    (b"\x81\x24", "P-384", 49),
)
_COORDINATE_BYTES: Final = {"P-256": 32, "P-384": 48}
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]++")
#: The members of a JWK that only a private or a secret key has (RFC 7518 sections 6.2.2, 6.3.2, 6.4.1).
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key. Two are equal if they are the same key.

    der: its SubjectPublicKeyInfo. algorithm: the one that the key's owner restricts it to (`alg` of a JWK), if any.
    """

    kind: KeyKind
    der: bytes
    algorithm: str | None = field(default=None, compare=False)

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> None:
        """Raises Invalid unless `signature` over `message` holds by this algorithm, which must be one of this key's."""
        if ALGORITHMS.get(algorithm) != self.kind:
            raise Invalid(f"an {self.kind} key does not sign by {algorithm}")
        if self.algorithm is not None and self.algorithm != algorithm:
            raise Invalid(f"the key is for {self.algorithm} only, and the signature says {algorithm}")
        if not self._holds(algorithm, message, signature):
            raise Invalid("the signature does not verify")

    def _holds(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        if self.kind == "Ed25519":
            try:
                verify_ed25519(self.der[-32:], message, signature)
            except SignatureInvalid:
                return False
            return True
        import jwt
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        return bool(jwt.get_algorithm_by_name(algorithm).verify(message, load_der_public_key(self.der), signature))


def parse_multikey(text: str) -> PublicKey:
    """The key of a Multikey in base58btc, which has exactly one text. Raises MalformedInput."""
    if not text.startswith("z") or len(text) > 128:
        raise MalformedInput("the key is not a Multikey in base58btc")
    raw = parse_base58(text[1:], what="the Multikey")
    for prefix, kind, length in _PREFIXES:
        if raw.startswith(prefix) and len(raw) == len(prefix) + length:
            return _from_bytes(kind, raw[len(prefix) :])
    raise MalformedInput("the Multikey is neither Ed25519 nor P-256 nor P-384")


def parse_jwk(jwk: Any) -> PublicKey:
    """The key of a JSON Web Key, for checking signatures. Raises MalformedInput, for a private key too."""
    if not isinstance(jwk, dict):
        raise MalformedInput("the JWK is not an object")
    if _PRIVATE & jwk.keys():
        raise MalformedInput("the JWK is a private key, which nobody may publish")
    if jwk.get("use", "sig") != "sig" or ("key_ops" in jwk and "verify" not in _texts(jwk["key_ops"])):
        raise MalformedInput("the JWK is not for checking signatures")
    kind = jwk.get("crv") if jwk.get("kty") in ("OKP", "EC") else jwk.get("kty")
    if jwk.get("kty") == "OKP" and kind == "Ed25519":
        key = _from_bytes("Ed25519", _member(jwk, "x", 32))
    elif jwk.get("kty") == "EC" and kind in ("P-256", "P-384"):
        length = _COORDINATE_BYTES[kind]
        key = _from_bytes(kind, b"\x04" + _member(jwk, "x", length) + _member(jwk, "y", length))
    elif kind == "RSA":
        key = _from_rsa(_number(jwk, "n"), _number(jwk, "e"))
    else:
        raise MalformedInput("the JWK is neither Ed25519 nor P-256 nor P-384 nor RSA")
    algorithm = jwk.get("alg")
    if algorithm is not None and (not isinstance(algorithm, str) or ALGORITHMS.get(algorithm) != key.kind):
        raise MalformedInput("the JWK is for an algorithm that is not its kind's")
    # EdDSA and Ed25519 are two names of one algorithm for such a key (RFC 9864).
    return PublicKey(key.kind, key.der, None if key.kind == "Ed25519" else algorithm)


def parse_pem(text: str) -> PublicKey:
    """The key of a PEM `PUBLIC KEY`. Raises MalformedInput."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return _from_object(load_pem_public_key(text.encode("ascii")))
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedInput("the PEM is not a public key") from None


def decode_base64url(text: Any, what: str) -> bytes:
    """The bytes of canonical base64url without padding (RFC 7515 section 2). Raises MalformedInput."""
    if not isinstance(text, str) or _BASE64URL.fullmatch(text) is None:
        raise MalformedInput(f"{what} is not base64url")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise MalformedInput(f"{what} is not base64url") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != text:
        raise MalformedInput(f"{what} is not canonical base64url")
    return data


def _from_bytes(kind: KeyKind, raw: bytes) -> PublicKey:
    """An Ed25519 key, or a point of P-256 or P-384 by SEC 1, compressed or not."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    try:
        if kind == "Ed25519":
            return _from_object(ed25519.Ed25519PublicKey.from_public_bytes(raw))
        curve = ec.SECP256R1() if kind == "P-256" else ec.SECP384R1()
        return _from_object(ec.EllipticCurvePublicKey.from_encoded_point(curve, raw))
    except ValueError:
        raise MalformedInput(f"the key is not a point of {kind}") from None


def _from_rsa(modulus: int, exponent: int) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric import rsa

    if modulus.bit_length() > MAX_RSA_BITS:
        raise MalformedInput(f"the RSA key has more than {MAX_RSA_BITS} bits")
    try:
        return _from_object(rsa.RSAPublicNumbers(exponent, modulus).public_key())
    except ValueError:
        raise MalformedInput("the JWK is not an RSA key") from None


def _from_object(key: object) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    kind: KeyKind
    if isinstance(key, ed25519.Ed25519PublicKey):
        kind = "Ed25519"
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        kind = "P-256" if isinstance(key.curve, ec.SECP256R1) else "P-384"
    elif isinstance(key, rsa.RSAPublicKey):
        kind = "RSA"
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise MalformedInput(f"the RSA key has {key.key_size} bits, not {MIN_RSA_BITS} to {MAX_RSA_BITS}")
        # A larger exponent makes checks slow and is used by nobody.
        if key.public_numbers().e >= 2**32:
            raise MalformedInput("the RSA key has an exponent of 2^32 or more")
    else:
        raise MalformedInput("the key is neither Ed25519 nor P-256 nor P-384 nor RSA")
    return PublicKey(kind, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _member(jwk: dict[str, Any], name: str, length: int) -> bytes:
    data = decode_base64url(jwk.get(name), f"the JWK's {name}")
    if len(data) != length:
        raise MalformedInput(f"the JWK's {name} has {len(data)} bytes, not {length}")
    return data


def _number(jwk: dict[str, Any], name: str) -> int:
    data = decode_base64url(jwk.get(name), f"the JWK's {name}")
    # RFC 7518 section 2: no leading zeros.
    if len(data) > 1 and data[0] == 0:
        raise MalformedInput(f"the JWK's {name} has leading zeros")
    return int.from_bytes(data, "big")


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
