"""A ledger and a looker in memory, so that the loop's own rules are tested without database and children."""

from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.lowlevel

from orchestrator.collector.ledger import left_beside
from orchestrator.model.slots import Room
from orchestrator.store.claims import Claim
from orchestrator.store.database import DatabaseUnavailable


def make_claim(number: int, *, timeouts: int = 0, proven: bool = True) -> Claim:
    """A claim whose cluster, run and number are all told by `number`."""
    return Claim(
        cluster_id=number,
        account_id=1,
        cluster_name=f"cluster-{number}",
        inventory_type="kubernetes",
        number=number,
        generation=1,
        run_id=number,
        row={"run_id": None, "timeouts": timeouts, "last_success_at": 1 if proven else None},
    )


class FakeLedger:
    """Hands out the claims in `due`; `lost` are the runs whose lease is not renewed; `usual` holds the seconds of the
    last good looks, by run; `away` makes every call fail."""

    def __init__(self, due: Sequence[Claim] = ()) -> None:
        self.due = list(due)
        self.lost: set[int] = set()
        self.usual: dict[int, float] = {}
        self.while_counting: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint
        self.away = False
        self.broken: Exception | None = None
        self.calls = 0
        self.claims = 0
        self.renewals: list[list[int]] = []
        self.given_back: list[int] = []
        self.sweeps = 0

    async def _call(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.calls += 1
        if self.broken:
            raise self.broken
        if self.away:
            raise DatabaseUnavailable("away")

    async def claim(self, room: Room) -> tuple[list[Claim], float | None]:
        await self._call()
        self.claims += 1
        fast = [each for each in self.due if not each.slow][: room.total]
        slow = [each for each in self.due if each.slow][: min(room.slow, room.unproven, room.total - len(fast))]
        for each in fast + slow:
            self.due.remove(each)
        return fast + slow, self._wait(left_beside(fast + slow, room))

    async def seconds_until_due(self, room: Room) -> float | None:
        await self._call()
        return self._wait(room)

    def _wait(self, room: Room) -> float | None:
        served = [each for each in self.due if room.total and (room.for_slow or not each.slow)]
        return 0.0 if served else None

    async def crowd(self, held: Sequence[Claim], room: Room, *, late_seconds: float) -> tuple[int, dict[int, float]]:
        waiting = [each for each in self.due if not each.slow]
        await self._call()
        await self.while_counting()
        return len(waiting), {each.run_id: self.usual[each.run_id] for each in held if each.run_id in self.usual}

    async def renew(self, held: Sequence[Claim]) -> set[int]:
        await self._call()
        self.renewals.append([each.run_id for each in held])
        return {each.run_id for each in held} - self.lost

    async def give_back(self, held: Sequence[Claim]) -> None:
        await self._call()
        self.given_back += [each.run_id for each in held]

    async def sweep(self) -> tuple[int, int]:
        await self._call()
        self.sweeps += 1
        return 0, 0


class FakeLooker:
    """Looks that last until they are released or, unless they are `stubborn`, have to give way; or that raise what
    `errors` holds for them. Those in `slow_to_store` give way, and hold their slot until they are released."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.at_once = at_once
        self.errors: dict[int, Exception] = {}
        self.fail_errors: dict[int, Exception] = {}
        self.looking: set[int] = set()
        self.most = 0
        self.looked: list[int] = []
        self.stubborn: set[int] = set()
        self.slow_to_store: set[int] = set()
        self.gave_way: list[int] = []
        self.failed: list[tuple[int, str]] = []
        self.discarded: list[int] = []
        self.storing: set[int] = set()
        self._released: dict[int, anyio.Event] = {}

    def release(self, run_id: int) -> None:
        self._released.setdefault(run_id, anyio.Event()).set()

    async def look(self, claim: Claim, end_renewal: Callable[[], None], *, give_way: anyio.Event) -> None:
        self.looking.add(claim.run_id)
        self.most = max(self.most, len(self.looking))
        try:
            if claim.run_id in self.errors:
                raise self.errors[claim.run_id]
            if claim.run_id in self.storing:
                end_renewal()
            if not self.at_once:
                await self._released_or(give_way, claim.run_id)
            if give_way.is_set():
                self.gave_way.append(claim.run_id)
                if claim.run_id in self.slow_to_store:
                    end_renewal()
                    await self._released[claim.run_id].wait()
                return
            self.looked.append(claim.run_id)
        finally:
            self.looking.discard(claim.run_id)

    async def _released_or(self, give_way: anyio.Event, run_id: int) -> None:
        async with anyio.create_task_group() as waiting:

            async def wait(event: anyio.Event) -> None:
                await event.wait()
                waiting.cancel_scope.cancel()

            if run_id not in self.stubborn:
                waiting.start_soon(wait, give_way)
            waiting.start_soon(wait, self._released.setdefault(run_id, anyio.Event()))

    async def fail(self, claim: Claim, error: Exception) -> None:
        if claim.run_id in self.fail_errors:
            raise self.fail_errors[claim.run_id]
        self.failed.append((claim.run_id, type(error).__name__))

    async def discard(self, claim: Claim) -> None:
        self.discarded.append(claim.run_id)
