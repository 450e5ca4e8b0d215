"""Which badges hold a cryptographic proof, that is, something in them that nobody can guess (wire.md "Commitment").

A commitment without salt hides its badge only if the badge cannot be guessed from what others know: who got it, for
what, on which day. A signature by a private key cannot be guessed. These can, and count as no proof:

    JWS with HS256 and the like     a shared secret, often a word
    MerkleProof2019                 Blockcerts: hashes of the badge and the public id of a transaction, no signature
    a `proof` of unknown type, or with a value shorter than a signature

The lists only ever grow by real signature schemes. A badge that counts as unproven is salted, which is always safe.

What this does not do: verify anything. A proof that is there may be false.
"""

from __future__ import annotations

from typing import Any, Final

from ledger.badges.jws import CompactJws

#: The signature of every algorithm below has at least so many bytes.
MIN_SIGNATURE_BYTES: Final = 64
#: 64 bytes in the densest text encoding in use (base58btc, base64url) are 85 characters and more.
MIN_PROOF_VALUE_CHARS: Final = 80

_JWS_ALGORITHMS: Final = frozenset(
    {
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES384",
        "ES512",
        "ES256K",
        "EdDSA",
        "Ed25519",
        "Ed448",
        "ML-DSA-44",
        "ML-DSA-65",
        "ML-DSA-87",
    }
)
_PROOF_TYPES: Final = frozenset(
    {
        "Ed25519Signature2018",
        "Ed25519Signature2020",
        "JsonWebSignature2020",
        "RsaSignature2018",
        "EcdsaSecp256k1Signature2019",
        "EcdsaSecp256k1RecoverySignature2020",
        "EcdsaSecp256r1Signature2019",
        "BbsBlsSignature2020",
    }
)
_CRYPTOSUITES: Final = frozenset(
    {
        "eddsa-rdfc-2022",
        "eddsa-jcs-2022",
        "eddsa-2022",
        "ecdsa-rdfc-2019",
        "ecdsa-jcs-2019",
        "ecdsa-2019",
        "ecdsa-sd-2023",
        "bbs-2023",
        "mldsa44-rdfc-2024",
        "mldsa44-jcs-2024",
    }
)


def jws_is_proof(jws: CompactJws) -> bool:
    """Whether the token's signature is one that only a private key can make."""
    return jws.algorithm in _JWS_ALGORITHMS and len(jws.signature) >= MIN_SIGNATURE_BYTES


def holds_proof(document: dict[str, Any]) -> bool:
    """Whether the document's `proof` (an object or an array of them) has such a signature."""
    proofs = document.get("proof")
    return any(_is_proof(proof) for proof in (proofs if isinstance(proofs, list) else [proofs]))


def _is_proof(proof: Any) -> bool:
    if not isinstance(proof, dict):
        return False
    kind = proof.get("type")
    if kind == "DataIntegrityProof":
        suite = proof.get("cryptosuite")
        known = isinstance(suite, str) and suite in _CRYPTOSUITES
    else:
        known = isinstance(kind, str) and kind in _PROOF_TYPES
    values = (proof.get("proofValue"), proof.get("jws"), proof.get("signatureValue"))
    return known and any(isinstance(value, str) and len(value) >= MIN_PROOF_VALUE_CHARS for value in values)
