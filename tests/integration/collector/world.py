"""A whole collector for tests: real database, real children of the stand-in, the loop in the test's own hands."""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
from blockbuster import blockbuster_ctx
from pydantic import SecretStr

from orchestrator.collector.ledger import Ledger
from orchestrator.collector.look import Looker
from orchestrator.collector.loop import CollectorLoop, Pace
from orchestrator.demo import STAND_IN, demo_clusters
from orchestrator.kai.runner import KaiRunner
from orchestrator.kai.workdir import Workdirs
from orchestrator.model.cluster import ClusterConfig, CredentialType
from orchestrator.model.instant import HOUR, MINUTE
from orchestrator.model.network import NetworkRules
from orchestrator.model.retention import Retention
from orchestrator.model.run import Run
from orchestrator.store import accounts, clusters, listing, runs
from orchestrator.store.clusters import Cluster
from orchestrator.store.database import Database, DatabaseUnavailable
from orchestrator.store.ingest import IngestRules
from orchestrator.store.listing import Item, ItemFilter
from orchestrator.store.sealing import Sealer
from orchestrator.store.sweep import SweepRules

T = TypeVar("T")

INTERVAL = 5 * MINUTE
RETENTION = Retention(120)
FAST = Pace(renew_seconds=0.05, poll_seconds=0.05)

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
"""A python3 that starts fast comes first: the stand-in is a script."""


class SwitchableDatabase(Database):
    """A database that can be away: every unit of work then fails before it begins."""

    away = False

    async def read(self, work: Callable[[], T]) -> T:
        self._refuse_when_away()
        return await super().read(work)

    async def write(self, work: Callable[[], T]) -> T:
        self._refuse_when_away()
        return await super().write(work)

    def _refuse_when_away(self) -> None:
        if self.away:
            raise DatabaseUnavailable("switched off by the test")


def config(name: str, scenario: str = "ok", *, namespaces: tuple[str, ...] = ()) -> ClusterConfig:
    """A cluster that the stand-in plays as `scenario` says."""
    return ClusterConfig(
        cluster_name=name,
        server=f"https://{scenario}.fake-kai.test:6443",
        cluster_certificate=demo_clusters()[0].cluster_certificate,
        client_certificate=None,
        credential_type=CredentialType.TOKEN,
        credential=SecretStr("the-token"),
        namespaces=namespaces,
    )


@dataclass
class World:
    """A database with one account, and what loops over it are made of."""

    db: SwitchableDatabase
    sealer: Sealer
    workdirs: Workdirs
    account_id: int

    def runner(self, **options: Any) -> KaiRunner:
        """A runner of the stand-in; options replace the usual ones."""
        usual: dict[str, Any] = {
            "binary": str(STAND_IN),
            "workdirs": self.workdirs,
            "timeout_seconds": 60.0,
            "network_rules": NetworkRules(),
            "path_env": PATH,
        }
        return KaiRunner(**(usual | options))

    def ledger(self, *, lease: int = MINUTE, interval: int = INTERVAL, own_cluster: str | None = None) -> Ledger:
        return Ledger(
            self.db,
            interval=interval,
            lease=lease,
            own_cluster=own_cluster,
            rules=IngestRules(retention=RETENTION, pace=2 * INTERVAL, gap=24 * HOUR),
            sweep_rules=SweepRules(
                retention=RETENTION, presence_days=400, run_history_days=7, run_history_per_cluster=1000
            ),
        )

    def loop(
        self, pace: Pace = FAST, *, runner: Any = None, ledger: Ledger | None = None, **options: Any
    ) -> CollectorLoop:
        ledger = ledger or self.ledger()
        looker = Looker(ledger, self.sealer, runner or self.runner(), storing_seconds=40)
        return CollectorLoop(ledger, looker, pace, **options)

    async def add(self, given: ClusterConfig) -> Cluster:
        return await self.db.write(lambda: clusters.add(self.db, self.sealer, self.account_id, given))

    async def replace(self, given: ClusterConfig) -> Cluster:
        return await self.db.write(
            lambda: clusters.replace(
                self.db, self.sealer, self.account_id, given, keep_credential=False, retention=RETENTION
            )
        )

    async def delete(self, name: str) -> None:
        await self.db.write(lambda: clusters.delete(self.db, self.account_id, name, retention=RETENTION))

    async def request(self, name: str) -> Run:
        return await self.db.write(lambda: clusters.request_look(self.db, self.account_id, name))

    async def cluster(self, name: str) -> Cluster:
        return await self.db.read(lambda: clusters.find(self.db, self.sealer, self.account_id, name))

    async def runs(self, name: str) -> list[Run]:
        """Newest first."""
        return await self.db.read(lambda: runs.list_runs(self.db, self.account_id, name, limit=100))

    async def items(self, name: str) -> list[Item]:
        def unit() -> list[Item]:
            return listing.read_page(
                self.db,
                self.account_id,
                ItemFilter(cluster_name=name),
                retention=RETENTION,
                now=self.db.now(),
                after=None,
                limit=10_000,
            )

        return await self.db.read(unit)

    async def ended_run(self, name: str, *, beyond: int = 0) -> Run:
        """The newest run of a cluster once it has ended and more than `beyond` runs have."""

        async def ended() -> Run | None:
            found = [each for each in await self.runs(name) if each.result.state.ended]
            return found[0] if len(found) > beyond else None

        return await eventually(ended)

    async def look(self, name: str) -> Run:
        """Ask for a look and return its run once it has ended."""
        asked = await self.request(name)

        async def ended() -> Run | None:
            run = await self.db.read(lambda: runs.find_run(self.db, self.account_id, asked.id))
            return run if run and run.result.state.ended else None

        return await eventually(ended)

    async def running(self, name: str) -> Cluster:
        """The cluster once somebody looks at it."""

        async def found() -> Cluster | None:
            cluster = await self.cluster(name)
            return cluster if cluster.running else None

        return await eventually(found)


@contextmanager
def make_world(url: str, tmp_path: Path) -> Iterator[World]:
    """A world on an empty database."""
    db = SwitchableDatabase(SecretStr(url))
    db.migrate()
    account = db.writing(lambda: accounts.ensure_account(db, "admin"))
    try:
        with Workdirs.open(tmp_path) as workdirs:
            yield World(db, Sealer([bytes(32)]), workdirs, account.id)
    finally:
        db.close()


@asynccontextmanager
async def running(*loops: CollectorLoop) -> AsyncIterator[None]:
    """The loops run inside the block, are cancelled at its end and waited for.

    A blocking call of ours on the event loop's thread fails the test: all other looks would have to wait for it.
    """
    with blockbuster_ctx("orchestrator"):
        async with anyio.create_task_group() as tasks:
            for loop in loops:
                tasks.start_soon(loop.run)
            yield
            tasks.cancel_scope.cancel()


async def eventually(find: Callable[[], Awaitable[T | None]], *, seconds: float = 30) -> T:
    """What `find` finds, asked until it finds something."""
    with anyio.fail_after(seconds):
        while (found := await find()) is None:  # noqa: ASYNC110 - nobody announces what is in a database
            await anyio.sleep(0.01)
    return found
