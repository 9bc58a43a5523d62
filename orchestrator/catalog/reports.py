"""Taking the reports that agents post: from the bytes of a body to a receipt, whatever the bytes are."""

from dataclasses import dataclass
from typing import Final

import anyio
import anyio.to_thread

from orchestrator.catalog.access import Caller
from orchestrator.model.cluster import INVENTORY_TYPE
from orchestrator.model.fields import InvalidField
from orchestrator.model.report import InventoryReport, MalformedReport, is_reported_name, parse_report, subject_of
from orchestrator.model.retention import Retention
from orchestrator.model.run import Reason, RunResult, RunState, user_sender
from orchestrator.store import listing, posts
from orchestrator.store.database import Database
from orchestrator.store.listing import Item
from orchestrator.store.posts import Post

# Each may be 64 MiB of JSON, which takes several times that once it is read.
_READ_AT_A_TIME: Final = 2


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a posted report came to. `items` are those of the namespaces it names; none when it changed nothing."""

    run_id: int
    cluster_name: str
    result: RunResult
    items: list[Item]


class ReportRefused(Exception):
    """The body is no report that can be taken. `field` is where, `problem` what was expected there; the refusal is
    run `run_id` in the history."""

    def __init__(self, field: str, problem: str, run_id: int) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.run_id = run_id


class ReportCatalog:
    """Reports posted into the caller's account. Every method raises DatabaseUnavailable."""

    def __init__(self, db: Database, *, retention: Retention, gap: int) -> None:
        """`gap` is the shortest absence that ends an interval of presence, in microseconds."""
        self._db = db
        self._retention = retention
        self._gap = gap
        self._readers = anyio.CapacityLimiter(_READ_AT_A_TIME)

    async def take(self, caller: Caller, body: bytes, *, cluster_name: str | None) -> Receipt:
        """Take a report about the cluster it names, or else `cluster_name`. Raises ReportRefused.

        One whose API server told no version proves nothing: it changes nothing, and is kept as a failed run. It is
        no refusal, since the agent that sent it can do nothing about it.
        """
        try:
            report = await anyio.to_thread.run_sync(parse_report, body, limiter=self._readers)
            post = self._post(caller, subject_of(report, cluster_name))
        except MalformedReport as error:
            raise await self._refused(caller, cluster_name, error.position, error.problem) from None
        except InvalidField as error:
            raise await self._refused(caller, cluster_name, error.field, error.problem) from None
        if report.server_version == "":
            return await self._unproven(post)
        return await self._db.write(lambda: self._take(post, report))

    def _take(self, post: Post, report: InventoryReport) -> Receipt:
        run_id, result = posts.take_post(self._db, post, report, retention=self._retention, gap=self._gap)
        items = []
        if result.state is RunState.SUCCEEDED:
            items = listing.read_namespaces(
                self._db,
                post.account_id,
                inventory_type=post.inventory_type,
                cluster_name=post.cluster_name,
                namespaces={each.namespace for each in report.namespaces},
            )
        return Receipt(run_id, post.cluster_name, result, items)

    async def _unproven(self, post: Post) -> Receipt:
        result = RunResult(state=RunState.FAILED, reason=NO_SERVER_VERSION)
        run_id = await self._db.write(lambda: posts.refuse_post(self._db, post, NO_SERVER_VERSION))
        return Receipt(run_id, post.cluster_name, result, [])

    async def _refused(self, caller: Caller, cluster_name: str | None, field: str, problem: str) -> ReportRefused:
        """The refusal, kept in the history: under the name that the sender gave beside the report, if any."""
        post = self._post(caller, cluster_name if cluster_name and is_reported_name(cluster_name) else "")
        reason = Reason("malformed_report", f"{field}: {problem}", "Post what kai prints with -o json, as it is.")
        run_id = await self._db.write(lambda: posts.refuse_post(self._db, post, reason))
        return ReportRefused(field, problem, run_id)

    def _post(self, caller: Caller, cluster_name: str) -> Post:
        return Post(
            account_id=caller.account.id,
            inventory_type=INVENTORY_TYPE,
            cluster_name=cluster_name,
            sender=user_sender(caller.user.username),
        )


NO_SERVER_VERSION: Final = Reason(
    "not_kubernetes",
    "The API server told the agent no version: what answered it is not a Kubernetes API server.",
    "Check the server in the agent's kubeconfig; a login page or a redirect also answers to everything.",
)
