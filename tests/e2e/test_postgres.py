"""The service on PostgreSQL: the same story, a database that goes away and comes back, two replicas."""

import base64
from pathlib import Path

import psycopg
import pytest

from tests.e2e.server import CLUSTERS, INVENTORIES, Server, environment, running_server, until

pytestmark = pytest.mark.postgres

KEY = base64.b64encode(bytes(32)).decode()


def on(url: str, **more: str) -> dict[str, str]:
    """The environment of a replica on this database."""
    return environment(ORCHESTRATOR_DATABASE_URL=url, ORCHESTRATOR_SEALING_KEYS=KEY, **more)


def test_from_a_cluster_in_to_its_images_out(data_dir: Path, postgres_url: str) -> None:
    with running_server(data_dir, env=on(postgres_url)) as server:
        server.add("shop", "ok")
        status = server.wait_for_health("shop", "healthy")
        assert len(server.items()) == status["images"]
        assert server.stop() == 0
    assert list(data_dir.iterdir()) == []


def test_without_a_sealing_key_it_does_not_start(data_dir: Path, postgres_url: str) -> None:
    env = on(postgres_url) | {"ORCHESTRATOR_SEALING_KEYS": ""}
    with running_server(data_dir, env=env, ready=False) as server:
        assert server.process.wait(20) == 2
        assert "sealing key must be given" in server.output


def test_a_database_that_is_away_is_waited_for(data_dir: Path, postgres_url: str) -> None:
    with running_server(data_dir, env=on(postgres_url)) as server:
        server.add("shop", "one")
        server.wait_for_health("shop", "healthy")
        allow_connections(postgres_url, allowed=False)
        until(lambda: server.http.get("/ready").status_code == 503 or None)
        assert server.http.get(INVENTORIES).status_code == 503
        assert server.http.get("/health").status_code == 200
        until(lambda: any("the database cannot be used" in event["event"] for event in server.events()) or None)
        allow_connections(postgres_url, allowed=True)
        until(lambda: server.http.get("/ready").status_code == 200 or None)
        response = server.http.post(f"{CLUSTERS}/shop/sync?wait=20")
        assert response.status_code == 200, response.text
        assert response.json()["state"] == "succeeded"
        assert server.stop() == 0


def allow_connections(url: str, *, allowed: bool) -> None:
    """Open the database to new connections; or close it and end those that there are."""
    server, _, name = url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")
        if not allowed:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


def test_two_replicas_share_the_work_and_one_goes_on_alone(tmp_path: Path, postgres_url: str) -> None:
    env = on(postgres_url, ANCHORE_CATALOG_K8S_INVENTORY_REPORT_INTERVAL_SEC="1", ORCHESTRATOR_MAX_CONCURRENT_RUNS="2")
    with (
        running_server(tmp_path / "one", env=env) as one,
        running_server(tmp_path / "other", env=env) as other,
    ):
        names = [f"shop-{number}" for number in range(8)]
        for name in names:
            one.add(name, "ok.delay-250ms")
        until(lambda: (looks_of(one) and looks_of(other)) or None)
        assert one.stop() == 0
        before = {name: newest_success(other, name) for name in names}
        for name in names:
            until(lambda name=name: newest_success(other, name) > before[name] or None)  # type: ignore[misc]
        for name in names:
            states = {run["state"] for run in other.runs(name) if run["finished_at"]}
            assert states <= {"succeeded", "interrupted"}
        assert len({item["cluster_name"] for item in other.items()}) == len(names)
        assert other.stop() == 0


def looks_of(server: Server) -> int:
    """How many looks this replica stored."""
    return sum(event["event"] == "look" for event in server.events())


def newest_success(server: Server, name: str) -> int:
    return max((int(run["id"]) for run in server.runs(name) if run["state"] == "succeeded"), default=0)
