"""The proof of a whole list: it leads to the head, it makes receipts, and nothing of it can be changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ledger import merkle
from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.entry import LIST_SLOTS, encode
from ledger.errors import (
    LedgerError,
    MalformedInput,
    ProofInvalid,
    QuorumNotMet,
    SignatureInvalid,
    Stale,
    TooLarge,
    VerificationError,
)
from ledger.listproof import (
    MAX_PROOF_BYTES,
    ListProof,
    build_status_proof,
    check_list,
    format_list_proof,
    list_bits,
    list_nodes,
    parse_list_proof,
    verify_list_proof,
)
from ledger.note import Note, format_note
from ledger.receipt import build_receipt, plan_receipt
from ledger.signing import Ed25519Key
from ledger.status import StatusTree, verify_status
from ledger.statuslist import LIST_BYTES, StatusList, encode_list
from ledger.verify import verify_receipt
from tests import receipt_builder
from tests.builders import BuiltIssuer, LogBuilder

ORIGIN = "ledger.example/lists"
KEY = Ed25519Key.from_seed(bytes(32))


class Log:
    """Five lists of one issuer; in each some slots are revoked and suspended, and a head after each list."""

    def __init__(self) -> None:
        self.log = LogBuilder(ORIGIN)
        self.issuer: BuiltIssuer = self.log.issuer()
        self.heads: list[int] = []
        self.issues: dict[int, int] = {}
        for number in range(5):
            if number >= len(self.issuer.lists):
                self.log.open_list(self.issuer)
            slots = [number * LIST_SLOTS + index for index in (0, 7, 255, 256, 94_567 + number, LIST_SLOTS - 1)]
            at = self.log.issue(self.issuer, slots)
            self.issues |= {slot: at + 1 + k for k, slot in enumerate(slots)}
            self.log.submit(self.issuer, [self.issuer.revoke(slots[k]) for k in (0, 3, 5)])
            self.log.submit(self.issuer, [self.issuer.suspend(slots[k]) for k in (1, 4)])
            self.heads.append(self.log.seal() + 1)
            self.log.time += 10_000

    def note(self) -> bytes:
        checkpoint = Checkpoint(ORIGIN, self.log.size, self.log.root())
        lines = receipt_builder.sign_head(checkpoint, self.log.status_root().time // 1000)
        return format_note(Note(format_checkpoint(checkpoint), lines))

    def proof(self, number: int) -> ListProof:
        """Of a list under the newest head."""
        tree = self.log.replay.status
        size = self.log.size
        return ListProof(
            origin=ORIGIN,
            list=number,
            size=size,
            issuer=self.issuer.id,
            status_root=self.log.entries[-1],
            revocation=tree.list_bits(number, "revocation"),
            suspension=tree.list_bits(number, "suspension"),
            status_proof=build_status_proof(
                number, tree.lists, {n: tree.node(n) for n in list_nodes(number, tree.lists)}
            ),
            tree_size=size,
            log_proof=self.log_proof(size, size),
            checkpoint=self.note(),
        )

    def log_proof(self, size: int, tree_size: int) -> tuple[bytes, ...]:
        plan = merkle.plan_multiproof([size - 1], tree_size)
        return tuple(merkle.build(plan, receipt_builder.AllNodes(self.log.leaves[:tree_size])))

    @property
    def now_s(self) -> int:
        return self.log.status_root().time // 1000


@pytest.fixture(scope="module")
def built() -> Log:
    return Log()


POLICY = receipt_builder.policy(ORIGIN)
NO_QUORUM = receipt_builder.policy(ORIGIN, quorum="none")


@pytest.mark.parametrize("number", range(5))
def test_each_list_is_proven_and_makes_receipts(built: Log, number: int) -> None:
    """States are those of the log; chunk and hashes are the status tree's own, and a receipt with them verifies."""
    proof = built.proof(number)
    proven = verify_list_proof(
        parse_list_proof(format_list_proof(proof)), policy=POLICY, now_s=built.now_s, max_age_s=0
    )
    assert proven.proof == proof
    assert (proven.as_of_s, proven.own_time, proven.checkpoint.size) == (built.now_s, False, built.log.size)
    tree = built.log.replay.status
    for slot, index in built.issues.items():
        if slot // LIST_SLOTS != number:
            with pytest.raises(ValueError, match="is not in list"):
                proven.status_proof(slot)
            continue
        assert proven.state(slot) == built.log.replay.slot_state(slot)
        chunk, hashes = proven.status_proof(slot)
        assert (chunk, list(hashes)) == tree.proof(slot)
        receipt = build_receipt(
            origin=ORIGIN,
            tree_size=built.log.size,
            index=index,
            issue=built.log.entries[index],
            status_root=proof.status_root,
            chunk=chunk,
            status_proof=hashes,
            log_hashes={
                node: receipt_builder.AllNodes(built.log.leaves)[node]
                for group in plan_receipt(index, built.log.size)
                for node in group
            },
            signatures=receipt_builder.sign_head(proven.checkpoint, built.now_s),
        )
        assert verify_receipt(receipt, policy=POLICY, now_s=built.now_s).state == proven.state(slot)


@pytest.mark.parametrize("lists", [*range(1, 18), 31, 32, 33, 100])
def test_the_proof_of_every_position_in_trees_of_many_lists(lists: int) -> None:
    """The hashes of a list, put together with those inside it, are the proof of its slots, whatever the shape."""
    tree = StatusTree.from_chunks(lists, {512 * k + 3: bytes([k + 1]) * 32 + bytes(32) for k in range(lists)})
    for number in range(lists):
        hashes = build_status_proof(number, lists, {node: tree.node(node) for node in list_nodes(number, lists)})
        leaf = {number: tree.node((9, number))}
        assert merkle.root_from_multiproof(leaf, lists, hashes) == tree.root
        slot = number * LIST_SLOTS + 3 * 256
        verify_status(slot, tree.chunk(slot >> 8), lists, tree.proof(slot)[1], tree.root)
        assert set(hashes) <= set(tree.proof(slot)[1])


def test_a_past_head_is_proven_under_the_newest(built: Log) -> None:
    """Its bits are those of then, its time is the log's own, and its age is counted from that."""
    past = LogBuilder(ORIGIN, sealed=False)
    size = built.heads[2]
    for unit in built.log.all_units()[1:]:
        if past.size == size:
            break
        past.append(unit)
    assert past.size == size
    tree = past.replay.status
    proof = replace(
        built.proof(1),
        size=size,
        status_root=built.log.entries[size - 1],
        revocation=tree.list_bits(1, "revocation"),
        suspension=tree.list_bits(1, "suspension"),
        status_proof=build_status_proof(1, tree.lists, {n: tree.node(n) for n in list_nodes(1, tree.lists)}),
        log_proof=built.log_proof(size, built.log.size),
    )
    proven = verify_list_proof(proof, policy=POLICY, now_s=built.now_s)
    assert (proven.as_of_s, proven.own_time) == (past.status_root().time // 1000, True)
    age_s = built.now_s - proven.as_of_s
    assert age_s >= 20
    verify_list_proof(proof, policy=POLICY, now_s=built.now_s, max_age_s=age_s)
    with pytest.raises(Stale):
        verify_list_proof(proof, policy=POLICY, now_s=built.now_s, max_age_s=age_s - 1)


def flip(data: bytes, at: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"origin": "other.example"}, ProofInvalid),
        ({"list": 2}, ProofInvalid),
        ({"list": 5}, ProofInvalid),
        ({"list": 2**32 - 1}, ProofInvalid),
        (lambda p: {"size": p.size - 1}, ProofInvalid),
        (lambda p: {"size": p.size + 1}, ProofInvalid),
        (lambda p: {"size": 0}, ProofInvalid),
        (lambda p: {"tree_size": p.tree_size + 1}, ProofInvalid),
        (lambda p: {"status_root": flip(p.status_root, 20)}, ProofInvalid),
        (lambda p: {"status_root": p.status_root[:-1]}, LedgerError),
        (lambda p: {"status_root": b"\x01\x05" + bytes(72)}, MalformedInput),
        (lambda p: {"status_proof": p.status_proof[:-1]}, ProofInvalid),
        (lambda p: {"status_proof": (*p.status_proof, bytes(32))}, ProofInvalid),
        (lambda p: {"status_proof": p.status_proof[::-1]}, ProofInvalid),
        (lambda p: {"status_proof": (p.status_proof[0][:31], *p.status_proof[1:])}, ProofInvalid),
        (lambda p: {"log_proof": p.log_proof[:-1]}, ProofInvalid),
        (lambda p: {"log_proof": (flip(p.log_proof[0]), *p.log_proof[1:])}, ProofInvalid),
        (lambda p: {"checkpoint": p.checkpoint.replace(b"\n\n", b"\nx\n\n", 1)}, LedgerError),
        (lambda p: {"checkpoint": p.checkpoint.rpartition("\u2014 ledger".encode())[0]}, LedgerError),
    ],
)
def test_nothing_of_it_can_be_changed(
    built: Log, change: dict[str, Any] | Callable[[ListProof], dict[str, Any]], error: type[LedgerError]
) -> None:
    """Each part, in the way in which somebody would try."""
    proof = built.proof(1)
    with pytest.raises(error):
        verify_list_proof(
            replace(proof, **(change if isinstance(change, dict) else change(proof))), policy=POLICY, now_s=built.now_s
        )


@pytest.mark.parametrize("purpose", ["revocation", "suspension"])
@pytest.mark.parametrize("index", [0, 1, 7, 255, 256, 94_567, 100_000, LIST_SLOTS - 1])
def test_no_bit_can_be_changed(built: Log, purpose: str, index: int) -> None:
    """Set ones and others, of either purpose."""
    proof = built.proof(3)
    bits = bytearray(getattr(proof, purpose))
    bits[index >> 3] ^= 0x80 >> (index & 7)
    with pytest.raises(ProofInvalid, match="bits of list 3 do not lead"):
        verify_list_proof(replace(proof, **{purpose: bytes(bits)}), policy=POLICY, now_s=built.now_s)


def test_a_slot_in_both_purposes_is_refused(built: Log) -> None:
    """The rules of the log never make it; a log that breaks them is not believed."""
    tree = StatusTree.from_chunks(1, {0: b"\x80" + bytes(31) + b"\x80" + bytes(31)})
    log = LogBuilder(ORIGIN)
    log.issuer()
    log.seal()
    root = replace(log.status_root(), root=tree.root, lists=1)
    entry = encode(root)
    leaves = [*log.leaves[:-1], merkle.leaf_hash(entry)]
    checkpoint = Checkpoint(ORIGIN, len(leaves), merkle.tree_hash(leaves))
    note = format_note(Note(format_checkpoint(checkpoint), receipt_builder.sign_head(checkpoint, root.time // 1000)))
    plan = merkle.plan_multiproof([len(leaves) - 1], len(leaves))
    proof = replace(
        built.proof(0),
        size=len(leaves),
        tree_size=len(leaves),
        status_root=entry,
        status_proof=(),
        revocation=tree.list_bits(0, "revocation"),
        suspension=tree.list_bits(0, "suspension"),
        log_proof=tuple(merkle.build(plan, receipt_builder.AllNodes(leaves))),
        checkpoint=note,
    )
    with pytest.raises(VerificationError, match="revoked and suspended at once"):
        verify_list_proof(proof, policy=POLICY, now_s=root.time // 1000)


def test_the_policy_decides(built: Log) -> None:
    """Quorum, age, a log that it does not name, and times in the future, under a quorum and without."""
    proof = built.proof(0)
    other = receipt_builder.policy("other.example")
    with pytest.raises(SignatureInvalid):
        verify_list_proof(proof, policy=other, now_s=built.now_s)
    with pytest.raises(Stale):
        verify_list_proof(proof, policy=POLICY, now_s=built.now_s + 61, max_age_s=60)
    with pytest.raises(Stale):
        verify_list_proof(proof, policy=NO_QUORUM, now_s=built.now_s + 61, max_age_s=60)
    with pytest.raises(QuorumNotMet):
        verify_list_proof(proof, policy=POLICY, now_s=built.now_s - 61)
    with pytest.raises(VerificationError, match="future"):
        verify_list_proof(proof, policy=NO_QUORUM, now_s=built.now_s - 61)
    assert verify_list_proof(proof, policy=NO_QUORUM, now_s=built.now_s).own_time


def as_list(proof: ListProof, time_ms: int, **changes: Any) -> StatusList:
    fields: dict[str, Any] = {
        "base": "https://lists.example/",
        "list": proof.list,
        "purpose": "revocation",
        "size": proof.size,
        "issuer": "did:key:z6Mk",
        "valid_from_ms": time_ms,
        "valid_until_ms": time_ms + 1,
        "ttl_ms": 1,
        "encoded": encode_list(proof.revocation),
    }
    return StatusList(**{**fields, **changes})


def test_a_list_is_compared_bit_for_bit(built: Log) -> None:
    """The error says how many positions differ, what is hidden and what is added, and which is the first."""
    proven = verify_list_proof(built.proof(2), policy=POLICY, now_s=built.now_s)
    time_ms = proven.status_root.time
    check_list(as_list(proven.proof, time_ms), proven)
    check_list(
        as_list(proven.proof, time_ms, purpose="suspension", encoded=encode_list(proven.proof.suspension)), proven
    )
    bits = bytearray(proven.proof.revocation)
    bits[256 >> 3] ^= 0x80  # revoked, and hidden
    bits[1000 >> 3] ^= 0x80  # not revoked, and added
    bits[1001 >> 3] ^= 0x40
    with pytest.raises(
        VerificationError, match=r"in 3 positions: it hides 1 .* sets 2 .* index 256, which is set"
    ) as caught:
        check_list(as_list(proven.proof, time_ms, encoded=encode_list(bytes(bits))), proven)
    assert caught.value.members == {"differing": 3, "first": 256, "hidden": 1, "added": 2}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"list": 1}, "number 1, the proof is of list 2"),
        ({"size": 1}, "head of size 1"),
        ({"valid_from_ms": 5}, "another time"),
        ({"purpose": "suspension"}, "differs from the log"),
        ({"encoded": encode_list(bytes(LIST_BYTES))}, "hides 3"),
        ({"encoded": encode_list(b"\xff" * LIST_BYTES)}, "sets 131069 that are not; the first is index 1,"),
    ],
)
def test_a_list_of_something_else_is_refused(built: Log, change: dict[str, Any], says: str) -> None:
    proven = verify_list_proof(built.proof(2), policy=POLICY, now_s=built.now_s)
    with pytest.raises(VerificationError, match=says):
        check_list(as_list(proven.proof, proven.status_root.time, **change), proven)


def test_absent_chunks_are_zeros() -> None:
    """As the store has them."""
    chunks = {512: b"\x01" * 32 + b"\x02" * 32, 1023: b"\x03" * 64}
    tree = StatusTree.from_chunks(2, chunks)
    for purpose in ("revocation", "suspension"):
        for number in range(2):
            assert list_bits(chunks, number, purpose) == tree.list_bits(number, purpose)


@pytest.mark.parametrize("member", list(json.loads(format_list_proof(Log().proof(0)))))
@pytest.mark.parametrize("value", [None, "", "!", 0, -1, 2**64, 1.5, [], {}, "absent", "AAAA", "\u2014"])
def test_a_document_that_is_no_proof_is_refused(built: Log, member: str, value: Any) -> None:
    """In a sentence, when it is read or when it is verified."""
    document = json.loads(format_list_proof(built.proof(1)))
    if value == "absent":
        del document[member]
    else:
        document[member] = value
    if (member, value) == ("list", 0) or member == "issuer":
        return
    with pytest.raises(LedgerError):
        verify_list_proof(parse_list_proof(json.dumps(document).encode()), policy=POLICY, now_s=built.now_s)


@pytest.mark.parametrize("value", ["", "00", "G" * 64, "AB" * 32])
def test_the_issuer_is_32_bytes(built: Log, value: str) -> None:
    document = json.loads(format_list_proof(built.proof(1))) | {"issuer": value}
    with pytest.raises(MalformedInput, match="issuer"):
        parse_list_proof(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"[" * 5000, b"\xff", b"null"])
def test_bytes_that_are_no_document(data: bytes) -> None:
    with pytest.raises(MalformedInput, match="not the proof of a list"):
        parse_list_proof(data)


def test_a_proof_that_is_too_long_is_not_read(built: Log) -> None:
    """And members that this version does not know are passed over."""
    data = format_list_proof(built.proof(1))
    assert parse_list_proof(data[:-1] + b',"later":1}') == built.proof(1)
    with pytest.raises(TooLarge):
        parse_list_proof(data + b" " * MAX_PROOF_BYTES)
