"""Embedded proofs (W3C Data Integrity 1.0): what is signed, and whether one proof of a document holds.

    suite                     canonical form   key              signature
    eddsa-rdfc-2022           RDFC-1.0         Ed25519          64 bytes       vc-di-eddsa 3.2
    eddsa-jcs-2022            RFC 8785         Ed25519          64             vc-di-eddsa 3.3
    ecdsa-rdfc-2019           RDFC-1.0         P-256, P-384     64, 96         vc-di-ecdsa 3.2
    ecdsa-jcs-2019            RFC 8785         P-256, P-384     64, 96         vc-di-ecdsa 3.3
    Ed25519Signature2020      RDFC-1.0         Ed25519          64             a proof type of its own, before VC 2.0

    signed bytes    H(canonical proof options) || H(canonical document without its proof)
    proof options   the proof without proofValue; RDFC-1.0: with the document's @context; RFC 8785: with its own, which
                    is the document's (drafts before the Recommendation signed it and left it out: both are tried)
    H               SHA-256; SHA-384 under a P-384 key
    proofValue      "z" + base58btc(signature), one text for each signature

A proof is for `assertionMethod` and nothing else, was not made after now, and has not itself expired (`expires`).

Not checked, and said so: every other suite; Blockcerts' chain proofs (merkle-proof-2019), which need the block chain;
proof chains (`previousProof`), whose proofs cover one another. What the document's own dates say is the verdict's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, NamedTuple

from ledger.authenticity.binding import Candidate, candidates
from ledger.authenticity.contexts import Contexts
from ledger.authenticity.keys import KeySource
from ledger.authenticity.model import Invalid, NotChecked, shown
from ledger.authenticity.publickey import KeyKind
from ledger.authenticity.rdf import Rdf, require_covered, to_rdf
from ledger.badges import canonical_json
from ledger.badges.dates import parse_date_ms
from ledger.base58 import parse_base58
from ledger.errors import MalformedBadge, MalformedInput

#: The most proofs of one document.
MAX_PROOFS: Final = 16
#: Values in the options of one proof, those of its @context not counted.
MAX_OPTIONS: Final = 64
#: How far an issuer's clock may be ahead.
LEEWAY_S: Final = 300

_SUITE_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_CHAIN_PROOFS: Final = frozenset({"MerkleProof2017", "MerkleProof2019", "merkle-proof-2019"})
_PURPOSE: Final = "assertionMethod"
#: The algorithm of each kind of key, as `ledger.authenticity.publickey` names it, and its hash.
_ALGORITHMS: Final[dict[KeyKind, tuple[str, Callable[[bytes], Any]]]] = {
    "Ed25519": ("EdDSA", hashlib.sha256),
    "P-256": ("ES256", hashlib.sha256),
    "P-384": ("ES384", hashlib.sha384),
}

Document = dict[str, Any]


class Suite(NamedTuple):
    """How a suite makes bytes of JSON, and the keys that it takes."""

    is_rdf: bool
    kinds: tuple[KeyKind, ...]


_SUITES: Final[dict[str, Suite]] = {
    "eddsa-rdfc-2022": Suite(True, ("Ed25519",)),
    "eddsa-jcs-2022": Suite(False, ("Ed25519",)),
    "ecdsa-rdfc-2019": Suite(True, ("P-256", "P-384")),
    "ecdsa-jcs-2019": Suite(False, ("P-256", "P-384")),
    "Ed25519Signature2020": Suite(True, ("Ed25519",)),
}


def proofs_of(document: Document) -> list[Document]:
    """The proofs of a document, in order; none if it has none. Raises Invalid for what cannot be proofs."""
    value = document.get("proof")
    proofs = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(proof, dict) for proof in proofs):
        raise Invalid("the badge's proof is no object")
    if len(proofs) > MAX_PROOFS:
        raise NotChecked(f"the badge has more than {MAX_PROOFS} proofs")
    names = [proof["id"] for proof in proofs if "id" in proof]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise Invalid("two proofs of the badge have the same id, or one has an id that is no text")
    return proofs


def suite_name(proof: Document) -> str:
    """What the proof says its suite is, if that is a plain name, else `unknown`."""
    kind = proof.get("type")
    name = proof.get("cryptosuite") if kind == "DataIntegrityProof" else kind
    return name if isinstance(name, str) and _SUITE_NAME.fullmatch(name) else "unknown"


class Unsecured:
    """A document without its proofs, in the canonical forms that its proofs sign; each is made and examined once."""

    def __init__(self, document: Document, contexts: Contexts) -> None:
        self.document = {name: value for name, value in document.items() if name != "proof"}
        self.contexts = contexts
        self._rdf: Rdf | NotChecked | Invalid | None = None
        self._is_covered = False

    @cached_property
    def jcs(self) -> bytes:
        """Its canonical JSON."""
        return canonical_json(self.document)

    def rdf(self) -> Rdf:
        """Its RDF. Raises NotChecked or Invalid, the second time without another attempt."""
        if self._rdf is None:
            try:
                self._rdf = to_rdf(self.document, self.contexts)
            except (NotChecked, Invalid) as reason:
                self._rdf = reason
        if not isinstance(self._rdf, Rdf):
            raise type(self._rdf)(str(self._rdf))
        return self._rdf

    def require_covered(self) -> None:
        """`ledger.authenticity.rdf.require_covered` of its RDF."""
        if not self._is_covered:
            require_covered(self.rdf())
        self._is_covered = True


def check_proof(unsecured: Unsecured, proof: Document, issuer: str | None, *, keys: KeySource, now_s: int) -> Candidate:
    """The key under which a proof of a document by `issuer` holds. Raises NotChecked or Invalid."""
    name = suite_name(proof)
    suite = _suite(name)
    if "previousProof" in proof:
        raise NotChecked("the proof builds on another one; chains of proofs are not checked")
    _require_purpose_and_time(proof, now_s)
    signature = _signature(proof)
    method = proof.get("verificationMethod")
    if not isinstance(method, str):
        raise NotChecked("the proof does not name its key by an identifier")
    # The keys first: looking them up costs little, and what cannot be bound need not be canonicalized.
    possible = candidates(keys, issuer, method, now_s=now_s)
    fitting = [candidate for candidate in possible if candidate.key.kind in suite.kinds]
    if not fitting:
        raise Invalid(f"the key is not one that {name} signs with")
    for options in _options(unsecured.document, proof, is_rdf=suite.is_rdf):
        rdf = to_rdf(options, unsecured.contexts, MAX_OPTIONS) if suite.is_rdf else None
        parts = (canonical_json(options), unsecured.jcs) if rdf is None else (rdf.canonical, unsecured.rdf().canonical)
        holding = _first_that_holds(fitting, parts, signature)
        if holding is None:
            continue
        if rdf is not None:
            require_covered(rdf)
            unsecured.require_covered()
        return holding
    raise Invalid("the signature does not verify")


def _suite(name: str) -> Suite:
    suite = _SUITES.get(name)
    if suite is None:
        if name in _CHAIN_PROOFS:
            raise NotChecked("a Blockcerts chain proof is not checked: it needs the block chain")
        raise NotChecked(f"the suite {shown(name)} is not known")
    return suite


def _require_purpose_and_time(proof: Document, now_s: int) -> None:
    if proof.get("proofPurpose") != _PURPOSE:
        raise Invalid(f"the proof is not for {_PURPOSE}")
    try:
        created = parse_date_ms(proof.get("created"), "created")
        expires = parse_date_ms(proof.get("expires"), "expires")
    except MalformedBadge:
        raise Invalid("the proof has a date that cannot be read") from None
    if created is not None and created > (now_s + LEEWAY_S) * 1000:
        raise Invalid("the proof says that it is made in the future")
    if expires is not None and expires <= now_s * 1000:
        raise Invalid("the proof itself has expired")


def _signature(proof: Document) -> bytes:
    value = proof.get("proofValue")
    if not isinstance(value, str) or not value.startswith("z"):
        raise Invalid("the proof has no proofValue in base58btc")
    try:
        return parse_base58(value[1:])
    except MalformedInput:
        raise Invalid("the proof has no proofValue in base58btc") from None


def _options(document: Document, proof: Document, *, is_rdf: bool) -> tuple[Document, ...]:
    """The proof's options as the suite signs them; two ways for a JCS proof without a context."""
    options = {name: value for name, value in proof.items() if name != "proofValue"}
    context = document.get("@context")
    # vc-di-eddsa 3.3.2 lets a document have more contexts than its proof, at the end, and does not sign them. A reader
    # would take them for the issuer's: refused here.
    if options.get("@context", context) != context:
        raise Invalid("the proof has another @context than the badge")
    full = {**options, "@context": context}
    return (full,) if is_rdf or "@context" in options else (options, full)


def _first_that_holds(fitting: list[Candidate], parts: tuple[bytes, bytes], signature: bytes) -> Candidate | None:
    digests: dict[Callable[[bytes], Any], bytes] = {}
    for candidate in fitting:
        algorithm, digest = _ALGORITHMS[candidate.key.kind]
        if digest not in digests:
            digests[digest] = b"".join(digest(part).digest() for part in parts)
        try:
            candidate.key.verify(algorithm, digests[digest], signature)
        except Invalid:
            continue
        return candidate
    return None
