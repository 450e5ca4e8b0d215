"""Badges made here: an unsigned Open Badges 3.0 or VC 2.0 document gets status entries and a proof.

    complete    fills in what may be absent: @context, id, issuer, validFrom; refuses what no verifier would accept
    add_status  credentialStatus: two BitstringStatusListEntry, revocation and suspension, both at the slot's index
    sign        proof: DataIntegrityProof, eddsa-rdfc-2022 (W3C vc-di-eddsa section 3.2)

    <base><list>/<purpose>#<index>    id of an entry; statusListCredential is the part before the #
    <did:key>#z6Mk...                 verificationMethod where the issuer is that key's did:key, else <issuer>#z6Mk...

The proof covers the RDF that the document stands for under its @context, so a term that no context defines would be in
the badge and not under the signature: it is refused by name, as are contexts that this program does not hold. Nothing
is fetched, and no message repeats what the document says of anybody but its issuer: badges hold personal data.

What this does not do: draw ids, read a clock, reserve slots, or anchor what it signs. It makes no VC 1.1, no JWT, and
checks no JSON schema: only dates, and the members that Open Badges 3.0 requires.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from ledger.badges import canonical_json, read
from ledger.entry import LIST_SLOTS, did_key
from ledger.errors import InputError, MalformedBadge, TooLarge
from ledger.signing import Ed25519Key

#: The largest document that is signed, in bytes of canonical JSON: what other verifiers read, 256 KiB, less 4 KiB for
#: status entries and proof.
MAX_DOCUMENT_BYTES: Final = 252 * 1024
PURPOSES: Final = ("revocation", "suspension")
VC2_CONTEXT: Final = "https://www.w3.org/ns/credentials/v2"
VC1_CONTEXT: Final = "https://www.w3.org/2018/credentials/v1"
OB3_CONTEXT: Final = "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json"
_OB3_CONTEXTS: Final = "https://purl.imsglobal.org/spec/ob/v3p0/context"
#: Two documents go by this address; the published one cannot be used together with VC 2.0.
_OB3_MOVING_CONTEXT: Final = "https://purl.imsglobal.org/spec/ob/v3p0/context.json"
_OB3_TYPES: Final = frozenset({"OpenBadgeCredential", "AchievementCredential"})
#: Open Badges 3.0, section "Achievement": what is required of one.
_ACHIEVEMENT: Final = ("id", "type", "name", "description", "criteria")
_MAX_NAMED: Final = 10
#: xsd:dateTimeStamp as VC 2.0 narrows it (section 4.9): other readings of a date are nobody's duty.
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})")


def complete(document: dict[str, Any], identifier: str, *, new_id: str, now_ms: int) -> dict[str, Any]:
    """The document with the members that may be absent: `new_id` (an absolute URI) for `id`, `now_ms` for `validFrom`.

    `document` is strict JSON and is not changed. Raises MalformedBadge, InputError for a document that is signed
    already, names status lists, or is another issuer's; TooLarge.
    """
    if "proof" in document:
        raise InputError("the badge carries a proof already: it can be anchored as it is, with `badge-ledger issue`")
    if "credentialStatus" in document:
        raise InputError("the badge names status lists already; the ones of this ledger are added in signing")
    types = _list(document.get("type"))
    if "VerifiableCredential" not in types:
        raise MalformedBadge('the document is no verifiable credential: its "type" does not hold VerifiableCredential')
    is_badge = not _OB3_TYPES.isdisjoint(item for item in types if isinstance(item, str))
    completed = {
        "@context": _contexts(document.get("@context"), is_badge=is_badge),
        "id": new_id,
        **{name: value for name, value in document.items() if name not in ("@context", "issuer", "validFrom")},
        "issuer": _issuer(document.get("issuer"), identifier, is_badge=is_badge),
        "validFrom": document.get("validFrom", _format_date(now_ms)),
    }
    for name in ("validFrom", "validUntil"):
        if name in completed and not _is_date(completed[name]):
            raise MalformedBadge(
                f"the badge's {name} is not a date and time with its zone, such as {_format_date(now_ms)}"
            )
    if is_badge:
        _check_achievement(completed)
    canonical = canonical_json(completed)
    if len(canonical) > MAX_DOCUMENT_BYTES:
        raise TooLarge(f"the badge is larger than {MAX_DOCUMENT_BYTES} bytes, which other verifiers do not read")
    read(canonical)  # dates, issuer, subject: what `issue` and `verify` will ask of it
    _check_terms(completed)
    return completed


def add_status(document: dict[str, Any], base: str, slot: int) -> dict[str, Any]:
    """The document with both entries of the ledger's lists at `base` (an address that ends in a slash)."""
    number, index = divmod(slot, LIST_SLOTS)
    entries = [
        {
            "id": f"{base}{number}/{purpose}#{index}",
            "type": "BitstringStatusListEntry",
            "statusPurpose": purpose,
            "statusListIndex": str(index),
            "statusListCredential": f"{base}{number}/{purpose}",
        }
        for purpose in PURPOSES
    ]
    return {**document, "credentialStatus": entries}


def sign(document: dict[str, Any], private_key: Ed25519Key, *, created_ms: int) -> dict[str, Any]:
    """The document with an eddsa-rdfc-2022 proof of its issuer, made at `created_ms` (to the second).

    Raises MalformedBadge for JSON-LD that a proof cannot cover, InputError for a key that is not its issuer's.
    """
    # Half a second of imports, which reading badges does without.
    from openvc.errors import OpenvcError
    from openvc.proof.data_integrity import DataIntegrityProofSuite

    issuer = document["issuer"]
    identifier = issuer["id"] if isinstance(issuer, dict) else issuer
    method = verification_method(identifier, private_key.public_key)
    try:
        signed: dict[str, Any] = DataIntegrityProofSuite().add_proof(
            document,
            signing_key=_SigningKey(private_key, method),
            verification_method=method,
            created=datetime.fromtimestamp(created_ms // 1000, UTC),
            extra_contexts=pinned_contexts(),
        )
    except OpenvcError as error:
        place = re.search(r"\(at (/[^)\s]{1,200})\)", str(error))
        raise MalformedBadge(
            f"the badge cannot be signed as JSON-LD{f', because of {place[1]}' if place else ''}: its identifiers and "
            "types have to be absolute addresses or terms of its @context, its values as that defines them"
        ) from None
    except RecursionError:
        raise MalformedBadge("the badge cannot be signed as JSON-LD: it is nested too deep") from None
    return signed


def verification_method(identifier: str, public_key: bytes) -> str:
    """The address of an issuer's Ed25519 key (32 bytes), by which a verifier finds it.

    Raises InputError for a key that a did:key or did:jwk, which are one key and no more, does not name.
    """
    own = did_key(public_key)
    if identifier != own and identifier.startswith(("did:key:", "did:jwk:")):
        raise InputError(
            f"the issuer {identifier} is another key than this one, so no verifier would accept a badge signed with it"
        )
    return f"{identifier}#{own.removeprefix('did:key:')}"


def key_document(identifier: str, public_key: bytes) -> dict[str, Any] | None:
    """What the issuer has to publish, so that verifiers find its key (W3C Controlled Identifiers 1.0, section 2.2): at
    an https identifier itself, or in its DID document. None for a did:key, which says it all."""
    method = verification_method(identifier, public_key)
    if identifier == did_key(public_key):
        return None
    return {
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": identifier,
        "verificationMethod": [
            {
                "id": method,
                "type": "Multikey",
                "controller": identifier,
                "publicKeyMultibase": did_key(public_key).removeprefix("did:key:"),
            }
        ],
        "assertionMethod": [method],
    }


class _SigningKey:
    """An issuer's key as openvc asks for it."""

    alg = "EdDSA"

    def __init__(self, key: Ed25519Key, kid: str) -> None:
        self._key = key
        self.kid = kid

    def sign(self, signing_input: bytes) -> bytes:
        return self._key.sign(signing_input)


def _contexts(value: Any, *, is_badge: bool) -> list[Any]:
    """The @context, with what a badge needs. Raises MalformedBadge."""
    contexts = _list(value) or [VC2_CONTEXT]
    if VC1_CONTEXT in contexts:
        raise MalformedBadge(
            "the document is a VC 1.1 credential, whose verifiers know no status lists of this kind: "
            f"begin its @context with {VC2_CONTEXT}, and name validFrom what is issuanceDate"
        )
    if contexts[0] != VC2_CONTEXT:
        raise MalformedBadge(f"the first @context of a VC 2.0 credential is {VC2_CONTEXT}")
    if is_badge and not any(isinstance(item, str) and item.startswith(_OB3_CONTEXTS) for item in contexts):
        contexts = [contexts[0], OB3_CONTEXT, *contexts[1:]]
    if _OB3_MOVING_CONTEXT in contexts:
        raise MalformedBadge(f"what stands at {_OB3_MOVING_CONTEXT} has changed: name {OB3_CONTEXT} instead")
    held = {VC2_CONTEXT, *pinned_contexts()}
    for item in contexts:
        if not isinstance(item, str):
            raise MalformedBadge("the document defines terms of its own in its @context, which verifiers refuse")
        if item not in held:
            raise MalformedBadge(
                f"the @context {item[:200]} is not one that this program holds, and none is fetched: it signs Open "
                "Badges 3.0 and other VC 2.0 credentials under the contexts that it holds"
            )
    return contexts


def _issuer(value: Any, identifier: str, *, is_badge: bool) -> Any:
    """The issuer member. Raises InputError for another than the key's."""
    if value is None:
        return {"id": identifier, "type": ["Profile"]} if is_badge else identifier
    if isinstance(value, dict) and "id" not in value:
        return {"id": identifier, **value}
    named = value.get("id") if isinstance(value, dict) else value
    if named != identifier:
        shown = named[:200] if isinstance(named, str) else "that is no text"
        raise InputError(f"the badge names the issuer {shown}, the key signs for {identifier}")
    return value


def _check_achievement(document: dict[str, Any]) -> None:
    """Raises MalformedBadge for a badge without what Open Badges 3.0 requires of one."""
    subject = document.get("credentialSubject")
    if not isinstance(subject, dict):
        raise MalformedBadge("the badge has no credentialSubject, or more than one")
    if "AchievementSubject" not in _list(subject.get("type")):
        raise MalformedBadge('the "type" of the badge\'s credentialSubject does not hold AchievementSubject')
    if not subject.get("id") and not subject.get("identifier"):
        raise MalformedBadge("the badge's credentialSubject has neither id nor identifier: nobody receives it")
    achievement = subject.get("achievement")
    if not isinstance(achievement, dict):
        raise MalformedBadge("the badge's credentialSubject has no achievement")
    missing = [name for name in _ACHIEVEMENT if not achievement.get(name)]
    if missing:
        raise MalformedBadge(f"the badge's achievement has no {', '.join(missing)}, which Open Badges 3.0 requires")


def _check_terms(document: dict[str, Any]) -> None:
    """Raises MalformedBadge for members that JSON-LD drops, since no context defines their names."""
    from openvc.proof.contexts import document_loader, pyld_options
    from pyld import jsonld

    dropped: dict[str, None] = {}

    def drop(name: Any) -> None:
        dropped.setdefault(str(name))

    try:
        jsonld.expand(document, pyld_options(document_loader(pinned_contexts())), on_property_dropped=drop)
    except Exception:
        # A third party's processor: besides its own errors, whatever an odd document makes it stumble over.
        raise MalformedBadge("the badge is not JSON-LD that its @context admits") from None
    if dropped:
        named = [name[:60] for name in dropped][:_MAX_NAMED]
        more = "" if len(dropped) <= _MAX_NAMED else f" and {len(dropped) - _MAX_NAMED} more"
        raise MalformedBadge(
            f"no @context of the badge defines {', '.join(named)}{more}: the proof would not cover what stands there"
        )


def pinned_contexts() -> dict[str, Any]:
    """The contexts that a badge may name, by address: the published documents, as openbadgeslib bundles them."""
    from openbadgeslib.ob3.contexts import bundled_contexts

    contexts: dict[str, Any] = bundled_contexts()
    return contexts


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and _DATE.fullmatch(value) is not None


def _format_date(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
