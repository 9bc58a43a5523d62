"""One database, SQLite or PostgreSQL: its connections, its clock, its units of work, its schema."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import peewee
from playhouse.migrations import Runner
from playhouse.pool import PooledSqliteDatabase
from pydantic import SecretStr

from orchestrator.model.instant import MICROSECOND, SECOND, Instant
from orchestrator.store.postgres import (
    READ_ONLY,
    Postgres,
    UnusableUrl,
    check_encoding,
    is_away,
    why_unusable,
)

T = TypeVar("T")

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_TABLE = "schema_migration"

# Any number will do, so long as every replica takes the same one.
_MIGRATION_LOCK = 7_203_491_552

_BUSY_TIMEOUT_SECONDS = 30
_CONNECTIONS = 10


# Turns a driver's errors into peewee's own, as its other ways to a statement do by themselves.
_AS_PEEWEE: Any = vars(peewee)["__exception_wrapper__"]


class DatabaseUnavailable(Exception):
    """The database is away, locked for too long, or its disk is full. Nothing was written; trying again may help."""


class SchemaMismatch(Exception):
    """The database was made by a newer version of the service."""


class Database:
    """Where everything is kept.

    A unit of work is a plain function that runs whole in one worker thread: `read` gives it a connection, `write`
    one transaction as well (IMMEDIATE on SQLite, where one writer runs at a time). Both raise DatabaseUnavailable.
    Inside a unit the functions of this package take the Database and talk to the thread's connection.
    """

    def __init__(self, url: SecretStr, *, clock: Callable[[], Instant] | None = None) -> None:
        """Open nothing yet. `url` is `sqlite:///path` or `postgresql://...`; `clock` replaces the database's own
        (tests). Raises UnusableUrl for any other, or one that cannot be read."""
        address = url.get_secret_value()
        self._clock = clock
        if address.startswith("sqlite:///"):
            self.peewee: Any = PooledSqliteDatabase(
                address.removeprefix("sqlite:///"),
                max_connections=_CONNECTIONS,
                timeout=_BUSY_TIMEOUT_SECONDS,
                lock_type="IMMEDIATE",
                pragmas={
                    "journal_mode": "wal",
                    "foreign_keys": 1,
                    # A cluster that was accepted with a 200 is still there after the power failed.
                    "synchronous": "full",
                    "busy_timeout": _BUSY_TIMEOUT_SECONDS * 1000,
                    "temp_store": "memory",
                },
                check_same_thread=False,
            )
            self.is_sqlite = True
        elif address.startswith(("postgresql://", "postgres://")):
            self.peewee = Postgres(address, max_connections=_CONNECTIONS, timeout=_BUSY_TIMEOUT_SECONDS)
            self.is_sqlite = False
        else:
            raise UnusableUrl("expected a database URL that begins with sqlite:/// or postgresql://")
        self._readers = anyio.CapacityLimiter(_CONNECTIONS // 2)
        self._writers = anyio.CapacityLimiter(1 if self.is_sqlite else _CONNECTIONS // 2)

    async def read(self, work: Callable[[], T]) -> T:
        """Run a unit that only reads, each statement seeing what is committed when it begins."""
        return await anyio.to_thread.run_sync(self.reading, work, limiter=self._readers)

    async def write(self, work: Callable[[], T]) -> T:
        """Run a unit in one transaction: all of it is stored when this returns, nothing of it when it raises."""
        return await anyio.to_thread.run_sync(self.writing, work, limiter=self._writers)

    def reading(self, work: Callable[[], T]) -> T:
        """`read` for a caller that is in a worker thread already."""
        with self._connection():
            if self.is_sqlite:
                return work()
            with self.peewee.atomic(READ_ONLY):
                return work()

    def writing(self, work: Callable[[], T]) -> T:
        """`write` for a caller that is in a worker thread already."""
        with self._connection(), self.peewee.atomic():
            return work()

    @contextmanager
    def _connection(self) -> Iterator[None]:
        try:
            with self.peewee.connection_context():
                yield
        except peewee.PeeweeException as error:
            # Of SQLite's errors, the plain one says that the file is no database, or no longer whole.
            if not is_away(error) and type(error) is not peewee.DatabaseError:
                raise
            if not self.is_sqlite:
                # What happened to one connection has most likely happened to those that wait to be used again.
                self.peewee.close_idle()
            first = _first_error(error)
            raise DatabaseUnavailable(f"{type(first).__name__}: {_first_line(first)}") from error

    def now(self) -> Instant:
        """The database's clock, which is the one clock for all that is stored. Only inside a unit of work.

        SQLite lives in this process, so its clock is the machine's.
        """
        if self._clock is not None:
            return self._clock()
        if self.is_sqlite:
            return time.time_ns() // 1000 * MICROSECOND
        row = self.one("SELECT (extract(epoch FROM clock_timestamp()) * ?)::bigint", (SECOND,))
        return int(row[0])

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Run one statement, with `?` for each parameter on both databases; returns its DB-API cursor."""
        return self.peewee.execute_sql(self._placeholders(sql), parameters)

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """The first row of a query that has one, as a tuple."""
        return self.execute(sql, parameters).fetchone()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, as tuples."""
        rows: list[Any] = self.execute(sql, parameters).fetchall()
        return rows

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row, in the driver's own fast way."""
        with _AS_PEEWEE:
            self.peewee.cursor().executemany(self._placeholders(sql), rows)

    def _placeholders(self, sql: str) -> str:
        return sql if self.is_sqlite else sql.replace("?", "%s")

    def locking(self, query: Any) -> Any:
        """A peewee SELECT that locks its rows until the unit ends.

        SQLite needs no such locks: in its IMMEDIATE transactions there is no other writer.
        """
        return query if self.is_sqlite else query.for_update()

    def locked_rows(self, sql: str, parameters: Sequence[Any], *, skip_locked: bool = False) -> list[Any]:
        """All rows of a query, as tuples, locked as `locking` does. For what every look does: making SQL from peewee's
        expressions costs several times what SQLite then takes to run it."""
        lock = "" if self.is_sqlite else " FOR UPDATE SKIP LOCKED" if skip_locked else " FOR UPDATE"
        return self.rows(sql + lock, parameters)

    def run(self, query: Any) -> Any:
        """Execute a peewee query here: rows of a SELECT, the new id of an INSERT, else the number of rows changed."""
        return query.execute(self.peewee)

    def allow_slow_statements(self) -> None:
        """Let the statements of this transaction take as long as they need: for work that nobody waits for."""
        if not self.is_sqlite:
            self.peewee.allow_slow_statements()

    def migrate(self) -> list[str]:
        """Bring the schema up to date and return the migrations applied. Safe when replicas start together.

        Raises SchemaMismatch when the database is newer than this code, UnusableDatabase when it cannot be used as it
        is, and DatabaseUnavailable.
        """
        try:
            return self._bring_up_to_date()
        except (DatabaseUnavailable, peewee.ProgrammingError) as error:
            unusable = None if self.is_sqlite else why_unusable(_first_line(error), error)
            if unusable is None:
                raise
            raise unusable from error

    def _bring_up_to_date(self) -> list[str]:
        runner = Runner(self.peewee, str(MIGRATIONS), table_name=MIGRATION_TABLE)
        with self._connection():
            if self.is_sqlite:
                return _migrate(runner)
            check_encoding(self.one("SHOW server_encoding")[0])
            # In one transaction, whose end frees the lock: behind PgBouncer a session's lock would be left behind.
            with self.peewee.atomic():
                self.allow_slow_statements()
                self.execute("SET LOCAL lock_timeout = 0")
                self.execute("SELECT pg_advisory_xact_lock(?)", (_MIGRATION_LOCK,))
                return _migrate(runner)

    def schema_version(self) -> str:
        """The newest migration of this code, such as `0001`; equal to the database's after `migrate`."""
        newest = max(path.stem for path in MIGRATIONS.glob("[0-9]*.py"))
        return newest.split("_", 1)[0]

    async def ping(self) -> None:
        """Raise DatabaseUnavailable unless the database answers, and its file is where it was."""
        await self.read(self._answer)

    def _answer(self) -> None:
        self.one("SELECT 1")
        if not self.is_sqlite:
            return
        # SQLite goes on writing into a file that was deleted, and all of it is gone when the service stops.
        path = Path(self.peewee.database)
        if not path.exists():
            raise DatabaseUnavailable(f"{path} was deleted while it was in use; stop the service and restore it")

    def close(self) -> None:
        """Close every connection, also those of other threads. Only when no unit of work is running."""
        self.peewee.close_all()


def _migrate(runner: Runner) -> list[str]:
    unknown = sorted(each.name for each in runner.status() if each.path is None)
    if unknown:
        raise SchemaMismatch(
            f"the database has migrations that this version does not know ({', '.join(unknown)}): "
            "it was made by a newer version; run that one, or give another database"
        )
    applied: list[str] = runner.up()
    return applied


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _first_error(error: Exception) -> Exception:
    """What went wrong first: undoing the transaction on a lost connection fails in turn, and says less."""
    first, each = error, error.__context__
    while each is not None:
        if isinstance(each, peewee.PeeweeException):
            first = each
        each = each.__context__
    return first
