"""Services for end-to-end tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import Server, running_server
from tests.integration.conftest import postgres_server, postgres_url

__all__ = ["data_dir", "postgres_server", "postgres_url", "server"]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Where a service under test keeps its data."""
    return tmp_path / "data"


@pytest.fixture
def server(data_dir: Path) -> Iterator[Server]:
    """A service that is ready."""
    with running_server(data_dir) as started:
        yield started
