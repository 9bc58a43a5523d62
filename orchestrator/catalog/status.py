"""What a status says: how far a cluster's inventory can be trusted, and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.model.credential import warnings_for
from orchestrator.model.instant import DAY, MINUTE, SECOND, Instant
from orchestrator.model.retention import Retention
from orchestrator.model.run import EMBEDDED_SENDER, STALE_AFTER_INTERVALS, Health, Reason, Run, health_of
from orchestrator.model.traces import mixing, pace_of
from orchestrator.store.clusters import Cluster
from orchestrator.store.posts import SenderState


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """A cluster as of one moment.

    `sender` is who reports: embedded mode, or a posting user, whose every report is a look as well. `reason` is why
    the newest look failed, None once a look was good again. Counts and `server_version` are those of the newest good
    look; `data_age` is how long ago that was, in microseconds.
    """

    cluster_name: str
    sender: str
    health: Health
    reason: Reason | None
    last_run: Run | None
    last_success_at: Instant | None
    data_age: int | None
    consecutive_failures: int
    running: bool
    next_due_at: Instant
    namespaces: int | None
    images: int | None
    left_out: int | None
    server_version: str | None
    kai_version: str | None
    warnings: list[str]


def status_of(
    cluster: Cluster, *, interval: int, retention: Retention, now: Instant, senders: Sequence[SenderState] = ()
) -> ClusterStatus:
    """The status at `now` of a cluster that is looked at every `interval` microseconds, and perhaps reported about by
    posting senders as well."""
    return _status(
        cluster.config.cluster_name,
        EMBEDDED_SENDER,
        failures=cluster.failures,
        last_run=cluster.last_run,
        last_success=cluster.last_success,
        last_success_at=cluster.last_success_at,
        since=cluster.updated_at,
        interval=interval,
        running=cluster.running,
        next_due_at=cluster.due_at,
        now=now,
        warnings=[
            *warnings_of(cluster, retention=retention, now=now),
            *_overdue(cluster, now),
            *_several([EMBEDDED_SENDER, *_active(senders, now)]),
        ],
    )


def status_of_senders(senders: Sequence[SenderState], *, retention: Retention, now: Instant) -> ClusterStatus:
    """The status of a source that only posting senders report about: that of the one whose good report came last.

    It is due again after its own usual time between two reports.
    """
    newest = max(senders, key=lambda sender: sender.received_at)
    pace = pace_of(newest.traces)
    return _status(
        newest.cluster_name,
        newest.sender,
        failures=newest.failures,
        last_run=newest.last_run,
        last_success=newest.last_success,
        last_success_at=newest.last_success_at,
        since=newest.received_at,
        interval=pace,
        running=False,
        next_due_at=newest.received_at + pace,
        now=now,
        warnings=[
            *_unseen(newest.last_success_at, retention, now),
            *_several(_active(senders, now)),
            *mixing(newest.traces),
        ],
    )


def _status(
    cluster_name: str,
    sender: str,
    *,
    failures: int,
    last_run: Run | None,
    last_success: Run | None,
    last_success_at: Instant | None,
    since: Instant,
    interval: int,
    running: bool,
    next_due_at: Instant,
    now: Instant,
    warnings: list[str],
) -> ClusterStatus:
    last = last_run.result if last_run else None
    good = last_success.result if last_success else None
    return ClusterStatus(
        cluster_name=cluster_name,
        sender=sender,
        health=health_of(
            failures=failures,
            last_success_at=last_success_at,
            looked_at=last_run is not None,
            since=since,
            interval=interval,
            now=now,
        ),
        reason=last.reason if last else None,
        last_run=last_run,
        last_success_at=last_success_at,
        data_age=None if last_success_at is None else max(now - last_success_at, 0),
        consecutive_failures=failures,
        running=running,
        next_due_at=next_due_at,
        namespaces=good.namespaces if good else None,
        images=good.images if good else None,
        left_out=good.left_out if good else None,
        server_version=good.server_version if good else None,
        kai_version=(last.kai_version if last else None) or (good.kai_version if good else None),
        warnings=warnings,
    )


def warnings_of(cluster: Cluster, *, retention: Retention, now: Instant) -> list[str]:
    """What will not work, or soon will not: in the config, and in the inventory that waits for its TTL."""
    config = warnings_for(cluster.config, now) if cluster.credential_readable else [UNREADABLE_CREDENTIAL]
    return [*config, *_unseen(cluster.last_success_at, retention, now)]


OVERDUE: Final = MINUTE
"""How long a due cluster may wait before its status says so."""

UNREADABLE_CREDENTIAL = (
    "credential: cannot be opened with the sealing keys that the service has, it was altered or copied from elsewhere: "
    "give it again with a PUT"
)


def _overdue(cluster: Cluster, now: Instant) -> list[str]:
    waited = now - cluster.due_at
    if cluster.running or waited < OVERDUE:
        return []
    why = (
        "either every slot is taken, mostly by clusters that hang (ORCHESTRATOR_MAX_CONCURRENT_RUNS and more replicas "
        "make room), or no process is running that looks at this cluster (a role other than api)"
    )
    return [f"schedule: due for {waited // SECOND} s, and nobody has begun to look: {why}"]


def _unseen(last_success_at: Instant | None, retention: Retention, now: Instant) -> list[str]:
    ttl = retention.image_ttl_days * DAY
    if ttl <= 0 or last_success_at is None:
        return []
    age = now - last_success_at
    if age <= ttl // 2:
        return []
    days, limit = age // DAY, f"image_ttl_days ({retention.image_ttl_days})"
    if age > ttl:
        return [f"inventory: no good look for {days} days, more than {limit}: this cluster's images are not listed"]
    return [f"inventory: no good look for {days} days; past {limit} this cluster's images are no longer listed"]


def _active(senders: Sequence[SenderState], now: Instant) -> list[str]:
    """The senders that still report: the others stopped, and perhaps somebody else was to take over."""
    return [
        sender.sender
        for sender in senders
        if now - sender.received_at <= STALE_AFTER_INTERVALS * pace_of(sender.traces)
    ]


def _several(names: Sequence[str]) -> list[str]:
    if len(names) < 2:
        return []
    together = " and ".join(sorted(names))
    advice = "let one of them report about this cluster, or give them different namespaces"
    return [f"senders: reports come from {together}, and each takes over the namespaces that it reports: {advice}"]
