"""What holds for every request: who may, which paths there are, how refusals look, what probes say."""

import base64
import sqlite3
from typing import Any

import httpx
import peewee
import pytest
from structlog.testing import capture_logs

from orchestrator.catalog.access import ADMIN
from orchestrator.store import accounts
from orchestrator.store.database import DatabaseUnavailable
from tests.integration.api.conftest import CLUSTERS, INVENTORIES, PASSWORD, Service, body, make_client

pytestmark = pytest.mark.anyio

OPERATIONS = [
    ("GET", INVENTORIES),
    ("GET", CLUSTERS),
    ("POST", CLUSTERS),
    ("GET", f"{CLUSTERS}/prod"),
    ("PUT", f"{CLUSTERS}/prod"),
    ("DELETE", f"{CLUSTERS}/prod"),
    ("GET", f"{CLUSTERS}/prod/status"),
    ("GET", f"{CLUSTERS}/prod/runs"),
    ("POST", f"{CLUSTERS}/prod/sync"),
]


def basic(text: bytes, scheme: str = "Basic") -> dict[str, str]:
    return {"authorization": f"{scheme} {base64.b64encode(text).decode()}"}


def assert_refused(response: httpx.Response) -> None:
    assert (response.status_code, response.text) == (401, "Unauthorized")
    assert response.headers["www-authenticate"] == 'basic realm="Authentication required"'
    assert response.headers["content-type"].startswith("text/plain")


def assert_error(response: httpx.Response, status: int, error_type: str) -> None:
    assert response.status_code == status
    document = response.json()
    assert document["httpcode"] == document["code"] == status
    assert document["error_type"] == error_type
    assert document["detail"]["error_codes"] == [error_type]
    assert document["message"]
    assert set(document) == {"message", "httpcode", "detail", "code", "error_type"}
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@pytest.mark.parametrize("base", ["/v1", ""])
async def test_every_operation_needs_a_password(sqlite_service: Service, method: str, path: str, base: str) -> None:
    async with make_client(sqlite_service.app, auth=None) as client:
        assert_refused(await client.request(method, base + path.removeprefix("/v1")))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Basic"},
        {"authorization": "Basic !!!"},
        {"authorization": "Basic YQ"},
        {"authorization": "Bearer abc"},
        basic(b"admin"),
        basic(b"admin:wrong"),
        basic(b"admin:"),
        basic(b":foobar"),
        basic(b"Admin:foobar"),
        basic(b"admin :foobar"),
        basic(b"admin:foobar "),
        basic(b"nobody:foobar"),
        basic(b"ad\x00min:foobar"),
        basic(b"\xff\xfe:foobar"),
        basic(b"\xed\xa0\x80:foobar"),
        basic(b"x" * 5000 + b":foobar"),
        basic(b"admin:" + b"x" * 5000),
    ],
)
async def test_nothing_but_the_right_password_opens(service: Service, headers: dict[str, str]) -> None:
    async with make_client(service.app, auth=None) as client:
        assert_refused(await client.get(CLUSTERS, headers=headers))
        # The right one opens also after that, and before.
        assert (await client.get(CLUSTERS, auth=("admin", PASSWORD))).status_code == 200
        assert_refused(await client.get(CLUSTERS, headers=headers))


async def test_the_scheme_is_read_in_any_case(sqlite_service: Service) -> None:
    async with make_client(sqlite_service.app, auth=None) as client:
        for scheme in ("basic", "BASIC", "Basic "):
            headers = basic(f"admin:{PASSWORD}".encode(), scheme)
            assert (await client.get(CLUSTERS, headers=headers)).status_code == 200


async def test_a_colon_belongs_to_the_password(sqlite_service: Service) -> None:
    async with make_client(sqlite_service.app, auth=None) as client:
        assert_refused(await client.get(CLUSTERS, headers=basic(f"admin:{PASSWORD}:".encode())))


async def test_two_authorizations_are_none(sqlite_service: Service) -> None:
    async with make_client(sqlite_service.app, auth=None) as client:
        value = basic(f"admin:{PASSWORD}".encode())["authorization"]
        assert_refused(await client.get(CLUSTERS, headers=[("authorization", value), ("authorization", value)]))


async def test_a_failed_sign_in_is_logged_without_what_was_typed(sqlite_service: Service) -> None:
    async with make_client(sqlite_service.app, auth=None) as client:
        with capture_logs() as logs:
            await client.get(CLUSTERS, auth=("my-secret-typed-as-name", "x"))
            await client.get(CLUSTERS, auth=("admin", "wrong-secret"))
    refused = [entry for entry in logs if entry["event"] == "sign-in refused"]
    assert [entry["user"] for entry in refused] == ["(unknown)", "admin"]
    assert all(entry["client"] == "127.0.0.1" for entry in refused)
    assert "secret" not in repr(logs)


async def test_the_account_header_puts_an_admin_into_an_account(service: Service, client: httpx.AsyncClient) -> None:
    await service.db.write(lambda: accounts.ensure_account(service.db, "tëam"))
    assert (await client.get(CLUSTERS, headers={"x-anchore-account": ADMIN})).status_code == 200
    assert (await client.get(CLUSTERS, headers={"x-anchore-account": "tëam".encode()})).status_code == 200
    assert (await client.get(CLUSTERS, headers={"x-anchore-account": ""})).status_code == 200
    for name in ("nobody", "Admin", "x" * 5000, "a\tb"):
        assert_error(await client.get(CLUSTERS, headers={"x-anchore-account": name}), 404, "account_not_found")
    assert_error(await client.get(CLUSTERS, headers={"x-anchore-account": b"\xff"}), 404, "account_not_found")
    twice = [("x-anchore-account", ADMIN), ("x-anchore-account", "team")]
    assert_error(await client.get(CLUSTERS, headers=twice), 400, "invalid_field")


async def test_other_users_stay_in_their_account(service: Service) -> None:
    hashed = await service.db.read(lambda: accounts.find_user(service.db, ADMIN))
    assert hashed is not None

    def unit() -> None:
        accounts.add_user(service.db, account_name="team", username="tom", password_hash=hashed.password_hash)

    await service.db.write(unit)
    async with make_client(service.app, auth=("tom", PASSWORD)) as client:
        assert (await client.get(CLUSTERS)).status_code == 200
        assert (await client.get(CLUSTERS, headers={"x-anchore-account": "team"})).status_code == 200
        for name in (ADMIN, "nobody"):
            response = await client.get(CLUSTERS, headers={"x-anchore-account": name})
            assert_error(response, 403, "account_forbidden")
        await client.post(CLUSTERS, json=body())
    async with make_client(service.app) as admin:
        assert (await admin.get(CLUSTERS)).json() == []
        assert len((await admin.get(CLUSTERS, headers={"x-anchore-account": "team"})).json()) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v2/enterprise/inventories",
        "/v1/enterprise",
        "/v1/enterprise/inventories//clusters",
        "/v1/enterprise/inventories//",
        CLUSTERS + "/a/b",
        CLUSTERS + "/a%2Fb",
        CLUSTERS + "/a%2Fstatus",
        CLUSTERS + "/%2F",
        CLUSTERS + "%2Fprod",
        CLUSTERS + "/a%00",
        CLUSTERS + "/a%0A",
        CLUSTERS + "%0A",
        CLUSTERS + "/a%FF",
        CLUSTERS + "/a%ED%A0%80",
        CLUSTERS + "/a/status/x",
        "/health/x",
        "/%2e%2e/health",
    ],
)
async def test_other_paths_are_not_found_and_never_redirect(sqlite_client: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "POST", "PATCH"):
        response = await sqlite_client.request(method, path)
        assert_error(response, 404, "no_such_path")


async def test_a_name_that_no_cluster_can_have_is_not_found(sqlite_client: httpx.AsyncClient) -> None:
    for name in ("%20", "%zz", "%", "x" * 5000, "%25%32%46", "%C2%A0"):
        assert_error(await sqlite_client.get(f"{CLUSTERS}/{name}"), 404, "cluster_not_found")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (INVENTORIES, "DELETE, GET, HEAD, POST"),
        (CLUSTERS, "GET, HEAD, POST"),
        (f"{CLUSTERS}/prod", "DELETE, GET, HEAD, PUT"),
        (f"{CLUSTERS}/prod/status", "GET, HEAD"),
        (f"{CLUSTERS}/prod/sync", "POST"),
        ("/health", "GET, HEAD"),
    ],
)
async def test_other_methods_are_told_which_there_are(
    sqlite_client: httpx.AsyncClient, path: str, allowed: str
) -> None:
    for method in ("PATCH", "OPTIONS", "TRACE", "BREW"):
        response = await sqlite_client.request(method, path)
        assert_error(response, 405, "method_not_allowed")
        assert response.headers["allow"] == allowed


async def test_head_is_get_without_the_body(sqlite_client: httpx.AsyncClient) -> None:
    await sqlite_client.post(CLUSTERS, json=body())
    for path in (INVENTORIES, CLUSTERS, f"{CLUSTERS}/prod", f"{CLUSTERS}/prod/status", "/health", "/ready", "/version"):
        got, head = await sqlite_client.get(path), await sqlite_client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
    assert (await sqlite_client.head(f"{CLUSTERS}/none")).status_code == 404


async def test_probes_need_no_password(service: Service) -> None:
    async with make_client(service.app, auth=None) as client:
        for path in ("/health", "/health/", "/ready", "/version"):
            assert (await client.get(path)).status_code == 200
        assert (await client.get("/version")).json() == {
            "service": {"version": "1.2.3"},
            "api": {"version": "0.1.1"},
            "db": {"schema_version": service.db.schema_version()},
        }
        service.loop_alive = False
        for path in ("/health", "/ready"):
            assert_error(await client.get(path), 503, "loop_not_running")


async def test_without_the_database_only_what_needs_it_is_unavailable(
    sqlite_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_options: object) -> None:
        raise peewee.OperationalError("disk I/O error at /secret/path") from sqlite3.OperationalError("x")

    async with make_client(sqlite_service.app) as client:
        monkeypatch.setattr(sqlite_service.db.peewee, "connection_context", broken)
        for path in ("/health", "/version"):
            assert (await client.get(path)).status_code == 200
        for path in ("/ready", CLUSTERS, INVENTORIES):
            response = await client.get(path)
            assert_error(response, 503, "database_unavailable")
            assert response.headers["retry-after"] == "5"
            assert "secret" not in response.text


async def test_a_bug_of_ours_is_a_500_without_details(sqlite_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def buggy(*_args: object) -> None:
        raise LookupError("secret detail")

    async with make_client(sqlite_service.app) as client:
        monkeypatch.setattr(sqlite_service.db, "read", buggy)
        response = await client.get(CLUSTERS)
    assert_error(response, 500, "internal_error")
    assert "secret" not in response.text


async def test_sync_outlives_a_database_that_is_away_for_a_moment(
    sqlite_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, failures = sqlite_service.db.read, [DatabaseUnavailable("gone")] * 2

    async def flaky(work: Any) -> Any:
        if work.__class__.__name__ == "partial" and failures:
            raise failures.pop()
        return await read(work)

    async with make_client(sqlite_service.app) as client:
        await client.post(CLUSTERS, json=body())
        monkeypatch.setattr(sqlite_service.db, "read", flaky)
        response = await client.post(f"{CLUSTERS}/prod/sync", params={"wait": 1})
    assert (response.status_code, failures) == (202, [])
