"""The status tree: against a naive recomputation, at the head and at past heads; proofs; sparseness."""

from __future__ import annotations

import hashlib
import random
import time
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import status
from ledger.entry import LIST_CHUNKS, LIST_SLOTS
from ledger.errors import MalformedInput, ProofInvalid
from ledger.status import ZERO_CHUNK, StatusTree, empty_hash, root_from_status_proof, slot_state, verify_status


def naive_mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word, over leaf data."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_mth(leaves[:k]) + naive_mth(leaves[k:])).digest()


def naive_chunks(lists: int, revoked: Iterable[int], suspended: Iterable[int]) -> list[bytes]:
    """Every chunk of the tree, by writing the bit string of each whole list as the W3C describes it."""
    halves = []
    for slots in (revoked, suspended):
        bits = bytearray(lists * LIST_SLOTS // 8)
        for slot in slots:
            bits[slot // 8] |= 1 << (7 - slot % 8)
        halves.append(bytes(bits))
    return [halves[0][n * 32 : n * 32 + 32] + halves[1][n * 32 : n * 32 + 32] for n in range(lists * LIST_CHUNKS)]


def naive_status_root(lists: int, revoked: Iterable[int], suspended: Iterable[int]) -> bytes:
    """The status root by full recomputation."""
    return naive_mth(naive_chunks(lists, revoked, suspended))


def with_bit(chunk: bytes, slot: int, *, revoked: bool = False, suspended: bool = False) -> bytes:
    bits = bytearray(chunk)
    offset, mask = status.bit(slot)
    for half, on in ((0, revoked), (32, suspended)):
        bits[half + offset] = bits[half + offset] | mask if on else bits[half + offset] & ~mask
    return bytes(bits)


def distinct_tree(lists: int) -> StatusTree:
    """A tree in which every chunk differs from every other."""
    return StatusTree.from_chunks(
        lists, {n: hashlib.sha256(n.to_bytes(4, "big")).digest() + bytes(32) for n in range(lists * LIST_CHUNKS)}
    )


def test_the_tree_without_a_list_is_sha256_of_nothing() -> None:
    """Zero lists: the root is SHA-256 of the empty string."""
    tree = StatusTree.empty()
    assert tree.root == hashlib.sha256(b"").digest()
    assert tree.lists == 0
    assert tree.with_lists(0).root == tree.root


@pytest.mark.parametrize("lists", range(1, 20))
def test_lists_of_any_count_have_the_shape_of_rfc_6962(lists: int) -> None:
    """Counts that are no power of two too, however the lists were opened: at once, one by one, or in two steps."""
    revoked = {0, lists * LIST_SLOTS - 1}
    expected = naive_status_root(lists, revoked, [])
    chunks = {n: c for n, c in enumerate(naive_chunks(lists, revoked, [])) if c != ZERO_CHUNK}
    assert StatusTree.from_chunks(lists, chunks).root == expected
    one_by_one = StatusTree.empty()
    for n in range(1, lists + 1):
        one_by_one = one_by_one.with_lists(n)
        one_by_one, _ = one_by_one.update({k: c for k, c in chunks.items() if k < n * LIST_CHUNKS})
    assert one_by_one.root == expected
    for first in range(1, lists):
        tree, _ = StatusTree.empty().with_lists(first).update({0: chunks[0]})
        assert tree.with_lists(lists).update(chunks)[0].root == expected


def test_empty_hashes_are_the_rfc_6962_hashes_over_zero_chunks() -> None:
    """`empty_hash(level)` is the hash over 2**level zero chunks."""
    for level in range(11):
        assert empty_hash(level) == naive_mth([ZERO_CHUNK] * (1 << level))


actions = st.lists(
    st.one_of(
        st.tuples(st.just("lists"), st.integers(1, 3), st.just(0)),
        st.tuples(st.sampled_from(["revoke", "suspend", "clear"]), st.integers(0, 2**30), st.integers(0, 40)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(actions, st.randoms(use_true_random=False))
def test_random_histories_match_the_naive_tree_at_every_head(
    history: list[tuple[str, int, int]], rng: random.Random
) -> None:
    """After any history the root, chunks, lists and reported nodes are those of a recomputation, and every value
    taken on the way still answers for its own moment."""
    tree, revoked, suspended = StatusTree.empty(), set[int](), set[int]()
    heads = [(tree, 0, frozenset[int](), frozenset[int]())]
    stored: dict[tuple[int, int], bytes] = {}
    for kind, number, near in history:
        before = tree
        if kind == "lists":
            tree = tree.with_lists(min(tree.lists + number, 7))
        elif tree.lists:
            # Half of the slots huddle together, so that chunks hold several bits.
            slot = near * 7 if number % 2 else number % (tree.lists * LIST_SLOTS)
            revoked.discard(slot)
            suspended.discard(slot)
            if kind != "clear":
                (revoked if kind == "revoke" else suspended).add(slot)
            chunk = with_bit(tree.chunk(slot >> 8), slot, revoked=slot in revoked, suspended=slot in suspended)
            tree, changed = tree.update({slot >> 8: chunk})
            assert sorted(changed) == sorted(tree.changes_since(before))
        stored.update({(level, index): value for level, index, value in tree.changes_since(before)})
        heads.append((tree, tree.lists, frozenset(revoked), frozenset(suspended)))
    for old, lists, was_revoked, was_suspended in rng.sample(heads, min(4, len(heads))) + heads[-1:]:
        chunks = naive_chunks(lists, was_revoked, was_suspended)
        assert old.root == naive_mth(chunks)
        assert old.chunks() == {n: c for n, c in enumerate(chunks) if c != ZERO_CHUNK}
        assert StatusTree.from_chunks(lists, old.chunks()).root == old.root
        for n in range(lists):
            whole = b"".join(c[:32] for c in chunks[n * LIST_CHUNKS : (n + 1) * LIST_CHUNKS])
            assert old.list_bits(n, "revocation") == whole
            whole = b"".join(c[32:] for c in chunks[n * LIST_CHUNKS : (n + 1) * LIST_CHUNKS])
            assert old.list_bits(n, "suspension") == whole
    for level in range(13):
        for index in range((LIST_CHUNKS * tree.lists) >> level):
            assert tree.node((level, index)) == stored.get((level, index), empty_hash(level))


def test_changes_since_spans_several_steps_and_new_lists() -> None:
    """What lay between two values does not matter: only nodes that differ are told, each once, and new nodes with a
    bit below them too, though no chunk of theirs changed."""
    chunk = with_bit(ZERO_CHUNK, 5, revoked=True)
    one, _ = StatusTree.empty().with_lists(1).update({3: chunk})
    two = one.with_lists(2)
    assert two.changes_since(one) == [(10, 0, two.node((10, 0)))]
    back_and_forth = two.update({700: chunk})[0].update({700: ZERO_CHUNK})[0]
    assert back_and_forth.changes_since(two) == []
    five = two.with_lists(5).update({2100: chunk})[0]
    told = {(level, index) for level, index, _ in five.changes_since(one)}
    assert told == {(10, 0), (11, 0)} | {(level, 2100 >> level) for level in range(10)}
    cleared, changed = one.update({3: ZERO_CHUNK})
    assert {(level, index): value for level, index, value in changed} == {
        (level, 3 >> level): empty_hash(level) for level in range(10)
    }
    assert cleared.root == StatusTree.empty().with_lists(1).root


def test_an_update_that_changes_nothing_gives_the_same_value() -> None:
    """Chunks equal to what stands there cost nothing and are not told."""
    tree = distinct_tree(2)
    same, changed = tree.update({n: tree.chunk(n) for n in range(0, 1024, 5)})
    assert same is tree
    assert changed == []
    assert tree.update({}) == (tree, [])


def test_update_refuses_what_is_no_chunk_of_the_tree() -> None:
    """A chunk outside the lists, of another length, or fewer lists: programmer errors."""
    tree = StatusTree.empty().with_lists(1)
    for bad in ({512: ZERO_CHUNK}, {-1: ZERO_CHUNK}, {0: bytes(63)}, {0: bytes(65)}):
        with pytest.raises(ValueError):
            tree.update(bad)
    with pytest.raises(ValueError):
        tree.with_lists(0)
    with pytest.raises(ValueError):
        tree.with_lists(2**32 + 1)
    for call in (
        lambda: tree.chunk(512),
        lambda: tree.chunk(-1),
        lambda: tree.node((10, 0)),
        lambda: tree.node((9, 1)),
        lambda: tree.node((-1, 0)),
        lambda: tree.list_bits(1, "revocation"),
        lambda: tree.proof(LIST_SLOTS),
        lambda: tree.proof(-1),
    ):
        with pytest.raises(ValueError):
            call()


@pytest.mark.parametrize("lists", [1, 2, 3, 5, 6, 7])
def test_every_proof_leads_to_the_root(lists: int) -> None:
    """The proof of every chunk verifies, for the first and the last slot of the chunk, and at past values as well."""
    tree = distinct_tree(lists)
    grown = tree.with_lists(lists + 3).update({1: ZERO_CHUNK, 511: ZERO_CHUNK})[0]
    for number in range(0, lists * LIST_CHUNKS, 1 if lists < 3 else 17):
        for slot in (number * 256, number * 256 + 255):
            chunk, proof = tree.proof(slot)
            assert chunk == tree.chunk(number)
            verify_status(slot, chunk, lists, proof, tree.root)
            chunk, proof = grown.proof(slot)
            verify_status(slot, chunk, lists + 3, proof, grown.root)


@pytest.mark.parametrize("lists", [1, 2, 3])
def test_a_proof_verifies_for_no_other_chunk_root_count_or_content(lists: int) -> None:
    """A proof says what one chunk holds under one root: for every other chunk's slot, for any other chunk bytes, with
    another number of lists or under another root it raises, and so it does with any hash altered, missing or added."""
    tree = distinct_tree(lists)
    other_root = tree.update({7: ZERO_CHUNK})[0].root
    total = lists * LIST_CHUNKS
    for number in {0, 1, 255, 256, 511, total - 512, total - 2, total - 1}:
        slot = number * 256 + 77
        chunk, proof = tree.proof(slot)
        verify_status(slot, chunk, lists, proof, tree.root)
        for other in range(total):
            if other == number:
                continue
            for claimed in (chunk, tree.chunk(other)):
                with pytest.raises(ProofInvalid):
                    verify_status(other * 256 + 77, claimed, lists, proof, tree.root)
        for position in range(64):
            altered = bytearray(chunk)
            altered[position] ^= 1 << (number % 8)
            with pytest.raises(ProofInvalid):
                verify_status(slot, bytes(altered), lists, proof, tree.root)
        # A right sibling stands for whatever is below it: RFC 6962 roots do not bind the size, so under a size that
        # asks for the same path the same chunk is proven, and rightly. The count is the status_root entry's to state.
        same_path = {4} if lists == 3 and number < 2 * LIST_CHUNKS else set()
        for count in {lists - 1, lists + 1, 2 * lists, 4 * lists, 0, 2**32, 2**32 + 1, 2**64 - 1, -1} - same_path:
            with pytest.raises(ProofInvalid):
                verify_status(slot, chunk, count, proof, tree.root)
        with pytest.raises(ProofInvalid):
            verify_status(slot, chunk, lists, proof, other_root)
        bad_proofs = [proof[:-1], proof[1:], [*proof, bytes(32)], [*proof, proof[-1]]]
        bad_proofs += [[*proof[:k], bytes(32), *proof[k + 1 :]] for k in range(len(proof))]
        bad_proofs += [[*proof[:k], proof[k][:-1], *proof[k + 1 :]] for k in range(len(proof))]
        for bad in bad_proofs:
            with pytest.raises(ProofInvalid):
                verify_status(slot, chunk, lists, bad, tree.root)
        for wrong in (chunk[:63], chunk + b"\0", b""):
            with pytest.raises(ProofInvalid):
                verify_status(slot, wrong, lists, proof, tree.root)
        with pytest.raises(ProofInvalid):
            root_from_status_proof(total * 256, chunk, lists, proof)
        with pytest.raises(ProofInvalid):
            root_from_status_proof(-1, chunk, lists, proof)


def test_a_proof_of_an_empty_tree_says_nothing_untrue_about_another_slot() -> None:
    """In a tree without bits the siblings of two chunks can be alike, so their proofs may be: what such a proof then
    shows of the other slot is what the tree holds there. With one bit set, no proof shows that slot as clear."""
    tree = StatusTree.empty().with_lists(2).update({3: with_bit(ZERO_CHUNK, 0, revoked=True)})[0]
    for number in range(1024):
        chunk, proof = tree.proof(number * 256)
        for other in range(16):
            try:
                verify_status(other * 256, chunk, 2, proof, tree.root)
            except ProofInvalid:
                assert other != number
            else:
                assert tree.chunk(other) == chunk


def test_slot_state_reads_w3c_bit_order() -> None:
    """Slot k of a chunk is bit k from the left; both bits at once is no state."""
    for k in range(256):
        slot = 5 * LIST_SLOTS + 9 * 256 + k
        expected = (1 << (255 - k)).to_bytes(32, "big")
        assert with_bit(ZERO_CHUNK, slot, revoked=True) == expected + bytes(32)
        assert slot_state(expected + bytes(32), slot) == "revoked"
        assert slot_state(bytes(32) + expected, slot) == "suspended"
        assert slot_state(expected + bytes(32), slot ^ 1) == "active"
        with pytest.raises(MalformedInput):
            slot_state(expected + expected, slot)
    with pytest.raises(MalformedInput):
        slot_state(bytes(63), 0)


def test_slot_arithmetic() -> None:
    """A slot is list x 131,072 + index; its chunk is slot >> 8."""
    slot = 3 * LIST_SLOTS + 70_000
    assert status.list_of(slot) == 3
    assert status.index_in_list(slot) == 70_000
    assert status.chunk_number(slot) == 3 * LIST_CHUNKS + 70_000 // 256
    assert status.list_of(2**64 - 1) == 2**47 - 1


def test_near_empty_lists_cost_little_memory() -> None:
    """10,000 lists with one bit each take some 20 MB, not the 480 MB of whole trees; without a bit, next to nothing."""
    tracemalloc.start()
    try:
        empty = StatusTree.empty().with_lists(10_000)
        assert tracemalloc.get_traced_memory()[0] < 20_000
        chunks = {n * LIST_CHUNKS + n % 512: with_bit(ZERO_CHUNK, n, revoked=True) for n in range(10_000)}
        before = tracemalloc.get_traced_memory()[0]
        tree = empty.update(chunks)[0]
        assert tracemalloc.get_traced_memory()[0] - before < 32_000_000
    finally:
        tracemalloc.stop()
    assert tree.chunks() == chunks


def test_an_update_touches_only_paths() -> None:
    """One chunk among 10,000 lists changes one node a level; the rest is shared with the value before."""
    tree = StatusTree.empty().with_lists(10_000)
    _, changed = tree.update({4_000_000: with_bit(ZERO_CHUNK, 0, revoked=True)})
    assert sorted((level, index) for level, index, _ in changed) == [(k, 4_000_000 >> k) for k in range(len(changed))]
    assert len(changed) <= 24
    numbers = range(0, 10_000 * LIST_CHUNKS, 5120)
    _, changed = tree.update({n: with_bit(ZERO_CHUNK, 0, revoked=True) for n in numbers})
    assert len(changed) <= len(numbers) * 24


def test_rebuilding_from_chunks_is_fast() -> None:
    """A restart reads the chunks of a big log in seconds: far below 100 microseconds a chunk even on a slow machine."""
    chunks = {n * 97: with_bit(ZERO_CHUNK, n, revoked=True) for n in range(20_000)}
    started = time.perf_counter()
    StatusTree.from_chunks(4_000, chunks)
    assert (time.perf_counter() - started) / len(chunks) < 100e-6
