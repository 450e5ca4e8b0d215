"""Writes the test vectors of docs/protocol.md, one JSON file a case, always the same bytes.

    python -m tests.vectors.generate            write every file, delete those that no case makes any more

Seeds are SHA-256 of names, times are fixed, nothing is drawn. One exception: ML-DSA-44 signing is hedged, so the
committed signature is kept as long as it verifies. Binary values are lowercase hex; packed receipts and proofs in a
file that the JSON form also has are base64.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.vectors import badges, logs, past, receipts, trees

HERE = Path(__file__).resolve().parent

Vector = tuple[str, dict[str, Any]]


def vectors() -> Iterator[Vector]:
    """Every case: the file's name without `.json`, and its content."""
    yield from badges.vectors()
    yield from logs.vectors()
    yield from trees.vectors()
    yield from receipts.vectors()
    yield from past.vectors()


def format_vector(document: dict[str, Any]) -> bytes:
    """The bytes of a vector file."""
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode()


def main() -> None:
    """Bring the folder up to date."""
    written = set()
    for name, document in vectors():
        path = HERE / f"{name}.json"
        path.write_bytes(format_vector(document))
        written.add(path)
    for path in set(HERE.glob("*.json")) - written:
        path.unlink()
    print(f"{len(written)} vectors")


if __name__ == "__main__":
    main()
