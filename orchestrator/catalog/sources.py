"""Every source of the account that reports, embedded or external, and how it is doing."""

from collections import defaultdict
from collections.abc import Sequence

from orchestrator.catalog.access import Caller
from orchestrator.catalog.status import ClusterStatus, status_of, status_of_senders
from orchestrator.model.retention import Retention
from orchestrator.model.run import Run
from orchestrator.store import audit, clusters, posts, removal, runs
from orchestrator.store.database import Database
from orchestrator.store.listing import ItemFilter
from orchestrator.store.posts import SenderState
from orchestrator.store.sealing import Sealer


class SourceCatalog:
    """The sources of the caller's account, whoever reports about them. Every method raises DatabaseUnavailable."""

    def __init__(self, db: Database, sealer: Sealer, *, retention: Retention, interval: int) -> None:
        """`interval` is from look to look of embedded mode, in microseconds."""
        self._db = db
        self._sealer = sealer
        self._retention = retention
        self._interval = interval

    async def statuses(self, caller: Caller) -> list[ClusterStatus]:
        """The status of each source, by its cluster's name. A configured cluster's is that of its looks, another
        one's that of the sender whose report came last."""

        def unit() -> list[ClusterStatus]:
            now = self._db.now()
            posting = _by_cluster(posts.list_senders(self._db, caller.account.id))
            found = [
                status_of(
                    cluster,
                    interval=self._interval,
                    retention=self._retention,
                    now=now,
                    senders=posting.pop(cluster.config.cluster_name, ()),
                )
                for cluster in clusters.list_all(self._db, self._sealer, caller.account.id)
            ]
            found += [status_of_senders(senders, retention=self._retention, now=now) for senders in posting.values()]
            return sorted(found, key=lambda status: status.cluster_name)

        return await self._db.read(unit)

    async def runs(self, caller: Caller, *, cluster_name: str | None, limit: int) -> list[Run]:
        """The newest runs of all sources, or of one; also of those that were refused or whose cluster is deleted."""
        return await self._db.read(lambda: runs.list_runs(self._db, caller.account.id, cluster_name, limit=limit))

    async def remove(self, caller: Caller, wanted: ItemFilter) -> int:
        """Remove items from the inventory on purpose; returns how many. What still runs will be reported anew."""

        def unit() -> int:
            removed = removal.remove_items(self._db, caller.account.id, wanted)
            audit.record(
                self._db,
                account_id=caller.account.id,
                username=caller.user.username,
                action="inventory.remove",
                subject=wanted.context or wanted.image_digest or "",
                detail=f"{removed} items; context {wanted.context}, image_digest {wanted.image_digest}",
            )
            return removed

        return await self._db.write(unit)


def _by_cluster(senders: Sequence[SenderState]) -> dict[str, list[SenderState]]:
    grouped: defaultdict[str, list[SenderState]] = defaultdict(list)
    for sender in senders:
        grouped[sender.cluster_name].append(sender)
    return dict(grouped)
