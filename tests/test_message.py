"""The bytes that issuers sign: golden bytes, and no two requests that sign alike."""

from __future__ import annotations

import hashlib
from itertools import combinations
from typing import Any

import msgspec
import pytest

from ledger.entry import Submission, encode
from ledger.errors import MalformedEntry
from ledger.message import idempotency_key, key_message, slots_message, submission_message

ORIGIN = "log.example"
SUBMISSION = Submission(
    time=9,
    issuer=b"\xaa" * 32,
    key=4,
    count=2,
    not_after=5,
    nonce=b"\x77" * 16,
    events_root=b"\xbb" * 32,
    algorithm=1,
    signature=b"\x88" * 64,
)
#: `ori` as the wire format writes it.
ORI = bytes.fromhex("0b 6c6f672e6578616d706c65")


def test_submission_message_bytes() -> None:
    """The message has exactly the bytes of the wire format."""
    fields = "aa" * 32 + "0000000000000004 00000002 0000000000000005" + "77" * 16 + "bb" * 32 + "01"
    expected = b"badge-ledger/v1 submission\n" + ORI + bytes.fromhex(fields)
    assert submission_message(ORIGIN, SUBMISSION) == expected


def test_key_message_bytes() -> None:
    """The message has exactly the bytes of the wire format; the length of the identifier counts bytes."""
    expected = b"badge-ledger/v1 key\n" + ORI + bytes.fromhex("02" + "aa" * 32 + "0003 78c3a9 05 01" + "bb" * 32)
    assert key_message(ORIGIN, 2, b"\xaa" * 32, "xé", 5, 1, b"\xbb" * 32) == expected


def test_slots_message_bytes() -> None:
    """The message has exactly the bytes of the wire format; here the count comes last."""
    fields = "aa" * 32 + "0000000000000004 0000000000000005" + "77" * 16 + "000003e8"
    expected = b"badge-ledger/v1 slots\n" + ORI + bytes.fromhex(fields)
    assert slots_message(ORIGIN, b"\xaa" * 32, 4, 5, b"\x77" * 16, 1000) == expected


CHANGES: list[dict[str, Any]] = [
    {"issuer": b"\xab" * 32},
    {"key": 5},
    {"count": 3},
    {"not_after": 6},
    {"nonce": b"\x78" * 16},
    {"events_root": b"\xbc" * 32},
]


def test_the_issuer_s_fields_are_signed_and_the_ledger_s_time_is_not() -> None:
    """Each field of the issuer changes the message; the ledger's time and the signature do not."""
    message = submission_message(ORIGIN, SUBMISSION)
    variants = [message] + [submission_message(ORIGIN, msgspec.structs.replace(SUBMISSION, **c)) for c in CHANGES]
    variants.append(submission_message("log.exampl", SUBMISSION))
    assert all(a != b for a, b in combinations(variants, 2))
    unsigned = msgspec.structs.replace(SUBMISSION, time=10, signature=bytes(64))
    assert submission_message(ORIGIN, unsigned) == message


def test_idempotency_key() -> None:
    """SHA-256 from issuer to signature: the same at any time of the ledger, another for any other request."""
    key = idempotency_key(SUBMISSION)
    assert key == hashlib.sha256(encode(SUBMISSION)[10:]).digest()
    assert idempotency_key(msgspec.structs.replace(SUBMISSION, time=0)) == key
    for change in [*CHANGES, {"signature": bytes(64)}]:
        assert idempotency_key(msgspec.structs.replace(SUBMISSION, **change)) != key


def test_key_messages_differ() -> None:
    """Every argument of a key message is signed."""
    base: tuple[Any, ...] = (ORIGIN, 1, bytes(32), "x", 7, 1, bytes(32))
    others = ("other", 2, b"\1" * 32, "y", 6, None, b"\1" * 32)
    messages = [key_message(*base)]
    for position, other in enumerate(others):
        if other is not None:
            arguments = [*base[:position], other, *base[position + 1 :]]
            messages.append(key_message(*arguments))
    assert all(a != b for a, b in combinations(messages, 2))


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (0, "a b"),
        (1, 0),
        (1, 3),
        (2, bytes(31)),
        (3, ""),
        (3, "a\n"),
        (4, 0),
        (4, 8),
        (5, 0),
        (5, 2),
        (6, bytes(33)),
    ],
)
def test_key_message_refuses(position: int, value: object) -> None:
    """Nothing that no key entry can hold is signed."""
    arguments: list[Any] = [ORIGIN, 1, bytes(32), "x", 7, 1, bytes(32)]
    arguments[position] = value
    with pytest.raises(MalformedEntry):
        key_message(*arguments)


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (0, ""),
        (1, bytes(31)),
        (2, -1),
        (2, 2**64),
        (3, -1),
        (3, 2**64),
        (4, bytes(15)),
        (5, 0),
        (5, 2**32),
    ],
)
def test_slots_message_refuses(position: int, value: object) -> None:
    """Fields out of range are refused, not cut or padded."""
    arguments: list[Any] = [ORIGIN, bytes(32), 1, 2, bytes(16), 3]
    slots_message(*arguments)
    arguments[position] = value
    with pytest.raises(MalformedEntry):
        slots_message(*arguments)


def test_submission_message_refuses_a_malformed_submission() -> None:
    """A submission that cannot be written cannot be signed."""
    with pytest.raises(MalformedEntry):
        submission_message(ORIGIN, msgspec.structs.replace(SUBMISSION, count=0))
    with pytest.raises(MalformedEntry):
        submission_message("", SUBMISSION)
