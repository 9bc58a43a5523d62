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
from orchestrator.store.freshness import Freshness, freshness
from orchestrator.store.listing import Item, ItemFilter, Position

__all__ = ["Answer", "Freshness", "InventoryCatalog", "Item", "ItemFilter", "Position"]

PAGE_ITEMS: Final = 10_000


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
        """The first items after a position, and how fresh they are.

        With a `limit` they are the page, and `next` is None when it is the last one. Without, they are as many as
        are read at a time, and `rest` gives the others.
        """

        def unit() -> Answer:
            now = self._db.now()
            fresh = freshness(
                self._db, caller.account.id, wanted, retention=self._retention, interval=self._interval, now=now
            )
            if limit is None:
                return Answer(now, fresh, *self._part(caller, wanted, now, after))
            items = self._read(caller, wanted, now, after, limit + 1)
            return Answer(now, fresh, items[:limit], _position(items[limit - 1]) if len(items) > limit else None)

        return await self._db.read(unit)

    async def rest(self, caller: Caller, wanted: ItemFilter, begun: Answer) -> AsyncIterator[list[Item]]:
        """What follows an answer's first items, in parts; the last may be empty. No transaction is open between two."""
        position = begun.next
        while position is not None:
            items, position = await self._db.read(partial(self._part, caller, wanted, begun.now, position))
            yield items

    def _part(
        self, caller: Caller, wanted: ItemFilter, now: Instant, after: Position | None
    ) -> tuple[list[Item], Position | None]:
        # No looking ahead for a next part: the one item more would cost the sorting of a whole context again.
        items = self._read(caller, wanted, now, after, self._page_items)
        return items, _position(items[-1]) if len(items) == self._page_items else None

    def _read(self, caller: Caller, wanted: ItemFilter, now: Instant, after: Position | None, limit: int) -> list[Item]:
        return listing.read_page(
            self._db, caller.account.id, wanted, retention=self._retention, now=now, after=after, limit=limit
        )


def _position(item: Item) -> Position:
    return Position(item.context, item.image_tag, item.image_digest)
