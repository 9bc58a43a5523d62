"""Worlds for the collector's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.collector.world import World, make_world


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
