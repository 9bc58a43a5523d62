"""Reading the inventory: `GET /inventories`.

The body is a bare array, sorted by context, tag and digest. With `limit` it is one page, and
`Link: <...>; rel="next"` leads to the next one while there is one. Without, everything is streamed. Headers say how
far the answer can be trusted:

    X-Inventory-Age-Seconds         since the oldest of the newest good looks at the configured clusters that the
                                    answer covers; absent while none of them has been seen
    X-Inventory-Unhealthy-Clusters  how many of those clusters are not healthy
"""

from collections.abc import AsyncIterator, Iterable
from typing import Final
from urllib.parse import urlencode

import anyio.to_thread
import orjson
from starlette.responses import Response, StreamingResponse

from orchestrator.api.clusters import inventory_type
from orchestrator.api.cursors import make_cursor, read_cursor
from orchestrator.api.responses import COMMON_HEADERS
from orchestrator.api.routing import Call, Operation
from orchestrator.catalog.inventory import Answer, InventoryCatalog, Item, ItemFilter
from orchestrator.model.instant import SECOND, format_instant

AGE_HEADER: Final = "X-Inventory-Age-Seconds"
UNHEALTHY_HEADER: Final = "X-Inventory-Unhealthy-Clusters"

MAX_LIMIT: Final = 10_000

FILTERS: Final = frozenset(
    {"inventory_type", "context", "cluster_name", "namespace", "image_tag", "image_digest", "present"}
)


class InventoryRoutes:
    """The inventory of the caller's account."""

    def __init__(self, catalog: InventoryCatalog) -> None:
        self._catalog = catalog

    def operation(self) -> Operation:
        """What `GET` does."""
        return Operation(self.list_items, FILTERS | {"limit", "cursor"})

    async def list_items(self, call: Call) -> Response:
        """The images in use, as far as the filters let them through."""
        wanted = _filter(call)
        given = {name: value for name, value in call.query.values.items() if name in FILTERS}
        limit = call.query.number("limit", low=1, high=MAX_LIMIT)
        cursor = call.query.text("cursor")
        after = None if cursor is None else read_cursor(cursor, given)
        # The first page is read before the answer begins, so that what goes wrong so far still gets its own status.
        answer = await self._catalog.begin(call.caller, wanted, after=after, limit=limit)
        headers = {**COMMON_HEADERS, **_freshness_headers(answer)}
        if limit is None:
            return StreamingResponse(self._everything(call, wanted, answer), 200, headers, "application/json")
        if answer.next is not None:
            query = urlencode({**given, "limit": limit, "cursor": make_cursor(answer.next, given)})
            headers["Link"] = f'<{call.request.scope["path"]}?{query}>; rel="next"'
        body = await anyio.to_thread.run_sync(render_items, answer.items)
        return Response(b"[" + body + b"]", 200, headers, "application/json")

    async def _everything(self, call: Call, wanted: ItemFilter, answer: Answer) -> AsyncIterator[bytes]:
        if call.request.method == "HEAD":
            return
        yield b"[" + await anyio.to_thread.run_sync(render_items, answer.items)
        async for items in self._catalog.rest(call.caller, wanted, answer):
            if items:
                yield b"," + await anyio.to_thread.run_sync(render_items, items)
        # Only now: what failed on the way has broken the connection, and must not look like a whole answer.
        yield b"]"


def render_items(items: Iterable[Item]) -> bytes:
    """The items as JSON objects with commas between, without the array's brackets."""
    return orjson.dumps([_wire(item) for item in items])[1:-1]


def _wire(item: Item) -> dict[str, object]:
    # Unpacked at once: attribute by attribute, a million items take half a second longer.
    kind, context, cluster_name, namespace, image_tag, image_digest, created_at, last_seen, present = item
    seen = format_instant(last_seen)
    return {
        "inventory_type": kind,
        "context": context,
        "cluster_name": cluster_name,
        "namespace": namespace,
        "image_tag": image_tag,
        "image_digest": image_digest,
        "created_at": format_instant(created_at),
        "last_updated": seen,
        "last_seen": seen,
        "present": present,
    }


def _filter(call: Call) -> ItemFilter:
    query = call.query
    return ItemFilter(
        inventory_type=inventory_type(call),
        context=query.text("context"),
        cluster_name=query.text("cluster_name"),
        namespace=query.text("namespace"),
        image_tag=query.text("image_tag"),
        image_digest=query.text("image_digest"),
        present=query.boolean("present"),
    )


def _freshness_headers(answer: Answer) -> dict[str, str]:
    headers = {UNHEALTHY_HEADER: str(answer.freshness.unhealthy)}
    if answer.age is not None:
        headers[AGE_HEADER] = str(answer.age // SECOND)
    return headers
