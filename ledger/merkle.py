"""RFC 6962 section 2.1 Merkle trees: hashes, inclusion, consistency and multiproofs (RFC 9162 section 2.1).

    leaf  SHA-256(00 ‖ entry)     node  SHA-256(01 ‖ left ‖ right)     empty tree  SHA-256 of nothing

A proof is a list of 32-byte hashes. The leaves under one of them need not make a complete subtree, and only complete
ones are stored. So proofs come in three steps: *plan* names the complete subtrees that are needed, the caller fetches
them, *build* folds them into the proof. *Verifying* needs only the proof.

    inclusion, consistency   from the leaf upwards, as in RFC 6962 sections 2.1.1 and 2.1.2
    multiproof               in the order in which f(0, size) asks:
        f(lo, hi):  no target in [lo, hi) -> next hash;  hi - lo == 1 -> the target's leaf hash
                    k = largest power of 2 below hi - lo;  SHA-256(01 ‖ f(lo, lo + k) ‖ f(lo + k, hi))

A proof binds leaf, index and root, not the size (leaf 0 of 3 and leaf 0 of 4 have proofs of the same shape): whoever
trusts a root must have it together with its size, as a checkpoint states it.

Sizes run from 0 to 2^63 - 1. What a prover may have got wrong raises ProofInvalid; what only a caller can, ValueError.
This module stores nothing and does not know tiles (ledger.tiles).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from ledger.errors import ProofInvalid

HASH_BYTES: Final = 32
MAX_SIZE: Final = 2**63 - 1
#: The root of the tree without leaves.
EMPTY_ROOT: Final = sha256(b"").digest()

#: (level, index): the complete subtree over leaves [index << level, (index + 1) << level).
Node = tuple[int, int]
#: One inner list per hash of the proof; its nodes, left to right, fold into that hash.
Plan = list[list[Node]]


def leaf_hash(data: bytes) -> bytes:
    """The 32-byte hash of one entry."""
    return sha256(b"\x00" + data).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """The 32-byte hashes of entries, in order."""
    return [sha256(b"\x00" + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """The 32-byte hash of an inner node over two 32-byte hashes."""
    return sha256(b"\x01" + left + right).digest()


def _pair_hashes(level: Sequence[bytes]) -> list[bytes]:
    """The nodes over neighbours; an odd last one is left out.

    Most of the ledger's time goes into this line: two slices and one comprehension beat every loop that counts.
    """
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """The root (MTH) over leaf hashes of 32 bytes each; EMPTY_ROOT for none."""
    if not leaves:
        return EMPTY_ROOT
    level = leaves
    while len(level) > 1:
        above = _pair_hashes(level)
        if len(level) & 1:
            # Halving with the odd one carried up unchanged splits at the same powers of two as the RFC's recursion.
            above.append(level[-1])
        level = above
    return level[0]


def tree_levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Every complete subtree: list `h` holds the hashes of those of height `h`, left to right; list 0 is the leaves.

    `max(1, len(leaves).bit_length())` lists; node (h, i) is `levels[h][i]`.
    """
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        levels.append(_pair_hashes(levels[-1]))
    return levels


def fold(hashes: Sequence[bytes]) -> bytes:
    """One hash from the subtrees that make up a range, left to right, bigger before smaller; EMPTY_ROOT for none."""
    if not hashes:
        return EMPTY_ROOT
    folded = hashes[-1]
    for left in hashes[-2::-1]:
        folded = sha256(b"\x01" + left + folded).digest()
    return folded


# Plan and build ------------------------------------------------------------------------------------------------------


def nodes_for_range(lo: int, hi: int) -> list[Node]:
    """The complete subtrees over [lo, hi), left to right: they fold into the hash of the tree's node over that range.

    `lo` is where a node of some tree starts: a multiple of the least power of two that is at least hi - lo.
    Raises ValueError if it is not, or if 0 <= lo <= hi <= 2^63 - 1 does not hold.
    """
    if not 0 <= lo <= hi <= MAX_SIZE:
        raise ValueError(f"no range of leaves: [{lo}, {hi})")
    if hi > lo and lo & ((1 << (hi - lo - 1).bit_length()) - 1):
        raise ValueError(f"no node of a tree covers [{lo}, {hi})")
    width = hi - lo
    if width and not width & (width - 1):
        # Nearly every range of a plan: one complete subtree.
        level = width.bit_length() - 1
        return [(level, lo >> level)]
    nodes = []
    while lo < hi:
        level = (hi - lo).bit_length() - 1
        nodes.append((level, lo >> level))
        lo += 1 << level
    return nodes


def plan_root(size: int) -> list[Node]:
    """The subtrees that fold into the root of a tree of `size` leaves. Raises ValueError for a size out of range."""
    return nodes_for_range(0, size)


def plan_inclusion(index: int, size: int) -> Plan:
    """RFC 6962 PATH(index, D[size]). Raises ValueError unless 0 <= index < size <= 2^63 - 1."""
    if not 0 <= index < size <= MAX_SIZE:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    lo, hi = 0, size
    plan = []
    while hi - lo > 1:
        middle = lo + split(hi - lo)
        if index < middle:
            plan.append(nodes_for_range(middle, hi))
            hi = middle
        else:
            plan.append(nodes_for_range(lo, middle))
            lo = middle
    plan.reverse()
    return plan


def plan_consistency(first: int, second: int) -> Plan:
    """RFC 6962 PROOF(first, D[second]); empty where there is nothing to prove: first is 0 or equals second.

    Raises ValueError unless 0 <= first <= second <= 2^63 - 1.
    """
    if not 0 <= first <= second <= MAX_SIZE:
        raise ValueError(f"no tree of {first} leaves in one of {second}")
    if first in (0, second):
        return []
    lo, hi = 0, second
    plan = []
    while hi != first:
        middle = lo + split(hi - lo)
        if first <= middle:
            plan.append(nodes_for_range(middle, hi))
            hi = middle
        else:
            plan.append(nodes_for_range(lo, middle))
            lo = middle
    if lo:
        # Never having turned right, [0, first) is one node: the verifier has its hash already, the first root.
        plan.append(nodes_for_range(lo, hi))
    plan.reverse()
    return plan


def plan_multiproof(targets: Iterable[int], size: int) -> Plan:
    """The proof of several leaves at once, in the order of the module's recursion; the order of `targets` is free.

    Raises ValueError for no target, two alike, one outside 0..size - 1, or a size above 2^63 - 1.
    """
    wanted = sorted(targets)
    if not wanted or wanted[0] < 0 or wanted[-1] >= size or size > MAX_SIZE or len(set(wanted)) != len(wanted):
        raise ValueError(f"targets must be distinct leaves of a tree of {size}: {wanted[:8]}")
    plan: Plan = []

    def walk(lo: int, hi: int, start: int, stop: int) -> None:
        if start == stop:
            plan.append(nodes_for_range(lo, hi))
        elif hi - lo > 1:
            middle = lo + split(hi - lo)
            cut = bisect_left(wanted, middle, start, stop)
            walk(lo, middle, start, cut)
            walk(middle, hi, cut, stop)

    walk(0, size, 0, len(wanted))
    return plan


def build(plan: Plan, hashes: Mapping[Node, bytes]) -> list[bytes]:
    """The proof: one 32-byte hash per inner list of the plan. Raises ValueError if a planned node is missing."""
    try:
        return [hashes[nodes[0]] if len(nodes) == 1 else fold([hashes[node] for node in nodes]) for nodes in plan]
    except KeyError as error:
        raise ValueError(f"node {error.args[0]} was planned and not fetched") from error


# Verify --------------------------------------------------------------------------------------------------------------


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to from a 32-byte leaf hash.

    Raises ProofInvalid for an index outside the tree, a hash that is not 32 bytes, or a proof too short or too long.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofInvalid(f"no leaf {index} in a tree of {size}")
    _check_hashes([leaf, *proof])
    # RFC 9162 section 2.1.3.2: level by level, `node` is the position of our node and `last` of the rightmost one.
    node, last = index, size - 1
    root = leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalid("the inclusion proof is too long")
        if node & 1 or node == last:
            root = sha256(b"\x01" + sibling + root).digest()
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            root = sha256(b"\x01" + root + sibling).digest()
        node >>= 1
        last >>= 1
    if last:
        raise ProofInvalid("the inclusion proof is too short")
    return root


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Leaf hash `leaf` is number `index` of the tree of `size` leaves with this root. Raises ProofInvalid."""
    if root_from_inclusion(leaf, index, size, proof) != root:
        raise ProofInvalid(f"the inclusion proof of leaf {index} does not lead to the root of the tree of {size}")


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> None:
    """The tree of `second` leaves begins with the one of `first`. Raises ProofInvalid.

    Equal sizes need equal roots and no proof; from the empty tree, no proof and EMPTY_ROOT.
    """
    if not 0 <= first <= second <= MAX_SIZE:
        raise ProofInvalid(f"a tree of {second} leaves does not extend one of {first}")
    _check_hashes([first_root, second_root, *proof])
    if first in (0, second):
        if proof:
            raise ProofInvalid("the consistency proof must be empty")
        if first_root != (second_root if first else EMPTY_ROOT) or (second == 0 and second_root != EMPTY_ROOT):
            raise ProofInvalid(f"two different roots for a tree of {first} leaves")
        return
    if not proof:
        raise ProofInvalid("the consistency proof is empty")
    # A first tree that is one complete subtree is left out of the proof: its root is at hand.
    start, rest = (first_root, proof) if first & (first - 1) == 0 else (proof[0], proof[1:])
    first_seen, second_seen = roots_from_consistency(first, second, start, rest)
    if first_seen != first_root:
        raise ProofInvalid(f"the consistency proof does not lead to the root of the tree of {first}")
    if second_seen != second_root:
        raise ProofInvalid(f"the consistency proof does not lead to the root of the tree of {second}")


def roots_from_consistency(first: int, second: int, start: bytes, rest: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots of the first and the second tree that a consistency proof leads to (RFC 9162 section 2.1.4.2).

    `start` is the hash of the last complete subtree of the first tree, the proof's first hash; where the first tree is
    one complete subtree the proof leaves it out, since it is the first root. Raises ProofInvalid unless
    0 < first < second <= 2^63 - 1, for a hash that is not 32 bytes, or a proof too short or too long.
    """
    if not 0 < first < second <= MAX_SIZE:
        raise ProofInvalid(f"no proof leads from a tree of {first} leaves to one of {second}")
    _check_hashes([start, *rest])
    node, last = first - 1, second - 1
    while node & 1:
        node >>= 1
        last >>= 1
    first_seen = second_seen = start
    for sibling in rest:
        if last == 0:
            raise ProofInvalid("the consistency proof is too long")
        if node & 1 or node == last:
            first_seen = sha256(b"\x01" + sibling + first_seen).digest()
            second_seen = sha256(b"\x01" + sibling + second_seen).digest()
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            second_seen = sha256(b"\x01" + second_seen + sibling).digest()
        node >>= 1
        last >>= 1
    if last:
        raise ProofInvalid("the consistency proof is too short")
    return first_seen, second_seen


def root_from_multiproof(leaves: Mapping[int, bytes], size: int, proof: Sequence[bytes]) -> bytes:
    """The root that a multiproof leads to from leaf hashes by index.

    Raises ProofInvalid for no leaf, one outside the tree, a hash that is not 32 bytes, or hashes missing or left over.
    """
    wanted = sorted(leaves)
    if not wanted or wanted[0] < 0 or wanted[-1] >= size or size > MAX_SIZE:
        raise ProofInvalid(f"the multiproof's leaves are not leaves of a tree of {size}: {wanted[:8]}")
    _check_hashes([*leaves.values(), *proof])
    remaining = iter(proof)

    def walk(lo: int, hi: int, start: int, stop: int) -> bytes:
        if start == stop:
            sibling = next(remaining, None)
            if sibling is None:
                raise ProofInvalid("the multiproof is too short")
            return sibling
        if hi - lo == 1:
            return leaves[lo]
        middle = lo + split(hi - lo)
        cut = bisect_left(wanted, middle, start, stop)
        left = walk(lo, middle, start, cut)
        return sha256(b"\x01" + left + walk(middle, hi, cut, stop)).digest()

    root = walk(0, size, 0, len(wanted))
    if next(remaining, None) is not None:
        raise ProofInvalid("the multiproof is too long")
    return root


def split(width: int) -> int:
    """The largest power of two below `width`, which is at least 2: where RFC 6962 splits."""
    return 1 << ((width - 1).bit_length() - 1)


def _check_hashes(hashes: Iterable[bytes]) -> None:
    """Every hash is 32 bytes: otherwise bytes could move between neighbours without changing what is hashed."""
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise ProofInvalid(f"a hash of {len(value)} bytes, not {HASH_BYTES}")


# Growing -------------------------------------------------------------------------------------------------------------


class Frontier:
    """A tree that only grows, as the complete subtrees at its right edge (a compact range): at most 63 hashes.

    `hashes` has one 32-byte hash per bit set in `size`, biggest subtree first. Raises ValueError otherwise.
    """

    __slots__ = ("_pending", "_root", "size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if not 0 <= size <= MAX_SIZE:
            raise ValueError(f"no tree has {size} leaves")
        if len(hashes) != size.bit_count() or any(len(value) != HASH_BYTES for value in hashes):
            raise ValueError(
                f"a tree of {size} leaves has {size.bit_count()} complete subtrees at its edge, 32 bytes each"
            )
        self.size = size
        #: By height: the complete subtree that waits for its right neighbour, b"" if none does.
        self._pending = [b""] * size.bit_length()
        for (level, _), value in zip(plan_root(size), hashes, strict=True):
            self._pending[level] = value
        self._root: bytes | None = None

    @property
    def hashes(self) -> list[bytes]:
        """The complete subtrees, left to right, big to small."""
        return [value for value in reversed(self._pending) if value]

    def extend(self, leaf_hashes: Sequence[bytes]) -> list[Sequence[bytes]]:
        """Append leaves of 32 bytes each (not checked: this is the hot path).

        Returns the subtrees that this completed: list `h` those of height `h`, the first being number `old size >> h`;
        list 0 is the argument. Every one is hashed once. Raises ValueError, changing nothing, past 2^63 - 1 leaves.
        """
        size = self.size + len(leaf_hashes)
        if size > MAX_SIZE:
            raise ValueError(f"no tree has {size} leaves")
        pending = self._pending
        pending.extend([b""] * (size.bit_length() - len(pending)))
        completed: list[Sequence[bytes]] = []
        nodes = leaf_hashes
        while nodes:
            waiting = pending[len(completed)]
            level = [waiting, *nodes] if waiting else nodes
            pending[len(completed)] = level[-1] if len(level) & 1 else b""
            completed.append(nodes)
            nodes = _pair_hashes(level)
        self.size = size
        self._root = None
        return completed

    def root(self) -> bytes:
        """The 32-byte root, at most 62 hashes after an `extend` and none when asked again."""
        if self._root is None:
            self._root = fold(self.hashes)
        return self._root

    def copy(self) -> Frontier:
        """An independent copy."""
        twin = Frontier()
        twin.size = self.size
        twin._pending = self._pending.copy()
        twin._root = self._root
        return twin
