"""Files of badges and receipts: what is read, under which name a receipt lies, and writing that never leaves half.

alice.json, alice.png, ...     a badge
alice.receipt.json             its receipt; alice.json.receipt.json where two badges share the name alice
alice.receipt                  packed ("BLR1")
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ledger.errors import InputError, LedgerError, NotFound, TooLarge

if TYPE_CHECKING:
    from ledger.badges import Badge
    from ledger.receipt import Receipt

RECEIPT_SUFFIX: Final = ".receipt.json"
PACKED_SUFFIX: Final = ".receipt"
PROOF_SUFFIX: Final = ".tlog-proof"
#: What a folder's files must end in to be taken for badges.
BADGE_SUFFIXES: Final = (".json", ".jsonld", ".jwt", ".jws", ".png", ".svg", ".txt")
MAX_BADGE_FILE_BYTES: Final = 32 << 20
MAX_RECEIPT_FILE_BYTES: Final = 1 << 17
_MAX_SEARCHED: Final = 2000


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The file's bytes. Raises InputError where it cannot be read, TooLarge."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from error
    if len(data) > max_bytes:
        raise TooLarge(f"{path}: longer than {max_bytes} bytes")
    return data


def read_badge(path: Path) -> Badge:
    """The badge in a file. Raises MalformedBadge and other InputErrors that name the file."""
    from ledger import badges

    try:
        return badges.read(read_bounded(path, MAX_BADGE_FILE_BYTES))
    except LedgerError as error:
        raise _named(error, path) from error


def read_receipt(path: Path) -> Receipt:
    """The receipt in a file, in either form. Raises MalformedReceipt and other InputErrors that name the file."""
    from ledger.receipt_json import load

    try:
        return load(read_bounded(path, MAX_RECEIPT_FILE_BYTES))
    except LedgerError as error:
        raise _named(error, path) from error


def is_receipt(path: Path) -> bool:
    """Whether the name is a receipt's."""
    return path.name.endswith((RECEIPT_SUFFIX, PACKED_SUFFIX))


def receipt_name(badge: Path, suffix: str = RECEIPT_SUFFIX, *, whole: bool = False) -> str:
    """The name of a badge's receipt; `whole` keeps the badge's ending."""
    return (badge.name if whole else badge.stem) + suffix


def receipts_beside(badge: Path, directory: Path | None = None) -> Iterator[Path]:
    """Existing files that by their name are the badge's receipt, the likeliest first."""
    folder = directory or badge.parent
    for suffix in (RECEIPT_SUFFIX, PACKED_SUFFIX):
        for whole in (True, False):
            path = folder / receipt_name(badge, suffix, whole=whole)
            if path.is_file():
                yield path


def find_receipt(path: Path, badge: Badge) -> tuple[Path, Receipt]:
    """The receipt of a badge file: by its name, else any receipt in its folder that is for this very badge.

    Raises NotFound; a receipt of the right name that cannot be read raises what is wrong with it.
    """
    for candidate in receipts_beside(path):
        return candidate, read_receipt(candidate)
    for candidate in sorted(path.parent.glob(f"*{RECEIPT_SUFFIX}"))[:_MAX_SEARCHED]:
        with suppress(LedgerError, ValueError):
            receipt = read_receipt(candidate)
            if is_for(receipt, badge):
                return candidate, receipt
    raise NotFound(f"no receipt beside {path}: give it with --receipt, or fetch it with `badge-ledger receipt {path}`")


def is_for(receipt: Receipt, badge: Badge) -> bool:
    """Whether the receipt's entry holds the commitment of this badge, with the receipt's own salt."""
    from ledger.badges import commitment, needs_salt

    if receipt.salt is None and needs_salt(badge):
        return False
    return commitment(badge, receipt.salt) == receipt.issue_entry().commitment


def expand(inputs: tuple[Path, ...], out: Path | None = None) -> Iterator[tuple[Path, Path]]:
    """(badge file, its folder relative to the input) for files and, recursively, folders. Receipts, hidden files and
    what lies in `out` are left out of folders. Raises InputError for an input that does not exist."""
    try:
        skipped = out.resolve() if out is not None else None
    except (OSError, RuntimeError):  # a link that leads to itself
        raise InputError(f"{out}: cannot be a folder") from None
    for given in inputs:
        if given.is_dir():
            for path in sorted(given.rglob("*")):
                inside = path.relative_to(given)
                hidden = any(part.startswith(".") for part in inside.parts)
                if hidden or is_receipt(path) or path.suffix.lower() not in BADGE_SUFFIXES or not path.is_file():
                    continue
                if skipped is not None and skipped != given.resolve() and skipped in path.resolve().parents:
                    continue
                yield path, inside.parent
        else:
            yield given, Path()


def write_atomically(path: Path, data: bytes) -> None:
    """Write under another name and rename: a reader sees the old file or the whole new one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        # A full disk is no file's fault to the system, which names none.
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_new(path: Path, data: bytes, *, force: bool) -> None:
    """`write_atomically`, but what stands there is replaced only with `force`. Raises InputError, OSError."""
    if path.exists() and not force:
        raise InputError(f"{path} exists; --force replaces it")
    write_atomically(path, data)


def _named(error: LedgerError, path: Path) -> LedgerError:
    """The same error with the file in front, unless it says so already."""
    if error.detail.startswith(f"{path}: "):
        return error
    try:
        named = type(error)(f"{path}: {error.detail}")
    except TypeError:
        return error
    named.members.update(error.members)
    return named
