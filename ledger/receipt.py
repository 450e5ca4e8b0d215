"""Receipts: one small file that proves, offline, that a badge was issued and what its status is (docs/protocol.md).

    "BLR1" ‖ u8 flags (1 full, 2 salt) ‖ [salt[32]] ‖ ori ‖ u64 tree size ‖ u64 index ‖ issue entry[74]
    ‖ u8 len ‖ status_root entry ‖ chunk[64]
    ‖ [full: u64 index ‖ u16 len ‖ submission entry; u8 n, n x (u64 index ‖ u16 len ‖ issuer_key entry)]
    ‖ u16 n ‖ log hashes ‖ u16 n ‖ status hashes ‖ [full: u8 n ‖ events hashes]
    ‖ u8 n ‖ n x (u8 len ‖ name, u16 len ‖ key id[4] ‖ signature)

The hashes are multiproofs (ledger.merkle): of the log for every entry that the receipt shows, of the status tree for
the slot's chunk, of the submission's events tree for the issue event. The log's root is computed from them and never
carried, and the checkpoint is rebuilt around it, so that a receipt cannot state a head that its own proof denies.

A prover plans (`plan_receipt`, `status.plan_status`, `plan_events`), fetches the nodes, and builds. A Receipt that this
module made or read is well-formed: every entry can be read and is of its type, and no two stand at one index. Whether
it proves anything is for `ledger.verify` to find out. The JSON form is in `ledger.receipt_json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from ledger import merkle
from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.entry import (
    ISSUE_BYTES,
    Issue,
    IssuerKey,
    StatusRoot,
    Submission,
    decode,
    encode_origin,
)
from ledger.errors import InputError, MalformedReceipt, TooLarge
from ledger.merkle import HASH_BYTES, MAX_SIZE, Node, Plan, leaf_hash
from ledger.note import MAX_SIGNATURES, Note, SignatureLine, format_note
from ledger.status import CHUNK_BYTES, slot_state
from ledger.tlogproof import TlogProof

MAGIC: Final = b"BLR1"
#: Largest receipt that is read or written, in either form.
MAX_RECEIPT_BYTES: Final = 65_536
MAX_KEYS: Final = 255
SALT_BYTES: Final = 32

_FULL, _SALT = 1, 2
_E = TypeVar("_E", Issue, StatusRoot, Submission, IssuerKey)


class Receipt(msgspec.Struct, frozen=True):
    """What a receipt carries, as bytes; indexes and the tree size are below 2^63.

    salt: 32 bytes or None. issue (74 bytes), status_root: entries. chunk: 64 bytes of the status tree.
    submission, keys: (log index, entry), None and () in a short receipt; the submission's key comes first, then each
    one's signer. The proofs: 32-byte hashes in multiproof order.
    """

    full: bool
    salt: bytes | None
    origin: str
    tree_size: int
    index: int
    issue: bytes
    status_root: bytes
    chunk: bytes
    submission: tuple[int, bytes] | None
    keys: tuple[tuple[int, bytes], ...]
    log_proof: tuple[bytes, ...]
    status_proof: tuple[bytes, ...]
    events_proof: tuple[bytes, ...]
    signatures: tuple[SignatureLine, ...]

    @property
    def profile(self) -> str:
        """`short` or `full`."""
        return "full" if self.full else "short"

    def entries(self) -> dict[int, bytes]:
        """The entries that the receipt shows, by log index: the leaves of its log multiproof."""
        shown = [(self.index, self.issue), (self.tree_size - 1, self.status_root), *self.keys]
        if self.submission is not None:
            shown.append(self.submission)
        return dict(shown)

    def issue_entry(self) -> Issue:
        """The issue event. Raises MalformedReceipt."""
        return _entry(self.issue, Issue, "issue entry")

    def status_root_entry(self) -> StatusRoot:
        """The last entry of the head. Raises MalformedReceipt."""
        return _entry(self.status_root, StatusRoot, "status_root entry")

    def submission_entry(self) -> tuple[int, Submission] | None:
        """The submission with its log index, None in a short receipt. Raises MalformedReceipt."""
        if self.submission is None:
            return None
        return self.submission[0], _entry(self.submission[1], Submission, "submission entry")

    def key_entries(self) -> list[tuple[int, IssuerKey]]:
        """The key entries with their log indexes, the submission's key first. Raises MalformedReceipt."""
        return [(index, _entry(data, IssuerKey, "issuer_key entry")) for index, data in self.keys]


# Plan and build ------------------------------------------------------------------------------------------------------


def log_targets(
    index: int, tree_size: int, submission_index: int | None = None, key_indexes: Sequence[int] = ()
) -> list[int]:
    """The leaves that a receipt's log proof covers, ascending. Raises ValueError if two are alike or one is outside."""
    targets = [index, tree_size - 1, *key_indexes]
    if submission_index is not None:
        targets.append(submission_index)
    targets.sort()
    if targets[0] < 0 or targets[-1] != tree_size - 1 or len(set(targets)) != len(targets):
        raise ValueError(f"a receipt's entries are distinct leaves of a tree of {tree_size}, the last one among them")
    return targets


def plan_receipt(
    index: int, tree_size: int, submission_index: int | None = None, key_indexes: Sequence[int] = ()
) -> Plan:
    """The nodes of the log that a receipt needs: short without, full with the submission and the keys of its chain.

    Raises ValueError if two indexes are alike or one is outside the tree.
    """
    return merkle.plan_multiproof(log_targets(index, tree_size, submission_index, key_indexes), tree_size)


def plan_events(position: int, count: int) -> Plan:
    """The nodes of the events tree that show event `position` of a submission of `count`. Raises ValueError."""
    return merkle.plan_multiproof([position], count)


def build_receipt(
    *,
    origin: str,
    tree_size: int,
    index: int,
    issue: bytes,
    status_root: bytes,
    chunk: bytes,
    status_proof: Sequence[bytes],
    log_hashes: Mapping[Node, bytes],
    signatures: Sequence[SignatureLine],
    submission: tuple[int, bytes] | None = None,
    keys: Sequence[tuple[int, bytes]] = (),
    events_hashes: Mapping[Node, bytes] | None = None,
    salt: bytes | None = None,
) -> Receipt:
    """A receipt from fetched nodes: short, or full if a submission is given.

    `chunk` and `status_proof` are what StatusTree.proof(slot) answers at this head; `log_hashes` holds the nodes of
    `plan_receipt`, `events_hashes` those of `plan_events`. Raises ValueError if a planned node is missing and
    MalformedReceipt for parts that make no receipt.
    """
    log_plan = plan_receipt(index, tree_size, submission[0] if submission else None, [key for key, _ in keys])
    events_proof: list[bytes] = []
    if submission is not None:
        entry = _entry(submission[1], Submission, "submission entry")
        plan = plan_events(index - submission[0] - 1, entry.count)
        events_proof = merkle.build(plan, events_hashes if events_hashes is not None else {})
    receipt = Receipt(
        full=submission is not None,
        salt=salt,
        origin=origin,
        tree_size=tree_size,
        index=index,
        issue=issue,
        status_root=status_root,
        chunk=chunk,
        submission=submission,
        keys=tuple(keys),
        log_proof=tuple(merkle.build(log_plan, log_hashes)),
        status_proof=tuple(status_proof),
        events_proof=tuple(events_proof),
        signatures=tuple(signatures),
    )
    check_receipt(receipt)
    return receipt


def with_salt(receipt: Receipt, salt: bytes | None) -> Receipt:
    """The same receipt with the badge's salt in it, or without any: the ledger never knows salts, holders do."""
    salted = replace(receipt, salt=salt)
    check_receipt(salted)
    return salted


def with_signatures(receipt: Receipt, signatures: Sequence[SignatureLine]) -> Receipt:
    """The same receipt with these signature lines: those that the policy at hand does not need can be left out."""
    signed = replace(receipt, signatures=tuple(signatures))
    check_receipt(signed)
    return signed


def checkpoint_of(receipt: Receipt) -> tuple[Checkpoint, Note]:
    """The head that the receipt's log proof leads to, and the signed note rebuilt around it. Nothing of it is verified.

    Raises ProofInvalid if the proof has too few or too many hashes.
    """
    leaves = {index: leaf_hash(entry) for index, entry in receipt.entries().items()}
    root = merkle.root_from_multiproof(leaves, receipt.tree_size, receipt.log_proof)
    checkpoint = Checkpoint(receipt.origin, receipt.tree_size, root)
    return checkpoint, Note(format_checkpoint(checkpoint), receipt.signatures)


def to_tlog_proof(receipt: Receipt, inclusion_proof: Sequence[bytes]) -> TlogProof:
    """The issuance alone as a C2SP `.tlog-proof`: the RFC 6962 inclusion proof of the issue entry, under the same head.

    Its extra data are the issue entry and the salt, if there is one (74 or 106 bytes): what a verifier needs to get
    from the badge to the leaf. Raises ProofInvalid if the inclusion proof does not lead to the receipt's root.
    """
    checkpoint, note = checkpoint_of(receipt)
    merkle.verify_inclusion(
        leaf_hash(receipt.issue), receipt.index, receipt.tree_size, inclusion_proof, checkpoint.root
    )
    return TlogProof(receipt.index, tuple(inclusion_proof), format_note(note), receipt.issue + (receipt.salt or b""))


# Encode and decode ---------------------------------------------------------------------------------------------------


def check_receipt(receipt: Receipt) -> None:
    """That the parts make a receipt: entries of their types, distinct indexes, lengths and counts in range.

    Raises MalformedReceipt. It proves nothing.
    """
    try:
        encode_origin(receipt.origin)
    except InputError as error:
        raise MalformedReceipt(f"the receipt's {error.detail}") from error
    if receipt.salt is not None and len(receipt.salt) != SALT_BYTES:
        raise MalformedReceipt(f"a salt has {SALT_BYTES} bytes, not {len(receipt.salt)}")
    if not 0 < receipt.tree_size <= MAX_SIZE:
        raise MalformedReceipt(f"no log has {receipt.tree_size} entries")
    issue = receipt.issue_entry()
    receipt.status_root_entry()
    if receipt.full != (receipt.submission is not None) or receipt.full != bool(receipt.keys):
        raise MalformedReceipt("a full receipt, and no other, shows the submission and its keys")
    receipt.submission_entry()
    receipt.key_entries()
    if len(receipt.keys) > MAX_KEYS:
        raise MalformedReceipt(f"a receipt has at most {MAX_KEYS} key entries")
    try:
        log_targets(
            receipt.index,
            receipt.tree_size,
            receipt.submission[0] if receipt.submission else None,
            [index for index, _ in receipt.keys],
        )
        slot_state(receipt.chunk, issue.slot)
    except (ValueError, InputError) as error:
        raise MalformedReceipt(str(error)) from error
    if receipt.events_proof and not receipt.full:
        raise MalformedReceipt("a short receipt has no events proof")
    for proof in (receipt.log_proof, receipt.status_proof, receipt.events_proof):
        if any(len(value) != HASH_BYTES for value in proof):
            raise MalformedReceipt(f"a proof hash has {HASH_BYTES} bytes")
    # What the length fields of the packed form can say binds the JSON form too: each has the other.
    if len(receipt.events_proof) > 0xFF or max(len(receipt.log_proof), len(receipt.status_proof)) > 0xFFFF:
        raise MalformedReceipt("a proof has more hashes than a receipt can hold")
    if any(len(line.name.encode()) > 0xFF for line in receipt.signatures):
        raise MalformedReceipt("the name of a signature has more than 255 bytes")
    if not 1 <= len(receipt.signatures) <= MAX_SIGNATURES:
        raise MalformedReceipt(f"a receipt has 1 to {MAX_SIGNATURES} signatures")


def encode_packed(receipt: Receipt) -> bytes:
    """The packed form. Raises MalformedReceipt for parts that make no receipt, TooLarge past 64 KiB."""
    check_receipt(receipt)
    try:
        parts = [MAGIC, bytes((receipt.full * _FULL | (receipt.salt is not None) * _SALT,)), receipt.salt or b""]
        parts += [encode_origin(receipt.origin), _u64(receipt.tree_size), _u64(receipt.index), receipt.issue]
        parts += [_counted(receipt.status_root, 1), receipt.chunk]
        if receipt.submission is not None:
            parts += [_u64(receipt.submission[0]), _counted(receipt.submission[1], 2), bytes((len(receipt.keys),))]
            parts += [_u64(index) + _counted(entry, 2) for index, entry in receipt.keys]
        parts += [len(receipt.log_proof).to_bytes(2, "big"), *receipt.log_proof]
        parts += [len(receipt.status_proof).to_bytes(2, "big"), *receipt.status_proof]
        if receipt.full:
            parts += [len(receipt.events_proof).to_bytes(1, "big"), *receipt.events_proof]
        parts.append(bytes((len(receipt.signatures),)))
        for line in receipt.signatures:
            parts += [_counted(line.name.encode(), 1), _counted(line.key_id + line.signature, 2)]
    except OverflowError as error:
        raise MalformedReceipt("a part of the receipt is longer than its length field can say") from error
    data = b"".join(parts)
    if len(data) > MAX_RECEIPT_BYTES:
        raise TooLarge(f"a receipt has at most {MAX_RECEIPT_BYTES} bytes")
    return data


def decode_packed(data: bytes) -> Receipt:
    """The receipt that these bytes, all of them, are. Raises MalformedReceipt, TooLarge past 64 KiB."""
    if len(data) > MAX_RECEIPT_BYTES:
        raise TooLarge(f"a receipt has at most {MAX_RECEIPT_BYTES} bytes")
    reader = _Reader(data)
    if reader.take(4) != MAGIC:
        raise MalformedReceipt("these bytes are no packed receipt")
    flags = reader.number(1)
    if flags & ~(_FULL | _SALT):
        raise MalformedReceipt(f"the receipt has unknown flags {flags:#04x}")
    full = bool(flags & _FULL)
    receipt = Receipt(
        full=full,
        salt=reader.take(SALT_BYTES) if flags & _SALT else None,
        origin=reader.text(1),
        tree_size=reader.number(8),
        index=reader.number(8),
        issue=reader.take(ISSUE_BYTES),
        status_root=reader.counted(1),
        chunk=reader.take(CHUNK_BYTES),
        submission=(reader.number(8), reader.counted(2)) if full else None,
        keys=tuple((reader.number(8), reader.counted(2)) for _ in range(reader.number(1))) if full else (),
        log_proof=reader.hashes(2),
        status_proof=reader.hashes(2),
        events_proof=reader.hashes(1) if full else (),
        signatures=tuple(reader.line() for _ in range(reader.number(1))),
    )
    if reader.offset != len(data):
        raise MalformedReceipt(f"the receipt has {len(data) - reader.offset} bytes to spare")
    check_receipt(receipt)
    return receipt


class _Reader:
    """Reads the packed form from left to right; every step past the end raises MalformedReceipt."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def take(self, length: int) -> bytes:
        end = self.offset + length
        if end > len(self.data):
            raise MalformedReceipt("the receipt is cut short")
        part = self.data[self.offset : end]
        self.offset = end
        return part

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def counted(self, width: int) -> bytes:
        return self.take(self.number(width))

    def text(self, width: int) -> str:
        try:
            return self.counted(width).decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedReceipt("a name in the receipt is not UTF-8") from error

    def hashes(self, width: int) -> tuple[bytes, ...]:
        return tuple(self.take(HASH_BYTES) for _ in range(self.number(width)))

    def line(self) -> SignatureLine:
        name, signature = self.text(1), self.counted(2)
        try:
            return SignatureLine(name, signature[:4], signature[4:])
        except InputError as error:
            raise MalformedReceipt(f"in a signature of the receipt, {error.detail}") from error


def _u64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _counted(data: bytes, width: int) -> bytes:
    return len(data).to_bytes(width, "big") + data


def _entry(data: bytes, expected: type[_E], what: str) -> _E:
    try:
        entry = decode(data)
    except InputError as error:
        raise MalformedReceipt(f"the {what} cannot be read: {error.detail}") from error
    if not isinstance(entry, expected):
        raise MalformedReceipt(f"the {what} is an entry of another type")
    return entry
