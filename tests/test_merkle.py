"""ledger.merkle against the RFC's own recursive definitions, its eight standard leaves, and two other libraries."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from hashlib import sha256
from itertools import combinations

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import merkle
from ledger.errors import ProofInvalid

with warnings.catch_warnings():
    # It warns that `sha3` is missing, which only its SHA-3 modes would need.
    warnings.simplefilter("ignore")
    import merkletools

LARGEST = 256
ENTRIES = [b"entry %d" % i for i in range(LARGEST)]
LEAVES = merkle.leaf_hashes(ENTRIES)
#: Every complete subtree of every tree of up to 256 leaves: they do not depend on the size of the tree they stand in.
NODES = {(h, i): value for h, level in enumerate(merkle.tree_levels(LEAVES)) for i, value in enumerate(level)}
OTHER = b"\xa5" * 32

# The eight leaves that the Certificate Transparency project publishes for RFC 6962, and the roots of their prefixes.
STANDARD_ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
STANDARD_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


# RFC 6962 section 2.1, word for word --------------------------------------------------------------------------------


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


@cache
def mth(lo: int, hi: int) -> bytes:
    """MTH(D[lo:hi])."""
    if lo == hi:
        return sha256(b"").digest()
    if hi - lo == 1:
        return sha256(b"\0" + ENTRIES[lo]).digest()
    k = split(hi - lo)
    return sha256(b"\1" + mth(lo, lo + k) + mth(lo + k, hi)).digest()


def path(m: int, lo: int, hi: int) -> list[bytes]:
    """PATH(m, D[lo:hi])."""
    if hi - lo == 1:
        return []
    k = split(hi - lo)
    if m < k:
        return [*path(m, lo, lo + k), mth(lo + k, hi)]
    return [*path(m - k, lo + k, hi), mth(lo, lo + k)]


def subproof(m: int, lo: int, hi: int, whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[lo:hi], b)."""
    if m == hi - lo:
        return [] if whole else [mth(lo, hi)]
    k = split(hi - lo)
    if m <= k:
        return [*subproof(m, lo, lo + k, whole), mth(lo + k, hi)]
    return [*subproof(m - k, lo + k, hi, False), mth(lo, lo + k)]


def multi(targets: set[int], lo: int, hi: int) -> list[bytes]:
    """The hashes that wire.md's recursion asks for, in its order."""
    if not any(lo <= target < hi for target in targets):
        return [mth(lo, hi)]
    if hi - lo == 1:
        return []
    k = split(hi - lo)
    return multi(targets, lo, lo + k) + multi(targets, lo + k, hi)


# Helpers -------------------------------------------------------------------------------------------------------------


def refused(check: Callable[[Sequence[bytes]], object], proof: Sequence[bytes]) -> None:
    """Every hash perturbed, every truncation, every extension by one hash at either end and in between: all refused."""
    spoiled: list[list[bytes]] = []
    for k, value in enumerate(proof):
        flipped = bytes([value[0] ^ 0x80]) + value[1:] if k & 1 else value[:-1] + bytes([value[-1] ^ 1])
        spoiled.append([*proof[:k], flipped, *proof[k + 1 :]])
        spoiled.append([*proof[:k], *proof[k + 1 :]])
        spoiled.append(list(proof[:k]))
    for k in range(len(proof) + 1):
        spoiled.append([*proof[:k], OTHER, *proof[k:]])
    if proof:
        spoiled.append([*proof, proof[-1]])
        spoiled.append([proof[0], *proof])
        spoiled.append([*proof[:-1], proof[-1][:31]])
        spoiled.append([*proof[:-1], proof[-1] + b"\0"])
    for bad in spoiled:
        try:
            check(bad)
        except ProofInvalid:
            continue
        pytest.fail(f"accepted {bad}, made from {proof}")


def must_refuse(verify: Callable[..., object], *arguments: object) -> None:
    try:
        verify(*arguments)
    except ProofInvalid:
        return
    pytest.fail(f"accepted {arguments}")


class CountingNodes(Mapping[merkle.Node, bytes]):
    """A tree whose leaves are all alike, so that trees of any size have known nodes: one per level."""

    def __init__(self) -> None:
        self.levels = [OTHER]
        for _ in range(63):
            self.levels.append(merkle.node_hash(self.levels[-1], self.levels[-1]))

    def __getitem__(self, node: merkle.Node) -> bytes:
        return self.levels[node[0]]

    def __iter__(self):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


ALIKE = CountingNodes()


# Roots ---------------------------------------------------------------------------------------------------------------


def test_standard_roots() -> None:
    """The roots of the eight standard leaves of RFC 6962 and of all their prefixes."""
    leaves = merkle.leaf_hashes(STANDARD_ENTRIES)
    assert [merkle.tree_hash(leaves[:n]).hex() for n in range(9)] == STANDARD_ROOTS


def test_hash_prefixes() -> None:
    """A leaf is hashed behind 00, a node behind 01, and no root is that of no leaves."""
    assert merkle.EMPTY_ROOT == sha256(b"").digest() == merkle.tree_hash([]) == merkle.fold([])
    assert merkle.leaf_hash(b"x") == sha256(b"\0x").digest() == merkle.leaf_hashes(iter([b"x"]))[0]
    assert merkle.node_hash(LEAVES[0], LEAVES[1]) == sha256(b"\1" + LEAVES[0] + LEAVES[1]).digest()


def test_every_way_to_a_root_agrees() -> None:
    """tree_hash, the fold of plan_root and the frontier give the RFC's root for every size up to 256."""
    frontier = merkle.Frontier()
    for n in range(LARGEST + 1):
        root = mth(0, n)
        assert merkle.tree_hash(LEAVES[:n]) == root
        assert merkle.tree_hash(tuple(LEAVES[:n])) == root
        assert merkle.fold([NODES[node] for node in merkle.plan_root(n)]) == root
        assert (frontier.size, frontier.root()) == (n, root)
        frontier.extend(LEAVES[n : n + 1])


def test_tree_levels_hold_complete_subtrees_only() -> None:
    """Level h of n leaves has n >> h hashes, each of 2^h leaves; one empty level for no leaves."""
    assert merkle.tree_levels([]) == [[]]
    for n in range(1, LARGEST + 1):
        levels = merkle.tree_levels(LEAVES[:n])
        assert [len(level) for level in levels] == [n >> h for h in range(n.bit_length())]
        assert all(levels[h][-1] == mth(((n >> h) - 1) << h, n >> h << h) for h in range(len(levels)))


def test_nodes_for_range() -> None:
    """Every range that is a node of some tree is covered by subtrees that fold into it; other ranges are refused."""
    for lo in range(65):
        for hi in range(lo, 129):
            width = 1
            while width < hi - lo:
                width *= 2
            if hi > lo and lo % width:
                with pytest.raises(ValueError, match="no node"):
                    merkle.nodes_for_range(lo, hi)
                continue
            nodes = merkle.nodes_for_range(lo, hi)
            assert merkle.fold([NODES[node] for node in nodes]) == mth(lo, hi)
            edges = [lo, *((i + 1) << h for h, i in nodes)]
            assert [i << h for h, i in nodes] == edges[:-1]
            assert edges[-1] == hi
    for lo, hi in ((-1, 1), (2, 1), (0, 2**63)):
        with pytest.raises(ValueError, match="no range"):
            merkle.nodes_for_range(lo, hi)


# Inclusion -----------------------------------------------------------------------------------------------------------


def inclusion(m: int, n: int, root: bytes, proof: Sequence[bytes]) -> None:
    merkle.verify_inclusion(LEAVES[m], m, n, proof, root)


@pytest.mark.parametrize("sizes", [range(1, 129), range(129, 193), range(193, LARGEST + 1)], ids=str)
def test_every_inclusion_proof(sizes: range) -> None:
    """Every leaf of every tree: the proof is the RFC's PATH and verifies; with any hash or its length spoiled, not."""
    for n in sizes:
        root = mth(0, n)
        for m in range(n):
            proof = merkle.build(merkle.plan_inclusion(m, n), NODES)
            assert proof == path(m, 0, n)
            merkle.verify_inclusion(LEAVES[m], m, n, proof, root)
            refused(partial(inclusion, m, n, root), proof)


def test_every_inclusion_proof_refuses_every_other_index() -> None:
    """A proof holds for its own index only, and for its own leaf and root only."""
    for n in range(1, LARGEST + 1):
        root = mth(0, n)
        for m in range(n):
            proof = merkle.build(merkle.plan_inclusion(m, n), NODES)
            others = range(-1, n + 2) if n <= 32 else {m - 1, m + 1, m ^ 2, m ^ 16, n - 1, n, 0, m ^ 1, n - 1 - m}
            for other in others:
                if other != m:
                    must_refuse(merkle.verify_inclusion, LEAVES[m], other, n, proof, root)
            must_refuse(merkle.verify_inclusion, OTHER, m, n, proof, root)
            must_refuse(merkle.verify_inclusion, LEAVES[m], m, n, proof, OTHER)


@given(st.integers(1, 2**63 - 1), st.data())
@settings(deadline=None, max_examples=300)
def test_inclusion_at_any_size(size: int, data: st.DataObject) -> None:
    """Proofs reach up to 2^63 - 1 leaves, the proof being at most 63 hashes."""
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.build(merkle.plan_inclusion(index, size), ALIKE)
    assert len(proof) <= 63
    root = merkle.fold([ALIKE[node] for node in merkle.plan_root(size)])
    merkle.verify_inclusion(OTHER, index, size, proof, root)
    refused(lambda bad: merkle.verify_inclusion(OTHER, index, size, bad, root), proof)


def test_inclusion_arguments() -> None:
    """What a caller gets wrong is ValueError, what a proof gets wrong is ProofInvalid."""
    for index, size in ((0, 0), (-1, 1), (1, 1), (5, 2), (0, 2**63)):
        with pytest.raises(ValueError, match="no leaf"):
            merkle.plan_inclusion(index, size)
        with pytest.raises(ProofInvalid):
            merkle.root_from_inclusion(OTHER, index, size, [])
    with pytest.raises(ProofInvalid, match="33 bytes"):
        merkle.root_from_inclusion(OTHER + b"\0", 0, 1, [])
    with pytest.raises(ValueError, match="not fetched"):
        merkle.build(merkle.plan_inclusion(0, 2), {})


def test_a_byte_may_not_move_between_hashes() -> None:
    """Hashes of 31 and 33 bytes that concatenate to the same node are refused."""
    root = mth(0, 2)
    leaf, sibling = LEAVES[0] + LEAVES[1][:1], LEAVES[1][1:]
    assert sha256(b"\1" + leaf + sibling).digest() == root
    with pytest.raises(ProofInvalid):
        merkle.verify_inclusion(leaf, 0, 2, [sibling], root)
    with pytest.raises(ProofInvalid):
        merkle.root_from_multiproof({0: leaf}, 2, [sibling])


# Consistency ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [range(1, 129), range(129, 193), range(193, LARGEST + 1)], ids=str)
def test_every_consistency_proof(sizes: range) -> None:
    """Every pair of sizes: the proof is the RFC's PROOF and verifies; with any hash or its length spoiled, not."""
    for n in sizes:
        root = mth(0, n)
        for m in range(1, n + 1):
            old = mth(0, m)
            proof = merkle.build(merkle.plan_consistency(m, n), NODES)
            assert proof == subproof(m, 0, n, True)
            merkle.verify_consistency(m, n, old, root, proof)
            refused(partial(merkle.verify_consistency, m, n, old, root), proof)


def test_every_consistency_proof_refuses_every_other_first_size() -> None:
    """A proof holds for its own first size and its own two roots only."""
    for n in range(1, LARGEST + 1):
        root = mth(0, n)
        for m in range(1, n + 1):
            old = mth(0, m)
            proof = merkle.build(merkle.plan_consistency(m, n), NODES)
            others = range(-1, n + 2) if n <= 32 else {m - 1, m + 1, m ^ 1, m ^ 2, m ^ 64, n, 0, n - m}
            for other in others:
                if other != m:
                    must_refuse(merkle.verify_consistency, other, n, old, root, proof)
            must_refuse(merkle.verify_consistency, m, n, OTHER, root, proof)
            must_refuse(merkle.verify_consistency, m, n, old, OTHER, proof)
            if m < n:
                must_refuse(merkle.verify_consistency, m, n, root, old, proof)
                must_refuse(merkle.verify_consistency, n, m, root, old, proof)


def test_consistency_without_a_proof() -> None:
    """From the empty tree and between equal sizes nothing is to be proven, and the roots must fit."""
    empty = merkle.EMPTY_ROOT
    for n in (0, 1, 7, 256):
        root = mth(0, n)
        assert merkle.plan_consistency(0, n) == merkle.plan_consistency(n, n) == []
        merkle.verify_consistency(0, n, empty, root, [])
        merkle.verify_consistency(n, n, root, root, [])
        for bad in ((0, n, empty, root, [OTHER]), (n, n, root, root, [OTHER]), (0, n, OTHER, root, [])):
            must_refuse(merkle.verify_consistency, *bad)
        must_refuse(merkle.verify_consistency, n, n, OTHER, root, [])
        must_refuse(merkle.verify_consistency, n, n, root, OTHER, [])
    must_refuse(merkle.verify_consistency, 0, 0, OTHER, OTHER, [])
    must_refuse(merkle.verify_consistency, 3, 5, mth(0, 3), mth(0, 5), [])
    for first, second in ((-1, 3), (4, 3), (1, 2**63)):
        with pytest.raises(ValueError, match="no tree"):
            merkle.plan_consistency(first, second)


@given(st.integers(1, 2**63 - 1), st.data())
@settings(deadline=None, max_examples=300)
def test_consistency_at_any_size(second: int, data: st.DataObject) -> None:
    """Proofs reach up to 2^63 - 1 leaves, the proof being at most 64 hashes."""
    first = data.draw(st.integers(1, second))
    proof = merkle.build(merkle.plan_consistency(first, second), ALIKE)
    assert len(proof) <= 64
    old, new = (merkle.fold([ALIKE[node] for node in merkle.plan_root(size)]) for size in (first, second))
    merkle.verify_consistency(first, second, old, new, proof)
    refused(lambda bad: merkle.verify_consistency(first, second, old, new, bad), proof)


# Multiproofs ---------------------------------------------------------------------------------------------------------


def check_multiproof(targets: Sequence[int], n: int, *, spoil: bool) -> None:
    leaves = {target: LEAVES[target] for target in targets}
    root = mth(0, n)
    proof = merkle.build(merkle.plan_multiproof(targets, n), NODES)
    assert proof == multi(set(targets), 0, n)
    assert merkle.root_from_multiproof(leaves, n, proof) == root
    if not spoil:
        return

    def check(bad: Sequence[bytes], leaves: Mapping[int, bytes] = leaves) -> None:
        if merkle.root_from_multiproof(leaves, n, bad) != root:
            raise ProofInvalid("another root")

    refused(check, proof)
    for target in targets:
        must_refuse(check, proof, {**leaves, target: OTHER})
        rest = {index: value for index, value in leaves.items() if index != target}
        must_refuse(check, proof, rest)
        for other in (target - 1, target + 1, target ^ 2, n - 1, n):
            if other not in leaves:
                must_refuse(check, proof, {**rest, other: leaves[target]})
                must_refuse(check, proof, {**leaves, other: OTHER})
    if len(targets) > 1:
        one, two = targets[:2]
        must_refuse(check, proof, {**leaves, one: leaves[two], two: leaves[one]})


def test_every_multiproof_of_small_trees() -> None:
    """Every set of targets of every tree of up to 8 leaves, and every pair up to 20, spoiled in every way."""
    for n in range(1, 9):
        for count in range(1, n + 1):
            for targets in combinations(range(n), count):
                check_multiproof(targets, n, spoil=True)
    for n in range(9, 21):
        for targets in combinations(range(n), 2):
            check_multiproof(targets, n, spoil=True)


def test_every_pair_of_middle_trees() -> None:
    """Every pair of targets of every tree of 21 to 64 leaves verifies; a share of them is spoiled in every way."""
    for n in range(21, 65):
        for k, targets in enumerate(combinations(range(n), 2)):
            check_multiproof(targets, n, spoil=k % 29 == 0)


def test_multiproofs_of_every_tree() -> None:
    """Random sets of targets for every tree up to 256 leaves, always with the last leaf as receipts have it."""
    rng = random.Random(6962)
    for n in range(1, LARGEST + 1):
        for count in (1, 2, 3, 5, 17, n):
            targets = rng.sample(range(n), min(count, n))
            check_multiproof(targets, n, spoil=count <= 3)
            check_multiproof(list({*targets, n - 1}), n, spoil=count == 5)


def test_a_multiproof_of_one_leaf_is_its_inclusion_proof() -> None:
    """The same hashes, left to right instead of upwards."""
    for n in (1, 2, 3, 7, 64, 100):
        for m in range(n):
            assert sorted(merkle.plan_inclusion(m, n)) == sorted(merkle.plan_multiproof([m], n))


@given(st.integers(1, 2**63 - 1), st.data())
@settings(deadline=None, max_examples=200)
def test_multiproofs_at_any_size(size: int, data: st.DataObject) -> None:
    """Up to 2^63 - 1 leaves, targets in any order."""
    targets = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=6, unique=True))
    plan = merkle.plan_multiproof(targets, size)
    assert plan == merkle.plan_multiproof(sorted(targets), size)
    proof = merkle.build(plan, ALIKE)
    root = merkle.fold([ALIKE[node] for node in merkle.plan_root(size)])
    assert merkle.root_from_multiproof(dict.fromkeys(targets, OTHER), size, proof) == root
    with pytest.raises(ProofInvalid, match="long"):
        merkle.root_from_multiproof(dict.fromkeys(targets, OTHER), size, [*proof, OTHER])
    if proof:
        with pytest.raises(ProofInvalid, match="short"):
            merkle.root_from_multiproof(dict.fromkeys(targets, OTHER), size, proof[:-1])


def test_multiproof_arguments() -> None:
    """No target, twice the same, or one outside the tree."""
    for targets, size in (([], 5), ([], 0), ([1, 1], 5), ([5], 5), ([-1], 5), ([0], 2**63), ([0], 0)):
        with pytest.raises(ValueError, match="distinct leaves"):
            merkle.plan_multiproof(targets, size)
    for leaves, size in (({}, 5), ({5: OTHER}, 5), ({-1: OTHER}, 5), ({0: OTHER}, 2**63), ({0: OTHER}, 0)):
        with pytest.raises(ProofInvalid):
            merkle.root_from_multiproof(leaves, size, [])


# Other implementations -----------------------------------------------------------------------------------------------

random_entries = st.lists(st.binary(max_size=40), min_size=1, max_size=200)


@given(random_entries)
@settings(deadline=None, max_examples=60)
def test_agrees_with_merkletools(entries: list[bytes]) -> None:
    """merkletools, given RFC 6962's node hash and leaf hashes, has our roots and our inclusion proofs."""
    leaves = merkle.leaf_hashes(entries)
    tools = merkletools.MerkleTools()
    tools.hash_function = lambda data: sha256(b"\x01" + data)
    tools.add_leaf([leaf.hex() for leaf in leaves])
    tools.make_tree()
    root = merkle.tree_hash(leaves)
    assert tools.get_merkle_root() == root.hex()
    nodes = {(h, i): value for h, level in enumerate(merkle.tree_levels(leaves)) for i, value in enumerate(level)}
    for index in {0, len(leaves) // 3, len(leaves) // 2, len(leaves) - 1}:
        proof = merkle.build(merkle.plan_inclusion(index, len(leaves)), nodes)
        theirs = tools.get_proof(index)
        assert [next(iter(step.values())) for step in theirs] == [value.hex() for value in proof]
        assert tools.validate_proof(theirs, leaves[index].hex(), root.hex())


@given(random_entries, st.data())
@settings(deadline=None, max_examples=60)
def test_agrees_with_pymerkle(entries: list[bytes], data: st.DataObject) -> None:
    """pymerkle has our roots at every size, its inclusion proofs are ours, its consistency proofs agree."""
    theirs = pymerkle.InmemoryTree(algorithm="sha256")
    theirs.append_entries(entries)
    leaves = merkle.leaf_hashes(entries)
    nodes = {(h, i): value for h, level in enumerate(merkle.tree_levels(leaves)) for i, value in enumerate(level)}
    second = data.draw(st.integers(1, len(entries)))
    first = data.draw(st.integers(1, second))
    old, root = merkle.tree_hash(leaves[:first]), merkle.tree_hash(leaves[:second])
    assert (theirs.get_root(first), theirs.get_root(second)) == (old, root)

    # It counts leaves from 1 and starts every path with the leaf itself.
    inclusion = theirs.prove_inclusion(first, second)
    assert inclusion.path[1:] == merkle.build(merkle.plan_inclusion(first - 1, second), nodes)
    merkle.verify_inclusion(inclusion.path[0], first - 1, second, inclusion.path[1:], root)

    # It splits [0, first) further than the RFC where that ends at a complete subtree, so the hashes are the RFC's, in
    # another order, for odd first sizes; for all of them it must find our roots consistent, and only those.
    consistency = theirs.prove_consistency(first, second)
    proof = merkle.build(merkle.plan_consistency(first, second), nodes)
    merkle.verify_consistency(first, second, old, root, proof)
    pymerkle.verify_consistency(old, root, consistency, prior_size=first, later_size=second)
    with pytest.raises(pymerkle.InvalidProof):
        pymerkle.verify_consistency(old, OTHER, consistency, prior_size=first, later_size=second)
    if first % 2 and first < second:
        assert sorted(consistency.path) == sorted(proof if first > 1 else [old, *proof])


# Frontier ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 90), max_size=8))
@settings(deadline=None, max_examples=200)
def test_a_frontier_grows_in_any_batches(batches: list[int]) -> None:
    """However the leaves are split into batches: the same root, edge and completed subtrees, each reported once."""
    leaves = [sha256(b"%d" % i).digest() for i in range(sum(batches))]
    frontier = merkle.Frontier()
    seen: dict[merkle.Node, bytes] = {}
    size = 0
    for batch in batches:
        completed = frontier.extend(leaves[size : size + batch])
        for height, level in enumerate(completed):
            assert not seen.keys() & {(height, (size >> height) + i) for i in range(len(level))}
            seen |= {(height, (size >> height) + i): value for i, value in enumerate(level)}
        size += batch
        assert frontier.size == size
        assert frontier.root() == merkle.tree_hash(leaves[:size])
        assert frontier.hashes == [seen[node] for node in merkle.plan_root(size)]
        again = merkle.Frontier(size, frontier.hashes)
        assert (again.size, again.root(), again.hashes) == (size, frontier.root(), frontier.hashes)
        frontier = again
    levels = merkle.tree_levels(leaves)
    assert seen == {(h, i): value for h, level in enumerate(levels) for i, value in enumerate(level)}


def test_a_copy_of_a_frontier_is_independent() -> None:
    """Extending a copy leaves the original alone, and the other way round."""
    frontier = merkle.Frontier()
    frontier.extend(LEAVES[:5])
    assert frontier.root() == mth(0, 5)
    twin = frontier.copy()
    twin.extend(LEAVES[5:9])
    assert (frontier.size, frontier.root()) == (5, mth(0, 5))
    frontier.extend(LEAVES[5:6])
    assert (frontier.size, frontier.root(), twin.size, twin.root()) == (6, mth(0, 6), 9, mth(0, 9))


def test_frontier_arguments() -> None:
    """As many hashes as the size has bits set, 32 bytes each, and no tree past 2^63 - 1 leaves."""
    for size, hashes in ((1, []), (0, [OTHER]), (3, [OTHER]), (1, [b"short"]), (-1, [OTHER]), (2**63, [OTHER])):
        with pytest.raises(ValueError, match="tree"):
            merkle.Frontier(size, hashes)
    full = merkle.Frontier(2**63 - 1, [OTHER] * 63)
    with pytest.raises(ValueError, match="no tree has"):
        full.extend([OTHER])
    assert full.size == 2**63 - 1
    assert full.hashes == [OTHER] * 63
