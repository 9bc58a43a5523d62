"""Operations on configured clusters: `/inventories/clusters` and below."""

from collections.abc import Callable
from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.api.auth import Guard
from orchestrator.api.bodies import check_content_type, read_body, read_model
from orchestrator.api.responses import JsonResponse, no_content
from orchestrator.api.routing import Call, Operation, resource
from orchestrator.api.schemas import (
    MASK,
    InventoryCluster,
    InventoryClusterBody,
    InventoryClusterStatus,
    InventoryRun,
)
from orchestrator.catalog.clusters import ClusterCatalog
from orchestrator.model.cluster import INVENTORY_TYPE
from orchestrator.model.fields import InvalidField
from orchestrator.model.run import Run

MAX_BODY_BYTES: Final = 1024 * 1024
MAX_WAIT_SECONDS: Final = 50
MAX_RUNS: Final = 1_000
DEFAULT_RUNS: Final = 20


class ClusterRoutes:
    """The clusters of the caller's account.

    `stopping` says that the service is about to stop: a `sync` that waits then answers at once.
    """

    def __init__(self, catalog: ClusterCatalog, *, stopping: Callable[[], bool]) -> None:
        self._catalog = catalog
        self._stopping = stopping

    def routes(self, guard: Guard) -> list[Route]:
        """Their routes."""
        clusters = "/inventories/clusters"
        one = clusters + "/{cluster_name}"
        return [
            *resource(
                guard,
                clusters,
                {"GET": Operation(self.list_all, frozenset({"inventory_type"})), "POST": Operation(self.add)},
            ),
            *resource(
                guard,
                one,
                {"GET": Operation(self.get), "PUT": Operation(self.replace), "DELETE": Operation(self.delete)},
            ),
            *resource(guard, one + "/status", {"GET": Operation(self.status)}),
            *resource(guard, one + "/runs", {"GET": Operation(self.runs, frozenset({"limit"}))}),
            *resource(guard, one + "/sync", {"POST": Operation(self.sync, frozenset({"wait"}))}),
        ]

    async def list_all(self, call: Call) -> Response:
        """Every configured cluster, by name."""
        views = await self._catalog.list_all(call.caller, inventory_type=inventory_type(call))
        return JsonResponse([InventoryCluster.of(view).model_dump() for view in views])

    async def add(self, call: Call) -> Response:
        """Store a new cluster: 200 with it, as the original; 409 when there is one of that name."""
        body = await read_model(call.request, InventoryClusterBody, limit=MAX_BODY_BYTES)
        if body.keeps_credential:
            raise InvalidField("cluster_config.credential", f"{MASK} stands for a stored credential; there is none yet")
        view = await self._catalog.add(call.caller, body.to_config(None))
        return JsonResponse(InventoryCluster.of(view).model_dump())

    async def get(self, call: Call) -> Response:
        """One cluster."""
        return JsonResponse(InventoryCluster.of(await self._catalog.get(call.caller, call.cluster_name)).model_dump())

    async def replace(self, call: Call) -> Response:
        """Put another config in the place of the stored one; the mask keeps the stored credential."""
        body = await read_model(call.request, InventoryClusterBody, limit=MAX_BODY_BYTES)
        config = body.to_config(call.cluster_name)
        view = await self._catalog.replace(call.caller, config, keep_credential=body.keeps_credential)
        return JsonResponse(InventoryCluster.of(view).model_dump())

    async def delete(self, call: Call) -> Response:
        """Stop looking at a cluster."""
        await self._catalog.delete(call.caller, call.cluster_name)
        return no_content()

    async def status(self, call: Call) -> Response:
        """How far the cluster's inventory can be trusted, and what is wrong with it."""
        status = await self._catalog.status(call.caller, call.cluster_name)
        return JsonResponse(InventoryClusterStatus.of(status).model_dump())

    async def runs(self, call: Call) -> Response:
        """The newest `limit` looks, newest first."""
        limit = call.query.number("limit", low=1, high=MAX_RUNS) or DEFAULT_RUNS
        runs = await self._catalog.runs(call.caller, call.cluster_name, limit=limit)
        return JsonResponse([InventoryRun.of(run).model_dump() for run in runs])

    async def sync(self, call: Call) -> Response:
        """Look now: 200 with the run when it ended within `wait` seconds, else 202 with it as it is."""
        seconds = call.query.number("wait", low=0, high=MAX_WAIT_SECONDS) or 0
        if await read_body(call.request, limit=MAX_BODY_BYTES):
            check_content_type(call.request)
        run = await self._catalog.request_look(call.caller, call.cluster_name)
        run = await self._wait(call, run, seconds)
        return JsonResponse(InventoryRun.of(run).model_dump(), 200 if run.result.state.ended else 202)

    async def _wait(self, call: Call, run: Run, seconds: float) -> Run:
        """Wait for the run's end, but not for a client that has left."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_left, call.request, tasks.cancel_scope)
            run = await self._catalog.wait_for_end(call.caller, run, seconds=seconds, stopping=self._stopping)
            tasks.cancel_scope.cancel()
        return run


async def _cancel_when_left(request: Request, scope: anyio.CancelScope) -> None:
    # The body has been read: all that can still come is the end of the connection.
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def inventory_type(call: Call) -> str | None:
    """The filter of that name. Raises InvalidField for a type that the API does not know."""
    value = call.query.text("inventory_type")
    if value not in (None, INVENTORY_TYPE):
        raise InvalidField("inventory_type", f"expected {INVENTORY_TYPE}")
    return value
