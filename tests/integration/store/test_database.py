"""The database itself: its schema, its clock, what it does when it is away."""

from pathlib import Path

import anyio
import peewee
import pytest
from pydantic import SecretStr

from orchestrator.store import tables
from orchestrator.store.database import MIGRATION_TABLE, Database, DatabaseUnavailable, SchemaMismatch

pytestmark = pytest.mark.anyio


@pytest.fixture
def real(database_url: str) -> Database:
    return Database(SecretStr(database_url))


def test_models_name_exactly_what_the_migrations_make(db: Database) -> None:
    def unit() -> None:
        made = set(db.peewee.get_tables()) - {MIGRATION_TABLE}
        assert made - {"sqlite_sequence"} == {table._meta.table_name for table in tables.TABLES}
        for table in tables.TABLES:
            columns = {column.name: column for column in db.peewee.get_columns(table._meta.table_name)}
            assert list(columns) == [field.column_name for field in table._meta.sorted_fields]
            for field in table._meta.sorted_fields:
                column = columns[field.column_name]
                assert column.primary_key == field.primary_key
                assert column.null == field.null or field.primary_key
                assert column.data_type.lower().split("(")[0] in _TYPES[type(field)]

    db.reading(unit)


_TYPES = {
    peewee.BigAutoField: {"integer", "bigint"},
    peewee.BigIntegerField: {"bigint"},
    peewee.IntegerField: {"integer"},
    peewee.TextField: {"text"},
    peewee.BlobField: {"blob", "bytea"},
}


def test_migrating_again_changes_nothing(db: Database) -> None:
    assert db.migrate() == []


def test_database_of_a_newer_version_is_refused(db: Database) -> None:
    newer = f"INSERT INTO {MIGRATION_TABLE} (name, applied) VALUES (?, '2030-01-01')"  # noqa: S608 - a constant
    db.writing(lambda: db.execute(newer, ("9999_from_the_future",)))
    with pytest.raises(SchemaMismatch, match="9999_from_the_future"):
        db.migrate()


def test_clock_is_near_ours(real: Database) -> None:
    import time

    assert abs(real.reading(real.now) - time.time_ns() // 1000) < 5_000_000
    real.close()


def test_unit_that_raises_writes_nothing(db: Database) -> None:
    def unit() -> None:
        db.run(tables.Account.insert(name="half", created_at=0))
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        db.writing(unit)
    assert db.reading(lambda: db.one("SELECT count(*) FROM account")) == (0,)


async def test_units_run_in_worker_threads(db: Database) -> None:
    import threading

    assert await db.read(threading.get_ident) != threading.get_ident()
    assert await db.write(threading.get_ident) != threading.get_ident()
    await db.ping()


async def test_database_that_is_away_is_said_so(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/no/such/dir/db", "postgresql://nobody@127.0.0.1:1/nothing"):
        db = Database(SecretStr(url))
        with pytest.raises(DatabaseUnavailable):
            await db.ping()
        db.close()


async def test_file_that_was_deleted_while_in_use_is_found_out(sqlite_url: str) -> None:
    db = Database(SecretStr(sqlite_url))
    db.migrate()
    await db.ping()
    await anyio.Path(sqlite_url.removeprefix("sqlite:///")).unlink()
    with pytest.raises(DatabaseUnavailable, match="was deleted while it was in use"):
        await db.ping()
    db.close()


def test_file_that_is_no_database_is_said_so(sqlite_url: str) -> None:
    Path(sqlite_url.removeprefix("sqlite:///")).write_bytes(b"this is a text, and a long one at that\n" * 100)
    db = Database(SecretStr(sqlite_url))
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        db.migrate()
    db.close()


def test_other_databases_are_refused() -> None:
    with pytest.raises(ValueError, match="sqlite:/// or postgresql://"):
        Database(SecretStr("mysql://x"))


@pytest.mark.postgres
def test_connections_that_a_restart_cut_are_replaced(postgres_url: str) -> None:
    db = Database(SecretStr(postgres_url))
    db.migrate()
    killer = Database(SecretStr(postgres_url))
    others = "pid <> pg_backend_pid() AND datname = current_database()"
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"  # noqa: S608 - a constant
    killer.reading(lambda: killer.rows(cut))
    assert db.reading(lambda: db.one("SELECT 1")) == (1,)
    killer.close()
    db.close()
