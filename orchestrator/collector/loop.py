"""The loop: who is looked at when, how many at a time, and what happens when look, lease or database fail."""

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import anyio.abc
import structlog

from orchestrator.collector.ledger import Ledger, left_beside
from orchestrator.collector.look import Looker
from orchestrator.model.slots import Occupied, Room, to_give_way
from orchestrator.store.claims import Claim
from orchestrator.store.database import DatabaseUnavailable

_LONGEST_BACK_OFF_SECONDS = 5.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many looks at a time, and how often the loop turns; all times in seconds.

    `renew_seconds` must be well below the lease. Clusters made and syncs asked for through other processes are
    found within `poll_seconds`. Once a cluster has waited for a slot for `late_seconds`, looks that take far longer
    than usual give way. A sweep only frees space, so once in a long while will do. A loop that did not turn for
    `stuck_seconds` counts as dead.
    """

    max_concurrent_runs: int = 16
    renew_seconds: float = 20.0
    poll_seconds: float = 1.0
    late_seconds: float = 1.0
    sweep_seconds: float = 3600.0
    stuck_seconds: float = 120.0


@dataclass(slots=True, eq=False)
class _Running:
    """A look in progress, begun at that second of the loop's clock.

    `scope` cancels it; `give_way` ends its kai; `renewed` ends when its result is about to be stored.
    """

    claim: Claim
    begun: float
    give_way: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    renewed: bool = True

    def end_renewal(self) -> None:
        self.renewed = False

    @property
    def replaceable(self) -> bool:
        """Whether it may be told to give way: slow and unproven ones have a share of slots that they keep."""
        return self.renewed and not self.claim.unproven


class CollectorLoop:
    """Looks at every cluster when it is due, for as long as `run` runs."""

    def __init__(
        self, ledger: Ledger, looker: Looker, pace: Pace, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` counts seconds and never goes back: it tells whether the loop still turns, and how old looks are."""
        self._ledger = ledger
        self._looker = looker
        self._pace = pace
        self._clock = clock
        self._running: dict[int, _Running] = {}
        self._awake = anyio.Event()
        self._recheck = anyio.Event()
        self._held_up = False
        self._awaited: set[int] = set()
        self._failed_turns = 0
        self._turned_at = clock()
        self._ended = False

    def wake(self) -> None:
        """Look for due clusters now: one was made, changed or deleted, or a look was asked for.

        If that cluster is being looked at, its next look begins when this one ends, which a change makes soon.
        """
        self._awaited |= self._running.keys()
        self._recheck.set()
        self._awake.set()

    def alive(self) -> bool:
        """Whether the loop still turns. A database that is away does not stop it from turning."""
        return not self._ended and self._clock() - self._turned_at < self._pace.stuck_seconds

    async def run(self) -> None:
        """Claim and look until cancelled; then end the looks in progress and give their clusters back.

        Whatever else ends it is a bug, and comes through.
        """
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._renew_leases)
                tasks.start_soon(self._sweep)
                due = True
                while True:
                    self._turned_at = self._clock()
                    wait = await self._turn(tasks, due=due)
                    with anyio.move_on_after(min(wait, self._pace.poll_seconds)):
                        await self._awake.wait()
                    due = wait <= self._pace.poll_seconds or self._awake.is_set()
                    self._awake = anyio.Event()
        finally:
            self._ended = True
            await self._give_back()

    async def _turn(self, tasks: anyio.abc.TaskGroup, *, due: bool) -> float:
        """Start the looks that are due and return how many seconds it takes until the next one is.

        `due` is whether one is expected to be: where none is, a read tells so for less than a claim costs.
        """
        try:
            wait, claims = await self._claim(due=due)
        except DatabaseUnavailable as error:
            self._failed_turns += 1
            if self._failed_turns == 1:
                _log.error("the database cannot be used; waiting for it", error=str(error))
            await anyio.sleep(back_off_seconds(self._failed_turns))
            return 0.0
        if self._failed_turns:
            _log.info("the database can be used again")
            self._failed_turns = 0
        for claim in claims:
            if claim.taken_over:
                _log.warning(
                    "taken over: the process that looked died, stood still or lost the database",
                    cluster=claim.cluster_name,
                    interrupted_run_id=claim.row["run_id"],
                )
            running = _Running(claim, self._clock())
            self._running[claim.run_id] = running
            tasks.start_soon(self._attend, running)
        return wait

    async def _claim(self, *, due: bool) -> tuple[float, list[Claim]]:
        """Seconds until the next cluster is due for us, and the claims to be looked at now."""
        room = left_beside((each.claim for each in self._running.values()), Room.of(self._pace.max_concurrent_runs))
        self._held_up = not room.for_slow
        if not room.total:
            await self._make_room(room)
            return math.inf, []
        if not due:
            wait = await self._ledger.seconds_until_due(room)
            if wait is None or wait > 0:
                return math.inf if wait is None else wait, []
        claims, wait = await self._ledger.claim(room)
        self._held_up = not left_beside(claims, room).for_slow
        # One that is due in spite of the room left is being claimed by another replica.
        return math.inf if wait is None or wait <= 0 else wait, claims

    async def _make_room(self, room: Room) -> None:
        """Where clusters wait for too long, let as many looks give way, if any take far longer than they used to."""
        replaceable = {each.claim.run_id: each for each in self._running.values() if each.replaceable}
        if not replaceable:
            return
        # Counted before the database is asked: a look that ends meanwhile may be the one that somebody waited for.
        giving_way = sum(each.give_way.is_set() for each in self._running.values())
        waiting, usual = await self._ledger.crowd(
            [each.claim for each in replaceable.values()], room, late_seconds=self._pace.late_seconds
        )
        now = self._clock()
        occupied = [
            Occupied(run_id, now - each.begun, usual[run_id])
            for run_id, each in replaceable.items()
            if run_id in usual and not each.give_way.is_set()
        ]
        for run_id in to_give_way(occupied, waiting - giving_way):
            replaceable[run_id].give_way.set()

    async def _attend(self, running: _Running) -> None:
        """See one look through. A look cut short by the end of the loop stays listed, to be given back."""
        claim = running.claim
        with running.scope:
            error = await self._at_the_edge(
                claim, lambda: self._looker.look(claim, running.end_renewal, give_way=running.give_way)
            )
            if error is not None:
                running.end_renewal()
                await self._at_the_edge(claim, lambda: self._looker.fail(claim, error))
        if running.scope.cancelled_caught:
            _log.info("look cancelled: the cluster was changed, deleted or taken over", cluster=claim.cluster_name)
            await self._at_the_edge(claim, lambda: self._looker.discard(claim))
        del self._running[claim.run_id]
        if self._held_up or claim.run_id in self._awaited:
            self._awaited.discard(claim.run_id)
            self._awake.set()

    async def _at_the_edge(self, claim: Claim, step: Callable[[], Awaitable[None]]) -> Exception | None:
        """Run a step of a look; whatever it raises is logged and returned."""
        try:
            await step()
        # The one broad except: a bug that one cluster's look trips must not take the other clusters' looks with it.
        except Exception as error:  # noqa: BLE001
            _log.exception("a look failed by a bug of the service", cluster=claim.cluster_name, run_id=claim.run_id)
            return error
        return None

    async def _renew_leases(self) -> None:
        """Prolong the leases of the looks in progress and cancel those that lost theirs."""
        wait = self._pace.renew_seconds
        while True:
            with anyio.move_on_after(wait):
                await self._recheck.wait()
            self._recheck = anyio.Event()
            renewed = [each for each in self._running.values() if each.renewed]
            if not renewed:
                continue
            try:
                held = await self._ledger.renew([each.claim for each in renewed])
            except DatabaseUnavailable:
                # A lease lasts for some of these rounds. When it ends, others may look too; only one can store.
                wait = min(1.0, self._pace.renew_seconds)
                continue
            wait = self._pace.renew_seconds
            for each in renewed:
                if each.renewed and each.claim.run_id not in held:
                    each.scope.cancel()

    async def _sweep(self) -> None:
        """Delete what is too old, now and then."""
        while True:
            try:
                items, runs = await self._ledger.sweep()
            except DatabaseUnavailable:
                _log.warning("sweep put off: the database is away")
            else:
                _log.debug("swept", items=items, runs=runs)
            await anyio.sleep(self._pace.sweep_seconds)

    async def _give_back(self) -> None:
        held = [each.claim for each in self._running.values()]
        if not held:
            return
        with anyio.CancelScope(shield=True):
            try:
                await self._ledger.give_back(held)
            except DatabaseUnavailable:
                _log.warning("claims not given back, the database is away; their leases will end", looks=len(held))


def back_off_seconds(failures: int) -> float:
    """How long to wait for the database after so many failures in a row: half a second, doubled up to five."""
    return float(min(0.25 * 2 ** min(failures, 16), _LONGEST_BACK_OFF_SECONDS))
