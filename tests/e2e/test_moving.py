"""Taking an installation elsewhere: from SQLite to PostgreSQL, and out of a backup."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.replicas import KEY, query, replica_environment
from tests.e2e.server import CLUSTERS, Server, environment, running_server
from tests.integration.postgres import PostgresServer, find_binaries

ROOT = Path(__file__).parents[2]

# So long that no look begins by itself while a test counts them.
INTERVAL_SECONDS = 86_400
UNHURRIED = environment(ANCHORE_CATALOG_K8S_INVENTORY_REPORT_INTERVAL_SEC=str(INTERVAL_SECONDS))


def copy(data_dir: Path, url: str) -> "subprocess.CompletedProcess[str]":
    """Run the command with the password where it belongs."""
    place, password = url, ""
    if "@" in url:
        user, _, password = url.partition("//")[2].partition("@")[0].partition(":")
        place = f"postgresql://{user}@{url.partition('@')[2]}"
    return subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "database", "copy", "--to", place, "--data-dir", str(data_dir)],
        env={"PATH": os.defpath, "PGPASSWORD": password},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def filled(server: Server) -> list[dict[str, Any]]:
    """Give the service clusters, one of them deleted again, and return what it has seen."""
    for name in ("shop", "web", "gone"):
        server.add(name, f"ok.seed-{name}")
        server.wait_for_health(name, "healthy")
    assert server.http.delete(f"{CLUSTERS}/gone").status_code == 204
    return server.items()


def goes_on(server: Server, items: list[dict[str, Any]]) -> None:
    """The service has all that there was, opens its credentials and can take in more."""
    assert server.items() == items
    assert [len(server.runs(name)) for name in ("shop", "web")] == [1, 1]
    response = server.http.post(f"{CLUSTERS}/shop/sync?wait=20")
    assert (response.status_code, response.json()["state"]) == (200, "succeeded")
    server.add("new", "one")
    server.wait_for_health("new", "healthy")


@pytest.mark.postgres
def test_an_installation_moves_from_sqlite_to_postgresql(data_dir: Path, tmp_path: Path, postgres_url: str) -> None:
    with running_server(data_dir, env=UNHURRIED) as server:
        items = filled(server)
        refused = copy(data_dir, postgres_url)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "another service runs in" in refused.stderr
        assert server.stop() == 0
    before = (data_dir / "orchestrator.db").read_bytes()
    copied = copy(data_dir, postgres_url)
    assert copied.returncode == 0, copied.stderr
    assert "cluster       2\n" in copied.stderr
    assert f"ORCHESTRATOR_SEALING_KEYS_FILE={data_dir / 'sealing.key'}" in copied.stdout
    assert (data_dir / "orchestrator.db").read_bytes() == before
    again = copy(data_dir, postgres_url)
    assert (again.returncode, again.stdout) == (2, "")
    assert "not empty" in again.stderr
    env = UNHURRIED | {
        "ORCHESTRATOR_DATABASE_URL": postgres_url,
        "ORCHESTRATOR_SEALING_KEYS_FILE": str(data_dir / "sealing.key"),
    }
    with running_server(tmp_path / "replica", env=env) as replica:
        goes_on(replica, items)
        # The number of the cluster that was deleted is not given again.
        assert query(postgres_url, "SELECT id FROM cluster ORDER BY id") == [(1,), (2,), (4,)]
        assert replica.stop() == 0


@pytest.mark.postgres
def test_a_copy_that_fails_leaves_nothing(data_dir: Path, postgres_url: str) -> None:
    with running_server(data_dir) as server:
        filled(server)
        server.stop()
    assert copy(data_dir, "postgresql://kai@127.0.0.1:1/none").returncode == 1
    # What comes last cannot be stored.
    with closing(sqlite3.connect(data_dir / "orchestrator.db")) as database, database:
        database.execute("UPDATE audit SET account_id = 99")
    refused = copy(data_dir, postgres_url)
    assert refused.returncode == 2
    assert "PostgreSQL does not take a row" in refused.stderr
    assert "99" not in refused.stderr
    assert query(postgres_url, "SELECT count(*) FROM cluster") == [(0,)]


def test_other_directions_are_refused(data_dir: Path, tmp_path: Path) -> None:
    assert "there is no" in copy(tmp_path / "nowhere", "postgresql://kai@127.0.0.1:1/none").stderr
    data_dir.mkdir()
    assert "there is no database" in copy(data_dir, "postgresql://kai@127.0.0.1:1/none").stderr
    assert list(data_dir.iterdir()) == []
    with running_server(data_dir) as server:
        server.stop()
    refused = copy(data_dir, f"sqlite:///{tmp_path}/other.db")
    assert refused.returncode == 2
    assert "from SQLite to PostgreSQL" in refused.stderr


def test_a_backup_of_sqlite_is_restored_with_its_key(data_dir: Path, tmp_path: Path) -> None:
    """As README.md says: the copy is made while the service runs."""
    restored = tmp_path / "restored"
    restored.mkdir()
    with running_server(data_dir, env=UNHURRIED) as server:
        items = filled(server)
        with (
            closing(sqlite3.connect(data_dir / "orchestrator.db")) as database,
            closing(sqlite3.connect(restored / "orchestrator.db")) as backup,
        ):
            database.backup(backup)
    with running_server(restored, ready=False) as server:
        assert server.process.wait(20) == 2
        assert "sealing.key back, or give its content" in server.output
    shutil.copy(data_dir / "sealing.key", restored)
    with running_server(restored, env=UNHURRIED) as server:
        goes_on(server, items)


@pytest.mark.postgres
def test_a_backup_of_postgresql_is_restored_with_its_key(
    tmp_path: Path, postgres_server: PostgresServer, postgres_url: str
) -> None:
    tools = find_binaries()
    if not (tools / "pg_dump").exists():
        pytest.skip(f"NOT TESTED: a backup of PostgreSQL; there is no pg_dump in {tools}")
    dump = tmp_path / "backup.dump"
    with running_server(tmp_path / "first", env=replica_environment(postgres_url, interval=INTERVAL_SECONDS)) as server:
        items = filled(server)
        subprocess.run([tools / "pg_dump", "--format=custom", f"--file={dump}", postgres_url], check=True)
    with postgres_server.fresh_database() as url:
        restore = [tools / "pg_restore", "--no-owner", "--exit-on-error", f"--dbname={url}", dump]
        subprocess.run(restore, check=True)
        env = replica_environment(url, interval=INTERVAL_SECONDS)
        with running_server(
            tmp_path / "wrong", env=env | {"ORCHESTRATOR_SEALING_KEYS": KEY[:-4] + "AQE="}, ready=False
        ) as wrong:
            assert wrong.process.wait(20) == 2
            assert "not the one that this database was sealed with" in wrong.output
        with running_server(tmp_path / "second", env=env) as server:
            goes_on(server, items)
