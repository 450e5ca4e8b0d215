"""Cosignatures of checkpoints, with the time at which they were made: c2sp.org/tlog-cosignature.

    signature, in a note line     u64 timestamp ‖ Ed25519 signature[64]        key of algorithm 4
                                  u64 timestamp ‖ ML-DSA-44 signature[2420]    key of algorithm 6

    Ed25519 signs      "cosignature/v1\\ntime <timestamp>\\n" ‖ the checkpoint's text
    ML-DSA-44 signs    "subtree/v1\\n\\0" ‖ u8 length ‖ cosigner's name ‖ u64 timestamp ‖ u8 length ‖ origin
                       ‖ u64 start ‖ u64 end ‖ root[32]                        start 0 and end = size for a checkpoint

Timestamps are seconds since the Unix epoch, 0 to 2^63 - 1, big-endian. One that is not zero says: this is the largest
tree of this log that the cosigner had seen by then. An ML-DSA-44 cosignature with timestamp zero says only that the
tree is consistent with what it had seen.

What this module does not do: decide whether a timestamp is fresh or a cosigner trusted (ledger/policy.py), check
consistency before cosigning (the witness does), or verify cosignatures of subtrees that are no checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ledger.checkpoint import Checkpoint, format_checkpoint, parse_checkpoint
from ledger.errors import MalformedNote, SignatureInvalid
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
from ledger.signing import (
    ED25519_SIG_BYTES,
    MLDSA44_SIG_BYTES,
    Ed25519Key,
    MLDSA44Key,
    verify_ed25519,
    verify_mldsa44,
)

MAX_TIMESTAMP_S: Final = 2**63 - 1
TIMESTAMP_BYTES: Final = 8

_MLDSA_LABEL: Final = b"subtree/v1\n\0"
_SIGNATURE_BYTES: Final = {
    ED25519_COSIGNATURE: TIMESTAMP_BYTES + ED25519_SIG_BYTES,
    MLDSA44_COSIGNATURE: TIMESTAMP_BYTES + MLDSA44_SIG_BYTES,
}


def ed25519_message(timestamp_s: int, checkpoint_text: str) -> bytes:
    """What an Ed25519 cosigner signs; the text has its final newline."""
    return f"cosignature/v1\ntime {timestamp_s}\n{checkpoint_text}".encode()


def mldsa_message(cosigner_name: str, timestamp_s: int, origin: str, start: int, end: int, root: bytes) -> bytes:
    """What an ML-DSA-44 cosigner signs about leaves [start, end) and their 32-byte root.

    Raises MalformedNote if name or origin do not have 1 to 255 bytes, or a subtree that starts after 0 has a timestamp.
    """
    if start and timestamp_s:
        raise MalformedNote("the cosignature of a subtree that does not start at 0 has a timestamp")
    return b"".join(
        (
            _MLDSA_LABEL,
            _short(cosigner_name, "the name of a cosigner"),
            timestamp_s.to_bytes(8, "big"),
            _short(origin, "the origin of a log"),
            start.to_bytes(8, "big"),
            end.to_bytes(8, "big"),
            root,
        )
    )


def cosign(checkpoint: Checkpoint, name: str, key: Ed25519Key | MLDSA44Key, timestamp_s: int) -> SignatureLine:
    """The line by which `name` states that it saw this checkpoint at that time, the largest so far.

    Raises ValueError on a time outside 0 to 2^63 - 1; MalformedNote on a name or origin that cannot be signed.
    """
    if not 0 <= timestamp_s <= MAX_TIMESTAMP_S:
        raise ValueError(f"the timestamp {timestamp_s} is not between 0 and 2^63 - 1")
    algorithm = ED25519_COSIGNATURE if isinstance(key, Ed25519Key) else MLDSA44_COSIGNATURE
    verifier = VerifierKey(name, algorithm, key.public_key)
    signature = key.sign(_message(checkpoint, verifier, timestamp_s))
    return SignatureLine(name, verifier.key_id, timestamp_s.to_bytes(TIMESTAMP_BYTES, "big") + signature)


def verify_cosignature(checkpoint: Checkpoint, key: VerifierKey, line: SignatureLine) -> int:
    """Verify a cosignature of this checkpoint and return its timestamp in seconds.

    Raises SignatureInvalid; MalformedNote if ML-DSA-44 cannot sign so long an origin; ValueError if the key is not of
    algorithm 4 or 6.
    """
    length = _SIGNATURE_BYTES.get(key.algorithm)
    if length is None:
        raise ValueError(f"a key of algorithm {key.algorithm} makes no cosignatures")
    if not line.is_by(key):
        raise SignatureInvalid(f"the signature line is by another key than {key.name!r}")
    if len(line.signature) != length:
        raise SignatureInvalid(f"the cosignature by {key.name!r} has {len(line.signature)} bytes, not {length}")
    timestamp_s = int.from_bytes(line.signature[:TIMESTAMP_BYTES], "big")
    if timestamp_s > MAX_TIMESTAMP_S:
        raise SignatureInvalid(f"the timestamp of the cosignature by {key.name!r} is larger than 2^63 - 1")
    verify = verify_ed25519 if key.algorithm == ED25519_COSIGNATURE else verify_mldsa44
    try:
        verify(key.public_key, _message(checkpoint, key, timestamp_s), line.signature[TIMESTAMP_BYTES:])
    except SignatureInvalid as error:
        raise SignatureInvalid(f"the cosignature by {key.name!r} does not verify") from error
    return timestamp_s


def open_by_log(data: bytes, keys: Sequence[VerifierKey]) -> tuple[Checkpoint, Note]:
    """Read a checkpoint that at least one of these keys of its log (algorithm 1 or 6, named as the origin) signed.

    Every line by one of them has to verify; other lines are left unverified. Raises MalformedNote, SignatureInvalid.
    """
    note = parse_note(data)
    checkpoint = parse_checkpoint(note.text)
    lines = find_lines(note, [key for key in keys if key.name == checkpoint.origin])
    if not lines:
        raise SignatureInvalid(f"the checkpoint of {checkpoint.origin[:80]!r} is not signed by a key of that log")
    for key, line in lines:
        if key.algorithm == ED25519:
            verify_line(note.text, key, line)
        else:
            verify_cosignature(checkpoint, key, line)
    return checkpoint, note


def _message(checkpoint: Checkpoint, key: VerifierKey, timestamp_s: int) -> bytes:
    if key.algorithm == ED25519_COSIGNATURE:
        return ed25519_message(timestamp_s, format_checkpoint(checkpoint))
    return mldsa_message(key.name, timestamp_s, checkpoint.origin, 0, checkpoint.size, checkpoint.root)


def _short(text: str, what: str) -> bytes:
    data = text.encode()
    if not 1 <= len(data) <= 255:
        raise MalformedNote(f"{what} has {len(data)} bytes, not 1 to 255")
    return bytes([len(data)]) + data
