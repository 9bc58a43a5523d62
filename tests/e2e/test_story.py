"""What the product is for, by curl: clusters in, images out, and when something is wrong one GET says what."""

import base64
import time
from pathlib import Path

from tests.e2e.server import CLUSTERS, Server, cluster_body, environment, running_server, until


def test_from_a_cluster_in_to_its_images_out(server: Server) -> None:
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


def test_a_broken_cluster_says_what_is_wrong_and_keeps_its_images(server: Server) -> None:
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


def test_a_sync_looks_now_and_answers_with_the_run(server: Server) -> None:
    server.add("shop", "one")
    server.wait_for_health("shop", "healthy")
    response = server.http.post(f"{CLUSTERS}/shop/sync?wait=20")
    assert response.status_code == 200, response.text
    assert response.json()["state"] == "succeeded"
    server.add("hanging", "hang")
    server.wait_until_looking("hanging")
    response = server.http.post(f"{CLUSTERS}/hanging/sync?wait=0")
    assert response.status_code == 202, response.text


def test_a_change_ends_the_look_at_what_was_before(server: Server) -> None:
    server.add("shop", "hang")
    server.wait_until_looking("shop")
    began = time.monotonic()
    assert server.http.put(f"{CLUSTERS}/shop", json=cluster_body("shop", "one")).status_code == 200
    server.wait_for_health("shop", "healthy")
    # Not when the hanging look's lease is renewed, which may take 20 s.
    assert time.monotonic() - began < 10
    assert [run["state"] for run in server.runs("shop")] == ["succeeded", "discarded"]


def test_a_deleted_cluster_is_gone_and_its_images_wait_for_their_ttl(server: Server) -> None:
    server.add("shop", "one")
    server.wait_for_health("shop", "healthy")
    assert server.http.delete(f"{CLUSTERS}/shop").status_code == 204
    assert server.http.get(f"{CLUSTERS}/shop").status_code == 404
    assert server.items(present="true") == []
    assert len(server.items(present="false")) == 3


def test_a_token_as_the_documented_recipe_yields_it(server: Server) -> None:
    """base64, wrapped as GNU base64 does: stored, and what kai gets is one line."""
    recipe = base64.encodebytes(b"a token" * 30).decode()
    server.add("shop", "one", credential=recipe)
    server.wait_for_health("shop", "healthy")


def test_the_list_is_refreshed_on_the_interval(data_dir: Path) -> None:
    env = environment(ANCHORE_CATALOG_K8S_INVENTORY_REPORT_INTERVAL_SEC="1")
    with running_server(data_dir, env=env) as server:
        server.add("shop", "churn.period-1s")
        server.wait_for_health("shop", "healthy")
        until(lambda: len(server.runs("shop")) >= 3 or None)
        assert any(not item["present"] for item in server.items())
