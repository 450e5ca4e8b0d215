"""Vectors of badges: canonical forms, salts, commitments; and documents that have no commitment."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from ledger.badges import commitment, derive_salt, read
from ledger.errors import MalformedBadge

SALT_KEY = bytes(range(32))
PROOF = {"type": "DataIntegrityProof", "cryptosuite": "eddsa-rdfc-2022", "proofValue": "z" + "2" * 87}


def credential(issuer: str, **members: Any) -> dict[str, Any]:
    """An Open Badges 3.0 credential without a proof."""
    return {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "type": ["VerifiableCredential", "OpenBadgeCredential"],
        "issuer": {"id": issuer},
        "credentialSubject": {"type": "AchievementSubject", "achievement": {"name": "Sailing"}},
    } | members


def compact(header: dict[str, Any], payload: dict[str, Any], signature: bytes) -> str:
    """A compact JWS; the signature is some bytes."""
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


_PLAIN = json.dumps(credential("https://school.example/badges"), indent=2)
_NUMBERS = credential("https://school.example/badges", numbers=[1e21, 1e-7, 0.1, 100.0, -0.0, 9007199254740991])
_NAMES = credential("https://school.example/badges", names={"€": 1, "\r": 2, "1": 3, "😀": 4, "ö": 5, "דּ": 6})
_HOSTED = {
    "@context": "https://w3id.org/openbadges/v2",
    "type": "Assertion",
    "id": "https://school.example/assertions/1",
    "recipient": {"type": "email", "hashed": True, "identity": "sha256$" + "0" * 64},
    "badge": "https://school.example/classes/1",
    "verification": {"type": "HostedBadge"},
    "issuedOn": "2025-01-01T00:00:00Z",
}
_SIGNED = json.dumps(credential("https://school.example/badges", proof=PROOF))
_ENVELOPE = {"@context": "https://www.w3.org/ns/credentials/v2", "type": "EnvelopedVerifiableCredential"}
_JWS = compact({"alg": "EdDSA"}, credential("did:web:school.example") | {"iss": "did:web:school.example"}, bytes(64))
_HEADER, _PAYLOAD, _SIGNATURE = _JWS.split(".")
_FLATTENED = {"payload": _PAYLOAD, "protected": _HEADER, "signature": _SIGNATURE}
_ENVELOPE["id"] = f"data:application/vc+jwt,{_JWS}"

#: name, what it shows, text of the badge, whether a salt is used
_GOOD = (
    ("json", "JSON without a proof: salted", _PLAIN, True),
    ("json-escapes", "the same document, other white space, order and escapes: the same commitment",
     json.dumps(dict(reversed(json.loads(_PLAIN).items()))).replace("Sailing", "\\u0053ailing"), True),
    ("json-numbers", "numbers in the form of RFC 8785", json.dumps(_NUMBERS).replace("1e+21", "1E21"), True),
    ("json-names", "names in the order of UTF-16 code units", json.dumps(_NAMES, ensure_ascii=False), True),
    ("ob2-hosted", "a hosted Open Badges 2.0 assertion: salted", json.dumps(_HOSTED), True),
    ("json-signed", "JSON with a proof, which cannot be guessed: no salt", _SIGNED, False),
    ("json-signed-salted", "a salt is allowed there too", _SIGNED, True),
    ("jws", "a compact JWS is the exact token, outer white space removed", f"\n {_JWS}\r\n", False),
    ("jws-enveloped", "an envelope is the token in it", json.dumps(_ENVELOPE), False),
    ("jws-flattened", "so is a JWS in JSON", json.dumps(_FLATTENED), False),
)  # fmt: skip

_BASE = _PLAIN.rstrip()[:-1]
_REFUSED = (
    ("duplicate name", _BASE + ', "a": 1, "a": 1}'),
    ("duplicate name after unescaping", _BASE + ', "a": 1, "\\u0061": 1}'),
    ("integer of 2^53", _BASE + ', "n": 9007199254740992}'),
    ("integer of -2^53", _BASE + ', "n": -9007199254740992}'),
    ("number that overflows", _BASE + ', "n": 1e309}'),
    ("lone surrogate", _BASE + ', "n": "\\ud800"}'),
    ("nested 1,001 deep", _BASE + ', "n": ' + "[" * 1000 + "]" * 1000 + "}"),
    ("leading zero", _BASE + ', "n": 01}'),
    ("NaN", _BASE + ', "n": NaN}'),
    ("single quotes", _BASE + ", 'n': 1}"),
    ("comment", _BASE + "/**/}"),
    ("array at the top", f"[{_PLAIN}]"),
    ("byte order mark", "\ufeff" + _PLAIN),
    ("address", "https://school.example/assertions/1"),
    ("revoked that is neither true nor false", json.dumps(_HOSTED | {"revoked": "true"})),
    ("several badge classes", json.dumps(_HOSTED | {"badge": ["https://school.example/classes/1"]})),
    ("several issuers", json.dumps(_HOSTED | {"badge": {"issuer": [{"id": "https://school.example"}]}})),
    ("issuer by a keyword", json.dumps(_HOSTED | {"badge": {"issuer": {"@id": "https://school.example"}}})),
    (
        "JWS with an expiry beside vc",
        compact({"alg": "EdDSA"}, {"vc": credential("did:web:a.example"), "validUntil": "2020-01-01"}, bytes(64)),
    ),
    ("credential with revoked that is neither", json.dumps(credential("did:web:a.example", revoked="true"))),
    ("presentation", json.dumps(credential("did:web:a.example") | {"type": "VerifiablePresentation"})),
    (
        "envelope that is a credential, too",
        json.dumps(
            credential("did:web:a.example")
            | _ENVELOPE
            | {"type": ["VerifiableCredential", "EnvelopedVerifiableCredential"]}
        ),
    ),
    ("envelope with a name", json.dumps(_ENVELOPE | {"name": "Doctorate"})),
    ("envelope in keywords", json.dumps({"@id": _ENVELOPE["id"], "@type": _ENVELOPE["type"]})),
    ("envelope with a context of its own", json.dumps(_ENVELOPE | {"@context": [{"type": "urn:x"}]})),
    ("envelope and JWS in JSON", json.dumps(_ENVELOPE | _FLATTENED)),
    ("JWS in JSON with a credential's members", json.dumps(credential("did:web:a.example") | _FLATTENED)),
    ("JWS with padding", _JWS + "="),
    ("JWS without a signature", _JWS.rpartition(".")[0] + "."),
    ("JWS with spare bits", _JWS[:-1] + "B"),
    ("JWS with alg none", compact({"alg": "none"}, credential("did:web:school.example"), bytes(64))),
)


def vectors() -> Iterator[tuple[str, dict[str, Any]]]:
    """`commitment-*` and `badge-refused`."""
    for name, shows, text, salted in _GOOD:
        badge = read(text.encode())
        salt = derive_salt(SALT_KEY, badge) if salted else None
        yield (
            f"commitment-{name}",
            {
                "description": shows,
                "badge": text,
                "form": badge.form,
                "canonical": badge.canonical.hex(),
                "salt_key": SALT_KEY.hex() if salted else None,
                "salt": None if salt is None else salt.hex(),
                "commitment": commitment(badge, salt).hex(),
            },
        )
    for name, text in _REFUSED:
        try:
            read(text.encode())
        except MalformedBadge:
            continue
        raise AssertionError(f"{name} was read")
    invalid = [("invalid UTF-8", _PLAIN.encode().replace(b"Sailing", b"Sail\xffing"))]
    invalid += [(name, text.encode()) for name, text in _REFUSED]
    yield (
        "badge-refused",
        {
            "description": "what cannot be read as a badge and has no commitment",
            "cases": [{"reason": name, "badge": data.hex()} for name, data in invalid],
        },
    )
