"""The loop's own rules, with a ledger and looks in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest

from orchestrator.collector.loop import CollectorLoop, Pace, back_off_seconds
from tests.unit.collector.fakes import FakeLedger, FakeLooker, make_claim

pytestmark = pytest.mark.anyio

PACE = Pace(max_concurrent_runs=4, renew_seconds=0.01, poll_seconds=0.01, sweep_seconds=0.01)


def make_loop(ledger: FakeLedger, looker: FakeLooker, pace: Pace = PACE, **options: Any) -> CollectorLoop:
    return CollectorLoop(cast(Any, ledger), cast(Any, looker), pace, **options)


@asynccontextmanager
async def running(loop: CollectorLoop) -> AsyncIterator[None]:
    """The loop runs inside the block and is cancelled, and waited for, at its end."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(loop.run)
        yield
        tasks.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - any condition, also such as nobody announces
            await anyio.sleep(0.002)


async def test_looks_at_every_due_cluster_but_never_at_more_than_allowed_at_once() -> None:
    ledger, looker = FakeLedger([make_claim(number) for number in range(1, 11)]), FakeLooker()
    async with running(make_loop(ledger, looker)):
        await until(lambda: len(looker.looking) == 4)
        for number in range(1, 11):
            looker.release(number)
        await until(lambda: len(looker.looked) == 10)
    assert looker.most == 4
    assert sorted(looker.looked) == list(range(1, 11))


async def test_a_freed_slot_is_used_at_once_without_waiting_for_the_next_poll() -> None:
    ledger, looker = FakeLedger([make_claim(number) for number in range(1, 6)]), FakeLooker()
    async with running(make_loop(ledger, looker, Pace(max_concurrent_runs=4, poll_seconds=3600))):
        await until(lambda: len(looker.looking) == 4)
        looker.release(1)
        await until(lambda: 5 in looker.looking)


async def test_clusters_that_timed_out_last_take_at_most_half_of_the_slots() -> None:
    slow = [make_claim(number, timeouts=1) for number in range(1, 7)]
    ledger, looker = FakeLedger(slow), FakeLooker()
    async with running(make_loop(ledger, looker)):
        await until(lambda: len(looker.looking) == 2)
        turns = ledger.calls
        await until(lambda: ledger.calls > turns + 10)
        assert looker.looking == {1, 2}
        ledger.due += [make_claim(7), make_claim(8), make_claim(9)]
        await until(lambda: looker.looking == {1, 2, 7, 8})
        looker.release(1)
        await until(lambda: looker.looking == {2, 7, 8, 9})


async def test_a_single_slot_is_open_to_slow_clusters_too() -> None:
    ledger, looker = FakeLedger([make_claim(1, timeouts=3)]), FakeLooker(at_once=True)
    async with running(make_loop(ledger, looker, Pace(max_concurrent_runs=1, poll_seconds=0.01))):
        await until(lambda: looker.looked == [1])


async def test_looks_that_take_far_longer_than_usual_give_way_to_those_that_wait() -> None:
    now = 0.0
    ledger, looker = FakeLedger([make_claim(number) for number in range(1, 5)]), FakeLooker()
    ledger.usual = {1: 1.0, 2: 30.0, 3: 2.0, 4: 1.0}
    async with running(make_loop(ledger, looker, clock=lambda: now)):
        await until(lambda: looker.looking == {1, 2, 3, 4})
        now = 9.0
        ledger.due += [make_claim(5), make_claim(6), make_claim(7)]
        # 2 takes long as it always does, 3 is the last that exceeds its time.
        await until(lambda: sorted(looker.gave_way) == [1, 3, 4] and looker.looking == {2, 5, 6, 7})
        turns = ledger.calls
        await until(lambda: ledger.calls > turns + 10)
        assert sorted(looker.gave_way) == [1, 3, 4]


async def test_one_that_waits_makes_one_give_way_also_while_that_takes_its_time_to_end() -> None:
    now = 0.0
    ledger, looker = FakeLedger([make_claim(number) for number in range(1, 5)]), FakeLooker()
    ledger.usual = {1: 1.0, 2: 0.5, 3: 2.0, 4: 2.0}
    looker.stubborn.add(1)
    async with running(make_loop(ledger, looker, clock=lambda: now)):
        await until(lambda: looker.looking == {1, 2, 3, 4})
        now = 60.0
        ledger.due.append(make_claim(5))
        turns = ledger.calls
        await until(lambda: ledger.calls > turns + 10)
        assert looker.looking == {1, 2, 3, 4}
        looker.release(1)
        await until(lambda: looker.looking == {2, 3, 4, 5})
        # 2 is the next to give way. That it did takes its time to be stored: its slot is being freed all the same.
        looker.slow_to_store.add(2)
        ledger.due.append(make_claim(6))
        await until(lambda: looker.gave_way == [1, 2])
        turns = ledger.calls
        await until(lambda: ledger.calls > turns + 10)
        assert looker.gave_way == [1, 2]
        looker.release(2)
        await until(lambda: looker.looking == {3, 4, 5, 6})


async def test_looks_that_end_while_those_that_wait_are_counted_make_no_other_give_way() -> None:
    now = 0.0
    ledger, looker = FakeLedger([make_claim(number) for number in range(1, 5)]), FakeLooker()
    ledger.usual = dict.fromkeys(range(1, 5), 1.0)
    looker.slow_to_store.add(1)

    async def let_it_end() -> None:
        if looker.gave_way:
            looker.release(1)
            await until(lambda: 1 not in looker.looking)
            await anyio.sleep(0.05)

    ledger.while_counting = let_it_end
    async with running(make_loop(ledger, looker, clock=lambda: now)):
        await until(lambda: looker.looking == {1, 2, 3, 4})
        now = 60.0
        ledger.due.append(make_claim(5))
        await until(lambda: looker.looking == {2, 3, 4, 5})
        assert looker.gave_way == [1]


async def test_a_look_may_end_by_itself_before_it_is_told_to_give_way() -> None:
    now = 0.0
    ledger, looker = FakeLedger([make_claim(number) for number in range(1, 5)]), FakeLooker()
    ledger.usual = dict.fromkeys(range(1, 5), 1.0)

    async def let_it_end() -> None:
        looker.release(1)
        await until(lambda: looker.looked == [1])
        await anyio.sleep(0.05)

    ledger.while_counting = let_it_end
    loop = make_loop(ledger, looker, clock=lambda: now)
    async with running(loop):
        await until(lambda: looker.looking == {1, 2, 3, 4})
        now = 60.0
        ledger.due.append(make_claim(5))
        await until(lambda: 5 in looker.looking)
        assert loop.alive()


async def test_no_look_gives_way_while_nobody_waits_for_its_slot() -> None:
    now = 0.0
    looks = [make_claim(1), make_claim(2, timeouts=1), make_claim(3, proven=False), make_claim(4)]
    ledger, looker = FakeLedger(looks), FakeLooker()
    ledger.usual = {1: 1.0, 2: 1.0, 4: 1.0}
    looker.storing.add(4)
    async with running(make_loop(ledger, looker, clock=lambda: now)):
        await until(lambda: looker.looking == {1, 2, 3, 4})
        now = 100.0
        ledger.due.append(make_claim(5, timeouts=1))
        turns = ledger.calls
        await until(lambda: ledger.calls > turns + 10)
        assert looker.gave_way == []
        # Not the slow one, not the new one, not one that is being stored.
        ledger.due += [make_claim(6), make_claim(7)]
        await until(lambda: looker.looking == {2, 3, 4, 6})
        turns = ledger.calls
        await until(lambda: ledger.calls > turns + 10)
        assert looker.gave_way == [1]


async def test_a_wake_up_ends_the_sleep() -> None:
    ledger, looker = FakeLedger(), FakeLooker(at_once=True)
    loop = make_loop(ledger, looker, Pace(poll_seconds=3600))
    async with running(loop):
        await until(lambda: ledger.calls >= 2)
        ledger.due.append(make_claim(1))
        loop.wake()
        await until(lambda: looker.looked == [1])


async def test_what_was_asked_for_during_a_look_begins_when_it_ends() -> None:
    ledger, looker = FakeLedger([make_claim(1)]), FakeLooker()
    loop = make_loop(ledger, looker, Pace(poll_seconds=3600))
    async with running(loop):
        await until(lambda: looker.looking == {1})
        loop.wake()
        calls = ledger.calls
        await until(lambda: ledger.calls > calls)
        ledger.due.append(make_claim(2))
        looker.release(1)
        await until(lambda: looker.looking == {2})


async def test_a_wake_up_finds_out_at_once_that_a_look_must_end() -> None:
    ledger, looker = FakeLedger([make_claim(1)]), FakeLooker()
    loop = make_loop(ledger, looker, Pace(poll_seconds=3600, renew_seconds=3600))
    async with running(loop):
        await until(lambda: looker.looking == {1})
        ledger.lost.add(1)
        loop.wake()
        await until(lambda: looker.discarded == [1])


async def test_nothing_is_claimed_while_nothing_is_expected_to_be_due() -> None:
    ledger, looker = FakeLedger(), FakeLooker()
    async with running(make_loop(ledger, looker)):
        await until(lambda: ledger.calls > 20)
    assert ledger.claims == 1


async def test_a_bug_in_one_look_is_recorded_and_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    ledger, looker = FakeLedger([make_claim(1), make_claim(2), make_claim(3)]), FakeLooker(at_once=True)
    looker.errors[2] = ZeroDivisionError("the text of the error")
    async with running(make_loop(ledger, looker)):
        await until(lambda: len(looker.looked) == 2 and len(looker.failed) == 1)
    assert looker.looked == [1, 3]
    assert looker.failed == [(2, "ZeroDivisionError")]
    assert ledger.given_back == []


async def test_a_bug_even_in_recording_the_bug_leaves_the_others_alone() -> None:
    ledger, looker = FakeLedger([make_claim(1)]), FakeLooker(at_once=True)
    looker.errors[1] = ZeroDivisionError()
    looker.fail_errors[1] = ZeroDivisionError()
    async with running(make_loop(ledger, looker)):
        await until(lambda: not ledger.due)
        ledger.due.append(make_claim(2))
        await until(lambda: looker.looked == [2])


async def test_leases_are_renewed_until_the_result_is_about_to_be_stored() -> None:
    ledger, looker = FakeLedger([make_claim(1), make_claim(2)]), FakeLooker()
    looker.storing.add(2)
    async with running(make_loop(ledger, looker)):
        await until(lambda: len(ledger.renewals) >= 3)
    assert all(renewal == [1] for renewal in ledger.renewals)


async def test_a_look_whose_lease_is_lost_is_cancelled_and_discarded_not_given_back() -> None:
    ledger, looker = FakeLedger([make_claim(1), make_claim(2)]), FakeLooker()
    ledger.lost.add(1)
    async with running(make_loop(ledger, looker)):
        await until(lambda: looker.discarded == [1])
        assert looker.looking == {2}
    assert looker.looked == []
    assert ledger.given_back == [2]


async def test_a_look_that_stores_its_result_is_not_cancelled_for_a_lost_lease() -> None:
    ledger, looker = FakeLedger([make_claim(1), make_claim(2)]), FakeLooker()
    looker.storing.add(1)
    ledger.lost.add(1)
    async with running(make_loop(ledger, looker)):
        await until(lambda: len(ledger.renewals) >= 3)
        assert looker.looking == {1, 2}
        looker.release(1)
        await until(lambda: looker.looked == [1])
    assert looker.discarded == []


async def test_cancelling_the_loop_gives_back_what_was_not_finished() -> None:
    ledger, looker = FakeLedger([make_claim(1), make_claim(2)]), FakeLooker()
    loop = make_loop(ledger, looker)
    async with running(loop):
        await until(lambda: looker.looking == {1, 2})
        looker.release(1)
        await until(lambda: looker.looked == [1])
    assert ledger.given_back == [2]
    assert not loop.alive()


async def test_goes_on_when_the_database_is_back_and_keeps_the_looks_meanwhile() -> None:
    ledger, looker = FakeLedger([make_claim(1)]), FakeLooker()
    loop = make_loop(ledger, looker)
    async with running(loop):
        await until(lambda: looker.looking == {1})
        ledger.away = True
        calls = ledger.calls
        await until(lambda: ledger.calls >= calls + 3)
        assert loop.alive()
        assert looker.looking == {1}
        ledger.due.append(make_claim(2))
        ledger.away = False
        await until(lambda: looker.looking == {1, 2})


async def test_stops_although_the_database_is_away() -> None:
    ledger, looker = FakeLedger([make_claim(1)]), FakeLooker()
    with anyio.fail_after(10):
        async with running(make_loop(ledger, looker)):
            await until(lambda: looker.looking == {1})
            ledger.away = True
    assert looker.looking == set()


async def test_a_bug_of_the_loop_itself_ends_it_and_comes_through() -> None:
    ledger, looker = FakeLedger(), FakeLooker()
    ledger.broken = ZeroDivisionError()
    loop = make_loop(ledger, looker)
    with pytest.raises(ExceptionGroup) as caught:
        await loop.run()
    assert caught.group_contains(ZeroDivisionError)
    assert not loop.alive()


async def test_sweeps_now_and_then() -> None:
    ledger = FakeLedger()
    async with running(make_loop(ledger, FakeLooker())):
        await until(lambda: ledger.sweeps >= 3)


async def test_a_loop_that_does_not_turn_for_long_is_not_alive() -> None:
    now = 1000.0
    loop = make_loop(FakeLedger(), FakeLooker(), Pace(stuck_seconds=60), clock=lambda: now)
    assert loop.alive()
    now = 1060.0
    assert not loop.alive()


async def test_the_wait_for_the_database_grows_to_a_limit_and_stays_there_for_days() -> None:
    assert [back_off_seconds(failures) for failures in (1, 2, 3, 4, 5, 6)] == [0.5, 1, 2, 4, 5, 5]
    assert back_off_seconds(100_000) == 5
