"""PostgreSQL's own ways of failing, and what of them the service's other parts ever see."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from orchestrator.store import postgres
from orchestrator.store.database import Database, DatabaseUnavailable
from orchestrator.store.postgres import UnusableDatabase, UnusableUrl

pytestmark = pytest.mark.postgres

SETTING = "SELECT current_setting(?)"
ENDED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@contextlib.contextmanager
def migrated(url: str) -> Iterator[Database]:
    with contextlib.closing(Database(SecretStr(url))) as db:
        db.migrate()
        yield db


@pytest.fixture
def db(postgres_url: str) -> Iterator[Database]:
    with migrated(postgres_url) as database:
        yield database


def test_a_unit_that_reads_cannot_write(db: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        db.reading(lambda: db.execute("DELETE FROM account"))


def test_an_administrators_read_only_holds(db: Database, postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with contextlib.closing(Database(SecretStr(postgres_url))) as later:
        assert later.reading(lambda: later.rows("SELECT id FROM account")) == []
        with pytest.raises(DatabaseUnavailable, match="read-only"):
            later.writing(lambda: later.execute("DELETE FROM account"))


def test_a_statement_that_hangs_is_ended(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "STATEMENT_SECONDS", 1)
    for unit in (db.reading, db.writing):
        with pytest.raises(DatabaseUnavailable, match="statement timeout"):
            unit(lambda: db.execute("SELECT pg_sleep(30)"))
    assert db.reading(lambda: db.one("SELECT 1")) == (1,)


def test_a_server_that_stands_still_is_not_waited_for_for_ever(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "ANSWER_SECONDS", 0.5)
    stopped = db.reading(lambda: int(db.one("SELECT pg_backend_pid()")[0]))

    def unit() -> None:
        os.kill(stopped, signal.SIGSTOP)
        db.one("SELECT 1")

    begun = time.monotonic()
    try:
        # The pool hands out the connection that was used last.
        with pytest.raises(DatabaseUnavailable, match=r"not answered for 0\.5 s"):
            db.writing(unit)
        assert time.monotonic() - begun < 10
        assert db.reading(lambda: int(db.one("SELECT pg_backend_pid()")[0])) != stopped
    finally:
        os.kill(stopped, signal.SIGCONT)


def test_idle_connections_to_a_server_that_stands_still_are_given_up_together(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_CHECK_SECONDS", 1.5)
    together = threading.Barrier(3)

    def backend() -> int:
        together.wait()
        return int(db.one("SELECT pg_backend_pid()")[0])

    with ThreadPoolExecutor(3) as threads:
        backends = {each.result() for each in [threads.submit(db.reading, backend) for _ in range(3)]}
    assert len(backends) == 3
    for pid in backends:
        os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    try:
        with pytest.raises(DatabaseUnavailable, match="a moment ago"):
            db.reading(lambda: None)
        assert time.monotonic() - begun < 3
    finally:
        for pid in backends:
            os.kill(pid, signal.SIGCONT)


def test_those_who_wait_for_a_connection_to_a_silent_server_do_not_wait_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://kai@127.0.0.1:{silent.getsockname()[1]}/kai?connect_timeout=2"
        with contextlib.closing(Database(SecretStr(url))) as db, ThreadPoolExecutor(4) as threads:
            begun = time.monotonic()
            tries = [threads.submit(db.reading, lambda: None) for _ in range(4)]
            said = sorted(str(each.exception()) for each in tries)
            assert time.monotonic() - begun < 4
            assert sum("a moment ago" in text for text in said) == 3
            # And after that moment it is tried again.
            monkeypatch.setattr(db.peewee, "silent_until", time.monotonic())
            with pytest.raises(DatabaseUnavailable, match="timeout"):
                db.reading(lambda: None)


def test_work_that_nobody_waits_for_may_take_longer(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def unit() -> None:
        db.allow_slow_statements()
        db.execute("SELECT pg_sleep(1.2)")

    monkeypatch.setattr(postgres, "STATEMENT_SECONDS", 1)
    db.writing(unit)
    # And the next unit on that connection is limited again.
    assert db.writing(lambda: db.one(SETTING, ("statement_timeout",))) == ("1s",)


def test_a_lock_is_not_waited_for_for_ever(db: Database, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "LOCK_SECONDS", 1)
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE account")
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            db.writing(lambda: db.execute("DELETE FROM account"))


def test_locks_of_a_stopped_replica_are_freed(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is stopped in mid-transaction, and learns of it when it goes on."""
    monkeypatch.setattr(postgres, "IDLE_SECONDS", 1)

    def unit() -> None:
        db.execute("LOCK TABLE account")
        time.sleep(2.5)
        db.execute("DELETE FROM account")

    with pytest.raises(DatabaseUnavailable):
        db.writing(unit)
    assert db.reading(lambda: db.one("SELECT count(*) FROM account")) == (0,)


@pytest.mark.parametrize("many", [False, True])
def test_a_connection_cut_in_mid_unit_is_said_so(db: Database, postgres_url: str, many: bool) -> None:
    def unit() -> None:
        (pid,) = db.one("SELECT pg_backend_pid()")
        with psycopg.connect(postgres_url, autocommit=True) as killer:
            killer.execute("SELECT pg_terminate_backend(%s)", (pid,))
        insert = "INSERT INTO account (name, created_at) VALUES (?, ?)"
        if many:
            db.execute_many(insert, [("a", 1), ("b", 2)])
        else:
            db.execute(insert, ("a", 1))

    with pytest.raises(DatabaseUnavailable):
        db.writing(unit)
    assert db.reading(lambda: db.one("SELECT count(*) FROM account")) == (0,)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_does_not_hold_every_text_is_refused_before_anything_is_made(
    postgres_url: str, encoding: str
) -> None:
    server, _, name = postgres_url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        # Only since 15 a database may have been made to sort by ICU, which knows no SQL_ASCII.
        provider = "LOCALE_PROVIDER libc" if connection.info.server_version >= 150_000 else ""
        connection.execute(
            f"CREATE DATABASE {name}_x ENCODING '{encoding}' {provider} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
        try:
            with (
                pytest.raises(UnusableDatabase, match=f"is {encoding}.* ENCODING 'UTF8'"),
                migrated(f"{postgres_url}_x"),
            ):
                pass
            with psycopg.connect(f"{postgres_url}_x") as other:
                assert other.execute("SELECT FROM pg_tables WHERE schemaname = 'public'").rowcount == 0
        finally:
            connection.execute(f"DROP DATABASE {name}_x WITH (FORCE)")


def test_a_user_who_may_not_make_tables_is_told_to_own_the_database(postgres_url: str) -> None:
    server, _, name = postgres_url.rpartition("/")
    user = f"user_{name}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'secret'")
        # As a public schema is since 15.
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        try:
            address = f"postgresql://{user}:secret@{server.rpartition('@')[2]}/{name}"
            with pytest.raises(UnusableDatabase, match=r"permission denied.*OWNER TO"), migrated(address):
                pass
        finally:
            connection.execute(f"DROP OWNED BY {user}")
            connection.execute(f"DROP ROLE {user}")


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda url: url.replace("@", "x@", 1), "check the user and the password"),
        (lambda url: f"{url}?sslmode=bogus", "sslmode is one of disable"),
    ],
)
def test_what_waiting_does_not_mend_is_told_with_its_remedy(
    postgres_url: str, change: Callable[[str], str], remedy: str
) -> None:
    with pytest.raises(UnusableDatabase, match=remedy) as caught, migrated(change(postgres_url)):
        pass
    assert str(conninfo_to_dict(postgres_url)["password"]) not in str(caught.value)


def test_what_waiting_may_mend_is_waited_for(postgres_url: str) -> None:
    with pytest.raises(DatabaseUnavailable), migrated(f"{postgres_url}_not_made_yet"):
        pass


def test_it_says_who_is_connected(db: Database, postgres_url: str) -> None:
    assert db.reading(lambda: db.one(SETTING, ("application_name",))) == ("kai-orchestrator",)
    with migrated(f"{postgres_url}?application_name=other") as named:
        assert named.reading(lambda: named.one(SETTING, ("application_name",))) == ("other",)


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ("sslmode=require", "server does not support SSL"),
        ("target_session_attrs=standby", "not in hot standby"),
        ("options=-c%20search_path%3Dnowhere", "no such schema"),
    ],
)
def test_parameters_of_the_url_reach_the_server(postgres_url: str, parameters: str, complaint: str) -> None:
    """The tests' server speaks no TLS and is no standby."""

    def unit() -> None:
        if db.one("SELECT current_schema()") == (None,):
            raise DatabaseUnavailable("no such schema")

    db = Database(SecretStr(f"{postgres_url}?{parameters}"))
    with contextlib.closing(db), pytest.raises(DatabaseUnavailable, match=complaint):
        db.reading(unit)


def test_files_of_a_tls_url_are_where_it_says() -> None:
    files = {"sslmode": "verify-full", "sslrootcert": "/etc/ca.pem", "sslcert": "/etc/c.pem", "sslkey": "/etc/k.pem"}
    db = Database(SecretStr("postgresql://u@h/x?" + "&".join(f"{name}={value}" for name, value in files.items())))
    known = conninfo_to_dict(db.peewee.database, **db.peewee.connect_params | {"prepare_threshold": None})
    assert files.items() <= known.items()
    assert known["connect_timeout"] == 5


@pytest.mark.parametrize("url", ["postgresql://u:s3cret@[h/x", "postgresql://u:s3cret@h/x?sslmod=s3cret"])
def test_a_url_that_cannot_be_read_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(UnusableUrl) as caught:
        Database(SecretStr(url))
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_statements_are_prepared_where_no_pooler_is_between(db: Database) -> None:
    def unit() -> int:
        for _ in range(10):
            db.one("SELECT 1 + ?", (1,))
        (prepared,) = db.one("SELECT count(*) FROM pg_prepared_statements")
        return int(prepared)

    assert db.reading(unit) > 0
