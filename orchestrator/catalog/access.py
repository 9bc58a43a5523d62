"""Who calls, and in which account: everything else in the catalog takes the `Caller` that is made here."""

from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from orchestrator.catalog.passwords import Passwords, TooManySignIns
from orchestrator.store import accounts
from orchestrator.store.accounts import Account, User
from orchestrator.store.database import Database

__all__ = ["ADMIN", "Access", "AccountForbidden", "AccountNotFound", "Caller", "SignInRefused", "TooManySignIns"]

ADMIN: Final = "admin"
"""The account whose users may act in every account, and the name of its first user."""

MAX_NAME_CHARACTERS: Final = 255


class SignInRefused(Exception):
    """User or password is wrong. `known_user` is for the log: the name, where there is such a user.

    Other names are never logged: what was typed there may well be a password.
    """

    def __init__(self, known_user: str | None) -> None:
        super().__init__("user or password is wrong")
        self.known_user = known_user


class AccountNotFound(Exception):
    """There is no account of this name."""


class AccountForbidden(Exception):
    """The user may not act in that account. Told alike whether it exists or not."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A user who acts in an account that `Access.enter` has let them into."""

    user: User
    account: Account


class Access:
    """Signing in, and entering an account."""

    def __init__(self, db: Database, passwords: Passwords) -> None:
        self._db = db
        self._passwords = passwords

    async def sign_in(self, username: str, password: SecretStr) -> User:
        """The user with this password. Raises SignInRefused, TooManySignIns, DatabaseUnavailable."""
        user = None
        if _is_name(username):
            user = await self._db.read(lambda: accounts.find_user(self._db, username))
        if await self._passwords.check(user.password_hash if user else None, password) and user is not None:
            return user
        raise SignInRefused(user.username if user else None)

    async def enter(self, user: User, account_name: str | None) -> Caller:
        """The user in the account asked for, by default their own; only users of account `admin` may enter another.

        Raises AccountForbidden, and for an admin AccountNotFound.
        """
        if account_name is None or account_name == user.account.name:
            return Caller(user, user.account)
        if user.account.name != ADMIN:
            raise AccountForbidden
        account = None
        if _is_name(account_name):
            account = await self._db.read(lambda: accounts.find_account(self._db, account_name))
        if account is None:
            raise AccountNotFound
        return Caller(user, account)


def _is_name(text: str) -> bool:
    # PostgreSQL refuses NUL and lone surrogates even as the parameters of a query.
    return 0 < len(text) <= MAX_NAME_CHARACTERS and text.isprintable()
