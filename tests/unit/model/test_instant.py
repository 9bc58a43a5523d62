"""Instants: reading what kai prints, printing what the wire has."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.instant import DAY, SECOND, format_instant, from_datetime, parse_instant, to_datetime


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2021-09-08T08:26:50Z", 1_631_089_610 * SECOND),
        ("2021-09-08T10:26:50+02:00", 1_631_089_610 * SECOND),
        ("2021-09-08T08:26:50.123456789Z", 1_631_089_610_123_456),
        ("2021-09-08T08:26:50.5z", 1_631_089_610_500_000),
        ("0001-01-01T00:00:00Z", -719_162 * DAY),
    ],
)
def test_timestamps_are_read(text: str, instant: int) -> None:
    assert parse_instant(text) == instant


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2021-09-08", "2021-09-08T08:26:50", "2021-13-08T08:26:50Z", "٢021-09-08T08:26:50Z"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_instant(text)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - made aware below
def test_there_and_back(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    instant = from_datetime(aware)
    assert to_datetime(instant) == aware
    assert parse_instant(format_instant(instant)) == instant // SECOND * SECOND
