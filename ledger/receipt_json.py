"""The JSON form of a receipt (docs/protocol.md, "JSON receipt"): the packed form's parts, each under its name.

    {"format": "badge-ledger/v1 receipt", "profile": "short" | "full", "salt": hex[32]?, "origin": text,
     "tree_size": n, "index": n, "issue": base64, "status_root": base64, "chunk": base64,
     "submission": {"index": n, "entry": base64}, "keys": [{"index": n, "entry": base64}...],          full only
     "log_proof": base64, "status_proof": base64, "events_proof": base64,                       events_proof full only
     "signatures": [{"name": text, "signature": base64 of key id[4] ‖ signature}...]}

Members may come in any order and with any white space between them; none is unknown, missing or given twice; an absent
salt is an absent member, never null. Base64 is canonical, with padding; a proof is the base64 of its hashes, one after
the other: as an array of strings a full receipt would be half a kilobyte longer. Numbers are integers below 2^53, so
that every JSON reader gets them exactly; a log that takes a million entries a second outgrows them in 285 years.

Verifies nothing: see `ledger.verify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ledger import proof_json as parts
from ledger.entry import ISSUE_BYTES
from ledger.errors import MalformedInput, MalformedReceipt, TooLarge
from ledger.receipt import MAGIC, MAX_RECEIPT_BYTES, SALT_BYTES, Receipt, check_receipt, decode_packed
from ledger.status import CHUNK_BYTES
from ledger.text import format_base64, parse_hex

FORMAT: Final = "badge-ledger/v1 receipt"
_ENTRY: Final = "log entry of the receipt"

_SHORT: Final = frozenset(
    {
        "format",
        "profile",
        "origin",
        "tree_size",
        "index",
        "issue",
        "status_root",
        "chunk",
        "log_proof",
        "status_proof",
        "signatures",
    }
)
_FULL: Final = _SHORT | {"submission", "keys", "events_proof"}


def to_document(receipt: Receipt, *, checked: bool = False) -> dict[str, Any]:
    """The receipt as a JSON object, for a larger document to hold. Raises MalformedReceipt for a number too large.

    `checked`: the caller built it from a log's own entries, so that its parts need not be read again.
    """
    if not checked:
        check_receipt(receipt)
    document: dict[str, Any] = {"format": FORMAT, "profile": receipt.profile}
    if receipt.salt is not None:
        document["salt"] = receipt.salt.hex()
    document |= {
        "origin": receipt.origin,
        "tree_size": _small(receipt.tree_size),
        "index": receipt.index,
        "issue": format_base64(receipt.issue),
        "status_root": format_base64(receipt.status_root),
        "chunk": format_base64(receipt.chunk),
    }
    if receipt.submission is not None:
        document["submission"] = _entry_document(receipt.submission)
        document["keys"] = [_entry_document(key) for key in receipt.keys]
    document["log_proof"] = parts.format_hashes(receipt.log_proof)
    document["status_proof"] = parts.format_hashes(receipt.status_proof)
    if receipt.full:
        document["events_proof"] = parts.format_hashes(receipt.events_proof)
    document["signatures"] = [parts.line_document(line) for line in receipt.signatures]
    return document


def format_json(receipt: Receipt, *, checked: bool = False) -> bytes:
    """The JSON form, UTF-8 without white space. `checked` as in `to_document`.

    Raises MalformedReceipt, TooLarge past 64 KiB.
    """
    data = msgspec.json.encode(to_document(receipt, checked=checked))
    if len(data) > MAX_RECEIPT_BYTES:
        raise TooLarge(f"a receipt has at most {MAX_RECEIPT_BYTES} bytes")
    return data


def parse_json(data: bytes) -> Receipt:
    """Read the JSON form, at most 64 KiB. Raises MalformedReceipt or TooLarge."""
    try:
        document = parts.read_object(data, "receipt", MAX_RECEIPT_BYTES)
    except MalformedInput as error:
        raise MalformedReceipt(error.detail) from error
    return from_document(document)


def from_document(document: Mapping[str, Any]) -> Receipt:
    """The receipt of a JSON object that was read without loss: duplicate members must have been refused before.

    Raises MalformedReceipt.
    """
    try:
        receipt = _read(document)
    except MalformedInput as error:
        raise MalformedReceipt(error.detail) from error
    check_receipt(receipt)
    return receipt


def load(data: bytes) -> Receipt:
    """A receipt in either form: packed if it begins with "BLR1", else JSON. Raises MalformedReceipt or TooLarge."""
    return decode_packed(data) if data.startswith(MAGIC) else parse_json(data)


def _read(document: Mapping[str, Any]) -> Receipt:
    if document.get("format") != FORMAT:
        raise MalformedReceipt(f'the JSON is no receipt: its "format" is not "{FORMAT}"')
    profile = document.get("profile")
    if profile not in ("short", "full"):
        raise MalformedReceipt('the profile of a receipt is "short" or "full"')
    full = profile == "full"
    parts.check_members(document, _FULL if full else _SHORT, "receipt", optional=frozenset({"salt"}))
    return Receipt(
        full=full,
        salt=parse_hex(parts.text(document, "salt"), what="salt", length=SALT_BYTES) if "salt" in document else None,
        origin=parts.text(document, "origin"),
        tree_size=parts.number(document, "tree_size"),
        index=parts.number(document, "index"),
        issue=parts.binary(document, "issue", ISSUE_BYTES),
        status_root=parts.binary(document, "status_root"),
        chunk=parts.binary(document, "chunk", CHUNK_BYTES),
        submission=parts.entry(document["submission"], _ENTRY) if full else None,
        keys=tuple(parts.entry(item, _ENTRY) for item in parts.array(document, "keys")) if full else (),
        log_proof=parts.hashes(document, "log_proof"),
        status_proof=parts.hashes(document, "status_proof"),
        events_proof=parts.hashes(document, "events_proof") if full else (),
        signatures=tuple(parts.line(item, "receipt") for item in parts.array(document, "signatures")),
    )


def _entry_document(shown: tuple[int, bytes]) -> dict[str, Any]:
    return {"index": _small(shown[0]), "entry": format_base64(shown[1])}


def _small(number: int) -> int:
    if number > parts.MAX_NUMBER:
        raise MalformedReceipt("a number of 2^53 or more does not fit the JSON form; the packed form takes it")
    return number
