"""What a cluster's status says: how far its inventory can be trusted, and what is wrong with it."""

from dataclasses import dataclass

from orchestrator.model.credential import warnings_for
from orchestrator.model.instant import DAY, Instant
from orchestrator.model.retention import Retention
from orchestrator.model.run import Health, Reason, Run, health_of
from orchestrator.store.clusters import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """A cluster as of one moment.

    `reason` is why the newest look failed, None once a look was good again. Counts and `server_version` are those of
    the newest good look; `data_age` is how long ago that was, in microseconds.
    """

    cluster_name: str
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


def status_of(cluster: Cluster, *, interval: int, retention: Retention, now: Instant) -> ClusterStatus:
    """The status at `now` of a cluster that is looked at every `interval` microseconds."""
    last = cluster.last_run.result if cluster.last_run else None
    good = cluster.last_success.result if cluster.last_success else None
    success_at = cluster.last_success_at
    return ClusterStatus(
        cluster_name=cluster.config.cluster_name,
        health=health_of(
            failures=cluster.failures,
            last_success_at=success_at,
            looked_at=cluster.last_run is not None,
            since=cluster.updated_at,
            interval=interval,
            now=now,
        ),
        reason=last.reason if last else None,
        last_run=cluster.last_run,
        last_success_at=success_at,
        data_age=None if success_at is None else max(now - success_at, 0),
        consecutive_failures=cluster.failures,
        running=cluster.running,
        next_due_at=cluster.due_at,
        namespaces=good.namespaces if good else None,
        images=good.images if good else None,
        left_out=good.left_out if good else None,
        server_version=good.server_version if good else None,
        kai_version=(last.kai_version if last else None) or (good.kai_version if good else None),
        warnings=warnings_of(cluster, retention=retention, now=now),
    )


def warnings_of(cluster: Cluster, *, retention: Retention, now: Instant) -> list[str]:
    """What will not work, or soon will not: in the config, and in the inventory that waits for its TTL."""
    return [*warnings_for(cluster.config, now), *_unseen_warnings(cluster, retention, now)]


def _unseen_warnings(cluster: Cluster, retention: Retention, now: Instant) -> list[str]:
    ttl = retention.image_ttl_days * DAY
    if ttl <= 0 or cluster.last_success_at is None:
        return []
    age = now - cluster.last_success_at
    if age <= ttl // 2:
        return []
    days, limit = age // DAY, f"image_ttl_days ({retention.image_ttl_days})"
    if age > ttl:
        return [f"inventory: no good look for {days} days, more than {limit}: this cluster's images are not listed"]
    return [f"inventory: no good look for {days} days; past {limit} this cluster's images are no longer listed"]
