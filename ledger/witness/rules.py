"""What a witness demands of a checkpoint before it cosigns it: c2sp.org/tlog-witness, add-checkpoint. Pure.

    400    the body or the checkpoint cannot be read; the old size is above the checkpoint's
    404    the origin is none of the witness's logs
    403    no key of the log signed it, or a line by one of its keys does not verify
    409    the old size is not that of the newest head that was cosigned
    422    the consistency proof does not hold; two roots for one size; size 0 with another root than the empty tree's

In this order, but that the old size is compared with the checkpoint's before it is with the witness's. Lines by unknown
keys are ignored. Extension lines are admitted, as the specification has it, whereas ledger/checkpoint.py refuses them:
an Ed25519 cosignature covers them, and says nothing about them.

What this module does not do: remember heads, sign, or tell the time.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.cosignature import TIMESTAMP_BYTES, ed25519_message, mldsa_message, verify_cosignature
from ledger.errors import Forbidden, LedgerError, MalformedBody, MalformedNote, NotFound, SignatureInvalid
from ledger.merkle import EMPTY_ROOT, verify_consistency
from ledger.note import (
    ED25519,
    ED25519_COSIGNATURE,
    MLDSA44_COSIGNATURE,
    Note,
    SignatureLine,
    VerifierKey,
    find_lines,
    parse_note,
    verify_line,
)
from ledger.signing import ED25519_SIG_BYTES, Ed25519Key, MLDSA44Key, verify_ed25519
from ledger.tlogwitness import AddCheckpoint, parse_add_checkpoint
from ledger.witness.logs import LogList, WitnessedLog

_HEAD_LINES: Final = 3


class SizeConflict(LedgerError):
    """The submitted old size is not where the witness stands (`size`)."""

    slug, title, status = "size-conflict", "The witness stands at another size", 409

    def __init__(self, size: int) -> None:
        super().__init__(f"the newest head that was cosigned has size {size}", size=size)
        self.size = size


class Signed(msgspec.Struct, frozen=True):
    """A checkpoint as it was signed: `text` is the note's, with extension lines; `lines` are those that verified."""

    checkpoint: Checkpoint
    text: str
    lines: tuple[SignatureLine, ...]


class Submission(msgspec.Struct, frozen=True):
    """A request to cosign, whose checkpoint its log signed."""

    log: WitnessedLog
    request: AddCheckpoint
    signed: Signed


class StandingHead(msgspec.Struct, frozen=True):
    """The newest head of a log that was cosigned: size, root (32 bytes), time of its newest cosignatures in seconds.

    `note` is the signed checkpoint, with the signatures of the log that were verified and the witness's.
    """

    size: int
    root: bytes
    time_s: int
    note: bytes


def read_submission(body: bytes, logs: LogList) -> Submission:
    """Read the body of add-checkpoint and verify the log's signatures.

    Raises MalformedBody, MalformedNote (400), TooLarge (413), NotFound (404), Forbidden (403).
    """
    request = parse_add_checkpoint(body)
    note = parse_note(request.note)
    checkpoint = read_text(note.text)
    log = find_log(logs, checkpoint.origin)
    signed = open_signed(note, checkpoint, log.keys, "the log")
    if request.old_size > checkpoint.size:
        raise MalformedBody(f"the old size {request.old_size} is larger than the checkpoint's, {checkpoint.size}")
    return Submission(log, request, signed)


def judge(submission: Submission, standing: StandingHead | None) -> None:
    """Does the checkpoint extend the newest head that was cosigned? Raises SizeConflict (409), ProofInvalid (422)."""
    size, root = (standing.size, standing.root) if standing else (0, EMPTY_ROOT)
    request, checkpoint = submission.request, submission.signed.checkpoint
    if request.old_size != size:
        raise SizeConflict(size)
    verify_consistency(size, checkpoint.size, root, checkpoint.root, request.proof)


def contradicts(checkpoint: Checkpoint, standing: StandingHead | None) -> bool:
    """Whether the two heads, both signed by the log, are by themselves proof that it shows two histories."""
    return standing is not None and checkpoint.size == standing.size and checkpoint.root != standing.root


def find_log(logs: LogList, origin: str) -> WitnessedLog:
    """The log of that origin. Raises NotFound."""
    log = logs.get(origin)
    if log is None:
        raise NotFound(f"this witness does not know the log {origin[:80]!r}")
    return log


def read_text(text: str) -> Checkpoint:
    """The first three lines of a checkpoint's text, extension lines or not. Raises MalformedNote."""
    lines = text.split("\n")
    if "" in lines[_HEAD_LINES:-1]:
        raise MalformedNote("a checkpoint holds an empty line")
    return parse_checkpoint("\n".join([*lines[:_HEAD_LINES], ""]) if len(lines) > _HEAD_LINES else text)


def open_signed(note: Note, checkpoint: Checkpoint, keys: Collection[VerifierKey], whose: str) -> Signed:
    """The lines of the note by these keys, each verified. Raises Forbidden (403) if there is none or one does not."""
    lines = find_lines(note, keys)
    if not lines:
        raise Forbidden(f"the checkpoint holds no signature by a key of {whose}")
    try:
        for key, line in lines:
            _verify(note.text, checkpoint, key, line)
    except (SignatureInvalid, MalformedNote) as error:
        raise Forbidden(error.detail) from error
    return Signed(checkpoint, note.text, tuple(line for _, line in lines))


def cosign(signed: Signed, name: str, key: Ed25519Key | MLDSA44Key, timestamp_s: int) -> SignatureLine:
    """The witness's line on a checkpoint, at a time above 0. Raises MalformedNote on an origin too long for ML-DSA-44.

    Ed25519 signs the whole text, extension lines included; ML-DSA-44 origin, size and root.
    """
    if timestamp_s <= 0:
        raise ValueError("a cosignature of a checkpoint has a timestamp")
    head = signed.checkpoint
    if isinstance(key, Ed25519Key):
        verifier = VerifierKey(name, ED25519_COSIGNATURE, key.public_key)
        message = ed25519_message(timestamp_s, signed.text)
    else:
        verifier = VerifierKey(name, MLDSA44_COSIGNATURE, key.public_key)
        message = mldsa_message(name, timestamp_s, head.origin, 0, head.size, head.root)
    signature = timestamp_s.to_bytes(TIMESTAMP_BYTES, "big") + key.sign(message)
    return SignatureLine(name, verifier.key_id, signature)


def _verify(text: str, checkpoint: Checkpoint, key: VerifierKey, line: SignatureLine) -> None:
    if key.algorithm == ED25519:
        verify_line(text, key, line)
    elif key.algorithm == MLDSA44_COSIGNATURE:
        verify_cosignature(checkpoint, key, line)
    else:
        # As verify_cosignature does, over the text with its extension lines.
        if len(line.signature) != TIMESTAMP_BYTES + ED25519_SIG_BYTES:
            raise SignatureInvalid(f"the cosignature by {key.name!r} has {len(line.signature)} bytes")
        timestamp_s = int.from_bytes(line.signature[:TIMESTAMP_BYTES], "big")
        verify_ed25519(key.public_key, ed25519_message(timestamp_s, text), line.signature[TIMESTAMP_BYTES:])
