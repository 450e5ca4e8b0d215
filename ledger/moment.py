"""Moments as people and requests write them: RFC 3339 and XML Schema date-times with a zone, to milliseconds.

    2026-05-03T12:00:00Z    2026-05-03T14:00:00.250+02:00    24:00:00 is the end of a day
    2026-05-03T12:00Z       2026-05-03                       only where people type (`parse_moment`)

Pure: the time of day is the caller's.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from ledger.errors import MalformedInput, NotFound

# XML Schema 1.1 part 2, section 3.4.28 (dateTimeStamp), for the years that a log can have.
_TIMESTAMP: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,12})?(Z|([+-])([0-9]{2}):([0-9]{2}))",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_MINUTE: Final = re.compile(r"([0-9-]{10}T[0-9]{2}:[0-9]{2})(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII)


def parse_timestamp(text: str) -> int:
    """Milliseconds since the Unix epoch, rounded down, of an xsd:dateTimeStamp.

    Raises MalformedInput; NotFound for a time before 1970, when no log was.
    """
    found = _TIMESTAMP.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
        ms = int(f"{found[7] or '.0'}000"[1:4])
        ends_day = (hour, minute, second) == (24, 0, 0) and ms == 0
        moment = datetime(year, month, day, 0 if ends_day else hour, minute, second, tzinfo=UTC)
        offset = timedelta(hours=int(found[10] or 0), minutes=int(found[11] or 0))
        if offset > timedelta(hours=14) or int(found[11] or 0) > 59:
            raise ValueError
        moment += timedelta(days=ends_day, milliseconds=ms) - (offset if found[9] == "+" else -offset)
    except (ValueError, OverflowError):
        raise MalformedInput(
            "the timestamp is not a date and time with its zone, such as 2026-11-28T17:00:00Z (a + is written %2B)"
        ) from None
    if moment < _EPOCH:
        raise NotFound("the log did not exist at that time")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def parse_moment(text: str) -> int:
    """`parse_timestamp` for what people type: seconds may be left out, and a date alone is its first instant, UTC."""
    if _DAY.fullmatch(text):
        return parse_timestamp(f"{text}T00:00:00Z")
    minute = _MINUTE.fullmatch(text)
    return parse_timestamp(f"{minute[1]}:00{minute[2]}" if minute else text)


def format_timestamp(ms: int) -> str:
    """The same moment as `parse_timestamp` reads it, UTC with milliseconds. Raises OverflowError past the year 9999."""
    moment = _EPOCH + timedelta(milliseconds=ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
