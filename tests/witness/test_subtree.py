"""sign-subtree: the proofs of draft-ietf-plants-merkle-tree-certs-03 section 4.4, every status, and what is signed."""

from __future__ import annotations

import random

import pytest

from ledger.cosignature import mldsa_message, verify_cosignature
from ledger.errors import MalformedBody, ProofInvalid
from ledger.keyfile import WITNESS_MLDSA44, PrivateKey
from ledger.merkle import build, plan_consistency, plan_inclusion, tree_hash, tree_levels
from ledger.note import Note, format_note, parse_note
from ledger.signing import verify_mldsa44
from ledger.tlogwitness import SignSubtree, format_sign_subtree, parse_cosignatures
from ledger.witness import Witness
from ledger.witness.subtree import verify_subtree
from tests.fakes import FakeClock
from tests.witness.conftest import MakeWitness
from tests.witness.logs import ED_KEY, PQ_KEY, Log, seed, subtree_proof

PQ = PQ_KEY.verifier_key()
LEAVES = Log(size=40).leaves


def subtrees(size: int) -> list[tuple[int, int]]:
    """Every subtree of a tree."""
    found = []
    for start in range(size):
        for end in range(start + 1, size + 1):
            power = 1
            while power < end - start:
                power *= 2
            if start % power == 0:
                found.append((start, end))
    return found


# The proofs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, 41))
def test_every_subtree_of_every_small_tree_is_proven(size: int) -> None:
    """By the proof that the draft's recursion makes, and by no changed, shorter or longer one, nor for another hash."""
    leaves = LEAVES[:size]
    root = tree_hash(leaves)
    other = bytes(32)
    for start, end in subtrees(size):
        node, proof = tree_hash(leaves[start:end]), subtree_proof(start, end, leaves)
        verify_subtree(start, end, size, node, root, proof)
        wrong = [[*proof[:k], other, *proof[k + 1 :]] for k in range(len(proof))]
        wrong += [proof[:-1]] if proof else []
        wrong += [[*proof, other], [other, *proof]]
        for changed in wrong:
            with pytest.raises(ProofInvalid):
                verify_subtree(start, end, size, node, root, changed)
        for bad_node, bad_root in ((other, root), (node, other)):
            with pytest.raises(ProofInvalid):
                verify_subtree(start, end, size, bad_node, bad_root, proof)


def test_from_zero_it_is_a_consistency_proof_and_of_one_leaf_an_inclusion_proof() -> None:
    """As the draft says, and as ledger/merkle.py makes them."""
    for size in range(1, 41):
        leaves = LEAVES[:size]
        nodes = {(lv, at): node for lv, row in enumerate(tree_levels(leaves)) for at, node in enumerate(row)}
        for end in range(1, size + 1):
            assert subtree_proof(0, end, leaves) == build(plan_consistency(end, size), nodes)
        for index in range(size):
            assert subtree_proof(index, index + 1, leaves) == build(plan_inclusion(index, size), nodes)


def test_the_example_of_the_draft() -> None:
    """[8, 13) of 14 leaves: the proof has the hash of [12, 13), that of 13, of [8, 12) and of [0, 8)."""
    leaves = LEAVES[:14]
    expected = [leaves[12], leaves[13], tree_hash(leaves[8:12]), tree_hash(leaves[:8])]
    assert subtree_proof(8, 13, leaves) == expected
    verify_subtree(8, 13, 14, tree_hash(leaves[8:13]), tree_hash(leaves), expected)


@pytest.mark.parametrize(
    ("start", "end", "size"), [(0, 0, 4), (3, 3, 4), (2, 1, 4), (-2, 1, 4), (0, 5, 4), (1, 3, 4), (2, 5, 8), (4, 9, 9)]
)
def test_what_is_no_subtree_is_refused(start: int, end: int, size: int) -> None:
    """Whatever the proof."""
    with pytest.raises(ProofInvalid, match="no subtree"):
        verify_subtree(start, end, size, bytes(32), bytes(32), [])


def test_large_sizes_end() -> None:
    """Up to 2^63 - 1 leaves, with proofs of every length, nothing but ProofInvalid comes out."""
    source = random.Random(5)
    for _ in range(2000):
        size = source.randrange(1, 2**63)
        width = 1 << source.randrange(size.bit_length())
        start = source.randrange(size // width + 1) * width
        end = min(size, start + source.randrange(1, width + 1))
        if start < end:
            with pytest.raises(ProofInvalid):
                verify_subtree(start, end, size, bytes(32), b"\1" * 32, [b"\2" * 32] * source.randrange(64))


def test_hashes_have_32_bytes() -> None:
    """So that bytes cannot move between neighbours."""
    leaves = LEAVES[:6]
    proof = subtree_proof(0, 4, leaves)
    with pytest.raises(ProofInvalid, match="32 bytes"):
        verify_subtree(0, 4, 6, tree_hash(leaves[:4]), tree_hash(leaves), [proof[0] + b"x"])


# The endpoint --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def cosigned(witness: Witness, log: Log) -> bytes:
    """A head of 14 leaves as the witness cosigned it, without the log's signature."""
    answer = await witness.add_checkpoint(log.submission(0, 14))
    return format_note(Note(log.text(14), parse_cosignatures(answer.body)))


def body(log: Log, start: int, end: int, note: bytes, size: int = 14) -> bytes:
    """The request for leaves [start, end)."""
    proof = tuple(subtree_proof(start, end, log.leaves[:size]))
    return format_sign_subtree(SignSubtree(start, end, tree_hash(log.leaves[start:end]), proof, note))


async def test_every_subtree_is_cosigned(witness: Witness, log: Log, cosigned: bytes) -> None:
    """By ML-DSA-44 alone, with timestamp zero, over range and hash."""
    for start, end in subtrees(14):
        answer = witness.sign_subtree(body(log, start, end, cosigned))
        assert answer.status == 200, answer
        (line,) = parse_cosignatures(answer.body)
        assert line.is_by(PQ)
        assert line.signature[:8] == bytes(8)
        root = tree_hash(log.leaves[start:end])
        verify_mldsa44(PQ.public_key, mldsa_message(PQ.name, 0, log.origin, start, end, root), line.signature[8:])


async def test_the_reference_may_be_old_and_hold_other_lines(witness: Witness, log: Log, cosigned: bytes) -> None:
    """Whatever this witness cosigned once is a prefix of whatever it cosigns later; unknown lines do not matter."""
    await witness.add_checkpoint(log.submission(14, 40))
    assert witness.sign_subtree(body(log, 8, 13, cosigned)).status == 200
    with_log = log.note(14, *parse_note(cosigned).signatures)
    assert witness.sign_subtree(body(log, 8, 13, with_log)).status == 200
    assert witness.sign_subtree(body(log, 32, 40, witness.checkpoint(log.origin), 40)).status == 200


async def test_a_range_that_is_no_subtree_is_400(witness: Witness, log: Log, cosigned: bytes) -> None:
    """Or ends behind the checkpoint, or a body or note that cannot be read."""
    good = body(log, 8, 13, cosigned)
    assert good.startswith(b"subtree 8 13\n")
    for head in (b"subtree 8 8\n", b"subtree 9 13\n", b"subtree 8 15\n", b"subtree 08 13\n", b"subtree 13 8\n", b""):
        assert witness.sign_subtree(good.replace(b"subtree 8 13\n", head)).status == 400, head
    assert witness.sign_subtree(good[:-1]).status == 400
    assert witness.sign_subtree(good.replace(b"\n14\n", b"\n014\n")).status == 400
    assert witness.sign_subtree(b"x" * 70_000).status == 413
    with pytest.raises(MalformedBody):
        SignSubtree(8, 8, bytes(32), (), cosigned)


async def test_an_unknown_origin_is_404(witness: Witness, log: Log, cosigned: bytes) -> None:
    """Before anything is verified."""
    assert witness.sign_subtree(body(log, 8, 13, cosigned).replace(b"log.example/1\n", b"x\n")).status == 404


async def test_a_proof_that_does_not_hold_is_422(witness: Witness, log: Log, cosigned: bytes) -> None:
    """Another subtree's hash, a hash changed, none."""
    other = tree_hash(log.leaves[:5])
    proof = tuple(subtree_proof(8, 13, log.leaves[:14]))
    for root, hashes in ((other, proof), (tree_hash(log.leaves[8:13]), proof[::-1]), (other, ())):
        assert witness.sign_subtree(format_sign_subtree(SignSubtree(8, 13, root, hashes, cosigned))).status == 422


async def test_only_what_this_witness_cosigned_is_a_reference(
    make: MakeWitness, witness: Witness, log: Log, cosigned: bytes
) -> None:
    """Not the log's own signature, not another witness's, not a changed line, not another head under its lines, and not
    its Ed25519 line alone: who can forge that would get a subtree signed by the stronger key."""
    ed, pq = parse_note(cosigned).signatures
    stranger = make(log.listed(), state="other.db", keys=(PrivateKey(WITNESS_MLDSA44, seed("stranger"), name=PQ.name),))
    await stranger.add_checkpoint(log.submission(0, 14))
    changed = type(pq)(pq.name, pq.key_id, pq.signature[:-1] + bytes([pq.signature[-1] ^ 1]))
    short = type(pq)(pq.name, pq.key_id, pq.signature[:-1])
    fork = Log(branch="other", fork=3)
    for note in (
        log.note(14),
        stranger.checkpoint(log.origin),
        format_note(Note(log.text(14), (changed,))),
        format_note(Note(log.text(14), (pq, changed))),
        format_note(Note(log.text(14), (short,))),
        format_note(Note(log.text(14), (ed,))),
    ):
        assert witness.sign_subtree(body(log, 8, 13, note)).status == 403
    assert witness.sign_subtree(body(fork, 8, 13, format_note(Note(fork.text(14), (ed, pq))))).status == 403
    assert witness.sign_subtree(body(log, 8, 13, format_note(Note(log.text(14), (pq,))))).status == 200


async def test_a_subtree_from_zero_is_a_reference_again(witness: Witness, log: Log, cosigned: bytes) -> None:
    """Signed with timestamp zero it says that the tree is consistent, which is all that is asked here."""
    (line,) = parse_cosignatures(witness.sign_subtree(body(log, 0, 9, cosigned)).body)
    assert verify_cosignature(log.head(9), PQ, line) == 0
    assert witness.sign_subtree(body(log, 4, 8, format_note(Note(log.text(9), (line,))), 9)).status == 200


async def test_a_witness_without_mldsa44_signs_none(make: MakeWitness, log: Log) -> None:
    """The interface is optional: 404."""
    witness = make(log.listed(), keys=(ED_KEY,))
    await witness.add_checkpoint(log.submission(0, 14))
    assert witness.sign_subtree(body(log, 8, 13, witness.checkpoint(log.origin))).status == 404


async def test_subtrees_are_bounded_apart_from_heads(make: MakeWitness, clock: FakeClock) -> None:
    """Anybody can ask for them: ten at once with 240 a day, and new heads are still cosigned."""
    log = Log(qpd=240)
    witness = make(log.listed(), keys=(PQ_KEY,))
    await witness.add_checkpoint(log.submission(0, 14))
    asked = body(log, 8, 13, witness.checkpoint(log.origin))
    assert [witness.sign_subtree(asked).status for _ in range(12)] == [200] * 10 + [503] * 2
    assert (await witness.add_checkpoint(log.submission(14, 15))).status == 200
    clock.passed_s += 361
    assert witness.sign_subtree(asked).status == 200
