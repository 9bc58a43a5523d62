"""What the loop reads and writes in the database."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from orchestrator.kai.runner import Look
from orchestrator.model.cluster import ClusterConfig
from orchestrator.model.instant import SECOND
from orchestrator.model.report import InventoryReport
from orchestrator.model.run import EMBEDDED_SENDER, Reason, RunResult, RunState
from orchestrator.model.slots import Room
from orchestrator.store import claims
from orchestrator.store.claims import Claim, ClaimLost
from orchestrator.store.database import Database
from orchestrator.store.ingest import IngestRules, ingest
from orchestrator.store.sweep import Source, SweepRules, sources, sweep_runs, sweep_source

CLAIM_LOST: Final = Reason(
    "cluster_changed",
    "The cluster was changed, deleted or taken over while it was looked at, so what came of the look was not stored.",
    "None: if the cluster is still there, it is looked at again by itself.",
)


class Ledger:
    """The database as the loop sees it. Every method raises DatabaseUnavailable, and has then written nothing."""

    def __init__(
        self,
        db: Database,
        *,
        interval: int,
        lease: int,
        rules: IngestRules,
        sweep_rules: SweepRules,
        own_cluster: str | None = None,
    ) -> None:
        """`interval` is the time from look to look, `lease` how long others stay away from a claimed cluster, both
        in microseconds. `own_cluster` is the name of the cluster that this process runs in, if it is to be looked
        at."""
        self._db = db
        self._interval = interval
        self._lease = lease
        self._rules = rules
        self._sweep_rules = sweep_rules
        self._own_cluster = own_cluster

    async def claim(self, room: Room) -> tuple[list[Claim], float | None]:
        """Claim as many due clusters as there is room for.

        Also returns the seconds until the next one is due, as `seconds_until_due` does for the room that is left.
        """

        def unit() -> tuple[list[Claim], float | None]:
            claimed = claims.claim_due(
                self._db, room, lease=self._lease, interval=self._interval, own_cluster=self._own_cluster
            )
            return claimed, self._wait(left_beside(claimed, room))

        return await self._db.write(unit)

    async def seconds_until_due(self, room: Room) -> float | None:
        """How long no cluster that there is room for will be due, by the database's clock: 0 or less when one is,
        None when there is no such cluster."""
        return await self._db.read(lambda: self._wait(room))

    def _wait(self, room: Room) -> float | None:
        due_at = claims.next_due_at(self._db, room, own_cluster=self._own_cluster)
        return None if due_at is None else (due_at - self._db.now()) / SECOND

    async def crowd(self, held: Sequence[Claim], room: Room, *, late_seconds: float) -> tuple[int, dict[int, float]]:
        """How many clusters that answer wait for a slot for longer than `late_seconds`, and for each held run how
        many seconds the last good look at its cluster took. `room` says whom a slot would help."""

        def unit() -> tuple[int, dict[int, float]]:
            since = self._db.now() - round(late_seconds * SECOND)
            waiting = claims.count_waiting(self._db, room, since=since, most=len(held), own_cluster=self._own_cluster)
            durations = claims.usual_durations(self._db, held) if waiting else {}
            return waiting, {run_id: duration / SECOND for run_id, duration in durations.items()}

        return await self._db.read(unit)

    async def renew(self, held: Sequence[Claim]) -> set[int]:
        """Prolong the leases and return the ids of the runs that may go on."""
        return await self._db.write(lambda: claims.renew(self._db, held, lease=self._lease))

    async def store(self, claim: Claim, config: ClusterConfig, look: Look) -> RunResult:
        """Store what a look came to, report and run in one transaction, and return the run's result.

        A claim that was lost meanwhile stores no report: its run ends as DISCARDED.
        """
        result = result_of(look)

        def ingest_and_finish(report: InventoryReport) -> RunResult:
            ingested = ingest(
                self._db,
                report,
                account_id=claim.account_id,
                inventory_type=claim.inventory_type,
                cluster_name=claim.cluster_name,
                sender=EMBEDDED_SENDER,
                whole_cluster=config.asked_namespaces is None,
                rules=self._rules,
                claim=claim,
            )
            stored = replace(
                result,
                state=ingested.state,
                namespaces=ingested.namespaces,
                images=ingested.images,
                appeared=ingested.appeared,
                gone=ingested.gone,
            )
            claims.finish(self._db, claim, stored, interval=self._interval)
            return stored

        if look.report is None:
            return await self.fail(claim, result)
        report = look.report
        try:
            return await self._db.write(lambda: ingest_and_finish(report))
        except ClaimLost:
            return await self.discard(claim)

    async def fail(self, claim: Claim, result: RunResult) -> RunResult:
        """Store that a look failed, and nothing else; a claim that was lost ends as DISCARDED."""
        try:
            await self._db.write(lambda: claims.finish(self._db, claim, result, interval=self._interval))
        except ClaimLost:
            return await self.discard(claim)
        return result

    async def discard(self, claim: Claim) -> RunResult:
        """End the run of a claim that was lost: it says nothing about the cluster."""
        result = RunResult(state=RunState.DISCARDED, reason=CLAIM_LOST)
        await self._db.write(lambda: claims.discard(self._db, claim, result))
        return result

    async def give_back(self, held: Sequence[Claim]) -> None:
        """End the runs of looks that were cut short as INTERRUPTED and make their clusters due."""
        await self._db.write(lambda: claims.give_back(self._db, held))

    async def sweep(self) -> tuple[int, int]:
        """Delete what need not be kept any longer; returns how many items and runs that were. A source at a time."""
        items = 0
        for source in await self._db.read(lambda: sources(self._db)):
            items += await self._sweep_source(source)
        return items, await self._db.write(lambda: sweep_runs(self._db, self._sweep_rules))

    async def _sweep_source(self, source: Source) -> int:
        return await self._db.write(lambda: sweep_source(self._db, source, self._sweep_rules))


def left_beside(looks: Iterable[Claim], room: Room) -> Room:
    """The room that these looks leave of what there was."""
    held = list(looks)
    return room.less(
        total=len(held), unproven=sum(claim.unproven for claim in held), slow=sum(claim.slow for claim in held)
    )


def result_of(look: Look) -> RunResult:
    """A look as its run records it, before its report is stored."""
    report = look.report
    return RunResult(
        state=look.outcome,
        reason=look.reason,
        exit_code=look.exit_code,
        stdout_excerpt=look.stdout_excerpt,
        stderr_excerpt=look.stderr_excerpt,
        left_out=report.left_out if report else None,
        kai_version=look.kai_version,
        server_version=report.server_version if report else None,
    )
