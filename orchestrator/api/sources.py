"""Operations on all that reports, embedded or external: its status, its history, and removing inventory on purpose."""

from typing import Final

from starlette.responses import Response

from orchestrator.api.auth import Guard
from orchestrator.api.parameters import CONTEXT, DEFAULT_RUNS, IMAGE_DIGEST, INVENTORY_TYPE_FILTER, RUNS_LIMIT
from orchestrator.api.query import TextParameter
from orchestrator.api.responses import JsonResponse, no_content
from orchestrator.api.routing import Call, Header, Operation, Resource, Success, resource
from orchestrator.api.run_schemas import InventoryClusterStatus, InventoryRun
from orchestrator.catalog.inventory import ItemFilter
from orchestrator.catalog.sources import SourceCatalog
from orchestrator.model.fields import InvalidField

REMOVED_HEADER: Final = "X-Inventory-Removed"

_TAG: Final = "inventory"
_CLUSTER_NAME: Final = TextParameter(name="cluster_name", description="Only runs about this cluster.", example="prod")


class SourceRoutes:
    """The sources of the caller's account."""

    def __init__(self, catalog: SourceCatalog) -> None:
        self._catalog = catalog

    def resources(self, guard: Guard) -> list[Resource]:
        """The paths below `/inventories`."""
        return [
            resource(guard, _TAG, "/inventories/status", {"GET": self._statuses()}),
            resource(guard, _TAG, "/inventories/runs", {"GET": self._runs()}),
        ]

    def removal(self) -> Operation:
        """What `DELETE /inventories` does."""
        removed = Header(REMOVED_HEADER, "How many items were removed", 3)
        return Operation(
            handler=self.remove,
            operation_id="remove_image_inventory",
            answers=(Success(204, "What was asked for is removed", headers=(removed,)),),
            parameters=(INVENTORY_TYPE_FILTER, CONTEXT, IMAGE_DIGEST),
        )

    def _statuses(self) -> Operation:
        return Operation(
            handler=self.statuses,
            operation_id="list_inventory_statuses",
            answers=(Success(200, "The statuses, sorted by the cluster's name", list[InventoryClusterStatus]),),
        )

    async def statuses(self, call: Call) -> Response:
        """List the status of everything that reports

        Every source of the account, embedded or external, by its cluster's name: how old its newest good report is, and
        what is wrong with it. An agent that stops is `stale` after three of its own usual intervals.
        """
        statuses = await self._catalog.statuses(call.caller)
        return JsonResponse([InventoryClusterStatus.of(status).model_dump() for status in statuses])

    def _runs(self) -> Operation:
        return Operation(
            handler=self.runs,
            operation_id="list_inventory_runs",
            answers=(Success(200, "The runs, newest first", list[InventoryRun]),),
            parameters=(_CLUSTER_NAME, RUNS_LIMIT),
        )

    async def runs(self, call: Call) -> Response:
        """List the newest looks and posted reports

        The newest of the account, newest first; also those that were refused, and those about deleted clusters.
        """
        limit = RUNS_LIMIT.read(call.query) or DEFAULT_RUNS
        runs = await self._catalog.runs(call.caller, cluster_name=_CLUSTER_NAME.read(call.query), limit=limit)
        return JsonResponse([InventoryRun.of(run).model_dump() for run in runs])

    async def remove(self, call: Call) -> Response:
        """Remove inventory on purpose

        Removes the items of a context, of a digest, or of a digest in a context; one of the two has to be given. What
        still runs comes back with the next report. Who removed what is kept in the audit record.
        """
        wanted = ItemFilter(
            inventory_type=INVENTORY_TYPE_FILTER.read(call.query),
            context=CONTEXT.read(call.query),
            image_digest=IMAGE_DIGEST.read(call.query),
        )
        if wanted.context is None and wanted.image_digest is None:
            raise InvalidField("context", "expected context or image_digest, or both: nothing is removed wholesale")
        removed = await self._catalog.remove(call.caller, wanted)
        response = no_content()
        response.headers[REMOVED_HEADER] = str(removed)
        return response
