"""What connections may take from the service."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from orchestrator.server import bounded_protocol, make_server, raise_file_limit

pytestmark = pytest.mark.anyio

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


async def answer(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("here")


@asynccontextmanager
async def serving(*, max_connections: int, head_seconds: float) -> AsyncIterator[int]:
    """A server with these bounds; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        Starlette(routes=[Route("/", answer)]),
        http=bounded_protocol(max_connections=max_connections, head_seconds=head_seconds),
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        yield int(listener.getsockname()[1])
        server.should_exit = True


async def says_nothing_more(reader: asyncio.StreamReader) -> bool:
    with anyio.fail_after(10):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


async def ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    with anyio.fail_after(10):
        head = await reader.readuntil(b"here")
    writer.close()
    await writer.wait_closed()
    return head


async def test_connections_beyond_the_limit_are_closed_and_the_others_served() -> None:
    async with serving(max_connections=3, head_seconds=30) as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(6)]
        closed = 0
        for reader, _ in idle[3:]:
            closed += await says_nothing_more(reader)
        assert closed == 3
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        with anyio.fail_after(10):
            while True:
                try:
                    assert (await ask(port)).startswith(b"HTTP/1.1 200")
                    break
                except (asyncio.IncompleteReadError, ConnectionResetError):
                    await anyio.sleep(0.01)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: te", REQUEST + b"GET / HTTP/1.1\r\nX"])
async def test_connection_that_never_ends_its_head_is_closed(sent: bytes) -> None:
    async with serving(max_connections=10, head_seconds=0.2) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if sent.startswith(REQUEST):
            writer.write(REQUEST)
            await reader.readuntil(b"here")
        writer.write(sent.removeprefix(REQUEST))
        assert await says_nothing_more(reader)
        writer.close()


async def test_connection_that_asks_again_later_is_kept() -> None:
    async with serving(max_connections=10, head_seconds=0.2) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(REQUEST)
            with anyio.fail_after(10):
                await reader.readuntil(b"here")
            await anyio.sleep(0.3)
        writer.close()
        await writer.wait_closed()


def test_as_many_files_as_the_system_allows_may_be_open() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 256), before[1]))
    try:
        assert raise_file_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert raise_file_limit() > 256 or before[1] <= 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_service_leaves_half_of_the_files_to_looks_and_database() -> None:
    server = make_server(Starlette(), drain_seconds=1, file_limit=64, tls=None)
    assert server.config.backlog == 512
    assert isinstance(server.config.http, type)
