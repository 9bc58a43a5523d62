"""Taking a report into the inventory: the only way anything gets there, pulled or posted.

The steady state is that nothing changed, and it costs one row a namespace however many images that holds.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from orchestrator.model.instant import MINUTE, Instant
from orchestrator.model.presence import compare
from orchestrator.model.report import Image, InventoryReport, fingerprint
from orchestrator.model.retention import Retention
from orchestrator.model.run import EMBEDDED_SENDER, RunState
from orchestrator.store import tables
from orchestrator.store.claims import Claim, lock_claimed
from orchestrator.store.database import Database
from orchestrator.store.presence import apply_change, known_items
from orchestrator.store.sources import in_batches, lock_or_make_source

CLOCK_TOLERANCE = 5 * MINUTE


@dataclass(frozen=True, slots=True)
class IngestRules:
    """What an ingest goes by. `pace` is the longest time between two reports of a context in which nothing was missed,
    `gap` the shortest absence that ends an interval of presence; both in microseconds."""

    retention: Retention
    pace: int
    gap: int


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What a report did: `state` is SUCCEEDED, or LATE: older than its sender's newest, it changed nothing."""

    state: RunState
    namespaces: int = 0
    images: int = 0
    appeared: int = 0
    gone: int = 0


@dataclass(frozen=True, slots=True)
class _Sender:
    id: int
    report_at: Instant
    received_at: Instant
    covered_since: Instant | None


@dataclass(frozen=True, slots=True)
class _Context:
    id: int
    namespace: str
    sender_id: int
    received_at: Instant
    covered_since: Instant
    fingerprint: bytes | None
    gone: int


def ingest(
    db: Database,
    report: InventoryReport,
    *,
    account_id: int,
    inventory_type: str,
    cluster_name: str,
    sender: str,
    whole_cluster: bool,
    rules: IngestRules,
    claim: Claim | None = None,
) -> IngestResult:
    """Take a report in, in one unit of work. `whole_cluster` is whether the sender looked at all namespaces: then
    those of its own that the report no longer names are gone.

    Locks the source first and, for a look, the claimed cluster. Raises ClaimLost, and then nothing is written.
    """
    source_id = lock_or_make_source(db, account_id, inventory_type, cluster_name)
    if claim is not None:
        lock_claimed(db, claim)
    previous = _find_sender(db, source_id, sender)
    now = max(db.now(), previous.received_at if previous else 0)
    report_at = _ordered_at(report, sender=sender, now=now)
    if previous is not None and report_at < previous.report_at:
        return IngestResult(RunState.LATE)
    sender_id = _store_sender(
        db, source_id, sender, previous, report_at=report_at, now=now, whole_cluster=whole_cluster, rules=rules
    )
    work = _Ingest(
        db,
        account_id=account_id,
        source_id=source_id,
        cluster_name=cluster_name,
        sender_id=sender_id,
        previous=previous,
        report_at=report_at,
        now=now,
        rules=rules,
    )
    work.take(_merged(report), whole_cluster=whole_cluster)
    return IngestResult(
        RunState.SUCCEEDED,
        namespaces=len(report.namespaces),
        images=report.image_count,
        appeared=work.appeared,
        gone=work.gone,
    )


def _merged(report: InventoryReport) -> dict[str, frozenset[Image]]:
    merged: dict[str, frozenset[Image]] = {}
    for each in report.namespaces:
        merged[each.namespace] = merged.get(each.namespace, frozenset()) | each.images
    return merged


def _ordered_at(report: InventoryReport, *, sender: str, now: Instant) -> Instant:
    """The instant by which reports of one sender are ordered.

    A posting user's reports are ordered by their own timestamps; a missing one, or one too far ahead, counts as now.
    Looks are ordered by their claims already: their timestamps come from the clocks of replicas, which may disagree.
    """
    if sender == EMBEDDED_SENDER or report.timestamp is None or report.timestamp > now + CLOCK_TOLERANCE:
        return now
    return report.timestamp


def _find_sender(db: Database, source_id: int, name: str) -> _Sender | None:
    row = db.one(
        "SELECT id, report_at, received_at, covered_since FROM sender WHERE source_id = ? AND name = ?",
        (source_id, name),
    )
    return None if row is None else _Sender(*row)


def _store_sender(
    db: Database,
    source_id: int,
    name: str,
    previous: _Sender | None,
    *,
    report_at: Instant,
    now: Instant,
    whole_cluster: bool,
    rules: IngestRules,
) -> int:
    covered_since: Instant | None = None
    if whole_cluster:
        unbroken = previous is not None and now - previous.received_at <= rules.pace
        covered_since = previous.covered_since if previous is not None and unbroken else None
        covered_since = now if covered_since is None else covered_since
    values = {"report_at": report_at, "received_at": now, "covered_since": covered_since}
    if previous is None:
        made: int = db.run(tables.Sender.insert(source_id=source_id, name=name, **values))
        return made
    db.run(tables.Sender.update(**values).where(tables.Sender.id == previous.id))
    return previous.id


class _Ingest:
    """One report being taken in: what all of its namespaces have in common, and what they added up to."""

    def __init__(
        self,
        db: Database,
        *,
        account_id: int,
        source_id: int,
        cluster_name: str,
        sender_id: int,
        previous: _Sender | None,
        report_at: Instant,
        now: Instant,
        rules: IngestRules,
    ) -> None:
        self._db = db
        self._account_id = account_id
        self._source_id = source_id
        self._cluster_name = cluster_name
        self._sender_id = sender_id
        self._previous = previous
        self._report_at = report_at
        self._now = now
        self._rules = rules
        self._seen: defaultdict[tuple[tuple[str, Any], ...], list[int]] = defaultdict(list)
        self.appeared = 0
        self.gone = 0

    def take(self, reported: dict[str, frozenset[Image]], *, whole_cluster: bool) -> None:
        contexts = self._contexts()
        for namespace, images in reported.items():
            context = contexts.get(namespace)
            if context is None:
                self._add_context(namespace, images)
            else:
                self._update_context(context, images, gone=False)
        if whole_cluster:
            for context in contexts.values():
                if context.namespace not in reported and context.sender_id == self._sender_id and not context.gone:
                    self._update_context(context, frozenset(), gone=True)
        self._mark_seen()

    def _contexts(self) -> dict[str, _Context]:
        rows = self._db.rows(
            "SELECT id, namespace, sender_id, received_at, covered_since, fingerprint, gone"
            " FROM context WHERE source_id = ?",
            (self._source_id,),
        )
        return {row[1]: _Context(*row) for row in rows}

    def _add_context(self, namespace: str, images: frozenset[Image]) -> None:
        context_id = self._db.run(
            tables.Context.insert(
                account_id=self._account_id,
                source_id=self._source_id,
                sender_id=self._sender_id,
                namespace=namespace,
                name=f"{self._cluster_name}/{namespace}",
                report_at=self._report_at,
                received_at=self._now,
                covered_since=self._now,
                fingerprint=fingerprint(images),
                gone=0,
            )
        )
        self._apply(context_id, images, seen_until=self._now, still_returned=True, known=False)

    def _update_context(self, context: _Context, images: frozenset[Image], *, gone: bool) -> None:
        changes: dict[str, Any] = {"gone": int(gone)}
        covered_until = self._covered_until(context)
        if self._now - covered_until > self._rules.pace:
            self._db.run(
                tables.Coverage.insert(context_id=context.id, started_at=context.covered_since, ended_at=covered_until)
            )
            changes["covered_since"] = self._now
        newest = fingerprint(images)
        still_returned = not self._rules.retention.present_expired(context.received_at, self._now)
        if newest != context.fingerprint or not still_returned:
            self._apply(context.id, images, seen_until=context.received_at, still_returned=still_returned)
            changes["fingerprint"] = newest
        self._seen[tuple(sorted(changes.items()))].append(context.id)

    def _covered_until(self, context: _Context) -> Instant:
        """Until when it was known what runs in the context: one that was gone stayed so while whole looks went on."""
        previous = self._previous
        if (
            context.gone
            and previous is not None
            and previous.id == context.sender_id
            and previous.covered_since is not None
            and previous.covered_since <= context.received_at
        ):
            return previous.received_at
        return context.received_at

    def _apply(
        self,
        context_id: int,
        images: frozenset[Image],
        *,
        seen_until: Instant,
        still_returned: bool,
        known: bool = True,
    ) -> None:
        change = compare(
            known_items(self._db, context_id) if known else (),
            images,
            seen_until=seen_until,
            still_returned=still_returned,
            now=self._now,
            retention=self._rules.retention,
            gap=self._rules.gap,
        )
        apply_change(self._db, context_id, change, seen_until=seen_until, now=self._now)
        self.appeared += len(change.appeared) + len(change.returned)
        self.gone += len(change.gone)

    def _mark_seen(self) -> None:
        """One statement for all contexts that change alike: in the steady state, one for the whole report."""
        common = {"sender_id": self._sender_id, "report_at": self._report_at, "received_at": self._now}
        for changes, ids in self._seen.items():
            for batch in in_batches(ids):
                self._db.run(tables.Context.update(**common, **dict(changes)).where(tables.Context.id.in_(batch)))
