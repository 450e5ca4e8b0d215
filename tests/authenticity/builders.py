"""Badges signed by libraries that share no code with what checks them: openvc for embedded proofs, PyJWT for tokens.

`Ed25519Signature2020`, which openvc lacks, is signed here with pyld and cryptography directly.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from openvc.keys import Ed25519SigningKey, P256SigningKey, P384SigningKey
from openvc.multibase import encode_multibase
from openvc.proof.contexts import document_loader, pyld_options
from openvc.proof.data_integrity import DataIntegrityProofSuite
from openvc.proof.di_ecdsa_rdfc import EcdsaRdfcProofSuite
from openvc.proof.di_jcs import EcdsaJcsProofSuite, EddsaJcsProofSuite
from pyld import jsonld

from ledger.authenticity import Authenticity
from ledger.authenticity.check import check
from ledger.authenticity.contexts import Contexts, bundled_contexts
from ledger.authenticity.keys import KeySource, offline_keys
from ledger.badges import read

NOW_S = 1_800_000_000
CONTEXTS = bundled_contexts()
V2 = ["https://www.w3.org/ns/credentials/v2", "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json"]
V2_2020 = [*V2, "https://w3id.org/security/suites/ed25519-2020/v1"]
V1 = [
    "https://www.w3.org/2018/credentials/v1",
    "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json",
    "https://w3id.org/security/suites/ed25519-2020/v1",
]
_PREFIX = {"Ed25519": b"\xed\x01", "P-256": b"\x80\x24", "P-384": b"\x81\x24"}
_CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}

Json = dict[str, Any]


class Signer:
    """A key pair from a seed number, and the identifiers made of it."""

    def __init__(self, kind: str = "Ed25519", seed: int = 1) -> None:
        self.kind = kind
        self.private: Any
        if kind == "Ed25519":
            self.private = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"%d" % seed).digest())
            raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        else:
            self.private = ec.derive_private_key(1_000_003 * seed, _CURVES[kind])
            raw = self.private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        self.multikey: str = encode_multibase(_PREFIX[kind] + raw)
        self.did = f"did:key:{self.multikey}"
        self.method = f"{self.did}#{self.multikey}"

    def jwk(self) -> Json:
        """The public key."""
        name = {"Ed25519": "OKPAlgorithm"}.get(self.kind, "ECAlgorithm")
        algorithm: Any = getattr(jwt.algorithms, name)
        jwk: Json = algorithm.to_jwk(self.private.public_key(), as_dict=True)
        return jwk

    def openvc(self) -> Any:
        """The key as openvc takes it."""
        kinds: dict[str, Any] = {"Ed25519": Ed25519SigningKey, "P-256": P256SigningKey, "P-384": P384SigningKey}
        return kinds[self.kind](self.private, kid=self.method)


SIGNER = Signer()
OTHER = Signer(seed=2)
RSA = rsa.generate_private_key(65537, 2048)


def badge(issuer: str = SIGNER.did, context: list[str] | None = None, **members: Any) -> Json:
    """An unsigned Open Badges 3.0 badge."""
    context = V2 if context is None else context
    moment = "validFrom" if context[0] == V2[0] else "issuanceDate"
    return {
        "@context": context,
        "id": "urn:uuid:0f8ddcd6-6d35-4c0e-8c75-5a50b4a3cbb5",
        "type": ["VerifiableCredential", "OpenBadgeCredential"],
        "issuer": {"id": issuer, "type": ["Profile"], "name": "A school"},
        moment: "2024-01-01T00:00:00Z",
        "name": "A badge",
        "credentialSubject": {
            "id": "did:example:learner",
            "type": ["AchievementSubject"],
            "achievement": {
                "id": "https://example.com/achievements/1",
                "type": ["Achievement"],
                "name": "An achievement",
                "description": "Done",
                "criteria": {"narrative": "Do it"},
            },
        },
        **members,
    }


def sign(document: Json, suite: str = "eddsa-rdfc-2022", signer: Signer = SIGNER, method: str | None = None) -> Json:
    """The document with one proof more."""
    unsigned = {name: value for name, value in document.items() if name != "proof"}
    method = signer.method if method is None else method
    made: Json
    if suite == "Ed25519Signature2020":
        options = {
            "@context": unsigned["@context"],
            "type": suite,
            "created": "2024-01-02T00:00:00Z",
            "verificationMethod": method,
            "proofPurpose": "assertionMethod",
        }
        made = sign_options(unsigned, options, signer)
    else:
        suites: dict[str, Any] = {
            "eddsa-rdfc-2022": DataIntegrityProofSuite,
            "eddsa-jcs-2022": EddsaJcsProofSuite,
            "ecdsa-rdfc-2019": EcdsaRdfcProofSuite,
            "ecdsa-jcs-2019": EcdsaJcsProofSuite,
        }
        extra = {"extra_contexts": dict(CONTEXTS.documents)} if "rdfc" in suite else {}
        signed = suites[suite]().add_proof(unsigned, signing_key=signer.openvc(), verification_method=method, **extra)
        made = signed["proof"]
    before = document.get("proof", [])
    proofs = [*(before if isinstance(before, list) else [before]), made]
    return {**unsigned, "proof": proofs[0] if len(proofs) == 1 else proofs}


def sign_options(
    unsigned: Json, options: Json, signer: Signer = SIGNER, contexts: Mapping[str, Json] = CONTEXTS.documents
) -> Json:
    """A proof with any options at all, by the rdfc rule and Ed25519; `options` has the document's @context."""
    loader = document_loader({**CONTEXTS.documents, **contexts})
    digest = b""
    for part in (options, unsigned):
        nquads = jsonld.normalize(part, pyld_options(loader, algorithm="URDNA2015", format="application/n-quads"))
        digest += hashlib.sha256(nquads.encode()).digest()
    proof = {name: value for name, value in options.items() if name != "@context"}
    return {**proof, "proofValue": encode_multibase(signer.private.sign(digest))}


def token(payload: Json, key: Any = None, algorithm: str = "EdDSA", **header: Any) -> bytes:
    """A compact JWS by PyJWT."""
    text = jwt.api_jws.PyJWS().encode(
        json.dumps(payload).encode(), SIGNER.private if key is None else key, algorithm, headers=header
    )
    return text.encode("ascii")


def find(
    data: Json | bytes, *, keys: KeySource | None = None, contexts: Contexts = CONTEXTS, now_s: int = NOW_S
) -> Authenticity:
    """What `check` finds about a badge."""
    encoded = data if isinstance(data, bytes) else json.dumps(data).encode()
    return check(read(encoded), keys=offline_keys() if keys is None else keys, contexts=contexts, now_s=now_s)


def changed(document: Json, *path: str | int, to: Any) -> Json:
    """A copy with another value at a path."""
    out = copy.deepcopy(document)
    place: Any = out
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return out
