"""The project's own sample badges, one for each form that is read, made with tools that are not this project's.

    made(name)        the bytes of a sample; MADE says of each its kind, and what its own signature is worth
    in_png(data)      the same badge baked into a PNG, in_svg(data) into an SVG; MADE holds what must not be baked again

Signed by tests/made_signatures.py with PyJWT, `cryptography`, pyld and rfc8785, or by openbadgeslib (the badges of
ops.demo_badges); baked by openbadgeslib. Nothing of `ledger` has a part in them, so a test that reads or verifies one
compares two implementations.

`signature` in MADE says what there is to find:

    verified         holds offline, by the did:key or did:jwk of the issuer
    pinned           holds under RSA_PUBLIC_PEM, which has to be pinned (or fetched) under the name in `key` and belongs
                     to the issuer, HTTPS_ISSUER
    self-asserted    holds under the key in the token's own `jwk` header, and nothing ties that to HTTPS_ISSUER
    not-checked      there is one that cannot be checked: a chain proof, a key that is nowhere
    none             there is none

All were made on 2026-01-01 and end on 2029-01-01 ("ob3-expired": 2026-01-02), but for those of ops.demo_badges.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

from openbadgeslib import baking
from openbadgeslib.ob3.clr import CLR_CONTEXT_URL

from ops.demo_badges import ob2_hosted, ob2_jws, ob3_json, ob3_jwt, png
from tests.made_signatures import (
    CREATED,
    EC_DID,
    ED25519_2020,
    ED_DID,
    ED_METHOD,
    ISSUER,
    RSA_PUBLIC_PEM,
    VC1,
    Json,
    ec_jwk,
    rsa_jwk,
    secured,
    token,
)

__all__ = [
    "EC_DID",
    "ED_DID",
    "ED_METHOD",
    "HTTPS_ISSUER",
    "ISSUER",
    "MADE",
    "RSA_KEY_URL",
    "RSA_PUBLIC_PEM",
    "SVG",
    "Made",
    "assertion",
    "credential",
    "enveloped",
    "in_png",
    "in_svg",
    "in_text_chunk",
    "made",
    "png_with",
    "secured",
    "serialised",
    "token",
]

Signature = Literal["verified", "pinned", "self-asserted", "none", "not-checked"]

HTTPS_ISSUER: Final = "https://badges.example.org/issuers/1"
RSA_KEY_URL: Final = "https://badges.example.org/keys/rsa"

VC2: Final = "https://www.w3.org/ns/credentials/v2"
OB3: Final = "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json"
OB3_FOR_VC1: Final = "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.1.json"
OB2: Final = "https://w3id.org/openbadges/v2"

SVG: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<!-- drawn by hand -->\n'
    b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">\n'
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="16"/></svg>'
)

# Documents ---------------------------------------------------------------------------------------------------------


def credential(**changes: Any) -> Json:
    """An Open Badges 3.0 credential on VC 2.0 by ED_DID, unsigned; a member set to None is left out."""
    document: Json = {
        "@context": [VC2, OB3],
        "id": "urn:uuid:6a1a9ff4-6b6c-5f62-9d0e-5e5b1a3f7c01",
        "type": ["VerifiableCredential", "OpenBadgeCredential"],
        "issuer": {"id": ED_DID, "type": ["Profile"], "name": "Example Academy"},
        "validFrom": CREATED,
        "validUntil": "2029-01-01T00:00:00Z",
        "name": "Welding, level 1",
        "credentialSubject": {
            "id": "did:example:learner-1",
            "type": ["AchievementSubject"],
            "achievement": {
                "id": "https://badges.example.org/achievements/welding",
                "type": ["Achievement"],
                "name": "Welding",
                "description": "Welds a seam that holds.",
                "criteria": {"narrative": "Three seams, bent until they broke."},
            },
        },
    } | changes
    return {name: value for name, value in document.items() if value is not None}


def _vc1(**changes: Any) -> Json:
    return credential(
        **{"@context": [VC1, OB3_FOR_VC1, ED25519_2020]},
        validFrom=None,
        validUntil=None,
        issuanceDate=CREATED,
        expirationDate="2029-01-01T00:00:00Z",
        **changes,
    )


def assertion(**changes: Any) -> Json:
    """An Open Badges 2.0 assertion as Badgr answers it; a member set to None is left out."""
    document: Json = {
        "@context": OB2,
        "type": "Assertion",
        "id": "https://badges.example.org/public/assertions/kM5_4HqSRV6yYx2",
        "badge": "https://badges.example.org/public/badges/Welding1",
        "image": {"id": "https://badges.example.org/public/assertions/kM5_4HqSRV6yYx2/image"},
        "verification": {"type": "HostedBadge"},
        "issuedOn": "2026-01-01T00:00:00.000000+00:00",
        "expires": "2029-01-01T00:00:00+00:00",
        "recipient": {
            "type": "email",
            "hashed": True,
            "identity": "sha256$" + hashlib.sha256(b"learner-1@example.orgsalt").hexdigest(),
            "salt": "salt",
        },
        "evidence": [],
        "narrative": None,
    } | changes
    return {name: value for name, value in document.items() if value is not None}


def _dumps(document: Json) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8")


def _https(**changes: Any) -> Json:
    return credential(issuer={"id": HTTPS_ISSUER, "type": ["Profile"], "name": "Example Academy"}, **changes)


def _claims(document: Json) -> Json:
    """The payload of a VC-JWT on VC 1.1: the claims that stand for members, and the credential under `vc`."""
    return {
        "iss": document["issuer"]["id"],
        "jti": document["id"],
        "sub": document["credentialSubject"]["id"],
        "nbf": 1_767_225_600,
        "exp": 1_861_920_000,
        "vc": document,
    }


# Wrappings ---------------------------------------------------------------------------------------------------------


def in_png(data: bytes, family: str = "ob3") -> bytes:
    """The badge (JSON, compact JWS, address) in a PNG; family ob2 (and 1), ob3 or clr."""
    keywords = {"ob2": baking.ITXT_KEYWORD, "ob3": baking.ITXT_KEYWORD_OB3, "clr": b"clrcredential"}
    return bytes(baking.bake_png(png(), data.decode("utf-8"), keyword=keywords[family]))


def in_svg(data: bytes, family: str = "ob3") -> bytes:
    """The badge in an SVG, JSON as the text of the element, all else as its attribute `verify`."""
    element, namespace = {
        "ob2": (baking.SVG_ELEMENT, baking.SVG_NS),
        "ob3": (baking.SVG_ELEMENT_OB3, baking.SVG_NS_OB3),
        "clr": (baking.SVG_ELEMENT_OB3, "https://purl.imsglobal.org/clr/v2p0"),
    }[family]
    text, is_json = data.decode("utf-8"), data.lstrip().startswith(b"{")
    return bytes(baking.bake_svg(SVG, text, element=element, namespace=namespace, as_text=is_json))


def in_text_chunk(data: bytes, keyword: bytes = b"openbadges") -> bytes:
    """The badge in the old chunk, tEXt, by hand: no library in use writes it any more."""
    return png_with(b"tEXt", keyword + b"\0" + data)


def png_with(chunk_type: bytes, data: bytes) -> bytes:
    """A PNG with one more chunk before its end."""
    plain = png()
    return plain[:-12] + bytes(baking._serialize_png([(chunk_type, data)]))[8:] + plain[-12:]


def enveloped(compact: bytes) -> bytes:
    """A compact token as an EnvelopedVerifiableCredential."""
    url = "data:application/vc+jwt," + compact.decode("ascii")
    return _dumps({"@context": VC2, "id": url, "type": "EnvelopedVerifiableCredential"})


def serialised(compact: bytes, *, general: bool = False) -> bytes:
    """A compact token in the flattened JSON serialisation of RFC 7515, or the general one."""
    protected, payload, signature = compact.decode("ascii").split(".")
    one = {"protected": protected, "signature": signature}
    return _dumps({"payload": payload, "signatures": [one]} if general else {"payload": payload, **one})


# The samples -------------------------------------------------------------------------------------------------------


def _clr(nested: Sequence[Any], **changes: Any) -> Json:
    subject = {
        "id": "did:example:learner-1",
        "type": ["ClrSubject"],
        "achievement": [credential()["credentialSubject"]["achievement"]],
        "verifiableCredential": list(nested),
    }
    return credential(
        **{"@context": [VC2, OB3, CLR_CONTEXT_URL]},
        id="urn:uuid:6a1a9ff4-6b6c-5f62-9d0e-5e5b1a3f7c02",
        type=["VerifiableCredential", "ClrCredential"],
        name="Transcript",
        credentialSubject=subject,
        **changes,
    )


def _clr_json() -> bytes:
    inner = json.loads(made("ob3-eddsa-rdfc-2022"))
    return _dumps(secured(_clr([inner, json.loads(enveloped(made("ob3-jwt-eddsa")))]), "eddsa-rdfc-2022"))


def _clr_jwt() -> bytes:
    inner = [made("ob3-jwt-eddsa").decode("ascii"), json.loads(made("ob3-eddsa-jcs-2022"))]
    return token(_clr(inner), "EdDSA", {"kid": ED_METHOD})


def _blockcerts() -> bytes:
    document = credential(
        **{"@context": [VC2, "https://w3id.org/blockcerts/v3.1"]},
        type=["VerifiableCredential", "BlockcertsCredential"],
        issuer=HTTPS_ISSUER,
        credentialSubject={"id": "did:example:learner-1", "claim": {"name": "Welding"}},
        display={"contentMediaType": "text/html", "content": "<b>Welding</b>"},
    )
    chained = {"type": "DataIntegrityProof", "cryptosuite": "merkle-proof-2019", "proofPurpose": "assertionMethod"}
    chained |= {"created": CREATED, "verificationMethod": HTTPS_ISSUER + "#key-1", "proofValue": "z" + "E" * 300}
    return _dumps({**document, "proof": chained})


def _moodle() -> bytes:
    """As Moodle bakes it: `verify`, an embedded class with its image in a data: URL, `evidence` as text, and `uid`."""
    address = "https://moodle.example.org/badges/assertion.php?b=0f3c&obversion=2"
    issuer = {
        "type": "Issuer",
        "id": "https://moodle.example.org/badges/issuer_json.php?id=7",
        "name": "Example Academy",
    }
    return _dumps(
        assertion(
            id=address,
            uid="0f3c",
            badge={
                "type": "BadgeClass",
                "name": "Welding",
                "image": "data:image/png;base64,iVBORw0K",
                "issuer": issuer,
            },
            image=None,
            verification=None,
            verify={"type": "hosted", "url": address},
            issuedOn=1_767_225_600,
            expires=None,
            evidence="https://moodle.example.org/badges/badge.php?hash=0f3c",
        )
    )


def _credly() -> bytes:
    address = "https://api.credly.example/v1/obi/v2/badge_assertions/2f9b1c8e-6c2e-4b57-9d0e-5e5b1a3f7c03"
    return _dumps(
        assertion(
            id=address,
            badge="https://api.credly.example/v1/obi/v2/badge_classes/9d0e",
            image=None,
            verification={"type": "HostedBadge", "allowedOrigins": "api.credly.example"},
        )
    )


def _open_badges_1() -> bytes:
    """Version 1.0: `uid`, no `id`, no context, no type; the time as a number."""
    recipient = {"type": "email", "hashed": False, "identity": "learner-1@example.org"}
    return _dumps(
        {
            "uid": "f2c20",
            "recipient": recipient,
            "badge": "https://badges.example.org/welding.json",
            "verify": {"type": "hosted", "url": "https://badges.example.org/assertions/f2c20.json"},
            "issuedOn": 1_767_225_600,
        }
    )


def _status() -> Json:
    """The entries: two of bitstring lists, one index a number, and two of methods that are not looked up."""
    entry = {"type": "BitstringStatusListEntry", "statusListCredential": "https://badges.example.org/status/3"}
    return credential(
        credentialStatus=[
            {**entry, "statusPurpose": "revocation", "statusListIndex": "94567"},
            {**entry, "statusPurpose": "suspension", "statusListIndex": 94567},
            {"id": "https://badges.example.org/old#5", "type": "StatusList2021Entry", "statusListIndex": "5"},
            {"id": "https://badges.example.org/list.json", "type": "1EdTechRevocationList"},
        ]
    )


def _signed_assertion(context: str | None, **changes: Any) -> bytes:
    verification = {"type": "SignedBadge", "creator": RSA_KEY_URL}
    badge = {
        "type": "BadgeClass",
        "id": "https://badges.example.org/welding",
        "name": "Welding",
        "issuer": HTTPS_ISSUER,
    }
    payload = assertion(
        **{"@context": context}, badge=badge, id="urn:uuid:6a1a9ff4-6b6c-5f62-9d0e-5e5b1a3f7c04", **changes
    )
    return token({**payload, "verification": verification}, "RS256", {})


class Made(NamedTuple):
    """A sample. family: how it is baked. key: the name under which its key has to be pinned, for "pinned"."""

    make: Callable[[], bytes]
    kind: str
    family: str
    signature: Signature
    key: str | None = None


_REVOKED_AT: Final = "https://badges.example.org/public/assertions/kM5_4HqSRV6yYx2"

MADE: Final[dict[str, Made]] = {
    "ob1-hosted": Made(_open_badges_1, "ob1-hosted", "ob2", "none"),
    "ob1-signed": Made(lambda: _signed_assertion(None, uid="f2c20"), "ob1-signed", "ob2", "pinned", RSA_KEY_URL),
    "ob2-hosted": Made(lambda: ob2_hosted(ISSUER, 1), "ob2-hosted", "ob2", "none"),
    "ob2-badgr": Made(lambda: _dumps(assertion()), "ob2-hosted", "ob2", "none"),
    "ob2-moodle": Made(_moodle, "ob2-hosted", "ob2", "none"),
    "ob2-credly": Made(_credly, "ob2-hosted", "ob2", "none"),
    "ob2-badgr-revoked": Made(
        lambda: _dumps(
            {"@context": OB2, "type": "Assertion", "id": _REVOKED_AT, "revoked": True, "revocationReason": "Error"}
        ),
        "ob2-hosted",
        "ob2",
        "none",
    ),
    "ob2-moodle-revoked": Made(lambda: _dumps({"id": _REVOKED_AT, "revoked": True}), "ob2-hosted", "ob2", "none"),
    "ob2-jws-rs256": Made(lambda: _signed_assertion(OB2), "ob2-signed", "ob2", "pinned", RSA_KEY_URL),
    "ob2-jws-eddsa": Made(lambda: ob2_jws(ISSUER, 1), "ob2-signed", "ob2", "not-checked"),
    "ob3-unsigned": Made(lambda: _dumps(credential()), "ob3-json", "ob3", "none"),
    "ob3-demo-rdfc": Made(lambda: ob3_json(ISSUER, 1), "ob3-json", "ob3", "verified"),
    "ob3-demo-jwt": Made(lambda: ob3_jwt(ISSUER, 1), "ob3-jwt", "ob3", "verified"),
    "ob3-eddsa-rdfc-2022": Made(
        lambda: _dumps(secured(credential(), "eddsa-rdfc-2022")), "ob3-json", "ob3", "verified"
    ),
    "ob3-eddsa-jcs-2022": Made(lambda: _dumps(secured(credential(), "eddsa-jcs-2022")), "ob3-json", "ob3", "verified"),
    "ob3-ed25519signature2020": Made(
        lambda: _dumps(secured(_vc1(), "Ed25519Signature2020")), "ob3-json", "ob3", "verified"
    ),
    "ob3-two-proofs": Made(
        lambda: _dumps(secured(credential(), "eddsa-rdfc-2022", "eddsa-jcs-2022")), "ob3-json", "ob3", "verified"
    ),
    "ob3-expired": Made(
        lambda: _dumps(secured(credential(validUntil="2026-01-02T00:00:00Z"), "eddsa-rdfc-2022")),
        "ob3-json",
        "ob3",
        "verified",
    ),
    "ob3-status": Made(lambda: _dumps(secured(_status(), "eddsa-jcs-2022")), "ob3-json", "ob3", "verified"),
    "ob3-jwt-eddsa": Made(lambda: token(credential(), "EdDSA", {"kid": ED_METHOD}), "ob3-jwt", "ob3", "verified"),
    "ob3-jwt-es256": Made(
        lambda: token(credential(issuer=EC_DID), "ES256", {"kid": EC_DID + "#0"}), "ob3-jwt", "ob3", "verified"
    ),
    "ob3-jwt-rs256-kid": Made(
        lambda: token(_https(), "RS256", {"kid": HTTPS_ISSUER + "#rsa"}),
        "ob3-jwt",
        "ob3",
        "pinned",
        HTTPS_ISSUER + "#rsa",
    ),
    "ob3-jwt-rs256-jwk": Made(lambda: token(_https(), "RS256", {"jwk": rsa_jwk()}), "ob3-jwt", "ob3", "self-asserted"),
    "ob3-jwt-es256-jwk": Made(lambda: token(_https(), "ES256", {"jwk": ec_jwk()}), "ob3-jwt", "ob3", "self-asserted"),
    "ob3-jwt-vc-claim": Made(lambda: token(_claims(_vc1()), "EdDSA", {"kid": ED_METHOD}), "ob3-jwt", "ob3", "verified"),
    "clr2-eddsa-rdfc-2022": Made(_clr_json, "clr2-json", "clr", "verified"),
    "clr2-jwt": Made(_clr_jwt, "clr2-jwt", "clr", "verified"),
    "blockcerts3": Made(_blockcerts, "blockcerts3-json", "ob3", "not-checked"),
    "vc2-eddsa-jcs-2022": Made(
        lambda: _dumps(
            secured(credential(**{"@context": [VC2]}, type=["VerifiableCredential"], issuer=ED_DID), "eddsa-jcs-2022")
        ),
        "vc-json",
        "ob3",
        "verified",
    ),
}


@functools.cache
def made(name: str) -> bytes:
    """The bytes of the sample MADE[name], the same ones throughout a process."""
    return MADE[name].make()
