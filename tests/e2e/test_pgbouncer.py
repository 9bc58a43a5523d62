"""Replicas that reach PostgreSQL through PgBouncer in transaction mode."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.replicas import database_now, figures, query, replica_environment, replicas, wait_until_all_seen
from tests.e2e.server import CLUSTERS
from tests.integration.pgbouncer import PROGRAM, pgbouncer
from tests.integration.postgres import PostgresServer

pytestmark = pytest.mark.postgres


@pytest.fixture
def urls(postgres_server: PostgresServer, postgres_url: str) -> Iterator[tuple[str, str]]:
    """The address of an empty database, and its address through PgBouncer."""
    if PROGRAM is None:
        pytest.skip("NOT TESTED BEHIND PGBOUNCER: it is not installed; on Debian: apt-get install pgbouncer")
    with pgbouncer(postgres_server) as through:
        yield postgres_url, through.url(postgres_url.rpartition("/")[2])


def test_replicas_work_behind_pgbouncer_in_transaction_mode(tmp_path: Path, urls: tuple[str, str]) -> None:
    directly, through = urls
    interval = 2
    with replicas(tmp_path, replica_environment(through, interval=interval, lease=30)) as servers:
        for number in range(12):
            servers[number % 3].add(f"shop-{number}", f"churn.period-1s.seed-{number}")
        wait_until_all_seen(directly, servers)
        since = database_now(directly)
        for _ in range(2):
            wait_until_all_seen(directly, servers, after=database_now(directly))
        found = figures(directly, interval=interval, since=since, before=database_now(directly))
        assert (found.doubled, found.refused, found.left_open) == ([], 0, 0)
        response = servers[2].http.post(f"{CLUSTERS}/shop-0/sync?wait=20")
        assert (response.status_code, response.json()["state"]) == (200, "succeeded")
        assert {item["cluster_name"] for item in servers[0].items()} == {f"shop-{number}" for number in range(12)}
        # Neither a lock nor a setting stays behind on a connection that somebody else gets next.
        assert query(directly, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
        assert query(through, "SHOW statement_timeout") == [("0",)]
        assert [each.stop() for each in servers] == [0, 0, 0]
        assert not any(event["level"] in {"error", "warning"} for each in servers for event in each.events())
