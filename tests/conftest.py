"""What every kind of test shares."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The service runs on asyncio only, so its tests do too."""
    return "asyncio"
