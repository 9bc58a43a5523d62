"""Operations on configured clusters: `/inventories/clusters` and below."""

from collections.abc import Callable
from typing import Any, Final

import anyio
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.auth import Guard
from orchestrator.api.bodies import check_content_type, read_body, read_model
from orchestrator.api.errors import KNOWN_REFUSALS
from orchestrator.api.parameters import DEFAULT_RUNS, INVENTORY_TYPE_FILTER, RUNS_LIMIT
from orchestrator.api.query import NumberParameter
from orchestrator.api.responses import JsonResponse, no_content
from orchestrator.api.routing import Body, Call, Operation, Resource, Success, resource
from orchestrator.api.run_schemas import InventoryClusterStatus, InventoryRun
from orchestrator.api.schemas import MASK, InventoryCluster, InventoryClusterBody
from orchestrator.catalog.clusters import ClusterCatalog, ClusterExists
from orchestrator.model.fields import InvalidField
from orchestrator.model.run import Run

MAX_BODY_BYTES: Final = 1024 * 1024
MAX_WAIT_SECONDS: Final = 50

_TAG: Final = "clusters"
_CLUSTER_BODY: Final = Body(InventoryClusterBody, MAX_BODY_BYTES)
_WAIT: Final = NumberParameter(
    name="wait",
    description="How many seconds to wait for the look's end; not at all unless given.",
    example=20,
    low=0,
    high=MAX_WAIT_SECONDS,
)


class ClusterRoutes:
    """The clusters of the caller's account.

    `stopping` says that the service is about to stop: a `sync` that waits then answers at once.
    """

    def __init__(self, catalog: ClusterCatalog, *, stopping: Callable[[], bool]) -> None:
        self._catalog = catalog
        self._stopping = stopping

    def resources(self, guard: Guard) -> list[Resource]:
        """Their paths. The original's six operations keep the ids that it gave them."""
        one = "/inventories/clusters/{cluster_name}"
        return [
            resource(guard, _TAG, "/inventories/clusters", {"GET": self._list_all(), "POST": self._add()}),
            resource(guard, _TAG, one, {"GET": self._get(), "PUT": self._replace(), "DELETE": self._delete()}),
            resource(guard, _TAG, one + "/status", {"GET": self._status()}),
            resource(guard, _TAG, one + "/runs", {"GET": self._runs()}),
            resource(guard, _TAG, one + "/sync", {"POST": self._sync()}),
        ]

    def _list_all(self) -> Operation:
        return Operation(
            handler=self.list_all,
            operation_id="list_inventory_clusters",
            answers=(Success(200, "The clusters, sorted by name", list[InventoryCluster]),),
            parameters=(INVENTORY_TYPE_FILTER,),
        )

    async def list_all(self, call: Call) -> Response:
        """List the configured clusters

        Every cluster of the account that this service looks at, sorted by name. Credentials are masked.
        """
        views = await self._catalog.list_all(call.caller, inventory_type=INVENTORY_TYPE_FILTER.read(call.query))
        return JsonResponse([InventoryCluster.of(view).model_dump() for view in views])

    def _add(self) -> Operation:
        return Operation(
            handler=self.add,
            operation_id="add_inventory_cluster",
            answers=(Success(200, "The cluster, as it is stored", InventoryCluster),),
            body=_CLUSTER_BODY,
            refusals=(KNOWN_REFUSALS[ClusterExists],),
        )

    async def add(self, call: Call) -> Response:
        """Add a cluster

        Stores a new cluster, which is looked at right away, and answers 200 with it. What about it will not work (a
        certificate that is no PEM, an expired token) is told in its `warnings`. The credential is sealed, and never
        given back.
        """
        body = await read_model(call.request, InventoryClusterBody, limit=MAX_BODY_BYTES)
        if body.keeps_credential:
            raise InvalidField("cluster_config.credential", f"{MASK} stands for a stored credential; there is none yet")
        view = await self._catalog.add(call.caller, body.to_config(None))
        return JsonResponse(InventoryCluster.of(view).model_dump())

    def _get(self) -> Operation:
        return Operation(
            handler=self.get,
            operation_id="get_inventory_cluster_by_name",
            answers=(Success(200, "The cluster", InventoryCluster),),
        )

    async def get(self, call: Call) -> Response:
        """Get a cluster

        One configured cluster. Its credential is masked.
        """
        return JsonResponse(InventoryCluster.of(await self._catalog.get(call.caller, call.cluster_name)).model_dump())

    def _replace(self) -> Operation:
        return Operation(
            handler=self.replace,
            operation_id="replace_inventory_cluster_by_name",
            answers=(Success(200, "The cluster, as it is stored now", InventoryCluster),),
            body=_CLUSTER_BODY,
        )

    async def replace(self, call: Call) -> Response:
        """Replace a cluster

        Puts another config in the place of the stored one; the cluster is looked at right away. The credential
        `"******"` keeps the stored one, but only with the same server, certificates and credential type.
        """
        body = await read_model(call.request, InventoryClusterBody, limit=MAX_BODY_BYTES)
        config = body.to_config(call.cluster_name)
        view = await self._catalog.replace(call.caller, config, keep_credential=body.keeps_credential)
        return JsonResponse(InventoryCluster.of(view).model_dump())

    def _delete(self) -> Operation:
        return Operation(
            handler=self.delete,
            operation_id="del_inventory_cluster_by_name",
            answers=(Success(204, "The cluster is no longer looked at"),),
        )

    async def delete(self, call: Call) -> Response:
        """Delete a cluster

        Nobody looks at it any more. Its images are no longer present, and leave the inventory by their time-to-live.
        """
        await self._catalog.delete(call.caller, call.cluster_name)
        return no_content()

    def _status(self) -> Operation:
        return Operation(
            handler=self.status,
            operation_id="get_inventory_cluster_status",
            answers=(Success(200, "The status", InventoryClusterStatus),),
        )

    async def status(self, call: Call) -> Response:
        """Get the status of a cluster

        How far its inventory can be trusted, how old it is, what is wrong with it, and what to do about that.
        """
        status = await self._catalog.status(call.caller, call.cluster_name)
        return JsonResponse(InventoryClusterStatus.of(status).model_dump())

    def _runs(self) -> Operation:
        return Operation(
            handler=self.runs,
            operation_id="list_inventory_cluster_runs",
            answers=(Success(200, "The runs, newest first", list[InventoryRun]),),
            parameters=(RUNS_LIMIT,),
        )

    async def runs(self, call: Call) -> Response:
        """List the newest looks at a cluster

        What each look came to, newest first: when, how long, how many images, or why it failed, in plain words.
        """
        limit = RUNS_LIMIT.read(call.query) or DEFAULT_RUNS
        runs = await self._catalog.runs(call.caller, call.cluster_name, limit=limit)
        return JsonResponse([InventoryRun.of(run).model_dump() for run in runs])

    def _sync(self) -> Operation:
        return Operation(
            handler=self.sync,
            operation_id="sync_inventory_cluster",
            answers=(
                Success(200, "The run, which has ended", InventoryRun),
                Success(202, "The run, which has not ended yet: GET .../runs tells how it ends", InventoryRun),
            ),
            parameters=(_WAIT,),
            body=Body(dict[str, Any], MAX_BODY_BYTES, required=False),
        )

    async def sync(self, call: Call) -> Response:
        """Look at a cluster now

        Has the cluster looked at right away: 200 with the run when it ended within `wait` seconds, else 202 with the
        run as it is so far. A body is not needed; one that is sent is ignored, but has to be JSON.
        """
        seconds = _WAIT.read(call.query) or 0
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
