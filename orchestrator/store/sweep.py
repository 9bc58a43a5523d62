"""Freeing the space of what nobody is told any more. What is returned never depends on it."""

from dataclasses import dataclass

from orchestrator.model.instant import DAY, Instant
from orchestrator.model.retention import KEEP_FOR_EVER, Retention
from orchestrator.model.run import RunState
from orchestrator.store import tables
from orchestrator.store.database import Database
from orchestrator.store.sources import in_batches, lock_source


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRules:
    """How long things are kept: the image TTL, days of presence and coverage, days and number of runs a cluster."""

    retention: Retention
    presence_days: int
    run_history_days: int
    run_history_per_cluster: int


@dataclass(frozen=True, slots=True)
class Source:
    """A source that may hold something to free; swept by itself, so that no writer waits for long."""

    account_id: int
    inventory_type: str
    cluster_name: str


def sources(db: Database) -> list[Source]:
    """Every source, of all accounts: the sweep is the service's own and serves no caller."""
    return [Source(*row) for row in db.rows("SELECT account_id, inventory_type, cluster_name FROM source ORDER BY id")]


def sweep_source(db: Database, source: Source, rules: SweepRules) -> int:
    """Free the items, intervals and empty namespaces of one source that outlived both the TTL and the history of
    presence; returns the number of items. One unit of work, under the source's lock."""
    db.allow_slow_statements()
    source_id = lock_source(db, source.account_id, source.inventory_type, source.cluster_name)
    if source_id is None:
        return 0
    now = db.now()
    oldest = now - rules.presence_days * DAY
    _delete_intervals(db, source_id, oldest)
    removed = _delete_items(db, source_id, rules.retention, now=now, oldest=oldest)
    _delete_contexts(db, source_id, oldest)
    return removed


def _delete_intervals(db: Database, source_id: int, oldest: Instant) -> None:
    contexts = tables.Context.select(tables.Context.id).where(tables.Context.source_id == source_id)
    items = tables.Item.select(tables.Item.id).where(tables.Item.context_id.in_(contexts))
    db.run(tables.Presence.delete().where(tables.Presence.ended_at < oldest, tables.Presence.item_id.in_(items)))
    db.run(tables.Coverage.delete().where(tables.Coverage.ended_at < oldest, tables.Coverage.context_id.in_(contexts)))


def _delete_items(db: Database, source_id: int, retention: Retention, *, now: Instant, oldest: Instant) -> int:
    if retention.image_ttl_days == KEEP_FOR_EVER:
        return 0
    expired = retention.oldest_returned(now)
    before = oldest if expired is None else min(oldest, expired)
    # With -1 a present item never outlives anything: nobody has said that it went.
    seen = "i.last_seen" if retention.newest_report_only else "coalesce(i.last_seen, c.received_at)"
    rows = db.rows(
        f"SELECT i.id, i.context_id FROM item i JOIN context c ON c.id = i.context_id"
        f" WHERE c.source_id = ? AND {seen} < ?",
        (source_id, before),
    )
    for ids in in_batches(row[0] for row in rows):
        db.run(tables.Item.delete().where(tables.Item.id.in_(ids)))
    for ids in in_batches({row[1] for row in rows}):
        db.run(tables.Context.update(fingerprint=None).where(tables.Context.id.in_(ids)))
    return len(rows)


def _delete_contexts(db: Database, source_id: int, oldest: Instant) -> None:
    db.execute(
        "DELETE FROM context WHERE source_id = ? AND received_at < ?"
        " AND NOT EXISTS (SELECT 1 FROM item i WHERE i.context_id = context.id)"
        " AND NOT EXISTS (SELECT 1 FROM coverage v WHERE v.context_id = context.id)",
        (source_id, oldest),
    )


def sweep_runs(db: Database, rules: SweepRules) -> int:
    """Forget ended runs beyond their days or their number a cluster, but never a cluster's newest; returns how many.

    What a status is made of (the newest run, the newest success) is kept as long as its cluster or sender is.
    """
    db.allow_slow_statements()
    now = db.now()
    kept = " UNION ".join(
        f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL"
        for table in ("cluster", "sender")
        for column in ("last_run_id", "last_success_id")
    )
    rank = "row_number() OVER (PARTITION BY account_id, inventory_type, cluster_name ORDER BY id DESC)"
    open_states = ", ".join(f"'{state}'" for state in RunState if not state.ended)
    cursor = db.execute(
        "DELETE FROM run WHERE id IN (SELECT id FROM ("
        f"SELECT id, state, requested_at, {rank} AS newest FROM run) AS ranked"
        f" WHERE (newest > ? OR requested_at < ?) AND state NOT IN ({open_states}) AND id NOT IN ({kept}))",
        (rules.run_history_per_cluster, now - rules.run_history_days * DAY),
    )
    return int(cursor.rowcount)
