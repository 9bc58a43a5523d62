"""A ledger and a looker in memory, so that the loop's own rules are tested without database and children."""

from collections.abc import Callable, Sequence

import anyio
import anyio.lowlevel

from orchestrator.store.claims import Claim
from orchestrator.store.database import DatabaseUnavailable


def make_claim(number: int, *, timeouts: int = 0) -> Claim:
    """A claim whose cluster, run and number are all told by `number`."""
    return Claim(
        cluster_id=number,
        account_id=1,
        cluster_name=f"cluster-{number}",
        inventory_type="kubernetes",
        number=number,
        generation=1,
        run_id=number,
        row={"timeouts": timeouts, "last_success_at": 1},
    )


class FakeLedger:
    """Hands out the claims in `due`; `lost` are the runs whose lease is not renewed; `away` makes every call fail."""

    def __init__(self, due: Sequence[Claim] = ()) -> None:
        self.due = list(due)
        self.lost: set[int] = set()
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

    async def claim(self, *, limit: int, slow_limit: int, unproven_limit: int) -> tuple[list[Claim], float | None]:
        await self._call()
        self.claims += 1
        fast = [each for each in self.due if not each.slow][:limit]
        slow = [each for each in self.due if each.slow][: min(slow_limit, unproven_limit, limit - len(fast))]
        for each in fast + slow:
            self.due.remove(each)
        return fast + slow, 0.0 if self.due else None

    async def seconds_until_due(self) -> float | None:
        await self._call()
        return 0.0 if self.due else None

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
    """Looks that last until they are released, or raise what `errors` holds for them."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.at_once = at_once
        self.errors: dict[int, Exception] = {}
        self.fail_errors: dict[int, Exception] = {}
        self.looking: set[int] = set()
        self.most = 0
        self.looked: list[int] = []
        self.failed: list[tuple[int, str]] = []
        self.discarded: list[int] = []
        self.storing: set[int] = set()
        self._released: dict[int, anyio.Event] = {}

    def release(self, run_id: int) -> None:
        self._released.setdefault(run_id, anyio.Event()).set()

    async def look(self, claim: Claim, end_renewal: Callable[[], None]) -> None:
        self.looking.add(claim.run_id)
        self.most = max(self.most, len(self.looking))
        try:
            if claim.run_id in self.errors:
                raise self.errors[claim.run_id]
            if claim.run_id in self.storing:
                end_renewal()
            if not self.at_once:
                await self._released.setdefault(claim.run_id, anyio.Event()).wait()
            self.looked.append(claim.run_id)
        finally:
            self.looking.discard(claim.run_id)

    async def fail(self, claim: Claim, error: Exception) -> None:
        if claim.run_id in self.fail_errors:
            raise self.fail_errors[claim.run_id]
        self.failed.append((claim.run_id, type(error).__name__))

    async def discard(self, claim: Claim) -> None:
        self.discarded.append(claim.run_id)
