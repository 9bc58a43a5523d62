"""The API on a real database, spoken to through ASGI; looks are played by the test."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher
from pydantic import SecretStr
from starlette.applications import Starlette

from orchestrator.api.app import create_api
from orchestrator.catalog.access import Access
from orchestrator.catalog.bootstrap import ensure_admin
from orchestrator.catalog.clusters import ClusterCatalog
from orchestrator.catalog.inventory import InventoryCatalog
from orchestrator.catalog.passwords import Passwords
from orchestrator.catalog.reports import ReportCatalog
from orchestrator.catalog.sources import SourceCatalog
from orchestrator.catalog.system import System
from orchestrator.model.instant import DAY, HOUR, MINUTE, Instant
from orchestrator.model.network import NetworkRules
from orchestrator.model.report import Image
from orchestrator.model.retention import Retention
from orchestrator.model.run import EMBEDDED_SENDER, Reason, RunResult, RunState
from orchestrator.model.slots import Room
from orchestrator.store import claims
from orchestrator.store.claims import Claim
from orchestrator.store.database import Database
from orchestrator.store.ingest import IngestRules, ingest
from orchestrator.store.sealing import Sealer
from tests.integration.store.builders import report

BEGIN: Instant = 20_000 * DAY
INTERVAL = 5 * MINUTE
PASSWORD = "foobar"
CLUSTERS = "/v1/enterprise/inventories/clusters"
INVENTORIES = "/v1/enterprise/inventories"
CREDENTIAL = "canary-credential-0815"


def body(cluster_name: str | None = "prod", **config: object) -> dict[str, object]:
    """A cluster as the seed documentation's example has it; `config` replaces parts of its cluster_config."""
    given: dict[str, object] = {
        "credential_type": "token",
        "namespaces": ["all"],
        "cluster_server": "https://10.0.0.1:6443",
        "cluster_certificate": "abc",
        "client_certificate": "def",
        "credential": CREDENTIAL,
    }
    document: dict[str, object] = {"inventory_type": "kubernetes", "cluster_config": {**given, **config}}
    if cluster_name is not None:
        document["cluster_name"] = cluster_name
    return document


@dataclass
class Service:
    """The API's parts, and short ways to play what happens around it."""

    db: Database
    app: Starlette
    clusters: ClusterCatalog
    sealer: Sealer
    retention: Retention = field(default_factory=Retention)
    now: Instant = BEGIN
    loop_alive: bool = True
    stopping: bool = False
    woken: int = 0
    on_wake: Callable[[], None] = lambda: None

    def advance(self, by: int) -> None:
        self.now += by

    def claim(self) -> Claim:
        """Begin the look that is due."""
        due = self.db.writing(lambda: claims.claim_due(self.db, Room.of(1), lease=MINUTE, interval=INTERVAL))
        return due[0]

    def succeed(self, claim: Claim, namespaces: dict[str, Iterable[Image]], *, left_out: int = 0) -> None:
        """End a look with a report."""

        def unit() -> None:
            taken = ingest(
                self.db,
                report(namespaces),
                account_id=claim.account_id,
                inventory_type="kubernetes",
                cluster_name=claim.cluster_name,
                sender=EMBEDDED_SENDER,
                whole_cluster=True,
                rules=IngestRules(retention=self.retention, pace=HOUR, gap=DAY),
                claim=claim,
            )
            result = RunResult(
                state=RunState.SUCCEEDED,
                exit_code=0,
                namespaces=taken.namespaces,
                images=taken.images,
                appeared=taken.appeared,
                gone=taken.gone,
                left_out=left_out,
                kai_version="0.5.0",
                server_version="v1.30.0",
            )
            claims.finish(self.db, claim, result, interval=INTERVAL)

        self.db.writing(unit)

    def fail(self, claim: Claim, code: str = "unauthorized") -> None:
        """End a look with a failure."""
        reason = Reason(code, "The API server does not accept the credential", "Give a token that is valid")
        result = RunResult(state=RunState.FAILED, reason=reason, exit_code=1, stderr_excerpt="no", kai_version="0.5.0")
        self.db.writing(lambda: claims.finish(self.db, claim, result, interval=INTERVAL))


def make_service(db_url: str, password_file: Path, *, page_items: int = 5_000, ttl_days: int = 120) -> Service:
    """A service on an empty database, with the user admin."""
    retention = Retention(ttl_days)
    sealer = Sealer([bytes(range(32))])
    holder: list[Service] = []
    db = Database(SecretStr(db_url), clock=lambda: holder[0].now if holder else BEGIN)
    db.migrate()
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    ensure_admin(db, passwords, password=SecretStr(PASSWORD), password_file=password_file)

    def wake() -> None:
        holder[0].woken += 1
        holder[0].on_wake()

    clusters = ClusterCatalog(
        db,
        sealer,
        network_rules=NetworkRules.parse((), ("169.254.0.0/16",)),
        retention=retention,
        interval=INTERVAL,
        wake=wake,
    )
    app = create_api(
        access=Access(db, passwords),
        clusters=clusters,
        inventory=InventoryCatalog(db, retention=retention, interval=INTERVAL, page_items=page_items),
        reports=ReportCatalog(db, retention=retention, gap=DAY),
        sources=SourceCatalog(db, sealer, retention=retention, interval=INTERVAL),
        system=System(db),
        service_version="1.2.3",
        loop_alive=lambda: holder[0].loop_alive,
        stopping=lambda: holder[0].stopping,
    )
    holder.append(Service(db, app, clusters, sealer, retention))
    return holder[0]


def make_client(app: Starlette, **options: object) -> httpx.AsyncClient:
    """A client that is signed in, unless told otherwise."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    settings: dict[str, object] = {"auth": ("admin", PASSWORD), "base_url": "http://test", **options}
    return httpx.AsyncClient(transport=transport, **settings)  # type: ignore[arg-type]


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[Service]:
    made = make_service(database_url, tmp_path / "admin.password")
    yield made
    made.db.close()


@pytest.fixture
def sqlite_service(sqlite_url: str, tmp_path: Path) -> Iterator[Service]:
    """For what does not depend on the database."""
    made = make_service(sqlite_url, tmp_path / "admin.password")
    yield made
    made.db.close()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with make_client(service.app) as made:
        yield made


@pytest.fixture
async def sqlite_client(sqlite_service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with make_client(sqlite_service.app) as made:
        yield made
