"""Private key files: small text files that only their owner can read.

    badge-ledger private key v1
    kind: issuer-ed25519
    public: <base64>                 what belongs to the seed; a damaged file does not load
    name: <key name>                 note keys only: the log's origin, the witness's name
    issuer: <identifier>             optional, issuer keys: the DID or URL that it signs for
    key-index: <decimal>             optional, issuer keys: log index of the entry that added the key
    seed: <base64 of 32 bytes>

Lines in this order, each ending in a newline; what is optional is left out. Kinds and what `public` is:

    issuer-ed25519     the Ed25519 public key, 32 bytes
    log-ed25519        the same; note key of algorithm 1
    witness-ed25519    the same; note key of algorithm 4
    log-mldsa44        the ML-DSA-44 public key, 1312 bytes; note key of algorithm 6
    witness-mldsa44    the same
    salt               SHA-256("badge-ledger/v1 salt key\\n" ‖ key), 32 bytes; the seed is the salt key itself

A file is refused unless it is a regular file, no symbolic link, of this process's user (or root), without any
permission for group or others. It is written under another name, synced and then given its own, so a crash leaves the
whole file or none; creating never replaces a file, and replacing never changes its seed.

What this module does not do: draw seeds, encrypt files, or talk to hardware that keeps keys.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from ledger.entry import identifier_bytes
from ledger.errors import KeyFileError, LedgerError
from ledger.note import ED25519, ED25519_COSIGNATURE, MLDSA44_COSIGNATURE, VerifierKey, check_name
from ledger.signing import Ed25519Key, MLDSA44Key
from ledger.text import format_base64, parse_base64, parse_decimal

HEADER: Final = "badge-ledger private key v1"
SEED_BYTES: Final = 32
MAX_FILE_BYTES: Final = 16 << 10
#: Log entries and what ML-DSA-44 signs hold a name behind one length byte.
MAX_NAME_BYTES: Final = 255

ISSUER_ED25519: Final = "issuer-ed25519"
LOG_ED25519: Final = "log-ed25519"
LOG_MLDSA44: Final = "log-mldsa44"
WITNESS_ED25519: Final = "witness-ed25519"
WITNESS_MLDSA44: Final = "witness-mldsa44"
SALT: Final = "salt"

#: Algorithm of the note keys among the kinds.
_ALGORITHMS: Final = {
    LOG_ED25519: ED25519,
    LOG_MLDSA44: MLDSA44_COSIGNATURE,
    WITNESS_ED25519: ED25519_COSIGNATURE,
    WITNESS_MLDSA44: MLDSA44_COSIGNATURE,
}
_MLDSA44_KINDS: Final = (LOG_MLDSA44, WITNESS_MLDSA44)
_KINDS: Final = (ISSUER_ED25519, SALT, *_ALGORITHMS)
_SALT_TAG: Final = b"badge-ledger/v1 salt key\n"


class PrivateKey(msgspec.Struct, frozen=True):
    """What a key file holds. The seed (32 bytes) is in no repr. Raises KeyFileError on fields that do not fit."""

    kind: str
    seed: bytes
    name: str | None = None
    issuer: str | None = None
    key_index: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise KeyFileError(f"unknown kind of key {self.kind[:40]!r}")
        if len(self.seed) != SEED_BYTES:
            raise KeyFileError(f"the seed of a key has {len(self.seed)} bytes, not {SEED_BYTES}")
        if (self.name is not None) != (self.kind in _ALGORITHMS):
            raise KeyFileError(f"a key of kind {self.kind} has {'a' if self.kind in _ALGORITHMS else 'no'} name")
        if self.kind != ISSUER_ED25519 and (self.issuer is not None or self.key_index is not None):
            raise KeyFileError(f"a key of kind {self.kind} belongs to no issuer")
        try:
            if self.name is not None:
                check_name(self.name)
            if self.issuer is not None:
                identifier_bytes(self.issuer)
        except LedgerError as error:
            raise KeyFileError(error.detail) from error
        if self.name is not None and len(self.name.encode()) > MAX_NAME_BYTES:
            raise KeyFileError(f"the name of a key has more than {MAX_NAME_BYTES} bytes")
        if self.key_index is not None and not 0 <= self.key_index < 2**63:
            raise KeyFileError(f"the key index {self.key_index} is not between 0 and 2^63 - 1")

    def ed25519(self) -> Ed25519Key:
        """The Ed25519 key. Raises KeyFileError for a key of another kind."""
        if self.kind == SALT or self.kind in _MLDSA44_KINDS:
            raise KeyFileError(f"a key of kind {self.kind} is no Ed25519 key")
        return Ed25519Key.from_seed(self.seed)

    def mldsa44(self) -> MLDSA44Key:
        """The ML-DSA-44 key. Raises KeyFileError for a key of another kind."""
        if self.kind not in _MLDSA44_KINDS:
            raise KeyFileError(f"a key of kind {self.kind} is no ML-DSA-44 key")
        return MLDSA44Key.from_seed(self.seed)

    @property
    def public(self) -> bytes:
        """The public key, 32 or 1312 bytes; of a salt key the 32-byte fingerprint."""
        if self.kind == SALT:
            return hashlib.sha256(_SALT_TAG + self.seed).digest()
        return self.mldsa44().public_key if self.kind in _MLDSA44_KINDS else self.ed25519().public_key

    def verifier_key(self) -> VerifierKey:
        """The public key as others configure it. Raises KeyFileError for issuer and salt keys."""
        if self.name is None:
            raise KeyFileError(f"a key of kind {self.kind} signs no notes")
        return VerifierKey(self.name, _ALGORITHMS[self.kind], self.public)

    def __repr__(self) -> str:
        return f"PrivateKey(kind={self.kind!r}, name={self.name!r}, issuer={self.issuer!r}, seed=…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What rich shows instead of the fields, in tracebacks too."""
        return [("kind", self.kind), ("name", self.name), ("issuer", self.issuer)]


def format_key(key: PrivateKey) -> str:
    """The text of a key file."""
    fields = {
        "kind": key.kind,
        "public": format_base64(key.public),
        "name": key.name,
        "issuer": key.issuer,
        "key-index": None if key.key_index is None else str(key.key_index),
        "seed": format_base64(key.seed),
    }
    return f"{HEADER}\n" + "".join(f"{label}: {value}\n" for label, value in fields.items() if value is not None)


def parse_key(text: str) -> PrivateKey:
    """Read the text of a key file. Raises KeyFileError; its message never holds what was in the seed's line."""
    lines = text.split("\n")
    if lines[0] != HEADER:
        raise KeyFileError(f"the first line is not {HEADER!r}")
    fields: dict[str, str] = {}
    for number, line in enumerate(lines[1:-1], 2):
        label, colon, value = line.partition(": ")
        if not colon or label in fields:
            raise KeyFileError(f"line {number} is not of the form field: value, or repeats a field")
        fields[label] = value
    try:
        index = fields.get("key-index")
        key = PrivateKey(
            kind=fields["kind"],
            seed=_parse_seed(fields["seed"]),
            name=fields.get("name"),
            issuer=fields.get("issuer"),
            key_index=None if index is None else parse_decimal(index, what="the key index"),
        )
        public = parse_base64(fields["public"], what="the public part")
    except KeyError as error:
        raise KeyFileError(f"the field {error.args[0]} is missing") from None
    except KeyFileError:
        raise
    except LedgerError as error:
        raise KeyFileError(error.detail) from error
    if public != key.public:
        raise KeyFileError("the public part does not belong to the seed: the file is damaged")
    if format_key(key) != text:
        raise KeyFileError("the fields are not in their order, one is unknown, or the last newline is missing")
    return key


def load_key(path: str | os.PathLike[str]) -> PrivateKey:
    """Read a key file; the module docstring says which files are refused. Raises KeyFileError naming the path."""
    try:
        # Not following links, and not waiting for the writer of a pipe that somebody put here.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise KeyFileError(f"{path}: {_reason(error)}") from error
    try:
        status = os.fstat(fd)  # of the file that is open, whatever the path names by now
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"{path}: not a regular file")
        data = b""
        while len(data) <= MAX_FILE_BYTES and (piece := os.read(fd, MAX_FILE_BYTES)):
            data += piece
        if not data.startswith(HEADER.encode()):
            # No word about permissions to who has named another file, which may well be for everybody.
            raise KeyFileError(f"{path}: is no key file: its first line is not {HEADER!r}")
        _check_private(path, status)
    except OSError as error:
        raise KeyFileError(f"{path}: {_reason(error)}") from error
    finally:
        os.close(fd)
    if len(data) > MAX_FILE_BYTES:
        raise KeyFileError(f"{path}: longer than a key file can be")
    try:
        return parse_key(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise KeyFileError(f"{path}: not UTF-8") from None
    except KeyFileError as error:
        raise KeyFileError(f"{path}: {error.detail}") from error


def create_key(path: str | os.PathLike[str], key: PrivateKey) -> None:
    """Write a new key file with mode 0600. Raises KeyFileError if anything, a dangling link too, has that name."""
    target = Path(path)
    temporary = _write_beside(target, key)
    try:
        os.link(temporary, target)  # unlike a rename, a link never replaces what is there
    except OSError as error:
        raise KeyFileError(f"{path}: {_reason(error)}") from error
    finally:
        _unlink(temporary)
    _sync_directory(target)


def replace_key(path: str | os.PathLike[str], key: PrivateKey) -> None:
    """Write a key file anew, to fill in issuer or key index. Raises KeyFileError if it would lose another key."""
    present = load_key(path)
    if (present.kind, present.seed, present.name) != (key.kind, key.seed, key.name):
        raise KeyFileError(f"{path}: holds another key, which is not overwritten")
    target = Path(path)
    temporary = _write_beside(target, key)
    try:
        os.replace(temporary, target)
    except OSError as error:
        _unlink(temporary)
        raise KeyFileError(f"{path}: {_reason(error)}") from error
    _sync_directory(target)


def load_issuer_key(path: str | os.PathLike[str]) -> Ed25519Key:
    """The Ed25519 key in an issuer's key file. Raises KeyFileError."""
    return _load(path, ISSUER_ED25519).ed25519()


def save_issuer_key(
    path: str | os.PathLike[str], key: Ed25519Key, *, issuer: str | None = None, key_index: int | None = None
) -> None:
    """Create an issuer's key file. Raises KeyFileError."""
    create_key(path, PrivateKey(ISSUER_ED25519, key.seed, issuer=issuer, key_index=key_index))


def load_log_key(path: str | os.PathLike[str]) -> tuple[str, Ed25519Key]:
    """Origin and key in the Ed25519 key file of a log. Raises KeyFileError."""
    found = _load(path, LOG_ED25519)
    return found.name or "", found.ed25519()


def save_log_key(path: str | os.PathLike[str], origin: str, key: Ed25519Key | MLDSA44Key) -> None:
    """Create a log's key file. Raises KeyFileError."""
    kind = LOG_ED25519 if isinstance(key, Ed25519Key) else LOG_MLDSA44
    create_key(path, PrivateKey(kind, key.seed, name=origin))


def load_log_mldsa44_key(path: str | os.PathLike[str]) -> tuple[str, MLDSA44Key]:
    """Origin and key in the ML-DSA-44 key file of a log. Raises KeyFileError."""
    found = _load(path, LOG_MLDSA44)
    return found.name or "", found.mldsa44()


def load_salt_key(path: str | os.PathLike[str]) -> bytes:
    """The 32-byte salt key of an issuer. Raises KeyFileError."""
    return _load(path, SALT).seed


def save_salt_key(path: str | os.PathLike[str], salt_key: bytes) -> None:
    """Create the file of a 32-byte salt key. Raises KeyFileError."""
    create_key(path, PrivateKey(SALT, salt_key))


def _load(path: str | os.PathLike[str], kind: str) -> PrivateKey:
    key = load_key(path)
    if key.kind != kind:
        raise KeyFileError(f"{path}: a key of kind {key.kind}, not {kind}")
    return key


def _parse_seed(text: str) -> bytes:
    try:
        return parse_base64(text, length=SEED_BYTES, what="the seed")
    except LedgerError:
        raise KeyFileError("the seed is not the base64 of 32 bytes") from None


def _check_private(path: str | os.PathLike[str], status: os.stat_result) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(f"{path}: belongs to user {status.st_uid}; it must belong to who uses it")
    if status.st_mode & 0o077:
        raise KeyFileError(f"{path}: open to group or others (mode {status.st_mode & 0o777:04o}); chmod 600 it")


def _write_beside(target: Path, key: PrivateKey) -> Path:
    """A synced file with mode 0600 in the directory of `target`, for it to be renamed or linked."""
    text = format_key(key).encode()
    # A leftover of a killed process with the same number is in the way; unlinking it removes no key that has a name.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    _unlink(temporary)
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KeyFileError(f"{target}: {_reason(error)}") from error
    try:
        os.fchmod(fd, 0o600)  # an umask may have taken the owner's own bits
        written = 0
        while written < len(text):
            written += os.write(fd, text[written:])
        os.fsync(fd)
    except OSError as error:
        _unlink(temporary)
        raise KeyFileError(f"{target}: {_reason(error)}") from error
    finally:
        os.close(fd)
    return temporary


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _sync_directory(target: Path) -> None:
    """Make the name durable: a key that signed something must still be there after a power cut."""
    try:
        fd = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise KeyFileError(f"{target}: written, but its directory cannot be synced: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
