"""Reading the inventory: pages in a stable order. How fresh they are is said by freshness.py.

Items are sorted by context, tag and digest, by their bytes. A page begins after a position in that order, so an item
that is present throughout a walk appears exactly once, whatever comes and goes around it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchestrator.model.instant import Instant
from orchestrator.model.retention import Retention
from orchestrator.store.database import Database
from orchestrator.store.sources import in_batches

# Contexts considered for one page; each costs a count in the index, not its rows.
_CONTEXTS_A_STEP = 64

# What is indexed of a tag and a digest: see the first migration.
_INDEXED = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFilter:
    """What to list; every condition is exact, None is no condition. `present` False lists what only awaits its TTL."""

    inventory_type: str | None = None
    context: str | None = None
    cluster_name: str | None = None
    namespace: str | None = None
    image_tag: str | None = None
    image_digest: str | None = None
    present: bool | None = None


class Item(NamedTuple):
    """An image in a namespace. `last_seen` is when a report last held it; `present` whether the newest one does."""

    inventory_type: str
    context: str
    cluster_name: str
    namespace: str
    image_tag: str
    image_digest: str
    created_at: Instant
    last_seen: Instant
    present: bool


class Position(NamedTuple):
    """The last item of the page before: the next page begins after it."""

    context: str
    image_tag: str
    image_digest: str


@dataclass(frozen=True, slots=True)
class _Context:
    id: int
    name: str
    inventory_type: str
    cluster_name: str
    namespace: str
    received_at: Instant


@dataclass(frozen=True, slots=True)
class Condition:
    """A part of a WHERE clause, with its parameters."""

    sql: str
    parameters: tuple[Any, ...] = ()

    def __and__(self, other: "Condition") -> "Condition":
        return Condition(f"{self.sql} AND {other.sql}", self.parameters + other.parameters)


def read_page(
    db: Database,
    account_id: int,
    wanted: ItemFilter,
    *,
    retention: Retention,
    now: Instant,
    after: Position | None,
    limit: int,
) -> list[Item]:
    """Up to `limit` items after a position; fewer only at the end of the list.

    `now` is the instant at which items have or have not outlived their TTL; a walk keeps the one it began with.
    """
    items: list[Item] = []
    begin = Condition("c.name >= ?", (after.context if after else "",))
    while len(items) < limit:
        contexts = _next_contexts(db, account_id, wanted, begin, limit - len(items))
        if not contexts:
            break
        returned = image_condition(wanted) & _returned_condition(wanted, retention, now)
        if after is not None:
            returned &= Condition(
                "(c.name > ? OR (i.image_tag, i.image_digest) > (?, ?))",
                (after.context, after.image_tag, after.image_digest),
            )
        items += _read_items(db, contexts, returned, limit - len(items))
        begin = Condition("c.name > ?", (contexts[-1].name,))
    return items


def _next_contexts(db: Database, account_id: int, wanted: ItemFilter, begin: Condition, limit: int) -> list[_Context]:
    """The next contexts whose items fit into what is left of a page; one too large for it is read in parts."""
    where = context_condition(account_id, wanted) & begin
    if wanted.image_tag is None and wanted.image_digest is None:
        hits = Condition("")
        join, count = "", "(SELECT count(*) FROM item i WHERE i.context_id = c.id)"
    else:
        # Found through the images first: without this, one image would be looked for in every context.
        images = image_condition(wanted)
        hits = Condition(
            "WITH hits AS MATERIALIZED (SELECT i.context_id, count(*) AS images FROM item i"
            f" WHERE {images.sql} GROUP BY i.context_id)",
            images.parameters,
        )
        join, count = "JOIN hits ON hits.context_id = c.id", "hits.images"
    # Read row by row, and no further than the page goes: SQLite counts a context's items when it gets to its row.
    rows = db.execute(
        f"{hits.sql} SELECT c.id, c.name, s.inventory_type, s.cluster_name, c.namespace, c.received_at, {count}"
        f" FROM context c JOIN source s ON s.id = c.source_id {join}"
        f" WHERE {where.sql} ORDER BY c.name, c.id LIMIT {_CONTEXTS_A_STEP}",
        hits.parameters + where.parameters,
    )
    contexts: list[_Context] = []
    room = limit
    for *columns, candidates in rows:
        room -= candidates
        if contexts and room < 0:
            break
        contexts.append(_Context(*columns))
    return contexts


def context_condition(account_id: int, wanted: ItemFilter) -> Condition:
    """What a filter says of contexts `c` and their sources `s`."""
    condition = Condition("c.account_id = ?", (account_id,))
    for column, value in (
        ("s.inventory_type", wanted.inventory_type),
        ("c.name", wanted.context),
        ("s.cluster_name", wanted.cluster_name),
        ("c.namespace", wanted.namespace),
    ):
        if value is not None:
            condition &= Condition(f"{column} = ?", (value,))
    return condition


def image_condition(wanted: ItemFilter) -> Condition:
    """What a filter says of items `i`, in a form that the indexes serve."""
    condition = Condition("1 = 1")
    for column, value in (("image_tag", wanted.image_tag), ("image_digest", wanted.image_digest)):
        if value is not None:
            prefix = f"substr(i.{column}, 1, {_INDEXED}) = ?"
            condition &= Condition(f"{prefix} AND i.{column} = ?", (value[:_INDEXED], value))
    return condition


def _returned_condition(wanted: ItemFilter, retention: Retention, now: Instant) -> Condition:
    condition = Condition("1 = 1")
    if wanted.present is not None:
        condition &= Condition("i.last_seen IS NULL" if wanted.present else "i.last_seen IS NOT NULL")
    if retention.newest_report_only:
        newest = "SELECT r.report_at FROM sender r WHERE r.id = c.sender_id"
        condition &= Condition(f"i.last_seen IS NULL AND c.report_at = ({newest})")
    oldest = retention.oldest_returned(now)
    if oldest is not None:
        condition &= Condition("coalesce(i.last_seen, c.received_at) >= ?", (oldest,))
    return condition


def _read_items(db: Database, contexts: Sequence[_Context], returned: Condition, limit: int | None) -> list[Item]:
    by_id = {context.id: context for context in contexts}
    ids = ", ".join(str(context_id) for context_id in by_id)
    rows = db.rows(
        "SELECT i.context_id, i.image_tag, i.image_digest, i.created_at, i.last_seen"
        f" FROM item i JOIN context c ON c.id = i.context_id WHERE i.context_id IN ({ids}) AND {returned.sql}"
        f" ORDER BY c.name, c.id, i.image_tag, i.image_digest{'' if limit is None else f' LIMIT {limit}'}",
        returned.parameters,
    )
    items: list[Item] = []
    for context_id, image_tag, image_digest, created_at, last_seen in rows:
        context = by_id[context_id]
        present = last_seen is None
        items.append(
            Item(
                context.inventory_type,
                context.name,
                context.cluster_name,
                context.namespace,
                image_tag,
                image_digest,
                created_at,
                context.received_at if present else last_seen,
                present,
            )
        )
    return items


def read_namespaces(
    db: Database, account_id: int, *, inventory_type: str, cluster_name: str, namespaces: Iterable[str]
) -> list[Item]:
    """All items that are present in some namespaces of a source, in the order of the list."""
    # Two statements, so that each batch is found by the source's own index and not among all of the account's contexts.
    source = db.one(
        "SELECT id FROM source WHERE account_id = ? AND inventory_type = ? AND cluster_name = ?",
        (account_id, inventory_type, cluster_name),
    )
    if source is None:
        return []
    items: list[Item] = []
    for names in in_batches(sorted(namespaces)):
        rows = db.rows(
            "SELECT c.id, c.name, c.namespace, c.received_at FROM context c"
            f" WHERE c.source_id = ? AND c.namespace IN ({', '.join('?' * len(names))})",
            (source[0], *names),
        )
        contexts = [
            _Context(context_id, name, inventory_type, cluster_name, namespace, received_at)
            for context_id, name, namespace, received_at in rows
        ]
        if contexts:
            items += _read_items(db, contexts, Condition("i.last_seen IS NULL"), limit=None)
    return items
