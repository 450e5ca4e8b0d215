"""Points in time as badges write them: `dateTimeStamp` of Open Badges 3.0, ISO 8601 of Open Badges 2.0, NumericDate.

    2010-01-01T00:00:00Z    2017-06-29T21:50:14.25+00:00    2015-04-01 (midnight UTC)    1262304000 (seconds, JWT, OB 1)

A date-time without offset is UTC. A value that is there and cannot be read raises: an expiry that is passed over in
silence would let an expired badge through.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from ledger.errors import MalformedBadge

_DATE_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,32}))?)?(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2}))?)?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_SECONDS = 253_402_300_800  # the year 10000


def parse_date_ms(value: Any, what: str) -> int | None:
    """Unix milliseconds (fractions of one cut off), None for None. Raises MalformedBadge naming `what`."""
    if value is None:
        return None
    milliseconds: int | None = None
    if isinstance(value, str):
        milliseconds = _text_ms(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MAX_SECONDS:
        milliseconds = int(value * 1000)
    if milliseconds is None:
        raise MalformedBadge(f"the badge's {what} is not a date and time")
    return milliseconds


def _text_ms(text: str) -> int | None:
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, offset_hours, offset_minutes = match.groups()
    try:
        zone = timezone(
            timedelta(hours=int(offset_hours or 0), minutes=int(offset_minutes or 0)) * (-1 if sign == "-" else 1)
        )
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=zone
        )
    except ValueError:
        return None
    return (moment - _EPOCH) // timedelta(milliseconds=1) + int((fraction or "0").ljust(3, "0")[:3])
