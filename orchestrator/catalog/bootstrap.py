"""What a start sees to: the first user, so that there is never a default password, and the service's own cluster."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from orchestrator.catalog.access import ADMIN
from orchestrator.catalog.passwords import MAX_PASSWORD_CHARACTERS, Passwords
from orchestrator.store import accounts, audit, clusters
from orchestrator.store.accounts import User
from orchestrator.store.clusters import OwnCluster
from orchestrator.store.database import Database
from orchestrator.store.private_files import write_new_private_file
from orchestrator.store.sealing import Sealer

__all__ = ["OwnCluster", "UnusablePassword", "ensure_admin", "ensure_own_cluster", "make_password"]

_BY_THE_SERVICE: Final = "(service)"


class UnusablePassword(ValueError):
    """The administrator's password cannot be taken; the text says why, without the password."""


def make_password() -> str:
    """A password that nobody guesses: 192 random bits."""
    return secrets.token_urlsafe(24)


def ensure_admin(
    db: Database,
    passwords: Passwords,
    *,
    password: SecretStr | None,
    password_file: Path,
    make: Callable[[], str] = make_password,
) -> Path | None:
    """See to it that the user `admin` of account `admin` can sign in; for a worker thread, outside a unit of work.

    A `password` given is the one that counts from now on. Without one, and without an admin so far, one is made and
    put into `password_file` (mode 0600) before it counts; that path is returned then, and None otherwise. A file left
    there by a start that was cut off is used. Raises UnusablePassword, OSError and DatabaseUnavailable.
    """
    admin = db.reading(lambda: accounts.find_user(db, ADMIN))
    if password is not None:
        _set_password(db, passwords, admin, _checked(password, "the administrator's password"))
        return None
    if admin is not None:
        return None
    made_here = write_new_private_file(password_file, make() + "\n")
    generated = SecretStr(password_file.read_text(encoding="utf-8").strip())
    password_hash = passwords.hash(_checked(generated, str(password_file)))
    if db.writing(lambda: _add_admin(db, password_hash)):
        return password_file
    if made_here:
        # Another replica was first: this password opens nothing.
        password_file.unlink()
    return None


def ensure_own_cluster(db: Database, sealer: Sealer, *, cluster_name: str, server: str) -> OwnCluster:
    """See to it that the cluster that the service runs in is stored, in the administrator's account; a unit of work
    that writes."""
    account_id = accounts.ensure_account(db, ADMIN).id
    stored = clusters.put_own(db, sealer, account_id, cluster_name, server)
    if stored in {OwnCluster.ADDED, OwnCluster.MOVED}:
        audit.record(
            db,
            account_id=account_id,
            username=_BY_THE_SERVICE,
            action="cluster.add" if stored is OwnCluster.ADDED else "cluster.replace",
            subject=cluster_name,
            detail=f"own cluster, server {server}",
        )
    return stored


def _checked(password: SecretStr, where: str) -> SecretStr:
    text = password.get_secret_value()
    if not text or len(text) > MAX_PASSWORD_CHARACTERS:
        raise UnusablePassword(f"{where}: expected 1 to {MAX_PASSWORD_CHARACTERS} characters, got {len(text)}")
    return password


def _add_admin(db: Database, password_hash: str) -> bool:
    added = accounts.add_user(db, account_name=ADMIN, username=ADMIN, password_hash=password_hash)
    if added:
        _record(db, "user.add")
    return added


def _set_password(db: Database, passwords: Passwords, admin: User | None, password: SecretStr) -> None:
    if admin is not None and passwords.matches(admin.password_hash, password):
        if not passwords.is_outdated(admin.password_hash):
            return
        action = "user.rehash"
    else:
        action = "user.add" if admin is None else "user.set_password"
    password_hash = passwords.hash(password)

    def unit() -> None:
        accounts.ensure_user(db, account_name=ADMIN, username=ADMIN, password_hash=password_hash)
        _record(db, action)

    db.writing(unit)


def _record(db: Database, action: str) -> None:
    account = accounts.ensure_account(db, ADMIN)
    audit.record(db, account_id=account.id, username=_BY_THE_SERVICE, action=action, subject=ADMIN)
