"""Storing clusters: what is kept, what is refused, what a change and a deletion do to looks that have begun."""

import pytest
from pydantic import SecretStr

from orchestrator.model.fields import InvalidField
from orchestrator.model.instant import MINUTE
from orchestrator.model.retention import Retention
from orchestrator.model.run import RunState
from orchestrator.model.slots import Room
from orchestrator.store import accounts, claims, clusters, runs
from orchestrator.store.claims import ClaimLost
from orchestrator.store.database import Database
from orchestrator.store.sealing import CannotUnseal, Sealer
from tests.integration.store.builders import Inventory, config
from tests.integration.store.conftest import BEGIN, Clock

KEEP = Retention(120)


def add(db: Database, sealer: Sealer, account_id: int, name: str = "prod") -> clusters.Cluster:
    return db.writing(lambda: clusters.add(db, sealer, account_id, config(name)))


def claim_one(db: Database) -> claims.Claim:
    [claim] = db.writing(lambda: claims.claim_due(db, Room.of(1), lease=MINUTE, interval=5 * MINUTE))
    return claim


def test_cluster_comes_back_as_it_was_given(db: Database, sealer: Sealer, account_id: int) -> None:
    stored = add(db, sealer, account_id)
    assert stored.config == config()
    assert (stored.generation, stored.created_at, stored.due_at, stored.last_run) == (1, BEGIN, BEGIN, None)
    assert db.reading(lambda: clusters.find(db, sealer, account_id, "prod")) == stored
    assert db.reading(lambda: clusters.list_all(db, sealer, account_id)) == [stored]


def test_credential_is_sealed_in_the_database(db: Database, sealer: Sealer, account_id: int) -> None:
    add(db, sealer, account_id)
    [(sealed,)] = db.reading(lambda: db.rows("SELECT credential FROM cluster"))
    assert b"jkl" not in bytes(sealed)


def test_credential_that_cannot_be_unsealed_hides_no_cluster(db: Database, sealer: Sealer, account_id: int) -> None:
    stored = add(db, sealer, account_id)
    [found] = db.reading(lambda: clusters.list_all(db, Sealer([b"x" * 32]), account_id))
    assert (stored.credential_readable, found.credential_readable) == (True, False)
    assert found.config.credential.get_secret_value() == ""
    assert found.config.server == stored.config.server
    claim = claim_one(db)
    with pytest.raises(CannotUnseal):
        claim.open(Sealer([b"x" * 32]))


def test_name_is_taken_once_an_account(db: Database, sealer: Sealer, account_id: int) -> None:
    add(db, sealer, account_id)
    with pytest.raises(clusters.ClusterExists):
        add(db, sealer, account_id)
    other_id = db.writing(lambda: accounts.ensure_account(db, "other").id)
    add(db, sealer, other_id)
    with pytest.raises(clusters.ClusterNotFound):
        db.reading(lambda: clusters.find(db, sealer, account_id, "nope"))


def test_clusters_are_listed_by_the_bytes_of_their_names(db: Database, sealer: Sealer, account_id: int) -> None:
    for name in ["b", "é", "a-b", "B", "a"]:
        add(db, sealer, account_id, name)
    listed = db.reading(lambda: clusters.list_all(db, sealer, account_id))
    assert [each.config.cluster_name for each in listed] == ["B", "a", "a-b", "b", "é"]


def test_changed_cluster_is_due_at_once_and_its_look_not_stored(
    db: Database, sealer: Sealer, account_id: int, clock: Clock
) -> None:
    add(db, sealer, account_id)
    claim = claim_one(db)
    clock.advance(MINUTE // 2)
    changed = db.writing(
        lambda: clusters.replace(
            db, sealer, account_id, config(server="https://other"), keep_credential=False, retention=KEEP
        )
    )
    assert (changed.generation, changed.due_at, changed.config.server) == (2, clock.now, "https://other")
    assert db.writing(lambda: claims.renew(db, [claim], lease=MINUTE)) == set()
    inventory = Inventory(db, account_id)
    with pytest.raises(ClaimLost):
        inventory.take({"a": [("web:1", "unknown")]}, claim=claim)
    assert inventory.images() == []


def test_masked_credential_is_kept_only_for_the_same_destination(db: Database, sealer: Sealer, account_id: int) -> None:
    add(db, sealer, account_id)

    def replace(server: str) -> clusters.Cluster:
        masked = config(server=server, namespaces=("a",))
        return clusters.replace(db, sealer, account_id, masked, keep_credential=True, retention=KEEP)

    kept = db.writing(lambda: replace("https://k8s"))
    assert kept.config.credential == SecretStr("jkl")
    with pytest.raises(InvalidField, match="give the credential again"):
        db.writing(lambda: replace("https://evil"))
    assert db.reading(lambda: clusters.find(db, sealer, account_id, "prod")).config.server == "https://k8s"


def test_deleted_cluster_discards_its_runs(db: Database, sealer: Sealer, account_id: int) -> None:
    add(db, sealer, account_id)
    claim = claim_one(db)
    queued = db.writing(lambda: clusters.request_look(db, account_id, "prod"))
    db.writing(lambda: clusters.delete(db, account_id, "prod", retention=KEEP))
    history = db.reading(lambda: runs.list_runs(db, account_id, "prod", limit=10))
    assert [(run.id, run.result.state) for run in history] == [
        (queued.id, RunState.DISCARDED),
        (claim.run_id, RunState.DISCARDED),
    ]
    with pytest.raises(ClaimLost):
        Inventory(db, account_id).take({"a": []}, claim=claim)


def test_cluster_made_again_is_not_taken_for_the_deleted_one(db: Database, sealer: Sealer, account_id: int) -> None:
    add(db, sealer, account_id)
    claim = claim_one(db)
    db.writing(lambda: clusters.delete(db, account_id, "prod", retention=KEEP))
    add(db, sealer, account_id)
    claim_one(db)
    with pytest.raises(ClaimLost):
        Inventory(db, account_id).take({"a": []}, claim=claim)


@pytest.mark.parametrize("name", ["prod", "nope"])
def test_what_is_not_there_is_said(db: Database, sealer: Sealer, account_id: int, name: str) -> None:
    with pytest.raises(clusters.ClusterNotFound):
        db.writing(lambda: clusters.delete(db, account_id, name, retention=KEEP))
    with pytest.raises(clusters.ClusterNotFound):
        db.writing(lambda: clusters.request_look(db, account_id, name))
    with pytest.raises(clusters.ClusterNotFound):
        db.writing(
            lambda: clusters.replace(db, sealer, account_id, config(name), keep_credential=False, retention=KEEP)
        )
