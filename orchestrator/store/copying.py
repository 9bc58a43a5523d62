"""Moving an installation from SQLite to PostgreSQL: every row as it is, under the number it has."""

from collections.abc import Callable, Iterator
from typing import Any

import peewee

from orchestrator.store import tables
from orchestrator.store.database import Database

_BATCH = 2_000

Progress = Callable[[str, int, int], None]
"""Told of each table, how many of its rows were copied, and how many there are."""


class CopyRefused(Exception):
    """Nothing was copied; the text says why and what to do."""


def copy_all(source: Database, target: Database, progress: Progress) -> dict[str, int]:
    """Copy every table into an empty database and return how many rows of each were copied and counted there.

    Both are migrated first; nobody else may write to the source meanwhile. All of it is copied or nothing. Raises
    CopyRefused, SchemaMismatch and DatabaseUnavailable.
    """
    if not source.is_sqlite or target.is_sqlite:
        raise CopyRefused("a copy goes from SQLite to PostgreSQL (from PostgreSQL to PostgreSQL: pg_dump)")
    source.migrate()
    target.migrate()
    try:
        return source.reading(lambda: target.writing(lambda: _copy(source, target, progress)))
    except (peewee.IntegrityError, peewee.DataError) as error:
        # The first line only: those that follow quote the row.
        problem = str(error).partition("\n")[0]
        raise CopyRefused(
            f"PostgreSQL does not take a row of this database, and nothing was copied: {problem}"
        ) from None


def _copy(source: Database, target: Database, progress: Progress) -> dict[str, int]:
    target.allow_slow_statements()
    shapes = dict(_shape(table) for table in tables.TABLES)
    for name in shapes:
        # A replica that starts meanwhile would write here too.
        target.execute(f"LOCK TABLE {name}")
        if _count(target, name):
            raise CopyRefused(f"the database to copy to is not empty (table {name}): give one that is")
    counts = {}
    for name, columns in shapes.items():
        counts[name] = _copy_table(source, target, name, columns, progress)
        _continue_numbers(source, target, name)
    for name, copied in counts.items():
        if not _count(source, name) == _count(target, name) == copied:
            raise CopyRefused(f"table {name} has another number of rows in the copy, which was undone; try again")
    return counts


def _shape(table: Any) -> tuple[str, list[str]]:
    """Name and columns. What peewee names like something private is its documented way to ask."""
    meta = table._meta  # noqa: SLF001
    return meta.table_name, [field.column_name for field in meta.sorted_fields]


def _count(db: Database, name: str) -> int:
    return int(db.one(f"SELECT count(*) FROM {name}")[0])


def _copy_table(source: Database, target: Database, name: str, columns: list[str], progress: Progress) -> int:
    insert = f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    total, copied = _count(source, name), 0
    progress(name, copied, total)
    for rows in _batches(source, name, columns):
        target.execute_many(insert, rows)
        copied += len(rows)
        progress(name, copied, total)
    return copied


def _batches(source: Database, name: str, columns: list[str]) -> Iterator[list[Any]]:
    """All rows in the order of SQLite's own number, which every table has."""
    select = f"SELECT rowid, {', '.join(columns)} FROM {name} WHERE rowid > ? ORDER BY rowid LIMIT {_BATCH}"
    last = -1
    while rows := source.rows(select, (last,)):
        last = rows[-1][0]
        yield [row[1:] for row in rows]


def _continue_numbers(source: Database, target: Database, name: str) -> None:
    """Have new rows numbered after the highest that ever was, also of rows that were deleted: a look in progress, or
    somebody's cursor, may still hold it."""
    for (highest,) in source.rows("SELECT seq FROM sqlite_sequence WHERE name = ? AND seq > 0", (name,)):
        target.execute("SELECT setval(pg_get_serial_sequence(?, 'id'), ?)", (name, highest))
