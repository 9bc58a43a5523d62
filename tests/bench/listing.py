"""What it costs to read a large inventory from the store, on SQLite: 1,000,000 items in 1,000 namespaces.

Floor: one raw cursor over the same joined, sorted rows, a page of 10,000 at a time through the same `orjson.dumps`.
The socket is left out on both sides. Memory is the peak of the process while it walks, above what it was before.
"""

import resource
import sqlite3
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr

from orchestrator.model.instant import format_instant
from orchestrator.model.report import image_key
from orchestrator.model.retention import Retention
from orchestrator.store import accounts, tables
from orchestrator.store.database import Database
from orchestrator.store.listing import Item, ItemFilter, Position, read_page
from tests.bench.table import paired, show

NAMESPACES, IMAGES, PAGE = 1_000, 1_000, 10_000
RETENTION = Retention(120)
FLOOR = """
SELECT s.inventory_type, c.name, s.cluster_name, c.namespace, i.image_tag, i.image_digest, i.created_at,
       coalesce(i.last_seen, c.received_at), i.last_seen IS NULL
FROM item i JOIN context c ON c.id = i.context_id JOIN source s ON s.id = c.source_id
WHERE c.account_id = ? AND coalesce(i.last_seen, c.received_at) >= ?
ORDER BY c.name, c.id, i.image_tag, i.image_digest
"""


def fill(db: Database) -> int:
    def unit() -> int:
        now = db.now()
        account_id = accounts.ensure_account(db, "admin").id
        source_id = db.run(
            tables.Source.insert(account_id=account_id, inventory_type="kubernetes", cluster_name="prod")
        )
        sender_id = db.run(tables.Sender.insert(source_id=source_id, name="embedded", report_at=now, received_at=now))
        numbers = count()
        for index in range(NAMESPACES):
            context_id = db.run(
                tables.Context.insert(
                    account_id=account_id,
                    source_id=source_id,
                    sender_id=sender_id,
                    namespace=f"namespace-{index}",
                    name=f"prod/namespace-{index}",
                    report_at=now,
                    received_at=now,
                    covered_since=now,
                    fingerprint=None,
                    gone=0,
                )
            )
            images = [(f"registry.example.com/app:v{next(numbers)}", f"sha256:{index:064x}") for _ in range(IMAGES)]
            db.execute_many(
                "INSERT INTO item (context_id, image_key, image_tag, image_digest, created_at, present_since)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [(context_id, image_key(image), *image, now, now) for image in images],
            )
        return account_id

    return db.writing(unit)


def render(rows: list[Any]) -> bytes:
    return orjson.dumps(
        [
            {
                "inventory_type": row[0],
                "context": row[1],
                "cluster_name": row[2],
                "namespace": row[3],
                "image_tag": row[4],
                "image_digest": row[5],
                "created_at": format_instant(row[6]),
                "last_updated": (last_seen := format_instant(row[7])),
                "last_seen": last_seen,
                "present": bool(row[8]),
            }
            for row in rows
        ]
    )


def pages(db: Database, account_id: int) -> Iterator[list[Any]]:
    now = db.reading(db.now)

    def read(after: Position | None) -> list[Item]:
        return read_page(db, account_id, ItemFilter(), retention=RETENTION, now=now, after=after, limit=PAGE)

    after = None
    while True:
        page = db.reading(partial(read, after))
        yield page
        if len(page) < PAGE:
            return
        after = Position(page[-1].context, page[-1].image_tag, page[-1].image_digest)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "listing.db"
        db = Database(SecretStr(f"sqlite:///{path}"))
        db.migrate()
        account_id = fill(db)
        raw = sqlite3.connect(path)

        def ours() -> int:
            return sum(len(render(page)) for page in pages(db, account_id))

        def floor() -> int:
            cursor = raw.execute(FLOOR, (account_id, 0))
            return sum(len(render(rows)) for rows in iter(lambda: cursor.fetchmany(PAGE), []))

        before = peak_mib()
        size = ours()
        grown = peak_mib() - before
        mine, theirs, ratio = paired(ours, floor, runs=3)
        show(
            f"{NAMESPACES * IMAGES:,} items, {size / 2**20:.0f} MiB of JSON",
            [
                ("ours", f"{mine:.2f} s"),
                ("floor", f"{theirs:.2f} s"),
                ("time", f"{ratio:.2f} x (aim 1.5)"),
                ("memory", f"{grown:.0f} MiB more (aim 64)"),
            ],
        )


if __name__ == "__main__":
    main()
