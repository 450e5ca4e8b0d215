"""ledger.badges.addresses: what is an address, and what of one is personal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.badges import strip_personal
from ledger.badges.addresses import MAX_ADDRESS_BYTES, address


@pytest.mark.parametrize(
    ("url", "stripped"),
    [
        ("https://b.example/a/1", "https://b.example/a/1"),
        ("https://b.example/a/1?v=2_0", "https://b.example/a/1"),
        ("https://b.example/a/1?identity__email=x%40y.example&v=2_0", "https://b.example/a/1"),
        ("https://b.example/a/1?identity__url=x&identity__telephone=1&b=2#f", "https://b.example/a/1?b=2#f"),
        ("https://b.example/a.php?b=%41&obversion=2", "https://b.example/a.php?b=%41&obversion=2"),
        ("https://b.example/a?Identity__Email=x&identity%5F%5Femail=y&V=1&va=2", "https://b.example/a?va=2"),
        ("https://b.example/a?#f", "https://b.example/a#f"),
        ("https://b.example/a?x#?v=1", "https://b.example/a?x#?v=1"),
    ],
)
def test_strip_personal(url: str, stripped: str) -> None:
    """The recipient's identity and the version go; everything else stays as it was written."""
    assert strip_personal(url) == stripped


@given(st.lists(st.sampled_from(["v", "identity__email", "b", "x=1", "%76=1", "", "identity__=é"])), st.text())
def test_strip_personal_leaves_nothing_to_strip(parameters: list[str], end: str) -> None:
    """Once is enough, and it never fails."""
    once = strip_personal("https://b.example/a?" + "&".join(parameters) + end)
    assert strip_personal(once) == once


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"",
            b"https://",
            b"ftp://a.example",
            b"https://a.example/ b",
            b"https://a.example/\n",
            b"https://a.example/<b>",
        ),
        *("https://ä.example".encode(), b'https://a.example/"', b"https://a.example\\b", b"https://a.example/`"),
        b"https://a.example/" + b"a" * MAX_ADDRESS_BYTES,
    ],
)
def test_what_is_no_address(text: bytes) -> None:
    """Anything that is not one http or https address of plain characters."""
    assert address(text) is None


def test_what_is_an_address() -> None:
    """With every character that a URL may hold."""
    for text in ("https://a.example", "HTTP://A.example:8080/~a;b,c.d_e-f?g=h&i=%20#j!$'()*+@[]", "http://a"):
        assert address(text.encode()) == text
