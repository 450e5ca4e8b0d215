"""The bodies of c2sp.org/tlog-witness: exact bytes, both ways, and nothing else is taken."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import LedgerError, MalformedBody, MalformedInput, MalformedNote, TooLarge
from ledger.note import SignatureLine
from ledger.tlogwitness import (
    MAX_REQUEST_BYTES,
    AddCheckpoint,
    SignSubtree,
    checkpoint_path,
    format_add_checkpoint,
    format_cosignatures,
    format_sign_subtree,
    format_size,
    parse_add_checkpoint,
    parse_cosignatures,
    parse_sign_subtree,
    parse_size,
)

A, B = bytes(32), b"\xff" * 32
A64, B64 = b"A" * 43 + b"=", b"/" * 42 + b"8="
NOTE = b"log.example/1\n2\n" + A64 + "\n\n— log.example/1 AAAAAAA=\n".encode()
hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple)
sizes = st.integers(0, 2**63 - 1)


def test_add_checkpoint_is_written_line_by_line() -> None:
    """The old size, the proof, an empty line, the checkpoint as it is."""
    body = format_add_checkpoint(AddCheckpoint(1, (A, B), NOTE))
    assert body == b"old 1\n" + A64 + b"\n" + B64 + b"\n\n" + NOTE
    assert parse_add_checkpoint(body) == AddCheckpoint(1, (A, B), NOTE)
    assert format_add_checkpoint(AddCheckpoint(0, (), NOTE)) == b"old 0\n\n" + NOTE


def test_sign_subtree_is_written_line_by_line() -> None:
    """The range, the root, the proof, an empty line, the checkpoint as it is."""
    body = format_sign_subtree(SignSubtree(8, 13, A, (B,), NOTE))
    assert body == b"subtree 8 13\n" + A64 + b"\n" + B64 + b"\n\n" + NOTE
    assert parse_sign_subtree(body) == SignSubtree(8, 13, A, (B,), NOTE)


@given(sizes, hashes, st.binary(max_size=200))
def test_what_is_written_is_read_back(old_size: int, proof: tuple[bytes, ...], note: bytes) -> None:
    """Whatever bytes the note has, empty lines at its beginning too."""
    request = AddCheckpoint(old_size, proof, note)
    assert parse_add_checkpoint(format_add_checkpoint(request)) == request


@given(st.binary(max_size=120) | st.binary(max_size=60).map(lambda tail: b"old 7\n" + A64 + b"\n\n" + tail))
def test_what_is_read_is_written_the_same(data: bytes) -> None:
    """A body has one reading and a reading has one body."""
    try:
        request = parse_add_checkpoint(data)
    except LedgerError:
        return
    assert format_add_checkpoint(request) == data


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "no empty line"),
        (b"old 1\n" + A64 + b"\n", "no empty line"),
        (b"\n\nold 1\n\n", "begin with the old size"),
        (b"Old 1\n\n", "begin with the old size"),
        (b"old\n\n", "not a decimal number"),
        (b"old 01\n\n", "not a decimal number"),
        (b"old -1\n\n", "not a decimal number"),
        (b"old  1\n\n", "not a decimal number"),
        (b"old 1 \n\n", "not a decimal number"),
        (b"old 1\r\n\n", "not a decimal number"),
        (b"old 9223372036854775808\n\n", "larger than"),
        ("old ١\n\n".encode(), "not ASCII"),
        (b"old 1\nAAAA\n\n", "has 3 bytes"),
        (b"old 1\n" + A64[:-1] + b"\n\n", "not base64"),
        (b"old 1\n" + A64 + b" \n\n", "base64"),
        (b"old 1\n" + A64[:-2] + b"B=\n\n", "not canonical"),
        (b"old 1\n" + (A64 + b"\n") * 64 + b"\n", "64 hashes"),
    ],
)
def test_another_request_to_add_a_checkpoint_is_refused(body: bytes, sentence: str) -> None:
    """Whatever departs from the form by a byte."""
    with pytest.raises(MalformedBody, match=sentence):
        parse_add_checkpoint(body + NOTE if body.endswith(b"\n\n") and body != b"" else body)


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (b"subtree 8 13", "no root"),
        (b"subtree 8\n" + A64, "range of a subtree"),
        (b"subtree 8 13 14\n" + A64, "range of a subtree"),
        (b"subtrees 8 13\n" + A64, "range of a subtree"),
        (b"subtree 08 13\n" + A64, "not a decimal"),
        (b"subtree 8 8\n" + A64, "no subtree"),
        (b"subtree 9 8\n" + A64, "no subtree"),
        (b"subtree 4 9\n" + A64, "no subtree"),
        (b"subtree 8 13\nAAAA", "root of the subtree has 3 bytes"),
        (b"subtree 8 13\n" + (A64 + b"\n") * 64 + A64, "64 hashes"),
    ],
)
def test_another_request_to_sign_a_subtree_is_refused(head: bytes, sentence: str) -> None:
    """A range that is no subtree of RFC 6962's tree too."""
    with pytest.raises(MalformedBody, match=sentence):
        parse_sign_subtree(head + b"\n\n" + NOTE)


def test_the_subtrees_are_those_that_the_tree_has() -> None:
    """[start, end) where the start is a multiple of the power of two that its width needs, for all up to 64."""
    for start in range(65):
        for end in range(start + 1, 65):
            power = next(1 << k for k in range(8) if 1 << k >= end - start)
            if start % power:
                with pytest.raises(MalformedBody):
                    SignSubtree(start, end, A, (), NOTE)
            else:
                assert SignSubtree(start, end, A, (), NOTE).end == end


def test_what_cannot_be_written_is_not_made() -> None:
    """Sizes out of range, hashes of another length, too many of them."""
    for old_size, proof in ((-1, ()), (2**63, ()), (1, (A[1:],)), (1, (A,) * 64)):
        with pytest.raises(MalformedBody):
            AddCheckpoint(old_size, proof, NOTE)
    with pytest.raises(MalformedBody):
        SignSubtree(0, 1, A[1:], (), NOTE)


def test_a_large_request_is_refused_by_its_length() -> None:
    """64 KiB and no byte more."""
    assert parse_add_checkpoint(b"old 0\n\n" + bytes(MAX_REQUEST_BYTES - 7)).old_size == 0
    with pytest.raises(TooLarge):
        parse_add_checkpoint(b"old 0\n\n" + bytes(MAX_REQUEST_BYTES - 6))


def test_cosignatures_are_lines() -> None:
    """One or more, each ended."""
    lines = (SignatureLine("w.example/1", b"abcd", b"x"), SignatureLine("w.example/2", b"efgh", b"y" * 2428))
    body = format_cosignatures(lines)
    assert body.startswith("— w.example/1 YWJjZHg=\n— w.example/2 ".encode())
    assert parse_cosignatures(body) == lines
    with pytest.raises(MalformedNote):
        format_cosignatures(())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        "— w.example/1 YWJjZHg=".encode(),
        "— w.example/1 YWJjZHg=\n\n".encode(),
        "\n— w.example/1 YWJjZHg=\n".encode(),
        b"- w.example/1 YWJjZHg=\n",
        "— w.example/1 YWJjZA==\n".encode(),
        "— w.example/1 YWJjZHg=\r\n".encode(),
        b"<html>\n",
        b"\xff\n",
        "— w.example/1 YWJjZHg=\n".encode() * 65,
        ("— w.example/1 " + "A" * 66_000 + "\n").encode(),
    ],
)
def test_other_answers_are_no_cosignatures(body: bytes) -> None:
    """Nothing is taken from an answer of which one line is wrong."""
    with pytest.raises(MalformedNote):
        parse_cosignatures(body)


@pytest.mark.parametrize("size", [0, 1, 10, 2**63 - 1])
def test_sizes_are_read_back(size: int) -> None:
    """Decimal and a newline."""
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"7", b"07\n", b"7\n\n", b" 7\n", b"7\r\n", b"-7\n", b"\xb2\n", b"9" * 19 + b"\n"]
)
def test_other_sizes_are_refused(body: bytes) -> None:
    """2^63 - 1 has nineteen digits and is less than nineteen nines."""
    with pytest.raises(MalformedInput):
        parse_size(body)


def test_the_checkpoint_stands_under_the_hash_of_the_origin() -> None:
    """In lowercase hexadecimal."""
    assert checkpoint_path("log.example/1") == hashlib.sha256(b"log.example/1").hexdigest() + "/checkpoint"
