"""PostgreSQL as the service talks to it: how it connects, how long a transaction may take, and what it leaves out so
that it also works behind PgBouncer in transaction mode: session state, startup options and, there, prepared
statements."""

import re
import time
from typing import Any

import peewee
import psycopg
from playhouse.pool import PooledPostgresqlDatabase
from psycopg.conninfo import conninfo_to_dict

# A statement takes milliseconds: one of a minute waits for a disk that is gone, and holds one of few connections.
STATEMENT_SECONDS = 60
# The server ends a statement itself. One that does not even do that stands still, or waits behind a pooler for a server
# that is away: its connection is given up, and with it a request that would hang for as long.
ANSWER_SECONDS = STATEMENT_SECONDS + 10
# As long as SQLite's busy timeout. The longest holder of a lock is the first report of a very large cluster.
LOCK_SECONDS = 30
# A replica that is stopped in mid-transaction holds its locks, and would keep the others from its clusters for ever.
IDLE_SECONDS = 30

# What fails within it was refused, and costs nothing to try again.
_PROMPT_SECONDS = 1.0
_CHECK_SECONDS = 5.0

# How often a statement is sent before it is prepared: psycopg's own default.
_PREPARE_AFTER = 5

READ_ONLY = "READ ONLY"

# What an address that names no other value gets. A server that vanished without a word is noticed in half a minute,
# also in the middle of a statement; the kernel's own limits are hours, and a quarter of an hour.
_CONNECTION = {
    "application_name": "kai-orchestrator",
    "connect_timeout": 5,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

# Errors that PostgreSQL counts among a program's own, and that are not: 25006 is a server that became a standby,
# 25P03 a transaction that was idle for too long and was ended with its connection.
_AWAY = frozenset({"25006", "25P03"})


HOW_TO_MAKE = "CREATE DATABASE kai OWNER kai ENCODING 'UTF8' TEMPLATE template0"

# What libpq, the server and PgBouncer say where waiting does not help, and what does. There are no codes for it.
_REMEDIES = {
    "password authentication failed": "check the user and the password that are given for it",
    "invalid sslmode value": "sslmode is one of disable, allow, prefer, require, verify-ca, verify-full",
    "root certificate file": "give the file with the CA's certificate as sslrootcert",
    "certificate verify failed": "sslrootcert has to hold the CA that signed the server's certificate",
    "does not match host name": "connect by a name that the server's certificate is for",
    "statement pooling mode": "set pool_mode = transaction in PgBouncer",
}
_PERMISSION_DENIED = "42501"


class UnusableDatabase(Exception):
    """The database cannot be used as it is, and waiting does not help; the text says what to do."""


class UnusableUrl(ValueError):
    """The database's URL is none; the text says what was expected, and never the URL, which holds a password."""


class _Connection(psycopg.Connection[Any]):
    """A connection that is closed when the server does not answer within `patience` seconds; None: it may take longer.

    libpq has no such limit: `tcp_user_timeout` only counts what the kernel on the other side has not acknowledged.
    """

    patience: float | None = ANSWER_SECONDS

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """What psycopg waits with for every answer."""
        patience = self.patience if timeout is None else timeout
        begun = time.monotonic()
        try:
            return super().wait(gen, interval, patience)
        except psycopg.OperationalError:
            if patience is None or time.monotonic() - begun < patience:
                raise
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the server has not answered for {patience:g} s") from None


class _Adapter(peewee.Psycopg3Adapter):
    """Waits for no answer for ever, and has statements prepared where that is safe: a large report is then stored in
    half the time."""

    def connect(self, db: Any, **parameters: Any) -> Any:
        """A new connection of psycopg's."""
        if time.monotonic() < db.silent_until:
            raise psycopg.OperationalError("the server did not answer a moment ago")
        begun = time.monotonic()
        try:
            connection = _Connection.connect(db.database, **parameters)
        except psycopg.OperationalError:
            # The pool makes one connection at a time: all who wait for one would be kept waiting one after the other.
            if time.monotonic() - begun > _PROMPT_SECONDS:
                db.silent_until = time.monotonic() + _PROMPT_SECONDS
            raise
        connection.autocommit = True
        answer = connection.execute("SELECT pg_backend_pid()").fetchone()
        # A pooler in between makes up a process of its own: what is prepared on one connection is not on the next.
        is_direct = answer == (connection.info.backend_pid,)
        connection.prepare_threshold = _PREPARE_AFTER if is_direct else None
        return connection


class Postgres(PooledPostgresqlDatabase):
    """A pool of connections. Each transaction sets its own limits: behind PgBouncer a session's would be anybody's."""

    psycopg3_adapter = _Adapter

    def __init__(self, url: str, *, max_connections: int, timeout: int) -> None:
        """`timeout` is how many seconds to wait for a free connection. The URL's own parameters (sslmode,
        sslrootcert, target_session_attrs and all that libpq knows) win over ours. Raises UnusableUrl for a URL that
        libpq cannot read."""
        url = url.replace("postgres://", "postgresql://", 1)
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            # Without its text, and without a cause: it quotes the password.
            unknown = re.search(r'invalid URI query parameter: "(\w+)"', str(error))
            raise UnusableUrl(
                "the database URL cannot be read: expected postgresql://USER:PASSWORD@HOST:PORT/NAME?PARAMETER=VALUE "
                "with PostgreSQL's own parameters, and special characters percent-encoded"
                + (f"; there is no parameter {unknown[1]}" if unknown else "")
            ) from None
        self.silent_until = 0.0
        super().__init__(
            url,
            prefer_psycopg3=True,
            max_connections=max_connections,
            timeout=timeout,
            prepare_threshold=None,
            **{name: value for name, value in _CONNECTION.items() if name not in given},
        )

    def begin(self, access: str = "") -> None:
        """Begin a transaction and set its limits, in one round trip.

        Where nothing else is said the server decides whether it may write: an administrator's
        `default_transaction_read_only` holds.
        """
        limits = {
            "statement_timeout": STATEMENT_SECONDS,
            "lock_timeout": LOCK_SECONDS,
            "idle_in_transaction_session_timeout": IDLE_SECONDS,
        }
        self.connection().patience = ANSWER_SECONDS
        settings = "; ".join(f"SET LOCAL {name} = '{seconds}s'" for name, seconds in limits.items())
        self.execute_sql(f"BEGIN {access}; {settings}")

    def _is_closed(self, conn: Any) -> bool:
        """Whether a connection that is to be used again still answers: the pool asks, while all others wait."""
        conn.patience = _CHECK_SECONDS
        begun = time.monotonic()
        closed = bool(super()._is_closed(conn))
        conn.patience = ANSWER_SECONDS
        if closed and time.monotonic() - begun > _PROMPT_SECONDS:
            # Those beside it would be waited for in vain as well, one after the other.
            self.silent_until = time.monotonic() + _PROMPT_SECONDS
            self.close_idle()
        return closed

    def allow_slow_statements(self) -> None:
        """Let the statements of this transaction take as long as they need."""
        self.execute_sql("SET LOCAL statement_timeout = 0")
        self.connection().patience = None


def is_away(error: Exception) -> bool:
    """Whether an error of a statement says that the server is not to be had as it should be."""
    if isinstance(error, peewee.OperationalError | peewee.InterfaceError):
        return True
    # A standby whose connection we begin to write on says 0A000, which is said of much else.
    return _state(error) in _AWAY or "during recovery" in str(error)


def _state(error: Exception) -> str | None:
    original: Any = getattr(error, "orig", None)
    state: str | None = getattr(original, "sqlstate", None)
    return state


def check_encoding(told: str | bytes) -> None:
    """Raise UnusableDatabase unless the database holds any text: names of images may be in any script.

    `told` is what the server calls its encoding: in bytes where that is SQL_ASCII, which knows no text.
    """
    encoding = told.decode() if isinstance(told, bytes) else told
    if encoding != "UTF8":
        raise UnusableDatabase(
            f"the encoding of the database is {encoding}, which does not hold every text; make one with {HOW_TO_MAKE}"
        )


def why_unusable(problem: str, error: BaseException | None) -> UnusableDatabase | None:
    """The error to raise where waiting for the database does not help; None where it may. `problem` is what the error
    says, without the password."""
    if isinstance(error, Exception) and _state(error) == _PERMISSION_DENIED:
        return UnusableDatabase(
            f"the database cannot be used: {problem}; its user has to own it: {HOW_TO_MAKE}, or ALTER DATABASE kai "
            "OWNER TO kai"
        )
    for said, remedy in _REMEDIES.items():
        if said in problem:
            return UnusableDatabase(f"the database cannot be used: {problem}; {remedy}")
    return None
