"""How an operation gets its caller and its query, and what it says about itself.

Routes and the API's description are made from the same `Resource`s: what is not said here is not served, and the
other way round.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.api.auth import Guard
from orchestrator.api.errors import ApiError
from orchestrator.api.query import Query, QueryParameter, parse_query
from orchestrator.catalog.access import Caller

BASES: Final = ("/v1/enterprise", "/enterprise")
AT_ROOT: Final = ("",)


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
OpenHandler: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Body:
    """What an operation takes: JSON of a `shape` (a type that pydantic knows), of at most `limit` bytes."""

    shape: Any
    limit: int
    required: bool = True


@dataclass(frozen=True, slots=True)
class Header:
    """A header of an answer. `always`: whether no such answer comes without it."""

    name: str
    description: str
    example: int | str
    always: bool = True


@dataclass(frozen=True, slots=True)
class Success:
    """An answer that is no refusal: JSON of a `shape` (a type that pydantic knows), or nothing."""

    status: int
    description: str
    shape: Any = None
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    operation_id: str
    answers: tuple[Success, ...]
    refusals: tuple[ApiError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(_Described):
    """What a method does at a path, for who is signed in, and which parameters and body it takes.

    The first paragraph of the handler's docstring is the operation's summary, the rest its description. `refusals`
    are those that only this operation gives: `openapi` knows the others from what the operation takes.
    """

    handler: Handler
    parameters: tuple[QueryParameter, ...] = ()
    body: Body | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOperation(_Described):
    """What GET does at a path, for everybody; described like an `Operation`."""

    handler: OpenHandler


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A path below each of the `bases`, an operation for each of its methods, and the routes that lead to them.

    `tag` is the chapter of the API's description that it belongs to.
    """

    tag: str
    path: str
    operations: Mapping[str, Operation | OpenOperation]
    routes: list[Route]
    bases: tuple[str, ...] = BASES


def resource(guard: Guard, tag: str, path: str, operations: dict[str, Operation]) -> Resource:
    """A path for those who are signed in. HEAD is answered where GET is."""
    known = {
        method: frozenset(parameter.name for parameter in operation.parameters)
        for method, operation in operations.items()
    }

    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        caller = await guard.admit(request)
        return await operations[method].handler(Call(request, caller, parse_query(request, known[method])))

    routes = [Route(base + path, endpoint, methods=list(operations)) for base in BASES]
    return Resource(tag=tag, path=path, operations=operations, routes=routes)


def open_resource(tag: str, path: str, operation: OpenOperation, *, bases: tuple[str, ...] = AT_ROOT) -> Resource:
    """A path that everybody may GET."""
    routes = [Route(base + path, operation.handler) for base in bases]
    return Resource(tag=tag, path=path, operations={"GET": operation}, routes=routes, bases=bases)
