"""The record of who changed what: written in the transaction of the change itself, so that neither is without the
other."""

from dataclasses import dataclass

from orchestrator.model.instant import Instant
from orchestrator.store import tables
from orchestrator.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One change. `action` is such as `cluster.add`, `subject` the name of what was changed."""

    at: Instant
    account_id: int
    username: str
    action: str
    subject: str
    detail: str


def record(db: Database, *, account_id: int, username: str, action: str, subject: str, detail: str = "") -> None:
    """Note a change; `detail` is for people and holds nothing secret."""
    db.run(
        tables.Audit.insert(
            at=db.now(), account_id=account_id, username=username, action=action, subject=subject, detail=detail
        )
    )


def list_records(db: Database, account_id: int, *, limit: int) -> list[AuditRecord]:
    """The account's newest records, newest first."""
    table = tables.Audit
    query = table.select().where(table.account_id == account_id).order_by(table.id.desc()).limit(limit).dicts()
    return [
        AuditRecord(
            at=row["at"],
            account_id=row["account_id"],
            username=row["username"],
            action=row["action"],
            subject=row["subject"],
            detail=row["detail"],
        )
        for row in db.run(query)
    ]
