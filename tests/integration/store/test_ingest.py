"""What a report does to the inventory, case by case. Any mixture of cases: test_ingest_property.py."""

from collections.abc import Callable

import pytest

from orchestrator.model.instant import DAY, HOUR, MINUTE, SECOND
from orchestrator.model.report import Image
from orchestrator.model.run import RunState
from orchestrator.store.database import Database
from orchestrator.store.listing import ItemFilter
from tests.integration.store.builders import Inventory
from tests.integration.store.conftest import BEGIN, Clock

WEB: Image = ("nginx:1.25", "sha256:aa")
WEB_STARTING: Image = ("nginx:1.25", "unknown")
WEB_REBUILT: Image = ("nginx:1.25", "sha256:bb")
JOB: Image = ("report-job:7", "sha256:cc")


@pytest.fixture
def inventory(db: Database, account_id: int) -> Inventory:
    return Inventory(db, account_id)


def counting_writes(db: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Counts the rows that statements insert, update and delete in the tables of the inventory."""
    written = 0
    execute = db.peewee.execute_sql

    def counted(sql: str, parameters: object = None) -> object:
        nonlocal written
        cursor = execute(sql, parameters)
        if sql.split(" ", 1)[0] in {"INSERT", "UPDATE", "DELETE"}:
            written += max(cursor.rowcount, 0)
        return cursor

    monkeypatch.setattr(db.peewee, "execute_sql", counted)
    return lambda: written


def test_unchanged_report_writes_one_row_a_namespace_and_one_for_its_sender(
    inventory: Inventory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [(f"app-{number}:1", f"sha256:{number}") for number in range(50)]
    namespaces = {"a": images, "b": images[:7], "empty": []}
    inventory.take(namespaces)
    clock.advance(5 * MINUTE)
    written = counting_writes(inventory.db, monkeypatch)
    inventory.take(namespaces)
    assert written() == len(namespaces) + 1
    assert {item.last_seen for item in inventory.items()} == {clock.now}


def test_counts_what_appeared_and_went(inventory: Inventory, clock: Clock) -> None:
    first = inventory.take({"a": [WEB, JOB], "b": [WEB]})
    assert (first.namespaces, first.images, first.appeared, first.gone) == (2, 3, 3, 0)
    clock.advance(MINUTE)
    second = inventory.take({"a": [WEB, WEB_REBUILT], "b": []})
    assert (second.namespaces, second.images, second.appeared, second.gone) == (2, 2, 1, 2)


def test_one_tag_with_two_digests_is_two_items(inventory: Inventory) -> None:
    inventory.take({"a": [WEB, WEB_REBUILT]})
    assert inventory.images() == [("prod/a", *WEB), ("prod/a", *WEB_REBUILT)]


def test_item_without_digest_leaves_once_its_tag_has_one(inventory: Inventory, clock: Clock) -> None:
    inventory.take({"a": [WEB_STARTING], "b": [WEB_STARTING]})
    clock.advance(MINUTE)
    inventory.take({"a": [WEB], "b": [WEB_STARTING, WEB]})
    assert inventory.images() == [("prod/a", *WEB), ("prod/b", *WEB), ("prod/b", *WEB_STARTING)]


def test_item_without_digest_waits_when_its_tag_never_got_one(inventory: Inventory, clock: Clock) -> None:
    inventory.take({"a": [WEB_STARTING]})
    clock.advance(MINUTE)
    inventory.take({"a": []})
    assert inventory.images() == [("prod/a", *WEB_STARTING)]


def test_gone_namespace_that_is_made_again(inventory: Inventory, clock: Clock) -> None:
    inventory.take({"a": [WEB], "b": [JOB]})
    clock.advance(MINUTE)
    inventory.take({"b": [JOB]})
    assert inventory.images(present=True) == [("prod/b", *JOB)]
    [gone] = inventory.items(ItemFilter(namespace="a"))
    assert (gone.present, gone.last_seen) == (False, BEGIN)
    clock.advance(MINUTE)
    inventory.take({"a": [WEB], "b": [JOB]})
    [back] = inventory.items(ItemFilter(namespace="a"))
    assert (back.present, back.created_at, back.last_seen) == (True, BEGIN, clock.now)


def test_look_at_some_namespaces_says_nothing_of_the_others(inventory: Inventory, clock: Clock) -> None:
    inventory.take({"a": [WEB], "b": [JOB]})
    clock.advance(MINUTE)
    inventory.take({"a": [WEB]}, whole_cluster=False)
    assert inventory.images(present=True) == [("prod/a", *WEB), ("prod/b", *JOB)]


def test_posted_report_speaks_only_for_the_namespaces_it_names(inventory: Inventory, clock: Clock) -> None:
    inventory.take({"a": [WEB]}, sender="user:agent", whole_cluster=False)
    inventory.take({"b": [JOB]})
    clock.advance(MINUTE)
    inventory.take({"b": []})
    assert inventory.images(present=True) == [("prod/a", *WEB)]


def test_cron_job_that_comes_and_goes_costs_no_interval(inventory: Inventory, clock: Clock) -> None:
    for _ in range(5):
        inventory.take({"a": [JOB]})
        clock.advance(15 * MINUTE)
        inventory.take({"a": []})
        clock.advance(15 * MINUTE)
    [item] = inventory.items()
    assert (item.created_at, item.present) == (BEGIN, False)
    assert inventory.db.reading(lambda: inventory.db.one("SELECT count(*) FROM presence")) == (0,)


def test_long_absence_ends_an_interval_of_presence(inventory: Inventory, clock: Clock) -> None:
    inventory.take({"a": [JOB]})
    clock.advance(HOUR)
    inventory.take({"a": []})
    clock.advance(2 * DAY)
    inventory.take({"a": [JOB]})
    rows = inventory.db.reading(lambda: inventory.db.rows("SELECT started_at, ended_at FROM presence"))
    assert rows == [(BEGIN, BEGIN)]


def test_reports_that_stop_for_a_while_end_the_coverage(inventory: Inventory, clock: Clock) -> None:
    inventory.take({"a": [WEB]})
    clock.advance(HOUR)
    inventory.take({"a": [WEB]})
    clock.advance(HOUR + SECOND)
    inventory.take({"a": [WEB]})
    rows = inventory.db.reading(lambda: inventory.db.rows("SELECT started_at, ended_at FROM coverage"))
    assert rows == [(BEGIN, BEGIN + HOUR)]
    since = inventory.db.reading(lambda: inventory.db.one("SELECT covered_since FROM context"))
    assert since == (clock.now,)


def test_namespace_that_was_gone_stays_covered_by_looks_at_the_whole_cluster(
    inventory: Inventory, clock: Clock
) -> None:
    inventory.take({"a": [WEB], "b": []})
    for _ in range(5):
        clock.advance(HOUR)
        inventory.take({"b": []})
    clock.advance(HOUR)
    inventory.take({"a": [WEB], "b": []})
    assert inventory.db.reading(lambda: inventory.db.one("SELECT count(*) FROM coverage")) == (0,)


def test_late_report_changes_nothing(inventory: Inventory, clock: Clock) -> None:
    newest = clock.now
    inventory.take({"a": [WEB]}, sender="user:agent", whole_cluster=False, timestamp=newest)
    clock.advance(MINUTE)
    late = inventory.take({"a": [JOB]}, sender="user:agent", whole_cluster=False, timestamp=newest - SECOND)
    assert late.state is RunState.LATE
    [item] = inventory.items()
    assert (item.image_tag, item.last_seen) == (WEB[0], newest)


def test_repeated_report_changes_nothing_but_when_it_was_seen(inventory: Inventory, clock: Clock) -> None:
    for _ in range(2):
        result = inventory.take({"a": [WEB]}, sender="user:agent", whole_cluster=False, timestamp=BEGIN)
        clock.advance(MINUTE)
    assert (result.state, result.appeared) == (RunState.SUCCEEDED, 0)
    [item] = inventory.items()
    assert (item.created_at, item.last_seen) == (BEGIN, BEGIN + MINUTE)


def test_report_from_a_clock_far_ahead_counts_as_now(inventory: Inventory, clock: Clock) -> None:
    inventory.take({"a": [WEB]}, sender="user:agent", whole_cluster=False, timestamp=clock.now + DAY)
    clock.advance(MINUTE)
    result = inventory.take({"a": [JOB]}, sender="user:agent", whole_cluster=False, timestamp=clock.now)
    assert result.state is RunState.SUCCEEDED
    assert inventory.images(present=True) == [("prod/a", *JOB)]


def test_database_clock_that_steps_back_moves_nothing_back(inventory: Inventory, clock: Clock) -> None:
    inventory.take({"a": [WEB]})
    clock.advance(-HOUR)
    assert inventory.take({"a": [WEB, JOB]}).state is RunState.SUCCEEDED
    assert {item.last_seen for item in inventory.items()} == {BEGIN}


def test_same_cluster_name_in_two_accounts_is_two_clusters(db: Database, account_id: int) -> None:
    from orchestrator.store import accounts

    other_id = db.writing(lambda: accounts.ensure_account(db, "other").id)
    Inventory(db, account_id).take({"a": [WEB]})
    Inventory(db, other_id).take({"a": [JOB]})
    assert Inventory(db, account_id).images() == [("prod/a", *WEB)]
    assert Inventory(db, other_id).images() == [("prod/a", *JOB)]


@pytest.mark.parametrize("tag", ["x" * 4096, "quay.io/org/ünï☃<>&:1.0", "corp/waiting-untagged:", "é" * 2048])
def test_odd_but_real_tags_are_kept_as_they_are(inventory: Inventory, tag: str) -> None:
    inventory.take({"a": [(tag, "y" * 4096)]})
    assert inventory.images() == [("prod/a", tag, "y" * 4096)]
    assert inventory.items(ItemFilter(image_tag=tag, image_digest="y" * 4096))
    assert not inventory.items(ItemFilter(image_tag=tag[:-1]))
