"""Who looks at which cluster: claims with a lease and a number that only grows.

A lease says how long others stay away; the number says whose result may be stored. Times are compared only for the
lease, and only by the database's clock; what is written is guarded by the numbers alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from orchestrator.model.cluster import ClusterConfig, CredentialType
from orchestrator.model.instant import Instant
from orchestrator.model.run import EMBEDDED_SENDER, Reason, RunResult, RunState
from orchestrator.model.schedule import next_due
from orchestrator.model.slots import Room
from orchestrator.store import tables
from orchestrator.store.clusters import open_config
from orchestrator.store.database import Database
from orchestrator.store.runs import end_run, insert_run, runs_by_id, start_run
from orchestrator.store.sealing import Sealer

LEASE_ENDED: Final = Reason(
    "lease_ended",
    "The process that looked died, stood still or lost the database, and its lease ended; another look has begun.",
    "None for this cluster. If it happens often, look into the logs of the processes that look.",
)
SERVICE_STOPPED: Final = Reason(
    "service_stopped",
    "The service stopped, or was killed, while it looked; the cluster is looked at again.",
    "None: it is looked at by itself.",
)

_DUE_AT: Final = "coalesce(lease_until, due_at)"
_PROVEN: Final = "timeouts = 0 AND last_success_at IS NOT NULL"
_NEW: Final = "timeouts = 0 AND last_success_at IS NULL"
_SLOW: Final = "timeouts > 0"
_OURS: Final = "(credential_type <> ? OR cluster_name = ?)"
# Two hours at the defaults: longer than a slow cluster waits for its turn, and yet not for ever.
_ASKED_FOR_INTERVALS: Final = 24
_COLUMNS: Final = tuple(tables.Cluster._meta.columns)  # noqa: SLF001 - the one way that peewee has to ask a model


def _ours(own_cluster: str | None) -> tuple[str, str]:
    return CredentialType.SERVICE_ACCOUNT.value, own_cluster or ""


class ClaimLost(Exception):
    """The cluster was taken over, changed or deleted since the look began: nothing of the look is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to look at a cluster once, and to store the result while nobody else got a larger `number` and the
    config's `generation` is the same."""

    cluster_id: int
    account_id: int
    cluster_name: str
    inventory_type: str
    number: int
    generation: int
    run_id: int
    row: dict[str, Any] = field(repr=False)

    @property
    def taken_over(self) -> bool:
        """Whether somebody else was looking, whose lease ended."""
        return self.row["run_id"] is not None

    @property
    def slow(self) -> bool:
        """Whether the look before this one took too long."""
        return bool(self.row["timeouts"])

    @property
    def unproven(self) -> bool:
        """Whether nobody knows that this look ends soon: the one before took too long, or none was ever good."""
        return self.slow or self.row["last_success_at"] is None

    def open(self, sealer: Sealer) -> ClusterConfig:
        """The config to look with, as it was when the cluster was claimed. Raises CannotUnseal."""
        return open_config(sealer, self.row)


def claim_due(
    db: Database,
    room: Room,
    *,
    lease: int,
    interval: int,
    own_cluster: str | None = None,
) -> list[Claim]:
    """Claim as many due clusters as there is room for, and begin their runs.

    One that is being looked at is due when its lease ends: whoever holds it is gone or stuck. The longest due go first;
    only that clusters never seen well let those that answer go before them for an interval, slow ones for two, and
    that a look which somebody asked for has a head start of 24. `lease` and `interval` are in microseconds.
    `own_cluster` is the name of the cluster that this process runs in: one that was stored as another process's own
    can only be looked at from there.
    """
    now = db.now()

    def due(which: str, limit: int) -> list[dict[str, Any]]:
        if limit <= 0:
            return []
        rows = db.locked_rows(
            f"SELECT {', '.join(_COLUMNS)} FROM cluster WHERE {_OURS} AND {which} AND {_DUE_AT} <= ?"
            f" ORDER BY {_DUE_AT} - CASE WHEN queued_run_id IS NULL THEN 0 ELSE ? END LIMIT ?",
            (*_ours(own_cluster), now, _ASKED_FOR_INTERVALS * interval, limit),
            skip_locked=True,
        )
        return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]

    proven = due(_PROVEN, room.total)
    new = due(_NEW, min(room.total, room.unproven))
    slow = due(_SLOW, min(room.total, room.unproven, room.slow))
    unproven = sorted(new + slow, key=lambda row: _turn(row, interval))[: room.unproven]
    rows = sorted(proven + unproven, key=lambda row: _turn(row, interval))[: room.total]
    return [_claim(db, row, now=now, lease=lease, interval=interval) for row in rows]


def _turn(row: dict[str, Any], interval: int) -> Instant:
    """What due clusters are ordered by. Every wait ends: with more to do than slots, whoever always came last would
    never be looked at."""
    intervals = 2 if row["timeouts"] else 1 if row["last_success_at"] is None else 0
    if row["queued_run_id"] is not None:
        intervals -= _ASKED_FOR_INTERVALS
    due_at: Instant = row["due_at"] if row["lease_until"] is None else row["lease_until"]
    return due_at + intervals * interval


def _claim(db: Database, row: dict[str, Any], *, now: Instant, lease: int, interval: int) -> Claim:
    if row["run_id"] is not None:
        # Its lease ran out: the process that looked is gone or stuck.
        end_run(db, row["run_id"], RunResult(state=RunState.INTERRUPTED, reason=LEASE_ENDED), now)
    run_id = row["queued_run_id"]
    if run_id is not None:
        start_run(db, run_id, now)
    else:
        run_id = insert_run(
            db,
            account_id=row["account_id"],
            cluster_name=row["cluster_name"],
            sender=EMBEDDED_SENDER,
            state=RunState.RUNNING,
            requested_at=now,
            started_at=now,
            cluster_id=row["id"],
        )
    number = row["claim"] + 1
    due_at = next_due(_identity(row), interval=interval, timeouts=row["timeouts"], now=now)
    db.execute(
        "UPDATE cluster SET claim = ?, lease_until = ?, due_at = ?, run_id = ?, queued_run_id = NULL WHERE id = ?",
        (number, now + lease, due_at, run_id, row["id"]),
    )
    return Claim(
        cluster_id=row["id"],
        account_id=row["account_id"],
        cluster_name=row["cluster_name"],
        inventory_type=row["inventory_type"],
        number=number,
        generation=row["generation"],
        run_id=run_id,
        row=row,
    )


def _identity(row: dict[str, Any]) -> str:
    return f"{row['account_id']}/{row['inventory_type']}/{row['cluster_name']}"


def next_due_at(db: Database, room: Room, *, own_cluster: str | None = None) -> Instant | None:
    """When the next cluster that `claim_due` may claim is due or its lease ends, None where there is none.

    Clusters for which there is no room are passed over, however long they have been due.
    """
    if not room.total:
        return None
    rows = db.rows(
        f"SELECT {_DUE_AT} FROM cluster WHERE {_OURS} AND ({_served(room)}) ORDER BY {_DUE_AT} LIMIT 1",
        _ours(own_cluster),
    )
    return int(rows[0][0]) if rows else None


def _served(room: Room) -> str:
    if room.for_slow:
        return "true"
    return f"{_PROVEN} OR {_NEW}" if room.for_unproven else _PROVEN


def count_waiting(db: Database, room: Room, *, since: Instant, most: int, own_cluster: str | None = None) -> int:
    """How many clusters that did not time out last were due by `since` and nobody looks at; counts up to `most`.

    Those that were never seen well count only where another slot would help them: where `room` has one for such.
    """
    helped = f"{_PROVEN} OR {_NEW}" if room.unproven else _PROVEN
    row = db.one(
        f"SELECT count(*) FROM (SELECT 1 FROM cluster WHERE {_OURS} AND ({helped}) AND {_DUE_AT} <= ? LIMIT ?)"
        " AS waiting",
        (*_ours(own_cluster), since, most),
    )
    return int(row[0])


def usual_durations(db: Database, claims: Sequence[Claim]) -> dict[int, int]:
    """For each claimed run the microseconds that the last good look at its cluster took; none where none was good."""
    successes = {claim.row["last_success_id"]: claim.run_id for claim in claims}
    return {
        successes[run.id]: run.finished_at - run.started_at
        for run in runs_by_id(db, (each for each in successes if each is not None)).values()
        if run.started_at is not None and run.finished_at is not None
    }


def renew(db: Database, claims: Sequence[Claim], *, lease: int) -> set[int]:
    """Prolong the leases and return the runs that may go on; the others have ended, lost their claim, or their config
    changed."""
    until = db.now() + lease
    held = set()
    for claim in sorted(claims, key=lambda each: each.cluster_id):
        # The run is part of it: a look that is being stored just now must not leave a lease behind.
        renewed = db.execute(
            "UPDATE cluster SET lease_until = ? WHERE id = ? AND claim = ? AND generation = ? AND run_id = ?",
            (until, claim.cluster_id, claim.number, claim.generation, claim.run_id),
        )
        if renewed.rowcount == 1:
            held.add(claim.run_id)
    return held


class Progress(NamedTuple):
    """What a claimed cluster's row says of its looks: those that run and wait, and how the ones before ended."""

    run_id: int | None
    queued_run_id: int | None
    timeouts: int
    failures: int


def lock_claimed(db: Database, claim: Claim) -> Progress:
    """Lock the cluster's row until the unit of work ends. Raises ClaimLost."""
    rows = db.locked_rows(
        "SELECT run_id, queued_run_id, timeouts, failures FROM cluster WHERE id = ? AND claim = ? AND generation = ?",
        (claim.cluster_id, claim.number, claim.generation),
    )
    if not rows:
        raise ClaimLost(claim.cluster_name)
    return Progress(*rows[0])


def finish(db: Database, claim: Claim, result: RunResult, *, interval: int) -> None:
    """End the look: record its run, count failures and time-outs, release the lease, set the next due time.

    A look that was asked for meanwhile is due at once, and so is one that had to give way. Done again, it changes
    nothing. Raises ClaimLost, and then records nothing: see `discard`.
    """
    before = lock_claimed(db, claim)
    if before.run_id != claim.run_id:
        # Stored already: the database went away before it could say so, and the look was stored once more.
        return
    now = db.now()
    timeouts = before.timeouts + 1 if result.state.took_too_long else 0
    again = before.queued_run_id is not None or result.state is RunState.GAVE_WAY
    due_at = now if again else next_due(_identity(claim.row), interval=interval, timeouts=timeouts, now=now)
    good = result.state is RunState.SUCCEEDED
    db.execute(
        "UPDATE cluster SET lease_until = NULL, run_id = NULL, due_at = ?, timeouts = ?, failures = ?, last_run_id = ?,"
        " last_success_id = coalesce(?, last_success_id), last_success_at = coalesce(?, last_success_at) WHERE id = ?",
        (
            due_at,
            timeouts,
            0 if good else before.failures + 1,
            claim.run_id,
            claim.run_id if good else None,
            now if good else None,
            claim.cluster_id,
        ),
    )
    end_run(db, claim.run_id, result, now)


def discard(db: Database, claim: Claim, result: RunResult) -> None:
    """End a run that says nothing about the cluster (DISCARDED or INTERRUPTED), and where the cluster is still this
    claim's, release the lease and make it due, so that the next look begins at once."""
    now = db.now()
    released = tables.Cluster.update(lease_until=None, run_id=None, due_at=now)
    db.run(released.where(tables.Cluster.id == claim.cluster_id, tables.Cluster.claim == claim.number))
    end_run(db, claim.run_id, result, now)


def give_back(db: Database, claims: Iterable[Claim]) -> None:
    """Release the claims of looks that were cut short because the service stops."""
    for claim in sorted(claims, key=lambda each: each.cluster_id):
        discard(db, claim, RunResult(state=RunState.INTERRUPTED, reason=SERVICE_STOPPED))


def release_all(db: Database) -> int:
    """Release every lease and end the runs in progress as INTERRUPTED; returns how many there were.

    Only for a service that has the database to itself and begins: whoever held those leases was killed.
    """
    now = db.now()
    held = tables.Cluster.select(tables.Cluster.id, tables.Cluster.run_id).where(tables.Cluster.run_id.is_null(False))
    rows = list(db.run(held.tuples()))
    for cluster_id, run_id in rows:
        released = tables.Cluster.update(lease_until=None, run_id=None, due_at=now)
        db.run(released.where(tables.Cluster.id == cluster_id))
        end_run(db, run_id, RunResult(state=RunState.INTERRUPTED, reason=SERVICE_STOPPED), now)
    return len(rows)


def hasten(db: Database, *, interval: int) -> int:
    """Make clusters due no later than their next tick at this interval, in microseconds; returns how many that were.

    For a service that begins with a shorter interval than the one that the due times were set by.
    """
    now = db.now()
    hastened = 0
    query = tables.Cluster.select().where(tables.Cluster.due_at > now + interval)
    for row in list(db.run(db.locking(query).dicts())):
        due_at = next_due(_identity(row), interval=interval, timeouts=row["timeouts"], now=now)
        if due_at < row["due_at"]:
            db.run(tables.Cluster.update(due_at=due_at).where(tables.Cluster.id == row["id"]))
            hastened += 1
    return hastened
