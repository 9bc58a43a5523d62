"""Where the description and its page are served, and that the service takes the parameters that are described."""

import re

import httpx
import pytest

from tests.description import description
from tests.integration.api.conftest import Service, make_client

pytestmark = pytest.mark.anyio

DOCUMENT = description()
BASES = ["/v1/enterprise", "/enterprise"]
GUARDED = [
    (method, path)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "servers" and operation.get("security") != []
]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", ["openapi.json", "swagger.json", "openapi.json/"])
async def test_everybody_may_read_the_description(sqlite_service: Service, base: str, name: str) -> None:
    async with make_client(sqlite_service.app, auth=None) as client:
        response = await client.get(f"{base}/{name}")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.json() == DOCUMENT


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_the_parameters_that_are_taken_are_those_described(
    sqlite_client: httpx.AsyncClient, method: str, path: str
) -> None:
    described = [each["name"] for each in DOCUMENT["paths"][path][method]["parameters"] if each.get("in") == "query"]
    url = "/v1/enterprise" + path.replace("{cluster_name}", "prod")
    refused = await sqlite_client.request(method, url, params={"limti": "1"})
    expected = f"expected {', '.join(sorted(described))}" if described else "this operation takes none"
    assert (refused.status_code, refused.json()["message"]) == (400, f"limti: unknown query parameter: {expected}")


@pytest.mark.parametrize("base", BASES)
async def test_the_page_is_whole_without_the_internet(sqlite_service: Service, base: str) -> None:
    async with make_client(sqlite_service.app, auth=None) as client:
        page = await client.get(f"{base}/ui/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert (await client.get(f"{base}/ui")).content == page.content
        links = re.findall(r'(?:src|href|data-description)="([^"]+)"', page.text)
        assert len(links) == 5
        types = {}
        for link in set(links) - {"data:,"}:
            assert link.startswith(f"{base}/")
            found = await client.get(link)
            assert found.status_code == 200
            assert found.headers["x-content-type-options"] == "nosniff"
            types[link.removeprefix(base)] = found.headers["content-type"].partition(";")[0]
            assert (await client.head(link)).status_code == 200
        assert (await client.get(f"{base}/ui/redoc.js")).status_code == 404
        assert (await client.post(f"{base}/ui")).status_code == 405
    assert types == {
        "/openapi.json": "application/json",
        "/ui/start.js": "text/javascript",
        "/ui/swagger-ui-bundle.js": "text/javascript",
        "/ui/swagger-ui.css": "text/css",
    }


async def test_nothing_runs_on_the_page_but_what_is_served_from_here(sqlite_client: httpx.AsyncClient) -> None:
    page = await sqlite_client.get("/v1/enterprise/ui")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert {policy["script-src"], policy["style-src"], policy["connect-src"]} == {"'self'"}
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\son[a-z]+=|\sstyle=", page.text)
