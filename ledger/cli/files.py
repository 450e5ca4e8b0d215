"""Files of badges and receipts: what is read, under which name a receipt lies, and writing that never leaves half.

alice.json, alice.png, ...     a badge
alice.receipt.json             its receipt; alice.json.receipt.json where two badges share the name alice
alice.receipt                  packed ("BLR1")
alice.2026-05-03T120000.000Z.receipt.json      a dated one, of that moment
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from ledger.errors import BadgeElsewhere, InputError, LedgerError, NotFound, TooLarge

if TYPE_CHECKING:
    from ledger.badges import Badge
    from ledger.dated import DatedReceipt
    from ledger.receipt import Receipt

RECEIPT_SUFFIX: Final = ".receipt.json"
PACKED_SUFFIX: Final = ".receipt"
PROOF_SUFFIX: Final = ".tlog-proof"
#: What a folder's files must end in to be taken for badges.
BADGE_SUFFIXES: Final = (".json", ".jsonld", ".jwt", ".jws", ".png", ".svg", ".txt")
_RECEIPTS: Final = (RECEIPT_SUFFIX, PACKED_SUFFIX)
MAX_BADGE_FILE_BYTES: Final = 32 << 20
MAX_RECEIPT_FILE_BYTES: Final = 1 << 17
_MAX_SEARCHED: Final = 2000


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The file's bytes. Raises InputError where it cannot be read or is no regular file, TooLarge."""
    try:
        return read_file(str(path), max_bytes)
    except InputError as error:
        raise _named(error, path) from error


def read_file(path: str, max_bytes: int) -> bytes:
    """`read_bounded`, its errors without the file's name. A third of the time of Path and file objects: a bulk issuance
    reads a hundred thousand."""
    opened = _open(path)
    try:
        data = os.read(opened, min(os.fstat(opened).st_size, max_bytes) + 1)
        if more := os.read(opened, 1 << 16):  # it grew, or is of a file system that knows no sizes
            parts, length = [data, more], len(data) + len(more)
            while length <= max_bytes and (more := os.read(opened, 1 << 16)):
                parts.append(more)
                length += len(more)
            data = b"".join(parts)
    except OSError as error:
        raise InputError((error.strerror or "cannot be read").lower()) from error
    finally:
        os.close(opened)
    if len(data) > max_bytes:
        raise TooLarge(f"longer than {max_bytes} bytes")
    return data


def open_file(path: Path) -> BinaryIO:
    """The file, open for reading. Raises InputError, also for what is no regular file."""
    try:
        return os.fdopen(_open(str(path)), "rb")
    except InputError as error:
        raise _named(error, path) from error


def _open(path: str) -> int:
    """A descriptor of a regular file: a pipe is not waited for, a device not read without end. Raises InputError."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        mode = os.fstat(opened).st_mode
    except OSError as error:
        raise InputError((error.strerror or "cannot be read").lower()) from error
    except ValueError:
        raise InputError("not the name of a file") from None
    if not stat.S_ISREG(mode):
        os.close(opened)
        raise InputError("is a directory" if stat.S_ISDIR(mode) else "not a regular file, but a pipe or a device")
    return opened


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


def read_any_receipt(path: Path) -> Receipt | DatedReceipt:
    """`read_receipt`, or the dated receipt in the file."""
    from ledger.dated import load_any

    try:
        return load_any(read_bounded(path, MAX_RECEIPT_FILE_BYTES))
    except LedgerError as error:
        raise _named(error, path) from error


def dated_suffix(at_ms: int) -> str:
    """What the name of a dated receipt ends in: `.2026-05-03T120000.000Z.receipt.json`. No other is
    found under it: neither of another moment, nor of the present. Raises InputError for a moment past the year 9999."""
    from ledger.moment import format_timestamp

    try:
        return f".{format_timestamp(at_ms).replace(':', '')}{RECEIPT_SUFFIX}"
    except OverflowError:
        raise InputError("no moment past the year 9999 is logged") from None


def is_receipt(path: Path) -> bool:
    """Whether the name is a receipt's."""
    return path.name.endswith(_RECEIPTS)


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
    """(badge file, its folder relative to the input) for files and, as `walk` goes through them, folders."""
    for given in inputs:
        if given.is_dir():
            for inside, name in walk(str(given), None if out is None else os.path.realpath(out)):
                yield given / inside / name, Path(inside)
        else:
            yield given, Path()


def walk(folder: str, skipped: str | None = None) -> Iterator[tuple[str, str]]:
    """(folder relative to the first one, "" for itself; name) of every badge file below a folder, by name. Receipts,
    hidden files and folders, links to folders, and the folder whose real path is `skipped` are left out.

    Raises InputError where a folder cannot be read.
    """
    todo = [("", folder)]
    while todo:
        inside, path = todo.pop()
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from error
        below = []
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if skipped is None or os.path.realpath(entry.path) != skipped:
                    below.append((f"{inside}/{name}" if inside else name, entry.path))
            elif name.lower().endswith(BADGE_SUFFIXES) and not name.endswith(_RECEIPTS) and entry.is_file():
                yield inside, name
        todo += reversed(below)


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
    if isinstance(named, BadgeElsewhere) and isinstance(error, BadgeElsewhere):
        named.url = error.url
    return named
