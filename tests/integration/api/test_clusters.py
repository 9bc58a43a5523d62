"""Configured clusters through the API, on both databases."""

import base64
import json
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from orchestrator.model.instant import DAY, MINUTE, format_instant
from orchestrator.store import accounts, audit, clusters
from tests.integration.api.conftest import BEGIN, CLUSTERS, CREDENTIAL, INTERVAL, Service, body, make_client

pytestmark = pytest.mark.anyio


async def stored(service: Service, name: str = "prod") -> str:
    """The credential that is stored for a cluster."""

    def unit() -> str:
        account = accounts.find_account(service.db, "admin")
        assert account is not None
        found = clusters.find(service.db, service.sealer, account.id, name)
        return found.config.credential.get_secret_value()

    return await service.db.read(unit)


def fields(response: httpx.Response) -> list[str]:
    assert response.status_code == 400, response.text
    return [error["field"] for error in response.json()["detail"]["errors"]]


async def test_a_cluster_is_stored_and_given_back_masked(service: Service, client: httpx.AsyncClient) -> None:
    response = await client.post(CLUSTERS, json=body())
    assert response.status_code == 200
    assert response.json() == {
        "cluster_name": "prod",
        "inventory_type": "kubernetes",
        "cluster_config": {
            "credential_type": "token",
            "namespaces": ["all"],
            "cluster_server": "https://10.0.0.1:6443",
            "cluster_certificate": "abc",
            "client_certificate": "def",
            "credential": "******",
        },
        "own_cluster": False,
        "created_at": format_instant(BEGIN),
        "last_updated": format_instant(BEGIN),
        "warnings": response.json()["warnings"],
    }
    assert any("cluster_certificate" in warning for warning in response.json()["warnings"])
    assert await stored(service) == CREDENTIAL
    assert service.woken == 1
    one, everything = await client.get(f"{CLUSTERS}/prod"), await client.get(CLUSTERS)
    assert one.json() == response.json()
    assert everything.json() == [response.json()]
    for answer in (response, one, everything):
        assert CREDENTIAL not in answer.text


async def test_certificates_that_were_not_given_are_left_out_and_not_null(client: httpx.AsyncClient) -> None:
    response = await client.post(CLUSTERS, json=body(cluster_certificate=None, client_certificate=None))
    everything = await client.get(CLUSTERS)
    for document in (response.json(), *everything.json()):
        assert set(document["cluster_config"]) == {"credential_type", "namespaces", "cluster_server", "credential"}


@pytest.mark.parametrize(
    "document",
    [
        # The two examples of the seed documentation, without their remarks.
        {
            "cluster_name": "kubernetes-test-cluster",
            "cluster_config": {
                "cluster_certificate": "abc",
                "cluster_server": "https://def.com",
                "credential_type": "private_key",
                "client_certificate": "ghi",
                "credential": "jkl",
                "namespaces": ["all"],
            },
            "inventory_type": "kubernetes",
        },
        {
            "cluster_name": "kubernetes-test-cluster",
            "cluster_config": {
                "cluster_certificate": "abc",
                "cluster_server": "https://def.com",
                "credential_type": "token",
                "credential": "jkl",
                "namespaces": ["default", "kube-system"],
            },
            "inventory_type": "kubernetes",
        },
        {"cluster_name": "x", "cluster_config": body()["cluster_config"], "serverVersionMetadata": {"major": "1"}},
        body(namespaces=None, cluster_certificate=None, client_certificate=None),
    ],
)
async def test_documented_bodies_are_accepted(sqlite_client: httpx.AsyncClient, document: dict[str, object]) -> None:
    response = await sqlite_client.post(CLUSTERS, json=document)
    assert response.status_code == 200, response.text
    assert response.json()["cluster_name"] == document["cluster_name"]


async def test_a_second_cluster_of_that_name_is_a_conflict(client: httpx.AsyncClient) -> None:
    await client.post(CLUSTERS, json=body())
    response = await client.post(CLUSTERS, json=body(cluster_server="https://elsewhere"))
    assert response.status_code == 409
    assert response.json()["error_type"] == "cluster_exists"
    unchanged = (await client.get(f"{CLUSTERS}/prod")).json()
    assert unchanged["cluster_config"]["cluster_server"] == "https://10.0.0.1:6443"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"credential_type": "password"}, "cluster_config.credential_type"),
        ({"credential_type": None}, "cluster_config.credential_type"),
        ({"credential": 7}, "cluster_config.credential"),
        ({"credential": ""}, "cluster_config.credential"),
        ({"namespaces": "all"}, "cluster_config.namespaces"),
        ({"namespaces": ["ok", 1]}, "cluster_config.namespaces[1]"),
        ({"namespaces": ["ok", "Not Ok"]}, "cluster_config.namespaces[1]"),
        ({"namespaces": [""]}, "cluster_config.namespaces[0]"),
        ({"cluster_server": "http://10.0.0.1"}, "cluster_config.cluster_server"),
        ({"cluster_server": "https://169.254.169.254"}, "cluster_config.cluster_server"),
        ({"cluster_server": "https://u:p@host"}, "cluster_config.cluster_server"),
        ({"cluster_certificate": 1}, "cluster_config.cluster_certificate"),
        ({"cluster_certificate": "a\x00b"}, "cluster_config.cluster_certificate"),
        (
            {"credential_type": "private_key", "client_certificate": None},
            "cluster_config.client_certificate",
        ),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_bad_config_names_its_field(
    sqlite_client: httpx.AsyncClient, method: str, change: dict[str, object], field: str
) -> None:
    path = CLUSTERS if method == "POST" else f"{CLUSTERS}/prod"
    response = await sqlite_client.request(method, path, json=body(**change))
    assert fields(response) == [field]
    assert CREDENTIAL not in response.text
    assert response.json()["message"].startswith(field + ": ")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, ["cluster_config"]),
        ({"cluster_config": {}}, [f"cluster_config.{n}" for n in ("credential_type", "cluster_server", "credential")]),
        ({"cluster_config": body()["cluster_config"]}, ["cluster_name"]),
        ({**body(), "cluster_name": 1}, ["cluster_name"]),
        ({**body(), "cluster_name": "a/b"}, ["cluster_name"]),
        ({**body(), "cluster_name": " a"}, ["cluster_name"]),
        ({**body(), "cluster_name": "a\nb"}, ["cluster_name"]),
        ({**body(), "cluster_name": ""}, ["cluster_name"]),
        ({**body(), "inventory_type": "ecs"}, ["inventory_type"]),
        ({**body(), "cluster_config": [CREDENTIAL]}, ["cluster_config"]),
        ([], ["body"]),
        ("text", ["body"]),
        (None, ["body"]),
    ],
)
async def test_a_bad_body_names_its_fields(
    sqlite_client: httpx.AsyncClient, document: object, expected: list[str]
) -> None:
    response = await sqlite_client.post(CLUSTERS, content=json.dumps(document), headers=JSON)
    assert fields(response) == expected
    assert CREDENTIAL not in response.text


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"{", "line 1 column"),
        (b'{"cluster_name": "a",\n"b" }', "line 2 column"),
        (b"\xff\xfe", "line 1 column"),
        (b'{"a": "\\ud800"}', "line 1 column"),
        (b'{"a": NaN}', "line 1 column"),
        (b'{"cluster_name": "a", "cluster_name": "b"}', "cluster_name: given twice"),
        (b"[" * 1000 + b"]" * 1000, "body"),
        (b"[" * 100_000, "body"),
    ],
)
async def test_what_is_no_json_is_told_where(sqlite_client: httpx.AsyncClient, content: bytes, said: str) -> None:
    response = await sqlite_client.post(CLUSTERS, content=content, headers=JSON)
    assert response.status_code == 400
    assert said in response.json()["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/jsonp"},
        {"content-type": "text/plain; application/json"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_only_plain_json_is_taken(sqlite_client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await sqlite_client.post(CLUSTERS, content=json.dumps(body()), headers=headers)
    assert response.status_code == 415
    assert response.json()["error_type"] == "unsupported_media_type"


async def test_parameters_of_the_content_type_are_fine(sqlite_client: httpx.AsyncClient) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    response = await sqlite_client.post(CLUSTERS, content=json.dumps(body()), headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_is_capped_while_it_is_read(sqlite_client: httpx.AsyncClient, *, announced: bool) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 1
            yield b" " * 65536

    content = b" " * (64 * 65536) if announced else chunks()
    response = await sqlite_client.post(CLUSTERS, content=content, headers=JSON)
    assert response.status_code == 413
    assert response.json()["error_type"] == "body_too_large"
    assert sent <= 18


async def test_a_put_replaces_the_cluster(service: Service, client: httpx.AsyncClient) -> None:
    await client.post(CLUSTERS, json=body())
    service.advance(MINUTE)
    change = body(namespaces=["web"], cluster_server="https://new", credential="new-credential")
    response = await client.put(f"{CLUSTERS}/prod", json=change)
    assert response.status_code == 200
    assert response.json()["cluster_config"]["namespaces"] == ["web"]
    assert response.json()["created_at"] == format_instant(BEGIN)
    assert response.json()["last_updated"] == format_instant(BEGIN + MINUTE)
    assert await stored(service) == "new-credential"
    assert service.woken == 2


async def test_the_mask_keeps_the_credential_for_the_same_destination(
    service: Service, client: httpx.AsyncClient
) -> None:
    await client.post(CLUSTERS, json=body())
    masked = (await client.get(f"{CLUSTERS}/prod")).json()
    masked["cluster_config"]["namespaces"] = ["web"]
    response = await client.put(f"{CLUSTERS}/prod", json=masked)
    assert response.status_code == 200
    assert response.json()["cluster_config"]["namespaces"] == ["web"]
    assert await stored(service) == CREDENTIAL


async def test_the_mask_is_no_credential_for_a_new_cluster(sqlite_client: httpx.AsyncClient) -> None:
    assert fields(await sqlite_client.post(CLUSTERS, json=body(credential="******"))) == ["cluster_config.credential"]


@pytest.mark.parametrize(
    "change",
    [
        {"cluster_server": "https://evil.example"},
        {"cluster_certificate": "zzz"},
        {"cluster_certificate": None},
        {"client_certificate": "zzz"},
        {"credential_type": "private_key"},
    ],
)
async def test_the_mask_carries_no_credential_elsewhere(
    service: Service, client: httpx.AsyncClient, change: dict[str, object]
) -> None:
    await client.post(CLUSTERS, json=body())
    response = await client.put(f"{CLUSTERS}/prod", json=body(credential="******", **change))
    assert fields(response) == ["cluster_config.credential"]
    assert "give the credential again" in response.json()["message"]
    assert await stored(service) == CREDENTIAL


async def test_a_put_cannot_rename_or_make_a_cluster(client: httpx.AsyncClient) -> None:
    await client.post(CLUSTERS, json=body())
    assert fields(await client.put(f"{CLUSTERS}/prod", json=body("other"))) == ["cluster_name"]
    assert (await client.put(f"{CLUSTERS}/prod", json=body(None))).status_code == 200
    response = await client.put(f"{CLUSTERS}/other", json=body("other"))
    assert response.status_code == 404
    assert response.json()["error_type"] == "cluster_not_found"


async def test_a_deleted_cluster_is_gone(client: httpx.AsyncClient) -> None:
    await client.post(CLUSTERS, json=body())
    response = await client.delete(f"{CLUSTERS}/prod")
    assert (response.status_code, response.content) == (204, b"")
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/status"), ("GET", "/runs"), ("POST", "/sync")):
        gone = await client.request(method, f"{CLUSTERS}/prod{path}")
        assert (gone.status_code, gone.json()["error_type"]) == (404, "cluster_not_found")
    assert (await client.get(CLUSTERS)).json() == []
    assert (await client.post(CLUSTERS, json=body())).status_code == 200


async def test_clusters_are_listed_by_name(client: httpx.AsyncClient) -> None:
    for name in ("b", "a", "B", "ä"):
        await client.post(CLUSTERS, json=body(name))
    listed = await client.get(CLUSTERS, params={"inventory_type": "kubernetes"})
    assert [each["cluster_name"] for each in listed.json()] == ["B", "a", "b", "ä"]
    assert fields(await client.get(CLUSTERS, params={"inventory_type": "ecs"})) == ["inventory_type"]
    assert fields(await client.get(CLUSTERS, params={"type": "kubernetes"})) == ["type"]


@pytest.mark.parametrize("name", ["ä ö", "a%b", "a?b#c", "日本", "status", "..a", "a%2Fb", "a+b", "x" * 253, "🦀"])
async def test_any_printable_name_works_in_the_path(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.post(CLUSTERS, json=body(name))).status_code == 200
    path = f"{CLUSTERS}/{quoted(name)}"
    assert (await client.get(path)).json()["cluster_name"] == name
    assert (await client.get(path + "/status/")).json()["cluster_name"] == name
    assert (await client.put(path, json=body(name))).status_code == 200
    assert (await client.delete(path)).status_code == 204


def quoted(name: str) -> str:
    return "".join(f"%{byte:02X}" for byte in name.encode())


async def test_two_accounts_may_have_a_cluster_of_the_same_name(service: Service, client: httpx.AsyncClient) -> None:
    await service.db.write(lambda: accounts.ensure_account(service.db, "team"))
    team = {"x-anchore-account": "team"}
    await client.post(CLUSTERS, json=body())
    assert (await client.get(f"{CLUSTERS}/prod", headers=team)).status_code == 404
    assert (await client.post(CLUSTERS, json=body(namespaces=["web"]), headers=team)).status_code == 200
    assert (await client.delete(f"{CLUSTERS}/prod", headers=team)).status_code == 204
    assert (await client.get(f"{CLUSTERS}/prod")).json()["cluster_config"]["namespaces"] == ["all"]


async def test_changes_leave_an_audit_record_without_the_credential(
    service: Service, client: httpx.AsyncClient
) -> None:
    await client.post(CLUSTERS, json=body())
    await client.put(f"{CLUSTERS}/prod", json=body(namespaces=["web"]))
    await client.put(f"{CLUSTERS}/prod", json=body(credential="******", cluster_server="https://evil"))
    await client.delete(f"{CLUSTERS}/prod")

    def unit() -> list[audit.AuditRecord]:
        account = accounts.find_account(service.db, "admin")
        assert account is not None
        return audit.list_records(service.db, account.id, limit=100)

    records = [each for each in await service.db.read(unit) if each.action.startswith("cluster.")]
    assert [(each.action, each.subject, each.username) for each in records] == [
        ("cluster.delete", "prod", "admin"),
        ("cluster.replace", "prod", "admin"),
        ("cluster.add", "prod", "admin"),
    ]
    assert CREDENTIAL not in repr(records)


async def test_a_status_follows_the_looks(service: Service, client: httpx.AsyncClient) -> None:
    await client.post(CLUSTERS, json=body())

    async def status() -> dict[str, object]:
        answer: dict[str, object] = (await client.get(f"{CLUSTERS}/prod/status")).json()
        return answer

    fresh = await status()
    assert (fresh["health"], fresh["last_run"], fresh["last_success_at"], fresh["reason"]) == (
        "unknown",
        None,
        None,
        None,
    )
    claim = service.claim()
    assert (await status())["running"] is True
    service.succeed(claim, {"web": [("nginx:1", "sha256:1"), ("nginx:2", "sha256:2")], "db": []}, left_out=3)
    service.advance(90_000_000)
    good = await status()
    assert {key: good[key] for key in ("health", "namespaces", "images", "left_out", "server_version")} == {
        "health": "healthy",
        "namespaces": 2,
        "images": 2,
        "left_out": 3,
        "server_version": "v1.30.0",
    }
    assert (good["data_age_seconds"], good["kai_version"], good["running"]) == (90, "0.5.0", False)
    assert good["last_success_at"] == format_instant(BEGIN)
    service.advance(INTERVAL + INTERVAL // 10)
    service.fail(service.claim())
    failing = await status()
    assert failing["health"] == "failing"
    assert failing["reason"] == {
        "code": "unauthorized",
        "message": "The API server does not accept the credential",
        "remedy": "Give a token that is valid",
    }
    assert failing["consecutive_failures"] == 1
    assert failing["images"] == 2
    assert isinstance(failing["last_run"], dict)
    assert failing["last_run"]["state"] == "failed"
    assert failing["last_success_at"] == format_instant(BEGIN)
    service.advance(4 * INTERVAL)
    assert (await status())["health"] == "stale"
    service.succeed(service.claim(), {"web": []})
    recovered = await status()
    assert (recovered["health"], recovered["reason"], recovered["consecutive_failures"]) == ("healthy", None, 0)


async def test_a_status_warns_from_half_of_the_ttl(service: Service, client: httpx.AsyncClient) -> None:
    await client.post(CLUSTERS, json=body())
    service.succeed(service.claim(), {"web": [("nginx:1", "sha256:1")]})

    async def unseen() -> list[str]:
        warnings = (await client.get(f"{CLUSTERS}/prod/status")).json()["warnings"]
        return [warning for warning in warnings if warning.startswith("inventory")]

    service.advance(60 * DAY)
    assert await unseen() == []
    service.advance(1)
    assert len(await unseen()) == 1
    service.advance(60 * DAY)
    assert "are not listed" in (await unseen())[0]


async def test_runs_are_listed_newest_first(service: Service, client: httpx.AsyncClient) -> None:
    await client.post(CLUSTERS, json=body())
    service.succeed(service.claim(), {"web": [("nginx:1", "sha256:1")]})
    service.advance(2 * INTERVAL)
    claim = service.claim()
    service.advance(1_500_000)
    service.fail(claim)
    runs = (await client.get(f"{CLUSTERS}/prod/runs")).json()
    assert [run["state"] for run in runs] == ["failed", "succeeded"]
    assert runs[0]["id"] > runs[1]["id"]
    assert (runs[0]["exit_code"], runs[0]["duration_seconds"], runs[0]["images"]) == (1, 1.5, None)
    assert (runs[1]["images"], runs[1]["reason"], runs[1]["appeared"]) == (1, None, 1)
    assert len((await client.get(f"{CLUSTERS}/prod/runs", params={"limit": 1})).json()) == 1
    for limit in ("0", "1001", "-1", "x", "1.5", "٣", "9" * 5000):
        assert fields(await client.get(f"{CLUSTERS}/prod/runs", params={"limit": limit})) == ["limit"]


async def test_sync_without_waiting_answers_202_with_the_run(service: Service, client: httpx.AsyncClient) -> None:
    await client.post(CLUSTERS, json=body())
    service.succeed(service.claim(), {"web": []})
    response = await client.post(f"{CLUSTERS}/prod/sync")
    assert response.status_code == 202
    assert response.json()["state"] == "queued"
    assert service.woken == 2
    again = await client.post(f"{CLUSTERS}/prod/sync", params={"wait": "0"}, json={})
    assert again.json()["id"] == response.json()["id"]
    assert service.claim().run_id == response.json()["id"]


async def test_sync_waits_for_the_run_to_end(service: Service, client: httpx.AsyncClient) -> None:
    await client.post(CLUSTERS, json=body())
    responses: list[httpx.Response] = []
    asked = anyio.Event()
    service.on_wake = asked.set

    async def sync() -> None:
        responses.append(await client.post(f"{CLUSTERS}/prod/sync", params={"wait": 50}))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sync)
        with anyio.fail_after(10):
            await asked.wait()
        claim = await anyio.to_thread.run_sync(service.claim)
        await anyio.to_thread.run_sync(service.succeed, claim, {"web": [("nginx:1", "sha256:1")]})
    assert responses[0].status_code == 200
    assert responses[0].json()["id"] == claim.run_id
    assert (responses[0].json()["state"], responses[0].json()["images"]) == ("succeeded", 1)


async def test_sync_gives_up_when_the_time_is_over_or_the_service_stops(
    service: Service, client: httpx.AsyncClient
) -> None:
    await client.post(CLUSTERS, json=body())
    with anyio.fail_after(10):
        response = await client.post(f"{CLUSTERS}/prod/sync", params={"wait": 1})
        assert (response.status_code, response.json()["state"]) == (202, "queued")
        service.stopping = True
        response = await client.post(f"{CLUSTERS}/prod/sync", params={"wait": 50})
        assert response.status_code == 202
    for wait in ("51", "-1", "1.5", "", "forever"):
        assert fields(await client.post(f"{CLUSTERS}/prod/sync", params={"wait": wait})) == ["wait"]


async def test_sync_takes_no_body_but_json(sqlite_client: httpx.AsyncClient) -> None:
    await sqlite_client.post(CLUSTERS, json=body())
    headers = {"content-type": "text/plain"}
    assert (await sqlite_client.post(f"{CLUSTERS}/prod/sync", content=b"x", headers=headers)).status_code == 415
    assert (await sqlite_client.post(f"{CLUSTERS}/prod/sync", headers=headers)).status_code == 202


async def test_a_page_of_another_site_may_change_nothing(sqlite_service: Service) -> None:
    async with make_client(sqlite_service.app) as client:
        await client.post(CLUSTERS, json=body())
        for site in ("cross-site", "same-site"):
            headers = {"sec-fetch-site": site}
            response = await client.post(f"{CLUSTERS}/prod/sync", headers=headers)
            assert (response.status_code, response.json()["error_type"]) == (403, "cross_site_request")
            assert (await client.get(CLUSTERS, headers=headers)).status_code == 200
        assert (
            await client.post(f"{CLUSTERS}/prod/sync", headers={"sec-fetch-site": "same-origin"})
        ).status_code == 202


async def test_credentials_of_every_form_are_kept_as_given(service: Service, client: httpx.AsyncClient) -> None:
    wrapped = base64.encodebytes(b"x" * 100).decode()
    await client.post(CLUSTERS, json=body(credential=wrapped))
    assert await stored(service) == wrapped
