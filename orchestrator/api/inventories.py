"""Reading the inventory: `GET /inventories`.

The body is a bare array, sorted by context, tag and digest. With `limit` it is one page, and
`Link: <...>; rel="next"` leads to the next one while there is one. Without, everything is streamed. Headers say how
far the answer can be trusted.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Final
from urllib.parse import urlencode

import anyio.to_thread
import orjson
from starlette.responses import Response, StreamingResponse

from orchestrator.api.cursors import make_cursor, read_cursor
from orchestrator.api.parameters import CONTEXT, IMAGE_DIGEST, INVENTORY_TYPE_FILTER
from orchestrator.api.query import BooleanParameter, NumberParameter, QueryParameter, TextParameter
from orchestrator.api.responses import COMMON_HEADERS
from orchestrator.api.routing import Call, Header, Operation, Success
from orchestrator.api.schemas import InventoryItem
from orchestrator.catalog.inventory import Answer, InventoryCatalog, Item, ItemFilter
from orchestrator.model.instant import SECOND, format_instant

MAX_LIMIT: Final = 10_000

_AGE: Final = Header(
    "X-Inventory-Age-Seconds",
    "Since the oldest of the newest good looks at the configured clusters that the answer covers; absent while none "
    "of them has been seen",
    73,
    always=False,
)
_UNHEALTHY: Final = Header("X-Inventory-Unhealthy-Clusters", "How many of those clusters are not healthy", 0)
_LINK: Final = Header(
    "Link",
    'With `limit`, where the next page is, as `<...>; rel="next"`; absent on the last one',
    '</v1/enterprise/inventories?limit=1000&cursor=AY4x>; rel="next"',
    always=False,
)

_CLUSTER_NAME: Final = TextParameter(name="cluster_name", description="Only what is in this cluster.", example="prod")
_NAMESPACE: Final = TextParameter(
    name="namespace", description="Only what is in namespaces of this name.", example="web"
)
_IMAGE_TAG: Final = TextParameter(
    name="image_tag", description="Only this image, exactly as the cluster names it.", example="nginx:1.25"
)
_PRESENT: Final = BooleanParameter(
    name="present",
    description="`true`: only what runs now; `false`: only what waits for its time-to-live.",
    example=True,
)
_LIMIT: Final = NumberParameter(
    name="limit", description="How many at most; everything unless given.", example=1000, low=1, high=MAX_LIMIT
)
_CURSOR: Final = TextParameter(
    name="cursor", description="Where the page begins: from the `Link` of the page before.", example="AY4x"
)

FILTERS: Final[tuple[QueryParameter, ...]] = (
    INVENTORY_TYPE_FILTER,
    IMAGE_DIGEST,
    CONTEXT,
    _CLUSTER_NAME,
    _NAMESPACE,
    _IMAGE_TAG,
    _PRESENT,
)
_FILTER_NAMES: Final = frozenset(each.name for each in FILTERS)


class InventoryRoutes:
    """The inventory of the caller's account."""

    def __init__(self, catalog: InventoryCatalog) -> None:
        self._catalog = catalog

    def operation(self) -> Operation:
        """What `GET` does."""
        return Operation(
            handler=self.list_items,
            operation_id="get_image_inventory",
            answers=(
                Success(
                    200,
                    "The images, sorted by context, tag and digest",
                    list[InventoryItem],
                    headers=(_UNHEALTHY, _AGE, _LINK),
                ),
            ),
            parameters=(*FILTERS, _LIMIT, _CURSOR),
        )

    async def list_items(self, call: Call) -> Response:
        """List the images in use

        Every image of every namespace and cluster of the account, as far as the filters let it through; they are
        exact, and may be combined. All of it is streamed, unless `limit` is given: then the `Link` header leads on.
        """
        wanted = _filter(call)
        given = {name: value for name, value in call.query.values.items() if name in _FILTER_NAMES}
        limit = _LIMIT.read(call.query)
        cursor = _CURSOR.read(call.query)
        after = None if cursor is None else read_cursor(cursor, given)
        # The first page is read before the answer begins, so that what goes wrong so far still gets its own status.
        answer = await self._catalog.begin(call.caller, wanted, after=after, limit=limit)
        headers = {**COMMON_HEADERS, **_freshness_headers(answer)}
        if limit is None:
            return StreamingResponse(self._everything(call, wanted, answer), 200, headers, "application/json")
        if answer.next is not None:
            query = urlencode({**given, "limit": limit, "cursor": make_cursor(answer.next, given)})
            headers[_LINK.name] = f'<{call.request.scope["path"]}?{query}>; rel="next"'
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
        inventory_type=INVENTORY_TYPE_FILTER.read(query),
        context=CONTEXT.read(query),
        cluster_name=_CLUSTER_NAME.read(query),
        namespace=_NAMESPACE.read(query),
        image_tag=_IMAGE_TAG.read(query),
        image_digest=IMAGE_DIGEST.read(query),
        present=_PRESENT.read(query),
    )


def _freshness_headers(answer: Answer) -> dict[str, str]:
    headers = {_UNHEALTHY.name: str(answer.freshness.unhealthy)}
    if answer.age is not None:
        headers[_AGE.name] = str(answer.age // SECOND)
    return headers
