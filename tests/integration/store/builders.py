"""Short ways to make what the store's tests need."""

from collections.abc import Iterable

from pydantic import SecretStr

from orchestrator.model.cluster import ClusterConfig, CredentialType
from orchestrator.model.instant import DAY, HOUR, Instant
from orchestrator.model.report import Image, InventoryReport, NamespaceReport
from orchestrator.model.retention import Retention
from orchestrator.model.run import EMBEDDED_SENDER
from orchestrator.store.claims import Claim
from orchestrator.store.database import Database
from orchestrator.store.ingest import IngestResult, IngestRules, ingest
from orchestrator.store.listing import Item, ItemFilter, Position, read_page


def config(
    cluster_name: str = "prod", *, namespaces: tuple[str, ...] = ("all",), server: str = "https://k8s"
) -> ClusterConfig:
    return ClusterConfig(
        cluster_name=cluster_name,
        server=server,
        cluster_certificate="abc",
        client_certificate=None,
        credential_type=CredentialType.TOKEN,
        credential=SecretStr("jkl"),
        namespaces=namespaces,
    )


def report(
    namespaces: dict[str, Iterable[Image]], *, timestamp: Instant | None = None, left_out: int = 0
) -> InventoryReport:
    return InventoryReport(
        cluster_name=None,
        inventory_type=None,
        timestamp=timestamp,
        server_version="v1.30.0",
        namespaces=tuple(NamespaceReport(name, frozenset(images)) for name, images in namespaces.items()),
        left_out=left_out,
    )


class Inventory:
    """One account's inventory in a database, with the settings of one installation."""

    def __init__(self, db: Database, account_id: int, *, ttl_days: int = 120) -> None:
        self.db = db
        self.account_id = account_id
        self.retention = Retention(ttl_days)

    def take(
        self,
        namespaces: dict[str, Iterable[Image]],
        *,
        cluster_name: str = "prod",
        sender: str = EMBEDDED_SENDER,
        whole_cluster: bool = True,
        timestamp: Instant | None = None,
        claim: Claim | None = None,
    ) -> IngestResult:
        return self.db.writing(
            lambda: ingest(
                self.db,
                report(namespaces, timestamp=timestamp),
                account_id=self.account_id,
                inventory_type="kubernetes",
                cluster_name=cluster_name,
                sender=sender,
                whole_cluster=whole_cluster,
                rules=IngestRules(retention=self.retention, pace=HOUR, gap=DAY),
                claim=claim,
            )
        )

    def items(
        self, wanted: ItemFilter | None = None, *, after: Position | None = None, limit: int = 10_000
    ) -> list[Item]:
        return self.db.reading(
            lambda: read_page(
                self.db,
                self.account_id,
                wanted or ItemFilter(),
                retention=self.retention,
                now=self.db.now(),
                after=after,
                limit=limit,
            )
        )

    def images(self, *, present: bool | None = None) -> list[tuple[str, str, str]]:
        """Context, tag and digest of what is returned."""
        return [(item.context, item.image_tag, item.image_digest) for item in self.items(ItemFilter(present=present))]
