"""The service itself: whether its database answers, and which versions it is made of."""

from orchestrator.store.database import Database, DatabaseUnavailable

__all__ = ["DatabaseUnavailable", "System"]


class System:
    """What probes ask for."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.schema_version = db.schema_version()

    async def ping(self) -> None:
        """Raise DatabaseUnavailable unless the database answers."""
        await self._db.ping()
