"""The logs that a witness serves: the log-list format of the witness network (witness-network.org/log-list-format).

    # a comment; it and blank lines are left out, and white space around a line
    logs/v0

    vkey log.example/2026+d8447275+AQZ9...        a key of the log
    origin another name                           where the origin is not the key's name
    qpd 86400                                     add-checkpoint requests a day, 1 to 2^31 - 1
    contact whom to ask                           text for people

The lines of a log come in this order; only `origin` can be left out. The format admits Ed25519 keys (algorithm 1)
only. Two extensions, without which a log of ours could not be listed: keys may also be of algorithm 4 and 6 (a log that
signs its heads by cosignatures, as tlog-checkpoint recommends), and several logs of the list with one origin are one
log with several keys, whose `qpd` is the largest of them.

What this module does not do: fetch lists, or judge whether two origins are the same operator's.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger.errors import InputError, MalformedInput
from ledger.note import VerifierKey, is_clean, parse_vkey
from ledger.text import parse_decimal

HEADER: Final = "logs/v0"
MAX_LIST_BYTES: Final = 32 << 20
MAX_LOGS: Final = 100_000
MAX_KEYS_PER_LOG: Final = 16
MAX_QPD: Final = 2**31 - 1
_FIELDS: Final = ("vkey", "origin", "qpd", "contact")


class WitnessedLog(msgspec.Struct, frozen=True):
    """A log: its origin, 1 to 16 keys of algorithm 1, 4 or 6, and how many new heads it may have cosigned a day."""

    origin: str
    keys: tuple[VerifierKey, ...]
    qpd: int

    def __post_init__(self) -> None:
        if not self.origin or "\n" in self.origin or not is_clean(self.origin):
            raise MalformedInput("the origin of a log is empty or holds a control character")
        if not 1 <= len(self.keys) <= MAX_KEYS_PER_LOG:
            raise MalformedInput(f"the log {self.origin[:80]!r} has not 1 to {MAX_KEYS_PER_LOG} keys")
        if len({(key.name, key.key_id) for key in self.keys}) != len(self.keys):
            raise MalformedInput(f"two keys of the log {self.origin[:80]!r} have the same name and id")
        if not 1 <= self.qpd <= MAX_QPD:
            raise MalformedInput(f"the qpd {self.qpd} is not between 1 and 2^31 - 1")


#: The logs by origin.
LogList = dict[str, WitnessedLog]


def parse_log_list(data: bytes) -> LogList:
    """Read a list of at most 32 MiB and 100,000 logs. Raises MalformedInput, which names the line."""
    if len(data) > MAX_LIST_BYTES:
        raise MalformedInput(f"the log list is longer than {MAX_LIST_BYTES} bytes")
    try:
        rows = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise MalformedInput(f"the log list is not UTF-8 (byte {error.start})") from error
    if rows.pop():
        raise MalformedInput("the last line of the log list does not end in a newline: it may have been cut off")
    lines = [(number, row.strip()) for number, row in enumerate(rows, 1)]
    lines = [(number, row) for number, row in lines if row and not row.startswith("#")]
    if not lines or lines[0][1] != HEADER:
        raise MalformedInput(f"the log list does not begin with the line {HEADER}")
    reader = _Reader()
    for number, row in lines[1:]:
        field, _, value = row.partition(" ")
        try:
            reader.read(field, value.strip())
        except InputError as error:
            raise MalformedInput(f"line {number} of the log list: {error.detail}") from error
    if reader.expected != 0:
        raise MalformedInput("the last log of the list has no contact line: the list may have been cut off")
    return reader.logs


class _Reader:
    """The logs read so far, and what is known of the one under way. `expected`: the next field, of _FIELDS."""

    def __init__(self) -> None:
        self.logs: LogList = {}
        self.expected = 0
        self._key: VerifierKey | None = None
        self._origin = ""
        self._qpd = 0

    def read(self, field: str, value: str) -> None:
        """One line. Raises InputError."""
        if field not in _FIELDS:
            raise MalformedInput(f"unknown keyword {field[:40]!r}")
        # In order, and nothing left out but the origin.
        expected = _FIELDS[self.expected]
        if field != expected and (expected, field) != ("origin", "qpd"):
            raise MalformedInput(f"{field} stands where {expected} is expected")
        if not value:
            raise MalformedInput(f"{field} without a value")
        self.expected = (_FIELDS.index(field) + 1) % len(_FIELDS)
        if field == "vkey":
            self._key = parse_vkey(value)
            self._origin = self._key.name
        elif field == "origin":
            self._origin = value
        elif field == "qpd":
            self._qpd = parse_decimal(value, max_value=MAX_QPD, what="the qpd")
            if not self._qpd:
                raise MalformedInput("the qpd is 0: at least 1 request a day")
        elif self._key is not None:
            self._add(self._key)

    def _add(self, key: VerifierKey) -> None:
        known = self.logs.get(self._origin)
        if known is None and len(self.logs) == MAX_LOGS:
            raise MalformedInput(f"more than {MAX_LOGS} logs")
        keys = (key,) if known is None else (*known.keys, key)
        qpd = self._qpd if known is None else max(self._qpd, known.qpd)
        self.logs[self._origin] = WitnessedLog(self._origin, keys, qpd)
