"""What a badge is, by itself: the library function behind `badge-ledger inspect`. Pure.

    inspect(data, lambda badge: check(badge, keys=offline_keys(), contexts=bundled_contexts(), now_s=now_s))

tells kind and wrapping, issuer, kind of recipient, validity, status entries, whether the badge's own signature
verifies, its commitment, and the same of each badge inside a transcript (CLR 2.0).

An Inspection holds no personal data: of the recipient only the kind of identifier, of names only the achievement's
(a credential's own name, or a transcript's, can be a person's), and addresses without what identifies a recipient.

What this does not do: say whether the badge is valid. That takes a receipt and a policy (`ledger.verdict`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from ledger.authenticity.model import Authenticity, OwnSignature
from ledger.badges import (
    Badge,
    Kind,
    RecipientKind,
    Wrapping,
    commitment,
    derive_salt,
    kind_name,
    needs_salt,
    nested,
    read,
    strip_personal,
)
from ledger.errors import MalformedBadge

#: How the own signature is checked: `ledger.authenticity` with the caller's keys, contexts and time.
Authenticate = Callable[[Badge], Authenticity]
_OPEN_BADGES: Final = ("ob1", "ob2", "ob3")


class ListedStatus(msgspec.Struct, frozen=True):
    """An entry in a W3C status list: the list's address, the index as the badge writes it, and the purpose."""

    address: str
    index: str
    purpose: str


class Inspection(msgspec.Struct, frozen=True):
    """A badge as it presents itself; only `own_signature` and what belongs to it has been verified.

    kind_name: the kind for people. name: the achievement's. issuer: the identifier in the badge; signer: that of its
    verified key, where the badge names none; hosted_at: the host that an Open Badges 2.0 or 1 badge lies on. recipient:
    the kind of identifier, None where the badge names nobody. valid_from_ms, valid_until_ms: Unix milliseconds.
    revoked: the document itself says so. status: entries in Bitstring Status Lists; other_status: types of entries that
    are not understood. signature_*: as in a verdict. needs_salt: without a salt there is no commitment. commitment:
    hex, None if a salt is needed and none is at hand; salted: it is over a salt. nested: the badges in a
    transcript; nested_error: why they cannot be read, one sentence.
    """

    kind: Kind
    kind_name: str
    wrapping: Wrapping
    own_signature: OwnSignature
    needs_salt: bool
    salted: bool
    name: str | None = None
    issuer: str | None = None
    signer: str | None = None
    hosted_at: str | None = None
    recipient: RecipientKind | None = None
    valid_from_ms: int | None = None
    valid_until_ms: int | None = None
    revoked: bool = False
    status: tuple[ListedStatus, ...] = ()
    other_status: tuple[str, ...] = ()
    signature_scheme: str | None = None
    signature_key: str | None = None
    signature_reason: str | None = None
    signature_notes: tuple[str, ...] = ()
    commitment: str | None = None
    nested: tuple[Inspection, ...] = ()
    nested_error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The inspection as a JSON object; members without a value are left out."""
        document = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        document["status"] = [msgspec.structs.asdict(entry) for entry in self.status]
        document["nested"] = [inside.to_json() for inside in self.nested]
        return document


def inspect(
    data: bytes, authenticate: Authenticate, *, salt: bytes | None = None, salt_key: bytes | None = None
) -> Inspection:
    """What the badge in `data` is: a PNG or SVG image, JSON or a compact JWS.

    `salt`, 32 bytes: the commitment is over it; `salt_key`, 32 bytes: salts are derived where a badge needs one. Raises
    MalformedBadge (BadgeElsewhere where the image holds only an address), ValueError for other lengths of the two.
    """
    return inspect_badge(read(data), authenticate, salt=salt, salt_key=salt_key)


def inspect_badge(
    badge: Badge, authenticate: Authenticate, *, salt: bytes | None = None, salt_key: bytes | None = None
) -> Inspection:
    """`inspect` for a badge that has been read."""
    salt_needed = needs_salt(badge)
    if salt is None and salt_key is not None and salt_needed:
        salt = derive_salt(salt_key, badge)
    own = authenticate(badge)
    inside: tuple[Badge, ...] = ()
    nested_error: str | None = None
    try:
        inside = nested(badge)
    except MalformedBadge as error:
        nested_error = error.detail
    return Inspection(
        kind=badge.kind,
        kind_name=kind_name(badge.kind),
        wrapping=badge.wrapping,
        own_signature=own.signature,
        needs_salt=salt_needed,
        salted=salt is not None,
        name=_achievement(badge),
        issuer=badge.issuer if badge.issuer is None else strip_personal(badge.issuer),
        signer=own.issuer if badge.issuer is None else None,
        hosted_at=badge.hosted_at,
        recipient=badge.recipient_kind,
        valid_from_ms=badge.valid_from,
        valid_until_ms=badge.valid_until,
        revoked=badge.revoked,
        status=tuple(
            ListedStatus(strip_personal(address), str(index), purpose) for address, index, purpose in badge.status
        ),
        other_status=badge.other_status,
        signature_scheme=own.scheme,
        signature_key=own.key,
        signature_reason=own.reason,
        signature_notes=own.notes,
        commitment=commitment(badge, salt).hex() if salt is not None or not salt_needed else None,
        # A salt of the whole is no salt of its parts; a salt key has one for each.
        nested=tuple(inspect_badge(one, authenticate, salt_key=salt_key) for one in inside),
        nested_error=nested_error,
    )


def _achievement(badge: Badge) -> str | None:
    """The achievement's name; never the credential's own, which may be its recipient's."""
    if not badge.kind.startswith(_OPEN_BADGES):
        return None
    if not badge.kind.startswith("ob3"):
        return badge.name
    credential = badge.document.get("vc") if isinstance(badge.document.get("vc"), dict) else badge.document
    name: Any = credential
    for member in ("credentialSubject", "achievement", "name"):
        if isinstance(name, list):
            name = next((item for item in name if isinstance(item, dict)), None)
        name = name.get(member) if isinstance(name, dict) else None
    return name if isinstance(name, str) and name else None
