"""Worlds for the collector's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.integration.collector.world import World, make_world


@pytest.fixture(autouse=True)
def events() -> Iterator[list[EventDict]]:
    """What is logged; not rendered, since structlog's rendering for developers reads files on the loop's thread."""
    with capture_logs() as captured:
        yield captured


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """On SQLite, and again on PostgreSQL."""
    with make_world(database_url, tmp_path) as made:
        yield made


@pytest.fixture
def sqlite_world(sqlite_url: str, tmp_path: Path) -> Iterator[World]:
    """On SQLite only: for what the kind of database makes no difference to."""
    with make_world(sqlite_url, tmp_path) as made:
        yield made
