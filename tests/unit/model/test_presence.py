"""What a report does to what was there. Combinations of these: tests/integration/store/test_ingest_property.py."""

import pytest

from orchestrator.model.instant import DAY, HOUR, Instant
from orchestrator.model.presence import Change, Known, Return, compare
from orchestrator.model.report import Image
from orchestrator.model.retention import Retention

WEB: Image = ("web:1", "sha256:aa")
JOB: Image = ("job:1", "sha256:bb")
BEGUN, SEEN, NOW = 0, 10 * DAY, 10 * DAY + HOUR


def known(image: Image, last_seen: Instant | None = None, item_id: int = 1) -> Known:
    return Known(item_id, image, created_at=BEGUN, present_since=BEGUN, last_seen=last_seen)


def change(items: list[Known], reported: set[Image], *, still_returned: bool = True, ttl_days: int = 120) -> Change:
    return compare(
        items,
        reported,
        seen_until=SEEN,
        still_returned=still_returned,
        now=NOW,
        retention=Retention(ttl_days),
        gap=DAY,
    )


def test_nothing_changes_for_what_stays() -> None:
    assert change([known(WEB)], {WEB}) == Change()


def test_what_was_never_there_appears() -> None:
    assert change([], {WEB}) == Change(appeared=[WEB])


def test_what_is_no_longer_reported_is_gone() -> None:
    assert change([known(WEB)], set()) == Change(gone=[1])


def test_what_waits_goes_on_waiting() -> None:
    assert change([known(WEB, last_seen=SEEN)], set()) == Change()


def test_short_absence_does_not_end_the_interval() -> None:
    [back] = change([known(WEB, last_seen=NOW - DAY + 1)], {WEB}).returned
    assert back == Return(1, created_at=BEGUN, present_since=BEGUN, archived=None)


def test_long_absence_ends_the_interval() -> None:
    [back] = change([known(WEB, last_seen=NOW - DAY)], {WEB}).returned
    assert back == Return(1, created_at=BEGUN, present_since=NOW, archived=(BEGUN, NOW - DAY))


@pytest.mark.parametrize(("ttl_days", "created_at"), [(2, NOW), (3, BEGUN), (0, BEGUN), (-1, NOW)])
def test_what_returns_after_its_expiry_is_new(ttl_days: int, created_at: Instant) -> None:
    [back] = change([known(WEB, last_seen=NOW - 3 * DAY)], {WEB}, ttl_days=ttl_days).returned
    assert back.created_at == created_at


def test_what_is_present_but_expired_is_new_when_it_is_seen_again() -> None:
    [back] = change([known(WEB)], {WEB}, still_returned=False).returned
    assert (back.created_at, back.present_since) == (NOW, BEGUN)


def test_item_without_digest_is_superseded_by_one_with() -> None:
    starting = ("web:1", "unknown")
    assert change([known(starting)], {WEB}).superseded == [1]
    assert change([known(starting, last_seen=SEEN)], {WEB}).superseded == [1]
    assert change([known(starting), known(WEB, SEEN, item_id=2)], set()).superseded == [1]
    assert change([known(starting)], {WEB, starting}).superseded == []
    assert change([known(starting)], {JOB}).superseded == []
