"""Writing down what changed in a context: its items, and their closed intervals of presence.

Whatever ends or removes an item here also clears or replaces the context's fingerprint in the same unit of work;
else a cluster that comes back with the same images would look unchanged, and stay empty for ever.
"""

from collections.abc import Set as AbstractSet

from orchestrator.model.instant import Instant
from orchestrator.model.presence import Change, Known, compare
from orchestrator.model.report import image_key
from orchestrator.model.retention import Retention
from orchestrator.store import tables
from orchestrator.store.database import Database
from orchestrator.store.sources import in_batches


def known_items(db: Database, context_id: int) -> list[Known]:
    """Every item of the context that is stored, also those that are no longer returned."""
    rows = db.rows(
        "SELECT id, image_tag, image_digest, created_at, present_since, last_seen FROM item WHERE context_id = ?",
        (context_id,),
    )
    return [Known(row[0], (row[1], row[2]), row[3], row[4], row[5]) for row in rows]


def apply_change(db: Database, context_id: int, change: Change, *, seen_until: Instant, now: Instant) -> None:
    """Store a difference. Items that went were last seen at `seen_until`, those that appeared are there since `now`.

    The caller holds the source's lock and sets the context's fingerprint.
    """
    db.execute_many(
        "INSERT INTO item (context_id, image_key, image_tag, image_digest, created_at, present_since)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [(context_id, image_key(image), *image, now, now) for image in change.appeared],
    )
    db.execute_many(
        "UPDATE item SET created_at = ?, present_since = ?, last_seen = NULL WHERE id = ?",
        [(item.created_at, item.present_since, item.id) for item in change.returned],
    )
    db.execute_many(
        "INSERT INTO presence (item_id, started_at, ended_at) VALUES (?, ?, ?)",
        [(item.id, *item.archived) for item in change.returned if item.archived is not None],
    )
    for ids in in_batches(change.gone):
        db.run(tables.Item.update(last_seen=seen_until).where(tables.Item.id.in_(ids)))
    for ids in in_batches(change.superseded):
        db.run(tables.Item.delete().where(tables.Item.id.in_(ids)))


def end_presence(
    db: Database,
    source_id: int,
    *,
    sender: str,
    except_namespaces: AbstractSet[str],
    now: Instant,
    retention: Retention,
) -> None:
    """What this sender saw in the source is no longer present, but in the namespaces excepted: it ages out from when
    it was last seen. The caller holds the source's lock."""
    query = (
        tables.Context.select(tables.Context.id, tables.Context.namespace, tables.Context.received_at)
        .join(tables.Sender, on=tables.Sender.id == tables.Context.sender_id)
        .where(tables.Context.source_id == source_id, tables.Sender.name == sender)
    )
    for context_id, namespace, received_at in list(db.run(query.tuples())):
        if namespace in except_namespaces:
            continue
        change = compare(
            known_items(db, context_id),
            (),
            seen_until=received_at,
            still_returned=not retention.present_expired(received_at, now),
            now=now,
            retention=retention,
            gap=0,
        )
        apply_change(db, context_id, change, seen_until=received_at, now=now)
        db.run(tables.Context.update(fingerprint=None).where(tables.Context.id == context_id))
