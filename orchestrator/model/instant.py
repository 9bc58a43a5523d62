"""Points in time as whole microseconds since 1970-01-01 UTC: the form in which they are stored and compared."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias

Instant: TypeAlias = int

MICROSECOND = 1
MILLISECOND = 1_000 * MICROSECOND
SECOND = 1_000 * MILLISECOND
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Go prints up to nine fractional digits, `datetime` reads six; the rest is cut off.
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)


def from_datetime(moment: datetime) -> Instant:
    """The instant of a timezone-aware datetime."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def to_datetime(instant: Instant) -> datetime:
    """The instant as an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=instant)


@lru_cache(maxsize=4096)
def _format_second(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_instant(instant: Instant) -> str:
    """The instant as the wire has it: UTC, whole seconds, `2021-09-08T08:26:50Z`."""
    return _format_second(instant // SECOND)


def parse_instant(text: str) -> Instant:
    """Read an RFC 3339 date-time with a zone, as kai prints it.

    Raises ValueError for anything else, a missing zone included.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("expected an RFC 3339 date-time such as 2021-09-08T08:26:50Z")
    date, time, fraction, zone = match.groups()
    micros = (fraction or "0")[:6].ljust(6, "0")
    zone = "+00:00" if zone in "Zz" else zone
    return from_datetime(datetime.fromisoformat(f"{date}T{time}.{micros}{zone}"))
