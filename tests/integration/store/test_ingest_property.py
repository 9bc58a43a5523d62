"""Any sequence of reports, sweeps and deletions, held against the naive model."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from orchestrator.model.instant import DAY, HOUR, MINUTE, SECOND
from orchestrator.model.report import Image, InventoryReport, NamespaceReport
from orchestrator.model.retention import Retention
from orchestrator.model.run import EMBEDDED_SENDER, RunState
from orchestrator.store import accounts
from orchestrator.store.database import Database
from orchestrator.store.ingest import IngestRules, ingest
from orchestrator.store.listing import ItemFilter, read_page
from orchestrator.store.presence import end_presence
from orchestrator.store.sources import lock_source
from orchestrator.store.sweep import Source, SweepRules, sweep_source
from tests.integration.postgres import PostgresServer
from tests.integration.store.conftest import Clock
from tests.integration.store.naive import Key, NaiveInventory

NAMESPACES = ["a", "b", "c"]
IMAGES: list[Image] = [("web:1", "sha256:1"), ("web:1", "sha256:2"), ("web:1", "unknown"), ("db:1", "unknown")]

namespace_reports = st.dictionaries(st.sampled_from(NAMESPACES), st.sets(st.sampled_from(IMAGES)), max_size=3)
waits = st.sampled_from([SECOND, MINUTE, 5 * HOUR, DAY, DAY + 1, 2 * DAY, 3 * DAY])
looks = st.tuples(st.just("look"), waits, namespace_reports, st.booleans())
posts = st.tuples(
    st.just("post"),
    waits,
    namespace_reports,
    st.sampled_from(["user:x", "user:y"]),
    st.sampled_from([None, -2 * DAY, -HOUR, 0, HOUR]),
)
sweeps = st.tuples(st.just("sweep"), waits)
ends = st.tuples(st.just("end"), waits, st.sets(st.sampled_from(NAMESPACES)))
steps = st.lists(st.one_of(looks, looks, posts, sweeps, ends), min_size=1, max_size=12)

_numbers = itertools.count()


class Pair:
    """The store and the naive model, given the same things to do."""

    def __init__(self, db: Database, clock: Clock, account_id: int, *, ttl_days: int, presence_days: int) -> None:
        self.db = db
        self.clock = clock
        self.account_id = account_id
        self.cluster_name = f"cluster-{next(_numbers)}"
        self.retention = Retention(ttl_days)
        self.presence_days = presence_days
        self.rules = IngestRules(retention=self.retention, pace=HOUR, gap=DAY)
        self.naive = NaiveInventory(ttl_days=ttl_days, gap=DAY)

    def do(self, step: tuple[Any, ...]) -> None:
        self.clock.advance(step[1])
        match step:
            case ("look", _, namespaces, whole_cluster):
                self.report(EMBEDDED_SENDER, namespaces, timestamp=None, whole_cluster=whole_cluster)
            case ("post", _, namespaces, sender, offset):
                timestamp = None if offset is None else self.clock.now + offset
                self.report(sender, namespaces, timestamp=timestamp, whole_cluster=False)
            case ("sweep", _):
                self.sweep()
            case ("end", _, kept):
                self.end(kept)

    def report(
        self, sender: str, namespaces: dict[str, set[Image]], *, timestamp: int | None, whole_cluster: bool
    ) -> None:
        report = InventoryReport(
            cluster_name=self.cluster_name,
            inventory_type="kubernetes",
            timestamp=timestamp,
            server_version="v1.30.0",
            namespaces=tuple(NamespaceReport(name, frozenset(images)) for name, images in namespaces.items()),
            left_out=0,
        )
        result = self.db.writing(
            lambda: ingest(
                self.db,
                report,
                account_id=self.account_id,
                inventory_type="kubernetes",
                cluster_name=self.cluster_name,
                sender=sender,
                whole_cluster=whole_cluster,
                rules=self.rules,
            )
        )
        taken = self.naive.report(
            sender, namespaces, timestamp=timestamp, whole_cluster=whole_cluster, now=self.clock.now
        )
        assert (result.state is RunState.SUCCEEDED) == taken

    def sweep(self) -> None:
        rules = SweepRules(
            retention=self.retention,
            presence_days=self.presence_days,
            run_history_days=7,
            run_history_per_cluster=1000,
        )
        source = Source(self.account_id, "kubernetes", self.cluster_name)
        self.db.writing(lambda: sweep_source(self.db, source, rules))

    def end(self, kept: set[str]) -> None:
        def unit() -> None:
            source_id = lock_source(self.db, self.account_id, "kubernetes", self.cluster_name)
            if source_id is not None:
                end_presence(
                    self.db,
                    source_id,
                    sender=EMBEDDED_SENDER,
                    except_namespaces=kept,
                    now=self.clock.now,
                    retention=self.retention,
                )

        self.db.writing(unit)
        self.naive.end_presence(EMBEDDED_SENDER, kept, self.clock.now)

    def check_listing(self) -> None:
        now = self.clock.now
        items = self.db.reading(
            lambda: read_page(
                self.db,
                self.account_id,
                ItemFilter(cluster_name=self.cluster_name),
                retention=self.retention,
                now=now,
                after=None,
                limit=1000,
            )
        )
        found = {
            (item.namespace, item.image_tag, item.image_digest): (item.created_at, item.last_seen, item.present)
            for item in items
        }
        assert len(found) == len(items)
        expected = {
            key: (item.created_at, item.last_seen, item.present) for key, item in self.naive.listed(now).items()
        }
        assert found == expected

    def check_history(self) -> None:
        """The intervals of presence of everything that is still stored."""
        rows = self.db.reading(
            lambda: self.db.rows(
                "SELECT i.id, c.namespace, i.image_tag, i.image_digest, i.present_since,"
                " coalesce(i.last_seen, c.received_at)"
                " FROM item i JOIN context c ON c.id = i.context_id JOIN source s ON s.id = c.source_id"
                " WHERE s.account_id = ? AND s.cluster_name = ?",
                (self.account_id, self.cluster_name),
            )
        )
        for item_id, namespace, tag, digest, first, last in rows:
            earlier = self._earlier(item_id)
            key: Key = (namespace, tag, digest)
            assert [*earlier, [first, last]] == self.naive.sightings.get(key)

    def _earlier(self, item_id: int) -> list[list[int]]:
        query = "SELECT started_at, ended_at FROM presence WHERE item_id = ? ORDER BY started_at"
        return [list(row) for row in self.db.reading(lambda: self.db.rows(query, (item_id,)))]


def hold_against_naive_model(db: Database, clock: Clock, account_id: int, *, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(ttl_days=st.sampled_from([1, 2, 120, 0, -1]), presence_days=st.sampled_from([1, 400]), steps=steps)
    def check(ttl_days: int, presence_days: int, steps: list[tuple[Any, ...]]) -> None:
        pair = Pair(db, clock, account_id, ttl_days=ttl_days, presence_days=presence_days)
        for step in steps:
            pair.do(step)
            pair.check_listing()
        if presence_days == 400:
            pair.check_history()

    check()


def open_database(url: str, clock: Clock) -> tuple[Database, Callable[[], int]]:
    db = Database(SecretStr(url), clock=clock)
    db.migrate()
    return db, lambda: accounts.ensure_account(db, "admin").id


def test_any_sequence_on_sqlite(sqlite_url: str) -> None:
    clock = Clock()
    db, make_account = open_database(sqlite_url, clock)
    hold_against_naive_model(db, clock, db.writing(make_account), examples=400)
    db.close()


@pytest.mark.postgres
def test_any_sequence_on_postgres(postgres_server: PostgresServer) -> None:
    clock = Clock()
    with postgres_server.fresh_database() as url:
        db, make_account = open_database(url, clock)
        hold_against_naive_model(db, clock, db.writing(make_account), examples=60)
        db.close()
