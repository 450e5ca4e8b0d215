"""The bytes that issuers sign with Ed25519: the wire format's section "Signed messages".

    "badge-ledger/v1 submission\\n" ‖ ori ‖ issuer[32] ‖ u64 key ‖ u32 count ‖ u64 not_after ‖ nonce[16]
                                    ‖ events_root[32] ‖ u8 algorithm
    "badge-ledger/v1 key\\n"        ‖ ori ‖ u8 action ‖ prev[32] ‖ u16 len ‖ identifier ‖ u8 roles ‖ u8 algorithm
                                    ‖ public key[32]
    "badge-ledger/v1 slots\\n"      ‖ ori ‖ issuer[32] ‖ u64 key ‖ u64 not_after ‖ nonce[16] ‖ u32 count

The first line names the purpose and `ori` (u8 length ‖ origin) the log, so that a signature made for one thing cannot
be shown for another. The fields are encoded as in their entries. Signs nothing and verifies nothing.
"""

from __future__ import annotations

import struct
from hashlib import sha256

from ledger.entry import (
    ADD,
    ALG_ED25519,
    MAX_U64,
    RETIRE,
    Submission,
    encode,
    encode_origin,
    identifier_bytes,
)
from ledger.errors import MalformedEntry

_SUBMISSION_TAG = b"badge-ledger/v1 submission\n"
_KEY_TAG = b"badge-ledger/v1 key\n"
_SLOTS_TAG = b"badge-ledger/v1 slots\n"
_KEY_HEAD = struct.Struct(">B32sH")
_KEY_TAIL = struct.Struct(">BB32s")
_SLOTS = struct.Struct(">32sQQ16sI")
#: Where the issuer's own fields stand in a submission entry: after version, type and the ledger's time.
_ISSUER_FIELDS = 10
_SIGNATURE_BYTES = 64


def submission_message(origin: str, submission: Submission) -> bytes:
    """What the issuer's key signs: all of the submission but the ledger's time and the signature itself.
    Raises MalformedEntry."""
    signed = encode(submission)[_ISSUER_FIELDS:-_SIGNATURE_BYTES]
    return b"".join((_SUBMISSION_TAG, encode_origin(origin), signed))


def idempotency_key(submission: Submission) -> bytes:
    """SHA-256 of the submission entry from issuer to signature: the same for each repetition of a request, whatever
    time the ledger gives it. Raises MalformedEntry."""
    return sha256(encode(submission)[_ISSUER_FIELDS:]).digest()


def key_message(
    origin: str, action: int, prev: bytes, identifier: str, roles: int, algorithm: int, public_key: bytes
) -> bytes:
    """What both the new key (possession_sig) and the manage key (manage_sig) sign. `prev` and `public_key` have 32
    bytes. Raises MalformedEntry."""
    if not (ADD <= action <= RETIRE and 1 <= roles <= 7 and algorithm == ALG_ED25519):
        raise MalformedEntry("a key message needs action 1 or 2, roles 1 to 7 and algorithm 1")
    if len(prev) != 32 or len(public_key) != 32:
        raise MalformedEntry("a key message needs 32 bytes of prev and 32 of public key")
    name = identifier_bytes(identifier)
    head = _KEY_HEAD.pack(action, prev, len(name))
    return b"".join((_KEY_TAG, encode_origin(origin), head, name, _KEY_TAIL.pack(roles, algorithm, public_key)))


def slots_message(origin: str, issuer: bytes, key: int, not_after: int, nonce: bytes, count: int) -> bytes:
    """What an issuing key signs to be handed `count` unused slots. `issuer` has 32 bytes, `nonce` 16; `not_after` in
    milliseconds; `count` 1 to 2^32 - 1. Raises MalformedEntry."""
    if len(issuer) != 32 or len(nonce) != 16:
        raise MalformedEntry("a slots message needs 32 bytes of issuer and 16 of nonce")
    if not (0 <= key <= MAX_U64 and 0 <= not_after <= MAX_U64 and 1 <= count < 2**32):
        raise MalformedEntry("a slots message needs key and not_after below 2^64 and a count from 1 to 2^32 - 1")
    return b"".join((_SLOTS_TAG, encode_origin(origin), _SLOTS.pack(issuer, key, not_after, nonce, count)))
