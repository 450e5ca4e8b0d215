"""How large receipts are where it counts: 100 million leaves, two Ed25519 witnesses, and a salt.

Sizes depend on where entries stand. The shapes here: a school registered its offline manage key and, right after it,
its online issuing key, and issued a class at a time; and shapes that are worse. `pytest -s` prints the numbers.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from ledger.receipt import Receipt, encode_packed, plan_receipt
from ledger.receipt_json import format_json
from tests.receipt_builder import synthetic

LEAVES = 100_000_000
#: 100 million badges fill 763 lists; many small issuers leave theirs half empty.
LISTS = 800
INDEX = 61_803_398
KEYS_TOGETHER = (3_500_001, 3_500_000)
ONE_KEY = (3_500_000,)
KEYS_APART = (13_048_416, 2_689)


def shape(
    full: bool, *, index: int = INDEX, size: int = LEAVES, keys: Sequence[int] = KEYS_TOGETHER, count: int = 1_000
) -> Receipt:
    return synthetic(
        full=full,
        index=index,
        tree_size=size,
        lists=LISTS,
        slot=index,
        count=count,
        position=count * 7 // 9,
        keys=keys,
        salt=bytes(range(32)),
        origin="ledger.badges.example/2026",
        identifier="https://credentials.university.example/issuer",
    )


def worst_index(full: bool) -> tuple[int, int]:
    """(index, tree size) with the most proof hashes among some thousands; not the worst that exists, but near it."""
    chooser = random.Random(1)
    places = [(chooser.randrange(LEAVES // 2, LEAVES - 20_000), LEAVES - chooser.randrange(300)) for _ in range(3_000)]

    def hashes(place: tuple[int, int]) -> int:
        index, size = place
        return len(plan_receipt(index, size, index - 778, KEYS_TOGETHER) if full else plan_receipt(index, size))

    return max(places, key=hashes)


def sizes(receipt: Receipt) -> tuple[int, int]:
    return len(encode_packed(receipt)), len(format_json(receipt))


@pytest.mark.parametrize("where", ["typical", "worst"])
def test_a_short_receipt_fits_a_qr_code(where: str) -> None:
    """At most 2.9 kB packed (what the largest QR code takes) and some 4 kB as JSON, wherever the badge stands."""
    index, size = (INDEX, LEAVES) if where == "typical" else worst_index(False)
    packed, text = sizes(shape(False, index=index, size=size))
    print(f"\nshort, {where}: packed {packed}, JSON {text} bytes")
    assert packed <= 2_900
    assert text <= 4_000


@pytest.mark.parametrize(
    ("where", "keys", "count"),
    [
        ("keys together, a class of 100", KEYS_TOGETHER, 100),
        ("keys together, a batch of 1,000", KEYS_TOGETHER, 1_000),
        ("one key, a batch of 10,000", ONE_KEY, 10_000),
    ],
)
def test_a_full_receipt_stays_within_its_budget(where: str, keys: Sequence[int], count: int) -> None:
    """At most 5 kB packed and 7 kB as JSON."""
    packed, text = sizes(shape(True, keys=keys, count=count))
    print(f"\nfull, {where}: packed {packed}, JSON {text} bytes")
    assert packed <= 5_000
    assert text <= 7_000


@pytest.mark.parametrize(
    ("where", "keys", "count", "budget"),
    [
        ("keys together, a batch of 10,000", KEYS_TOGETHER, 10_000, 5_200),
        ("keys together, a batch of 100,000", KEYS_TOGETHER, 100_000, 5_500),
        ("keys far apart, a batch of 10,000", KEYS_APART, 10_000, 6_000),
    ],
)
def test_what_makes_a_full_receipt_larger(where: str, keys: Sequence[int], count: int, budget: int) -> None:
    """A batch ten times as large adds up to 7 hashes; a key registered years after the first adds a path of its own."""
    packed, text = sizes(shape(True, keys=keys, count=count))
    print(f"\nfull, {where}: packed {packed}, JSON {text} bytes")
    assert packed <= budget
    assert text <= budget * 1.5


def test_the_worst_index_of_a_full_receipt() -> None:
    """Some hundreds of bytes above the typical one."""
    index, size = worst_index(True)
    packed, text = sizes(shape(True, index=index, size=size))
    print(f"\nfull, worst index: packed {packed}, JSON {text} bytes")
    assert packed <= 5_200
    assert text <= 7_300
