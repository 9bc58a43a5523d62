"""How an operation gets its caller and its query: one route a path, with an operation for each method."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.api.auth import Guard
from orchestrator.api.query import Query, parse_query
from orchestrator.catalog.access import Caller

BASES: Final = ("/v1/enterprise", "/enterprise")


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in: by whom, and what it asks for."""

    request: Request
    caller: Caller
    query: Query

    @property
    def cluster_name(self) -> str:
        """The name in the path; only for operations on one cluster."""
        name: str = self.request.path_params["cluster_name"]
        return name


Handler: TypeAlias = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """What a method does at a path, and which query parameters it knows."""

    handler: Handler
    parameters: frozenset[str] = frozenset()


def resource(guard: Guard, path: str, operations: dict[str, Operation]) -> list[Route]:
    """The routes of a path below each of the API's bases. HEAD is answered where GET is."""

    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        operation = operations[method]
        caller = await guard.admit(request)
        return await operation.handler(Call(request, caller, parse_query(request, operation.parameters)))

    return [Route(base + path, endpoint, methods=list(operations)) for base in BASES]
