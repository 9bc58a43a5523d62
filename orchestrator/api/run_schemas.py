"""The shapes of what is told about looks and reports: runs, and the status that follows from them."""

from typing import Annotated, Self

from pydantic import Field

from orchestrator.api.schemas import ClusterName, Given, InventoryType, Timestamp
from orchestrator.catalog.status import ClusterStatus
from orchestrator.model.cluster import INVENTORY_TYPE
from orchestrator.model.instant import SECOND, Instant, format_instant
from orchestrator.model.run import Health, Reason, Run, RunState

_Sender = Annotated[
    str, Field(description="embedded, or user:NAME for a source that agents report", examples=["embedded"])
]
_KaiVersion = Annotated[str | None, Field(description="Of the kai that looked; null for posts", examples=["0.5.0"])]
_ServerVersion = Annotated[str | None, Field(description="Of the API server", examples=["v1.30.2"])]
_Namespaces = Annotated[int | None, Field(description="How many the report names", examples=[12])]
_Images = Annotated[int | None, Field(description="How many the report holds, once a namespace", examples=[140])]
_LeftOut = Annotated[int | None, Field(description="Image entries that could not be taken", examples=[0])]


class RunReason(Given):
    """Why a look failed: a stable code, plain words, and what to do about it."""

    code: Annotated[str, Field(description="For programs: stable", examples=["unauthorized"])]
    message: Annotated[str, Field(examples=["The API server does not accept the credential"])]
    remedy: Annotated[str, Field(examples=["Make a new token and PUT it as credential"])]

    @classmethod
    def of(cls, reason: Reason | None) -> Self | None:
        """The wire's form of a reason."""
        return None if reason is None else cls(code=reason.code, message=reason.message, remedy=reason.remedy)


class InventoryRun(Given):
    """One look at a cluster. Counts are null where there was no report; excerpts hold no secrets."""

    id: Annotated[int, Field(examples=[4711])]
    cluster_name: Annotated[str, Field(description="Empty for a refused report that did not tell", examples=["prod"])]
    inventory_type: InventoryType
    sender: _Sender
    state: Annotated[RunState, Field(examples=["succeeded"])]
    requested_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    duration_seconds: Annotated[float | None, Field(examples=[1.25])]
    exit_code: Annotated[int | None, Field(description="Of kai; 0 alone proves nothing", examples=[0])]
    reason: Annotated[RunReason | None, Field(description="Why it failed, or null", examples=[None])]
    namespaces: _Namespaces
    images: _Images
    appeared: Annotated[int | None, Field(description="Images that were not there before", examples=[2])]
    gone: Annotated[int | None, Field(description="Images that are not there any more", examples=[1])]
    left_out: _LeftOut
    kai_version: _KaiVersion
    server_version: _ServerVersion
    stdout_excerpt: Annotated[str, Field(description="Of what kai printed that is no report", examples=[""])]
    stderr_excerpt: Annotated[str, Field(description="Head and tail of what kai complained about", examples=[""])]

    @classmethod
    def of(cls, run: Run) -> Self:
        """The wire's form of a run."""
        result = run.result
        return cls(
            id=run.id,
            cluster_name=run.cluster_name,
            inventory_type=INVENTORY_TYPE,
            sender=run.sender,
            state=result.state,
            requested_at=format_instant(run.requested_at),
            started_at=_timestamp(run.started_at),
            finished_at=_timestamp(run.finished_at),
            duration_seconds=_duration(run),
            exit_code=result.exit_code,
            reason=RunReason.of(result.reason),
            namespaces=result.namespaces,
            images=result.images,
            appeared=result.appeared,
            gone=result.gone,
            left_out=result.left_out,
            kai_version=result.kai_version,
            server_version=result.server_version,
            stdout_excerpt=result.stdout_excerpt,
            stderr_excerpt=result.stderr_excerpt,
        )


class InventoryClusterStatus(Given):
    """How far a cluster's inventory can be trusted, and what is wrong with it.

    `reason` is why the newest look failed, null once a look was good again. Counts and `server_version` are those of
    the newest good look, which is `data_age_seconds` old.
    """

    cluster_name: ClusterName
    sender: _Sender
    health: Annotated[Health, Field(examples=["healthy"])]
    reason: Annotated[RunReason | None, Field(description="Why the newest look failed, or null", examples=[None])]
    last_run: InventoryRun | None
    last_success_at: Timestamp | None
    data_age_seconds: Annotated[int | None, Field(description="Since the newest good look", examples=[73])]
    consecutive_failures: Annotated[int, Field(examples=[0])]
    running: Annotated[bool, Field(description="Whether somebody looks at it right now", examples=[False])]
    next_due_at: Timestamp
    namespaces: _Namespaces
    images: _Images
    left_out: _LeftOut
    server_version: _ServerVersion
    kai_version: _KaiVersion
    warnings: Annotated[list[str], Field(description="What will not work, or soon will not", examples=[[]])]

    @classmethod
    def of(cls, status: ClusterStatus) -> Self:
        """The wire's form of a status."""
        return cls(
            cluster_name=status.cluster_name,
            sender=status.sender,
            health=status.health,
            reason=RunReason.of(status.reason),
            last_run=InventoryRun.of(status.last_run) if status.last_run else None,
            last_success_at=_timestamp(status.last_success_at),
            data_age_seconds=None if status.data_age is None else status.data_age // SECOND,
            consecutive_failures=status.consecutive_failures,
            running=status.running,
            next_due_at=format_instant(status.next_due_at),
            namespaces=status.namespaces,
            images=status.images,
            left_out=status.left_out,
            server_version=status.server_version,
            kai_version=status.kai_version,
            warnings=status.warnings,
        )


def _timestamp(instant: Instant | None) -> str | None:
    return None if instant is None else format_instant(instant)


def _duration(run: Run) -> float | None:
    if run.started_at is None or run.finished_at is None:
        return None
    return (run.finished_at - run.started_at) / SECOND
