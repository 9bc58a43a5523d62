"""What a status says, from what is stored about a cluster."""

from dataclasses import replace

import pytest
from pydantic import SecretStr

from orchestrator.catalog.status import status_of, warnings_of
from orchestrator.model.cluster import ClusterConfig, CredentialType
from orchestrator.model.instant import DAY, MINUTE, Instant
from orchestrator.model.retention import Retention
from orchestrator.model.run import EMBEDDED_SENDER, Health, Reason, Run, RunResult, RunState
from orchestrator.store.clusters import Cluster

NOW: Instant = 20_000 * DAY
INTERVAL = 5 * MINUTE
REASON = Reason("forbidden", "not allowed", "allow it")


def run(state: RunState, **result: object) -> Run:
    return Run(
        id=1,
        cluster_name="prod",
        inventory_type="kubernetes",
        sender=EMBEDDED_SENDER,
        requested_at=NOW,
        started_at=NOW,
        finished_at=NOW,
        result=RunResult(state=state, **result),  # type: ignore[arg-type]
    )


NEVER_SEEN = Cluster(
    id=1,
    account_id=1,
    config=ClusterConfig(
        cluster_name="prod",
        server="https://k8s",
        cluster_certificate=None,
        client_certificate=None,
        credential_type=CredentialType.TOKEN,
        credential=SecretStr("canary"),
    ),
    credential_readable=True,
    generation=1,
    created_at=NOW,
    updated_at=NOW,
    due_at=NOW,
    failures=0,
    last_success_at=None,
    last_run=None,
    last_success=None,
    current_run_id=None,
)
GOOD = run(RunState.SUCCEEDED, namespaces=2, images=9, left_out=1, kai_version="0.4.0", server_version="v1.30.0")
SEEN = replace(NEVER_SEEN, last_success_at=NOW, last_run=GOOD, last_success=GOOD)
BROKEN = replace(SEEN, failures=2, last_run=run(RunState.FAILED, reason=REASON, kai_version="0.5.0"))


def test_a_cluster_never_looked_at_is_unknown() -> None:
    found = status_of(NEVER_SEEN, interval=INTERVAL, retention=Retention(), now=NOW)
    assert (found.health, found.data_age, found.images, found.reason) == (Health.UNKNOWN, None, None, None)


def test_counts_are_of_the_last_good_look_and_the_reason_of_the_last_bad_one() -> None:
    found = status_of(BROKEN, interval=INTERVAL, retention=Retention(), now=NOW + MINUTE)
    assert (found.health, found.reason, found.consecutive_failures) == (Health.FAILING, REASON, 2)
    assert (found.namespaces, found.images, found.left_out, found.server_version) == (2, 9, 1, "v1.30.0")
    assert (found.kai_version, found.data_age) == ("0.5.0", MINUTE)


def test_health_and_reason_recover_together() -> None:
    found = status_of(SEEN, interval=INTERVAL, retention=Retention(), now=NOW)
    assert (found.health, found.reason) == (Health.HEALTHY, None)


def test_a_clock_that_went_back_makes_no_negative_age() -> None:
    found = status_of(SEEN, interval=INTERVAL, retention=Retention(), now=NOW - MINUTE)
    assert found.data_age == 0


@pytest.mark.parametrize(
    ("ttl_days", "after", "warned"),
    [
        (120, 60 * DAY, False),
        (120, 60 * DAY + 1, True),
        (1, DAY // 2 + 1, True),
        (0, 1000 * DAY, False),
        (-1, 1000 * DAY, False),
    ],
)
def test_half_of_the_ttl_gone_unseen_is_warned_of(ttl_days: int, after: int, *, warned: bool) -> None:
    found = status_of(SEEN, interval=INTERVAL, retention=Retention(ttl_days), now=NOW + after)
    assert any("image_ttl_days" in warning for warning in found.warnings) is warned
    assert "canary" not in repr(found)


def test_a_credential_that_cannot_be_opened_is_the_one_thing_said_of_the_config() -> None:
    [warning] = warnings_of(replace(NEVER_SEEN, credential_readable=False), retention=Retention(120), now=0)
    assert warning.startswith("credential: cannot be opened")


@pytest.mark.parametrize(
    ("after", "running", "warned"), [(0, None, False), (MINUTE, None, True), (MINUTE - 1, None, False), (DAY, 7, False)]
)
def test_a_cluster_that_nobody_begins_to_look_at_says_so(after: int, running: int | None, warned: bool) -> None:
    cluster = replace(SEEN, current_run_id=running)
    found = status_of(cluster, interval=INTERVAL, retention=Retention(), now=NOW + after)
    assert any("nobody has begun to look" in warning for warning in found.warnings) == warned
