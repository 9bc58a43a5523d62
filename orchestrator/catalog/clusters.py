"""What may be done with configured clusters: add, read, replace, delete, look at now, read their history."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio

from orchestrator.catalog.access import Caller
from orchestrator.catalog.status import ClusterStatus, status_of, warnings_of
from orchestrator.model.cluster import INVENTORY_TYPE, ClusterConfig, check_cluster
from orchestrator.model.network import NetworkRules
from orchestrator.model.retention import Retention
from orchestrator.model.run import Run
from orchestrator.store import audit, clusters, posts, runs
from orchestrator.store.clusters import Cluster, ClusterExists, ClusterNotFound
from orchestrator.store.database import Database, DatabaseUnavailable
from orchestrator.store.sealing import Sealer

__all__ = ["Cluster", "ClusterCatalog", "ClusterExists", "ClusterNotFound", "ClusterView"]

_FIRST_POLL_SECONDS: Final = 0.05
_LONGEST_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A stored cluster, and what about it will not work or soon will not."""

    cluster: Cluster
    warnings: list[str]


class ClusterCatalog:
    """The configured clusters of the caller's account. Every method raises DatabaseUnavailable."""

    def __init__(
        self,
        db: Database,
        sealer: Sealer,
        *,
        network_rules: NetworkRules,
        retention: Retention,
        interval: int,
        wake: Callable[[], None],
    ) -> None:
        """`interval` is from look to look in microseconds; `wake` tells this process's loop that a cluster is due, or
        was changed or deleted."""
        self._db = db
        self._sealer = sealer
        self._network_rules = network_rules
        self._retention = retention
        self._interval = interval
        self._wake = wake

    async def add(self, caller: Caller, config: ClusterConfig) -> ClusterView:
        """Store a new cluster, to be looked at right away. Raises InvalidField and ClusterExists."""
        self._check(config)

        def unit() -> ClusterView:
            cluster = clusters.add(self._db, self._sealer, caller.account.id, config)
            self._record(caller, "cluster.add", config.cluster_name, f"server {config.server}")
            return self._view(cluster)

        view = await self._db.write(unit)
        self._wake()
        return view

    async def list_all(self, caller: Caller, *, inventory_type: str | None = None) -> list[ClusterView]:
        """Every cluster, by name; of one inventory type if that is asked for."""
        if inventory_type not in (None, INVENTORY_TYPE):
            return []

        def unit() -> list[ClusterView]:
            found = clusters.list_all(self._db, self._sealer, caller.account.id)
            return [self._view(cluster) for cluster in found]

        return await self._db.read(unit)

    async def get(self, caller: Caller, cluster_name: str) -> ClusterView:
        """One cluster. Raises ClusterNotFound."""
        return await self._db.read(lambda: self._view(self._find(caller, cluster_name)))

    async def replace(self, caller: Caller, config: ClusterConfig, *, keep_credential: bool) -> ClusterView:
        """Put another config in the place of the stored one, to be looked at right away.

        With `keep_credential` the stored credential stays and the one in `config` is ignored: InvalidField unless
        it goes to the same destination. Raises InvalidField and ClusterNotFound.
        """
        self._check(config)

        def unit() -> ClusterView:
            cluster = clusters.replace(
                self._db,
                self._sealer,
                caller.account.id,
                config,
                keep_credential=keep_credential,
                retention=self._retention,
            )
            kept = "credential kept" if keep_credential else "credential given"
            self._record(caller, "cluster.replace", config.cluster_name, f"server {config.server}, {kept}")
            return self._view(cluster)

        view = await self._db.write(unit)
        self._wake()
        return view

    async def delete(self, caller: Caller, cluster_name: str) -> None:
        """Delete a cluster; its images are no longer present and age out. Raises ClusterNotFound."""

        def unit() -> None:
            clusters.delete(self._db, caller.account.id, cluster_name, retention=self._retention)
            self._record(caller, "cluster.delete", cluster_name, "")

        await self._db.write(unit)
        self._wake()

    async def status(self, caller: Caller, cluster_name: str) -> ClusterStatus:
        """How far the cluster's inventory can be trusted. Raises ClusterNotFound."""

        def unit() -> ClusterStatus:
            return status_of(
                self._find(caller, cluster_name),
                interval=self._interval,
                retention=self._retention,
                now=self._db.now(),
                senders=posts.list_senders(self._db, caller.account.id, cluster_name),
            )

        return await self._db.read(unit)

    async def runs(self, caller: Caller, cluster_name: str, *, limit: int) -> list[Run]:
        """The newest runs, newest first. Raises ClusterNotFound."""

        def unit() -> list[Run]:
            self._find(caller, cluster_name)
            return runs.list_runs(self._db, caller.account.id, cluster_name, limit=limit)

        return await self._db.read(unit)

    async def request_look(self, caller: Caller, cluster_name: str) -> Run:
        """Have the cluster looked at now; returns the run that the look will be. Raises ClusterNotFound."""
        run = await self._db.write(lambda: clusters.request_look(self._db, caller.account.id, cluster_name))
        self._wake()
        return run

    async def wait_for_end(self, caller: Caller, run: Run, *, seconds: float, stopping: Callable[[], bool]) -> Run:
        """The run as it is once it has ended, after `seconds`, or soon after `stopping` says so: whichever is first.

        The run may be another replica's, so the database is asked, ever less often down to twice a second. One that
        is away meanwhile tells nothing about the run, which was asked for already: the wait goes on.
        """
        deadline = anyio.current_time() + seconds
        pause = _FIRST_POLL_SECONDS
        while not run.result.state.ended and not stopping() and anyio.current_time() < deadline:
            await anyio.sleep(min(pause, deadline - anyio.current_time()))
            pause = min(pause * 1.5, _LONGEST_POLL_SECONDS)
            with suppress(DatabaseUnavailable):
                found = await self._db.read(partial(runs.find_run, self._db, caller.account.id, run.id))
                # A run that was swept meanwhile stays as it was last seen.
                run = found or run
        return run

    def _check(self, config: ClusterConfig) -> None:
        check_cluster(config)
        self._network_rules.check_server(config.server)

    def _find(self, caller: Caller, cluster_name: str) -> Cluster:
        return clusters.find(self._db, self._sealer, caller.account.id, cluster_name)

    def _view(self, cluster: Cluster) -> ClusterView:
        return ClusterView(cluster, warnings_of(cluster, retention=self._retention, now=self._db.now()))

    def _record(self, caller: Caller, action: str, subject: str, detail: str) -> None:
        audit.record(
            self._db,
            account_id=caller.account.id,
            username=caller.user.username,
            action=action,
            subject=subject,
            detail=detail,
        )
