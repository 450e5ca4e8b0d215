"""Badges: Open Badges 1 to 3.0, CLR 2.0, Blockcerts 3, other credentials (JSON, JWS, JWT), plain or baked in PNG or
SVG, and the commitments to them.

    badge = read(data)
    nested(badge)                                                       -> the badges inside a CLR 2.0
    salt = derive_salt(salt_key, badge) if needs_salt(badge) else None
    commitment(badge, salt)                                             -> 32 bytes, what the log holds

This package reads; it verifies no badge's own signature. Importing it is cheap: what only images need is imported
when an image is read.
"""

from __future__ import annotations

from ledger.badges.addresses import strip_personal
from ledger.badges.baked import MAX_IMAGE_BYTES
from ledger.badges.commitment import COMMITMENT_BYTES, SALT_BYTES, SALT_KEY_BYTES, commitment, derive_salt, needs_salt
from ledger.badges.model import FORM_JSON, FORM_JWS, Badge, Kind, RecipientKind, StatusEntry, Wrapping, kind_name
from ledger.badges.read import MAX_NESTED, nested, read
from ledger.badges.strict_json import MAX_JSON_BYTES, MAX_NESTING, canonical_json, strict_json

__all__ = [
    "COMMITMENT_BYTES",
    "FORM_JSON",
    "FORM_JWS",
    "MAX_IMAGE_BYTES",
    "MAX_JSON_BYTES",
    "MAX_NESTED",
    "MAX_NESTING",
    "SALT_BYTES",
    "SALT_KEY_BYTES",
    "Badge",
    "Kind",
    "RecipientKind",
    "StatusEntry",
    "Wrapping",
    "canonical_json",
    "commitment",
    "derive_salt",
    "kind_name",
    "needs_salt",
    "nested",
    "read",
    "strict_json",
    "strip_personal",
]
