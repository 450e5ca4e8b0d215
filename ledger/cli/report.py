"""What a run over many badges came to: reasons grouped for the terminal, and a file with every badge that failed.

    .ndjson, .jsonl    {"badge": text, "result": "failed" | "open", "reason": text} a line
    .csv               the same as columns badge,result,reason, with a header; UTF-8

Reasons never quote a badge; names of files are as they were given.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ledger.cli.files import write_atomically
from ledger.cli.output import plain
from ledger.cli.reading import Item
from ledger.errors import InputError

#: The report of a run without --report, in the folder of the receipts.
DEFAULT_NAME: Final = "badge-ledger-failed.ndjson"
#: Results that a report names.
TROUBLED: Final = ("failed", "open")
_SUFFIXES: Final = (".ndjson", ".jsonl", ".csv")
_EXAMPLES: Final = 3
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def check_name(path: Path) -> None:
    """Raises InputError unless the suffix says in which form to write."""
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{path}: a report ends in {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}")


def write_report(path: Path, items: Sequence[Item]) -> None:
    """Write every badge that failed or is open. Raises OSError."""
    rows = [(item.label, item.result, item.detail or "") for item in items if item.result in TROUBLED]
    if path.suffix.lower() == ".csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("badge", "result", "reason"))
        writer.writerows([_cell(cell) for cell in row] for row in rows)
        data = text.getvalue().encode("utf-8", "backslashreplace")
    else:
        names = ("badge", "result", "reason")
        documents = [{name: _text(cell) for name, cell in zip(names, row, strict=True)} for row in rows]
        data = b"".join(msgspec.json.encode(document) + b"\n" for document in documents)
    write_atomically(path, data)


def grouped(items: Iterable[Item]) -> list[str]:
    """A line for each reason, the most frequent first: how many badges, and which for example."""
    reasons: dict[str, list[str]] = {}
    for item in items:
        reasons.setdefault(item.detail or "", []).append(item.label)
    lines = []
    for reason, labels in sorted(reasons.items(), key=lambda pair: -len(pair[1])):
        if len(labels) == 1:
            lines.append(f"{labels[0]}: {reason}")
        else:
            more = ", ..." if len(labels) > _EXAMPLES else ""
            lines.append(f"{len(labels)} badges: {reason} ({', '.join(labels[:_EXAMPLES])}{more})")
    return lines


def _text(cell: str) -> str:
    return cell.encode("utf-8", "backslashreplace").decode()


def _cell(cell: str) -> str:
    # Names come from elsewhere, and the file will be opened with a spreadsheet.
    return f"'{plain(cell)}" if cell.startswith(_FORMULA) else plain(cell)
