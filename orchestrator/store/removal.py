"""Removing inventory on purpose: the one way in which items leave the list before their time."""

from orchestrator.store.database import Database
from orchestrator.store.listing import ItemFilter, context_condition, image_condition
from orchestrator.store.sources import in_batches, lock_source


def remove_items(db: Database, account_id: int, wanted: ItemFilter) -> int:
    """Delete the items of the account that fit the filter, with their history; returns how many.

    What still runs appears anew with the next report that holds it. `present` plays no part here.
    """
    where = context_condition(account_id, wanted) & image_condition(wanted)
    found = f" FROM item i JOIN context c ON c.id = i.context_id JOIN source s ON s.id = c.source_id WHERE {where.sql}"
    # In one order, so that two removals at once cannot wait for each other.
    sources = db.rows(f"SELECT DISTINCT s.id, s.inventory_type, s.cluster_name{found} ORDER BY s.id", where.parameters)
    for _, inventory_type, cluster_name in sources:
        lock_source(db, account_id, inventory_type, cluster_name)
    rows = db.rows(f"SELECT i.id, i.context_id{found}", where.parameters)
    for ids in in_batches(row[0] for row in rows):
        db.execute(f"DELETE FROM item WHERE id IN ({', '.join('?' * len(ids))})", ids)
    for ids in in_batches({row[1] for row in rows}):
        db.execute(f"UPDATE context SET fingerprint = NULL WHERE id IN ({', '.join('?' * len(ids))})", ids)
    return len(rows)
