"""The lookup index of a node: every issue entry is found, in memory or in the store, whatever is written when."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.block import Block, sign_submission
from ledger.entry import REVOKE, did_key, encode_issue, encode_status_event, issuer_id
from ledger.lookup import Lookup, prefix_of, prefixes_of
from ledger.signing import Ed25519Key

KEY = Ed25519Key.from_seed(bytes(range(32)))
ISSUER = issuer_id(did_key(KEY.public_key))


class MemoryStore:
    """The stored index in a list; `overtaken` plays a node that fills first."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []
        self.filled_to = 0
        self.runs: list[int] = []

    async def lookup(self, prefixes: Sequence[int]) -> list[tuple[int, int]]:
        return sorted(row for row in self.rows if row[0] in prefixes)

    async def lookup_filled_to(self) -> int:
        return self.filled_to

    async def fill_lookup(self, rows: Sequence[tuple[int, int]], filled_from: int, filled_to: int) -> bool:
        assert list(rows) == sorted(rows)
        assert all(filled_from <= index < filled_to for _, index in rows)
        if filled_from != self.filled_to:
            return False
        self.rows += rows
        self.runs.append(len(rows))
        self.filled_to = filled_to
        return True


def commitment(number: int, *, colliding: bool = False) -> bytes:
    digest = hashlib.sha256(number.to_bytes(8, "big")).digest()
    return bytes(8) + digest[8:] if colliding else digest


def block(commitments: Sequence[bytes], *, revokes: int = 0) -> Block:
    events = b"".join(encode_issue(ISSUER, k, c) for k, c in enumerate(commitments))
    events += b"".join(encode_status_event(REVOKE, ISSUER, k, 0) for k in range(revokes))
    return sign_submission("log.example", KEY, ISSUER, 2, events, 1, bytes(16))


def test_prefixes_are_signed_and_big_endian() -> None:
    assert prefix_of(b"\xff" * 32) == -1
    assert prefix_of(b"\x00" * 7 + b"\x01" + b"\xff" * 24) == 1
    many = [commitment(k) for k in range(300)]
    assert prefixes_of(many) == [prefix_of(c) for c in many]


@given(
    sizes=st.lists(st.tuples(st.integers(1, 12), st.booleans(), st.integers(0, 2)), min_size=1, max_size=20),
    fills=st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=8),
    run_entries=st.integers(1, 30),
)
async def test_everything_is_found(
    sizes: list[tuple[int, bool, int]], fills: list[tuple[int, bool]], run_entries: int
) -> None:
    """Blocks of any shape, colliding prefixes among them, and fills between them up to any head."""
    store = MemoryStore()
    lookup = Lookup(store, run_entries=run_entries)
    where: dict[bytes, int] = {}
    index, number = 2, 0
    due = dict(fills)
    heads = [0]
    for at, (count, colliding, revokes) in enumerate(sizes):
        commitments = [commitment(number + k, colliding=colliding) for k in range(count)]
        number += count
        lookup.add_block(index, block(commitments, revokes=revokes))
        lookup.add_block(index, block(commitments, revokes=revokes))  # a node that rereads what it knows
        where.update({c: index + 1 + k for k, c in enumerate(commitments)})
        index += 1 + count + revokes + 1
        heads.append(index)
        if at in due:
            await lookup.fill(random.Random(at).choice(heads), whole_runs=due[at])
        for c, expected in where.items():
            found = await lookup.candidates(c)
            assert expected in found
            assert len(found) == len(set(found))
    await lookup.fill(index)
    assert len(lookup) == 0
    assert lookup.filled_to == index
    assert sorted(store.rows) == sorted((prefix_of(c), at) for c, at in where.items())


async def test_whole_runs_are_written_alone() -> None:
    """A run that still grows, or that reaches past the published size, stays in memory."""
    store = MemoryStore()
    lookup = Lookup(store, run_entries=10)
    for k in range(5):
        lookup.add_block(2 + 12 * k, block([commitment(100 * k + i) for i in range(10)]))
    assert await lookup.fill(2 + 12 * 2 + 5, whole_runs=True) == 20
    assert store.runs == [10, 10]
    assert lookup.filled_to == 2 + 12 * 2
    assert await lookup.fill(1000, whole_runs=True) == 20
    assert not lookup.has_whole_run
    assert len(lookup) == 10


async def test_another_node_was_faster() -> None:
    """Nothing is written twice; what the other wrote leaves this node's memory."""
    store = MemoryStore()
    one, two = Lookup(store), Lookup(store)
    for lookup in (one, two):
        for k in range(4):
            lookup.add_block(2 + 12 * k, block([commitment(100 * k + i) for i in range(10)]))
    assert await one.fill(26) == 20
    assert await two.fill(50) == 20
    assert len(store.rows) == 40
    assert len(two) == 0
    assert len(one) == 20
    assert await one.fill(50) == 0
    assert len(one) == 0


async def test_what_is_filled_is_not_remembered_again() -> None:
    store = MemoryStore()
    lookup = Lookup(store, 50)
    lookup.add_block(2, block([commitment(1)]))
    assert len(lookup) == 0


@pytest.mark.parametrize("count", [1, 2, 300])
def test_disjoint(count: int) -> None:
    lookup = Lookup(MemoryStore())
    commitments = [commitment(k) for k in range(count)]
    assert lookup.disjoint(prefixes_of(commitments))
    lookup.add_block(2, block(commitments))
    assert not lookup.disjoint(prefixes_of(commitments[-1:]))
    assert lookup.recent(prefix_of(commitments[-1])) == (2 + count,)
