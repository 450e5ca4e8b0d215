"""Receipts made by the issuer are the ledger's own, and nothing false gets into one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import ProofInvalid
from ledger.localreceipts import (
    Template,
    event_proofs,
    fixed_leaves,
    plan_range,
    range_proofs,
)
from ledger.merkle import build, leaf_hash, plan_multiproof, root_from_multiproof, tree_hash
from ledger.receipt import with_salt
from ledger.receipt_json import format_json
from tests import receipt_builder
from tests.builders import LogBuilder
from tests.receipt_builder import AllNodes

LEAVES = [leaf_hash(number.to_bytes(2, "big")) for number in range(70)]


def split_proof(joined: bytes) -> tuple[bytes, ...]:
    return tuple(joined[at : at + 32] for at in range(0, len(joined), 32))


def prove(first: int, count: int, fixed: Sequence[int], size: int) -> tuple[bytes, list[bytes]]:
    outside = build(plan_range(first, count, fixed, size), AllNodes(LEAVES[:size]))
    return range_proofs(first, LEAVES[first : first + count], {k: LEAVES[k] for k in fixed}, size, outside)


class TestRangeProofs:
    @pytest.mark.parametrize("size", range(1, 20))
    def test_every_range_of_every_small_tree(self, size: int) -> None:
        """Each leaf's proof is the multiproof that its own plan gives, alone and with the last leaf beside it."""
        for first in range(size):
            for count in range(1, size - first + 1):
                for fixed in ([], [size - 1], [0], [0, size - 1]):
                    if any(first <= index < first + count for index in fixed):
                        continue
                    if len(set(fixed)) != len(fixed):
                        continue
                    root, proofs = prove(first, count, fixed, size)
                    assert root == tree_hash(LEAVES[:size])
                    for k, joined in enumerate(proofs):
                        plan = plan_multiproof([first + k, *fixed], size)
                        assert split_proof(joined) == tuple(build(plan, AllNodes(LEAVES[:size])))

    @given(st.data())
    @settings(deadline=None)
    def test_any_range_beside_any_leaves(self, data: st.DataObject) -> None:
        """Each proof leads to the root with just the leaves that it is for."""
        size = data.draw(st.integers(2, len(LEAVES)))
        first = data.draw(st.integers(0, size - 1))
        count = data.draw(st.integers(1, size - first))
        others = [k for k in range(size) if not first <= k < first + count]
        fixed = data.draw(st.lists(st.sampled_from(others), unique=True, max_size=5)) if others else []
        root, proofs = prove(first, count, fixed, size)
        assert root == tree_hash(LEAVES[:size])
        for k, joined in enumerate(proofs):
            leaves = {index: LEAVES[index] for index in (first + k, *fixed)}
            assert root_from_multiproof(leaves, size, split_proof(joined)) == root

    def test_hashes_missing_or_left_over(self) -> None:
        """A proof of the wrong length is refused, as is one that holds something other than hashes."""
        outside = build(plan_range(3, 4, [0, 18], 19), AllNodes(LEAVES[:19]))
        fixed = {0: LEAVES[0], 18: LEAVES[18]}
        for wrong in (outside[:-1], [*outside, bytes(32)], [*outside[:-1], bytes(31)]):
            with pytest.raises(ProofInvalid):
                range_proofs(3, LEAVES[3:7], fixed, 19, wrong)

    def test_every_hash_counts(self) -> None:
        """One bit of any hash, leaf or other, and the root is another."""
        outside = build(plan_range(3, 4, [0, 18], 19), AllNodes(LEAVES[:19]))
        fixed = {0: LEAVES[0], 18: LEAVES[18]}
        root, _ = range_proofs(3, LEAVES[3:7], fixed, 19, outside)
        for k in range(len(outside)):
            wrong = [*outside[:k], bytes(32), *outside[k + 1 :]]
            assert range_proofs(3, LEAVES[3:7], fixed, 19, wrong)[0] != root
        for k in range(4):
            leaves = [*LEAVES[3 : 3 + k], bytes(32), *LEAVES[4 + k : 7]]
            assert range_proofs(3, leaves, fixed, 19, outside)[0] != root
        for index in fixed:
            assert range_proofs(3, LEAVES[3:7], {**fixed, index: bytes(32)}, 19, outside)[0] != root

    @pytest.mark.parametrize(
        ("first", "count", "fixed", "size"),
        [(0, 0, [], 3), (-1, 2, [], 3), (2, 2, [], 3), (0, 2, [1], 3), (0, 1, [3], 3), (0, 1, [-1], 3)],
    )
    def test_ranges_that_are_none(self, first: int, count: int, fixed: list[int], size: int) -> None:
        """Outside the tree, empty, or over one of the leaves beside it."""
        with pytest.raises(ValueError, match="no leaves"):
            plan_range(first, count, fixed, size)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 256, 300])
def test_receipts_are_the_ledgers_own(full: bool, count: int) -> None:
    """To the byte, with and without a salt, for each event of a submission between others."""
    log = LogBuilder()
    issuer = log.issuer("https://a.example/", lists=2)
    log.append(log.block(issuer, [issuer.issue(1), issuer.issue(2)]))
    log.seal()
    block = log.block(issuer, [issuer.issue(10 + 131 * k) for k in range(count)])
    at = log.append(block)
    log.append(log.block(issuer, [issuer.issue(5)]))
    log.seal()
    size = log.size
    sample = receipt_builder.build(log, at + 1, full=full)
    shown = {index: entry for index, entry in sample.entries().items() if index != at + 1}
    fixed = fixed_leaves(shown)
    outside = build(plan_range(at + 1, count, list(fixed), size), AllNodes(log.leaves))
    root, proofs = range_proofs(at + 1, block.leaf_hashes, fixed, size, outside)
    assert root == log.root()
    events = event_proofs(block.leaf_hashes, block.submission.events_root)
    template = Template(sample)
    for k in range(count):
        expected = receipt_builder.build(log, at + 1 + k, full=full)
        for salt in (None, bytes(range(32))):
            made = template.format(
                at + 1 + k,
                block.entry(k),
                salt,
                expected.chunk,
                proofs[k],
                b"".join(expected.status_proof),
                events[k],
            )
            assert made == format_json(with_salt(expected, salt))


def test_another_events_root_is_refused() -> None:
    """Proofs are made only under the root that was signed."""
    with pytest.raises(ProofInvalid, match="events_root"):
        event_proofs(LEAVES[:5], bytes(32))
