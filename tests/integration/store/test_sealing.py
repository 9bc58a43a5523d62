"""The keys of a database: made for a new one, held against what it holds, rotated."""

import base64
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from orchestrator.model.cluster import ClusterConfig, CredentialType
from orchestrator.store import accounts, clusters, tables
from orchestrator.store.database import Database
from orchestrator.store.sealing import (
    InvalidSealingKey,
    MissingSealingKey,
    Sealer,
    WrongSealingKey,
    open_sealer,
)

OLD = SecretStr(base64.b64encode(b"o" * 32).decode())
NEW = SecretStr(base64.b64encode(b"n" * 32).decode())
BOTH = SecretStr(f"{NEW.get_secret_value()},{OLD.get_secret_value()}")
TOKEN = "canary-token"


def migrated(url: str) -> Iterator[Database]:
    db = Database(SecretStr(url))
    db.migrate()
    yield db
    db.close()


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    yield from migrated(database_url)


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    yield from migrated(sqlite_url)


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Database]:
    yield from migrated(postgres_url)


def opened(db: Database, keys: SecretStr | None, key_file: Path) -> Sealer:
    return db.writing(lambda: open_sealer(db, keys=keys, key_file=key_file))


def add_cluster(db: Database, sealer: Sealer) -> int:
    config = ClusterConfig(
        cluster_name="prod",
        server="https://10.0.0.1:6443",
        cluster_certificate=None,
        client_certificate=None,
        credential_type=CredentialType.TOKEN,
        credential=SecretStr(TOKEN),
    )

    def unit() -> int:
        account = accounts.ensure_account(db, "admin")
        clusters.add(db, sealer, account.id, config)
        return account.id

    return db.writing(unit)


def credential(db: Database, sealer: Sealer, account_id: int) -> str:
    cluster = db.reading(lambda: clusters.find(db, sealer, account_id, "prod"))
    return cluster.config.credential.get_secret_value()


def test_a_new_sqlite_database_gets_a_key_file_only_its_owner_may_read(sqlite: Database, tmp_path: Path) -> None:
    key_file = tmp_path / "sealing.key"
    first = opened(sqlite, None, key_file)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if "sealing" in path.name] == ["sealing.key"]
    account_id = add_cluster(sqlite, first)
    again = opened(sqlite, None, key_file)
    assert credential(sqlite, again, account_id) == TOKEN


def test_with_postgresql_a_key_must_be_given(postgres: Database, tmp_path: Path) -> None:
    with pytest.raises(MissingSealingKey, match="PostgreSQL"):
        opened(postgres, None, tmp_path / "sealing.key")
    assert not (tmp_path / "sealing.key").exists()


def test_a_key_file_that_is_there_is_used_on_postgresql_too(postgres: Database, tmp_path: Path) -> None:
    (tmp_path / "sealing.key").write_text(NEW.get_secret_value())
    opened(postgres, None, tmp_path / "sealing.key")
    opened(postgres, NEW, tmp_path / "none")


def test_a_wrong_key_stops_the_start(db: Database, tmp_path: Path) -> None:
    opened(db, OLD, tmp_path / "none")
    with pytest.raises(WrongSealingKey, match="not the one that this database was sealed with"):
        opened(db, NEW, tmp_path / "none")
    opened(db, OLD, tmp_path / "none")


def test_a_key_that_is_given_no_more_is_asked_for_by_its_variable(postgres: Database, tmp_path: Path) -> None:
    opened(postgres, OLD, tmp_path / "none")
    with pytest.raises(WrongSealingKey, match="give it as ORCHESTRATOR_SEALING_KEYS"):
        opened(postgres, None, tmp_path / "none")


def test_a_lost_key_file_is_not_replaced_by_a_new_key(sqlite: Database, tmp_path: Path) -> None:
    key_file = tmp_path / "sealing.key"
    opened(sqlite, None, key_file)
    key_file.unlink()
    with pytest.raises(WrongSealingKey, match=r"sealing\.key back, or give its content"):
        opened(sqlite, None, key_file)
    assert not key_file.exists()


def test_clusters_without_a_check_value_are_held_against_the_key_too(db: Database, tmp_path: Path) -> None:
    add_cluster(db, opened(db, OLD, tmp_path / "none"))
    db.writing(lambda: db.run(tables.Setting.delete()))
    with pytest.raises(WrongSealingKey, match="clusters concerned: 1"):
        opened(db, NEW, tmp_path / "none")
    assert db.reading(lambda: list(db.run(tables.Setting.select().tuples()))) == []


def test_after_one_start_with_both_keys_the_old_one_can_go(db: Database, tmp_path: Path) -> None:
    account_id = add_cluster(db, opened(db, OLD, tmp_path / "none"))
    opened(db, BOTH, tmp_path / "none")
    newest = opened(db, NEW, tmp_path / "none")
    assert credential(db, newest, account_id) == TOKEN
    with pytest.raises(WrongSealingKey):
        opened(db, OLD, tmp_path / "none")


def test_a_credential_copied_to_another_cluster_does_not_open(db: Database, tmp_path: Path) -> None:
    sealer = opened(db, NEW, tmp_path / "none")
    account_id = add_cluster(db, sealer)
    db.writing(lambda: db.run(tables.Cluster.update(cluster_name="stolen")))
    found = db.reading(lambda: clusters.find(db, sealer, account_id, "stolen"))
    assert not found.credential_readable
    assert found.config.credential.get_secret_value() == ""


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"no-key"])
def test_a_broken_key_file_is_named(sqlite: Database, tmp_path: Path, content: bytes) -> None:
    key_file = tmp_path / "sealing.key"
    key_file.write_bytes(content)
    with pytest.raises(InvalidSealingKey, match=r"sealing\.key"):
        opened(sqlite, None, key_file)
    assert key_file.read_bytes() == content
