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

from ledger.badges.strict_json import strict_json
from ledger.entry import ISSUE_BYTES
from ledger.errors import InputError, MalformedBadge, MalformedInput, MalformedReceipt, TooLarge
from ledger.merkle import HASH_BYTES
from ledger.note import KEY_ID_BYTES, SignatureLine
from ledger.receipt import MAGIC, MAX_RECEIPT_BYTES, SALT_BYTES, Receipt, check_receipt, decode_packed
from ledger.status import CHUNK_BYTES
from ledger.text import format_base64, parse_base64, parse_hex

FORMAT: Final = "badge-ledger/v1 receipt"
#: The largest number that the JSON form writes.
MAX_NUMBER: Final = 2**53 - 1

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
    document["log_proof"] = format_base64(b"".join(receipt.log_proof))
    document["status_proof"] = format_base64(b"".join(receipt.status_proof))
    if receipt.full:
        document["events_proof"] = format_base64(b"".join(receipt.events_proof))
    document["signatures"] = [
        {"name": line.name, "signature": format_base64(line.key_id + line.signature)} for line in receipt.signatures
    ]
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
    if len(data) > MAX_RECEIPT_BYTES:
        raise TooLarge(f"a receipt has at most {MAX_RECEIPT_BYTES} bytes")
    try:
        document = strict_json(data)
    except MalformedBadge as error:
        # The reader is the badges' own; its sentences begin with what it reads.
        raise MalformedReceipt(error.detail.replace("the badge's JSON", "the receipt's JSON")) from error
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
    _check_members(document, _FULL if full else _SHORT, "receipt", optional=frozenset({"salt"}))
    return Receipt(
        full=full,
        salt=parse_hex(_text(document, "salt"), what="salt", length=SALT_BYTES) if "salt" in document else None,
        origin=_text(document, "origin"),
        tree_size=_number(document, "tree_size"),
        index=_number(document, "index"),
        issue=_bytes(document, "issue", ISSUE_BYTES),
        status_root=_bytes(document, "status_root"),
        chunk=_bytes(document, "chunk", CHUNK_BYTES),
        submission=_entry(document["submission"]) if full else None,
        keys=tuple(_entry(item) for item in _list(document, "keys")) if full else (),
        log_proof=_hashes(document, "log_proof"),
        status_proof=_hashes(document, "status_proof"),
        events_proof=_hashes(document, "events_proof") if full else (),
        signatures=tuple(_line(item) for item in _list(document, "signatures")),
    )


def _entry_document(shown: tuple[int, bytes]) -> dict[str, Any]:
    return {"index": _small(shown[0]), "entry": format_base64(shown[1])}


def _small(number: int) -> int:
    if number > MAX_NUMBER:
        raise MalformedReceipt("a number of 2^53 or more does not fit the JSON form; the packed form takes it")
    return number


def _check_members(
    document: object, expected: frozenset[str], what: str, *, optional: frozenset[str] = frozenset()
) -> None:
    if not isinstance(document, Mapping):
        raise MalformedReceipt(f"a {what} is a JSON object")
    missing, unknown = expected - document.keys(), document.keys() - expected - optional
    if missing:
        raise MalformedReceipt(f"the {what} has no {sorted(missing)[0]!r}")
    if unknown:
        raise MalformedReceipt(f"the {what} has an unknown member {sorted(unknown)[0][:40]!r}")


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise MalformedReceipt(f"{name} is not a string")
    return value


def _number(document: Mapping[str, Any], name: str) -> int:
    value = document[name]
    # type(), not isinstance(): true is an int to Python.
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        raise MalformedReceipt(f"{name} is not an integer from 0 to 2^53 - 1")
    return value


def _bytes(document: Mapping[str, Any], name: str, length: int | None = None) -> bytes:
    return parse_base64(_text(document, name), what=name, length=length)


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    value = document[name]
    if not isinstance(value, list):
        raise MalformedReceipt(f"{name} is not an array")
    return value


def _hashes(document: Mapping[str, Any], name: str) -> tuple[bytes, ...]:
    joined = _bytes(document, name)
    if len(joined) % HASH_BYTES:
        raise MalformedReceipt(f"{name} is not a whole number of hashes of {HASH_BYTES} bytes")
    return tuple(joined[start : start + HASH_BYTES] for start in range(0, len(joined), HASH_BYTES))


def _entry(item: object) -> tuple[int, bytes]:
    _check_members(item, frozenset({"index", "entry"}), "log entry of the receipt")
    assert isinstance(item, Mapping)  # noqa: S101 - _check_members has seen to it
    return _number(item, "index"), _bytes(item, "entry")


def _line(item: object) -> SignatureLine:
    _check_members(item, frozenset({"name", "signature"}), "signature of the receipt")
    assert isinstance(item, Mapping)  # noqa: S101 - _check_members has seen to it
    signed = _bytes(item, "signature")
    try:
        return SignatureLine(_text(item, "name"), signed[:KEY_ID_BYTES], signed[KEY_ID_BYTES:])
    except InputError as error:
        raise MalformedReceipt(f"in a signature of the receipt, {error.detail}") from error
