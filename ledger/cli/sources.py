"""Where badges come from: files, folders, ZIP exports, and manifests in CSV or NDJSON. One `Source` a badge.

    alice.json, alice.png      a badge
    FOLDER                     every badge file in it, recursively; hidden files and receipts are left out
    export.zip                 the same, in place (`ledger.cli.archive`)
    class.csv, .tsv            UTF-8 with a header: a column `file` or `path` (relative to the manifest), or one named
                               `badge`, `credential`, `assertion`, `json`, `jwt` or `document` with the badge itself;
                               perhaps a column `receipt` that names the receipt
    class.ndjson, .jsonl       a line a badge: a JSON document, a compact JWS as a JSON string, or {"file": path}

A badge in a manifest without a name of its own is called after the manifest and its line: class-17. Sources come one by
one, so that a manifest is never in memory as a whole. A row that cannot be used is a source with an `error`; what
concerns the whole input (no header, not UTF-8, too many rows) raises.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from ledger.cli.archive import Archive
from ledger.cli.files import BADGE_SUFFIXES, RECEIPT_SUFFIX, is_receipt, open_file, walk
from ledger.cli.naming import safe_path, short_name
from ledger.cli.output import counted
from ledger.errors import InputError

ZIP_SUFFIXES: Final = (".zip",)
CSV_SUFFIXES: Final = (".csv", ".tsv")
NDJSON_SUFFIXES: Final = (".ndjson", ".jsonl")
#: Rows of one manifest, and bytes of one: a badge of 2 MiB as JSON in quotes, and what stands beside it.
MAX_ROWS: Final = 1_000_000
MAX_ROW_BYTES: Final = 5 << 20
_MAX_CELL_CHARS: Final = 5 << 20

_FILE_COLUMNS: Final = ("file", "path")
_BADGE_COLUMNS: Final = ("badge", "credential", "assertion", "json", "jwt", "document")
_NAME_COLUMN: Final = "receipt"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_SAVE_IT: Final = "save it as UTF-8 (in spreadsheets: CSV UTF-8)"
_NOT_UTF8: Final = f"not UTF-8: {_SAVE_IT}"


class Source(msgspec.Struct, frozen=True, gc=False):
    """A badge that is to be read. `label`: what people call it; `folder` and `name`: for its receipt.

    It lies in the file `path`, or is member number `member` of that archive, or is `data` itself.
    """

    label: str
    folder: str
    name: str
    path: str = ""
    member: int | None = None
    data: bytes | None = None
    error: str | None = None


class Listing:
    """The sources of some inputs, one by one. What lies in the folder `out` is none. Raises InputError."""

    def __init__(self, inputs: Iterable[Path], out: Path | None) -> None:
        self._inputs = list(dict.fromkeys(inputs))
        self._out = out

    def __iter__(self) -> Iterator[Source]:
        for given in self._inputs:
            suffix = given.suffix.lower()
            if given.is_dir():
                yield from _folder(given, self._out)
            elif suffix in ZIP_SUFFIXES:
                yield from _archive(given)
            elif suffix in CSV_SUFFIXES:
                yield from _csv(given)
            elif suffix in NDJSON_SUFFIXES:
                yield from _ndjson(given)
            else:
                yield Source(str(given), "", short_name(given.name), str(given))


def _folder(given: Path, out: Path | None) -> Iterator[Source]:
    top = str(given)
    skipped = os.path.realpath(out) if out is not None else None
    for inside, name in walk(top, skipped):
        path = f"{top}/{inside}/{name}" if inside else f"{top}/{name}"
        yield Source(path, inside, short_name(name), path)


def _archive(given: Path) -> Iterator[Source]:
    found = 0
    with Archive(given) as archive:
        for number, name in archive.files():
            parts = re.split(r"[/\\]", name)
            if any(part.startswith(".") and part not in (".", "..") for part in parts) or parts[0] == "__MACOSX":
                continue
            folder, safe = safe_path(name)
            if Path(safe).suffix.lower() not in BADGE_SUFFIXES or is_receipt(Path(safe)):
                continue
            found += 1
            yield Source(f"{given}/{name[:300]}", folder, safe, str(given), number)
    if not found:
        raise InputError(f"{given}: no file in it is a badge by its name ({', '.join(BADGE_SUFFIXES)})")


# Manifests -----------------------------------------------------------------------------------------------------------


def _lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    while line := file.readline(MAX_ROW_BYTES + 1):
        if len(line) > MAX_ROW_BYTES:
            raise InputError(f"{path}: a line is longer than {MAX_ROW_BYTES} bytes")
        yield line


def _texts(file: BinaryIO, path: Path) -> Iterator[str]:
    """Lines as text. Octets that are no UTF-8 stay themselves, so that only the badge with them is refused."""
    for number, line in enumerate(_lines(file, path)):
        if not number and line[:2] in _UTF16:
            raise InputError(f"{path}: is UTF-16: {_SAVE_IT}")
        if not number:
            line = line.removeprefix(b"\xef\xbb\xbf")
        yield line.decode("utf-8", "surrogateescape")


def _csv(path: Path) -> Iterator[Source]:
    with open_file(path) as file:
        texts = _texts(file, path)
        header = next(texts, "")
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header.count)
        csv.field_size_limit(_MAX_CELL_CHARS)
        try:
            columns = [name.strip().casefold() for name in next(csv.reader([header], delimiter=delimiter, strict=True))]
            column, is_file = _column(path, columns)
            named = columns.index(_NAME_COLUMN) if _NAME_COLUMN in columns else None
            for number, row in enumerate(csv.reader(texts, delimiter=delimiter, strict=True), 2):
                if number > MAX_ROWS + 1:
                    raise InputError(f"{path}: more than {MAX_ROWS} rows: divide it")
                if not any(cell.strip() for cell in row):
                    continue
                cell = row[column].strip() if column < len(row) else ""
                name = row[named].strip() if named is not None and named < len(row) else ""
                if len(row) != len(columns):
                    error = f"the row has {counted(len(row), 'column')}, the header {len(columns)}"
                    yield _failed(path, number, error)
                elif not cell:
                    yield _failed(path, number, "the row names no badge")
                elif not (_is_text(name) and (is_file or _is_text(cell))):
                    yield _failed(path, number, f"the manifest is {_NOT_UTF8}")
                else:
                    yield (
                        _file(path, number, cell, name)
                        if is_file
                        else _inline(path, number, cell.encode("utf-8", "surrogateescape"), name)
                    )
        except StopIteration:
            raise InputError(f"{path}: is empty") from None
        except csv.Error as error:
            raise InputError(f"{path}: not CSV: {error}") from error


def _column(path: Path, columns: list[str]) -> tuple[int, bool]:
    """Where the badge stands in a row, and whether it is a file's name there."""
    known = [name for name in columns if name in (*_FILE_COLUMNS, *_BADGE_COLUMNS)]
    if len(known) != 1:
        names = ", ".join((*_FILE_COLUMNS, *_BADGE_COLUMNS))
        if not known and not all(map(_is_text, columns)):
            raise InputError(f"{path}: {_NOT_UTF8}")
        found = f"{', '.join(known)}: more than one" if known else "none"
        raise InputError(f"{path}: the header needs one column of {names}; it has {found}")
    return columns.index(known[0]), known[0] in _FILE_COLUMNS


class _FileRow(msgspec.Struct, forbid_unknown_fields=True):
    file: str
    receipt: str = ""


def _ndjson(path: Path) -> Iterator[Source]:
    with open_file(path) as file:
        for number, line in enumerate(_lines(file, path), 1):
            if number > MAX_ROWS:
                raise InputError(f"{path}: more than {MAX_ROWS} lines: divide it")
            text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
            if number == 1 and line[:2] in _UTF16:
                raise InputError(f"{path}: is UTF-16: {_SAVE_IT}")
            if not text:
                continue
            if not text.isascii() and not _is_utf8(text):
                yield _failed(path, number, f"the line is {_NOT_UTF8}")
                continue
            if text.startswith(b'"'):
                try:
                    yield _inline(path, number, msgspec.json.decode(text, type=str).encode(), "")
                except (msgspec.MsgspecError, UnicodeError):
                    yield _failed(path, number, "the line is not one JSON string")
                continue
            row = _file_row(text)
            yield _inline(path, number, text, "") if row is None else _file(path, number, row.file, row.receipt)


def _file_row(text: bytes) -> _FileRow | None:
    if len(text) > 8192 or b'"file"' not in text:
        return None
    try:
        return msgspec.json.decode(text, type=_FileRow)
    except (msgspec.MsgspecError, UnicodeError):
        return None  # the reader of badges says what is wrong with it


def _file(manifest: Path, number: int, text: str, name: str) -> Source:
    folder, safe = safe_path(text)
    if name:
        folder, safe = safe_path(name.removesuffix(RECEIPT_SUFFIX) + ".json")
    elif Path(text).is_absolute() or ".." in re.split(r"[/\\]", text):
        folder = ""
    label = f"{manifest}, row {number} ({text[:300]})"
    try:
        found = manifest.parent / text
        if found.is_file():
            return Source(label, folder, safe, str(found))
        error = "no such file" if _is_text(text) else f"the manifest is {_NOT_UTF8}"
    except (OSError, ValueError):  # a name that no file can have
        error = "not the name of a file"
    return Source(label, folder, safe, error=error)


def _inline(manifest: Path, number: int, data: bytes, name: str) -> Source:
    folder, safe = safe_path(name.removesuffix(RECEIPT_SUFFIX) + ".json") if name else ("", _row_name(manifest, number))
    return Source(f"{manifest}, row {number}", folder, safe, data=data)


def _failed(manifest: Path, number: int, error: str) -> Source:
    return Source(f"{manifest}, row {number}", "", _row_name(manifest, number), error=error)


def _is_text(text: str) -> bool:
    """Whether the manifest was UTF-8 here: no octets stand in the text as surrogates."""
    return text.isascii() or _is_utf8(text.encode("utf-8", "surrogateescape"))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _row_name(manifest: Path, number: int) -> str:
    # An ending, so that a dot in the manifest's name is not taken for the beginning of one.
    return short_name(f"{manifest.stem}-{number}.json")
