"""What a cluster's health follows from."""

import pytest

from orchestrator.model.instant import MINUTE, Instant
from orchestrator.model.run import Health, RunState, health_of

INTERVAL = 5 * MINUTE
LIMIT = 3 * INTERVAL


@pytest.mark.parametrize(
    ("failures", "last_success_at", "looked_at", "now", "health"),
    [
        (0, None, False, LIMIT * 9, Health.UNKNOWN),
        (0, 0, True, LIMIT, Health.HEALTHY),
        (0, 0, True, LIMIT + 1, Health.STALE),
        (1, None, True, LIMIT, Health.FAILING),
        (1, None, True, LIMIT + 1, Health.STALE),
        (1, LIMIT, True, LIMIT * 2, Health.FAILING),
        (9, LIMIT, True, LIMIT * 2 + 1, Health.STALE),
    ],
)
def test_health(
    *, failures: int, last_success_at: Instant | None, looked_at: bool, now: Instant, health: Health
) -> None:
    found = health_of(
        failures=failures,
        last_success_at=last_success_at,
        looked_at=looked_at,
        since=0,
        interval=INTERVAL,
        now=now,
    )
    assert found is health


def test_run_has_ended_or_not() -> None:
    assert {state for state in RunState if not state.ended} == {RunState.QUEUED, RunState.RUNNING}
