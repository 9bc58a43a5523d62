"""The administrator at start: given, kept, changed, or made."""

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from pydantic import SecretStr

from orchestrator.catalog.bootstrap import UnusablePassword, ensure_admin
from orchestrator.catalog.passwords import Passwords
from orchestrator.store import accounts, audit
from orchestrator.store.accounts import User
from orchestrator.store.database import Database


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    db = Database(SecretStr(database_url))
    db.migrate()
    yield db
    db.close()


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "admin.password"


def admin(db: Database) -> User:
    user = db.reading(lambda: accounts.find_user(db, "admin"))
    assert user is not None
    assert user.account.name == "admin"
    return user


def actions(db: Database) -> list[str]:
    account_id = admin(db).account.id
    return [each.action for each in reversed(db.reading(lambda: audit.list_records(db, account_id, limit=10)))]


def test_without_a_password_one_is_made_once(db: Database, passwords: Passwords, file: Path) -> None:
    assert ensure_admin(db, passwords, password=None, password_file=file) == file
    made = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(made) >= 32
    assert passwords.matches(admin(db).password_hash, SecretStr(made))
    assert ensure_admin(db, passwords, password=None, password_file=file) is None
    file.unlink()
    assert ensure_admin(db, passwords, password=None, password_file=file) is None
    assert not file.exists()
    assert actions(db) == ["user.add"]


def test_a_password_given_is_the_one_that_counts(db: Database, passwords: Passwords, file: Path) -> None:
    for text in ("first", "second", "second"):
        assert ensure_admin(db, passwords, password=SecretStr(text), password_file=file) is None
        assert passwords.matches(admin(db).password_hash, SecretStr(text))
    assert not passwords.matches(admin(db).password_hash, SecretStr("first"))
    assert not file.exists()
    assert actions(db) == ["user.add", "user.set_password"]
    assert ensure_admin(db, passwords, password=None, password_file=file) is None


def test_a_hash_of_other_parameters_is_made_anew(db: Database, passwords: Passwords, file: Path) -> None:
    ensure_admin(db, passwords, password=SecretStr("first"), password_file=file)
    stronger = Passwords(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    ensure_admin(db, stronger, password=SecretStr("first"), password_file=file)
    assert ",t=2," in admin(db).password_hash
    assert actions(db) == ["user.add", "user.rehash"]


def test_a_start_that_was_cut_off_leaves_a_password_that_is_used(
    db: Database, passwords: Passwords, file: Path
) -> None:
    file.write_text("made-before-the-crash\n")
    assert ensure_admin(db, passwords, password=None, password_file=file) == file
    assert passwords.matches(admin(db).password_hash, SecretStr("made-before-the-crash"))


@pytest.mark.parametrize("text", ["", "x" * 1025])
def test_a_password_that_nobody_could_use_is_refused(db: Database, passwords: Passwords, file: Path, text: str) -> None:
    with pytest.raises(UnusablePassword) as caught:
        ensure_admin(db, passwords, password=SecretStr(text), password_file=file)
    assert "xx" not in str(caught.value)
    file.write_text(text)
    with pytest.raises(UnusablePassword, match=r"admin\.password"):
        ensure_admin(db, passwords, password=None, password_file=file)


def test_of_two_replicas_one_makes_the_password(db: Database, passwords: Passwords, tmp_path: Path) -> None:
    barrier = threading.Barrier(2)
    returned: dict[str, Path | None] = {}

    def start(name: str) -> None:
        def make() -> str:
            barrier.wait(10)
            return f"password-of-{name}"

        file = tmp_path / name
        returned[name] = ensure_admin(db, passwords, password=None, password_file=file, make=make)

    threads = [threading.Thread(target=start, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    first = [path for path in returned.values() if path is not None]
    assert len(first) == 1
    assert [path for path in (tmp_path / "a", tmp_path / "b") if path.exists()] == first
    assert passwords.matches(admin(db).password_hash, SecretStr(first[0].read_text().strip()))
