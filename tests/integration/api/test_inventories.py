"""Reading the inventory through the API, on both databases."""

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message

from orchestrator.api.schemas import InventoryItem
from orchestrator.model.instant import MINUTE, format_instant
from orchestrator.store.database import DatabaseUnavailable
from tests.integration.api.asgi import exchange
from tests.integration.api.conftest import BEGIN, CLUSTERS, INVENTORIES, Service, body, make_client, make_service

pytestmark = pytest.mark.anyio

IMAGES = {
    "web": [("nginx:1", "sha256:1"), ("nginx:2", "unknown"), ("Apache", "sha256:3")],
    "db": [("postgres:16", "sha256:4")],
    "empty": [],
}
SORTED = [
    ("prod/db", "postgres:16"),
    ("prod/web", "Apache"),
    ("prod/web", "nginx:1"),
    ("prod/web", "nginx:2"),
]


@pytest.fixture(params=[1, 2, 4, 5_000])
async def seen(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path
) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """One cluster that was looked at, read in pages of several sizes."""
    service = make_service(database_url, tmp_path / "admin.password", page_items=request.param)
    async with make_client(service.app) as client:
        await client.post(CLUSTERS, json=body())
        service.succeed(service.claim(), IMAGES)
        yield service, client
    service.db.close()


def short(response: httpx.Response) -> list[tuple[str, str]]:
    assert response.status_code == 200, response.text
    return [(item["context"], item["image_tag"]) for item in response.json()]


def field(response: httpx.Response) -> str:
    assert response.status_code == 400, response.text
    name: str = response.json()["detail"]["errors"][0]["field"]
    return name


async def test_everything_is_listed_in_order(seen: tuple[Service, httpx.AsyncClient]) -> None:
    _, client = seen
    for path in (INVENTORIES, INVENTORIES + "/", INVENTORIES.removeprefix("/v1"), "/enterprise/inventories/"):
        response = await client.get(path)
        assert short(response) == SORTED
        assert "link" not in response.headers
        assert response.headers["content-type"] == "application/json"


async def test_an_item_is_as_it_is_described(seen: tuple[Service, httpx.AsyncClient]) -> None:
    service, client = seen
    service.advance(2 * MINUTE)
    item = (await client.get(INVENTORIES)).json()[0]
    assert item == {
        "inventory_type": "kubernetes",
        "context": "prod/db",
        "cluster_name": "prod",
        "namespace": "db",
        "image_tag": "postgres:16",
        "image_digest": "sha256:4",
        "created_at": format_instant(BEGIN),
        "last_updated": format_instant(BEGIN),
        "last_seen": format_instant(BEGIN),
        "present": True,
    }
    assert list(item) == list(InventoryItem.model_fields)
    assert InventoryItem.model_validate(item, strict=True).model_dump() == item


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"context": "prod/db"}, SORTED[:1]),
        ({"context": "prod"}, []),
        ({"image_digest": "unknown"}, SORTED[3:]),
        ({"image_digest": "sha256:"}, []),
        ({"inventory_type": "kubernetes"}, SORTED),
        ({"cluster_name": "prod", "namespace": "web"}, SORTED[1:]),
        ({"cluster_name": "other"}, []),
        ({"image_tag": "nginx:1"}, SORTED[2:3]),
        ({"image_tag": "NGINX:1"}, []),
        ({"namespace": "web", "image_digest": "sha256:4"}, []),
        ({"context": "prod/web", "image_digest": "sha256:3", "present": "true"}, SORTED[1:2]),
        ({"present": "false"}, []),
        ({"image_tag": "ä" * 3000}, []),
    ],
)
async def test_filters_are_exact_and_combine(
    seen: tuple[Service, httpx.AsyncClient], filters: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    _, client = seen
    assert short(await client.get(INVENTORIES, params=filters)) == expected
    assert short(await client.get(INVENTORIES, params={**filters, "limit": "3"})) == expected[:3]


async def test_what_is_gone_waits_for_its_ttl(service: Service, client: httpx.AsyncClient) -> None:
    await client.post(CLUSTERS, json=body())
    service.succeed(service.claim(), IMAGES)
    service.advance(10 * MINUTE)
    service.succeed(service.claim(), {"web": IMAGES["web"][:1]})
    assert short(await client.get(INVENTORIES)) == SORTED
    assert short(await client.get(INVENTORIES, params={"present": "true"})) == [("prod/web", "nginx:1")]
    gone = await client.get(INVENTORIES, params={"present": "FALSE", "namespace": "db"})
    assert [(item["last_seen"], item["present"]) for item in gone.json()] == [(format_instant(BEGIN), False)]
    await client.delete(f"{CLUSTERS}/prod")
    assert short(await client.get(INVENTORIES, params={"present": "true"})) == []
    assert short(await client.get(INVENTORIES)) == SORTED


async def walk(client: httpx.AsyncClient, **params: Any) -> list[list[tuple[str, str]]]:
    """Every page, by the links."""
    pages = []
    response = await client.get(INVENTORIES, params=params)
    while True:
        pages.append(short(response))
        link = response.headers.get("link")
        if link is None:
            return pages
        match = re.fullmatch(r'<(/v1/enterprise/inventories\?[!-=?-~]+)>; rel="next"', link)
        assert match, link
        response = await client.get(match.group(1))


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 10_000])
async def test_a_walk_along_the_links_sees_each_item_once(seen: tuple[Service, httpx.AsyncClient], limit: int) -> None:
    _, client = seen
    pages = await walk(client, limit=limit)
    assert [item for page in pages for item in page] == SORTED
    assert [len(page) for page in pages] == [len(SORTED[i : i + limit]) for i in range(0, len(SORTED), limit)]
    assert [item for page in await walk(client, limit=limit, namespace="web") for item in page] == SORTED[1:]


async def test_no_link_where_nothing_follows(client: httpx.AsyncClient) -> None:
    assert await walk(client, limit=1) == [[]]


async def test_a_cursor_fits_only_its_filters_and_unchanged(seen: tuple[Service, httpx.AsyncClient]) -> None:
    _, client = seen
    response = await client.get(INVENTORIES, params={"limit": 1, "cluster_name": "prod"})
    url = httpx.URL("http://test" + response.headers["link"].split(">")[0][1:])
    cursor = url.params["cursor"]
    assert short(await client.get(INVENTORIES, params={"cursor": cursor, "cluster_name": "prod"})) == SORTED[1:]
    assert field(await client.get(INVENTORIES, params={"cursor": cursor})) == "cursor"
    assert field(await client.get(INVENTORIES, params={"cursor": cursor, "cluster_name": "p"})) == "cursor"
    changed = [cursor[:i] + ("A" if cursor[i] != "A" else "B") + cursor[i + 1 :] for i in range(len(cursor))]
    for wrong in (*changed, cursor[:-2], "x", "ä", "", "=" * 50, cursor + "AAAA"):
        response = await client.get(INVENTORIES, params={"cursor": wrong, "cluster_name": "prod"})
        assert field(response) == "cursor"


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=ten", "limit"),
        ("limit=1e3", "limit"),
        ("limit=%2B1", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("present=maybe", "present"),
        ("inventory_type=ecs", "inventory_type"),
        ("image_digets=sha256:1", "image_digets"),
        ("context=a&context=b", "context"),
        ("context=", "context"),
        ("context=%00", "context"),
        ("context=%FF", "query"),
        ("context=%ED%A0%80", "query"),
        ("%00=1", "query"),
        ("=1", "query"),
        ("&".join(f"a{i}=1" for i in range(200)), "query"),
    ],
)
async def test_a_bad_query_names_its_parameter(sqlite_client: httpx.AsyncClient, query: str, name: str) -> None:
    assert field(await sqlite_client.get(f"{INVENTORIES}?{query}")) == name


async def test_headers_say_how_fresh_the_answer_is(service: Service, client: httpx.AsyncClient) -> None:
    async def headers(**params: str) -> tuple[str | None, str]:
        found = (await client.get(INVENTORIES, params=params)).headers
        return found.get("x-inventory-age-seconds"), found["x-inventory-unhealthy-clusters"]

    assert await headers() == (None, "0")
    await client.post(CLUSTERS, json=body("a"))
    assert await headers() == (None, "1")
    service.succeed(service.claim(), {"web": [("nginx:1", "sha256:1")]})
    assert await headers() == ("0", "0")
    service.advance(MINUTE)
    await client.post(CLUSTERS, json=body("b"))
    service.succeed(service.claim(), {"web": [("nginx:1", "sha256:1")]})
    service.advance(MINUTE)
    assert await headers() == ("120", "0")
    assert await headers(cluster_name="b") == ("60", "0")
    assert await headers(context="c/web") == (None, "0")
    service.advance(20 * MINUTE)
    assert await headers(cluster_name="b", limit="1") == (str(21 * 60), "1")
    head = await client.head(INVENTORIES)
    assert (head.headers["x-inventory-unhealthy-clusters"], head.content) == ("2", b"")


async def test_head_reads_no_more_than_the_first_page(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(sqlite_url, tmp_path / "admin.password", page_items=1)
    async with make_client(service.app) as client:
        await client.post(CLUSTERS, json=body())
        service.succeed(service.claim(), IMAGES)
        # One read signs in, one reads the first page; another one would fail.
        failing = FailsOnPage(service, 2)
        monkeypatch.setattr(service.db, "read", failing)
        failing.armed = True
        response = await client.head(INVENTORIES)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["x-inventory-unhealthy-clusters"] == "0"
    service.db.close()


async def test_gzip_when_asked_for(sqlite_service: Service) -> None:
    async with make_client(sqlite_service.app, headers={"accept-encoding": "identity"}) as client:
        await client.post(CLUSTERS, json=body())
        sqlite_service.succeed(sqlite_service.claim(), {"web": [(f"nginx:{i}", "sha256:1") for i in range(200)]})
        plain = await client.get(INVENTORIES)
        assert "content-encoding" not in plain.headers
        for params in ({}, {"limit": 10_000}):
            asked = {"accept-encoding": "gzip"}
            async with client.stream("GET", INVENTORIES, params=params, headers=asked) as response:
                raw = b"".join([chunk async for chunk in response.aiter_raw()])
            assert response.headers["content-encoding"] == "gzip"
            assert gzip.decompress(raw) == plain.content
            assert len(raw) < len(plain.content) / 5


class FailsOnPage:
    """Lets a database go away at a chosen page of a list."""

    def __init__(self, service: Service, page: int) -> None:
        self._read = service.db.read
        self._left = page
        self.armed = False

    async def __call__(self, work: Any) -> Any:
        if self.armed:
            self._left -= 1
            if self._left < 0:
                raise DatabaseUnavailable("gone")
        return await self._read(work)


async def test_a_database_that_goes_away_before_the_first_page_is_a_503(
    sqlite_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_client(sqlite_service.app) as client:
        await client.get(INVENTORIES)
        failing = FailsOnPage(sqlite_service, 0)
        monkeypatch.setattr(sqlite_service.db, "read", failing)
        failing.armed = True
        response = await client.get(INVENTORIES)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert response.json()["error_type"] == "database_unavailable"


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_failure_mid_stream_never_closes_the_array(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    service = make_service(sqlite_url, tmp_path / "admin.password", page_items=1)
    async with make_client(service.app) as client:
        await client.post(CLUSTERS, json=body())
        service.succeed(service.claim(), IMAGES)
        # One read signs in, one reads the first page, the third of them fails.
        failing = FailsOnPage(service, 2)
        monkeypatch.setattr(service.db, "read", failing)
        failing.armed = True
        messages: list[Message] = []
        with pytest.raises(RuntimeError, match="response already started"):
            await exchange(service.app, messages, raw_path=INVENTORIES, headers={"accept-encoding": encoding})
    assert messages[0]["status"] == 200
    bodies = [message for message in messages if message["type"] == "http.response.body"]
    assert bodies
    assert all(message["more_body"] for message in bodies)
    assert not b"".join(message["body"] for message in bodies).endswith(b"]")
    service.db.close()
