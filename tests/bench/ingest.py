"""What it costs to take reports in, on SQLite.

Unchanged: 10,000 images in 100 namespaces. Floor: `orjson.loads` of the same bytes and one raw `sqlite3.executemany`
upsert that notes when each of its 10,000 rows was last seen, in one transaction, with our schema and pragmas.
First: 100,000 images in 100 namespaces. Floor: `orjson.loads` and one raw `executemany` insert into the same table.
"""

import sqlite3
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr

from orchestrator.model.instant import DAY, HOUR
from orchestrator.model.report import image_key, parse_report
from orchestrator.model.retention import Retention
from orchestrator.model.run import EMBEDDED_SENDER
from orchestrator.store import accounts
from orchestrator.store.database import Database
from orchestrator.store.ingest import IngestRules, ingest
from tests.bench.table import paired, show

RULES = IngestRules(retention=Retention(120), pace=HOUR, gap=DAY)
PRAGMAS = "PRAGMA journal_mode=wal; PRAGMA synchronous=full; PRAGMA foreign_keys=1; PRAGMA wal_autocheckpoint=1000000;"
INSERT = (
    "INSERT INTO item (context_id, image_key, image_tag, image_digest, created_at, present_since)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
UPSERT = INSERT + " ON CONFLICT (context_id, image_key) DO UPDATE SET last_seen = excluded.present_since"


def document(images: int, namespaces: int = 100) -> bytes:
    """A report with so many images, spread evenly."""
    numbers = count()

    def image() -> dict[str, str]:
        number = next(numbers)
        return {
            "tag": f"registry.example.com/team/app-{number % 5000}:v{number}",
            "repoDigest": f"sha256:{number:064x}",
        }

    results = [
        {"namespace": f"namespace-{index}", "images": [image() for _ in range(images // namespaces)]}
        for index in range(namespaces)
    ]
    version = {"gitVersion": "v1.30.0"}
    return orjson.dumps({"timestamp": "2026-01-01T00:00:00Z", "results": results, "serverVersionMetadata": version})


def fresh(folder: Path, name: str) -> Database:
    db = Database(SecretStr(f"sqlite:///{folder / name}"))
    db.migrate()
    db.reading(lambda: db.execute("PRAGMA wal_autocheckpoint=1000000"))
    return db


def ours(db: Database, body: bytes, cluster_name: Callable[[], str]) -> Callable[[], object]:
    account_id = db.writing(lambda: accounts.ensure_account(db, "admin").id)

    def work() -> None:
        report = parse_report(body)
        name = cluster_name()
        db.writing(
            lambda: ingest(
                db,
                report,
                account_id=account_id,
                inventory_type="kubernetes",
                cluster_name=name,
                sender=EMBEDDED_SENDER,
                whole_cluster=True,
                rules=RULES,
            )
        )

    return work


def floor(folder: Path, name: str, body: bytes, sql: str, *, contexts: Callable[[], int]) -> Callable[[], object]:
    """The floor over its own database file, whose contexts are there already."""
    fresh(folder, name).close()
    raw = sqlite3.connect(folder / name, isolation_level=None)
    raw.executescript(PRAGMAS)
    raw.execute("PRAGMA foreign_keys=0")

    def work() -> None:
        first, now = contexts(), time.time_ns()
        rows: list[tuple[Any, ...]] = []
        for index, result in enumerate(orjson.loads(body)["results"]):
            for image in result["images"]:
                tag, digest = image["tag"], image["repoDigest"]
                rows.append((first + index, image_key((tag, digest)), tag, digest, now, now))
        raw.execute("BEGIN IMMEDIATE")
        raw.executemany(sql, rows)
        raw.execute("COMMIT")

    return work


def wal_bytes(folder: Path, name: str, work: Callable[[], object]) -> int:
    """Bytes that one run adds to the write-ahead log."""
    wal = folder / f"{name}-wal"
    before = wal.stat().st_size
    work()
    return wal.stat().st_size - before


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        body = document(10_000)
        unchanged = ours(fresh(folder, "ours.db"), body, lambda: "cluster")
        upsert = floor(folder, "floor.db", body, UPSERT, contexts=lambda: 1)
        unchanged()
        upsert()
        mine, theirs, ratio = paired(unchanged, upsert, runs=15)
        mine_log = wal_bytes(folder, "ours.db", unchanged)
        their_log = wal_bytes(folder, "floor.db", upsert)
        show(
            "unchanged report, 10,000 images in 100 namespaces",
            [
                ("ours", f"{mine * 1000:.1f} ms, {mine_log} bytes to the log"),
                ("floor", f"{theirs * 1000:.1f} ms, {their_log} bytes to the log"),
                ("time", f"{ratio:.2f} x (aim 0.6)"),
                ("log", f"1/{their_log / max(mine_log, 1):.0f} (aim 1/50)"),
            ],
        )
        body = document(100_000)
        names, firsts = count(), count(1, 100)
        first = ours(fresh(folder, "ours-first.db"), body, lambda: f"cluster-{next(names)}")
        insert = floor(folder, "floor-first.db", body, INSERT, contexts=lambda: next(firsts))
        mine, theirs, ratio = paired(first, insert, runs=5)
        show(
            "first report, 100,000 images in 100 namespaces",
            [
                ("ours", f"{mine * 1000:.0f} ms"),
                ("floor", f"{theirs * 1000:.0f} ms"),
                ("time", f"{ratio:.2f} x (aim 1.5)"),
            ],
        )


if __name__ == "__main__":
    main()
