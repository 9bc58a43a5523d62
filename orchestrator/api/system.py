"""Probes, for machines without a password: is it alive, is it ready, which version is it."""

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.errors import KNOWN_REFUSALS, ApiError, unavailable
from orchestrator.api.responses import JsonResponse
from orchestrator.api.routing import OpenOperation, Resource, Success, open_resource
from orchestrator.api.schemas import ServiceState, Versions
from orchestrator.catalog.system import DatabaseUnavailable, System

API_VERSION: Final = "0.1.1"
"""Of the original's API description, which is the one that is served."""

_TAG: Final = "system"


class SystemRoutes:
    """`loop_alive` says whether the collector's loop of this process still turns."""

    def __init__(self, system: System, *, service_version: str, loop_alive: Callable[[], bool]) -> None:
        self._system = system
        self._service_version = service_version
        self._loop_alive = loop_alive

    def resources(self) -> list[Resource]:
        """Their paths, which need no password."""
        fine = (Success(200, "It does its work", ServiceState),)
        health = OpenOperation(
            handler=self.health, operation_id="get_health", answers=fine, refusals=(_loop_not_running(),)
        )
        ready = OpenOperation(
            handler=self.ready,
            operation_id="get_readiness",
            answers=fine,
            refusals=(_loop_not_running(), KNOWN_REFUSALS[DatabaseUnavailable]),
        )
        version = OpenOperation(
            handler=self.version, operation_id="get_version", answers=(Success(200, "The versions", Versions),)
        )
        return [
            open_resource(_TAG, "/health", health),
            open_resource(_TAG, "/ready", ready),
            open_resource(_TAG, "/version", version),
        ]

    async def health(self, _request: Request) -> Response:
        """Is the process alive

        200 while this process and the loop that looks at clusters do their work, whatever the database does.
        """
        if not self._loop_alive():
            raise _loop_not_running()
        return JsonResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """Can requests be served

        200 while the process is alive, as `/health` says, and the database answers.
        """
        if not self._loop_alive():
            raise _loop_not_running()
        await self._system.ping()
        return JsonResponse({"status": "ok"})

    async def version(self, _request: Request) -> Response:
        """Which version runs

        The versions of the service, of its API, and of the database's schema.
        """
        return JsonResponse(
            {
                "service": {"version": self._service_version},
                "api": {"version": API_VERSION},
                "db": {"schema_version": self._system.schema_version},
            }
        )


def _loop_not_running() -> ApiError:
    return unavailable("loop_not_running", "The loop that looks at clusters does not run")
