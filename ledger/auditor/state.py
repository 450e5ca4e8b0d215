"""Where an audit stopped: what the next run needs to go on, in one file that is replaced as a whole.

    "BLAS" || u8 version = 1 || SHA-256 of the rest[32] || msgpack of `State`

The file is the auditor's own record. It is not signed, and whoever can write it can make the auditor believe anything:
it belongs where only the auditor can write.
"""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from ledger.errors import InputError, OperationError

_MAGIC = b"BLAS\x01"


class State(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`note` is the newest head that passed (empty before the first), of `proven_size` leaves. Tiles and snapshot are
    those at the end of a unit, at or past that size: an audit may be interrupted between two heads."""

    origin: str
    note: bytes
    proven_size: int
    proven_root: bytes
    size: int
    partials: list[bytes]
    snapshot: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(State)


def load_state(path: Path) -> State | None:
    """The state in the file; None if there is no file. Raises InputError for one that is damaged or no state."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from error
    magic, digest, body = data[: len(_MAGIC)], data[len(_MAGIC) : len(_MAGIC) + 32], data[len(_MAGIC) + 32 :]
    if magic != _MAGIC or sha256(body).digest() != digest:
        raise InputError(f"{path}: no state of an audit, or a damaged one; without it the audit begins at entry 0")
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the state cannot be read: {error}") from error


def save_state(path: Path, state: State) -> None:
    """Replace the file; after a crash it holds the old state or the new one. Raises OperationError."""
    body = _encoder.encode(state)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(_MAGIC + sha256(body).digest() + body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise OperationError(f"{path}: {(error.strerror or str(error)).lower()}") from error
