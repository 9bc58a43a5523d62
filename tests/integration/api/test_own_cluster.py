"""What clients see of the cluster that the service runs in, and may change."""

import httpx
import pytest

from orchestrator.catalog.bootstrap import OwnCluster, ensure_own_cluster
from orchestrator.store import audit
from tests.integration.api.conftest import CLUSTERS, Service, body

pytestmark = pytest.mark.anyio

SERVER = "https://10.96.0.1:443"


def start(service: Service) -> OwnCluster:
    """What each start does."""
    return service.db.writing(
        lambda: ensure_own_cluster(service.db, service.sealer, cluster_name="here", server=SERVER)
    )


async def test_is_told_as_a_token_that_nobody_can_have(service: Service, client: httpx.AsyncClient) -> None:
    start(service)
    await client.post(CLUSTERS, json=body())
    (own, other) = (await client.get(CLUSTERS)).json()
    assert (own["own_cluster"], other["own_cluster"]) == (True, False)
    assert own["warnings"] == []
    assert own["cluster_config"] == {
        "credential_type": "token",
        "credential": "******",
        "cluster_server": SERVER,
        "namespaces": [],
    }
    status = (await client.get(f"{CLUSTERS}/here/status")).json()
    assert status["warnings"] == []


async def test_its_namespaces_can_be_changed_and_stay_at_the_next_start(
    service: Service, client: httpx.AsyncClient
) -> None:
    start(service)
    given = (await client.get(f"{CLUSTERS}/here")).json()
    given["cluster_config"]["namespaces"] = ["web"]
    response = await client.put(f"{CLUSTERS}/here", json=given)
    assert response.status_code == 200, response.text
    assert start(service) is OwnCluster.KEPT
    now = (await client.get(f"{CLUSTERS}/here")).json()
    assert (now["own_cluster"], now["cluster_config"]["namespaces"]) == (True, ["web"])


@pytest.mark.parametrize(
    "change",
    [
        {"credential": "a token of somebody's own"},
        {"cluster_server": "https://evil.example"},
        {"cluster_certificate": "zzz"},
        {"credential_type": "private_key", "client_certificate": "zzz"},
    ],
)
async def test_nothing_else_of_it_can_be_changed(
    service: Service, client: httpx.AsyncClient, change: dict[str, object]
) -> None:
    start(service)
    before = (await client.get(f"{CLUSTERS}/here")).json()
    response = await client.put(f"{CLUSTERS}/here", json={"cluster_config": before["cluster_config"] | change})
    assert response.status_code == 400
    assert "only namespaces can be changed" in response.json()["message"]
    assert (await client.get(f"{CLUSTERS}/here")).json() == before


async def test_is_deleted_until_the_next_start(service: Service, client: httpx.AsyncClient) -> None:
    start(service)
    assert (await client.delete(f"{CLUSTERS}/here")).status_code == 204
    assert (await client.get(f"{CLUSTERS}/here")).status_code == 404
    assert start(service) is OwnCluster.ADDED
    assert (await client.get(f"{CLUSTERS}/here")).status_code == 200


async def test_no_client_can_make_one(sqlite_client: httpx.AsyncClient) -> None:
    response = await sqlite_client.post(CLUSTERS, json=body(credential_type="service_account"))
    assert response.status_code == 400
    given = body() | {"own_cluster": True}
    assert (await sqlite_client.post(CLUSTERS, json=given)).json()["own_cluster"] is False


async def test_who_added_it_is_on_record(service: Service) -> None:
    start(service)
    start(service)
    records = service.db.reading(lambda: audit.list_records(service.db, 1, limit=10))
    assert [(each.username, each.action, each.subject) for each in records if each.subject == "here"] == [
        ("(service)", "cluster.add", "here")
    ]
