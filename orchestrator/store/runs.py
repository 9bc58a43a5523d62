"""The history of runs: what every look and every posted report came to."""

from collections.abc import Iterable
from typing import Any

from orchestrator.model.cluster import INVENTORY_TYPE
from orchestrator.model.instant import Instant
from orchestrator.model.run import Reason, Run, RunResult, RunState
from orchestrator.store import tables
from orchestrator.store.database import Database
from orchestrator.store.sources import in_batches


def list_runs(db: Database, account_id: int, cluster_name: str | None, *, limit: int) -> list[Run]:
    """The newest runs about clusters of this name, or about all of the account's, newest first."""
    query = tables.Run.select().where(tables.Run.account_id == account_id)
    if cluster_name is not None:
        query = query.where(tables.Run.inventory_type == INVENTORY_TYPE, tables.Run.cluster_name == cluster_name)
    return [_run(row) for row in db.run(query.order_by(tables.Run.id.desc()).limit(limit).dicts())]


def find_run(db: Database, account_id: int, run_id: int) -> Run | None:
    """The run of this number, if it is the account's."""
    query = tables.Run.select().where(tables.Run.account_id == account_id, tables.Run.id == run_id).dicts()
    rows = list(db.run(query))
    return _run(rows[0]) if rows else None


def runs_by_id(db: Database, run_ids: Iterable[int]) -> dict[int, Run]:
    """The runs that still exist among these; for callers who hold the ids from a row of the account's own."""
    found: dict[int, Run] = {}
    for ids in in_batches(sorted(set(run_ids))):
        query = tables.Run.select().where(tables.Run.id.in_(ids)).dicts()
        found.update((row["id"], _run(row)) for row in db.run(query))
    return found


def insert_run(
    db: Database,
    *,
    account_id: int,
    cluster_name: str,
    sender: str,
    state: RunState,
    requested_at: Instant,
    started_at: Instant | None = None,
    cluster_id: int | None = None,
) -> int:
    """Begin a run and return its id, which is larger than every earlier one's."""
    run_id: int = db.run(
        tables.Run.insert(
            account_id=account_id,
            cluster_id=cluster_id,
            inventory_type=INVENTORY_TYPE,
            cluster_name=cluster_name,
            sender=sender,
            state=state.value,
            requested_at=requested_at,
            started_at=started_at,
        )
    )
    return run_id


def start_run(db: Database, run_id: int, started_at: Instant) -> None:
    """A queued run begins."""
    db.run(
        tables.Run.update(state=RunState.RUNNING.value, started_at=started_at).where(
            tables.Run.id == run_id, tables.Run.state == RunState.QUEUED.value
        )
    )


def end_run(db: Database, run_id: int, result: RunResult, finished_at: Instant) -> None:
    """Record how a run ended; one that has ended already stays as it is."""
    reason = result.reason
    open_states = [state.value for state in RunState if not state.ended]
    db.run(
        tables.Run.update(
            state=result.state.value,
            finished_at=finished_at,
            exit_code=result.exit_code,
            reason_code=str(reason.code) if reason else None,
            reason=reason.message if reason else None,
            remedy=reason.remedy if reason else None,
            stdout_excerpt=_storable(result.stdout_excerpt),
            stderr_excerpt=_storable(result.stderr_excerpt),
            namespaces=result.namespaces,
            images=result.images,
            appeared=result.appeared,
            gone=result.gone,
            left_out=result.left_out,
            kai_version=result.kai_version,
            server_version=result.server_version,
        ).where(tables.Run.id == run_id, tables.Run.state.in_(open_states))
    )


def _storable(excerpt: str) -> str | None:
    # PostgreSQL takes neither NUL nor a lone surrogate, and a child may print both.
    return excerpt.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode() or None


def _run(row: dict[str, Any]) -> Run:
    reason = None
    if row["reason_code"] is not None:
        reason = Reason(row["reason_code"], row["reason"] or "", row["remedy"] or "")
    return Run(
        id=row["id"],
        cluster_name=row["cluster_name"],
        inventory_type=row["inventory_type"],
        sender=row["sender"],
        requested_at=row["requested_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        result=RunResult(
            state=RunState(row["state"]),
            reason=reason,
            exit_code=row["exit_code"],
            stdout_excerpt=row["stdout_excerpt"] or "",
            stderr_excerpt=row["stderr_excerpt"] or "",
            namespaces=row["namespaces"],
            images=row["images"],
            appeared=row["appeared"],
            gone=row["gone"],
            left_out=row["left_out"],
            kai_version=row["kai_version"],
            server_version=row["server_version"],
        ),
    )
