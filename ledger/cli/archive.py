"""ZIP exports, read in place: no member is ever written to disk, and none is believed.

    EOCD    "PK" 05 06 ... u16 entries at 10, u32 size of the central directory at 12    (APPNOTE 4.3.16)
    ZIP64   "PK" 06 06, u64 size of the directory at 40; locator "PK" 06 07 between it and the EOCD   (4.3.14, 4.3.15)

Before anything is inflated: the directory is small enough to be read, the members' stated sizes together are no more
than MAX_RATIO times the file (which also bounds members that share their bytes), and each is stored or deflated and
not encrypted. Reading stops at the stated size of a member, and its checksum is compared.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from ledger.cli.files import open_file
from ledger.errors import InputError

#: Bytes of a central directory: some 300,000 members.
MAX_DIRECTORY_BYTES: Final = 32 << 20
#: JSON deflates to a tenth, seldom to a fiftieth.
MAX_RATIO: Final = 200
_FREE_BYTES: Final = 16 << 20
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 0x1
_EOCD_BYTES, _LOCATOR_BYTES, _RECORD_BYTES = 22, 20, 56


class Archive:
    """An open ZIP file, as a context manager. Raises InputError for one that is no ZIP or a bomb."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_file(path)
        try:
            self._read_directory()
        except (OSError, EOFError, zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            self._file.close()
            raise InputError(f"{path}: not a ZIP file that can be read") from error
        except InputError:
            self._file.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    def _read_directory(self) -> None:
        size = os.fstat(self._file.fileno()).st_size
        _check_directory(self.path, self._file, size)
        self._zip = zipfile.ZipFile(self._file)
        self._members = self._zip.infolist()
        if sum(member.file_size for member in self._members) > max(MAX_RATIO * size, _FREE_BYTES):
            raise InputError(f"{self.path}: its members inflate to more than {MAX_RATIO} times its size")

    def files(self) -> Iterator[tuple[int, str]]:
        """(number, name) of each member that is no folder, in the order of the directory."""
        for number, member in enumerate(self._members):
            if not member.filename.endswith("/"):  # the library's own question fails on an empty name
                yield number, member.filename

    def read(self, number: int, max_bytes: int) -> bytes:
        """The bytes of a member. Raises InputError: encrypted, too large, another compression, damaged."""
        member = self._members[number]
        if member.flag_bits & _ENCRYPTED:
            raise InputError("it is encrypted: export it without a password")
        if member.compress_type not in _METHODS:
            raise InputError("it is packed in a way other than deflate: pack it as an ordinary ZIP")
        if member.file_size > max_bytes:
            raise InputError(f"longer than {max_bytes} bytes")
        try:
            with self._zip.open(member) as file:
                return file.read()
        except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error, struct.error) as error:
            raise InputError("it is damaged in the ZIP file") from error


def _check_directory(path: Path, file: BinaryIO, size: int) -> None:
    """Raise InputError before a central directory of any size is taken into memory. The reader trusts these fields."""
    # What lies further from the end than the longest comment and the records before it is never looked at.
    most = (1 << 16) + _EOCD_BYTES + _LOCATOR_BYTES + _RECORD_BYTES
    file.seek(max(0, size - most))
    tail = file.read(most)
    at = len(tail) - _EOCD_BYTES
    if tail[max(at, 0) :][:4] != b"PK\x05\x06" or tail[-2:] != bytes(2):
        at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        raise InputError(f"{path}: not a ZIP file that can be read")
    stated = int.from_bytes(tail[at + 12 : at + 16], "little")
    locator = at - _LOCATOR_BYTES
    record = locator - _RECORD_BYTES
    if record >= 0 and tail[locator : locator + 4] == b"PK\x06\x07" and tail[record : record + 4] == b"PK\x06\x06":
        stated = int.from_bytes(tail[record + 40 : record + 48], "little")
    if stated > MAX_DIRECTORY_BYTES:
        raise InputError(f"{path}: more members than are read from one ZIP file: divide it")
