"""The shapes of the wire: what is taken, without coercion, and what is given. Their JSON schemas describe the API.

Unknown keys are tolerated in what is taken: newer kais send more than older ones.
"""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from orchestrator.catalog.clusters import ClusterView
from orchestrator.catalog.status import ClusterStatus
from orchestrator.model.cluster import INVENTORY_TYPE, ClusterConfig, CredentialType
from orchestrator.model.fields import InvalidField
from orchestrator.model.instant import SECOND, Instant, format_instant
from orchestrator.model.run import Health, Reason, Run, RunState

MASK: Final = "******"
"""What answers show in the place of a credential; in a PUT it stands for the one that is stored."""

InventoryType = Literal["kubernetes"]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2021-09-08T08:26:50Z"])]


class Taken(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, hide_input_in_errors=True)


class Given(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(frozen=True)


class InventoryClusterConfigBody(Taken):
    """How to reach a cluster, as a client sends it."""

    credential_type: Annotated[Literal["token", "private_key"], Field(description="How to prove who asks")]
    cluster_server: Annotated[str, Field(description="https URL of the API server", examples=["https://10.0.0.1:6443"])]
    credential: Annotated[
        str,
        Field(
            repr=False,
            description="Token, or base64 of the PEM private key. Never given back: a PUT with ****** keeps it",
        ),
    ]
    cluster_certificate: Annotated[
        str | None, Field(description="Base64 of the API server's CA certificate (PEM); none for the system's CAs")
    ] = None
    client_certificate: Annotated[
        str | None, Field(description="Base64 of the client's certificate (PEM), when credential_type is private_key")
    ] = None
    namespaces: Annotated[
        list[str] | None, Field(description="Namespaces to look at; none, or all among them: every one")
    ] = None


class InventoryClusterBody(Taken):
    """A cluster as a client sends it. `cluster_name` may be left out where the path names it."""

    cluster_name: str | None = None
    inventory_type: InventoryType | None = None
    cluster_config: InventoryClusterConfigBody

    @property
    def keeps_credential(self) -> bool:
        """Whether the mask stands in the place of the credential."""
        return self.cluster_config.credential == MASK

    def to_config(self, path_name: str | None) -> ClusterConfig:
        """The config that is meant, shape unchecked but for its name, which may also come from the path.

        Raises InvalidField when there is no name, or two.
        """
        name = self.cluster_name if self.cluster_name is not None else path_name
        if name is None:
            raise InvalidField("cluster_name", "required")
        if path_name is not None and name != path_name:
            raise InvalidField("cluster_name", "expected the name that is in the path: a cluster cannot be renamed")
        config = self.cluster_config
        return ClusterConfig(
            cluster_name=name,
            inventory_type=self.inventory_type or INVENTORY_TYPE,
            server=config.cluster_server,
            cluster_certificate=config.cluster_certificate,
            client_certificate=config.client_certificate,
            credential_type=CredentialType(config.credential_type),
            credential=SecretStr(config.credential),
            namespaces=tuple(config.namespaces or ()),
        )


class InventoryClusterConfig(Given):
    """How a cluster is reached; the credential is always masked."""

    credential_type: CredentialType
    namespaces: list[str]
    cluster_server: str
    cluster_certificate: str | None
    client_certificate: str | None
    credential: Literal["******"] = MASK


class InventoryCluster(Given):
    """A stored cluster. `warnings`: what about it will not work, or soon will not."""

    cluster_name: str
    inventory_type: str
    cluster_config: InventoryClusterConfig
    created_at: Timestamp
    last_updated: Timestamp
    warnings: list[str]

    @classmethod
    def of(cls, view: ClusterView) -> Self:
        """The wire's form of a stored cluster."""
        config = view.cluster.config
        return cls(
            cluster_name=config.cluster_name,
            inventory_type=config.inventory_type,
            cluster_config=InventoryClusterConfig(
                credential_type=config.credential_type,
                namespaces=list(config.namespaces),
                cluster_server=config.server,
                cluster_certificate=config.cluster_certificate,
                client_certificate=config.client_certificate,
            ),
            created_at=format_instant(view.cluster.created_at),
            last_updated=format_instant(view.cluster.updated_at),
            warnings=view.warnings,
        )


class RunReason(Given):
    """Why a look failed: a stable code, plain words, and what to do about it."""

    code: str
    message: str
    remedy: str

    @classmethod
    def of(cls, reason: Reason | None) -> Self | None:
        """The wire's form of a reason."""
        return None if reason is None else cls(code=reason.code, message=reason.message, remedy=reason.remedy)


class InventoryRun(Given):
    """One look at a cluster. Counts are null where there was no report; excerpts hold no secrets."""

    id: int
    cluster_name: str
    inventory_type: str
    sender: str
    state: RunState
    requested_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    duration_seconds: float | None
    exit_code: int | None
    reason: RunReason | None
    namespaces: int | None
    images: int | None
    appeared: int | None
    gone: int | None
    left_out: int | None
    kai_version: str | None
    server_version: str | None
    stdout_excerpt: str
    stderr_excerpt: str

    @classmethod
    def of(cls, run: Run) -> Self:
        """The wire's form of a run."""
        result = run.result
        return cls(
            id=run.id,
            cluster_name=run.cluster_name,
            inventory_type=run.inventory_type,
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

    cluster_name: str
    sender: Annotated[str, Field(description="embedded, or user:NAME for a source that agents report")]
    health: Health
    reason: RunReason | None
    last_run: InventoryRun | None
    last_success_at: Timestamp | None
    data_age_seconds: int | None
    consecutive_failures: int
    running: bool
    next_due_at: Timestamp
    namespaces: int | None
    images: int | None
    left_out: int | None
    server_version: str | None
    kai_version: str | None
    warnings: list[str]

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


class InventoryItem(Given):
    """An image in a namespace of a cluster. Rendered by `inventories.render_items`, not through this model: a test
    holds the two together."""

    inventory_type: str
    context: Annotated[str, Field(description="<cluster_name>/<namespace>")]
    cluster_name: str
    namespace: str
    image_tag: str
    image_digest: Annotated[str, Field(description="unknown when kai gave none")]
    created_at: Timestamp
    last_updated: Timestamp
    last_seen: Timestamp
    present: Annotated[bool, Field(description="Whether it runs now, as far as the newest report tells")]


class ErrorDetail(Given):
    """What programs can tell a refusal by."""

    error_codes: list[str]
    errors: Annotated[list[dict[str, str]], Field(description="The fields refused: field and problem")] = []


class ApiErrorResponse(Given):
    """Every refusal but the plain 401."""

    message: str
    httpcode: int
    detail: ErrorDetail
    code: int
    error_type: str


def _timestamp(instant: Instant | None) -> str | None:
    return None if instant is None else format_instant(instant)


def _duration(run: Run) -> float | None:
    if run.started_at is None or run.finished_at is None:
        return None
    return (run.finished_at - run.started_at) / SECOND
