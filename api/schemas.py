"""Bodies of requests and answers. The same types validate what comes in and make `/openapi.json`.

32-byte identifiers, hashes, keys and commitments are 64 lowercase hexadecimal digits; nonces 32; signatures, entries
and proof hashes are standard base64; times are milliseconds since the Unix epoch; unknown fields are refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

U64 = 2**64 - 1
MAX_EVENTS = 100_000

# The length as well: to Python's expressions, $ also stands before a line end that ends the text.
Hex16 = Annotated[
    str, Meta(pattern="^[0-9a-f]{32}$", min_length=32, max_length=32, description="16 bytes, lowercase hexadecimal")
]
Hex32 = Annotated[
    str, Meta(pattern="^[0-9a-f]{64}$", min_length=64, max_length=64, description="32 bytes, lowercase hexadecimal")
]
Signature = Annotated[
    str, Meta(pattern="^[A-Za-z0-9+/]{86}==$", description="an Ed25519 signature, 64 bytes, standard base64")
]
Hash = Annotated[str, Meta(pattern="^[A-Za-z0-9+/]{43}=$", description="32 bytes, standard base64")]
Index = Annotated[int, Meta(ge=0, le=2**63 - 1, description="a log index")]
Slot = Annotated[int, Meta(ge=0, le=2**49 - 1, description="list x 131072 + index in the list")]
Milliseconds = Annotated[int, Meta(ge=0, le=2**63 - 1, description="milliseconds since the Unix epoch")]
Roles = Annotated[int, Meta(ge=1, le=7, description="sum of 1 issue, 2 status, 4 manage")]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what comes in."""


class IssueEvent(Request, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="issue"):
    """A badge is issued."""

    slot: Slot
    commitment: Hex32


class RevokeEvent(Request, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="revoke"):
    """A badge is revoked, for good."""

    slot: Slot
    reason: Annotated[int, Meta(ge=0, le=6)] = 0


class SuspendEvent(Request, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="suspend"):
    """A badge is suspended."""

    slot: Slot
    reason: Annotated[int, Meta(ge=0, le=6)] = 0


class ReinstateEvent(Request, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="reinstate"):
    """A suspended badge is valid again."""

    slot: Slot
    reason: Annotated[int, Meta(ge=0, le=6)] = 0


Event = IssueEvent | RevokeEvent | SuspendEvent | ReinstateEvent


class SubmissionRequest(Request, frozen=True, forbid_unknown_fields=True):
    """A signed submission. `signature` is over the submission message of docs/protocol.md."""

    issuer: Hex32
    key: Index
    not_after: Milliseconds
    nonce: Hex16
    events_root: Hex32
    signature: Signature
    events: Annotated[list[Event], Meta(min_length=1, max_length=MAX_EVENTS)]


class HeadBody(msgspec.Struct, frozen=True):
    """A published tree head."""

    size: Index
    root: Hash
    time_ms: Milliseconds


class SubmissionAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The submission entry stands at `first_index`, its `count` events right after it; `head` covers them all."""

    first_index: Index
    count: int
    time_ms: Milliseconds
    head: HeadBody
    checkpoint: str
    receipts: list[msgspec.Raw] = []


class BadgeAnswer(msgspec.Struct, frozen=True):
    """Receipts of every slot in which this commitment was issued, oldest first."""

    commitment: Hex32
    receipts: list[msgspec.Raw]


class HistoryAnswer(msgspec.Struct, frozen=True):
    """The history of every slot in which this commitment was issued, oldest first."""

    commitment: Hex32
    histories: list[msgspec.Raw]


class Limits(msgspec.Struct, frozen=True):
    """What this service takes at the most."""

    max_events: int
    max_body_bytes: int
    max_inline_receipts: int
    max_slots_request: int
    max_entries_page: int
    window_ms: int


class Software(msgspec.Struct, frozen=True):
    """What runs here."""

    name: str
    version: str


class LogAnswer(msgspec.Struct, frozen=True):
    """Who this log is."""

    origin: str
    verifier_keys: list[str]
    head: HeadBody
    checkpoint: str
    limits: Limits
    software: Software
    status_lists: Annotated[str, Meta(description="address below which the W3C status lists stand, ends in a slash")]
    status_list_issuer: Annotated[str, Meta(description="did:key of the key that signs them")]


class InclusionAnswer(msgspec.Struct, frozen=True):
    """RFC 6962 section 2.1.1."""

    index: Index
    tree_size: Index
    leaf_hash: Hash
    proof: list[Hash]


class ConsistencyAnswer(msgspec.Struct, frozen=True):
    """RFC 6962 section 2.1.2."""

    first: Index
    second: Index
    proof: list[Hash]


class EntriesAnswer(msgspec.Struct, frozen=True):
    """Entries decoded for people; programs read `/tile/entries/`."""

    start: Index
    tree_size: Index
    entries: list[dict[str, Any]]


class RegisterRequest(Request, frozen=True, forbid_unknown_fields=True):
    """An identifier's first key. `possession_sig` is over the key message of docs/protocol.md."""

    identifier: Annotated[str, Meta(min_length=1, max_length=2048)]
    public_key: Hex32
    roles: Roles
    possession_sig: Signature
    evidence: Hex32 | None = None


class KeyRequest(Request, frozen=True, forbid_unknown_fields=True):
    """A further key, or the retirement of one, signed by the manage key whose entry stands at `signer`."""

    action: Literal["add", "retire"]
    public_key: Hex32
    roles: Roles
    prev: Hex32
    manage_sig: Signature
    signer: Index
    possession_sig: Signature | None = None


class KeyBody(msgspec.Struct, frozen=True):
    """A key of an issuer."""

    index: Index
    public_key: Hex32
    roles: list[str]
    live: bool
    binding: str
    signer: Index | None


class IssuerAnswer(msgspec.Struct, frozen=True):
    """An issuer. `last_key_leaf` is the `prev` of its next key entry."""

    issuer: Hex32
    identifier: str
    last_key_leaf: Hex32
    keys: list[KeyBody]
    lists: list[int]


class IssuersAnswer(msgspec.Struct, frozen=True):
    """A page of issuers in order of registration; `next` is the `after` of the next page."""

    issuers: list[IssuerAnswer]
    next: str | None


class SlotsRequest(Request, frozen=True, forbid_unknown_fields=True):
    """`signature` is over the slots message of docs/protocol.md, by a key with role issue."""

    key: Index
    not_after: Milliseconds
    nonce: Hex16
    count: Annotated[int, Meta(ge=1, le=MAX_EVENTS)]
    signature: Signature


class SlotsAnswer(msgspec.Struct, frozen=True):
    """Unused slots, in random order."""

    slots: list[int]


class SlotAnswer(msgspec.Struct, frozen=True):
    """What the ledger knows of a slot, as of `tree_size` or later."""

    slot: Slot
    list: int
    index_in_list: int
    issuer: Hex32
    state: Literal["unissued", "active", "suspended", "revoked"]
    tree_size: Index


class ListProofAnswer(msgspec.Struct, frozen=True):
    """A status list at the head of `size` leaves, with its proof: docs/protocol.md, "Proof of a list"."""

    origin: str
    list: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    size: Index
    issuer: Hex32
    status_root: Annotated[str, Meta(description="the entry at size - 1, standard base64")]
    revocation: Annotated[str, Meta(description="encodedList of W3C Bitstring Status List 1.0")]
    suspension: Annotated[str, Meta(description="encodedList of W3C Bitstring Status List 1.0")]
    status_proof: Annotated[str, Meta(description="hashes of a multiproof, 32 bytes each, joined, standard base64")]
    tree_size: Index
    log_proof: Annotated[str, Meta(description="hashes of a multiproof, 32 bytes each, joined, standard base64")]
    checkpoint: Annotated[str, Meta(description="the newest published head, of tree_size leaves, as a signed note")]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457. Further members depend on the type."""

    type: str
    title: str
    status: int
    detail: str
