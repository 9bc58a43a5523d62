"""The API behind a real server: what only shows on a real connection."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from anyio.abc import SocketStream

from orchestrator.store.database import DatabaseUnavailable
from tests.integration.api.asgi import SIGNED
from tests.integration.api.conftest import CLUSTERS, INVENTORIES, PASSWORD, Service, body, make_service

pytestmark = pytest.mark.anyio


@pytest.fixture
def service(sqlite_url: str, tmp_path: Path) -> Iterator[Service]:
    made = make_service(sqlite_url, tmp_path / "admin.password", page_items=100)
    yield made
    made.db.close()


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[int]:
    """The port of a server that runs as long as the block."""
    config = uvicorn.Config(service.app, port=0, http="h11", lifespan="off", log_level="critical", ws="none")
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        with anyio.fail_after(10):
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await anyio.sleep(0.01)
        try:
            yield server.servers[0].sockets[0].getsockname()[1]
        finally:
            server.should_exit = True


@asynccontextmanager
async def connected(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(service) as port,
        httpx.AsyncClient(auth=("admin", PASSWORD), base_url=f"http://127.0.0.1:{port}") as client,
    ):
        yield client


def fill(service: Service, images: int) -> None:
    service.succeed(service.claim(), {"web": [(f"nginx:{i}", "sha256:1") for i in range(images)]})


async def test_a_list_of_many_pages_arrives_whole(service: Service) -> None:
    async with connected(service) as client:
        await client.post(CLUSTERS, json=body())
        fill(service, 1_050)
        response = await client.get(INVENTORIES)
        assert len(response.json()) == 1_050
        assert response.headers["transfer-encoding"] == "chunked"
        assert response.headers["content-encoding"] == "gzip"
        head = await client.head(INVENTORIES)
        assert (head.status_code, head.content) == (200, b"")
        # The connection is still in step after an answer without a body.
        assert (await client.get("/health")).json() == {"status": "ok"}


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_failure_mid_stream_breaks_the_connection(
    service: Service, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    read, left = service.db.read, [0] * 5

    async def failing(work: Any) -> Any:
        if not left:
            raise DatabaseUnavailable("gone")
        left.pop()
        return await read(work)

    async with connected(service) as client:
        await client.post(CLUSTERS, json=body())
        fill(service, 1_050)
        monkeypatch.setattr(service.db, "read", failing)
        received = bytearray()
        with pytest.raises(httpx.RemoteProtocolError):
            await download(client, {"accept-encoding": encoding}, into=received)
    assert received.startswith(b"[{")
    with pytest.raises(json.JSONDecodeError):
        json.loads(received)


async def download(client: httpx.AsyncClient, headers: dict[str, str], *, into: bytearray) -> None:
    async with client.stream("GET", INVENTORIES, headers=headers) as response:
        assert response.status_code == 200
        async for chunk in response.aiter_bytes():
            into += chunk


@pytest.mark.parametrize("size", [2 * 1024 * 1024, 30 * 1024 * 1024])
async def test_a_body_that_is_too_large_is_answered(service: Service, size: int) -> None:
    async with connected(service) as client:
        headers = {"content-type": "application/json"}
        response = await client.post(CLUSTERS, content=b" " * size, headers=headers)
        assert response.status_code == 413
        assert (await client.get("/health")).status_code == 200


async def talk(port: int, request: bytes) -> bytes:
    """What comes back for raw bytes, up to the first pause or the end."""
    received = b""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(request)
        with anyio.move_on_after(5):
            while b"\r\n\r\n" not in received:
                received += await _receive(stream)
    return received


async def _receive(stream: SocketStream) -> bytes:
    try:
        return await stream.receive()
    except anyio.EndOfStream:
        return b"\r\n\r\n"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"//v1/enterprise/inventories/clusters", b"404"),
        (b"/v1/enterprise/inventories/clusters/..", b"404"),
        (b"/v1/enterprise/inventories/clusters/a%2Fb", b"404"),
        (b"/v1/enterprise/inventories/clusters/%FF", b"404"),
        (b"/v1/enterprise/inventories/clusters/%00", b"404"),
        (b"/v1/enterprise/inventories/clusters/\xff", b"400"),
        (b"http://127.0.0.1/health", b"404"),
        (b"*", b"404"),
        (b"/health?\xff", b"400"),
        (b"/v1/enterprise/inventories/clusters/", b"200"),
        (b"/v1/enterprise/inventories?context=%FF", b"400"),
    ],
)
async def test_odd_request_lines_are_refused(service: Service, target: bytes, status: bytes) -> None:
    async with serving(service) as port:
        head = b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nAuthorization: " + SIGNED.encode() + b"\r\n\r\n"
        assert (await talk(port, head)).startswith(b"HTTP/1.1 " + status)


async def test_sync_ends_with_the_client_that_asked(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(service) as port:
        async with httpx.AsyncClient(auth=("admin", PASSWORD), base_url=f"http://127.0.0.1:{port}") as client:
            await client.post(CLUSTERS, json=body())
        ended = anyio.Event()
        asked = anyio.Event()
        service.on_wake = asked.set
        catalog_wait = service.clusters.wait_for_end

        async def watched(*args: Any, **options: Any) -> Any:
            try:
                return await catalog_wait(*args, **options)
            finally:
                ended.set()

        monkeypatch.setattr(service.clusters, "wait_for_end", watched)
        with anyio.fail_after(20):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                path = f"{CLUSTERS}/prod/sync?wait=50"
                await stream.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {SIGNED}\r\n\r\n".encode())
                await asked.wait()
            await ended.wait()


async def test_sync_does_not_hold_up_a_service_that_stops(service: Service) -> None:
    async with connected(service) as client:
        await client.post(CLUSTERS, json=body())

        asked = anyio.Event()
        service.on_wake = asked.set
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:

                async def stop_once_asked() -> None:
                    await asked.wait()
                    service.stopping = True

                tasks.start_soon(stop_once_asked)
                response = await client.post(f"{CLUSTERS}/prod/sync", params={"wait": 50}, timeout=20)
        assert response.status_code == 202
