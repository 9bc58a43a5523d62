"""Who looks when: claims, leases, fencing, time-outs, requests."""

import threading

import pytest
from pydantic import SecretStr

from orchestrator.model.instant import MINUTE, SECOND, Instant
from orchestrator.model.run import Reason, RunResult, RunState
from orchestrator.model.slots import Room
from orchestrator.store import claims, clusters, runs
from orchestrator.store.claims import Claim, ClaimLost
from orchestrator.store.database import Database
from orchestrator.store.sealing import Sealer
from tests.integration.store.builders import Inventory, config
from tests.integration.store.conftest import Clock

LEASE = MINUTE
INTERVAL = 5 * MINUTE
SUCCESS = RunResult(state=RunState.SUCCEEDED, namespaces=1, images=2)
FAILURE = RunResult(state=RunState.FAILED, reason=Reason("unauthorized", "no", "ask"), exit_code=1)
ROOM = Room(total=10, unproven=10, slow=10)
GAVE_WAY = RunResult(state=RunState.GAVE_WAY, reason=Reason("gave_way", "slow", "wait"))
TIMEOUT = RunResult(state=RunState.TIMED_OUT, reason=Reason("timeout", "slow", "wait"))


class Fleet:
    """Clusters of one account and somebody who claims them."""

    def __init__(self, db: Database, sealer: Sealer, account_id: int) -> None:
        self.db = db
        self.sealer = sealer
        self.account_id = account_id

    def add(self, *names: str) -> None:
        for name in names:
            self.db.writing(lambda name=name: clusters.add(self.db, self.sealer, self.account_id, config(name)))  # type: ignore[misc]

    def claim(self, room: Room = ROOM) -> list[Claim]:
        return self.db.writing(lambda: claims.claim_due(self.db, room, lease=LEASE, interval=INTERVAL))

    def waiting(self, room: Room = ROOM, *, since: Instant) -> int:
        return self.db.reading(lambda: claims.count_waiting(self.db, room, since=since, most=3))

    def finish(self, claim: Claim, result: RunResult) -> None:
        self.db.writing(lambda: claims.finish(self.db, claim, result, interval=INTERVAL))

    def find(self, name: str) -> clusters.Cluster:
        return self.db.reading(lambda: clusters.find(self.db, self.sealer, self.account_id, name))

    def states(self, name: str) -> list[RunState]:
        history = self.db.reading(lambda: runs.list_runs(self.db, self.account_id, name, limit=100))
        return [run.result.state for run in history]


@pytest.fixture
def fleet(db: Database, sealer: Sealer, account_id: int) -> Fleet:
    return Fleet(db, sealer, account_id)


def test_new_clusters_are_claimed_once(fleet: Fleet, sealer: Sealer) -> None:
    fleet.add("a", "b")
    claimed = fleet.claim()
    assert {claim.cluster_name for claim in claimed} == {"a", "b"}
    assert claimed[0].open(sealer) == config(claimed[0].cluster_name)
    assert fleet.claim() == []
    assert fleet.find("a").running
    assert fleet.states("a") == [RunState.RUNNING]


def test_success_is_recorded_and_the_next_look_is_due_within_the_interval(fleet: Fleet, clock: Clock) -> None:
    fleet.add("a")
    [claim] = fleet.claim()
    clock.advance(SECOND)
    fleet.finish(claim, SUCCESS)
    cluster = fleet.find("a")
    assert (cluster.running, cluster.failures, cluster.last_success_at) == (False, 0, clock.now)
    assert cluster.last_run == cluster.last_success
    assert cluster.last_run is not None
    assert cluster.last_run.result == SUCCESS
    assert clock.now < cluster.due_at <= clock.now + INTERVAL * 11 // 10
    assert fleet.claim() == []
    clock.now = cluster.due_at
    assert len(fleet.claim()) == 1


def test_failure_is_counted_and_keeps_the_last_success(fleet: Fleet, clock: Clock) -> None:
    fleet.add("a")
    fleet.finish(fleet.claim()[0], SUCCESS)
    success = fleet.find("a").last_success
    for failures in (1, 2):
        clock.now = fleet.find("a").due_at
        fleet.finish(fleet.claim()[0], FAILURE)
        cluster = fleet.find("a")
        assert (cluster.failures, cluster.last_success) == (failures, success)
        assert cluster.last_run is not None
        assert cluster.last_run.result.reason == FAILURE.reason
    clock.now = fleet.find("a").due_at
    fleet.finish(fleet.claim()[0], SUCCESS)
    assert fleet.find("a").failures == 0


def test_cluster_that_times_out_waits_longer_each_time(fleet: Fleet, clock: Clock) -> None:
    fleet.add("a")
    waits = []
    for _ in range(6):
        fleet.finish(fleet.claim()[0], TIMEOUT)
        waits.append(fleet.find("a").due_at - clock.now)
        clock.now = fleet.find("a").due_at
    assert waits[0] > INTERVAL
    assert waits[2] > 2 * waits[0]
    assert max(waits) <= 60 * MINUTE + INTERVAL // 10
    fleet.finish(fleet.claim()[0], FAILURE)
    assert fleet.find("a").due_at - clock.now <= INTERVAL * 11 // 10


def test_clusters_that_timed_out_last_take_only_their_share(fleet: Fleet, clock: Clock) -> None:
    names = [f"slow-{number}" for number in range(6)]
    fleet.add("well")
    fleet.finish(fleet.claim()[0], SUCCESS)
    fleet.add(*names)
    for claim in fleet.claim():
        fleet.finish(claim, TIMEOUT)
    clock.advance(60 * MINUTE)
    claimed = fleet.claim(Room.of(4))
    assert [claim.slow for claim in claimed] == [False, True, True]
    assert claimed[0].cluster_name == "well"


def test_clusters_that_were_never_seen_well_take_only_their_share(fleet: Fleet, clock: Clock) -> None:
    fleet.add("well")
    fleet.finish(fleet.claim()[0], SUCCESS)
    fleet.add(*(f"new-{number}" for number in range(6)))
    clock.advance(INTERVAL * 2)
    claimed = fleet.claim(Room(total=6, unproven=4, slow=3))
    assert [claim.cluster_name for claim in claimed] == ["well", "new-0", "new-1", "new-2", "new-3"]
    assert [claim.unproven for claim in claimed] == [False, True, True, True, True]
    assert fleet.claim(Room(total=6, unproven=0, slow=3)) == []


def test_nobody_waits_for_ever_where_there_is_more_to_do_than_slots(fleet: Fleet, clock: Clock) -> None:
    results = {"well-0": SUCCESS, "well-1": SUCCESS, "new": FAILURE, "slow": TIMEOUT}
    fleet.add("well-0", "well-1", "slow")
    for claim in fleet.claim():
        fleet.finish(claim, results[claim.cluster_name])
    fleet.add("new")
    looked = []
    for _ in range(20):
        clock.advance(INTERVAL)
        (claim,) = fleet.claim(Room.of(1))
        looked.append(claim.cluster_name)
        fleet.finish(claim, results[claim.cluster_name])
    assert looked[0].startswith("well")
    assert set(looked) == set(results)
    clock.advance(INTERVAL)
    fleet.db.writing(lambda: clusters.request_look(fleet.db, fleet.account_id, "slow"))
    assert fleet.claim(Room.of(1))[0].cluster_name == "slow"


def test_cluster_that_gave_way_is_slow_and_due_at_once_with_all_its_time(fleet: Fleet, clock: Clock) -> None:
    fleet.add("a")
    fleet.finish(fleet.claim()[0], SUCCESS)
    clock.now = fleet.find("a").due_at
    fleet.finish(fleet.claim()[0], GAVE_WAY)
    assert fleet.find("a").failures == 1
    assert fleet.find("a").due_at == clock.now
    (claim,) = fleet.claim()
    assert claim.slow
    fleet.finish(claim, SUCCESS)
    assert fleet.find("a").failures == 0
    assert fleet.find("a").due_at > clock.now


def test_next_due_passes_over_clusters_that_there_is_no_room_for(fleet: Fleet, clock: Clock) -> None:
    for name, result in (("slow", TIMEOUT), ("well", SUCCESS)):
        fleet.add(name)
        fleet.finish(fleet.claim()[0], result)
    clock.now = max(fleet.find("slow").due_at, fleet.find("well").due_at)
    fleet.add("new")
    well, slow = fleet.find("well").due_at, fleet.find("slow").due_at
    assert well < slow
    next_due_at = lambda room: fleet.db.reading(lambda: claims.next_due_at(fleet.db, room))  # noqa: E731
    assert next_due_at(ROOM) == well
    fleet.finish(fleet.claim(Room(total=1, unproven=0, slow=0))[0], SUCCESS)
    assert next_due_at(ROOM) == slow
    assert next_due_at(Room(total=1, unproven=1, slow=0)) == clock.now
    assert next_due_at(Room(total=1, unproven=0, slow=1)) == fleet.find("well").due_at
    assert next_due_at(Room(total=0, unproven=1, slow=1)) is None


def test_those_that_wait_are_counted_where_a_slot_would_help_them(fleet: Fleet, clock: Clock) -> None:
    fleet.add("slow")
    fleet.finish(fleet.claim()[0], TIMEOUT)
    fleet.add("well")
    fleet.finish(fleet.claim()[0], SUCCESS)
    clock.advance(60 * MINUTE)
    fleet.add("new")
    assert fleet.waiting(since=clock.now) == 2
    assert fleet.waiting(since=clock.now - 1) == 1
    assert fleet.waiting(Room(total=0, unproven=0, slow=1), since=clock.now) == 1
    fleet.add("new-1", "new-2", "new-3")
    assert fleet.waiting(since=clock.now) == 3
    fleet.claim()
    assert fleet.waiting(since=clock.now) == 0
    assert fleet.waiting(since=clock.now + LEASE) == 3


def test_usual_duration_is_that_of_the_last_good_look(fleet: Fleet, clock: Clock) -> None:
    fleet.add("well", "new")
    first = {claim.cluster_name: claim for claim in fleet.claim()}
    clock.advance(3 * SECOND)
    fleet.finish(first["well"], SUCCESS)
    fleet.finish(first["new"], FAILURE)
    clock.advance(2 * INTERVAL)
    second = {claim.cluster_name: claim for claim in fleet.claim()}
    usual = fleet.db.reading(lambda: claims.usual_durations(fleet.db, list(second.values())))
    assert usual == {second["well"].run_id: 3 * SECOND}


def test_shorter_interval_holds_from_the_start(fleet: Fleet, clock: Clock) -> None:
    fleet.add("a", "slow", "soon")
    for claim in sorted(fleet.claim(), key=lambda each: each.cluster_name):
        state = TIMEOUT if claim.cluster_name == "slow" else SUCCESS
        interval = SECOND if claim.cluster_name == "soon" else 24 * 60 * MINUTE
        fleet.db.writing(
            lambda claim=claim, state=state, interval=interval: claims.finish(fleet.db, claim, state, interval=interval)
        )  # type: ignore[misc]
    soon = fleet.find("soon").due_at
    assert fleet.db.writing(lambda: claims.hasten(fleet.db, interval=INTERVAL)) == 2
    assert fleet.find("a").due_at <= clock.now + INTERVAL * 11 // 10
    assert clock.now + INTERVAL < fleet.find("slow").due_at <= clock.now + INTERVAL * 21 // 10
    assert fleet.find("soon").due_at == soon
    assert fleet.db.writing(lambda: claims.hasten(fleet.db, interval=INTERVAL)) == 0


def test_renewed_lease_keeps_others_away(fleet: Fleet, clock: Clock) -> None:
    fleet.add("a")
    [claim] = fleet.claim()
    for _ in range(10):
        clock.advance(LEASE - SECOND)
        assert fleet.db.writing(lambda: claims.renew(fleet.db, [claim], lease=LEASE)) == {claim.run_id}
        assert fleet.claim() == []


def test_renewal_that_comes_when_the_look_was_stored_leaves_no_lease(fleet: Fleet) -> None:
    fleet.add("a")
    [claim] = fleet.claim()
    fleet.finish(claim, SUCCESS)
    assert fleet.db.writing(lambda: claims.renew(fleet.db, [claim], lease=LEASE)) == set()
    fleet.db.writing(lambda: clusters.request_look(fleet.db, fleet.account_id, "a"))
    assert [each.cluster_name for each in fleet.claim()] == ["a"]


def test_lost_lease_is_taken_over_and_the_older_result_refused(fleet: Fleet, clock: Clock) -> None:
    fleet.add("a")
    [stuck] = fleet.claim()
    clock.advance(INTERVAL * 2)
    [claim] = fleet.claim()
    assert claim.number > stuck.number
    assert fleet.db.writing(lambda: claims.renew(fleet.db, [stuck], lease=LEASE)) == set()
    with pytest.raises(ClaimLost):
        Inventory(fleet.db, fleet.account_id).take({"a": []}, cluster_name="a", claim=stuck)
    with pytest.raises(ClaimLost):
        fleet.finish(stuck, SUCCESS)
    fleet.db.writing(lambda: claims.discard(fleet.db, stuck, RunResult(state=RunState.DISCARDED)))
    assert fleet.find("a").current_run_id == claim.run_id
    fleet.finish(claim, SUCCESS)
    assert fleet.states("a") == [RunState.SUCCEEDED, RunState.INTERRUPTED]


def test_cluster_of_a_dead_process_is_taken_over_when_its_lease_ends(fleet: Fleet, clock: Clock) -> None:
    """And not only when its next look would have been due."""
    fleet.add("a")
    fleet.claim()
    clock.advance(LEASE - SECOND)
    assert fleet.claim() == []
    assert fleet.find("a").due_at > clock.now + SECOND
    clock.advance(SECOND)
    [claim] = fleet.claim()
    assert fleet.states("a") == [RunState.RUNNING, RunState.INTERRUPTED]
    fleet.finish(claim, SUCCESS)
    assert fleet.claim() == []


def test_looks_that_were_cut_short_say_by_what_and_nothing_of_the_cluster(fleet: Fleet, clock: Clock) -> None:
    fleet.add("a")
    [dead] = fleet.claim()
    assert not dead.taken_over
    clock.advance(LEASE)
    [again] = fleet.claim()
    assert again.taken_over
    fleet.db.writing(lambda: claims.give_back(fleet.db, [again]))
    history = fleet.db.reading(lambda: runs.list_runs(fleet.db, fleet.account_id, "a", limit=9))
    assert [run.result.reason for run in history] == [claims.SERVICE_STOPPED, claims.LEASE_ENDED]
    assert (fleet.find("a").failures, fleet.find("a").last_run) == (0, None)


def test_result_that_is_stored_twice_counts_once(fleet: Fleet, clock: Clock) -> None:
    """As it happens when the database commits and cannot say so any more."""
    fleet.add("a")
    [claim] = fleet.claim()
    for _ in range(2):
        fleet.finish(claim, FAILURE)
        clock.advance(SECOND)
    cluster = fleet.find("a")
    assert cluster.failures == 1
    assert cluster.last_run is not None
    assert cluster.last_run.finished_at == clock.now - 2 * SECOND
    assert fleet.states("a") == [RunState.FAILED]


def test_claims_given_back_are_due_at_once(fleet: Fleet) -> None:
    fleet.add("a", "b")
    claimed = fleet.claim()
    fleet.db.writing(lambda: claims.give_back(fleet.db, claimed))
    assert fleet.states("a") == [RunState.INTERRUPTED]
    assert not fleet.find("a").running
    assert fleet.find("a").failures == 0
    assert len(fleet.claim()) == 2


def test_service_that_begins_alone_releases_what_a_killed_one_held(fleet: Fleet, clock: Clock) -> None:
    fleet.add("a", "b")
    fleet.finish(fleet.claim(Room.of(1))[0], SUCCESS)
    [held] = fleet.claim()
    clock.advance(SECOND)
    assert fleet.db.writing(lambda: claims.release_all(fleet.db)) == 1
    assert fleet.states(held.cluster_name) == [RunState.INTERRUPTED]
    assert [claim.cluster_name for claim in fleet.claim()] == [held.cluster_name]


def test_look_that_is_asked_for_is_the_queued_run(fleet: Fleet, clock: Clock) -> None:
    fleet.add("a")
    fleet.finish(fleet.claim()[0], SUCCESS)
    clock.advance(SECOND)
    queued = fleet.db.writing(lambda: clusters.request_look(fleet.db, fleet.account_id, "a"))
    again = fleet.db.writing(lambda: clusters.request_look(fleet.db, fleet.account_id, "a"))
    assert queued.id == again.id
    [claim] = fleet.claim()
    assert claim.run_id == queued.id


def test_looks_that_are_asked_for_come_before_those_that_wait_longer(fleet: Fleet, clock: Clock) -> None:
    fleet.add("a", "b", "c")
    for claim in fleet.claim():
        fleet.finish(claim, TIMEOUT)
    clock.advance(60 * MINUTE)
    fleet.db.writing(lambda: clusters.request_look(fleet.db, fleet.account_id, "b"))
    (first,) = fleet.claim(Room(total=1, unproven=1, slow=1))
    assert first.cluster_name == "b"


def test_looks_that_are_asked_for_again_and_again_leave_others_their_turn(fleet: Fleet, clock: Clock) -> None:
    fleet.add("a", "b")
    for claim in fleet.claim():
        fleet.finish(claim, SUCCESS)
    looked = []
    for _ in range(30):
        clock.advance(INTERVAL)
        fleet.db.writing(lambda: clusters.request_look(fleet.db, fleet.account_id, "b"))
        (claim,) = fleet.claim(Room.of(1))
        looked.append(claim.cluster_name)
        fleet.finish(claim, SUCCESS)
    assert looked[0] == "b"
    assert set(looked) == {"a", "b"}


def test_look_that_is_asked_for_during_another_follows_it(fleet: Fleet) -> None:
    fleet.add("a")
    [claim] = fleet.claim()
    queued = fleet.db.writing(lambda: clusters.request_look(fleet.db, fleet.account_id, "a"))
    assert queued.id != claim.run_id
    assert fleet.claim() == []
    fleet.finish(claim, SUCCESS)
    [follower] = fleet.claim()
    assert follower.run_id == queued.id


def test_next_due_is_the_earliest_that_nobody_holds(fleet: Fleet, clock: Clock) -> None:
    next_due_at = lambda: fleet.db.reading(lambda: claims.next_due_at(fleet.db, Room.of(1)))  # noqa: E731
    assert next_due_at() is None
    fleet.add("a")
    assert next_due_at() == clock.now
    [claim] = fleet.claim()
    assert next_due_at() == clock.now + LEASE
    fleet.finish(claim, SUCCESS)
    assert next_due_at() == fleet.find("a").due_at


def test_claimants_at_the_same_time_share_the_clusters(fleet: Fleet, database_url: str, clock: Clock) -> None:
    fleet.add(*(f"cluster-{number}" for number in range(30)))
    claimed: list[int] = []
    together = threading.Barrier(3)
    three = Room(total=3, unproven=3, slow=3)

    def replica() -> None:
        db = Database(SecretStr(database_url), clock=clock)
        together.wait()
        for _ in range(10):
            found = db.writing(lambda: claims.claim_due(db, three, lease=LEASE, interval=INTERVAL))
            claimed.extend(claim.cluster_id for claim in found)
        db.close()

    threads = [threading.Thread(target=replica) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(claimed) == len(set(claimed)) == 30


def test_child_output_of_any_bytes_is_stored(fleet: Fleet) -> None:
    fleet.add("a")
    odd = RunResult(state=RunState.FAILED, stdout_excerpt="nul \x00 here", stderr_excerpt="lone \udc80 surrogate")
    fleet.finish(fleet.claim()[0], odd)
    run = fleet.find("a").last_run
    assert run is not None
    assert run.result.stdout_excerpt == "nul \\x00 here"
    assert run.result.stderr_excerpt == "lone \\udc80 surrogate"
