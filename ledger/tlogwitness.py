"""What logs and witnesses say to each other: c2sp.org/tlog-witness, the bodies of its requests and answers.

    POST <submission prefix>/add-checkpoint        old <size>
                                                   <hash in base64>          0 to 63 lines, a consistency proof
                                                   <empty line>
                                                   <signed checkpoint>

    POST <submission prefix>/sign-subtree          subtree <start> <end>
                                                   <root of the subtree in base64>
                                                   <hash in base64>          0 to 63 lines, a subtree consistency proof
                                                   <empty line>
                                                   <signed checkpoint>

    200    signature lines, one or more, each ended by a newline
    409    to add-checkpoint: the size of the witness's newest head, decimal, ended by a newline (text/x.tlog.size)

    GET <monitoring prefix>/<SHA-256 of the origin in hexadecimal>/checkpoint

Readers are strict: a body that parses is byte for byte what the formatter writes from it.

What this module does not do: read the checkpoint at a request's end (it is handed on as bytes), verify proofs or
signatures, or compare old size and checkpoint; the witness does, in the order of the specification.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from ledger.checkpoint import MAX_SIZE
from ledger.errors import InputError, MalformedBody, MalformedInput, MalformedNote, TooLarge
from ledger.merkle import HASH_BYTES
from ledger.note import MAX_SIGNATURES, SignatureLine, format_line, parse_line
from ledger.text import format_base64, parse_base64, parse_decimal

ADD_CHECKPOINT: Final = "add-checkpoint"
SIGN_SUBTREE: Final = "sign-subtree"

#: Of the body of a 409 to add-checkpoint.
SIZE_TYPE: Final = "text/x.tlog.size"
#: Of everything else. The specification names no type.
TEXT_TYPE: Final = "text/plain; charset=utf-8"

MAX_PROOF_LINES: Final = 63
#: What a witness of ours reads. A checkpoint with ten ML-DSA-44 signatures and the longest proof has 36 KiB.
MAX_REQUEST_BYTES: Final = 64 << 10
#: Of an answer with signature lines: nineteen of ML-DSA-44.
MAX_COSIGNATURES_BYTES: Final = 64 << 10
#: Nineteen digits and a newline.
MAX_SIZE_BYTES: Final = 20


class AddCheckpoint(msgspec.Struct, frozen=True):
    """A submitted checkpoint. Raises MalformedBody.

    `old_size`: 0 to 2^63 - 1, where the witness is thought to stand. `proof`: at most 63 hashes of 32 bytes, which lead
    from there to the checkpoint. `note`: the signed checkpoint, unread.
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.old_size <= MAX_SIZE:
            raise MalformedBody(f"the old size {self.old_size} is not between 0 and 2^63 - 1")
        _check_proof(self.proof)


class SignSubtree(msgspec.Struct, frozen=True):
    """A request to cosign the leaves [start, end). Raises MalformedBody.

    `start` and `end`: a subtree of RFC 6962's tree, so 0 <= start < end <= 2^63 - 1 and `start` is a multiple of the
    least power of two that is not below `end - start`. `root`: 32 bytes. `proof`: at most 63 hashes, which lead to the
    reference checkpoint. `note`: that checkpoint, cosigned by the witness itself, unread.
    """

    start: int
    end: int
    root: bytes
    proof: tuple[bytes, ...]
    note: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= MAX_SIZE or self.start % (1 << (self.end - self.start - 1).bit_length()):
            raise MalformedBody(f"the leaves from {self.start} up to {self.end} are no subtree")
        if len(self.root) != HASH_BYTES:
            raise MalformedBody(f"the root of a subtree has {len(self.root)} bytes, not {HASH_BYTES}")
        _check_proof(self.proof)


def format_add_checkpoint(request: AddCheckpoint) -> bytes:
    """The body of the request."""
    return _join([f"old {request.old_size}"], request.proof, request.note)


def parse_add_checkpoint(data: bytes) -> AddCheckpoint:
    """Read a body of at most 64 KiB. Raises MalformedBody or TooLarge."""
    lines, note = _split(data)
    word, _, size = lines[0].partition(" ")
    if word != "old":
        raise MalformedBody(f"the request does not begin with the old size: {lines[0][:40]!r}")
    try:
        old_size = parse_decimal(size, max_value=MAX_SIZE, what="the old size")
        return AddCheckpoint(old_size, _parse_proof(lines[1:]), note)
    except MalformedInput as error:
        raise MalformedBody(error.detail) from error


def format_sign_subtree(request: SignSubtree) -> bytes:
    """The body of the request."""
    lines = [f"subtree {request.start} {request.end}", format_base64(request.root)]
    return _join(lines, request.proof, request.note)


def parse_sign_subtree(data: bytes) -> SignSubtree:
    """Read a body of at most 64 KiB. Raises MalformedBody, also where the range is no subtree, or TooLarge."""
    lines, note = _split(data)
    words = lines[0].split(" ")
    if len(words) != 3 or words[0] != "subtree":
        raise MalformedBody(f"the request does not begin with the range of a subtree: {lines[0][:40]!r}")
    if len(lines) < 2:
        raise MalformedBody("the request holds no root of the subtree")
    try:
        start, end = (parse_decimal(word, max_value=MAX_SIZE, what="the range of the subtree") for word in words[1:])
        root = parse_base64(lines[1], length=HASH_BYTES, what="the root of the subtree")
        return SignSubtree(start, end, root, _parse_proof(lines[2:]), note)
    except MalformedInput as error:
        raise MalformedBody(error.detail) from error


def format_cosignatures(lines: tuple[SignatureLine, ...]) -> bytes:
    """The body of a 200: one to 64 lines. Raises MalformedNote on none, or more."""
    if not 1 <= len(lines) <= MAX_SIGNATURES:
        raise MalformedNote(f"an answer holds 1 to {MAX_SIGNATURES} signature lines, not {len(lines)}")
    return "".join(format_line(line) + "\n" for line in lines).encode()


def parse_cosignatures(data: bytes) -> tuple[SignatureLine, ...]:
    """Read the body of a 200, of at most 64 KiB and 64 lines; nothing is verified. Raises MalformedNote."""
    if len(data) > MAX_COSIGNATURES_BYTES:
        raise MalformedNote(f"the answer has more than {MAX_COSIGNATURES_BYTES} bytes")
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise MalformedNote(f"the answer is not UTF-8 (byte {error.start})") from error
    if lines.pop() or not lines:
        raise MalformedNote("the answer holds no signature line, or its last one does not end in a newline")
    if len(lines) > MAX_SIGNATURES:
        raise MalformedNote(f"the answer holds more than {MAX_SIGNATURES} signature lines")
    return tuple(parse_line(line) for line in lines)


def format_size(size: int) -> bytes:
    """The body of a 409: where the witness stands."""
    return b"%d\n" % size


def parse_size(data: bytes) -> int:
    """Read the body of a 409: 0 to 2^63 - 1. Raises MalformedInput."""
    if len(data) > MAX_SIZE_BYTES or not data.endswith(b"\n"):
        raise MalformedInput("the answer is no size that ends in a newline")
    return parse_decimal(data[:-1].decode("latin-1"), max_value=MAX_SIZE, what="the size in the answer")


def checkpoint_path(origin: str) -> str:
    """Below the monitoring prefix: where a witness serves its newest checkpoint of the log `origin`."""
    return f"{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"


def _check_proof(proof: tuple[bytes, ...]) -> None:
    if len(proof) > MAX_PROOF_LINES:
        raise MalformedBody(f"the proof has {len(proof)} hashes, more than {MAX_PROOF_LINES}")
    if any(len(node) != HASH_BYTES for node in proof):
        raise MalformedBody(f"a hash of the proof does not have {HASH_BYTES} bytes")


def _join(lines: list[str], proof: tuple[bytes, ...], note: bytes) -> bytes:
    head = "".join(line + "\n" for line in (*lines, *map(format_base64, proof)))
    return head.encode() + b"\n" + note


def _split(data: bytes) -> tuple[list[str], bytes]:
    """The lines before the first empty line, at least one, and what stands behind it."""
    if len(data) > MAX_REQUEST_BYTES:
        raise TooLarge(f"the request has more than {MAX_REQUEST_BYTES} bytes")
    head, separator, note = data.partition(b"\n\n")
    if not separator:
        raise MalformedBody("no empty line separates the proof from the checkpoint")
    try:
        return head.decode("ascii").split("\n"), note
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the request is not ASCII before the checkpoint (byte {error.start})") from error


def _parse_proof(lines: list[str]) -> tuple[bytes, ...]:
    if len(lines) > MAX_PROOF_LINES:
        raise MalformedBody(f"the proof has {len(lines)} hashes, more than {MAX_PROOF_LINES}")
    try:
        return tuple(parse_base64(line, length=HASH_BYTES, what="a hash of the proof") for line in lines)
    except InputError as error:
        raise MalformedBody(error.detail) from error
