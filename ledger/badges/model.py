"""What a badge says, as this package hands it on. The terms are those of Open Badges.

Everything here is what the badge *claims*: nothing is verified. The text of names and identifiers is untrusted and has
to be escaped where it is shown. `repr` leaves out whatever can be personal data, since it ends in logs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

#: Form 1: a compact JWS, the exact token. Form 2: JSON, canonical by RFC 8785 (wire.md "Commitment").
FORM_JWS: Final = 1
FORM_JSON: Final = 2

Kind = Literal[
    "ob1-hosted",  # Open Badges 1.0 and 1.1, as Open Badges 2.0 below
    "ob1-json",
    "ob1-signed",
    "ob2-hosted",  # JSON whose truth is what its address answers
    "ob2-json",  # JSON that says that it is signed, without the signature
    "ob2-signed",
    "ob3-json",
    "ob3-jwt",
    "clr2-json",
    "clr2-jwt",
    "blockcerts3-json",  # its hash counts here, its chain proof is not read
    "vc-json",  # another verifiable credential
    "vc-jwt",
]
Wrapping = Literal["plain", "png", "svg"]
#: `hashed` a salted hash, `plain` the identity itself, `did` or `url` an identifier, None where the badge names nobody.
RecipientKind = Literal["hashed", "plain", "did", "url"]

_KIND_NAMES: Final[dict[Kind, str]] = {
    "ob1-hosted": "Open Badges 1, hosted",
    "ob1-json": "Open Badges 1, JSON without its signature",
    "ob1-signed": "Open Badges 1, signed (JWS)",
    "ob2-hosted": "Open Badges 2.0, hosted",
    "ob2-json": "Open Badges 2.0, JSON without its signature",
    "ob2-signed": "Open Badges 2.0, signed (JWS)",
    "ob3-json": "Open Badges 3.0, JSON",
    "ob3-jwt": "Open Badges 3.0, JWT",
    "clr2-json": "Comprehensive Learner Record 2.0, JSON",
    "clr2-jwt": "Comprehensive Learner Record 2.0, JWT",
    "blockcerts3-json": "Blockcerts 3, JSON",
    "vc-json": "verifiable credential, JSON",
    "vc-jwt": "verifiable credential, JWT",
}


def kind_name(kind: Kind) -> str:
    """The kind in words, for people."""
    return _KIND_NAMES[kind]


class StatusEntry(NamedTuple):
    """A `BitstringStatusListEntry`: the list's address, the position in it (0 to 2^63 - 1) and the purpose."""

    status_list_credential: str
    status_list_index: int
    status_purpose: str


@dataclass(frozen=True, slots=True, eq=False)
class Badge:
    """A badge as read.

    form: FORM_JWS or FORM_JSON. canonical: what a commitment is over.
    document: the whole JSON document, or the whole payload of the JWS. Personal data: not to be logged.
    signed: whether it holds a cryptographic proof (`ledger.badges.proofs`), not whether that proof is right.
    issuer: `iss`, issuer.id or the issuer string; Open Badges 1, 2.0: the id of an embedded issuer, else None.
    hosted_at: the host (and port, if given) of a hosted Open Badges 1 or 2.0 assertion, lower case.
    name: the achievement's, else the credential's (of a CLR, its own first).
    valid_from, valid_until: Unix milliseconds.
    status: its entries in W3C Bitstring Status Lists.
    id: the credential's or assertion's own; of a hosted one without, the address in its `verify` or `verification`.
    revoked: whether the document itself says so (`revoked: true`, as a hosted assertion's address answers then).
    other_status: the types of the other entries in `credentialStatus`, and what stands elsewhere and is or may be a
    status (a JWT's claim, members by names that only JSON-LD resolves); nothing here can look these up.
    names_elsewhere: an Open Badges 1 or 2.0 assertion names a place for itself, its class or its issuer that is not on
    the host of its own address: the host does not stand for its issuer.
    """

    form: int
    canonical: bytes = field(repr=False)
    kind: Kind
    wrapping: Wrapping
    document: dict[str, Any] = field(repr=False)
    signed: bool
    issuer: str | None
    hosted_at: str | None
    name: str | None = field(repr=False)
    valid_from: int | None
    valid_until: int | None
    recipient_kind: RecipientKind | None
    status: tuple[StatusEntry, ...]
    id: str | None = field(default=None, repr=False)
    revoked: bool = False
    other_status: tuple[str, ...] = ()
    names_elsewhere: bool = False
