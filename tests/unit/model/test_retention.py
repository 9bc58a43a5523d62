"""The image TTL."""

import pytest

from orchestrator.model.instant import DAY
from orchestrator.model.retention import Retention

NOW = 20_000 * DAY


@pytest.mark.parametrize("days", [-2, 36_501, -100])
def test_other_numbers_are_refused(days: int) -> None:
    with pytest.raises(ValueError, match="image_ttl_days: expected a number of days from 1 to 36500"):
        Retention(days)


def test_item_is_kept_for_exactly_n_days() -> None:
    retention = Retention(2)
    assert retention.oldest_returned(NOW) == NOW - 2 * DAY
    assert not retention.expired(NOW - 2 * DAY, NOW)
    assert retention.expired(NOW - 2 * DAY - 1, NOW)
    assert retention.present_expired(NOW - 2 * DAY - 1, NOW)


def test_zero_keeps_for_ever() -> None:
    assert Retention(0).oldest_returned(NOW) is None
    assert not Retention(0).expired(0, NOW)
    assert not Retention(0).present_expired(0, NOW)


def test_minus_one_keeps_what_is_present() -> None:
    assert Retention(-1).newest_report_only
    assert Retention(-1).expired(NOW, NOW)
    assert not Retention(-1).present_expired(0, NOW)
