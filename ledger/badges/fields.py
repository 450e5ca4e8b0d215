"""What a badge's document claims: issuer, name, validity, kind of recipient, status entries. The terms' sources:

    VC 2.0, 1.1          issuer (string or object), validFrom | issuanceDate, validUntil | expirationDate,
                         credentialStatus, credentialSubject
    Open Badges 3.0      credentialSubject.achievement.name, credentialSubject.identifier[]
    VC-JWT               iss, nbf, exp, sub; the credential is the payload (VC 2.0) or its `vc` member (VC 1.1)
    Open Badges 2.0      id, recipient{type, identity, hashed}, badge (an IRI or embedded), issuedOn, expires, revoked,
                         verification | verify {type: hosted | HostedBadge | signed | SignedBadge, url}
    Open Badges 1.0, 1.1 the same with `uid`, and `id` from 1.1 on
    Badgr, Moodle        {id, revoked: true, ...} and little else, at the address of an assertion that is revoked

Where a claim stands twice (`iss` and issuer, `exp` and validUntil), the issuers must agree and the narrower time
counts.

What this does not do: check a document against its schema, its contexts, or anything outside it.
"""

from __future__ import annotations

import re
from typing import Any, TypedDict
from urllib.parse import urlsplit

from ledger.badges.dates import parse_date_ms
from ledger.badges.model import Kind, RecipientKind, StatusEntry
from ledger.errors import MalformedBadge, MalformedInput
from ledger.text import parse_decimal

_VC_CONTEXTS = frozenset({"https://www.w3.org/ns/credentials/v2", "https://www.w3.org/2018/credentials/v1"})
_OB1_CONTEXT = "https://w3id.org/openbadges/v1"
_OB2_CONTEXT = "https://w3id.org/openbadges/v2"
_OB3_TYPES = frozenset({"OpenBadgeCredential", "AchievementCredential"})
_LIST_TYPES = frozenset({"BitstringStatusListCredential", "StatusList2021Credential"})
# What a verifier of another kind of token would read of a credential in `vc` that stands beside it.
_BESIDE_VC = frozenset(
    (
        "@context",
        "type",
        "issuer",
        "credentialSubject",
        "credentialStatus",
        "validFrom",
        "validUntil",
        "issuanceDate",
        "expirationDate",
        "credentialSchema",
        "proof",
        "revoked",
    )
)
#: The kind of status that a credential has whose members go by names that only JSON-LD resolves: any may be one.
ALIASED = "JSON-LD under other names"
_HOSTED = frozenset({"hosted", "hostedbadge"})
_SIGNED = frozenset({"signed", "signedbadge"})
# Printable ASCII without backslash, at-sign or quotes: nothing that two URL parsers take for two hosts.
_PLAIN_URL = re.compile(r"https?://[!#-&(-?A-\[\]-~]+", re.IGNORECASE)


class Fields(TypedDict):
    """The part of a Badge that its document alone determines."""

    kind: Kind
    issuer: str | None
    hosted_at: str | None
    name: str | None
    valid_from: int | None
    valid_until: int | None
    recipient_kind: RecipientKind | None
    status: tuple[StatusEntry, ...]
    id: str | None
    revoked: bool
    other_status: tuple[str, ...]
    names_elsewhere: bool


def vc_fields(document: dict[str, Any], *, is_jwt: bool) -> Fields | None:
    """The claims of a verifiable credential, None if the document is none. Raises MalformedBadge."""
    credential = document
    if is_jwt and isinstance(document.get("vc"), dict):
        if _is_credential(document):
            raise MalformedBadge("the badge's JWT holds two credentials")
        if document.keys() & _BESIDE_VC:
            raise MalformedBadge("the badge's JWT has members of a credential beside the one in it")
        credential = document["vc"]
    if not _is_credential(credential):
        return None
    types = _strings(credential.get("type"))
    if types & _LIST_TYPES:
        raise MalformedBadge("this is a status list, not a badge")
    if "VerifiablePresentation" in types and "VerifiableCredential" not in types:
        raise MalformedBadge("this is a presentation, not a badge: hand in the credential in it")
    kind: Kind
    if types & _OB3_TYPES:
        kind = "ob3-jwt" if is_jwt else "ob3-json"
    elif "ClrCredential" in types:
        kind = "clr2-jwt" if is_jwt else "clr2-json"
    elif not is_jwt and ("BlockcertsCredential" in types or _has_chain_proof(credential)):
        kind = "blockcerts3-json"
    else:
        kind = "vc-jwt" if is_jwt else "vc-json"
    claims = document if is_jwt else {}
    subject = _first_object(credential.get("credentialSubject"))
    if subject is None:
        raise MalformedBadge("the badge has no credentialSubject")
    achievement = _first_object(subject.get("achievement")) or {}
    status, other_status = _status(credential.get("credentialStatus"))
    return Fields(
        kind=kind,
        issuer=_vc_issuer(credential, claims),
        hosted_at=None,
        name=_vc_name(credential, achievement, is_transcript="ClrCredential" in types),
        valid_from=max(_times(("validFrom", "issuanceDate"), credential, "nbf", claims), default=None),
        valid_until=min(_times(("validUntil", "expirationDate"), credential, "exp", claims), default=None),
        recipient_kind=_vc_recipient(subject, claims),
        id=_text(credential.get("id")) or _text(claims.get("jti")),
        revoked=_revoked(credential),
        status=status,
        other_status=other_status + _unread_status(credential, claims),
        names_elsewhere=False,
    )


def assertion_fields(document: dict[str, Any], *, is_jws: bool) -> Fields | None:
    """The claims of an Open Badges 1 or 2.0 assertion, None if the document is none. Raises MalformedBadge."""
    verification = _verification(document)
    if not _is_assertion(document, verification):
        return None
    verification = verification or {}
    ways = {way.lower() for way in _strings(verification.get("type"))}
    host = _host(document.get("id")) or _host(verification.get("url"))
    # Badgr's answer for a revoked badge has no verification member: a document that has an address is hosted there.
    is_hosted = bool(ways & _HOSTED) or (not ways & _SIGNED and host is not None)
    badge_class = document.get("badge")
    issuer = badge_class.get("issuer") if isinstance(badge_class, dict) else None
    # Another reader may take another one of a list, and to JSON-LD the keyword is the member.
    named = (badge_class, issuer, document.get("issuer"))
    if any(isinstance(one, list) for one in named):
        raise MalformedBadge("the badge names several badge classes or issuers")
    if any(isinstance(one, dict) and "@id" in one for one in (document, verification, *named)):
        raise MalformedBadge("the badge uses the keyword @id for the member id")
    return Fields(
        kind=_assertion_kind(document, is_jws=is_jws, is_hosted=is_hosted),
        issuer=_text(issuer.get("id")) if isinstance(issuer, dict) else _text(issuer),
        hosted_at=host if is_hosted else None,
        name=_text(badge_class.get("name")) if isinstance(badge_class, dict) else None,
        valid_from=parse_date_ms(document.get("issuedOn"), "issuedOn"),
        valid_until=parse_date_ms(document.get("expires"), "expires"),
        recipient_kind=_hashed_or_plain(document.get("recipient")),
        status=(),
        id=_text(document.get("id")) or (_text(verification.get("url")) if is_hosted else None),
        revoked=_revoked(document),
        other_status=(),
        names_elsewhere=any(_host(value) != host for value in _places(document, *named)),
    )


def credentials_in(document: dict[str, Any], *, is_jwt: bool) -> list[Any]:
    """What stands in `verifiableCredential` of the subjects of a CLR 2.0, a document that `vc_fields` has read."""
    credential = document["vc"] if is_jwt and isinstance(document.get("vc"), dict) else document
    found: list[Any] = []
    for subject in _items(credential.get("credentialSubject")):
        if isinstance(subject, dict):
            found += _items(subject.get("verifiableCredential"))
    return found


def address_in(document: dict[str, Any]) -> str | None:
    """The address in a document that says nothing of a badge but where it is: `{"verify": {"url": "https://..."}}`.

    One that says more would be shown by other readers, and vouched for by the badge that is elsewhere.
    """
    if not document.keys() <= {"@context", "type", "verification", "verify"}:
        return None
    url = (_verification(document) or {}).get("url")
    return url if isinstance(url, str) and _host(url) is not None else None


def own_addresses(document: dict[str, Any]) -> tuple[str, ...]:
    """Where an assertion says that it lies: its `id`, and the `url` of its verification."""
    named = (document.get("id"), (_verification(document) or {}).get("url"))
    return tuple(value for value in named if isinstance(value, str))


def _verification(document: dict[str, Any]) -> dict[str, Any] | None:
    return _first_object(document.get("verification")) or _first_object(document.get("verify"))


def _is_assertion(document: dict[str, Any], verification: dict[str, Any] | None) -> bool:
    if "Assertion" in _strings(document.get("type")):
        return True
    if "badge" in document and isinstance(document.get("recipient"), dict) and verification is not None:
        return True
    # Moodle's answer at the address of an assertion that is revoked, which has no type.
    return document.get("revoked") is True and "type" not in document and _host(document.get("id")) is not None


def _places(document: dict[str, Any], badge_class: Any, *issuers: Any) -> list[Any]:
    """Where an assertion says that it, its class and its issuer lie (`origin`: Open Badges 1.0).

    An `id` of the assertion that is no address is no place. That of a class is one that its host does not vouch for. An
    `issuer` of the assertion itself is not its issuer, and may be shown as that.
    """
    own = [document.get("id")] if _host(document.get("id")) is not None else []
    for member in ("verification", "verify"):
        own.append((_first_object(document.get(member)) or {}).get("url"))
    own.append(badge_class.get("id") if isinstance(badge_class, dict) else badge_class)
    for issuer in issuers:
        own += [issuer.get(name) for name in ("id", "url", "origin")] if isinstance(issuer, dict) else [issuer]
    return [value for value in own if value is not None]


def _assertion_kind(document: dict[str, Any], *, is_jws: bool, is_hosted: bool) -> Kind:
    contexts = _strings(document.get("@context"))
    # Moodle writes `uid` in Open Badges 2.0, too.
    if _OB1_CONTEXT in contexts or ("uid" in document and _OB2_CONTEXT not in contexts):
        return "ob1-signed" if is_jws else "ob1-hosted" if is_hosted else "ob1-json"
    return "ob2-signed" if is_jws else "ob2-hosted" if is_hosted else "ob2-json"


def _revoked(document: dict[str, Any]) -> bool:
    value = document.get("revoked")
    if value is not None and not isinstance(value, bool):
        # Neither reading of "yes" or 1 is safe: one passes over a revocation, the other makes one up.
        raise MalformedBadge("the badge's member revoked is neither true nor false")
    return value is True


def _has_chain_proof(credential: dict[str, Any]) -> bool:
    proof = credential.get("proof")
    return any(
        isinstance(one, dict)
        and (one.get("type") == "MerkleProof2019" or one.get("cryptosuite") == "merkle-proof-2019")
        for one in (proof if isinstance(proof, list) else [proof])
    )


def _is_credential(document: dict[str, Any]) -> bool:
    return "VerifiableCredential" in _strings(document.get("type")) or bool(
        _strings(document.get("@context")) & _VC_CONTEXTS
    )


def _vc_issuer(credential: dict[str, Any], claims: dict[str, Any]) -> str:
    member = credential.get("issuer")
    named = member.get("id") if isinstance(member, dict) else member
    candidates = [value for value in (claims.get("iss"), named) if value is not None]
    if not candidates or not all(isinstance(value, str) and value for value in candidates):
        raise MalformedBadge("the badge does not name its issuer")
    if len(set(candidates)) > 1:
        raise MalformedBadge("the badge's JWT and the credential in it name two issuers")
    return str(candidates[0])


def _vc_name(credential: dict[str, Any], achievement: dict[str, Any], *, is_transcript: bool) -> str | None:
    own, achieved = _text(credential.get("name")), _text(achievement.get("name"))
    # A CLR lists several achievements; the first is not what the whole is called.
    return own or achieved if is_transcript else achieved or own


def _times(names: tuple[str, ...], credential: dict[str, Any], claim: str, claims: dict[str, Any]) -> list[int]:
    found = [parse_date_ms(credential.get(name), name) for name in names]
    found.append(parse_date_ms(claims.get(claim), claim))
    return [time for time in found if time is not None]


def _vc_recipient(subject: dict[str, Any], claims: dict[str, Any]) -> RecipientKind | None:
    identifier = _text(subject.get("id")) or _text(claims.get("sub"))
    if identifier is not None:
        scheme = identifier.partition(":")[0].lower()
        # Whatever is no identifier for machines (mailto:, tel:, a bare address or name) is the identity itself.
        return "did" if scheme == "did" else "url" if scheme in ("http", "https", "urn") else "plain"
    return _hashed_or_plain(_first_object(subject.get("identifier")))


def _hashed_or_plain(recipient: Any) -> RecipientKind | None:
    if not isinstance(recipient, dict):
        return None
    return "hashed" if recipient.get("hashed") is True else "plain"


def _status(value: Any) -> tuple[tuple[StatusEntry, ...], tuple[str, ...]]:
    """The entries in bitstring lists, and of every other entry its type."""
    status, others = [], []
    for entry in _items(value):
        types = _strings(entry.get("type")) if isinstance(entry, dict) else set()
        if "BitstringStatusListEntry" not in types:
            others.append(" ".join(sorted(types)) or "without a type")
            continue
        address, index, purpose = (
            _text(entry.get("statusListCredential")),
            _index(entry.get("statusListIndex")),
            _text(entry.get("statusPurpose")),
        )
        # Passing over an entry that cannot be read would be passing over a revocation.
        if address is None or index is None or purpose is None:
            raise MalformedBadge("the badge has a status list entry that cannot be read")
        status.append(StatusEntry(address, index, purpose))
    return tuple(status), tuple(others)


def _unread_status(credential: dict[str, Any], claims: dict[str, Any]) -> tuple[str, ...]:
    """Kinds of status that stand elsewhere than in `credentialStatus`."""
    found: list[str] = []
    claim = claims.get("status")
    if claim is not None:  # IETF Token Status List: {"status_list": {"idx": 7, "uri": "https://..."}}
        found.append("JWT claim " + " ".join(sorted(claim) if isinstance(claim, dict) else ["status"]))
    contexts = _items(credential.get("@context"))
    if any(isinstance(context, dict) for context in contexts) or any(
        ":" in name or (name.startswith("@") and name != "@context") for name in credential
    ):
        found.append(ALIASED)
    return tuple(found)


def _index(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    if not isinstance(value, str):
        return None
    try:
        return parse_decimal(value)
    except MalformedInput:
        return None


def _host(value: Any) -> str | None:
    if not isinstance(value, str) or _PLAIN_URL.fullmatch(value) is None:
        return None
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return None
    return None if not parts.hostname else parts.hostname if port is None else f"{parts.hostname}:{port}"


def _strings(value: Any) -> set[str]:
    return {item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _first_object(value: Any) -> dict[str, Any] | None:
    if isinstance(value, list):
        value = next((item for item in value if isinstance(item, dict)), None)
    return value if isinstance(value, dict) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
