"""Packed receipts: one spelling each, everything else refused; and what a prover plans is what a verifier needs."""

from __future__ import annotations

import hashlib

import pytest
from msgspec.structs import replace

from ledger.errors import LedgerError, MalformedReceipt, ProofInvalid, TooLarge
from ledger.merkle import build as build_proof
from ledger.merkle import leaf_hash, plan_inclusion, verify_inclusion
from ledger.note import SignatureLine
from ledger.receipt import (
    MAX_RECEIPT_BYTES,
    Receipt,
    build_receipt,
    check_receipt,
    checkpoint_of,
    decode_packed,
    encode_packed,
    log_targets,
    plan_events,
    plan_receipt,
    to_tlog_proof,
    with_salt,
    with_signatures,
)
from ledger.tlogproof import format_tlog_proof, parse_tlog_proof, verify_tlog_proof
from ledger.verify import verify_receipt
from tests.builders import ORIGIN, demo_log
from tests.receipt_builder import AllNodes, Anchored, anchored, build, policy

COMMITMENT = hashlib.sha256(b"a badge").digest()
SALT = bytes(range(32))


@pytest.fixture(scope="module")
def scene() -> Anchored:
    return anchored(COMMITMENT)


@pytest.fixture(scope="module", params=["short", "full"])
def receipt(request: pytest.FixtureRequest, scene: Anchored) -> Receipt:
    return build(scene.log, scene.index, full=request.param == "full", salt=SALT)


def test_encoding_and_decoding_are_inverse(receipt: Receipt) -> None:
    """A packed receipt says what it was made of, and encodes to the same bytes again."""
    data = encode_packed(receipt)
    assert decode_packed(data) == receipt
    assert encode_packed(decode_packed(data)) == data


def test_the_layout_is_that_of_the_protocol(scene: Anchored) -> None:
    """Byte by byte, written out here once more."""
    receipt = build(scene.log, scene.index, full=True, salt=SALT)
    assert receipt.submission is not None
    parts = [b"BLR1\x03", SALT, bytes([len(ORIGIN)]), ORIGIN.encode()]
    parts += [receipt.tree_size.to_bytes(8, "big"), receipt.index.to_bytes(8, "big"), receipt.issue]
    parts += [b"\x52", receipt.status_root, receipt.chunk]
    parts += [receipt.submission[0].to_bytes(8, "big"), b"\x00\xaf", receipt.submission[1], b"\x02"]
    for index, entry in receipt.keys:
        parts += [index.to_bytes(8, "big"), len(entry).to_bytes(2, "big"), entry]
    for width, proof in ((2, receipt.log_proof), (2, receipt.status_proof), (1, receipt.events_proof)):
        parts += [len(proof).to_bytes(width, "big"), *proof]
    parts.append(b"\x03")
    for line in receipt.signatures:
        name, signature = line.name.encode(), line.key_id + line.signature
        parts += [bytes([len(name)]), name, len(signature).to_bytes(2, "big"), signature]
    assert encode_packed(receipt) == b"".join(parts)


def test_every_truncation_is_refused(receipt: Receipt) -> None:
    """No proper beginning of a receipt is one."""
    data = encode_packed(receipt)
    for length in range(len(data)):
        with pytest.raises(MalformedReceipt, match="cut short"):
            decode_packed(data[:length])


def test_bytes_to_spare_are_refused(receipt: Receipt) -> None:
    """Nor is a longer text."""
    with pytest.raises(MalformedReceipt, match="1 bytes to spare"):
        decode_packed(encode_packed(receipt) + b"\x00")


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_changed_byte_is_found(scene: Anchored, receipt: Receipt, mask: int) -> None:
    """Refused, or read and not verified: there is no byte whose value does not matter, salts and hashes included.

    The commitment stands for the badge: its salt is changed wherever the receipt's is.
    """
    data = encode_packed(receipt)
    trust = policy(ORIGIN)

    def verify(changed: bytes) -> None:
        read = decode_packed(changed)
        badge = COMMITMENT if read.salt == SALT else hashlib.sha256(read.salt or b"").digest()
        verify_receipt(read, policy=trust, now_s=scene.time_s, max_age_s=60, commitment=badge, issuer=scene.issuer.id)

    verify(data)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= mask
        with pytest.raises(LedgerError):
            verify(bytes(changed))


def test_other_flag_bits_are_refused(receipt: Receipt) -> None:
    """Bits without a meaning are not for a later version to give one behind a verifier's back."""
    data = bytearray(encode_packed(receipt))
    for flags in range(4, 256):
        data[4] = flags
        with pytest.raises(MalformedReceipt, match="unknown flags"):
            decode_packed(bytes(data))


def test_two_indexes_alike_are_refused(scene: Anchored) -> None:
    """One leaf cannot be two entries: issue, status_root, submission and keys stand at different indexes."""
    receipt = build(scene.log, scene.index, full=True)
    assert receipt.submission is not None
    last = receipt.tree_size - 1
    first, second = receipt.keys
    for changed in (
        replace(receipt, index=last),
        replace(receipt, submission=(receipt.index, receipt.submission[1])),
        replace(receipt, submission=(last, receipt.submission[1])),
        replace(receipt, keys=((second[0], first[1]), second)),
        replace(receipt, keys=((receipt.submission[0], first[1]), second)),
        replace(receipt, keys=(first, first)),
    ):
        with pytest.raises(MalformedReceipt, match="distinct"):
            encode_packed(changed)
        with pytest.raises(MalformedReceipt, match="distinct"):
            decode_packed(_encode_unchecked(changed))


def _encode_unchecked(receipt: Receipt) -> bytes:
    """The bytes that a careless prover would write: indexes put into a valid receipt of the same shape."""
    assert receipt.submission is not None
    out = [b"BLR1\x01", bytes([len(receipt.origin)]), receipt.origin.encode()]
    out += [receipt.tree_size.to_bytes(8, "big"), receipt.index.to_bytes(8, "big"), receipt.issue]
    out += [bytes([len(receipt.status_root)]), receipt.status_root, receipt.chunk]
    out += [receipt.submission[0].to_bytes(8, "big"), b"\x00\xaf", receipt.submission[1], bytes([len(receipt.keys)])]
    for index, entry in receipt.keys:
        out += [index.to_bytes(8, "big"), len(entry).to_bytes(2, "big"), entry]
    for width, proof in ((2, receipt.log_proof), (2, receipt.status_proof), (1, receipt.events_proof)):
        out += [len(proof).to_bytes(width, "big"), *proof]
    out.append(bytes([len(receipt.signatures)]))
    for line in receipt.signatures:
        name, signature = line.name.encode(), line.key_id + line.signature
        out += [bytes([len(name)]), name, len(signature).to_bytes(2, "big"), signature]
    return b"".join(out)


def test_the_careless_encoder_is_the_encoder(scene: Anchored) -> None:
    """The helper of the test above writes what encode_packed does."""
    receipt = build(scene.log, scene.index, full=True)
    assert _encode_unchecked(receipt) == encode_packed(receipt)


def test_an_index_outside_the_tree_is_refused(receipt: Receipt) -> None:
    """The issue entry stands before the status_root."""
    for index in (receipt.tree_size, 2**63, 2**64 - 1):
        with pytest.raises(MalformedReceipt):
            check_receipt(replace(receipt, index=index))
    for size in (0, 1, 2**63, 2**64 - 1):
        with pytest.raises(MalformedReceipt):
            check_receipt(replace(receipt, tree_size=size))


def test_a_slot_that_is_revoked_and_suspended_at_once_is_refused(receipt: Receipt) -> None:
    """The rules of the log never set both bits."""
    slot = receipt.issue_entry().slot
    chunk = bytearray(64)
    for half in (0, 32):
        chunk[half + (slot >> 3 & 31)] |= 0x80 >> (slot & 7)
    data = encode_packed(receipt).replace(receipt.chunk, bytes(chunk))
    assert data != encode_packed(receipt)
    with pytest.raises(MalformedReceipt, match="at once"):
        decode_packed(data)


def test_parts_of_another_kind_are_refused(scene: Anchored, receipt: Receipt) -> None:
    """Entries of the wrong type, wrong lengths, a profile that its parts contradict."""
    full = build(scene.log, scene.index, full=True)
    assert full.submission is not None
    line = receipt.signatures[0]
    for changed in (
        replace(receipt, issue=receipt.status_root),
        replace(receipt, issue=receipt.issue[:-1]),
        replace(receipt, issue=b"\x02" + receipt.issue[1:]),
        replace(receipt, status_root=receipt.issue),
        replace(receipt, status_root=receipt.status_root + b"\x00"),
        replace(receipt, chunk=bytes(63)),
        replace(receipt, salt=bytes(31)),
        replace(receipt, origin=""),
        replace(receipt, origin="two words"),
        replace(receipt, origin="o" * 256),
        replace(receipt, log_proof=(bytes(31),)),
        replace(receipt, status_proof=(bytes(33),)),
        replace(receipt, signatures=()),
        replace(receipt, signatures=(line,) * 65),
        replace(receipt, full=not receipt.full),
        replace(full, submission=None),
        replace(full, submission=(full.submission[0], full.issue)),
        replace(full, keys=()),
        replace(full, keys=((full.keys[0][0], full.issue),)),
        replace(full, full=False, submission=None, keys=()),
    ):
        with pytest.raises(MalformedReceipt):
            check_receipt(changed)
        with pytest.raises(MalformedReceipt):
            encode_packed(changed)


def test_a_chain_has_at_most_255_keys(scene: Anchored) -> None:
    """Their number is one byte."""
    full = build(scene.log, scene.index, full=True)
    key = full.keys[0][1]
    for count in (255, 256):
        long = replace(full, tree_size=1_000, keys=tuple((500 + k, key) for k in range(count)))
        if count == 255:
            check_receipt(long)
        else:
            with pytest.raises(MalformedReceipt, match="at most 255"):
                encode_packed(long)


def test_names_and_signatures_are_read_strictly(scene: Anchored) -> None:
    """A name that is no key name, a name that is not UTF-8, a signature without a byte: refused by name."""
    receipt = build(scene.log, scene.index, full=False)
    data = encode_packed(receipt)
    name = receipt.signatures[1].name.encode()
    for other in (name.replace(b".", b" "), name.replace(b".", b"+"), name.replace(b".", b"\xff"), b""):
        changed = data.replace(bytes([len(name)]) + name, bytes([len(other)]) + other)
        assert changed != data
        with pytest.raises(MalformedReceipt):
            decode_packed(changed)
    signed = receipt.signatures[1].key_id + receipt.signatures[1].signature
    assert data.count(b"\x00\x4c" + signed) == 1
    with pytest.raises(MalformedReceipt, match="key id"):
        decode_packed(data.replace(b"\x00\x4c" + signed, b"\x00\x04" + signed[:4]))


def test_what_is_too_large_is_not_looked_at(receipt: Receipt) -> None:
    """More than 64 KiB are refused unread, and not written either."""
    with pytest.raises(TooLarge):
        decode_packed(bytes(MAX_RECEIPT_BYTES + 1))
    big = SignatureLine("big.example", bytes(4), bytes(2428))
    with pytest.raises(TooLarge):
        encode_packed(with_signatures(receipt, [big] * 30))
    with pytest.raises(MalformedReceipt):
        encode_packed(with_signatures(receipt, [SignatureLine("n" * 256, bytes(4), b"s")]))
    with pytest.raises(MalformedReceipt):
        encode_packed(with_signatures(receipt, [SignatureLine("n", bytes(4), bytes(65_532))]))


def test_salt_and_signatures_can_be_exchanged(receipt: Receipt) -> None:
    """A holder adds the salt, and leaves out lines that a policy does not need."""
    assert with_salt(with_salt(receipt, None), SALT) == receipt
    assert with_salt(receipt, None).salt is None
    with pytest.raises(MalformedReceipt):
        with_salt(receipt, bytes(16))
    assert with_signatures(receipt, receipt.signatures[:1]).signatures == receipt.signatures[:1]


@pytest.mark.parametrize("full", [False, True])
def test_a_receipt_can_be_built_for_every_issue_of_a_log(full: bool) -> None:
    """In the demo log, whoever issued, and its head is the log's root."""
    log = demo_log()
    indexes = [index for index, entry in enumerate(log.entries) if entry[1] == 5]
    for index in [*indexes[:3], indexes[150], *indexes[299:]]:
        receipt = build(log, index, full=full)
        checkpoint, note = checkpoint_of(decode_packed(encode_packed(receipt)))
        assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (log.origin, log.size, log.root())
        assert note.text.splitlines()[1] == str(log.size)


def test_targets_are_distinct_leaves_with_the_last_one() -> None:
    """What a prover plans and what a verifier expects are one function."""
    assert log_targets(5, 20, 3, [2, 1]) == [1, 2, 3, 5, 19]
    for bad in (
        (5, 5, None, ()),
        (4, 5, None, ()),
        (5, 20, 5, ()),
        (5, 20, 3, (3,)),
        (5, 20, -1, ()),
        (0, 0, None, ()),
    ):
        with pytest.raises(ValueError):
            log_targets(*bad)


def test_a_node_that_was_not_fetched_is_named(scene: Anchored) -> None:
    """A prover that forgot a node learns which one."""
    receipt = build(scene.log, scene.index, full=False)
    with pytest.raises(ValueError, match="was planned and not fetched"):
        build_receipt(
            origin=receipt.origin,
            tree_size=receipt.tree_size,
            index=receipt.index,
            issue=receipt.issue,
            status_root=receipt.status_root,
            chunk=receipt.chunk,
            status_proof=receipt.status_proof,
            log_hashes={},
            signatures=receipt.signatures,
        )


def test_plans_are_minimal() -> None:
    """One event of one needs no hash; two neighbours share their paths."""
    assert plan_events(0, 1) == []
    assert len(plan_events(3, 8)) == 3
    alone = len(plan_receipt(100, 1024))
    assert len(plan_receipt(100, 1024, 99, [98])) < alone + 4


def test_the_log_proof_is_about_the_same_tree_as_inclusion(scene: Anchored) -> None:
    """The root that a receipt computes is the one that an RFC 6962 inclusion proof leads to."""
    receipt = build(scene.log, scene.index, full=False)
    checkpoint, _ = checkpoint_of(receipt)
    proof = build_proof(plan_inclusion(scene.index, scene.log.size), AllNodes(scene.log.leaves))
    verify_inclusion(scene.log.leaves[scene.index], scene.index, scene.log.size, proof, checkpoint.root)


def test_the_issuance_alone_is_a_tlog_proof(scene: Anchored) -> None:
    """By any C2SP verifier, and its extra data lead from the badge to the leaf."""
    receipt = build(scene.log, scene.index, full=False, salt=SALT)
    inclusion = build_proof(plan_inclusion(scene.index, scene.log.size), AllNodes(scene.log.leaves))
    proof = parse_tlog_proof(format_tlog_proof(to_tlog_proof(receipt, inclusion)))
    assert proof.extra == receipt.issue + SALT
    assert to_tlog_proof(with_salt(receipt, None), inclusion).extra == receipt.issue
    verify_tlog_proof(leaf_hash(proof.extra[:74]), proof, policy(ORIGIN), now_s=scene.time_s)
    with pytest.raises(ProofInvalid):
        to_tlog_proof(receipt, inclusion[:-1])
