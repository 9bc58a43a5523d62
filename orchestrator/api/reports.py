"""Taking reports: `POST /inventories`, which is what kai's agents do.

kai up to 0.5.0 takes anything but a final 200 for a failure, gives up after 10 seconds, and reads no answer. The
headers are a receipt for those who do.
"""

from typing import Final

import anyio.to_thread
from starlette.responses import Response

from orchestrator.api.bodies import check_content_type, read_body
from orchestrator.api.errors import RUN_ID_HEADER, report_refused
from orchestrator.api.inventories import render_items
from orchestrator.api.query import TextParameter
from orchestrator.api.responses import COMMON_HEADERS
from orchestrator.api.routing import Body, Call, Header, Operation, Success
from orchestrator.api.schemas import InventoryItem, InventoryReport
from orchestrator.catalog.reports import Receipt, ReportCatalog, ReportRefused

# A hundred thousand images take some 15 MiB.
MAX_REPORT_BYTES: Final = 64 * 1024 * 1024

_CLUSTER_NAME: Final = TextParameter(
    name="cluster_name",
    description="The cluster, for a report that names none: those that kai 0.2 prints.",
    example="prod",
)
_RUN_ID: Final = Header(RUN_ID_HEADER, "The run in the history", 4711)
_RUN_STATE: Final = Header(
    "X-Inventory-Run-State",
    "`succeeded`; `late`: older than what was reported before, nothing changed; `failed`: it proves nothing (the API "
    "server told no version), nothing changed",
    "succeeded",
)
_NAMESPACES: Final = Header("X-Inventory-Namespaces", "How many namespaces the report names", 12)
_IMAGES: Final = Header("X-Inventory-Images", "How many images the report holds", 140)
_LEFT_OUT: Final = Header("X-Inventory-Left-Out", "Image entries that could not be taken", 0)


class ReportRoutes:
    """Reports into the caller's account."""

    def __init__(self, catalog: ReportCatalog) -> None:
        self._catalog = catalog

    def operation(self) -> Operation:
        """What `POST` does."""
        items = Success(
            200,
            "The report's items; none if it changed nothing",
            list[InventoryItem],
            headers=(_RUN_ID, _RUN_STATE, _NAMESPACES, _IMAGES, _LEFT_OUT),
        )
        return Operation(
            handler=self.take,
            operation_id="sync_image_inventory",
            answers=(items,),
            parameters=(_CLUSTER_NAME,),
            body=Body(InventoryReport, MAX_REPORT_BYTES),
            refusals=(report_refused(ReportRefused("results[2].images", "expected an array of images", 4711)),),
        )

    async def take(self, call: Call) -> Response:
        """Post a report

        What kai's agents do; by hand it is `kai -o json | curl --data-binary @-`. Takes the report into the inventory
        and answers with the items of the namespaces that it names. The headers are a receipt.
        """
        check_content_type(call.request)
        body = await read_body(call.request, limit=MAX_REPORT_BYTES)
        receipt = await self._catalog.take(call.caller, body, cluster_name=_CLUSTER_NAME.read(call.query))
        items = await anyio.to_thread.run_sync(render_items, receipt.items)
        return Response(b"[" + items + b"]", 200, {**COMMON_HEADERS, **_receipt(receipt)}, "application/json")


def _receipt(receipt: Receipt) -> dict[str, str]:
    result = receipt.result
    return {
        _RUN_ID.name: str(receipt.run_id),
        _RUN_STATE.name: result.state.value,
        _NAMESPACES.name: str(result.namespaces or 0),
        _IMAGES.name: str(result.images or 0),
        _LEFT_OUT.name: str(result.left_out or 0),
    }
