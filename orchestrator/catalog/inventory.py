"""Reading the inventory: in pages, or all of it without ever holding more than a page of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from orchestrator.catalog.access import Caller
from orchestrator.model.instant import Instant
from orchestrator.model.retention import Retention
from orchestrator.store import listing
from orchestrator.store.database import Database
from orchestrator.store.listing import Freshness, Item, ItemFilter, Position

__all__ = ["Answer", "Freshness", "InventoryCatalog", "Item", "ItemFilter", "Position"]

PAGE_ITEMS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Answer:
    """The first items of an answer, and where it goes on: None at its end. `now` is the instant it speaks of."""

    now: Instant
    freshness: Freshness
    items: list[Item]
    next: Position | None

    @property
    def age(self) -> int | None:
        """Microseconds since the oldest of the newest good looks of the clusters covered; None without one."""
        oldest = self.freshness.oldest_success_at
        return None if oldest is None else max(self.now - oldest, 0)


class InventoryCatalog:
    """The inventory of the caller's account. Every method raises DatabaseUnavailable."""

    def __init__(self, db: Database, *, retention: Retention, interval: int, page_items: int = PAGE_ITEMS) -> None:
        """`interval` is from look to look in microseconds; `page_items` are read at a time where all are wanted."""
        self._db = db
        self._retention = retention
        self._interval = interval
        self._page_items = page_items

    async def begin(
        self, caller: Caller, wanted: ItemFilter, *, after: Position | None = None, limit: int | None = None
    ) -> Answer:
        """The first `limit` items after a position (default: as many as are read at a time), and how fresh they are."""
        size = limit or self._page_items

        def unit() -> Answer:
            now = self._db.now()
            freshness = listing.freshness(self._db, caller.account.id, wanted, interval=self._interval, now=now)
            return Answer(now, freshness, *self._page(caller, wanted, now, after, size))

        return await self._db.read(unit)

    async def rest(self, caller: Caller, wanted: ItemFilter, begun: Answer) -> AsyncIterator[list[Item]]:
        """The pages that follow an answer's first. No transaction is open between two of them."""
        position = begun.next
        while position is not None:
            unit = partial(self._page, caller, wanted, begun.now, position, self._page_items)
            items, position = await self._db.read(unit)
            yield items

    def _page(
        self, caller: Caller, wanted: ItemFilter, now: Instant, after: Position | None, size: int
    ) -> tuple[list[Item], Position | None]:
        items = listing.read_page(
            self._db,
            caller.account.id,
            wanted,
            retention=self._retention,
            now=now,
            after=after,
            # One more than wanted tells whether there is a next page.
            limit=size + 1,
        )
        if len(items) <= size:
            return items, None
        last = items[size - 1]
        return items[:size], Position(last.context, last.image_tag, last.image_digest)
