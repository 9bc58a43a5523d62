"""Accounts and the users who may sign in to them."""

from dataclasses import dataclass, field
from typing import Any

from orchestrator.store import tables
from orchestrator.store.database import Database


@dataclass(frozen=True, slots=True)
class Account:
    """To whom clusters, inventory and users belong."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may sign in; `password_hash` is argon2's own text."""

    id: int
    account: Account
    username: str
    password_hash: str = field(repr=False)


def find_account(db: Database, name: str) -> Account | None:
    """The account of this name."""
    query = tables.Account.select(tables.Account.id).where(tables.Account.name == name)
    rows = list(db.run(query.tuples()))
    return Account(rows[0][0], name) if rows else None


def find_user(db: Database, username: str) -> User | None:
    """The user of this name; names are unique across all accounts."""
    user, account = tables.AccountUser, tables.Account
    query = (
        user.select(user.id, user.password_hash, account.id, account.name)
        .join(account, on=(account.id == user.account_id))
        .where(user.username == username)
    )
    rows: list[Any] = list(db.run(query.tuples()))
    if not rows:
        return None
    user_id, password_hash, account_id, account_name = rows[0]
    return User(user_id, Account(account_id, account_name), username, password_hash)


def ensure_account(db: Database, name: str) -> Account:
    """The account of this name, made if there is none."""
    db.run(tables.Account.insert(name=name, created_at=db.now()).on_conflict_ignore())
    account = find_account(db, name)
    if account is None:
        raise RuntimeError("an account that was just made is not there")
    return account


def ensure_user(db: Database, *, account_name: str, username: str, password_hash: str) -> None:
    """Make the user, and the account if there is none; a user of this name gets the new hash and stays where it is."""
    if not add_user(db, account_name=account_name, username=username, password_hash=password_hash):
        change = tables.AccountUser.update(password_hash=password_hash, updated_at=db.now())
        db.run(change.where(tables.AccountUser.username == username))


def add_user(db: Database, *, account_name: str, username: str, password_hash: str) -> bool:
    """Make the user, and the account if there is none. False, and nothing changed, when the name is taken."""
    now = db.now()
    query = (
        tables.AccountUser.insert(
            account_id=ensure_account(db, account_name).id,
            username=username,
            password_hash=password_hash,
            created_at=now,
            updated_at=now,
        )
        .on_conflict_ignore()
        .returning(tables.AccountUser.id)
    )
    return bool(list(db.run(query.tuples())))
