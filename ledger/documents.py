"""What the host of an issuer's identifier publishes: where it stands, and whether a key is named there. Pure.

    did:web:HOST[:PATH...]     https://HOST/PATH/did.json (without a path /.well-known/did.json), then as below
    https://HOST...            https://HOST/.well-known/badge-ledger.json
                               {"keys": [{"identifier": "https://...", "public_key": "<64 hex digits>"}]}

Who asks: the ledger when a key is registered, and auditors who ask again. What this does not do: fetch.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from ledger.base58 import parse_base58
from ledger.errors import LedgerError

#: Fetches a document of somebody's host: url -> body, at most 64 KiB. Raises LedgerError.
Fetch = Callable[[str], Awaitable[bytes]]

_NOT_IN_DID_WEB = re.compile(r"[/\\?#@\s\x00-\x1f]")


def document_urls(identifier: str) -> list[str]:
    """Where the host of an identifier may publish keys: DID document (did:web) and badge-ledger.json; may be empty."""
    if identifier.startswith("did:web:"):
        parts = [unquote(part) for part in identifier[8:].split(":")]
        # What would change the meaning of the URL that the parts are put into is no part of a did:web.
        if not parts[0] or any(not part or _NOT_IN_DID_WEB.search(part) for part in parts):
            return []
        path = "/".join(parts[1:]) or ".well-known"
        return [
            f"https://{parts[0]}/{path}/did.json",
            f"https://{parts[0]}/.well-known/badge-ledger.json",
        ]
    try:
        url = urlsplit(identifier)
    except ValueError:  # such as http://[ without its other bracket
        return []
    if url.scheme in ("http", "https") and url.hostname:
        return [f"{url.scheme}://{url.netloc.rpartition('@')[2]}/.well-known/badge-ledger.json"]
    return []


def document_has_key(document: bytes, identifier: str, public_key: bytes) -> bool:
    """Whether a DID document or a badge-ledger.json names this Ed25519 key as one of this identifier's.

    badge-ledger.json: {"keys": [{"identifier": "https://…", "public_key": "<64 hex digits>"}]}
    """
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError):
        return False
    if not isinstance(parsed, dict):
        return False
    for key in _dicts(parsed.get("keys")):
        if key.get("identifier") == identifier and key.get("public_key") == public_key.hex():
            return True
    if parsed.get("id") != identifier:
        return False
    return any(_method_key(method) == public_key for method in _dicts(parsed.get("verificationMethod")))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _method_key(method: dict[str, Any]) -> bytes | None:
    """The Ed25519 key of a DID document's verification method (Multikey or JsonWebKey), if it is one."""
    multibase = method.get("publicKeyMultibase")
    if isinstance(multibase, str) and multibase.startswith("z") and len(multibase) < 128:
        try:
            raw = parse_base58(multibase[1:])
        except LedgerError:
            return None
        return raw[2:] if raw[:2] == b"\xed\x01" and len(raw) == 34 else None
    jwk = method.get("publicKeyJwk")
    if (
        isinstance(jwk, dict)
        and jwk.get("kty") == "OKP"
        and jwk.get("crv") == "Ed25519"
        and isinstance(jwk.get("x"), str)
    ):
        try:
            return base64.urlsafe_b64decode(jwk["x"] + "=" * (-len(jwk["x"]) % 4))
        except (ValueError, binascii.Error):
            return None
    return None
