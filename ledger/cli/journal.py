"""The journal of an issuance: what was signed, before it was sent. DIR/.badge-ledger-journal, append-only.

    {"journal": "badge-ledger/v1 issuance", "origin": text, "issuer": hex}          the first line
    {"sent": n, "body": base64 of the bulk body}                                    synced before the request goes out
    {"logged": n, "first_index": index}                                             where it stands, as was proven
    {"logged": n, "first_index": null}                                              a line above turned out wrong: open
    {"void": n, "reason": text}                                                     refused for good: not in the log

One JSON object a line, each with "check": the first 8 hexadecimal digits of SHA-256 over the line without it. The body
holds slots, commitments and signature, so whoever finds a `sent` without an answer repeats exactly those bytes, and the
ledger answers as it did the first time or logs them now. A last line that a crash cut short is dropped: its request
was never sent. Anything else that does not read is refused, because guessing here could issue a badge twice.

Holds commitments, no salts and no badges. One process at a time (flock).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from ledger.block import Block, decode_body, encode_body
from ledger.errors import InputError, LedgerError
from ledger.text import format_base64, parse_base64

NAME: Final = ".badge-ledger-journal"
_FORMAT: Final = "badge-ledger/v1 issuance"


class Sent(msgspec.Struct):
    """A submission of this issuance: its exact bytes, and the index of its submission entry once the ledger has told
    it; `written`: as the journal has it."""

    number: int
    body: bytes
    block: Block
    first_index: int | None = None
    written: int | None = None
    void: bool = False
    _positions: dict[bytes, int] | None = None

    def position(self, commitment: bytes) -> int:
        """Which event of the submission has this commitment. Raises KeyError."""
        if self._positions is None:
            self._positions = {each: k for k, each in enumerate(self.block.commitments())}
        return self._positions[commitment]

    @property
    def open(self) -> bool:
        """Whether the outcome is unknown."""
        return self.first_index is None and not self.void


class Journal:
    """The journal of one output folder, as a context manager. Raises InputError if it is another issuance's."""

    def __init__(self, directory: Path, origin: str, issuer: bytes) -> None:
        self.path = directory / NAME
        self.sent: list[Sent] = []
        self._header = {"journal": _FORMAT, "origin": origin, "issuer": issuer.hex()}
        self._fd = -1

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError:
            os.close(self._fd)
            raise InputError(f"another run is issuing into {self.path.parent} at this moment") from None
        except BaseException:
            os.close(self._fd)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def send(self, block: Block) -> Sent:
        """Write down a signed submission; durable when this returns. Only then may it be sent."""
        sent = Sent(len(self.sent), encode_body(block), block)
        self._append({"sent": sent.number, "body": format_base64(sent.body)})
        self.sent.append(sent)
        return sent

    def logged(self, sent: Sent) -> None:
        """The submission entry stands at its `first_index`, which was proven. Losing this line costs a repetition."""
        if sent.written != sent.first_index:
            self._append({"logged": sent.number, "first_index": sent.first_index})
            sent.written = sent.first_index

    def disproved(self, sent: Sent) -> None:
        """Its `first_index` did not prove: the outcome is open again, for the next run as well."""
        sent.first_index = None
        self.logged(sent)

    def void(self, sent: Sent, reason: str) -> None:
        """The submission is not in the log and never will be: its badges are free to be signed again."""
        sent.void = True
        self._append({"void": sent.number, "reason": reason})

    def standing(self) -> dict[bytes, Sent]:
        """Commitment -> its submission, for everything that is, or may be, in the log."""
        return {commitment: sent for sent in self.sent if not sent.void for commitment in sent.block.commitments()}

    def _append(self, record: dict[str, Any]) -> None:
        line = _line(record)
        written = 0
        try:
            while written < len(line):
                written += os.write(self._fd, line[written:])
            os.fsync(self._fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def _read(self) -> None:
        data = b""
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            data = file.read()
        *lines, rest = data.split(b"\n")
        if rest:
            # A write that a crash cut short. The request it announces was not sent.
            os.ftruncate(self._fd, len(data) - len(rest))
        if not lines:
            self._append(self._header)
            directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
            return
        records = [self._record(number, line) for number, line in enumerate(lines, 1)]
        if records[0] != self._header and len(records) == 1 and records[0].get("journal") == _FORMAT:
            # A run that sent nothing, for another issuer or log: nothing here is worth keeping.
            os.ftruncate(self._fd, 0)
            self._append(self._header)
            return
        if records[0] != self._header:
            raise InputError(
                f"{self.path.parent} holds an issuance of {records[0].get('issuer', 'another issuer')} in "
                f"{records[0].get('origin', 'another log')!r}: take another --out"
            )
        for number, record in enumerate(records[1:], 2):
            try:
                self._apply(record)
            except (LedgerError, KeyError, IndexError, TypeError) as error:
                raise InputError(f"{self.path}, line {number}: does not fit the lines before: {error}") from error

    def _apply(self, record: dict[str, Any]) -> None:
        if "sent" in record:
            if record["sent"] != len(self.sent):
                raise InputError("numbers are not in order")
            body = parse_base64(record["body"], what="the body")
            self.sent.append(Sent(record["sent"], body, decode_body(body)))
        elif "logged" in record:
            sent = self.sent[record["logged"]]
            sent.first_index = sent.written = record["first_index"]
        else:
            self.sent[record["void"]].void = True

    def _record(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            record = msgspec.json.decode(line, type=dict[str, Any])
            check = record.pop("check", None)
        except msgspec.MsgspecError as error:
            raise InputError(f"{self.path}, line {number}: not JSON: {error}") from error
        if _check(record) != check:
            raise InputError(f"{self.path}, line {number}: damaged; find the receipts with `badge-ledger receipt`")
        return record


def _check(record: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(record)).hexdigest()[:8]


def _line(record: dict[str, Any]) -> bytes:
    return msgspec.json.encode({**record, "check": _check(record)}) + b"\n"
