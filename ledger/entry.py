"""The codec of log entries: the wire format's section "Entries", big-endian throughout.

    u8 version = 1 ‖ u8 type, then (ori = u8 length ‖ origin):
    1 log_params   u64 time ‖ ori ‖ u8 protocol ‖ u32 list slots ‖ u16 chunk slots ‖ u8 hash
                   ‖ u8 predecessor [1: ‖ ori ‖ u64 size ‖ root[32]]
    2 issuer_key   u64 time ‖ u8 action ‖ prev[32] ‖ u16 len ‖ identifier ‖ u8 roles ‖ u8 algorithm ‖ public key[32]
                   ‖ u8 binding ‖ evidence[32] ‖ u64 signer ‖ possession_sig[64] ‖ manage_sig[64]
    3 status_list  u64 time ‖ u32 list ‖ issuer[32]                                                          46 bytes
    4 submission   u64 time ‖ issuer[32] ‖ u64 key ‖ u32 count ‖ u64 not_after ‖ nonce[16] ‖ events_root[32]
                   ‖ u8 algorithm ‖ signature[64]                                                           175 bytes
    5 issue        issuer[32] ‖ u64 slot ‖ commitment[32]                                                    74 bytes
    6 revoke, 7 suspend, 8 reinstate: issuer[32] ‖ u64 slot ‖ u8 reason                                      43 bytes
    9 status_root  u64 time ‖ u64 previous ‖ u64 lists ‖ u64 issued ‖ u64 revoked ‖ u64 suspended ‖ root[32] 82 bytes

Every value that one entry alone shows to be wrong is refused, in both directions: lengths, enumerations, spare bytes.
Not judged here: whether the log admits the entry where it stands (`replay`), signatures (`message` names the bytes
signed), and blocks of many events, which `block` reads without making an object for each.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import Any, TypeAlias, TypeVar

import msgspec
import msgspec.structs

from ledger.base58 import format_base58
from ledger.errors import MalformedEntry, UnknownEntry

VERSION = 1
LOG_PARAMS, ISSUER_KEY, STATUS_LIST, SUBMISSION, ISSUE, REVOKE, SUSPEND, REINSTATE, STATUS_ROOT = range(1, 10)
#: The names of the entry types, as documents write them.
TYPE_NAMES = {
    LOG_PARAMS: "log_params",
    ISSUER_KEY: "issuer_key",
    STATUS_LIST: "status_list",
    SUBMISSION: "submission",
    ISSUE: "issue",
    REVOKE: "revoke",
    SUSPEND: "suspend",
    REINSTATE: "reinstate",
    STATUS_ROOT: "status_root",
}

PROTOCOL = 1
HASH_SHA256 = 1
ALG_ED25519 = 1
ADD, RETIRE = 1, 2
ROLE_ISSUE, ROLE_STATUS, ROLE_MANAGE = 1, 2, 4
BINDING_SELF_CERTIFYING, BINDING_PUBLISHED, BINDING_VOUCHED, BINDING_DELEGATED = 1, 2, 3, 4
REASONS = {
    0: "unspecified",
    1: "issued in error",
    2: "superseded",
    3: "withdrawn",
    4: "fraud",
    5: "holder's request",
    6: "issuer's key compromised",
}

LIST_SLOTS = 131_072
CHUNK_SLOTS = 256
LIST_CHUNKS = LIST_SLOTS // CHUNK_SLOTS
MAX_EVENTS = 100_000
MAX_U64 = 2**64 - 1
#: Stands for "no entry" where a log index is asked for.
NONE_INDEX = MAX_U64
MAX_IDENTIFIER_BYTES = 2048
MAX_ORIGIN_BYTES = 255
ZERO32 = bytes(32)
ZERO64 = bytes(64)

_LOG_PARAMS_HEAD = struct.Struct(">BBQ")
_LOG_PARAMS_BODY = struct.Struct(">BIHBB")
_PREDECESSOR_TAIL = struct.Struct(">Q32s")
_ISSUER_KEY_HEAD = struct.Struct(">BBQB32sH")
_ISSUER_KEY_TAIL = struct.Struct(">BB32sB32sQ64s64s")
_STATUS_LIST = struct.Struct(">BBQI32s")
_SUBMISSION = struct.Struct(">BBQ32sQIQ16s32sB64s")
_ISSUE = struct.Struct(">BB32sQ32s")
_STATUS_EVENT = struct.Struct(">BB32sQB")
_STATUS_ROOT = struct.Struct(">BBQQQQQQ32s")

STATUS_LIST_BYTES = _STATUS_LIST.size
SUBMISSION_BYTES = _SUBMISSION.size
ISSUE_BYTES = _ISSUE.size
STATUS_EVENT_BYTES = _STATUS_EVENT.size
STATUS_ROOT_BYTES = _STATUS_ROOT.size
#: Length of the entry of each type that an issuer signs.
EVENT_BYTES = {
    ISSUE: ISSUE_BYTES,
    REVOKE: STATUS_EVENT_BYTES,
    SUSPEND: STATUS_EVENT_BYTES,
    REINSTATE: STATUS_EVENT_BYTES,
}


class Predecessor(msgspec.Struct, frozen=True):
    """The closed log that this one continues: its origin, final tree size and root hash (32 bytes)."""

    origin: str
    size: int
    root: bytes


class LogParams(msgspec.Struct, frozen=True):
    """Type 1, entry 0 of every log. `time` in milliseconds; the geometry has one admissible value in this version."""

    time: int
    origin: str
    protocol: int = PROTOCOL
    list_slots: int = LIST_SLOTS
    chunk_slots: int = CHUNK_SLOTS
    hash: int = HASH_SHA256
    predecessor: Predecessor | None = None


class IssuerKey(msgspec.Struct, frozen=True):
    """Type 2: a public key of an issuer is added or retired. `prev` is the leaf hash of its key entry before."""

    time: int
    action: int
    prev: bytes
    identifier: str
    roles: int
    algorithm: int
    public_key: bytes
    binding: int
    evidence: bytes
    signer: int
    possession_sig: bytes
    manage_sig: bytes


class StatusList(msgspec.Struct, frozen=True):
    """Type 3: status list number `list` (131,072 slots) belongs to `issuer` (32 bytes)."""

    time: int
    list: int
    issuer: bytes


class Submission(msgspec.Struct, frozen=True):
    """Type 4: heads the `count` events that follow it. All but `time` is the issuer's; `not_after` in milliseconds."""

    time: int
    issuer: bytes
    key: int
    count: int
    not_after: int
    nonce: bytes
    events_root: bytes
    algorithm: int
    signature: bytes


class Issue(msgspec.Struct, frozen=True):
    """Type 5: the badge with this commitment (32 bytes) is issued in this slot."""

    issuer: bytes
    slot: int
    commitment: bytes


class StatusEvent(msgspec.Struct, frozen=True):
    """Types 6 to 8: the badge in this slot is revoked, suspended or reinstated; `reason` 0 to 6."""

    type: int
    issuer: bytes
    slot: int
    reason: int


class StatusRoot(msgspec.Struct, frozen=True):
    """Type 9: root of the status tree and the totals at this point; `previous` is the index of the one before."""

    time: int
    previous: int
    lists: int
    issued: int
    revoked: int
    suspended: int
    root: bytes


Entry: TypeAlias = LogParams | IssuerKey | StatusList | Submission | Issue | StatusEvent | StatusRoot
_E = TypeVar("_E", LogParams, IssuerKey)


def issuer_id(identifier: str) -> bytes:
    """SHA-256 of the identifier: 1 to 2,048 bytes of UTF-8 without control characters. Raises MalformedEntry."""
    return sha256(identifier_bytes(identifier)).digest()


def identifier_bytes(identifier: str) -> bytes:
    """The identifier as exact UTF-8 bytes, compared byte for byte and never normalised. Raises MalformedEntry."""
    return _text(identifier, "identifier", MAX_IDENTIFIER_BYTES)


@lru_cache(maxsize=64)
def encode_origin(origin: str) -> bytes:
    """u8 length ‖ origin. An origin is also the name of the log's keys, so it has 1 to 255 bytes of UTF-8 and, as
    signed-note demands of key names, neither white space nor `+`. Raises MalformedEntry."""
    data = _text(origin, "origin", MAX_ORIGIN_BYTES)
    if "+" in origin or any(character.isspace() for character in origin):
        raise MalformedEntry("origin has white space or a plus sign, which no key name may have")
    return bytes((len(data),)) + data


def did_key(public_key: bytes) -> str:
    """The did:key identifier of an Ed25519 public key of 32 bytes. Raises MalformedEntry for another length."""
    _length(public_key, 32, "public key")
    return "did:key:z" + format_base58(b"\xed\x01" + public_key)


def encode_issue(issuer: bytes, slot: int, commitment: bytes) -> bytes:
    """The 74 bytes of an issue event, without an object. Raises MalformedEntry."""
    if len(issuer) != 32 or len(commitment) != 32 or not 0 <= slot <= MAX_U64:
        raise MalformedEntry("an issue event needs 32 bytes of issuer, 32 of commitment and a slot below 2^64")
    return b"\x01\x05" + issuer + slot.to_bytes(8, "big") + commitment


def encode_status_event(type_: int, issuer: bytes, slot: int, reason: int) -> bytes:
    """The 43 bytes of a revoke (6), suspend (7) or reinstate (8) event. Raises MalformedEntry."""
    if len(issuer) != 32 or not (REVOKE <= type_ <= REINSTATE and 0 <= slot <= MAX_U64 and 0 <= reason <= 6):
        raise MalformedEntry(
            "a status event needs a type of 6 to 8, 32 bytes of issuer, a slot below 2^64, a reason to 6"
        )
    return _STATUS_EVENT.pack(VERSION, type_, issuer, slot, reason)


def encode(entry: Entry) -> bytes:
    """The bytes of the entry. Raises MalformedEntry if a field is out of its range."""
    match entry:
        case Submission():
            _check_submission(entry)
            return _SUBMISSION.pack(VERSION, SUBMISSION, *_fields(entry))
        case Issue():
            return encode_issue(entry.issuer, entry.slot, entry.commitment)
        case StatusEvent():
            return encode_status_event(entry.type, entry.issuer, entry.slot, entry.reason)
        case StatusRoot():
            _check_status_root(entry)
            return _STATUS_ROOT.pack(VERSION, STATUS_ROOT, *_fields(entry))
        case StatusList():
            _check_status_list(entry)
            return _STATUS_LIST.pack(VERSION, STATUS_LIST, *_fields(entry))
        case IssuerKey():
            return _encode_issuer_key(entry)
        case LogParams():
            return _encode_log_params(entry)


def decode(data: bytes) -> Entry:
    """The entry that these bytes, all of them, are. Raises UnknownEntry for another version or type, else
    MalformedEntry: cut short, bytes to spare, a value out of its range."""
    if len(data) < 2:
        raise MalformedEntry("a log entry has at least two bytes")
    if data[0] != VERSION:
        raise UnknownEntry(f"entry version {data[0]} is unknown")
    decoder = _DECODERS.get(data[1])
    if decoder is None:
        raise UnknownEntry(f"entry type {data[1]} is unknown")
    return decoder(bytes(data))


def _encode_log_params(entry: LogParams) -> bytes:
    _u64(entry.time, "time")
    for value, admissible, what in (
        (entry.protocol, PROTOCOL, "protocol"),
        (entry.list_slots, LIST_SLOTS, "list slots"),
        (entry.chunk_slots, CHUNK_SLOTS, "chunk slots"),
        (entry.hash, HASH_SHA256, "hash"),
    ):
        _range(value, admissible, admissible, what)
    before = entry.predecessor
    body = _LOG_PARAMS_BODY.pack(entry.protocol, entry.list_slots, entry.chunk_slots, entry.hash, before is not None)
    data = _LOG_PARAMS_HEAD.pack(VERSION, LOG_PARAMS, entry.time) + encode_origin(entry.origin) + body
    if before is not None:
        _u64(before.size, "predecessor size")
        _length(before.root, 32, "predecessor root")
        data += encode_origin(before.origin) + _PREDECESSOR_TAIL.pack(before.size, before.root)
    return data


def _decode_log_params(data: bytes) -> LogParams:
    try:
        _, _, time = _LOG_PARAMS_HEAD.unpack_from(data)
        origin, offset = _read_origin(data, _LOG_PARAMS_HEAD.size)
        protocol, list_slots, chunk_slots, hash_, has_before = _LOG_PARAMS_BODY.unpack_from(data, offset)
        before = None
        if has_before:
            before_origin, offset = _read_origin(data, offset + _LOG_PARAMS_BODY.size)
            before = Predecessor(before_origin, *_PREDECESSOR_TAIL.unpack_from(data, offset))
    except (struct.error, IndexError) as error:
        raise MalformedEntry("log_params is cut short") from error
    return _strict(LogParams(time, origin, protocol, list_slots, chunk_slots, hash_, before), data, _encode_log_params)


def _encode_issuer_key(entry: IssuerKey) -> bytes:
    _u64(entry.time, "time")
    _u64(entry.signer, "signer")
    _range(entry.action, ADD, RETIRE, "action")
    _range(entry.roles, 1, 7, "roles")
    _range(entry.algorithm, ALG_ED25519, ALG_ED25519, "algorithm")
    _range(entry.binding, BINDING_SELF_CERTIFYING, BINDING_DELEGATED, "binding")
    for value, length, what in (
        (entry.prev, 32, "prev"),
        (entry.public_key, 32, "public key"),
        (entry.evidence, 32, "evidence"),
        (entry.possession_sig, 64, "possession_sig"),
        (entry.manage_sig, 64, "manage_sig"),
    ):
        _length(value, length, what)
    identifier = identifier_bytes(entry.identifier)
    head = _ISSUER_KEY_HEAD.pack(VERSION, ISSUER_KEY, entry.time, entry.action, entry.prev, len(identifier))
    return head + identifier + _ISSUER_KEY_TAIL.pack(*_fields(entry)[4:])


def _decode_issuer_key(data: bytes) -> IssuerKey:
    try:
        _, _, time, action, prev, length = _ISSUER_KEY_HEAD.unpack_from(data)
        end = _ISSUER_KEY_HEAD.size + length
        tail = _ISSUER_KEY_TAIL.unpack_from(data, end)
    except struct.error as error:
        raise MalformedEntry("issuer_key is cut short") from error
    identifier = _read_text(data[_ISSUER_KEY_HEAD.size : end], "identifier")
    return _strict(IssuerKey(time, action, prev, identifier, *tail), data, _encode_issuer_key)


def _decode_status_list(data: bytes) -> StatusList:
    return StatusList(*_unpack(_STATUS_LIST, data, "status_list"))


def decode_submission(data: bytes) -> Submission:
    """The submission entry of these 175 bytes; its version and type are taken as read. Raises MalformedEntry."""
    entry = Submission(*_unpack(_SUBMISSION, data, "submission"))
    _check_submission(entry)
    return entry


def _decode_issue(data: bytes) -> Issue:
    return Issue(*_unpack(_ISSUE, data, "issue"))


def _decode_status_event(data: bytes) -> StatusEvent:
    entry = StatusEvent(data[1], *_unpack(_STATUS_EVENT, data, TYPE_NAMES[data[1]]))
    _range(entry.reason, 0, 6, "reason")
    return entry


def _decode_status_root(data: bytes) -> StatusRoot:
    return StatusRoot(*_unpack(_STATUS_ROOT, data, "status_root"))


_DECODERS: dict[int, Callable[[bytes], Entry]] = {
    LOG_PARAMS: _decode_log_params,
    ISSUER_KEY: _decode_issuer_key,
    STATUS_LIST: _decode_status_list,
    SUBMISSION: decode_submission,
    ISSUE: _decode_issue,
    REVOKE: _decode_status_event,
    SUSPEND: _decode_status_event,
    REINSTATE: _decode_status_event,
    STATUS_ROOT: _decode_status_root,
}


def _check_submission(entry: Submission) -> None:
    _u64(entry.time, "time")
    _u64(entry.key, "key")
    _u64(entry.not_after, "not_after")
    _range(entry.count, 1, MAX_EVENTS, "count")
    _range(entry.algorithm, ALG_ED25519, ALG_ED25519, "algorithm")
    _length(entry.issuer, 32, "issuer")
    _length(entry.nonce, 16, "nonce")
    _length(entry.events_root, 32, "events_root")
    _length(entry.signature, 64, "signature")


def _check_status_list(entry: StatusList) -> None:
    _u64(entry.time, "time")
    _range(entry.list, 0, 2**32 - 1, "list")
    _length(entry.issuer, 32, "issuer")


def _check_status_root(entry: StatusRoot) -> None:
    for value, what in zip(_fields(entry)[:6], StatusRoot.__struct_fields__, strict=False):
        _u64(value, what)
    _length(entry.root, 32, "root")


# struct.pack pads and cuts byte strings in silence and unpack takes any value, so every field passes one of these.
def _range(value: int, low: int, high: int, what: str) -> None:
    if not low <= value <= high:
        raise MalformedEntry(f"{what} is {value}, not {low}" + ("" if low == high else f" to {high}"))


def _u64(value: int, what: str) -> None:
    if not 0 <= value <= MAX_U64:
        raise MalformedEntry(f"{what} does not fit 64 bits")


def _length(value: bytes, length: int, what: str) -> None:
    if len(value) != length:
        raise MalformedEntry(f"{what} has {len(value)} bytes, not {length}")


def _text(text: str, what: str, max_bytes: int) -> bytes:
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedEntry(f"{what} holds a lone surrogate") from error
    if not 1 <= len(data) <= max_bytes:
        raise MalformedEntry(f"{what} has {len(data)} bytes, not 1 to {max_bytes}")
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in text):
        raise MalformedEntry(f"{what} holds a control character")
    return data


def _read_text(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedEntry(f"{what} is not UTF-8") from error


def _read_origin(data: bytes, offset: int) -> tuple[str, int]:
    end = offset + 1 + data[offset]
    return _read_text(data[offset + 1 : end], "origin"), end


def _fields(entry: Entry) -> tuple[Any, ...]:
    return msgspec.structs.astuple(entry)


def _unpack(layout: struct.Struct, data: bytes, what: str) -> tuple[Any, ...]:
    """The fields after version and type; the layout has no padding, so reading and writing are inverse."""
    if len(data) != layout.size:
        raise MalformedEntry(f"{what} has {len(data)} bytes, not {layout.size}")
    return layout.unpack(data)[2:]


def _strict(entry: _E, data: bytes, encode_again: Callable[[_E], bytes]) -> _E:
    """The entry, if writing it again gives exactly `data`: this finds spare bytes and flags of two spellings."""
    if encode_again(entry) != data:
        raise MalformedEntry("the entry has bytes to spare or is not in its only form")
    return entry
