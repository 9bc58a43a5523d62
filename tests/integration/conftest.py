"""Databases for tests: a fresh, empty one each time, of one kind or of both."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.integration.postgres import PostgresServer, PostgresUnavailableError, running_server

T = TypeVar("T")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `postgres` whatever asks for a PostgreSQL database."""
    for item in items:
        if "postgres_url" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgres)


@contextlib.contextmanager
def postgres_or_skip(start: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
    """A server that `start` starts; where there is none the test skips, or fails under REQUIRE_POSTGRES=1."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(start())
        except PostgresUnavailableError as error:
            if os.environ.get("REQUIRE_POSTGRES") == "1":
                pytest.fail(f"REQUIRE_POSTGRES=1, but {error}", pytrace=False)
            pytest.skip(f"NOT TESTED ON POSTGRESQL: {error}")
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the tests of this process."""
    with postgres_or_skip(running_server) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty PostgreSQL database, dropped after the test."""
    with postgres_server.fresh_database() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite database whose file does not exist yet."""
    return f"sqlite:///{tmp_path / 'orchestrator.db'}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """Runs the test twice: with an empty SQLite database and with an empty PostgreSQL one."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
