"""Parts that the JSON forms of proofs share: receipts, dated receipts and histories (docs/protocol.md, "JSON receipt").

    entry      {"index": n, "entry": base64}                        n: its log index
    line       {"name": text, "signature": base64 of key id[4] ‖ signature}
    hashes     base64 of the hashes of a proof, one after the other
    number     integer below 2^53, which every JSON reader gets exactly

Members may come in any order and with any white space between them; none is unknown, missing or given twice. Base64 is
canonical, with padding. Whatever is not so raises MalformedInput. Verifies nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ledger.badges.strict_json import strict_json
from ledger.errors import InputError, MalformedBadge, MalformedInput, TooLarge
from ledger.merkle import HASH_BYTES
from ledger.note import KEY_ID_BYTES, SignatureLine
from ledger.text import format_base64, parse_base64

#: The largest number that the JSON forms write.
MAX_NUMBER: Final = 2**53 - 1
_NOTHING: Final[frozenset[str]] = frozenset()


def read_object(data: bytes, what: str, max_bytes: int) -> dict[str, Any]:
    """The object that `data` is, read without loss. Raises TooLarge past `max_bytes`, at most 2 MiB, MalformedInput."""
    if len(data) > max_bytes:
        raise TooLarge(f"a {what} has at most {max_bytes} bytes")
    try:
        return strict_json(data)
    except MalformedBadge as error:
        # The reader is the badges' own; its sentences begin with what it reads.
        raise MalformedInput(error.detail.replace("the badge's JSON", f"the {what}'s JSON")) from error


def check_members(
    document: object, expected: frozenset[str], what: str, *, optional: frozenset[str] = _NOTHING
) -> Mapping[str, Any]:
    """The object, if it has these members and none but those and the optional ones."""
    if not isinstance(document, Mapping):
        raise MalformedInput(f"a {what} is a JSON object")
    missing, unknown = expected - document.keys(), document.keys() - expected - optional
    if missing:
        raise MalformedInput(f"the {what} has no {sorted(missing)[0]!r}")
    if unknown:
        raise MalformedInput(f"the {what} has an unknown member {sorted(unknown)[0][:40]!r}")
    return document


def text(document: Mapping[str, Any], name: str) -> str:
    """A member that is a string."""
    value = document[name]
    if not isinstance(value, str):
        raise MalformedInput(f"{name} is not a string")
    return value


def number(document: Mapping[str, Any], name: str) -> int:
    """A member that is an integer from 0 to 2^53 - 1."""
    value = document[name]
    # type(), not isinstance(): true is an int to Python.
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        raise MalformedInput(f"{name} is not an integer from 0 to 2^53 - 1")
    return value


def binary(document: Mapping[str, Any], name: str, length: int | None = None) -> bytes:
    """A member that is base64, of exactly `length` bytes if given."""
    return parse_base64(text(document, name), what=name, length=length)


def array(document: Mapping[str, Any], name: str) -> list[Any]:
    """A member that is an array."""
    value = document[name]
    if not isinstance(value, list):
        raise MalformedInput(f"{name} is not an array")
    return value


def hashes(document: Mapping[str, Any], name: str) -> tuple[bytes, ...]:
    """A member that is the hashes of a proof."""
    joined = binary(document, name)
    if len(joined) % HASH_BYTES:
        raise MalformedInput(f"{name} is not a whole number of hashes of {HASH_BYTES} bytes")
    return tuple(joined[start : start + HASH_BYTES] for start in range(0, len(joined), HASH_BYTES))


def entry(item: object, what: str) -> tuple[int, bytes]:
    """An entry of the log with its index."""
    document = check_members(item, frozenset({"index", "entry"}), what)
    return number(document, "index"), binary(document, "entry")


def line(item: object, what: str) -> SignatureLine:
    """A signature line; `what` it belongs to."""
    document = check_members(item, frozenset({"name", "signature"}), f"signature of the {what}")
    signed = binary(document, "signature")
    try:
        return SignatureLine(text(document, "name"), signed[:KEY_ID_BYTES], signed[KEY_ID_BYTES:])
    except InputError as error:
        raise MalformedInput(f"in a signature of the {what}, {error.detail}") from error


def small(value: int) -> int:
    """The number, if the JSON form can hold it."""
    if value > MAX_NUMBER:
        raise MalformedInput("a number of 2^53 or more does not fit the JSON form")
    return value


def entry_document(shown: tuple[int, bytes]) -> dict[str, Any]:
    """What `entry` reads."""
    return {"index": small(shown[0]), "entry": format_base64(shown[1])}


def line_document(signed: SignatureLine) -> dict[str, str]:
    """What `line` reads."""
    return {"name": signed.name, "signature": format_base64(signed.key_id + signed.signature)}


def format_hashes(proof: Sequence[bytes]) -> str:
    """What `hashes` reads."""
    return format_base64(b"".join(proof))
