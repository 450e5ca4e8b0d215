"""Proofs that a leaf is in a log, in one file that is checked offline: c2sp.org/tlog-proof.

    c2sp.org/tlog-proof@v1
    extra <base64>                 only if there are extra data
    index <decimal>
    <base64 of a 32-byte hash>     one line per hash of the inclusion proof, the leaf's sibling first
                                   (empty line)
    <the checkpoint, a signed note>

The extra data are not authenticated by anything in the file.

What this module does not do: say what the leaf's content is (the caller hashes it), or state anything about a badge's
status, which a receipt proves (ledger/receipt.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from ledger.checkpoint import parse_checkpoint
from ledger.errors import MalformedInput
from ledger.merkle import verify_inclusion
from ledger.note import MAX_NOTE_BYTES, parse_note
from ledger.policy import Evaluation, Policy, evaluate
from ledger.text import format_base64, parse_base64, parse_decimal

HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_INDEX: Final = 2**63 - 2
MAX_HASHES: Final = 63
#: A note and as much again for extra data.
MAX_PROOF_BYTES: Final = 2 * MAX_NOTE_BYTES


class TlogProof(msgspec.Struct, frozen=True):
    """Leaf index, inclusion proof (at most 63 hashes of 32 bytes), signed note, extra data or None for no such line.

    Raises MalformedInput. The note is kept as its bytes, not read.
    """

    index: int
    proof: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index <= MAX_INDEX:
            raise MalformedInput(f"the leaf index {self.index} is not between 0 and 2^63 - 2")
        if len(self.proof) > MAX_HASHES or any(len(h) != 32 for h in self.proof):
            raise MalformedInput(f"an inclusion proof has at most {MAX_HASHES} hashes of 32 bytes")


def format_tlog_proof(proof: TlogProof) -> bytes:
    """The bytes of a `.tlog-proof` file."""
    lines = [HEADER]
    if proof.extra is not None:
        lines.append(f"extra {format_base64(proof.extra)}")
    lines.append(f"index {proof.index}")
    lines += [format_base64(node) for node in proof.proof]
    return "\n".join(lines).encode() + b"\n\n" + proof.checkpoint


def parse_tlog_proof(data: bytes) -> TlogProof:
    """Read a `.tlog-proof` file of at most 2 MiB; nothing is verified. Raises MalformedInput."""
    if len(data) > MAX_PROOF_BYTES:
        raise MalformedInput(f"the proof is longer than {MAX_PROOF_BYTES} bytes")
    head, blank, checkpoint = data.partition(b"\n\n")
    if not blank:
        raise MalformedInput("no empty line separates the inclusion proof from its checkpoint")
    try:
        lines = iter(head.decode("ascii").split("\n"))
    except UnicodeDecodeError as error:
        raise MalformedInput("the lines before the checkpoint are not ASCII") from error
    if next(lines) != HEADER:
        raise MalformedInput(f"the first line is not {HEADER}")
    line = _next(lines)
    extra = None
    if line.startswith("extra "):
        extra = parse_base64(line[len("extra ") :], what="the extra data")
        line = _next(lines)
    if not line.startswith("index "):
        raise MalformedInput("there is no index line where it belongs")
    index = parse_decimal(line[len("index ") :], max_value=MAX_INDEX, what="the leaf index")
    hashes = tuple(parse_base64(text, length=32, what="a hash of the inclusion proof") for text in lines)
    return TlogProof(index, hashes, checkpoint, extra)


def verify_tlog_proof(
    leaf_hash: bytes, proof: TlogProof, policy: Policy, *, now_s: int, max_age_s: int | None = None
) -> Evaluation:
    """Check that the policy accepts the checkpoint and that the leaf with this 32-byte hash is in it, at `index`.

    The specification's steps 2 to 4; step 1, the leaf's hash, is the caller's. Freshness as in `evaluate`. Raises
    MalformedNote, SignatureInvalid, QuorumNotMet, Stale or ProofInvalid.
    """
    note = parse_note(proof.checkpoint)
    checkpoint = parse_checkpoint(note.text)
    evaluation = evaluate(policy, checkpoint, note, now_s=now_s, max_age_s=max_age_s)
    verify_inclusion(leaf_hash, proof.index, checkpoint.size, proof.proof, checkpoint.root)
    return evaluation


def _next(lines: Iterator[str]) -> str:
    line = next(lines, None)
    if line is None:
        raise MalformedInput("the proof ends before its index line")
    return line
