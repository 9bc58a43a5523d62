"""How the service waits for its database when both start at the same time."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator import app
from orchestrator.store.database import DatabaseUnavailable


class StartingDatabase:
    """Does not answer the first `failures` times."""

    is_sqlite = False

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def migrate(self) -> list[str]:
        if self.failures > 0:
            self.failures -= 1
            raise DatabaseUnavailable("not yet")
        return []


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited; time passes as if it had been."""
    waited: list[float] = []
    monkeypatch.setattr(app, "time", SimpleNamespace(sleep=waited.append, monotonic=lambda: sum(waited)))
    return waited


def test_a_database_server_that_starts_late_is_waited_for(waits: list[float]) -> None:
    app._migrate(cast(Any, StartingDatabase(failures=5)))
    assert len(waits) == 5


def test_but_not_for_ever(waits: list[float]) -> None:
    with pytest.raises(DatabaseUnavailable):
        app._migrate(cast(Any, StartingDatabase(failures=10**6)))
    assert sum(waits) == 30
