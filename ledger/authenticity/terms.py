"""JSON-LD contexts that no library bundles, built from the term tables of their specifications.

    https://www.w3.org/2018/credentials/v1                 Verifiable Credentials Data Model 1.1
    https://w3id.org/security/suites/ed25519-2020/v1       Ed25519Signature2020
    https://w3id.org/security/suites/jws-2020/v1           JsonWebSignature2020
    https://w3id.org/security/data-integrity/v1            DataIntegrityProof, before VC 2.0 had it built in
    https://purl.imsglobal.org/spec/ob/v3p0/context.json   Open Badges 3.0 as first published, given as what it maps
                                                           otherwise than revision 3.0.1

What a signature covers is the RDF that a document comes to, and that depends only on which IRI, type and container each
term stands for, and in which scope: tests hold these tables against the published files, term by term and by the
canonical RDF of documents that use every term. The files themselves are not here.

What this module does not do: define anything for signing; badges are signed on VC 2.0, which needs none of these.
"""

from __future__ import annotations

from typing import Any, Final

_CRED: Final = "https://www.w3.org/2018/credentials#"
_SEC: Final = "https://w3id.org/security#"
_OB: Final = "https://purl.imsglobal.org/spec/vc/ob/vocab.html#"
_XSD: Final = "http://www.w3.org/2001/XMLSchema#"
_CREATED: Final = "http://purl.org/dc/terms/created"
_MULTIBASE: Final = f"{_SEC}multibase"

#: What a proof may be for, by the name of the relationship.
_PURPOSES: Final = ("assertionMethod", "authentication")
_ALL_PURPOSES: Final = (*_PURPOSES, "capabilityInvocation", "capabilityDelegation", "keyAgreement")

Terms = dict[str, Any]


def written_contexts() -> dict[str, dict[str, Any]]:
    """The four contexts that are written out here, by their addresses, as JSON-LD context documents."""
    return {
        "https://www.w3.org/2018/credentials/v1": {"@context": _credentials_v1()},
        "https://w3id.org/security/suites/ed25519-2020/v1": {"@context": _ed25519_2020()},
        "https://w3id.org/security/suites/jws-2020/v1": {"@context": _jws_2020()},
        "https://w3id.org/security/data-integrity/v1": {"@context": _data_integrity_v1()},
    }


def unversioned_ob3(revision_3_0_1: dict[str, Any]) -> dict[str, Any]:
    """What the address without a revision answers. It redefines terms that VC 2.0 protects: it goes with VC 1.1 only.

    Of each scope: the members of term definitions that differ, None for one that is not there.
    """
    image = {"image": None}
    changes: dict[str, Terms] = {
        "Achievement": {
            "alignment": {"@type": f"{_OB}Alignment"},
            "creator": {"@id": f"{_OB}Profile"},
            "otherIdentifier": {"@type": f"{_OB}IdentifierEntry"},
            "related": {"@type": f"{_OB}Related"},
            "resultDescription": {"@type": f"{_OB}ResultDescription"},
            **image,
        },
        "AchievementSubject": {
            "achievement": {"@id": f"{_OB}Achievement"},
            "identifier": {"@type": f"{_OB}IdentityObject"},
            "result": {"@type": f"{_OB}Result"},
            "source": {"@type": f"{_OB}Profile"},
            **image,
        },
        "Profile": {
            "address": {"@id": f"{_OB}Address", "@type": None},
            "otherIdentifier": {"@type": f"{_OB}IdentifierEntry"},
            "parentOrg": {"@type": "xsd:string"},
            "phone": {"@id": f"{_OB}PhoneNumber"},
            **image,
        },
        "ResultDescription": {"rubricCriterionLevel": {"@type": f"{_OB}RubricCriterionLevel"}},
    }
    top: Terms = {
        "Alignment": {"@id": "https://schema.org/Alignment"},
        "alignment": {"@type": f"{_OB}Alignment"},
        "awardedDate": None,
        "endorsement": {"@type": f"{_OB}EndorsementCredential"},
        "image": {"@type": f"{_OB}Image"},
    }
    top |= {name: {"@context": terms} for name, terms in changes.items()}
    return {"@context": _changed(revision_3_0_1["@context"], top)}


def _changed(terms: Terms, changes: Terms) -> Terms:
    """`terms` with the changes at every depth; None takes a member away."""
    out = {name: value for name, value in terms.items() if changes.get(name, value) is not None}
    for name, change in changes.items():
        if isinstance(change, dict):
            out[name] = _changed(terms[name], change)
        elif change is not None:
            out[name] = change
    return out


def _credentials_v1() -> Terms:
    prefixes = {"cred": _CRED, "sec": _SEC}
    schema = _scope(cred=_CRED, JsonSchemaValidator2018=f"{_CRED}JsonSchemaValidator2018")
    refresh = _scope(cred=_CRED, ManualRefreshService2018=f"{_CRED}ManualRefreshService2018")
    credential = _scope(
        **prefixes,
        xsd=_XSD,
        credentialSchema=_node(f"{_CRED}credentialSchema", schema),
        refreshService=_node(f"{_CRED}refreshService", refresh),
        proof=_proof(),
        **{
            name: _node(f"{_CRED}{name}")
            for name in ("credentialStatus", "credentialSubject", "evidence", "holder", "issuer", "termsOfUse")
        },
        **{
            name: _date(f"{_CRED}{name}")
            for name in ("expirationDate", "issued", "issuanceDate", "validFrom", "validUntil")
        },
    )
    presentation = _scope(
        **prefixes,
        holder=_node(f"{_CRED}holder"),
        proof=_proof(),
        verifiableCredential=_node(f"{_CRED}verifiableCredential") | {"@container": "@graph"},
    )
    signature = _scope(
        sec=_SEC,
        xsd=_XSD,
        jws=f"{_SEC}jws",
        proofValue=f"{_SEC}proofValue",
        **_proof_options(_SEC, _PURPOSES, sec=_SEC),
    )
    # This one scope of the published context uses the prefixes without defining them, and defines no `id` and `type`:
    # inside it `sec:jws` is an IRI of its own.
    bare = {"@protected": True, "jws": "sec:jws", "proofValue": "sec:proofValue"}
    bare |= _proof_options("sec:", _PURPOSES, date_type="xsd:dateTime", sec=_SEC)
    signatures = ("EcdsaSecp256k1Signature2019", "EcdsaSecp256r1Signature2019", "Ed25519Signature2018")
    return _scope(
        VerifiableCredential=_type(f"{_CRED}VerifiableCredential", credential),
        VerifiablePresentation=_type(f"{_CRED}VerifiablePresentation", presentation),
        **{name: _type(f"{_SEC}{name}", signature) for name in signatures},
        RsaSignature2018=_type(f"{_SEC}RsaSignature2018", bare),
        proof=_proof(),
    )


def _ed25519_2020() -> Terms:
    key = _scope(
        controller=_node(f"{_SEC}controller"),
        revoked=_date(f"{_SEC}revoked"),
        publicKeyMultibase={"@id": f"{_SEC}publicKeyMultibase", "@type": _MULTIBASE},
    )
    signature = _scope(proofValue=_proof_value(), **_proof_options(_SEC, _ALL_PURPOSES))
    return _scope(
        proof=_proof(),
        Ed25519VerificationKey2020=_type(f"{_SEC}Ed25519VerificationKey2020", key),
        Ed25519Signature2020=_type(f"{_SEC}Ed25519Signature2020", signature),
    )


def _jws_2020() -> Terms:
    key = _scope(publicKeyJwk={"@id": f"{_SEC}publicKeyJwk", "@type": "@json"})
    signature = _scope(jws=f"{_SEC}jws", **_proof_options(_SEC, _ALL_PURPOSES))
    return {
        "privateKeyJwk": {"@id": f"{_SEC}privateKeyJwk", "@type": "@json"},
        "JsonWebKey2020": _type(f"{_SEC}JsonWebKey2020", key),
        "JsonWebSignature2020": _type(f"{_SEC}JsonWebSignature2020", signature),
    }


def _data_integrity_v1() -> Terms:
    proof = _scope(cryptosuite=f"{_SEC}cryptosuite", proofValue=_proof_value(), **_proof_options(_SEC, _ALL_PURPOSES))
    return _scope(proof=_proof(), DataIntegrityProof=_type(f"{_SEC}DataIntegrityProof", proof))


def _proof_options(
    vocabulary: str, purposes: tuple[str, ...], *, date_type: str = f"{_XSD}dateTime", **prefixes: str
) -> Terms:
    """The terms that every kind of proof has."""
    # The purposes are terms only as values of proofPurpose.
    scope = _scope(
        **prefixes,
        **{
            name: {"@id": _SEC + (name if name == "assertionMethod" else _method_of(name))}
            | {"@type": "@id", "@container": "@set"}
            for name in purposes
        },
    )
    return {
        "challenge": f"{vocabulary}challenge",
        "created": {"@id": _CREATED, "@type": date_type},
        "domain": f"{vocabulary}domain",
        "expires": {"@id": f"{vocabulary}expiration", "@type": date_type},
        "nonce": f"{vocabulary}nonce",
        "proofPurpose": {"@id": f"{vocabulary}proofPurpose", "@type": "@vocab", "@context": scope},
        "verificationMethod": _node(f"{vocabulary}verificationMethod"),
    }


def _method_of(purpose: str) -> str:
    """In the security vocabulary every relationship but assertionMethod has `Method` added to its name."""
    return f"{purpose}Method"


def _scope(**terms: Any) -> Terms:
    """A protected context with the two keywords that every one of these aliases."""
    return {"@protected": True, "id": "@id", "type": "@type", **terms}


def _type(iri: str, scope: Terms) -> Terms:
    return {"@id": iri, "@context": scope}


def _node(iri: str, scope: Terms | None = None) -> Terms:
    return {"@id": iri, "@type": "@id"} | ({} if scope is None else {"@context": scope})


def _date(iri: str) -> Terms:
    return {"@id": iri, "@type": f"{_XSD}dateTime"}


def _proof() -> Terms:
    return {"@id": f"{_SEC}proof", "@type": "@id", "@container": "@graph"}


def _proof_value() -> Terms:
    return {"@id": f"{_SEC}proofValue", "@type": _MULTIBASE}
