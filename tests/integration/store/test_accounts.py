"""Accounts, users and the audit record, on both databases."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from orchestrator.store import accounts, audit
from orchestrator.store.accounts import Account
from orchestrator.store.database import Database


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    db = Database(SecretStr(database_url), clock=lambda: 1_700_000_000_000_000)
    db.migrate()
    yield db
    db.close()


def add(db: Database, username: str, password_hash: str, account_name: str = "admin") -> bool:
    return db.writing(
        lambda: accounts.add_user(db, account_name=account_name, username=username, password_hash=password_hash)
    )


def test_nobody_is_there_at_first(db: Database) -> None:
    assert db.reading(lambda: accounts.find_account(db, "admin")) is None
    assert db.reading(lambda: accounts.find_user(db, "admin")) is None


def test_a_user_is_found_with_their_account(db: Database) -> None:
    assert add(db, "admin", "hash-1")
    user = db.reading(lambda: accounts.find_user(db, "admin"))
    assert user is not None
    assert (user.username, user.password_hash, user.account.name) == ("admin", "hash-1", "admin")
    assert user.account == db.reading(lambda: accounts.find_account(db, "admin"))
    assert "hash-1" not in repr(user)


def test_a_name_that_is_taken_stays_as_it_is(db: Database) -> None:
    assert add(db, "admin", "hash-1")
    assert not add(db, "admin", "hash-2", account_name="other")
    user = db.reading(lambda: accounts.find_user(db, "admin"))
    assert user is not None
    assert (user.password_hash, user.account.name) == ("hash-1", "admin")


def test_names_are_compared_exactly(db: Database) -> None:
    assert add(db, "admin", "hash-1")
    for name in ("Admin", "admin ", "ADMIN", "adm\u0131n"):
        assert db.reading(lambda name=name: accounts.find_user(db, name)) is None
    assert db.reading(lambda: accounts.find_account(db, "Admin")) is None


def test_ensure_user_sets_the_hash_and_leaves_the_account(db: Database) -> None:
    for password_hash, account_name in (("hash-1", "admin"), ("hash-2", "elsewhere")):
        db.writing(
            lambda h=password_hash, a=account_name: accounts.ensure_user(
                db, account_name=a, username="admin", password_hash=h
            )
        )
    user = db.reading(lambda: accounts.find_user(db, "admin"))
    assert user is not None
    assert (user.password_hash, user.account.name) == ("hash-2", "admin")


def test_an_account_is_made_once(db: Database) -> None:
    first = db.writing(lambda: accounts.ensure_account(db, "team-ä"))
    assert db.writing(lambda: accounts.ensure_account(db, "team-ä")) == first == Account(first.id, "team-ä")


def test_audit_records_come_newest_first_and_by_account(db: Database) -> None:
    def unit() -> tuple[int, int]:
        mine, other = accounts.ensure_account(db, "mine"), accounts.ensure_account(db, "other")
        for action in ("cluster.add", "cluster.delete"):
            audit.record(db, account_id=mine.id, username="admin", action=action, subject="prod", detail="")
        audit.record(db, account_id=other.id, username="eve", action="cluster.add", subject="x")
        return mine.id, other.id

    mine, other = db.writing(unit)
    found = db.reading(lambda: audit.list_records(db, mine, limit=10))
    assert [(each.action, each.at) for each in found] == [
        ("cluster.delete", 1_700_000_000_000_000),
        ("cluster.add", 1_700_000_000_000_000),
    ]
    assert [each.username for each in db.reading(lambda: audit.list_records(db, other, limit=1))] == ["eve"]
