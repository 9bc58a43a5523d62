"""Sources: what reports are about. Whoever writes a source's inventory, or changes its cluster, locks its row first.

That one rule orders all writers of a source, on both databases and over all replicas.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.store import tables
from orchestrator.store.database import Database

_BATCH = 500


def lock_source(db: Database, account_id: int, inventory_type: str, cluster_name: str) -> int | None:
    """Lock the source's row until the unit of work ends and return its id, None where nothing was reported yet."""
    rows = db.locked_rows(
        "SELECT id FROM source WHERE account_id = ? AND inventory_type = ? AND cluster_name = ?",
        (account_id, inventory_type, cluster_name),
    )
    return rows[0][0] if rows else None


def lock_or_make_source(db: Database, account_id: int, inventory_type: str, cluster_name: str) -> int:
    """Like `lock_source`, for the first report makes the source."""
    source_id = lock_source(db, account_id, inventory_type, cluster_name)
    if source_id is None:
        made = tables.Source.insert(account_id=account_id, inventory_type=inventory_type, cluster_name=cluster_name)
        db.run(made.on_conflict_ignore())
        source_id = lock_source(db, account_id, inventory_type, cluster_name)
    if source_id is None:
        raise RuntimeError("a source that was just made is not there")
    return source_id


def in_batches(values: Iterable[Any]) -> Iterable[Sequence[Any]]:
    """The values in lists short enough for one statement's parameters."""
    collected = list(values)
    for start in range(0, len(collected), _BATCH):
        yield collected[start : start + _BATCH]
