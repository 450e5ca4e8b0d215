"""Names of receipts: made from names that come from anywhere, and none that leaves the folder or meets another.

    alice.json          alice.receipt.json
    alice.json, .png    alice.json.receipt.json, alice.png.receipt.json       two badges of one name
    a/x.json, b/x.json  x.json.<12 digits of the commitment>.receipt.json     two of the same whole name in one folder

A name from an archive or a manifest is cut at both kinds of slashes; `..`, empty parts and drives are dropped; what
some system cannot write (control characters, `<>:"|?*`, device names, dots and spaces at the end) or hides (a dot in
front) is replaced; what is too long is cut and marked with a hash of the whole. Which of two badges comes first never
decides a name, so that a second run finds what the first one wrote.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

from ledger.cli.files import RECEIPT_SUFFIX

#: The longest name in bytes, so that suffixes still fit into the 255 that file systems take.
MAX_NAME_BYTES: Final = 180
_MAX_FOLDERS: Final = 16
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]')
_DEVICES: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


class Named(Protocol):
    """Something that gets a receipt. `folder`: relative, "" for none; `commitment`: b"" where there is none."""

    folder: str
    name: str
    commitment: bytes
    receipt: str

    def fail(self, detail: str) -> None:
        """It gets none."""


_N = TypeVar("_N", bound=Named)


def safe_path(text: str) -> tuple[str, str]:
    """(folder, name) for a path that somebody else wrote; the folder relative, "/" between its parts, "" for none."""
    parts = [part for part in re.split(r"[/\\]", text) if part not in ("", ".", "..")]
    if parts and re.fullmatch(r"[A-Za-z]:", parts[0]):
        del parts[0]
    safe = [safe_name(part) for part in parts] or ["_"]
    return "/".join(safe[:-1][-_MAX_FOLDERS:]), safe[-1]


def safe_name(text: str) -> str:
    """One part of a path that every system can write; unchanged where it is one."""
    name = _UNSAFE.sub("_", text).rstrip(". ")
    if name.startswith("."):
        name = f"_{name[1:]}"  # hidden, and perhaps this program's own folder
    if _DEVICES.fullmatch(name):
        name = f"_{name}"
    return short_name(name or "_", text)


def short_name(name: str, whole: str | None = None) -> str:
    """The name, cut and marked by a hash of the whole where it is longer than MAX_NAME_BYTES."""
    data = os.fsencode(name) if whole is None else name.encode("utf-8", "surrogateescape")
    if len(data) <= MAX_NAME_BYTES:
        return name
    marked = hashlib.sha256((name if whole is None else whole).encode("utf-8", "backslashreplace")).hexdigest()[:12]
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending) > 8:
        stem, dot, ending = name, "", ""
    kept = stem.encode("utf-8", "surrogateescape")[: MAX_NAME_BYTES - 24].decode("utf-8", "ignore")
    return f"{kept}-{marked}{dot}{ending}"


def name_receipts(items: Sequence[_N]) -> list[_N]:
    """Give each its `receipt`, a path relative to the output folder. Equal badges of one name share a receipt.

    Returns those whose receipt's name is still another badge's: somebody chose names for that.
    """
    short = Counter(_key(item, _stem(item.name)) for item in items)
    for item in items:
        shared = short[_key(item, _stem(item.name))] > 1
        item.receipt = _path(item, (item.name if shared else _stem(item.name)))
    for item in _shared(items):
        item.receipt = _path(item, f"{item.name}.{item.commitment.hex()[:12] or 'unread'}")
    return _shared([item for item in items if item.commitment])


def _shared(items: Sequence[_N]) -> list[_N]:
    """Those that share the name of their receipt with another badge."""
    taken: dict[str, set[bytes]] = {}
    for item in items:
        taken.setdefault(item.receipt.casefold(), set()).add(item.commitment)
    return [item for item in items if len(taken[item.receipt.casefold()]) > 1]


def _stem(name: str) -> str:
    stem, dot, _ = name.rpartition(".")
    return stem if dot and stem else name


def _key(item: Named, name: str) -> tuple[str, str]:
    # Without regard to case: some file systems have none.
    return item.folder.casefold(), name.casefold()


def _path(item: Named, name: str) -> str:
    return (f"{item.folder}/" if item.folder else "") + name + RECEIPT_SUFFIX
