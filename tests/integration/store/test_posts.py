"""Posted reports: their runs, their senders, what is refused; and removing inventory on purpose."""

import pytest

from orchestrator.model.instant import DAY, MINUTE
from orchestrator.model.report import Image
from orchestrator.model.retention import Retention
from orchestrator.model.run import Reason, RunResult, RunState
from orchestrator.model.traces import pace_of
from orchestrator.store import posts, runs
from orchestrator.store.database import Database
from orchestrator.store.listing import ItemFilter, read_namespaces
from orchestrator.store.posts import Post
from orchestrator.store.removal import remove_items
from tests.integration.store.builders import Inventory, report
from tests.integration.store.conftest import BEGIN, Clock

WEB: Image = ("nginx:1.25", "sha256:aa")
JOB: Image = ("report-job:7", "sha256:cc")
REFUSAL = Reason("malformed_report", "results[0]: expected an object", "post what kai prints")
EKS = "arn:aws:eks:eu-west-1:1:cluster/prod"


class Agent:
    """Posts reports about one cluster."""

    def __init__(self, db: Database, account_id: int, cluster_name: str = "prod") -> None:
        self.db = db
        self.account_id = account_id
        self.post = Post(
            account_id=account_id, inventory_type="kubernetes", cluster_name=cluster_name, sender="user:agent"
        )

    def send(self, namespaces: dict[str, list[Image]], *, timestamp: int | None = None) -> tuple[int, RunResult]:
        body = report(namespaces, timestamp=timestamp, left_out=3)
        return self.db.writing(lambda: posts.take_post(self.db, self.post, body, retention=Retention(120), gap=DAY))

    def refused(self) -> int:
        return self.db.writing(lambda: posts.refuse_post(self.db, self.post, REFUSAL))

    def states(self) -> list[posts.SenderState]:
        return self.db.reading(lambda: posts.list_senders(self.db, self.account_id))


@pytest.fixture
def agent(db: Database, account_id: int) -> Agent:
    return Agent(db, account_id, EKS)


def test_report_is_taken_with_its_run(agent: Agent, db: Database, account_id: int) -> None:
    run_id, result = agent.send({"a": [WEB], "b": []})
    run = db.reading(lambda: runs.find_run(db, account_id, run_id))
    assert run is not None
    assert run.result == result
    assert (run.sender, run.cluster_name, run.started_at, run.finished_at) == ("user:agent", EKS, BEGIN, BEGIN)
    assert (result.state, result.namespaces, result.images, result.appeared, result.left_out) == (
        RunState.SUCCEEDED,
        2,
        1,
        1,
        3,
    )
    assert Inventory(db, account_id).images() == [(f"{EKS}/a", *WEB)]


def test_items_of_the_report_are_those_that_are_present(
    agent: Agent, db: Database, account_id: int, clock: Clock
) -> None:
    agent.send({"a": [WEB], "b": [JOB]})
    clock.advance(MINUTE)
    agent.send({"a": [JOB]})
    items = db.reading(
        lambda: read_namespaces(db, account_id, inventory_type="kubernetes", cluster_name=EKS, namespaces=["a", "x"])
    )
    assert [(item.namespace, item.image_tag, item.present) for item in items] == [("a", JOB[0], True)]


def test_late_report_is_a_run_that_changes_nothing(agent: Agent, clock: Clock) -> None:
    agent.send({"a": [WEB]}, timestamp=BEGIN)
    clock.advance(MINUTE)
    _, result = agent.send({"a": [JOB]}, timestamp=BEGIN - MINUTE)
    assert result.state is RunState.LATE
    [state] = agent.states()
    assert (state.received_at, state.failures) == (BEGIN, 0)


def test_refusals_are_kept_and_counted_until_the_next_good_report(agent: Agent, clock: Clock) -> None:
    agent.refused()
    assert agent.states() == []
    agent.send({"a": [WEB]})
    for failures in (1, 2):
        clock.advance(MINUTE)
        run_id = agent.refused()
        [state] = agent.states()
        assert state.failures == failures
        assert state.last_run is not None
        assert (state.last_run.id, state.last_run.result.reason) == (run_id, REFUSAL)
        assert state.last_success_at == BEGIN
    agent.send({"a": [WEB]})
    [state] = agent.states()
    assert (state.failures, state.last_run) == (0, state.last_success)
    history = agent.db.reading(lambda: runs.list_runs(agent.db, agent.account_id, EKS, limit=10))
    assert [run.result.state for run in history] == [
        RunState.SUCCEEDED,
        RunState.FAILED,
        RunState.FAILED,
        RunState.SUCCEEDED,
        RunState.FAILED,
    ]


def test_pace_of_a_sender_is_learned_and_its_pauses_end_the_coverage(agent: Agent, clock: Clock, db: Database) -> None:
    for _ in range(4):
        agent.send({"a": [WEB]}, timestamp=clock.now)
        clock.advance(5 * MINUTE)
    [state] = agent.states()
    assert pace_of(state.traces) == 5 * MINUTE
    clock.advance(6 * MINUTE)
    agent.send({"a": [WEB]}, timestamp=clock.now)
    assert db.reading(lambda: db.rows("SELECT started_at, ended_at FROM coverage")) == [(BEGIN, BEGIN + 15 * MINUTE)]


def test_removed_items_are_gone_at_once_and_come_back_as_new_when_they_still_run(
    db: Database, account_id: int, clock: Clock
) -> None:
    inventory = Inventory(db, account_id)
    inventory.take({"a": [WEB, JOB], "b": [WEB]})
    inventory.take({"a": [WEB]}, cluster_name=EKS, sender="user:agent", whole_cluster=False)

    def remove(**conditions: str) -> int:
        return db.writing(lambda: remove_items(db, account_id, ItemFilter(**conditions)))  # type: ignore[arg-type]

    assert remove(context="prod/a", image_digest=WEB[1]) == 1
    assert inventory.images() == [(f"{EKS}/a", *WEB), ("prod/a", *JOB), ("prod/b", *WEB)]
    assert remove(image_digest=WEB[1]) == 2
    assert remove(context="prod/x") == 0
    clock.advance(MINUTE)
    inventory.take({"a": [WEB, JOB], "b": []})
    assert [(item.image_tag, item.created_at) for item in inventory.items()] == [
        (WEB[0], clock.now),
        (JOB[0], BEGIN),
    ]
