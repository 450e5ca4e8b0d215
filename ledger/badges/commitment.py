"""Commitments to badges (wire.md "Commitment"): what the log holds of a badge.

    commitment = SHA-256("badge-ledger/v1 commitment\\n" || u8 form || u8 saltlen (0 or 32) || salt || canonical)
    salt       = HMAC-SHA-256(salt_key[32], "badge-ledger/v1 salt\\n" || u8 form || canonical)

The same badge in any wrapping has the same commitment. A salt is derived, not drawn, so a rerun of an issuance gives
the same commitment; destroying the salt key and the salts is erasure.

What this does not do: keep salt keys, or verify the badge.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from ledger.badges.model import Badge
from ledger.errors import MalformedBadge

SALT_BYTES: Final = 32
SALT_KEY_BYTES: Final = 32
COMMITMENT_BYTES: Final = 32

_COMMITMENT_TAG = b"badge-ledger/v1 commitment\n"
_SALT_TAG = b"badge-ledger/v1 salt\n"


def needs_salt(badge: Badge) -> bool:
    """Whether the badge can be guessed: it holds no cryptographic proof, so its commitment has to be salted."""
    return not badge.signed


def commitment(badge: Badge, salt: bytes | None = None) -> bytes:
    """The 32 bytes that stand in the log for the badge; `salt` is 32 bytes or None.

    Raises MalformedBadge for a badge that needs a salt and gets none: that commitment would give the badge away to
    whoever guesses it, so nobody may log it and none that is logged so counts. Raises ValueError for a salt of another
    length.
    """
    if salt is None:
        if needs_salt(badge):
            raise MalformedBadge("the badge holds no cryptographic proof, so its commitment needs a salt")
        salt = b""
    elif len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    return hashlib.sha256(_COMMITMENT_TAG + bytes((badge.form, len(salt))) + salt + badge.canonical).digest()


def derive_salt(salt_key: bytes, badge: Badge) -> bytes:
    """The 32-byte salt of a badge under its issuer's salt key, 32 bytes too. Raises ValueError for another length."""
    if len(salt_key) != SALT_KEY_BYTES:
        raise ValueError(f"a salt key has {SALT_KEY_BYTES} bytes, not {len(salt_key)}")
    return hmac.digest(salt_key, _SALT_TAG + bytes((badge.form,)) + badge.canonical, "sha256")
