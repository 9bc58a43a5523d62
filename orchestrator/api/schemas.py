"""The shapes of the wire: what is taken, without coercion, and what is given. Their JSON schemas describe the API,
and the examples of their fields make its examples.

Unknown keys are tolerated in what is taken: newer kais send more than older ones. A field of a cluster that has no
value is left out of an answer, never null: clients made from the original's description take no null.
"""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, WithJsonSchema

from orchestrator.catalog.clusters import ClusterView
from orchestrator.model.cluster import INVENTORY_TYPE, ClusterConfig, CredentialType
from orchestrator.model.fields import InvalidField
from orchestrator.model.instant import format_instant

MASK: Final = "******"
"""What answers show in the place of a credential; in a PUT it stands for the one that is stored."""

InventoryType = Literal["kubernetes"]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2021-09-08T08:26:50Z"])]
ClusterName = Annotated[str, Field(description="The cluster's name, unique in its account", examples=["prod"])]
_TextOrLeftOut = Annotated[
    str | None, WithJsonSchema({"type": "string"}), Field(exclude_if=lambda value: value is None)
]

_SERVER = "https://10.0.0.1:6443"
_CERTIFICATE = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJ..."
_DIGEST = "sha256:570db2ee4d8d0e9e5c2b1b0b7b6f3c9a1e4f5d6c7b8a99887766554433221100"


class Taken(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, hide_input_in_errors=True)


class Given(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(frozen=True)


class InventoryClusterConfigBody(Taken):
    """How to reach a cluster, as a client sends it."""

    credential_type: Annotated[Literal["token", "private_key"], Field(description="How to prove who asks")]
    cluster_server: Annotated[str, Field(description="https URL of the API server", examples=[_SERVER])]
    credential: Annotated[
        str,
        Field(
            repr=False,
            description="Token, raw or in base64, or base64 of the PEM private key. Never given back; ****** in a PUT "
            "keeps the stored one",
            examples=["eyJhbGciOiJSUzI1NiIsImtpZCI6Ii..."],
        ),
    ]
    cluster_certificate: Annotated[
        str | None,
        Field(
            description="Base64 of the API server's CA certificate (PEM); none for the system's CAs",
            examples=[_CERTIFICATE],
        ),
    ] = None
    client_certificate: Annotated[
        str | None,
        Field(description="Base64 of the client's certificate (PEM), required when credential_type is private_key"),
    ] = None
    namespaces: Annotated[
        list[str] | None,
        Field(description="Namespaces to look at; none, or all among them: every one", examples=[["all"]]),
    ] = None


class InventoryClusterBody(Taken):
    """A cluster as a client sends it. `cluster_name` may be left out where the path names it."""

    cluster_name: Annotated[
        str | None,
        Field(description="At most 253 printable characters without /; unique in its account", examples=["prod"]),
    ] = None
    inventory_type: Annotated[InventoryType | None, Field(examples=["kubernetes"])] = None
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

    credential_type: Literal["token", "private_key"]
    namespaces: Annotated[list[str], Field(description="Empty, or with all in it: every one", examples=[["all"]])]
    cluster_server: Annotated[str, Field(description="https URL of the API server", examples=[_SERVER])]
    cluster_certificate: Annotated[
        _TextOrLeftOut, Field(description="As it was given; left out for the system's CAs", examples=[_CERTIFICATE])
    ]
    client_certificate: Annotated[_TextOrLeftOut, Field(description="As it was given; left out if it was not")]
    credential: Annotated[Literal["******"], Field(description="Never the credential itself")]


class InventoryCluster(Given):
    """A stored cluster. `warnings`: what about it will not work, or soon will not."""

    cluster_name: ClusterName
    inventory_type: InventoryType
    cluster_config: InventoryClusterConfig
    own_cluster: Annotated[
        bool,
        Field(
            description="Whether it is the cluster that the service runs in, looked at with the token of its own pod",
            examples=[False],
        ),
    ]
    created_at: Timestamp
    last_updated: Timestamp
    warnings: Annotated[list[str], Field(examples=[[]])]

    @classmethod
    def of(cls, view: ClusterView) -> Self:
        """The wire's form of a stored cluster."""
        config = view.cluster.config
        return cls(
            cluster_name=config.cluster_name,
            inventory_type=INVENTORY_TYPE,
            cluster_config=InventoryClusterConfig(
                credential_type="private_key" if config.credential_type is CredentialType.PRIVATE_KEY else "token",
                namespaces=list(config.namespaces),
                cluster_server=config.server,
                cluster_certificate=config.cluster_certificate,
                client_certificate=config.client_certificate,
                credential=MASK,
            ),
            own_cluster=config.is_own,
            created_at=format_instant(view.cluster.created_at),
            last_updated=format_instant(view.cluster.updated_at),
            warnings=view.warnings,
        )


class InventoryItem(Given):
    """An image in a namespace of a cluster. Rendered by `inventories.render_items`, not through this model: a test
    holds the two together."""

    inventory_type: InventoryType
    context: Annotated[str, Field(description="<cluster_name>/<namespace>", examples=["prod/web"])]
    cluster_name: ClusterName
    namespace: Annotated[str, Field(examples=["web"])]
    image_tag: Annotated[str, Field(description="As the cluster names the image", examples=["nginx:1.25"])]
    image_digest: Annotated[str, Field(description="unknown when kai gave none", examples=[_DIGEST])]
    created_at: Annotated[Timestamp, Field(description="When it was first seen")]
    last_updated: Annotated[Timestamp, Field(description="The same as last_seen")]
    last_seen: Timestamp
    present: Annotated[
        bool, Field(description="Whether it runs now, as far as the newest report tells", examples=[True])
    ]


class InventoryReportImage(Taken):
    """An image that runs. An entry that cannot be taken is left out and counted; it refuses no report."""

    tag: Annotated[str, Field(min_length=1, description="At most 4 KiB", examples=["nginx:1.25"])]
    repo_digest: Annotated[
        str | None, Field(alias="repoDigest", description="At most 4 KiB; none: unknown", examples=[_DIGEST])
    ] = None


class InventoryReportItem(Taken):
    """The images of one namespace; none of them: it is empty now."""

    namespace: Annotated[str, Field(min_length=1, max_length=253, description="Without /", examples=["web"])]
    images: list[InventoryReportImage]


class ServerVersion(Taken):
    """What the API server said of itself; other fields that kai sends are ignored."""

    git_version: Annotated[
        str, Field(alias="gitVersion", max_length=256, description="Empty: proves nothing", examples=["v1.30.2"])
    ] = ""


class InventoryReport(Taken):
    """A report as kai 0.2.1 to 0.5.0 prints and posts it. Read by `model.report.parse_report`, not through this
    model: a test holds the two together."""

    cluster_name: Annotated[
        str | None, Field(max_length=1024, description="May also be given in the query", examples=["prod"])
    ] = None
    inventory_type: Annotated[InventoryType | None, Field(examples=["kubernetes"])] = None
    timestamp: Annotated[
        str | None,
        Field(
            description="When the cluster was looked at, RFC 3339; missing, or in the future: now",
            json_schema_extra={"format": "date-time"},
            examples=["2021-09-08T08:26:50Z"],
        ),
    ] = None
    results: Annotated[list[InventoryReportItem], Field(description="Speaks for the namespaces it names, no others")]
    server_version: Annotated[ServerVersion | None, Field(alias="serverVersionMetadata")] = None


class FieldError(Given):
    """A field of a body, or a parameter, that was refused."""

    field: Annotated[str, Field(examples=["cluster_config.namespaces[1]"])]
    problem: Annotated[str, Field(description="What was expected", examples=["expected text"])]


class ErrorDetail(Given):
    """What programs can tell a refusal by."""

    error_codes: Annotated[list[str], Field(description="The error_type, in a list")]
    errors: Annotated[list[FieldError], Field(description="What was refused; only where that can be told")] = []


class ApiErrorResponse(Given):
    """Every refusal but the plain 401."""

    message: Annotated[str, Field(description="For people: what was expected")]
    httpcode: int
    detail: ErrorDetail
    code: int
    error_type: Annotated[str, Field(description="For programs: stable")]


class ServiceState(Given):
    """That the service does its work."""

    status: Literal["ok"]


class Version(Given):
    """A version."""

    version: Annotated[str, Field(examples=["0.1.1"])]


class SchemaVersion(Given):
    """The newest migration of the database."""

    schema_version: Annotated[str, Field(examples=["0001_initial"])]


class Versions(Given):
    """What runs here."""

    service: Version
    api: Version
    db: SchemaVersion
