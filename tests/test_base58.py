"""base58btc: one text for each byte string, and only that one is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.base58 import ALPHABET, MAX_CHARS, format_base58, parse_base58
from ledger.errors import MalformedInput


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"\0", "1"),
        (b"\x39", "z"),
        (b"\x3a", "21"),
        (b"\0\0\x01", "112"),
        # The three examples of draft-msporny-base58 section 5.
        (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
        (
            b"The quick brown fox jumps over the lazy dog.",
            "USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z",
        ),
        (bytes.fromhex("0000287fb4cd"), "11233QC4"),
    ],
)
def test_known_texts(data: bytes, text: str) -> None:
    """Published examples read and write as published; leading zero bytes are leading ones."""
    assert format_base58(data) == text
    assert parse_base58(text) == data


@given(st.binary(max_size=80))
def test_bytes_round_trip(data: bytes) -> None:
    """Every byte string comes back."""
    assert parse_base58(format_base58(data), length=len(data)) == data


@given(st.text(alphabet=ALPHABET, max_size=80))
def test_texts_round_trip(text: str) -> None:
    """Every text of the alphabet is the text of what it reads as: no two texts mean the same bytes."""
    assert format_base58(parse_base58(text)) == text


@pytest.mark.parametrize("text", ["0", "O", "I", "l", "2 1", "21\n", "é", "+", "٢"])
def test_characters_outside_the_alphabet_are_refused(text: str) -> None:
    """The four look-alikes, white space and digits of other scripts are no base58."""
    with pytest.raises(MalformedInput):
        parse_base58(text)


def test_length_is_checked_and_size_bounded() -> None:
    """Another length than asked for is refused, and so is a text long enough to cost quadratic time."""
    with pytest.raises(MalformedInput, match="1 bytes, not 2"):
        parse_base58("21", length=2)
    assert parse_base58("1" * MAX_CHARS) == bytes(MAX_CHARS)
    with pytest.raises(MalformedInput, match="more than 4096"):
        parse_base58("1" * (MAX_CHARS + 1))
