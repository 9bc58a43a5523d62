"""From the first request to the last: loop and HTTP server side by side, until a signal ends them in order."""

import os
import signal
import threading
import time
from collections.abc import Callable
from socket import socket
from typing import Final

import anyio
import structlog
import uvicorn

from orchestrator.collector.loop import CollectorLoop
from orchestrator.model.instant import MICROSECOND, Instant
from orchestrator.tls import ServerTls

_EXIT_DIED: Final = 1
_FORCED_END_SECONDS: Final = 9.0

_log = structlog.get_logger(__name__)


def stop_signals() -> list[signal.Signals]:
    """What ends the service in order: also the closing of its terminal, unless it was started to outlive that."""
    signals = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals


def wall_clock() -> Instant:
    """The machine's time."""
    return time.time_ns() // 1000 * MICROSECOND


class Stop:
    """Whether the service has been told to stop."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        """Whether requests that merely wait should be answered now."""
        return self.asked


async def serve(
    *,
    collector: CollectorLoop | None,
    server: uvicorn.Server,
    listener: socket,
    stop: Stop,
    announce: Callable[[], None],
    tls: ServerTls | None = None,
) -> None:
    """Look, if there is a collector, and answer until SIGTERM or SIGINT; then claim nothing more, end the looks, drain
    the requests, return.

    Whatever ends the loop or the server before that comes through as an ExceptionGroup.
    """
    looking = anyio.CancelScope()

    async def look(collector: CollectorLoop) -> None:
        with looking:
            try:
                await collector.run()
            finally:
                if not stop.asked:
                    _end_for_sure(_EXIT_DIED)

    async def answer() -> None:
        async with anyio.create_task_group() as meanwhile:
            if tls is not None:
                meanwhile.start_soon(tls.keep_fresh, wall_clock)
            await server.serve(sockets=[listener])
            meanwhile.cancel_scope.cancel()
        if not stop.asked:
            raise RuntimeError("the HTTP server ended by itself")

    with anyio.open_signal_receiver(*stop_signals()) as signals:
        async with anyio.create_task_group() as tasks:
            if collector is not None:
                tasks.start_soon(look, collector)
            tasks.start_soon(answer)
            announce()
            async for number in signals:
                _log.info("stopping", signal=number.name)
                break
            _end_for_sure(0)
            stop.asked = True
            server.should_exit = True
            looking.cancel()
    _log.info("stopped")


def _end_for_sure(exit_code: int) -> None:
    """End the process in a few seconds if it has not ended by then: a thread that waits for a dead database or a
    silent name server cannot be cancelled. Nothing is lost by leaving it: what it had not committed is undone,
    leases end, children die with us."""
    last_resort = threading.Timer(_FORCED_END_SECONDS, os._exit, (exit_code,))
    last_resort.daemon = True
    last_resort.start()
