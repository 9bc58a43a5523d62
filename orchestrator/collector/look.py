"""One look at a cluster, from the claim to the stored run: the flow to which everything else is support."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio
import anyio.to_thread
import structlog

from orchestrator.collector.ledger import Ledger
from orchestrator.collector.pod import Pod, ServiceAccountUnreadable, as_told_in_the_pod
from orchestrator.kai.runner import KaiRunner
from orchestrator.model.cluster import ClusterConfig
from orchestrator.model.run import Reason, RunResult, RunState
from orchestrator.store.claims import Claim
from orchestrator.store.database import DatabaseUnavailable
from orchestrator.store.sealing import CannotUnseal, Sealer

_log = structlog.get_logger(__name__)


class Looker:
    """Looks at one claimed cluster at a time; the loop runs many of these side by side."""

    def __init__(
        self,
        ledger: Ledger,
        sealer: Sealer,
        runner: KaiRunner,
        *,
        storing_seconds: float,
        retry_seconds: float = 1.0,
        pod: Pod | None = None,
    ) -> None:
        """`storing_seconds` is how long a result is tried to be stored while the database is away, every
        `retry_seconds`: no longer than a lease lasts, since then somebody looks again anyway. `pod` is the one that
        this process runs in, where the cluster around it is to be looked at as well."""
        self._ledger = ledger
        self._sealer = sealer
        self._runner = runner
        self._storing_seconds = storing_seconds
        self._retry_seconds = retry_seconds
        self._pod = pod

    async def look(self, claim: Claim, end_renewal: Callable[[], None], *, give_way: anyio.Event | None = None) -> None:
        """Look at the cluster, store what came of it, log it.

        Once `give_way` is set kai is ended, and the cluster is looked at again with its whole time. `end_renewal` is
        called before the result is stored: from there on the number of the claim alone decides, inside the
        transaction. A result that cannot be stored is dropped: the cluster is looked at again.
        """
        try:
            stored = claim.open(self._sealer)
            config = await self._completed(stored)
        except CannotUnseal:
            end_renewal()
            await self._store(claim, lambda: self._ledger.fail(claim, UNREADABLE_CREDENTIAL))
            return
        except ServiceAccountUnreadable as problem:
            unreadable = RunResult(state=RunState.FAILED, reason=problem.reason)
            end_renewal()
            await self._store(claim, lambda: self._ledger.fail(claim, unreadable))
            return
        look = await self._runner.look(config, give_way=give_way)
        if stored.is_own:
            look = replace(look, reason=as_told_in_the_pod(look.reason))
        end_renewal()
        await self._store(claim, lambda: self._ledger.store(claim, config, look))

    async def _completed(self, stored: ClusterConfig) -> ClusterConfig:
        """The config with its credential: the stored one, or for the own cluster the pod's, as it is now. Raises
        ServiceAccountUnreadable."""
        if not stored.is_own:
            return stored
        if self._pod is None:
            raise RuntimeError("the own cluster of another process was claimed")
        return await anyio.to_thread.run_sync(self._pod.complete, stored)

    async def fail(self, claim: Claim, error: Exception) -> None:
        """Record that a bug of ours ended the look."""
        result = tripped_over(error)
        await self._store(claim, lambda: self._ledger.fail(claim, result))

    async def discard(self, claim: Claim) -> None:
        """Record that the claim was lost before the look ended."""
        await self._store(claim, lambda: self._ledger.discard(claim))

    async def _store(self, claim: Claim, write: Callable[[], Awaitable[RunResult]]) -> None:
        told = False
        with anyio.move_on_after(self._storing_seconds):
            while True:
                try:
                    _tell(claim, await write())
                except DatabaseUnavailable as error:
                    if not told:
                        _log.error("look cannot be stored; trying again", cluster=claim.cluster_name, error=str(error))
                        told = True
                    await anyio.sleep(self._retry_seconds)
                else:
                    return
        _log.warning("look not stored, the database is away; it will be done again", cluster=claim.cluster_name)


UNREADABLE_CREDENTIAL = RunResult(
    state=RunState.FAILED,
    reason=Reason(
        "credential_unreadable",
        "The stored credential of this cluster cannot be opened with the sealing keys that the service has.",
        "Give the credential again with a PUT, or start the service with the key that sealed it.",
    ),
)


def tripped_over(error: Exception) -> RunResult:
    """The result of a look that a bug of ours ended. Of the error only its type is told: its text could hold a
    secret of the cluster."""
    return RunResult(
        state=RunState.FAILED,
        reason=Reason(
            "internal_error",
            f"The service itself made an error in this look ({type(error).__name__}); the cluster may be fine.",
            "Look into the service's log at this time, and report the bug with the traceback found there.",
        ),
    )


def _tell(claim: Claim, result: RunResult) -> None:
    reason = result.reason
    says_nothing = result.state in (RunState.DISCARDED, RunState.INTERRUPTED)
    tell = _log.warning if reason and not says_nothing else _log.info
    tell(
        "look",
        cluster=claim.cluster_name,
        account_id=claim.account_id,
        run_id=claim.run_id,
        state=result.state.value,
        reason=reason.code if reason else None,
        namespaces=result.namespaces,
        images=result.images,
        appeared=result.appeared,
        gone=result.gone,
    )
