"""Posted reports: taking one in with its run, keeping one that was refused in the history, and how each sender is
doing."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from orchestrator.model.instant import Instant
from orchestrator.model.report import InventoryReport
from orchestrator.model.retention import Retention
from orchestrator.model.run import EMBEDDED_SENDER, Reason, Run, RunResult, RunState
from orchestrator.model.traces import Trace, pace_of, trace_of, with_trace
from orchestrator.store import tables
from orchestrator.store.database import Database
from orchestrator.store.ingest import IngestRules, ingest
from orchestrator.store.runs import end_run, insert_run, runs_by_id
from orchestrator.store.sources import lock_source


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Whose report about what."""

    account_id: int
    inventory_type: str
    cluster_name: str
    sender: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderState:
    """A posting sender of a source and how its newest reports ended; `traces` are what is remembered of them."""

    inventory_type: str
    cluster_name: str
    sender: str
    received_at: Instant
    failures: int
    last_success_at: Instant | None
    last_run: Run | None
    last_success: Run | None
    traces: list[Trace]


def take_post(
    db: Database, post: Post, report: InventoryReport, *, retention: Retention, gap: int
) -> tuple[int, RunResult]:
    """Take a posted report into the inventory; returns its run's id and result, SUCCEEDED or LATE.

    Its sender is looked for at its own pace: up to twice the usual time between two reports, none was missed.
    """
    run_id = _begin(db, post)
    before = _sender_row(db, post)
    pace = pace_of(load_traces(before["traces"]) if before else [])
    ingested = ingest(
        db,
        report,
        account_id=post.account_id,
        inventory_type=post.inventory_type,
        cluster_name=post.cluster_name,
        sender=post.sender,
        whole_cluster=False,
        rules=IngestRules(retention=retention, pace=2 * pace, gap=gap),
    )
    result = RunResult(
        state=ingested.state,
        namespaces=ingested.namespaces,
        images=ingested.images,
        appeared=ingested.appeared,
        gone=ingested.gone,
        left_out=report.left_out,
        server_version=report.server_version,
    )
    now = db.now()
    if ingested.state is RunState.SUCCEEDED:
        row = _sender_row(db, post)
        newest = trace_of(report, report_at=row["report_at"], received_at=row["received_at"])
        _update_sender(
            db,
            row,
            failures=0,
            last_run_id=run_id,
            last_success_id=run_id,
            last_success_at=now,
            traces=_dump(with_trace(load_traces(row["traces"]), newest)),
        )
    end_run(db, run_id, result, now)
    return run_id, result


def refuse_post(db: Database, post: Post, reason: Reason) -> int:
    """Keep a report that was refused in the history, and count it as its sender's failure; returns the run's id."""
    run_id = _begin(db, post)
    if lock_source(db, post.account_id, post.inventory_type, post.cluster_name) is not None:
        row = _sender_row(db, post)
        if row is not None:
            _update_sender(db, row, failures=row["failures"] + 1, last_run_id=run_id)
    end_run(db, run_id, RunResult(state=RunState.FAILED, reason=reason), db.now())
    return run_id


def list_senders(db: Database, account_id: int, cluster_name: str | None = None) -> list[SenderState]:
    """The posting senders of all sources of the account, or of one, by cluster and name."""
    sender, source = tables.Sender, tables.Source
    query = (
        sender.select(sender, source.inventory_type, source.cluster_name)
        .join(source, on=source.id == sender.source_id)
        .where(source.account_id == account_id, sender.name != EMBEDDED_SENDER)
        .order_by(source.cluster_name, sender.name)
    )
    if cluster_name is not None:
        query = query.where(source.cluster_name == cluster_name)
    rows = list(db.run(query.dicts()))
    runs = runs_by_id(
        db, {row[key] for row in rows for key in ("last_run_id", "last_success_id") if row[key] is not None}
    )
    return [
        SenderState(
            inventory_type=row["inventory_type"],
            cluster_name=row["cluster_name"],
            sender=row["name"],
            received_at=row["received_at"],
            failures=row["failures"],
            last_success_at=row["last_success_at"],
            last_run=runs.get(row["last_run_id"]),
            last_success=runs.get(row["last_success_id"]),
            traces=load_traces(row["traces"]),
        )
        for row in rows
    ]


def _begin(db: Database, post: Post) -> int:
    now = db.now()
    return insert_run(
        db,
        account_id=post.account_id,
        cluster_name=post.cluster_name,
        sender=post.sender,
        state=RunState.RUNNING,
        requested_at=now,
        started_at=now,
    )


def _sender_row(db: Database, post: Post) -> Any:
    sender, source = tables.Sender, tables.Source
    query = (
        sender.select(sender)
        .join(source, on=source.id == sender.source_id)
        .where(
            source.account_id == post.account_id,
            source.inventory_type == post.inventory_type,
            source.cluster_name == post.cluster_name,
            sender.name == post.sender,
        )
    )
    return next(iter(db.run(query.dicts())), None)


def _update_sender(db: Database, row: dict[str, Any], **changes: Any) -> None:
    db.run(tables.Sender.update(**changes).where(tables.Sender.id == row["id"]))


def _dump(traces: Sequence[Trace]) -> str:
    return orjson.dumps([asdict(trace) for trace in traces]).decode()


def load_traces(text: str) -> list[Trace]:
    """The traces in a sender's row."""
    return [Trace(**trace) for trace in orjson.loads(text)]
