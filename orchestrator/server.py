"""The HTTP server: uvicorn, with bounds on what connections may take, and its signals left to us."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.tls import ServerTls

_KEEP_ALIVE_SECONDS: Final = 75
_HEAD_SECONDS: Final = 20.0
_MAX_REQUEST_HEAD_BYTES: Final = 64 * 1024
_MAX_CONNECTIONS: Final = 1_000
_BACKLOG: Final = 512

# Looks need some descriptors each; more than this only makes closing them all take longer.
_WANTED_FILES: Final = 65_536


def raise_file_limit() -> int:
    """Let the process have as many open files as it may, and return how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return _WANTED_FILES if soft == resource.RLIM_INFINITY else soft


def make_server(api: ASGIApp, *, drain_seconds: int, file_limit: int, tls: ServerTls | None) -> uvicorn.Server:
    """A server for the application. `drain_seconds` are given to open requests when it stops; connections take at
    most half of the `file_limit` open files, so that looks and database keep theirs."""
    protocol = bounded_protocol(
        max_connections=min(_MAX_CONNECTIONS, max(file_limit // 2, 1)), head_seconds=_HEAD_SECONDS
    )
    return _Server(
        uvicorn.Config(
            api,
            ssl_context_factory=(lambda _config, _default: tls.context) if tls else None,
            # Not uvloop: it forks to start a child, which blocks the loop for longer than vfork does.
            loop="asyncio",
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=drain_seconds,
            h11_max_incomplete_event_size=_MAX_REQUEST_HEAD_BYTES,
        )
    )


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handling: the order in which we stop is the app's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 for strangers: a connection beyond `max_connections` is closed at once, and so is one that has not
    sent the whole head of its request `head_seconds` after it began. Else whoever opens connections and says nothing
    takes the open files away from the looks."""

    max_connections: ClassVar[int] = _MAX_CONNECTIONS
    head_seconds: ClassVar[float] = _HEAD_SECONDS
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected."""
        super().connection_made(cast(asyncio.Transport, transport))
        if len(self.connections) > self.max_connections:
            self.transport.close()
        else:
            self._watch_head()

    def data_received(self, data: bytes) -> None:
        """They said something."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._watch_head()
        else:
            self._forget_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """They left."""
        self._forget_head()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """They were answered."""
        self._forget_head()
        super().on_response_complete()

    def _watch_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.head_seconds, self.transport.close)

    def _forget_head(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def bounded_protocol(*, max_connections: int, head_seconds: float) -> type[BoundedProtocol]:
    """The protocol with these bounds: uvicorn takes a class, and makes an instance a connection."""
    bounds = {"max_connections": max_connections, "head_seconds": head_seconds}
    return type("ServiceProtocol", (BoundedProtocol,), bounds)
