"""A migrated database whose clock the test turns, with one account in it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from orchestrator.model.instant import DAY, Instant
from orchestrator.store import accounts
from orchestrator.store.database import Database
from orchestrator.store.sealing import Sealer

BEGIN: Instant = 20_000 * DAY


@dataclass
class Clock:
    """The database's clock: it stands still until the test moves it."""

    now: Instant = BEGIN

    def __call__(self) -> Instant:
        return self.now

    def advance(self, by: int) -> Instant:
        self.now += by
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def db(database_url: str, clock: Clock) -> Iterator[Database]:
    database = Database(SecretStr(database_url), clock=clock)
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def account_id(db: Database) -> int:
    return db.writing(lambda: accounts.ensure_account(db, "admin").id)


@pytest.fixture
def sealer() -> Sealer:
    return Sealer([bytes(range(32))])
