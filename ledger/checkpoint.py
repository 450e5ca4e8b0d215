"""Checkpoints, the signed heads of a log: c2sp.org/tlog-checkpoint.

    <origin>                       the log's name
    <tree size>                    decimal, no leading zeros
    <root hash>                    base64 of the 32-byte RFC 6962 root at that size

Three lines, each ending in a newline, are the whole text of the note. The specification allows extension lines and
advises against them: monitors cannot audit them and ML-DSA-44 cosignatures do not cover them. Here a checkpoint with
extension lines is refused, whoever signed it.

What this module does not do: prove that one checkpoint extends another (ledger/merkle.py), verify cosignatures
(ledger/cosignature.py), or check that the root fits the size.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger.errors import MalformedInput, MalformedNote, SignatureInvalid
from ledger.note import Note, VerifierKey, find_lines, is_clean, parse_note, verify_line
from ledger.text import format_base64, parse_base64, parse_decimal

MAX_SIZE: Final = 2**63 - 1
ROOT_BYTES: Final = 32


class Checkpoint(msgspec.Struct, frozen=True):
    """A head: origin, tree size (0 to 2^63 - 1) and root (32 bytes). Raises MalformedNote.

    The specification wants the origin not empty, on one line, and nothing more: it may hold spaces.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or "\n" in self.origin or not is_clean(self.origin):
            raise MalformedNote("the origin of a checkpoint is empty or holds a control character")
        if not 0 <= self.size <= MAX_SIZE:
            raise MalformedNote(f"the tree size {self.size} is not between 0 and 2^63 - 1")
        if len(self.root) != ROOT_BYTES:
            raise MalformedNote(f"the root hash of a checkpoint has {len(self.root)} bytes, not {ROOT_BYTES}")


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """The text of the note: three lines."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{format_base64(checkpoint.root)}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a note, with its final newline. Raises MalformedNote, on extension lines too."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1]:
        raise MalformedNote("a checkpoint has three lines, each ending in a newline")
    if "" in lines[:-1]:
        raise MalformedNote("a checkpoint holds an empty line")
    if len(lines) > 4:
        raise MalformedNote("the checkpoint has extension lines, which monitors cannot audit: refused")
    try:
        size = parse_decimal(lines[1], max_value=MAX_SIZE, what="the tree size of a checkpoint")
        root = parse_base64(lines[2], length=ROOT_BYTES, what="the root hash of a checkpoint")
    except MalformedInput as error:
        raise MalformedNote(error.detail) from error
    return Checkpoint(lines[0], size, root)


def open_checkpoint(data: bytes, log_key: VerifierKey) -> tuple[Checkpoint, Note]:
    """Read a checkpoint and verify the signature by the log's Ed25519 key (algorithm 1), whose name is the origin.

    Other signatures are left in the note unverified. Raises MalformedNote or SignatureInvalid; ValueError on a key of
    another algorithm (a head signed only by ML-DSA-44 is for `ledger.policy.evaluate`).
    """
    note = parse_note(data)
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != log_key.name:
        raise SignatureInvalid(f"the checkpoint is of {checkpoint.origin[:80]!r}, not of {log_key.name!r}")
    lines = find_lines(note, [log_key])
    if not lines:
        raise SignatureInvalid(f"the checkpoint is not signed by the key {log_key.key_id.hex()} of {log_key.name!r}")
    for key, line in lines:
        verify_line(note.text, key, line)
    return checkpoint, note
