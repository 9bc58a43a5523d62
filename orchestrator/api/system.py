"""Probes, for machines without a password: is it alive, is it ready, which version is it."""

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.api.errors import unavailable
from orchestrator.api.responses import JsonResponse
from orchestrator.catalog.system import System

API_VERSION: Final = "0.1.1"
"""Of the original's API description, which is the one that is served."""


class SystemRoutes:
    """`loop_alive` says whether the collector's loop of this process still turns."""

    def __init__(self, system: System, *, service_version: str, loop_alive: Callable[[], bool]) -> None:
        self._system = system
        self._service_version = service_version
        self._loop_alive = loop_alive

    def routes(self) -> list[Route]:
        """Their routes, which need no password."""
        return [
            Route("/health", self.health),
            Route("/ready", self.ready),
            Route("/version", self.version),
        ]

    async def health(self, _request: Request) -> Response:
        """200 while this process and its loop do their work, whatever the database does."""
        if not self._loop_alive():
            raise unavailable("loop_not_running", "The loop that looks at clusters does not run")
        return JsonResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """200 while requests can be served: as `/health`, and the database answers."""
        if not self._loop_alive():
            raise unavailable("loop_not_running", "The loop that looks at clusters does not run")
        await self._system.ping()
        return JsonResponse({"status": "ok"})

    async def version(self, _request: Request) -> Response:
        """What the service, its API and its schema are."""
        return JsonResponse(
            {
                "service": {"version": self._service_version},
                "api": {"version": API_VERSION},
                "db": {"schema_version": self._system.schema_version},
            }
        )
