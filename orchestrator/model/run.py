"""A run: one look at a cluster or one posted report, and what its cluster's health follows from."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from orchestrator.model.instant import Instant

EMBEDDED_SENDER: Final = "embedded"

STALE_AFTER_INTERVALS: Final = 3


def user_sender(username: str) -> str:
    """The sender that a posting user is: named so that no user can pass for embedded mode."""
    return f"user:{username}"


class RunState(StrEnum):
    """Where a run is.

    QUEUED and RUNNING have not ended. SUCCEEDED was stored. FAILED proved nothing, TIMED_OUT by hitting the deadline,
    GAVE_WAY by taking far longer than usual while other clusters waited: it is done again with its whole time.
    INTERRUPTED ended with the service, DISCARDED because the cluster was changed, deleted or taken over meanwhile,
    LATE was older than what its sender had reported already: these three say nothing about the cluster's health.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    GAVE_WAY = "gave_way"
    INTERRUPTED = "interrupted"
    DISCARDED = "discarded"
    LATE = "late"

    @property
    def took_too_long(self) -> bool:
        """Whether the look held its slot until it was taken away: the cluster then counts as slow."""
        return self in (RunState.TIMED_OUT, RunState.GAVE_WAY)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self not in (RunState.QUEUED, RunState.RUNNING)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a look failed: a stable `code`, a `message` in plain words, and the `remedy`, what to do about it."""

    code: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What came of a run. Excerpts are redacted already; counts are None where there was no report."""

    state: RunState
    reason: Reason | None = None
    exit_code: int | None = None
    stdout_excerpt: str = ""
    stderr_excerpt: str = ""
    namespaces: int | None = None
    images: int | None = None
    appeared: int | None = None
    gone: int | None = None
    left_out: int | None = None
    kai_version: str | None = None
    server_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as it is stored. `result` is what is known so far: only its state before the run has ended."""

    id: int
    cluster_name: str
    inventory_type: str
    sender: str
    requested_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    result: RunResult


class Health(StrEnum):
    """How far a cluster's inventory can be trusted."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    FAILING = "failing"
    STALE = "stale"


def health_of(
    *, failures: int, last_success_at: Instant | None, looked_at: bool, since: Instant, interval: int, now: Instant
) -> Health:
    """The health of a cluster that has been configured since `since` and is looked at every `interval` microseconds.

    `failures` counts the failed looks in a row, `looked_at` is whether any look has ended. Data older than three
    intervals is stale even when nothing failed (a service that was down): what matters to the reader is its age.
    """
    if not looked_at:
        return Health.UNKNOWN
    newest = since if last_success_at is None else last_success_at
    if now - newest > STALE_AFTER_INTERVALS * interval and (failures or last_success_at is not None):
        return Health.STALE
    return Health.FAILING if failures else Health.HEALTHY
