"""Taking reports: `POST /inventories`, which is what kai's agents do.

kai up to 0.5.0 takes anything but a final 200 for a failure, gives up after 10 seconds, and reads no answer. The
headers are a receipt for those who do:

    X-Inventory-Run-Id       the run in the history of the cluster
    X-Inventory-Run-State    succeeded; late: older than what was reported before, nothing changed; failed: it proves
                             nothing (the API server told no version), nothing changed
    X-Inventory-Namespaces, X-Inventory-Images     how many the report holds
    X-Inventory-Left-Out     image entries that could not be taken
"""

from typing import Final

import anyio.to_thread
from starlette.responses import Response

from orchestrator.api.bodies import check_content_type, read_body
from orchestrator.api.errors import RUN_ID_HEADER
from orchestrator.api.inventories import render_items
from orchestrator.api.responses import COMMON_HEADERS
from orchestrator.api.routing import Call, Operation
from orchestrator.catalog.reports import Receipt, ReportCatalog

# A hundred thousand images take some 15 MiB.
MAX_REPORT_BYTES: Final = 64 * 1024 * 1024


class ReportRoutes:
    """Reports into the caller's account."""

    def __init__(self, catalog: ReportCatalog) -> None:
        self._catalog = catalog

    def operation(self) -> Operation:
        """What `POST` does."""
        return Operation(self.take, frozenset({"cluster_name"}))

    async def take(self, call: Call) -> Response:
        """Take a report in: 200 with the items of the namespaces that it names."""
        check_content_type(call.request)
        body = await read_body(call.request, limit=MAX_REPORT_BYTES)
        receipt = await self._catalog.take(call.caller, body, cluster_name=call.query.text("cluster_name"))
        items = await anyio.to_thread.run_sync(render_items, receipt.items)
        return Response(b"[" + items + b"]", 200, {**COMMON_HEADERS, **_receipt(receipt)}, "application/json")


def _receipt(receipt: Receipt) -> dict[str, str]:
    result = receipt.result
    return {
        RUN_ID_HEADER: str(receipt.run_id),
        "X-Inventory-Run-State": result.state.value,
        "X-Inventory-Namespaces": str(result.namespaces or 0),
        "X-Inventory-Images": str(result.images or 0),
        "X-Inventory-Left-Out": str(result.left_out or 0),
    }
