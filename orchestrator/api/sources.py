"""Operations on all that reports, embedded or external: its status, its history, and removing inventory on purpose."""

from typing import Final

from starlette.responses import Response
from starlette.routing import Route

from orchestrator.api.auth import Guard
from orchestrator.api.clusters import DEFAULT_RUNS, MAX_RUNS, inventory_type
from orchestrator.api.responses import JsonResponse, no_content
from orchestrator.api.routing import Call, Operation, resource
from orchestrator.api.schemas import InventoryClusterStatus, InventoryRun
from orchestrator.catalog.inventory import ItemFilter
from orchestrator.catalog.sources import SourceCatalog
from orchestrator.model.fields import InvalidField

REMOVED_HEADER: Final = "X-Inventory-Removed"


class SourceRoutes:
    """The sources of the caller's account."""

    def __init__(self, catalog: SourceCatalog) -> None:
        self._catalog = catalog

    def routes(self, guard: Guard) -> list[Route]:
        """The routes below `/inventories`."""
        return [
            *resource(guard, "/inventories/status", {"GET": Operation(self.statuses)}),
            *resource(guard, "/inventories/runs", {"GET": Operation(self.runs, frozenset({"cluster_name", "limit"}))}),
        ]

    def removal(self) -> Operation:
        """What `DELETE /inventories` does."""
        return Operation(self.remove, frozenset({"inventory_type", "context", "image_digest"}))

    async def statuses(self, call: Call) -> Response:
        """The status of every source, by its cluster's name."""
        statuses = await self._catalog.statuses(call.caller)
        return JsonResponse([InventoryClusterStatus.of(status).model_dump() for status in statuses])

    async def runs(self, call: Call) -> Response:
        """The newest looks and posted reports, newest first; also those that were refused."""
        limit = call.query.number("limit", low=1, high=MAX_RUNS) or DEFAULT_RUNS
        runs = await self._catalog.runs(call.caller, cluster_name=call.query.text("cluster_name"), limit=limit)
        return JsonResponse([InventoryRun.of(run).model_dump() for run in runs])

    async def remove(self, call: Call) -> Response:
        """Remove items of a context or of an image: 204, and how many in a header. What still runs comes back."""
        wanted = ItemFilter(
            inventory_type=inventory_type(call),
            context=call.query.text("context"),
            image_digest=call.query.text("image_digest"),
        )
        if wanted.context is None and wanted.image_digest is None:
            raise InvalidField("context", "expected context or image_digest, or both: nothing is removed wholesale")
        removed = await self._catalog.remove(call.caller, wanted)
        response = no_content()
        response.headers[REMOVED_HEADER] = str(removed)
        return response
