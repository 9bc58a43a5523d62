"""External mode over HTTP: what agents post, what they get, what their senders' status says."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.model.instant import DAY, MINUTE, format_instant
from orchestrator.store import accounts
from tests.integration.api.conftest import Service

pytestmark = pytest.mark.anyio

AGENTS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "recordings" / "agents.json").read_text(encoding="utf-8")
)
INVENTORIES = "/v1/enterprise/inventories"


def body(
    cluster_name: str | None = "edge", *, namespace: str = "web", at: int | None = None, version: str = "v1.30.0"
) -> dict[str, Any]:
    """A report as kai posts it, of one image in one namespace."""
    report: dict[str, Any] = {
        "results": [{"namespace": namespace, "images": [{"tag": "nginx:1", "repoDigest": "sha256:aa"}]}],
        "serverVersionMetadata": {"gitVersion": version},
        "inventory_type": "kubernetes",
    }
    if cluster_name is not None:
        report["cluster_name"] = cluster_name
    if at is not None:
        report["timestamp"] = format_instant(at)
    return report


async def status_of(client: httpx.AsyncClient, cluster_name: str) -> dict[str, Any]:
    answer = await client.get(f"{INVENTORIES}/status")
    assert answer.status_code == 200
    [status] = [each for each in answer.json() if each["cluster_name"] == cluster_name]
    found: dict[str, Any] = status
    return found


@pytest.mark.parametrize("version", AGENTS)
@pytest.mark.parametrize("account", ["admin", ""])
async def test_recorded_agents_are_taken_as_they_are(client: httpx.AsyncClient, version: str, account: str) -> None:
    request = AGENTS[version]
    headers = {name: value for name, value in request["headers"].items() if name not in {"Host", "Authorization"}}
    headers["X-Anchore-Account"] = account
    answer = await client.request(request["method"], request["path"], headers=headers, content=request["body"].encode())
    assert answer.status_code == 200
    sent = json.loads(request["body"])
    images = {
        (each["namespace"], image["tag"], image.get("repoDigest", "unknown"))
        for each in sent["results"]
        for image in each["images"]
    }
    for items in (answer.json(), (await client.get(INVENTORIES)).json()):
        assert {(item["namespace"], item["image_tag"], item["image_digest"]) for item in items} == images
        assert {item["cluster_name"] for item in items} == {sent["cluster_name"]}
    assert answer.headers["X-Inventory-Images"] == str(len(images))
    run_id = int(answer.headers["X-Inventory-Run-Id"])
    [run] = (await client.get(f"{INVENTORIES}/runs")).json()
    assert (run["id"], run["state"], run["sender"], run["images"]) == (run_id, "succeeded", "user:admin", len(images))


async def test_report_printed_by_an_old_kai_is_posted_by_hand_with_its_name(client: httpx.AsyncClient) -> None:
    refused = await client.post(INVENTORIES, json=body(None))
    assert refused.status_code == 400
    assert "?cluster_name=NAME" in refused.json()["message"]
    taken = await client.post(INVENTORIES, params={"cluster_name": "lab"}, json=body(None))
    assert [item["context"] for item in taken.json()] == ["lab/web"]
    differing = await client.post(INVENTORIES, params={"cluster_name": "lab"}, json=body("other"))
    assert differing.status_code == 400


async def test_cluster_of_an_arn_is_split_at_the_last_slash(client: httpx.AsyncClient) -> None:
    arn = "arn:aws:eks:eu-west-1:1:cluster/prod"
    [item] = (await client.post(INVENTORIES, json=body(arn))).json()
    assert (item["context"], item["cluster_name"], item["namespace"]) == (f"{arn}/web", arn, "web")
    assert len((await client.get(INVENTORIES, params={"context": f"{arn}/web"})).json()) == 1


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "line 1 column 1"),
        (b'{"results": [', "line 1 column 14"),
        (b"[]", "the report"),
        (b'{"cluster_name": "x"}', "results"),
        (b'{"cluster_name": "x", "results": [{"namespace": "a", "images": []}, 7]}', "results[1]"),
        (b'{"cluster_name": "x", "results": [], "inventory_type": "ecs"}', "inventory_type"),
        (b'{"cluster_name": " x", "results": []}', "cluster_name"),
        (b'{"cluster_name": "", "results": []}', "cluster_name"),
    ],
)
async def test_malformed_report_is_refused_with_its_position_and_kept_in_the_history(
    client: httpx.AsyncClient, content: bytes, field: str
) -> None:
    answer = await client.post(INVENTORIES, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    error = answer.json()
    assert error["error_type"] == "invalid_report"
    assert error["detail"]["errors"][0]["field"] == field
    [run] = (await client.get(f"{INVENTORIES}/runs")).json()
    assert str(run["id"]) == answer.headers["X-Inventory-Run-Id"]
    assert (run["state"], run["reason"]["code"]) == ("failed", "malformed_report")
    assert field in run["reason"]["message"]
    assert (await client.get(INVENTORIES)).json() == []


async def test_entry_that_cannot_be_taken_is_left_out_and_counted(client: httpx.AsyncClient) -> None:
    report = body()
    report["results"][0]["images"] += [{"tag": "x" * 5000}, None]
    answer = await client.post(INVENTORIES, json=report)
    assert (answer.status_code, answer.headers["X-Inventory-Left-Out"], len(answer.json())) == (200, "2", 1)
    assert (await status_of(client, "edge"))["left_out"] == 2


async def test_report_whose_server_told_no_version_changes_nothing(client: httpx.AsyncClient) -> None:
    await client.post(INVENTORIES, json=body())
    empty = body(version="")
    empty["results"][0]["images"] = []
    answer = await client.post(INVENTORIES, json=empty)
    assert (answer.status_code, answer.json()) == (200, [])
    assert answer.headers["X-Inventory-Run-State"] == "failed"
    assert len((await client.get(INVENTORIES, params={"present": "true"})).json()) == 1
    status = await status_of(client, "edge")
    assert (status["health"], status["reason"]["code"]) == ("failing", "not_kubernetes")


async def test_late_report_is_answered_and_changes_nothing(client: httpx.AsyncClient, service: Service) -> None:
    await client.post(INVENTORIES, json=body(at=service.now))
    late = await client.post(INVENTORIES, json=body(at=service.now - MINUTE, namespace="other"))
    assert (late.status_code, late.json(), late.headers["X-Inventory-Run-State"]) == (200, [], "late")
    assert len((await client.get(INVENTORIES)).json()) == 1


async def test_agent_that_stops_turns_stale_after_three_of_its_own_intervals(
    client: httpx.AsyncClient, service: Service
) -> None:
    for _ in range(3):
        await client.post(INVENTORIES, json=body(at=service.now))
        service.now += 2 * MINUTE
    assert (await status_of(client, "edge"))["health"] == "healthy"
    service.now += 4 * MINUTE
    assert (await status_of(client, "edge"))["health"] == "healthy"
    service.now += MINUTE
    status = await status_of(client, "edge")
    assert (status["health"], status["sender"], status["running"]) == ("stale", "user:admin", False)
    assert status["data_age_seconds"] == 7 * 60


async def test_two_agents_under_one_name_are_found_out(client: httpx.AsyncClient, service: Service) -> None:
    for version in ("v1.29.1", "v1.30.0", "v1.29.1"):
        await client.post(INVENTORIES, json=body("docker-desktop", version=version, at=service.now))
        service.now += MINUTE
    [warning] = (await status_of(client, "docker-desktop"))["warnings"]
    assert "v1.29.1 and v1.30.0" in warning


async def test_source_fed_by_two_senders_says_so(client: httpx.AsyncClient, service: Service) -> None:
    def add_user() -> None:
        known = accounts.find_user(service.db, "admin")
        assert known is not None
        accounts.ensure_user(service.db, account_name="admin", username="agent", password_hash=known.password_hash)

    service.db.writing(add_user)
    await client.post(INVENTORIES, json=body())
    assert (await status_of(client, "edge"))["warnings"] == []
    password = client.auth
    assert isinstance(password, httpx.BasicAuth)
    await client.post(INVENTORIES, json=body(), auth=("agent", "foobar"))
    [warning] = (await status_of(client, "edge"))["warnings"]
    assert "user:admin and user:agent" in warning


async def test_removed_inventory_is_gone_and_the_removal_is_audited(
    client: httpx.AsyncClient, service: Service
) -> None:
    await client.post(INVENTORIES, json=body())
    await client.post(INVENTORIES, json=body("other"))
    wholesale = await client.delete(INVENTORIES)
    assert wholesale.status_code == 400
    removed = await client.delete(INVENTORIES, params={"context": "edge/web", "inventory_type": "kubernetes"})
    assert (removed.status_code, removed.content, removed.headers["X-Inventory-Removed"]) == (204, b"", "1")
    assert [item["context"] for item in (await client.get(INVENTORIES)).json()] == ["other/web"]
    rows = service.db.reading(lambda: service.db.rows("SELECT username, action, subject FROM audit"))
    assert ("admin", "inventory.remove", "edge/web") in rows


async def test_large_report_is_answered_in_full(client: httpx.AsyncClient) -> None:
    images = [{"tag": f"app:{number}", "repoDigest": f"sha256:{number:064x}"} for number in range(30_000)]
    report = body()
    report["results"] = [{"namespace": "web", "images": images}]
    for _ in range(2):
        answer = await client.post(INVENTORIES, json=report)
        assert (answer.status_code, len(answer.json())) == (200, 30_000)


async def test_statuses_of_all_sources_are_listed_together(client: httpx.AsyncClient, service: Service) -> None:
    await client.post(INVENTORIES, json=body("zebra"))
    config = {"cluster_server": "https://k8s", "credential_type": "token", "credential": "jkl"}
    await client.post(f"{INVENTORIES}/clusters", json={"cluster_name": "alpha", "cluster_config": config})
    statuses = (await client.get(f"{INVENTORIES}/status")).json()
    assert [(each["cluster_name"], each["sender"], each["health"]) for each in statuses] == [
        ("alpha", "embedded", "unknown"),
        ("zebra", "user:admin", "healthy"),
    ]
    service.now += 4 * DAY
    assert (await status_of(client, "zebra"))["health"] == "stale"
