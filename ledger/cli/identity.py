"""The issuer behind a key file, and the ledger it talks to: who signs, for which log.

A key file remembers its identifier and, once registered, the log index of its key entry, so that commands need only
--key. Signatures name the log's origin; a hostile server that claimed another log's origin could collect signatures
for that log. So where a policy is given, the origin has to be that of a log in it whose signature is on the checkpoint.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from ledger.answers import LogInfo
from ledger.checkpoint import parse_checkpoint
from ledger.entry import issuer_id
from ledger.errors import KeyFileError, NotFound, OperationError, SignatureInvalid
from ledger.keyfile import ISSUER_ED25519, PrivateKey, load_key, load_salt_key, replace_key
from ledger.note import parse_note, parse_vkey
from ledger.policy import NONE, LogRule, Policy, evaluate
from ledger.signing import Ed25519Key

if TYPE_CHECKING:
    from ledger.client import LedgerClient

#: How long a signature of ours may be used by whoever carries it, milliseconds; repetitions end with it.
WINDOW_MS: Final = 3_600_000
#: Host, perhaps a port, and a path (RFC 3986) that ends in a slash: what can stand in badges without being escaped.
_LISTS_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+/(?:[A-Za-z0-9._~!$&'()*+,;=:@%-]+/)*", re.ASCII)


class Identity(msgspec.Struct, frozen=True):
    """An issuer that can sign: its key, identifier and id (SHA-256 of the identifier, 32 bytes)."""

    path: Path
    key: Ed25519Key
    identifier: str
    issuer: bytes
    key_index: int | None

    @property
    def index(self) -> int:
        """The key's log index. Raises KeyFileError for a key that is not registered."""
        if self.key_index is None:
            raise KeyFileError(f"{self.path}: the key is not registered: badge-ledger issuer add --key {self.path}")
        return self.key_index


class Log(msgspec.Struct, frozen=True):
    """The log that a URL leads to: origin, a policy of nothing but its keys, and what it says about itself."""

    origin: str
    keys: Policy
    info: LogInfo

    @property
    def status_lists(self) -> str:
        """Address of the ledger's W3C status lists, ending in a slash: `<it><list>/<purpose>`. Raises OperationError
        for what cannot stand in badges as that."""
        stated = self.info.status_lists or f"https://{self.origin}/status/"
        if _LISTS_ADDRESS.fullmatch(stated) is None:
            raise OperationError(
                f"the ledger states {stated[:200]!r} as the address of its status lists, which is none"
            )
        return stated


def load_identity(path: Path) -> Identity:
    """The issuer of a key file. Raises KeyFileError, also for one that names no identifier."""
    stored = load_key(path)
    if stored.kind != ISSUER_ED25519:
        raise KeyFileError(f"{path}: a key of kind {stored.kind}, not {ISSUER_ED25519}")
    if stored.issuer is None:
        raise KeyFileError(f"{path}: belongs to no issuer yet: badge-ledger issuer add --key {path}")
    return Identity(path, stored.ed25519(), stored.issuer, issuer_id(stored.issuer), stored.key_index)


def remember(path: Path, identifier: str, key_index: int) -> None:
    """Write identifier and key index into a key file. Raises KeyFileError."""
    stored = load_key(path)
    if (stored.issuer, stored.key_index) != (identifier, key_index):
        replace_key(path, msgspec.structs.replace(stored, issuer=identifier, key_index=key_index))


async def with_index(identity: Identity, client: LedgerClient) -> Identity:
    """The identity with its key index, asked of the ledger once and then remembered in the key file."""
    if identity.key_index is not None:
        return identity
    try:
        document = await client.issuer(identity.issuer)
    except NotFound:
        raise KeyFileError(
            f"{identity.path}: {client.url} knows no issuer {identity.identifier}: "
            f"badge-ledger issuer add --key {identity.path}"
        ) from None
    public = identity.key.public_key.hex()
    found = next((key for key in document.keys if key.public_key == public), None)
    if found is None:
        raise KeyFileError(f"{identity.path}: is no key of {identity.identifier}: badge-ledger issuer keys --add")
    remember(identity.path, identity.identifier, found.index)
    return msgspec.structs.replace(identity, key_index=found.index)


async def open_log(client: LedgerClient, policy: Policy | None) -> Log:
    """Which log this is. With a policy, its checkpoint has to be signed by a log of that; without, its word is taken.

    Raises SignatureInvalid, MalformedNote, or what the client raises.
    """
    info = await client.log_info()
    if policy is not None:
        rules = tuple(rule for rule in policy.logs if rule.vkey.name == info.origin)
        if not rules:
            raise SignatureInvalid(
                f"{client.url} is the log {info.origin!r} by its own word; the policy does not name it"
            )
    else:
        rules = tuple(LogRule(key) for key in map(parse_vkey, info.verifier_keys) if key.name == info.origin)
        if not rules:
            raise SignatureInvalid(f"{client.url} states no key of its log {info.origin!r}")
    keys = Policy(rules, {}, {}, NONE)
    note = parse_note(info.checkpoint.encode())
    evaluate(keys, parse_checkpoint(note.text), note, now_s=0, max_age_s=None)
    return Log(info.origin, keys, info)


def salt_key_path(key: Path) -> Path:
    """Where the salt key of an issuer lies: beside its key."""
    return key.with_name(key.name + ".salt")


def load_salt(path: Path) -> bytes:
    """The salt key (32 bytes). Raises KeyFileError, with what to do if there is none."""
    if not path.exists():
        raise KeyFileError(
            f"{path}: no such salt key, and a badge without a proof needs one: name the one that this issuer uses with "
            f"--salt-key, or make the first: badge-ledger keygen --kind salt {path}"
        )
    return load_salt_key(path)


def new_nonce() -> bytes:
    """16 random bytes."""
    return secrets.token_bytes(16)


def new_key(kind: str, *, name: str | None = None, issuer: str | None = None) -> PrivateKey:
    """A key of fresh randomness."""
    return PrivateKey(kind, secrets.token_bytes(32), name=name, issuer=issuer)
