"""When a cluster is due."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.instant import HOUR, MINUTE, SECOND
from orchestrator.model.schedule import back_off, next_due, next_tick

INTERVAL = 5 * MINUTE
NOW = 1_795_000_000 * SECOND

identities = st.text(min_size=1)
instants = st.integers(min_value=0, max_value=4_000_000_000 * SECOND)
intervals = st.integers(min_value=SECOND, max_value=30 * HOUR)


@given(identities, intervals, instants)
def test_next_tick_is_after_now_and_no_later_than_an_interval_and_its_shift(
    identity: str, interval: int, now: int
) -> None:
    assert now < next_tick(identity, interval=interval, now=now) <= now + interval + interval // 10


@given(identities, intervals, instants)
def test_tick_does_not_depend_on_when_it_is_asked_for(identity: str, interval: int, now: int) -> None:
    tick = next_tick(identity, interval=interval, now=now)
    assert next_tick(identity, interval=interval, now=tick - 1) == tick
    assert next_tick(identity, interval=interval, now=tick) > tick


def test_clusters_spread_evenly_over_the_interval() -> None:
    ticks = [next_tick(f"cluster-{number}", interval=INTERVAL, now=NOW) for number in range(1000)]
    tenths = [
        sum(NOW + part * INTERVAL // 10 < tick <= NOW + (part + 1) * INTERVAL // 10 for tick in ticks)
        for part in range(10)
    ]
    assert min(tenths) > 50
    assert max(tenths) < 160


def test_phase_shifts_from_tick_to_tick() -> None:
    ticks = [NOW]
    for _ in range(20):
        ticks.append(next_tick("cluster", interval=INTERVAL, now=ticks[-1]))
    phases = {tick % INTERVAL for tick in ticks[1:]}
    assert len(phases) == 20
    assert max(phases) - min(phases) <= INTERVAL // 10 or max(phases) - min(phases) >= INTERVAL * 9 // 10


def test_missed_ticks_are_skipped() -> None:
    late = NOW + 100 * INTERVAL + 7
    assert late < next_tick("cluster", interval=INTERVAL, now=late) <= late + INTERVAL * 11 // 10


def test_back_off_doubles_up_to_an_hour_and_never_shortens_the_interval() -> None:
    waits = [back_off(interval=INTERVAL, timeouts=timeouts) for timeouts in range(7)]
    assert waits == [5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, HOUR, HOUR]
    assert back_off(interval=INTERVAL, timeouts=1_000_000) == HOUR
    assert back_off(interval=2 * HOUR, timeouts=3) == 2 * HOUR


@given(identities, st.integers(min_value=1, max_value=100), instants)
def test_due_after_time_outs_within_the_back_off_and_the_shift(identity: str, timeouts: int, now: int) -> None:
    wait = back_off(interval=INTERVAL, timeouts=timeouts)
    due = next_due(identity, interval=INTERVAL, timeouts=timeouts, now=now)
    assert now + wait - INTERVAL < due <= now + wait + INTERVAL // 10
