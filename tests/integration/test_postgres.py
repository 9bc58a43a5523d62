"""The PostgreSQL that tests get: fresh each time, and strict where a developer's own server is lenient."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from tests.integration import postgres
from tests.integration.postgres import PostgresServer, PostgresUnavailableError


def test_databases_are_fresh_and_leave(postgres_server: PostgresServer) -> None:
    with postgres_server.fresh_database() as first, postgres_server.fresh_database() as second:
        with psycopg.connect(first) as connection:
            connection.execute("CREATE TABLE only_in_the_first (id int)")
        with psycopg.connect(second) as connection:
            assert connection.execute("SELECT to_regclass('only_in_the_first')").fetchone() == (None,)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(first)


def test_a_database_in_use_is_dropped_all_the_same(postgres_server: PostgresServer) -> None:
    with postgres_server.fresh_database() as url:
        lingering = psycopg.connect(url)
    with pytest.raises(psycopg.OperationalError):
        lingering.execute("SELECT 1")
    lingering.close()


def test_local_time_is_not_utc_and_text_is_utf8(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        local = connection.execute("SELECT localtimestamp - (now() AT TIME ZONE 'UTC')").fetchone()
        assert local == (timedelta(hours=5, minutes=30),)
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)


def test_text_does_not_sort_by_bytes_where_icu_can_be_chosen(postgres_url: str) -> None:
    """A whole database sorts by ICU since 15, so before it may have no language. A server without ICU knows none."""
    with psycopg.connect(postgres_url) as connection:
        icu = connection.execute("SELECT FROM pg_collation WHERE collname = 'en-US-x-icu'").fetchone() is not None
        (by_language,) = connection.execute("SELECT 'a' < 'B'").fetchone() or (None,)
        assert by_language or not icu or connection.info.server_version < 150_000


def test_a_wrong_password_is_refused(postgres_server: PostgresServer, postgres_url: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres_url.replace(postgres_server.password, "wrong"))


def test_a_machine_without_a_server_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgres, "DEBIAN_SERVERS", tmp_path)
    monkeypatch.setattr(postgres, "WHEELS", ())
    with pytest.raises(PostgresUnavailableError, match="apt-get install postgresql"):
        postgres.find_binaries()


def test_the_server_leaves_with_a_killed_test_process(postgres_server: PostgresServer) -> None:
    program = (
        "import time\n"
        "from tests.integration.postgres import running_server\n"
        "with running_server() as server:\n"
        "    print(server.url('postgres'), flush=True)\n"
        "    time.sleep(60)\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        with psycopg.connect(url) as connection:
            (data,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (Path(data) / "postmaster.pid").exists():  # the last thing that a server removes
        assert time.monotonic() < deadline, "the server outlived its test process"
        time.sleep(0.05)
    os.utime(Path(data).parent, (0, 0))
    with postgres.running_server():
        assert not Path(data).exists(), "what a killed process leaves stays"
