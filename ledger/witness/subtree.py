"""Cosignatures of subtrees: c2sp.org/tlog-witness, sign-subtree, and the proofs that lead to it. Pure.

A subtree is the tree over leaves [start, end), where start is a multiple of the least power of two that is not below
end - start (draft-ietf-plants-merkle-tree-certs-03 section 4.1; ledger/tlogwitness.py checks it on reading). Its proof
(section 4.4) shows that it is made of the same leaves as the tree of a checkpoint. From start 0 it is a consistency
proof, of one leaf an inclusion proof.

    400    the body, the range or the checkpoint cannot be read; the range ends behind the checkpoint
    404    the origin is none of the witness's logs
    403    the checkpoint is not cosigned by the ML-DSA-44 key of this very witness
    422    the proof does not lead from the subtree to the checkpoint

Nothing is remembered: what the witness cosigned once is a prefix of whatever it cosigns later. Only ML-DSA-44 can sign
subtrees, with timestamp 0. So only an ML-DSA-44 cosignature is taken as reference: who could forge the other, Ed25519,
would otherwise get a subtree of a tree that nobody saw signed by the stronger key.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256

from ledger.cosignature import TIMESTAMP_BYTES, mldsa_message
from ledger.errors import MalformedBody, ProofInvalid
from ledger.merkle import HASH_BYTES
from ledger.note import SignatureLine, VerifierKey, parse_note
from ledger.signing import MLDSA44Key
from ledger.tlogwitness import SignSubtree
from ledger.witness.logs import LogList
from ledger.witness.rules import find_log, open_signed, read_text


def check_request(request: SignSubtree, logs: LogList, keys: Collection[VerifierKey]) -> tuple[str, list[VerifierKey]]:
    """The origin, and those of the witness's ML-DSA-44 `keys` that cosigned the reference checkpoint: at least one.

    Raises MalformedBody, MalformedNote (400), NotFound (404), Forbidden (403), ProofInvalid (422).
    """
    note = parse_note(request.note)
    checkpoint = read_text(note.text)
    if request.end > checkpoint.size:
        raise MalformedBody(f"the subtree ends at {request.end}, behind the checkpoint's {checkpoint.size} leaves")
    find_log(logs, checkpoint.origin)
    signed = open_signed(note, checkpoint, keys, "this witness (ML-DSA-44)")
    verify_subtree(request.start, request.end, checkpoint.size, request.root, checkpoint.root, request.proof)
    return checkpoint.origin, [key for key in keys if any(line.is_by(key) for line in signed.lines)]


def cosign_subtree(request: SignSubtree, origin: str, verifier: VerifierKey, key: MLDSA44Key) -> SignatureLine:
    """The line by one key on a subtree whose request was checked."""
    message = mldsa_message(verifier.name, 0, origin, request.start, request.end, request.root)
    return SignatureLine(verifier.name, verifier.key_id, bytes(TIMESTAMP_BYTES) + key.sign(message))


def verify_subtree(start: int, end: int, size: int, node: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """The subtree [start, end) with hash `node` is part of the tree of `size` leaves with this root (section 4.4.3).

    Hashes have 32 bytes. Raises ProofInvalid, also for a range that is no subtree of such a tree.
    """
    if not 0 <= start < end <= size or start % (1 << (end - start - 1).bit_length()):
        raise ProofInvalid(f"[{start}, {end}) is no subtree of a tree of {size} leaves")
    if any(len(value) != HASH_BYTES for value in (node, root, *proof)):
        raise ProofInvalid(f"a hash does not have {HASH_BYTES} bytes")
    # Level by level: `first` and `last` are where the subtree's nodes begin and end, `edge` is the tree's last node.
    first, last, edge = start, end - 1, size - 1
    while first != last and (last == edge or last & 1):
        first, last, edge = first >> 1, last >> 1, edge >> 1
    rest = list(proof)
    if first == last:
        inner = outer = node
    elif rest:
        inner = outer = rest.pop(0)
    else:
        raise ProofInvalid("the proof of the subtree is too short")
    for value in rest:
        if edge == 0:
            raise ProofInvalid("the proof of the subtree is too long")
        if last & 1 or last == edge:
            if first < last:
                inner = sha256(b"\x01" + value + inner).digest()
            outer = sha256(b"\x01" + value + outer).digest()
            while not last & 1:
                first, last, edge = first >> 1, last >> 1, edge >> 1
        else:
            outer = sha256(b"\x01" + outer + value).digest()
        first, last, edge = first >> 1, last >> 1, edge >> 1
    if edge:
        raise ProofInvalid("the proof of the subtree is too short")
    if inner != node:
        raise ProofInvalid("the proof does not lead to the hash of the subtree")
    if outer != root:
        raise ProofInvalid("the proof of the subtree does not lead to the root of the checkpoint")
