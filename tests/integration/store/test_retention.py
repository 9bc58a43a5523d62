"""The image TTL on stored items: n days, -1 and 0, at the very boundary."""

import pytest

from orchestrator.model.instant import DAY, MICROSECOND, MINUTE
from orchestrator.model.report import Image
from orchestrator.store import clusters
from orchestrator.store.database import Database
from orchestrator.store.sealing import Sealer
from orchestrator.store.sweep import SweepRules, sources, sweep_source
from tests.integration.store.builders import Inventory, config
from tests.integration.store.conftest import BEGIN, Clock

WEB: Image = ("nginx:1.25", "sha256:aa")
JOB: Image = ("report-job:7", "sha256:cc")


def sweep(inventory: Inventory, *, presence_days: int = 1) -> int:
    rules = SweepRules(
        retention=inventory.retention,
        presence_days=presence_days,
        run_history_days=7,
        run_history_per_cluster=1000,
    )
    db = inventory.db
    return sum(
        db.writing(lambda source=source: sweep_source(db, source, rules))  # type: ignore[misc]
        for source in db.reading(lambda: sources(db))
    )


@pytest.mark.parametrize("gone", [True, False])
def test_item_is_returned_for_exactly_n_days(db: Database, account_id: int, clock: Clock, gone: bool) -> None:
    inventory = Inventory(db, account_id, ttl_days=2)
    inventory.take({"a": [WEB]})
    if gone:
        clock.advance(MINUTE)
        inventory.take({"a": []})
    clock.now = BEGIN + 2 * DAY
    assert inventory.images() == [("prod/a", *WEB)]
    clock.advance(MICROSECOND)
    assert inventory.images() == []


@pytest.mark.parametrize("swept", [True, False])
def test_item_that_returns_after_its_expiry_is_new(db: Database, account_id: int, clock: Clock, swept: bool) -> None:
    inventory = Inventory(db, account_id, ttl_days=2)
    inventory.take({"a": [WEB]})
    clock.advance(MINUTE)
    inventory.take({"a": []})
    clock.advance(3 * DAY)
    if swept:
        assert sweep(inventory) == 1
    inventory.take({"a": [WEB]})
    [item] = inventory.items()
    assert (item.created_at, item.present) == (clock.now, True)


@pytest.mark.parametrize("swept", [True, False])
def test_cluster_unseen_past_its_ttl_comes_back_unchanged(
    db: Database, account_id: int, clock: Clock, swept: bool
) -> None:
    inventory = Inventory(db, account_id, ttl_days=2)
    inventory.take({"a": [WEB]})
    clock.advance(3 * DAY)
    assert inventory.images() == []
    if swept:
        assert sweep(inventory) == 1
    inventory.take({"a": [WEB]})
    [item] = inventory.items()
    assert (item.created_at, item.last_seen, item.present) == (clock.now, clock.now, True)


def test_sweep_keeps_what_the_history_of_presence_needs(db: Database, account_id: int, clock: Clock) -> None:
    inventory = Inventory(db, account_id, ttl_days=2)
    inventory.take({"a": [WEB]})
    clock.advance(100 * DAY)
    assert sweep(inventory, presence_days=400) == 0
    assert inventory.images() == []
    clock.advance(301 * DAY)
    assert sweep(inventory, presence_days=400) == 1
    assert db.reading(lambda: db.one("SELECT count(*) FROM context")) == (0,)


def test_ttl_of_zero_keeps_for_ever(db: Database, account_id: int, clock: Clock) -> None:
    inventory = Inventory(db, account_id, ttl_days=0)
    inventory.take({"a": [WEB]})
    clock.advance(MINUTE)
    inventory.take({"a": []})
    clock.advance(20_000 * DAY)
    assert sweep(inventory) == 0
    assert inventory.images() == [("prod/a", *WEB)]


def test_ttl_of_minus_one_returns_the_newest_reports_only(db: Database, account_id: int, clock: Clock) -> None:
    inventory = Inventory(db, account_id, ttl_days=-1)
    inventory.take({"a": [WEB, JOB], "b": [WEB]})
    clock.advance(MINUTE)
    inventory.take({"a": [WEB]})
    assert inventory.images() == [("prod/a", *WEB)]
    clock.advance(1000 * DAY)
    assert inventory.images() == [("prod/a", *WEB)]


def test_ttl_of_minus_one_takes_parts_with_one_timestamp_for_one_report(
    db: Database, account_id: int, clock: Clock
) -> None:
    inventory = Inventory(db, account_id, ttl_days=-1)
    for timestamp in (BEGIN, BEGIN + MINUTE):
        for namespace in ("a", "b"):
            inventory.take({namespace: [WEB]}, sender="user:x", whole_cluster=False, timestamp=timestamp)
            clock.advance(MINUTE)
    assert inventory.images() == [("prod/a", *WEB), ("prod/b", *WEB)]
    assert {item.created_at for item in inventory.items()} == {BEGIN, BEGIN + MINUTE}
    inventory.take({"b": [WEB]}, sender="user:x", whole_cluster=False, timestamp=clock.now)
    assert inventory.images() == [("prod/b", *WEB)]


@pytest.mark.parametrize(("ttl_days", "returned"), [(-1, ["prod/a"]), (120, ["prod/a", "prod/b"])])
def test_namespaces_that_a_changed_config_no_longer_names(
    db: Database, account_id: int, sealer: Sealer, clock: Clock, ttl_days: int, returned: list[str]
) -> None:
    inventory = Inventory(db, account_id, ttl_days=ttl_days)
    db.writing(lambda: clusters.add(db, sealer, account_id, config(namespaces=("a", "b"))))
    inventory.take({"a": [WEB], "b": [WEB]}, whole_cluster=False)
    clock.advance(MINUTE)
    narrowed = config(namespaces=("a",))
    db.writing(
        lambda: clusters.replace(db, sealer, account_id, narrowed, keep_credential=False, retention=inventory.retention)
    )
    for _ in range(2):
        assert [item.context for item in inventory.items()] == returned
        assert inventory.images(present=True) == [("prod/a", *WEB)]
        clock.advance(MINUTE)
        inventory.take({"a": [WEB]}, whole_cluster=False)


@pytest.mark.parametrize(("ttl_days", "returned"), [(-1, 0), (120, 1)])
def test_deleted_cluster_is_no_longer_present_and_ages_out(
    db: Database, account_id: int, sealer: Sealer, clock: Clock, ttl_days: int, returned: int
) -> None:
    inventory = Inventory(db, account_id, ttl_days=ttl_days)
    db.writing(lambda: clusters.add(db, sealer, account_id, config()))
    inventory.take({"a": [WEB]})
    clock.advance(MINUTE)
    db.writing(lambda: clusters.delete(db, account_id, "prod", retention=inventory.retention))
    assert len(inventory.images()) == returned
    assert inventory.images(present=True) == []


def test_cluster_deleted_and_made_again_with_the_same_images(
    db: Database, account_id: int, sealer: Sealer, clock: Clock
) -> None:
    inventory = Inventory(db, account_id)
    for _ in range(2):
        db.writing(lambda: clusters.add(db, sealer, account_id, config()))
        inventory.take({"a": [WEB]})
        assert inventory.images(present=True) == [("prod/a", *WEB)]
        clock.advance(MINUTE)
        db.writing(lambda: clusters.delete(db, account_id, "prod", retention=inventory.retention))


def test_what_an_agent_posted_survives_the_deletion_of_the_cluster(
    db: Database, account_id: int, sealer: Sealer, clock: Clock
) -> None:
    inventory = Inventory(db, account_id)
    db.writing(lambda: clusters.add(db, sealer, account_id, config()))
    inventory.take({"a": [WEB]})
    inventory.take({"b": [JOB]}, sender="user:agent", whole_cluster=False)
    db.writing(lambda: clusters.delete(db, account_id, "prod", retention=inventory.retention))
    assert inventory.images(present=True) == [("prod/b", *JOB)]
