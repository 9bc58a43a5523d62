"""How fresh an answer is: of the sources it covers, how old the oldest newest good look is, and how many ail."""

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from orchestrator.model.cluster import INVENTORY_TYPE, asked_namespaces
from orchestrator.model.instant import Instant
from orchestrator.model.retention import Retention
from orchestrator.model.run import EMBEDDED_SENDER, Health, health_of
from orchestrator.model.traces import pace_of
from orchestrator.store.database import Database
from orchestrator.store.listing import ItemFilter
from orchestrator.store.posts import load_traces


@dataclass(frozen=True, slots=True)
class Freshness:
    """Of the sources that an answer covers: how many there are, how many are not healthy, and the oldest of their
    newest good looks (None where none of them had one)."""

    sources: int
    unhealthy: int
    oldest_success_at: Instant | None


@dataclass(frozen=True, slots=True)
class _Source:
    cluster_name: str
    namespaces: frozenset[str] | None
    health: Health
    last_success_at: Instant | None


def freshness(
    db: Database, account_id: int, wanted: ItemFilter, *, retention: Retention, interval: int, now: Instant
) -> Freshness:
    """How fresh the answer to a filter is, judged by the configured clusters and the posting senders that it covers.

    `interval` is the time between two looks in microseconds. An agent that stopped longer ago than the TTL is no
    longer waited for: nothing of it is in any answer.
    """
    known = [*_configured(db, account_id, interval, now), *_posting(db, account_id, retention, now)]
    covered = [source for source in known if _covers(wanted, source)]
    return Freshness(
        sources=len(covered),
        unhealthy=sum(source.health is not Health.HEALTHY for source in covered),
        oldest_success_at=min(
            (source.last_success_at for source in covered if source.last_success_at is not None), default=None
        ),
    )


def _configured(db: Database, account_id: int, interval: int, now: Instant) -> Iterator[_Source]:
    rows = db.rows(
        "SELECT cluster_name, namespaces, updated_at, failures, last_run_id, last_success_at"
        " FROM cluster WHERE account_id = ?",
        (account_id,),
    )
    for cluster_name, namespaces, updated_at, failures, last_run_id, last_success_at in rows:
        health = health_of(
            failures=failures,
            last_success_at=last_success_at,
            looked_at=last_run_id is not None,
            since=updated_at,
            interval=interval,
            now=now,
        )
        yield _Source(cluster_name, asked_namespaces(orjson.loads(namespaces)), health, last_success_at)


def _posting(db: Database, account_id: int, retention: Retention, now: Instant) -> Iterator[_Source]:
    rows = db.rows(
        "SELECT s.cluster_name, r.received_at, r.failures, r.last_success_at, r.traces"
        " FROM sender r JOIN source s ON s.id = r.source_id WHERE s.account_id = ? AND r.name <> ?",
        (account_id, EMBEDDED_SENDER),
    )
    for cluster_name, received_at, failures, last_success_at, traces in rows:
        if retention.present_expired(received_at, now):
            continue
        health = health_of(
            failures=failures,
            last_success_at=last_success_at,
            looked_at=True,
            since=received_at,
            interval=pace_of(load_traces(traces)),
            now=now,
        )
        yield _Source(cluster_name, None, health, last_success_at)


def _covers(wanted: ItemFilter, source: _Source) -> bool:
    if wanted.inventory_type not in (None, INVENTORY_TYPE) or wanted.cluster_name not in (None, source.cluster_name):
        return False
    namespace = wanted.namespace
    if wanted.context is not None:
        name, _, namespace = wanted.context.rpartition("/")
        if name != source.cluster_name or wanted.namespace not in (None, namespace):
            return False
    return namespace is None or source.namespaces is None or namespace in source.namespaces
