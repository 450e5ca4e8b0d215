"""The JSON form: the same receipt in other words, read strictly."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.errors import LedgerError, MalformedReceipt, TooLarge
from ledger.proof_json import MAX_NUMBER
from ledger.receipt import MAX_RECEIPT_BYTES, Receipt, encode_packed, with_salt
from ledger.receipt_json import format_json, from_document, load, parse_json, to_document
from ledger.verify import verify_receipt
from tests.builders import ORIGIN
from tests.receipt_builder import Anchored, anchored, build, policy

COMMITMENT = hashlib.sha256(b"a badge").digest()
SALT = bytes(range(32))


@pytest.fixture(scope="module")
def scene() -> Anchored:
    return anchored(COMMITMENT)


@pytest.fixture(scope="module", params=["short", "full"])
def receipt(request: pytest.FixtureRequest, scene: Anchored) -> Receipt:
    return build(scene.log, scene.index, full=request.param == "full", salt=SALT)


def dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def test_formatting_and_parsing_are_inverse(receipt: Receipt) -> None:
    """With a salt and without one; and it is the packed receipt in other words."""
    for each in (receipt, with_salt(receipt, None)):
        data = format_json(each)
        assert parse_json(data) == each
        assert format_json(parse_json(data)) == data
        assert encode_packed(parse_json(data)) == encode_packed(each)


def test_either_form_is_loaded(receipt: Receipt) -> None:
    """A file is packed or JSON, white space around the JSON allowed; anything else is refused."""
    assert load(encode_packed(receipt)) == load(format_json(receipt)) == receipt
    assert load(b"\n " + format_json(receipt) + b"\n") == receipt
    for other in (
        b"",
        b"BLR2",
        b"{}",
        b"[]",
        b"null",
        b"c2sp.org/tlog-proof@v1\n",
        b"\xef\xbb\xbf" + format_json(receipt),
    ):
        with pytest.raises(MalformedReceipt):
            load(other)


def test_the_order_of_members_and_white_space_do_not_matter(receipt: Receipt) -> None:
    """JSON that passed through another program is the same receipt."""
    document = json.loads(format_json(receipt))
    assert parse_json(json.dumps(document, sort_keys=True, indent=2).encode()) == receipt
    assert parse_json(json.dumps(dict(reversed(document.items()))).encode()) == receipt


def test_the_members_are_those_of_the_protocol(scene: Anchored) -> None:
    """By name, in the order of the packed form."""
    full = to_document(build(scene.log, scene.index, full=True, salt=SALT))
    assert list(full) == [
        "format", "profile", "salt", "origin", "tree_size", "index", "issue", "status_root", "chunk", "submission",
        "keys", "log_proof", "status_proof", "events_proof", "signatures",
    ]  # fmt: skip
    short = to_document(build(scene.log, scene.index, full=False))
    assert full.keys() - short.keys() == {"salt", "submission", "keys", "events_proof"}
    assert full["format"] == short["format"] == "badge-ledger/v1 receipt"


def _members(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every member of every object in a document."""
    found: list[tuple[Any, ...]] = []
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, value in items:
        if isinstance(document, dict):
            found.append((*path, name))
        found += _members(value, (*path, name))
    return found


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        document = document[step]
    return document


def test_every_missing_member_is_refused(receipt: Receipt) -> None:
    """None is optional but the salt."""
    text = format_json(receipt)
    for path in _members(json.loads(text)):
        document = json.loads(text)
        del _at(document, path[:-1])[path[-1]]
        if path == ("salt",):
            assert parse_json(dump(document)) == with_salt(receipt, None)
            continue
        with pytest.raises(MalformedReceipt):
            parse_json(dump(document))


def test_unknown_members_are_refused(receipt: Receipt) -> None:
    """In the receipt and in every object in it: a verifier must not pass over what it does not understand."""
    text = format_json(receipt)
    for path in {(), *(path[:-1] for path in _members(json.loads(text)))}:
        document = json.loads(text)
        _at(document, path)["comment"] = "hello"
        with pytest.raises(MalformedReceipt, match="unknown member 'comment'"):
            parse_json(dump(document))


def test_duplicate_members_are_refused(receipt: Receipt) -> None:
    """Readers differ in which of two they take, also where the second is spelled with an escape."""
    text = format_json(receipt).decode()
    for name in ("index", "issue", "signatures", "name", "signature"):
        for spelling in (name, f"\\u{ord(name[0]):04x}{name[1:]}"):
            changed = text.replace(f'"{name}":', f'"{spelling}":null,"{name}":', 1)
            assert changed != text
            with pytest.raises(MalformedReceipt, match="twice"):
                parse_json(changed.encode())


def test_every_member_of_another_type_is_refused(receipt: Receipt) -> None:
    """Null, numbers with a fraction, true, numbers in strings, strings in arrays."""
    text = format_json(receipt)
    others: list[Any] = [None, True, False, 1.0, 1e3, -1, 2**53, "", "1", [], [None], [1], {}, ["text"], [[]]]
    for path in _members(json.loads(text)):
        for value in others:
            if path[-1] in ("origin", "name") and value == "1":
                continue  # a name like any other
            if path[-1] in ("log_proof", "status_proof", "events_proof") and value == "":
                continue  # no hash at all: read, and not verified
            document = json.loads(text)
            _at(document, path[:-1])[path[-1]] = value
            with pytest.raises(MalformedReceipt):
                parse_json(dump(document))


def test_base64_is_canonical(receipt: Receipt) -> None:
    """No other alphabet, no missing padding, no white space, no bits to spare."""
    text = format_json(receipt)
    for path in _members(json.loads(text)):
        value = _at(json.loads(text), path)
        if not isinstance(value, str) or path[-1] in ("format", "profile", "origin", "name", "salt"):
            continue
        spoiled = [value[:-1], value + "=", value + "\n", " " + value, value[:4] + "\r\n" + value[4:], value + "AAA"]
        if value.endswith("="):
            body, padding = value.rstrip("="), value.count("=")
            spoiled.append(body)
            alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
            last = alphabet[alphabet.index(body[-1]) | 1]
            assert base64.b64decode(body[:-1] + last + "=" * padding) == base64.b64decode(value)
            spoiled.append(body[:-1] + last + "=" * padding)
        for other in spoiled:
            document = json.loads(text)
            _at(document, path[:-1])[path[-1]] = other
            with pytest.raises(MalformedReceipt):
                parse_json(dump(document))


def test_proofs_are_whole_hashes(receipt: Receipt) -> None:
    """Each proof is the base64 of 32-byte hashes, one after the other."""
    document = to_document(receipt)
    assert base64.b64decode(document["log_proof"]) == b"".join(receipt.log_proof)
    for extra in (1, 31, 33):
        changed = {**document, "log_proof": base64.b64encode(bytes(extra)).decode()}
        with pytest.raises(MalformedReceipt, match="whole number of hashes"):
            from_document(changed)


def test_a_profile_has_its_own_members(scene: Anchored) -> None:
    """A short receipt with a submission, or a full one called short, is refused."""
    short = to_document(build(scene.log, scene.index, full=False))
    full = to_document(build(scene.log, scene.index, full=True))
    for changed in (
        {**short, "submission": full["submission"]},
        {**short, "keys": []},
        {**short, "events_proof": ""},
        {**short, "profile": "full"},
        {**full, "profile": "short"},
        {**full, "profile": "FULL"},
        {**full, "keys": []},
        {**full, "salt": "00" * 31},
        {**full, "salt": "AB" * 32},
        {**full, "salt": None},
        {**full, "format": "badge-ledger/v2 receipt"},
    ):
        with pytest.raises(MalformedReceipt):
            parse_json(dump(changed))


def test_what_is_too_large_is_not_looked_at(receipt: Receipt) -> None:
    """64 KiB, white space included."""
    data = format_json(receipt)
    assert parse_json(data + b" " * (MAX_RECEIPT_BYTES - len(data))) == receipt
    with pytest.raises(TooLarge):
        parse_json(data + b" " * (MAX_RECEIPT_BYTES - len(data) + 1))


def test_numbers_that_other_readers_would_round_are_not_written(scene: Anchored) -> None:
    """From 2^53 on there is only the packed form."""
    receipt = build(scene.log, scene.index, full=False)
    assert to_document(replace(receipt, tree_size=MAX_NUMBER))["tree_size"] == MAX_NUMBER
    huge = replace(receipt, tree_size=MAX_NUMBER + 1)
    with pytest.raises(MalformedReceipt, match="2\\^53"):
        format_json(huge)
    assert load(encode_packed(huge)) == huge


def test_every_changed_character_is_found(scene: Anchored, receipt: Receipt) -> None:
    """Refused, or read and not verified, or the same receipt in another spelling of its JSON: never another one."""
    data = format_json(receipt)
    trust = policy(ORIGIN)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x01
        try:
            read = parse_json(bytes(changed))
        except LedgerError:
            continue
        if read == receipt:
            raise AssertionError(f"character {position} does not matter")
        with pytest.raises(LedgerError):
            verify_receipt(
                read,
                policy=trust,
                now_s=scene.time_s,
                commitment=COMMITMENT if read.salt == SALT else bytes(32),
                issuer=scene.issuer.id,
            )
