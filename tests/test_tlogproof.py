"""ledger.tlogproof: c2sp.org/tlog-proof files, read strictly and verified offline."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.cosignature import cosign
from ledger.errors import MalformedInput, MalformedNote, ProofInvalid, QuorumNotMet, SignatureInvalid, Stale
from ledger.merkle import build, leaf_hash, plan_inclusion, tree_hash, tree_levels
from ledger.note import Note, VerifierKey, format_note, format_vkey, sign_note
from ledger.policy import parse_policy
from ledger.signing import Ed25519Key
from ledger.tlogproof import TlogProof, format_tlog_proof, parse_tlog_proof, verify_tlog_proof

ORIGIN = "example.com/fancylog"
LOG = Ed25519Key.from_seed(b"\x01" * 32)
WITNESS = Ed25519Key.from_seed(b"\x02" * 32)
NOW = 1_800_000_000
POLICY = parse_policy(
    f"log {format_vkey(VerifierKey(ORIGIN, 1, LOG.public_key))}\n"
    f"witness w {format_vkey(VerifierKey('witness1.example', 4, WITNESS.public_key))}\n"
    "quorum w\n"
)
LEAVES = [leaf_hash(b"entry %d" % k) for k in range(21)]
LEVELS = tree_levels(LEAVES)
NODES = {(level, index): node for level, nodes in enumerate(LEVELS) for index, node in enumerate(nodes)}


def root_of(size: int) -> bytes:
    return tree_hash(LEAVES[:size])


def checkpoint(size: int = 21, root: bytes | None = None, cosigned_s: int = NOW) -> bytes:
    head = Checkpoint(ORIGIN, size, root or root_of(size))
    text = format_checkpoint(head)
    lines = (sign_note(text, ORIGIN, LOG), cosign(head, "witness1.example", WITNESS, cosigned_s))
    return format_note(Note(text, lines))


def proof(index: int = 13, size: int = 21, extra: bytes | None = None) -> TlogProof:
    return TlogProof(index, tuple(build(plan_inclusion(index, size), NODES)), checkpoint(size), extra)


def verify(data: bytes, leaf: bytes = LEAVES[13], max_age_s: int | None = None) -> None:
    verify_tlog_proof(leaf, parse_tlog_proof(data), POLICY, now_s=NOW, max_age_s=max_age_s)


PROOF = proof()
DATA = format_tlog_proof(PROOF)


def test_the_form_of_the_specification() -> None:
    """Header, extra, index, hashes, empty line, checkpoint verbatim."""
    found = format_tlog_proof(TlogProof(73894, (b"a" * 32, b"b" * 32), b"the note", b"extra data"))
    assert found == (
        b"c2sp.org/tlog-proof@v1\nextra ZXh0cmEgZGF0YQ==\nindex 73894\n"
        + base64.b64encode(b"a" * 32)
        + b"\n"
        + base64.b64encode(b"b" * 32)
        + b"\n\nthe note"
    )
    assert parse_tlog_proof(found) == TlogProof(73894, (b"a" * 32, b"b" * 32), b"the note", b"extra data")


@pytest.mark.parametrize("size", [1, 2, 3, 8, 20, 21])
def test_every_leaf_verifies(size: int) -> None:
    """For every leaf of some trees, without hashes for a tree of one; with any other leaf's hash it does not."""
    for index in range(size):
        made = proof(index, size)
        data = format_tlog_proof(made)
        assert parse_tlog_proof(data) == made
        verify(data, LEAVES[index])
        for other in range(size):
            if other != index:
                with pytest.raises(ProofInvalid):
                    verify(data, LEAVES[other])


def test_the_evaluation_is_handed_back() -> None:
    """The caller learns which witnesses cosigned and when."""
    found = verify_tlog_proof(LEAVES[13], PROOF, POLICY, now_s=NOW)
    assert found.witnesses == {"w": NOW}
    assert found.timestamp_s == NOW
    assert found.log.name == ORIGIN


def test_every_changed_byte_is_refused() -> None:
    """Flip any bit, remove any byte: refused, since every hash, the index and both signatures are needed."""
    for position in range(len(DATA)):
        changed = [DATA[:position] + bytes([DATA[position] ^ 1 << bit]) + DATA[position + 1 :] for bit in range(8)]
        for data in (*changed, DATA[:position] + DATA[position + 1 :], DATA[:position]):
            with pytest.raises((MalformedInput, MalformedNote, ProofInvalid, SignatureInvalid, QuorumNotMet)):
                verify(data)


def test_hashes_cannot_be_added_removed_or_swapped() -> None:
    """The proof is consumed exactly."""
    hashes = PROOF.proof
    for other in (hashes[:-1], hashes[1:], (*hashes, bytes(32)), (hashes[1], hashes[0], *hashes[2:]), ()):
        with pytest.raises(ProofInvalid):
            verify(format_tlog_proof(TlogProof(13, other, PROOF.checkpoint)))
    for index in (12, 14, 21, 2**62):
        with pytest.raises(ProofInvalid):
            verify(format_tlog_proof(TlogProof(index, hashes, PROOF.checkpoint)))


def test_the_root_is_the_signed_one() -> None:
    """A good proof under a signed head with another root does not verify."""
    with pytest.raises(ProofInvalid):
        verify(format_tlog_proof(TlogProof(13, PROOF.proof, checkpoint(root=bytes(32)))))


def test_the_policy_decides() -> None:
    """Quorum and freshness as in evaluate."""
    old = format_tlog_proof(TlogProof(13, PROOF.proof, checkpoint(cosigned_s=NOW - 100)))
    verify(old)
    verify(old, max_age_s=100)
    with pytest.raises(Stale):
        verify(old, max_age_s=99)
    strict = parse_policy(
        f"log {format_vkey(VerifierKey(ORIGIN, 1, LOG.public_key))}\n"
        f"witness x {format_vkey(VerifierKey('other', 4, LOG.public_key))}\nquorum x\n"
    )
    with pytest.raises(QuorumNotMet):
        verify_tlog_proof(LEAVES[13], PROOF, strict, now_s=NOW)


def test_extra_data_are_not_authenticated() -> None:
    """Anything there changes nothing; none and no bytes are told apart."""
    for extra in (None, b"", b"x", bytes(range(256))):
        data = format_tlog_proof(proof(extra=extra))
        assert parse_tlog_proof(data).extra == extra
        verify(data)


HASH = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "c2sp.org/tlog-proof@v1",
        "c2sp.org/tlog-proof@v1\n",
        "c2sp.org/tlog-proof@v1\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 0\n",
        "c2sp.org/tlog-proof@v1\nindex 0\nnote",
        "c2sp.org/tlog-proof@v2\nindex 0\n\nnote",
        "C2sp.org/tlog-proof@v1\nindex 0\n\nnote",
        " c2sp.org/tlog-proof@v1\nindex 0\n\nnote",
        "\ufeffc2sp.org/tlog-proof@v1\nindex 0\n\nnote",
        "c2sp.org/tlog-proof@v1\r\nindex 0\r\n\r\nnote",
        "c2sp.org/tlog-proof@v1\nextra\nindex 0\n\nnote",
        "c2sp.org/tlog-proof@v1\nextra AA\nindex 0\n\nnote",
        "c2sp.org/tlog-proof@v1\nextra AB==\nindex 0\n\nnote",
        "c2sp.org/tlog-proof@v1\nextra AA==\nextra AA==\nindex 0\n\nnote",
        "c2sp.org/tlog-proof@v1\nextra AA==\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 0\nextra AA==\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 00\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 01\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex -1\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex +1\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex \n\nnote",
        "c2sp.org/tlog-proof@v1\nindex  1\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 1 \n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 1_0\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex ١\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 9223372036854775807\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 0\nindex 0\n\nnote",
        f"c2sp.org/tlog-proof@v1\nindex 0\n{HASH} \n\nnote",
        f"c2sp.org/tlog-proof@v1\nindex 0\n{HASH[:-2]}B=\n\nnote",
        f"c2sp.org/tlog-proof@v1\nindex 0\n{HASH[4:]}\n\nnote",
        f"c2sp.org/tlog-proof@v1\n{HASH}\nindex 0\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 0\n" + f"{HASH}\n" * 64 + "\nnote",
    ],
)
def test_malformed_files(text: str) -> None:
    """Header, order, decimals, base64, lengths and the number of hashes."""
    with pytest.raises(MalformedInput):
        parse_tlog_proof(text.encode())


def test_limits() -> None:
    """63 hashes are read; 2 MiB is the end; what cannot be written cannot be made."""
    most = TlogProof(2**63 - 2, (bytes(32),) * 63, b"note")
    assert parse_tlog_proof(format_tlog_proof(most)) == most
    with pytest.raises(MalformedInput, match="longer"):
        parse_tlog_proof(format_tlog_proof(TlogProof(0, (), b"x" * (2 << 20))))
    for index, hashes in ((-1, ()), (2**63 - 1, ()), (0, (bytes(31),)), (0, (bytes(32),) * 64)):
        with pytest.raises(MalformedInput):
            TlogProof(index, hashes, b"note")


def test_the_checkpoint_is_read_strictly_too() -> None:
    """An empty or malformed note is the note's error."""
    for note in (b"", b"note", PROOF.checkpoint[:-1], PROOF.checkpoint.replace(b"\n", b"\r\n")):
        with pytest.raises(MalformedNote):
            verify(format_tlog_proof(TlogProof(13, PROOF.proof, note)))


@given(
    st.integers(0, 2**63 - 2),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.binary(),
    st.none() | st.binary(),
)
def test_round_trip(index: int, hashes: list[bytes], note: bytes, extra: bytes | None) -> None:
    """Every proof reads back from its bytes."""
    made = TlogProof(index, tuple(hashes), note, extra)
    assert parse_tlog_proof(format_tlog_proof(made)) == made
