"""The order in which the service starts and stops, with a loop and a server in memory."""

import os
import signal
import socket
from typing import Any, cast

import anyio
import pytest

from orchestrator import lifetime
from orchestrator.lifetime import Stop, serve


class FakeLoop:
    """Runs until it is cancelled, or raises `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.ended_because = ""

    async def run(self) -> None:
        try:
            if self.error:
                raise self.error
            await anyio.sleep_forever()
        finally:
            self.ended_because = "error" if self.error else "cancelled"


class FakeServer:
    """Serves until it is told to exit, or at once with `leaves`."""

    def __init__(self, *, leaves: bool = False) -> None:
        self.should_exit = leaves
        self.sockets: list[socket.socket] = []
        self.drained = False

    async def serve(self, *, sockets: list[socket.socket]) -> None:
        self.sockets = sockets
        while not self.should_exit:  # noqa: ASYNC110 - as uvicorn does
            await anyio.sleep(0.01)
        self.drained = True


async def run_service(loop: FakeLoop, server: FakeServer, stop: Stop, *, signal_number: int | None = None) -> None:
    listener = socket.socket()

    def announce() -> None:
        if signal_number is not None:
            os.kill(os.getpid(), signal_number)

    with listener, anyio.fail_after(10):
        await serve(
            collector=cast(Any, loop), server=cast(Any, server), listener=listener, stop=stop, announce=announce
        )
    assert server.sockets == [listener]


@pytest.fixture
def last_resorts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes of the forced ends that were prepared; in a test's process they must not come."""
    codes: list[int] = []
    monkeypatch.setattr(lifetime, "_end_for_sure", codes.append)
    return codes


@pytest.mark.anyio
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_looks_and_drains_the_requests(number: int, last_resorts: list[int]) -> None:
    loop, server, stop = FakeLoop(), FakeServer(), Stop()
    await run_service(loop, server, stop, signal_number=number)
    assert loop.ended_because == "cancelled"
    assert server.drained
    assert stop()
    assert last_resorts == [0]


@pytest.mark.anyio
async def test_the_death_of_the_loop_comes_through(last_resorts: list[int]) -> None:
    server = FakeServer()
    with pytest.raises(ExceptionGroup) as caught:
        await run_service(FakeLoop(ZeroDivisionError()), server, Stop())
    assert caught.group_contains(ZeroDivisionError)
    assert not server.drained
    assert last_resorts == [1]


@pytest.mark.anyio
async def test_a_server_that_ends_by_itself_ends_the_service(last_resorts: list[int]) -> None:
    loop = FakeLoop()
    with pytest.raises(ExceptionGroup) as caught:
        await run_service(loop, FakeServer(leaves=True), Stop())
    assert caught.group_contains(RuntimeError, match="ended by itself")
    assert loop.ended_because == "cancelled"
    assert last_resorts == [1]
