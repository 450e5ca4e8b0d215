"""Dated receipts: what a badge's status was at a past moment, under the newest head (docs/protocol.md, "The past").

    {"format": "badge-ledger/v1 dated receipt", "at": ms, "receipt": an ordinary JSON receipt,
     "past": {"status_root": {"index": n, "entry": base64}, "successor": {"index": n, "entry": base64},
              "log_proof": base64 of hashes, "chunk": base64?, "status_proof": base64 of hashes?}}

    index of the issue   ...... status_root ............ successor ...... head's last entry
    time                          <= at      previous      > at

Each status_root of a log names the one before it. So two neighbours that enclose the moment show which head was the
newest then, and nobody can pick a convenient one. `log_proof` is the multiproof of the two leaves under the receipt's
own head, `status_proof` leads from the slot's chunk to the root that the first of them states. A badge whose issue
entry stands behind that one was not issued then: chunk and status_proof are absent, both.

What a DatedReceipt is made of has been read and is well-formed; `verify_past` finds out whether it proves anything. The
times are the ledger's own word; whoever cosigned the head bounds them from above, and auditors check that none falls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from ledger import merkle, status
from ledger import proof_json as parts
from ledger.entry import StatusRoot, decode
from ledger.errors import InputError, MalformedInput, MalformedReceipt, ProofInvalid, TooLarge, VerificationError
from ledger.merkle import HASH_BYTES, leaf_hash, root_from_multiproof
from ledger.policy import Policy
from ledger.receipt import MAGIC, MAX_RECEIPT_BYTES, Receipt, check_receipt, decode_packed
from ledger.receipt_json import from_document, to_document
from ledger.status import CHUNK_BYTES
from ledger.text import format_base64
from ledger.verify import Proven, check_times, step, verify_receipt

FORMAT: Final = "badge-ledger/v1 dated receipt"
#: A receipt, and twice the hashes of the longest path of two leaves and of one chunk.
MAX_DATED_BYTES: Final = MAX_RECEIPT_BYTES + 32_768

_MEMBERS: Final = frozenset({"format", "at", "receipt", "past"})
_PAST: Final = frozenset({"status_root", "successor", "log_proof"})
_STATE: Final = frozenset({"chunk", "status_proof"})

PastState = Literal["unissued", "active", "revoked", "suspended"]


class Past(msgspec.Struct, frozen=True):
    """What is shown of the past. status_root, successor: (log index, entry). chunk: 64 bytes, None with an empty
    status_proof where the badge was not issued yet. The proofs: 32-byte hashes in multiproof order."""

    status_root: tuple[int, bytes]
    successor: tuple[int, bytes]
    log_proof: tuple[bytes, ...]
    chunk: bytes | None
    status_proof: tuple[bytes, ...]


class DatedReceipt(msgspec.Struct, frozen=True):
    """A receipt and the past of its badge's status at `at_ms`, milliseconds since the Unix epoch."""

    at_ms: int
    receipt: Receipt
    past: Past


class ProvenPast(msgspec.Struct, frozen=True):
    """What was the newest head at a moment, and the state of the slot in it.

    size: its tree size. status_root: its last entry. until_ms: the time of the head that followed, so that the same
    holds of every moment from `status_root.time` to before it. state: `unissued` if the badge came later.
    """

    at_ms: int
    size: int
    status_root: StatusRoot
    until_ms: int
    state: PastState


# Verify --------------------------------------------------------------------------------------------------------------


def verify_dated(
    dated: DatedReceipt,
    *,
    policy: Policy,
    now_s: int,
    max_age_s: int | None = None,
    commitment: bytes | None = None,
    issuer: bytes | None = None,
) -> tuple[Proven, ProvenPast]:
    """What the receipt proves, as `verify.verify_receipt`, and what it proves of the past. Raises what that raises."""
    proven = verify_receipt(
        dated.receipt, policy=policy, now_s=now_s, max_age_s=max_age_s, commitment=commitment, issuer=issuer
    )
    return proven, verify_past(dated, proven)


def verify_past(dated: DatedReceipt, proven: Proven) -> ProvenPast:
    """What is proven of the past, under the head of the receipt, which has been verified: `proven`.

    Raises MalformedReceipt, ProofInvalid, VerificationError, each with the member `step` (9 to 11 of the protocol).
    """
    past, receipt = dated.past, dated.receipt
    with step(9):
        check_dated(dated)
        (first_index, first_data), (next_index, next_data) = past.status_root, past.successor
        leaves = {first_index: leaf_hash(first_data), next_index: leaf_hash(next_data)}
        if root_from_multiproof(leaves, receipt.tree_size, past.log_proof) != proven.checkpoint.root:
            raise ProofInvalid("the log proof of the past does not lead to the receipt's head")
    first, successor = _status_root(first_data), _status_root(next_data)
    with step(10):
        if successor.previous != first_index:
            raise ProofInvalid(
                f"the status_root at {next_index} follows the one at {successor.previous}, not the one at {first_index}"
            )
        if not first.time <= dated.at_ms < successor.time:
            raise ProofInvalid("the two heads shown do not enclose the moment")
        _check_order(dated, proven, first, successor)
    with step(11):
        state: PastState = "unissued"
        if past.chunk is not None:
            slot = proven.issue.slot
            status.verify_status(slot, past.chunk, first.lists, past.status_proof, first.root)
            state = status.slot_state(past.chunk, slot)
            if state == "revoked" and proven.state != "revoked":
                raise VerificationError("the slot was revoked then and is not now", rule="illegal-transition")
    return ProvenPast(dated.at_ms, first_index + 1, first, successor.time, state)


def _check_order(dated: DatedReceipt, proven: Proven, first: StatusRoot, successor: StatusRoot) -> None:
    """That the times of all entries shown rise with their indexes."""
    receipt = dated.receipt
    times = {
        dated.past.status_root[0]: first.time,
        dated.past.successor[0]: successor.time,
        receipt.tree_size - 1: proven.status_root.time,
    }
    if receipt.submission is not None and proven.submission is not None:
        times[receipt.submission[0]] = proven.submission.time
        times |= {index: key.time for (index, _), key in zip(receipt.keys, proven.keys, strict=True)}
    check_times([times[index] for index in sorted(times)])


def check_dated(dated: DatedReceipt) -> None:
    """That the parts make a dated receipt: entries of their types, indexes in order, lengths. Raises MalformedReceipt.

    It proves nothing.
    """
    receipt, past = dated.receipt, dated.past
    check_receipt(receipt)
    if not 0 <= dated.at_ms <= parts.MAX_NUMBER:
        raise MalformedReceipt("the moment of a dated receipt is not a number of milliseconds from 0 to 2^53 - 1")
    (first, first_data), (successor, next_data) = past.status_root, past.successor
    _status_root(first_data)
    _status_root(next_data)
    if not 0 <= first < successor < receipt.tree_size:
        raise MalformedReceipt("the status_root of a dated receipt stands before its successor, both below the head")
    shown = receipt.entries()
    for index, data in (past.status_root, past.successor):
        if shown.get(index, data) != data:
            raise MalformedReceipt(f"the dated receipt shows two entries at index {index}")
    if (past.chunk is None) != (receipt.index > first):
        raise MalformedReceipt("a dated receipt shows a chunk of the past exactly if the badge was issued then")
    if past.chunk is None and past.status_proof:
        raise MalformedReceipt("a dated receipt without a chunk of the past has no proof of one")
    if past.chunk is not None and len(past.chunk) != CHUNK_BYTES:
        raise MalformedReceipt(f"a chunk has {CHUNK_BYTES} bytes, not {len(past.chunk)}")
    if any(len(value) != HASH_BYTES for value in (*past.log_proof, *past.status_proof)):
        raise MalformedReceipt(f"a proof hash has {HASH_BYTES} bytes")


def plan_past(first: int, successor: int, tree_size: int) -> merkle.Plan:
    """The nodes of the log that show two status_roots under a head. Raises ValueError for indexes out of order."""
    if not 0 <= first < successor < tree_size:
        raise ValueError(f"{first} and {successor} are no two leaves in order of a tree of {tree_size}")
    return merkle.plan_multiproof([first, successor], tree_size)


def _status_root(data: bytes) -> StatusRoot:
    try:
        entry = decode(data)
    except InputError as error:
        raise MalformedReceipt(f"a status_root entry of the past cannot be read: {error.detail}") from error
    if not isinstance(entry, StatusRoot):
        raise MalformedReceipt("a status_root entry of the past is an entry of another type")
    return entry


# Read and write ------------------------------------------------------------------------------------------------------


def format_dated(dated: DatedReceipt, *, checked: bool = False) -> bytes:
    """The JSON form, UTF-8 without white space. `checked`: the caller built it from a log's own entries.

    Raises MalformedReceipt, TooLarge past MAX_DATED_BYTES.
    """
    if not checked:
        check_dated(dated)
    past = dated.past
    try:
        shown: dict[str, Any] = {
            "status_root": parts.entry_document(past.status_root),
            "successor": parts.entry_document(past.successor),
            "log_proof": parts.format_hashes(past.log_proof),
        }
    except MalformedInput as error:
        raise MalformedReceipt(error.detail) from error
    if past.chunk is not None:
        shown |= {"chunk": format_base64(past.chunk), "status_proof": parts.format_hashes(past.status_proof)}
    receipt = to_document(dated.receipt, checked=checked)
    data = msgspec.json.encode({"format": FORMAT, "at": dated.at_ms, "receipt": receipt, "past": shown})
    if len(data) > MAX_DATED_BYTES:
        raise TooLarge(f"a dated receipt has at most {MAX_DATED_BYTES} bytes")
    return data


def parse_dated(data: bytes) -> DatedReceipt:
    """Read the JSON form. Raises MalformedReceipt or TooLarge."""
    found = load_any(data)
    if isinstance(found, Receipt):
        raise MalformedReceipt("the receipt is of no past moment")
    return found


def load_any(data: bytes) -> Receipt | DatedReceipt:
    """An ordinary receipt in either form, or a dated one. Raises MalformedReceipt or TooLarge."""
    if data.startswith(MAGIC):
        return decode_packed(data)
    try:
        document = parts.read_object(data, "receipt", MAX_DATED_BYTES)
        if document.get("format") == FORMAT:
            dated = _read(document)
            check_dated(dated)
            return dated
    except MalformedInput as error:
        raise MalformedReceipt(error.detail) from error
    if len(data) > MAX_RECEIPT_BYTES:
        raise TooLarge(f"a receipt has at most {MAX_RECEIPT_BYTES} bytes")
    return from_document(document)


def _read(document: Mapping[str, Any]) -> DatedReceipt:
    parts.check_members(document, _MEMBERS, "dated receipt")
    past, what = document["past"], "past of the receipt"
    shown = isinstance(past, Mapping) and not past.keys().isdisjoint(_STATE)
    past = parts.check_members(past, _PAST | _STATE if shown else _PAST, what)
    receipt = document["receipt"]
    if not isinstance(receipt, Mapping):
        raise MalformedInput("the receipt in a dated receipt is a JSON object")
    return DatedReceipt(
        at_ms=parts.number(document, "at"),
        receipt=from_document(receipt),
        past=Past(
            status_root=parts.entry(past["status_root"], what),
            successor=parts.entry(past["successor"], what),
            log_proof=parts.hashes(past, "log_proof"),
            chunk=parts.binary(past, "chunk", CHUNK_BYTES) if shown else None,
            status_proof=parts.hashes(past, "status_proof") if shown else (),
        ),
    )
