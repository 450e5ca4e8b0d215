"""A snapshot of `replay`'s state, so that a start need not read the log from its first entry.

    "BLSN" || u8 version = 1 || SHA-256 of the rest[32] || msgpack of `Snapshot`

The bytes are a function of the log and of nothing else: two nodes that read the same entries write the same snapshot,
in however many steps they read them. A snapshot is one's own record, not a proof: it is not signed, and reading it
checks that it is whole and adds up, not that it is true. Another version is refused and the log read again instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from ledger.entry import IssuerKey, decode, issuer_id
from ledger.errors import LedgerError, MalformedInput
from ledger.replay_state import IssuerState, KeyState
from ledger.status import HALF_BYTES

SNAPSHOT_MAGIC = b"BLSN"
SNAPSHOT_VERSION = 1


class KeyRow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A key in a snapshot: all else is in the entry."""

    index: int
    live: bool
    entry: bytes


class IssuerRow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An issuer in a snapshot, its keys in the order of the log."""

    last_leaf: bytes
    keys: list[KeyRow]


class Snapshot(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The whole state. `owners` has for each list the position of its issuer in `issuers`."""

    size: int
    time: int
    origin: str
    previous_root_index: int
    sealed: bool
    issued: int
    revoked: int
    suspended: int
    issuers: list[IssuerRow]
    owners: list[int]
    bits: list[tuple[int, list[int], bytes]]
    chunks: dict[int, bytes]
    status_root: bytes
    nonces: list[tuple[bytes, int]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The bytes of the module's wire form."""
    body = _encoder.encode(snapshot)
    return SNAPSHOT_MAGIC + bytes([SNAPSHOT_VERSION]) + sha256(body).digest() + body


def decode_snapshot(data: bytes) -> Snapshot:
    """Raises MalformedInput for what is no snapshot, is damaged, or is one of another version."""
    magic, version, digest, body = data[:4], data[4:5], data[5:37], data[37:]
    if magic != SNAPSHOT_MAGIC:
        raise MalformedInput("this is no snapshot")
    if version != bytes([SNAPSHOT_VERSION]):
        raise MalformedInput(f"a snapshot of version {version.hex() or 'none'}; this code reads {SNAPSHOT_VERSION}")
    if sha256(body).digest() != digest:
        raise MalformedInput("the snapshot is damaged")
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedInput(f"the snapshot cannot be read: {error}") from error


def totals_hold(snapshot: Snapshot) -> bool:
    """Whether the three totals are the numbers of bits set."""
    issued = sum(int.from_bytes(bits, "big").bit_count() for _, _, bits in snapshot.bits)
    revoked = sum(int.from_bytes(chunk[:HALF_BYTES], "big").bit_count() for chunk in snapshot.chunks.values())
    suspended = sum(int.from_bytes(chunk[HALF_BYTES:], "big").bit_count() for chunk in snapshot.chunks.values())
    return (issued, revoked, suspended) == (snapshot.issued, snapshot.revoked, snapshot.suspended)


def issuer_rows(issuers: Mapping[bytes, IssuerState]) -> list[IssuerRow]:
    """The issuers as rows, in the order of first keys."""
    return [
        IssuerRow(issuer.last_leaf, [KeyRow(key.index, key.live, key.entry) for key in issuer.keys.values()])
        for issuer in issuers.values()
    ]


def read_issuers(rows: list[IssuerRow], owners: list[int]) -> dict[bytes, IssuerState]:
    """The issuers of `issuer_rows`, with their lists. Raises MalformedInput."""
    lists: list[list[int]] = [[] for _ in rows]
    try:
        for number, owner in enumerate(owners):
            lists[owner].append(number)
        issuers = [_read_issuer(row, tuple(own)) for row, own in zip(rows, lists, strict=True)]
    except (LedgerError, LookupError) as error:
        raise MalformedInput(f"the issuers of the snapshot do not add up: {error}") from error
    return {issuer.issuer: issuer for issuer in issuers}


def _read_issuer(row: IssuerRow, lists: tuple[int, ...]) -> IssuerState:
    keys: dict[int, KeyState] = {}
    for key in row.keys:
        entry = decode(key.entry)
        if not isinstance(entry, IssuerKey):
            raise MalformedInput(f"entry {key.index} is no issuer_key")
        parent = keys[entry.signer] if keys else None
        keys[key.index] = KeyState(
            index=key.index,
            issuer=issuer_id(entry.identifier),
            roles=entry.roles,
            public_key=entry.public_key,
            live=key.live,
            binding=parent.binding if parent else entry.binding,
            time=entry.time,
            entry=key.entry,
            parent=parent,
        )
    first = decode(row.keys[0].entry)
    assert isinstance(first, IssuerKey)  # noqa: S101 - seen above
    added = {key.public_key: key.index for key in keys.values()}
    return IssuerState(issuer_id(first.identifier), first.identifier, row.last_leaf, keys, added, lists)
