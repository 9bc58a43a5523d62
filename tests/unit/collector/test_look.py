"""One look's own rules: what is recorded when kai says something, when the database is away, when we err."""

from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from orchestrator.collector.ledger import result_of
from orchestrator.collector.look import Looker, tripped_over
from orchestrator.demo import demo_clusters
from orchestrator.kai.reasons import ReasonCode
from orchestrator.kai.runner import Look
from orchestrator.model.cluster import ClusterConfig
from orchestrator.model.report import InventoryReport, NamespaceReport
from orchestrator.model.run import Reason, RunResult, RunState
from orchestrator.store.database import DatabaseUnavailable
from tests.unit.collector.fakes import make_claim

REPORT = InventoryReport(
    cluster_name="shop",
    inventory_type="kubernetes",
    timestamp=None,
    server_version="v1.20.2",
    namespaces=(NamespaceReport("web", frozenset({("nginx:1", "sha256:1")})),),
    left_out=3,
)


def make_look(**changes: Any) -> Look:
    usual: dict[str, Any] = {
        "outcome": RunState.SUCCEEDED,
        "report": REPORT,
        "reason": None,
        "exit_code": 0,
        "seconds": 1.5,
        "stdout_excerpt": "",
        "stderr_excerpt": "",
        "kai_version": "0.5.0",
    }
    return Look(**(usual | changes))


def test_a_good_look_as_its_run_records_it() -> None:
    assert result_of(make_look()) == RunResult(
        state=RunState.SUCCEEDED, exit_code=0, left_out=3, kai_version="0.5.0", server_version="v1.20.2"
    )


@pytest.mark.parametrize("outcome", [RunState.FAILED, RunState.TIMED_OUT])
def test_a_failed_look_as_its_run_records_it(outcome: RunState) -> None:
    reason = Reason(ReasonCode.UNAUTHORIZED, "The token is wrong.", "Give another.")
    look = make_look(
        outcome=outcome, report=None, reason=reason, exit_code=1, stdout_excerpt="out", stderr_excerpt="err"
    )
    result = result_of(look)
    assert result == RunResult(
        state=outcome,
        reason=Reason("unauthorized", "The token is wrong.", "Give another."),
        exit_code=1,
        stdout_excerpt="out",
        stderr_excerpt="err",
        kai_version="0.5.0",
    )


def test_of_a_bug_only_the_type_is_told() -> None:
    result = tripped_over(ValueError("a secret"))
    assert result.state is RunState.FAILED
    assert result.reason is not None
    assert result.reason.code == "internal_error"
    assert "ValueError" in result.reason.message
    assert "a secret" not in str(result)


class AwayLedger:
    """Fails the first `failures` times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.stored: list[RunResult] = []

    async def fail(self, _claim: Any, result: RunResult) -> RunResult:
        await anyio.lowlevel.checkpoint()
        if self.failures > 0:
            self.failures -= 1
            raise DatabaseUnavailable("away")
        self.stored.append(result)
        return result


def make_looker(ledger: AwayLedger, seconds: float) -> Looker:
    nobody = cast(Any, None)
    return Looker(cast(Any, ledger), nobody, nobody, storing_seconds=seconds, retry_seconds=0.001)


@pytest.mark.anyio
async def test_a_result_is_tried_to_be_stored_until_the_database_is_back() -> None:
    ledger = AwayLedger(failures=5)
    await make_looker(ledger, 60).fail(make_claim(1), ValueError())
    assert len(ledger.stored) == 1


@pytest.mark.anyio
async def test_a_result_that_cannot_be_stored_within_the_lease_is_dropped() -> None:
    ledger = AwayLedger(failures=10**9)
    with anyio.fail_after(10):
        await make_looker(ledger, 0.05).fail(make_claim(1), ValueError())
    assert ledger.stored == []
    assert ledger.failures < 10**9 - 1


@pytest.mark.anyio
async def test_renewal_ends_before_the_result_is_stored() -> None:
    steps: list[str] = []

    class Ledger:
        async def store(self, *_: Any) -> RunResult:
            steps.append("stored")
            return RunResult(state=RunState.SUCCEEDED)

    class Runner:
        async def look(self, _config: Any, *, give_way: object) -> Look:
            assert give_way is None
            steps.append("looked")
            return make_look()

    class Claim:
        cluster_name, account_id, run_id = "shop", 1, 1

        def open(self, _sealer: Any) -> ClusterConfig:
            steps.append("opened")
            return demo_clusters()[0]

    looker = Looker(cast(Any, Ledger()), cast(Any, None), cast(Any, Runner()), storing_seconds=1)
    await looker.look(cast(Any, Claim()), lambda: steps.append("renewal ended"))
    assert steps == ["opened", "looked", "renewal ended", "stored"]
