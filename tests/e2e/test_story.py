"""What the product is for, by curl: clusters in, images out, and when something is wrong one GET says what.

Told twice: by one process on SQLite, and by three replicas on PostgreSQL while they and the database fail.
"""

import base64
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.faults import faulty_fleet
from tests.e2e.server import CLUSTERS, Server, Service, cluster_body, environment, running_server
from tests.integration.conftest import postgres_or_skip
from tests.integration.postgres import RestartableServer, restartable_server

Start = Callable[[int], AbstractContextManager[Service]]


@pytest.fixture(scope="module")
def database() -> Iterator[RestartableServer]:
    """A PostgreSQL that the stories may restart."""
    with postgres_or_skip(restartable_server) as started:
        yield started


@pytest.fixture(params=["one process on SQLite", pytest.param("replicas under faults", marks=pytest.mark.postgres)])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Starts a service whose interval is so many seconds."""

    @contextmanager
    def on_sqlite(interval: int) -> Iterator[Service]:
        env = environment(ANCHORE_CATALOG_K8S_INVENTORY_REPORT_INTERVAL_SEC=str(interval))
        with running_server(tmp_path / "data", env=env) as server:
            yield server

    @contextmanager
    def under_faults(interval: int) -> Iterator[Service]:
        # The same faults in the same order each time, others for each story.
        chance = random.Random(request.node.name)  # noqa: S311 - chooses moments, not secrets
        with faulty_fleet(tmp_path, request.getfixturevalue("database"), count=3, interval=interval) as (fleet, _):
            with fleet.befallen(chance, pause_seconds=0.5):
                yield fleet
            assert fleet.done.total() > 0

    return under_faults if request.param == "replicas under faults" else on_sqlite


@pytest.fixture
def server(start: Start) -> Iterator[Service]:
    """A service with the usual interval."""
    with start(300) as started:
        yield started


def test_from_a_cluster_in_to_its_images_out(server: Service) -> None:
    stored = server.add("shop", "ok").json()
    assert stored["cluster_config"]["credential"] == "******"
    status = server.wait_for_health("shop", "healthy")
    assert status["kai_version"] == "0.5.0"
    assert status["server_version"] == "v1.20.2"
    items = server.items()
    assert len(items) == status["images"] > 0
    assert {item["cluster_name"] for item in items} == {"shop"}
    one = items[0]
    assert one["context"] == f"shop/{one['namespace']}"
    assert one["present"] is True
    assert one["created_at"] <= one["last_seen"] == one["last_updated"]
    assert server.items(context=one["context"], image_digest=one["image_digest"])
    assert server.items(context="nowhere/at-all") == []
    assert [each["cluster_name"] for each in server.http.get(CLUSTERS).json()] == ["shop"]


def test_a_broken_cluster_says_what_is_wrong_and_keeps_its_images(server: Service) -> None:
    server.add("shop", "ok")
    server.wait_for_health("shop", "healthy")
    before = server.items()
    response = server.http.put(f"{CLUSTERS}/shop", json=cluster_body("shop", "wrong-token"))
    assert response.status_code == 200, response.text
    status = server.wait_for_health("shop", "failing")
    assert status["reason"]["code"] == "unauthorized"
    assert status["reason"]["message"]
    assert status["reason"]["remedy"]
    assert status["consecutive_failures"] == 1
    assert server.items() == before


def test_a_sync_looks_now_and_answers_with_the_run(server: Service) -> None:
    server.add("shop", "one")
    server.wait_for_health("shop", "healthy")
    assert sync(server, "shop")["state"] == "succeeded"
    server.add("hanging", "hang")
    server.wait_until_looking("hanging")
    response = server.http.post(f"{CLUSTERS}/hanging/sync?wait=0")
    assert response.status_code == 202, response.text


def test_a_change_ends_the_look_at_what_was_before(server: Service) -> None:
    server.add("shop", "hang")
    server.wait_until_looking("shop")
    began = time.monotonic()
    assert server.http.put(f"{CLUSTERS}/shop", json=cluster_body("shop", "one")).status_code == 200
    server.wait_for_health("shop", "healthy")
    newest, *others = [run["state"] for run in server.runs("shop")]
    assert newest == "succeeded"
    if isinstance(server, Server):
        # Not when the hanging look's lease is renewed, which may take 20 s.
        assert time.monotonic() - began < 10
        assert others == ["discarded"]
    # A replica that fails cuts the look short too.
    assert set(others) <= {"discarded", "interrupted"}


def test_a_deleted_cluster_is_gone_and_its_images_wait_for_their_ttl(server: Service) -> None:
    server.add("shop", "one")
    server.wait_for_health("shop", "healthy")
    assert server.http.delete(f"{CLUSTERS}/shop").status_code == 204
    assert server.http.get(f"{CLUSTERS}/shop").status_code == 404
    assert server.items(present="true") == []
    assert len(server.items(present="false")) == 3


def test_a_token_as_the_documented_recipe_yields_it(server: Service) -> None:
    """base64, wrapped as GNU base64 does: stored, and what kai gets is one line."""
    recipe = base64.encodebytes(b"a token" * 30).decode()
    server.add("shop", "one", credential=recipe)
    server.wait_for_health("shop", "healthy")


def test_the_list_is_refreshed_on_the_interval(start: Start) -> None:
    with start(1) as server:
        server.add("shop", "churn.period-1s")
        server.wait_for_health("shop", "healthy")
        server.until(lambda: [run["state"] for run in server.runs("shop")].count("succeeded") >= 3 or None)
        assert any(not item["present"] for item in server.items())


def sync(server: Service, name: str) -> dict[str, Any]:
    """The run that a sync answers with; asked again while the one that looks fails before it has ended."""

    def ended() -> dict[str, Any] | None:
        response = server.http.post(f"{CLUSTERS}/{name}/sync?wait=20")
        assert response.status_code == 200 or not isinstance(server, Server), response.text
        run: dict[str, Any] = response.json()
        return None if run["state"] in ("interrupted", "discarded", "queued", "running") else run

    return server.until(ended)
