"""A fleet on its interval: how late looks begin, and how much memory the service takes.

The service as its users start it, on SQLite, with the stand-in for kai. Floor of the lag: the due time that follows
from the schedule and the end of the look before. All clusters are new at once, so the first round is a rush; what is
measured is the time after it. Run: `python -m tests.bench.fleet [CLUSTERS] [INTERVAL_SECONDS]`, three intervals long.
The names of the stand-in's servers do not exist: a resolver that is slow to say so is part of what is measured.
"""

import sqlite3
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from orchestrator.model.instant import MILLISECOND, SECOND
from orchestrator.model.schedule import next_due
from tests.bench.table import show
from tests.e2e.server import CLUSTERS, Server, cluster_body, environment, running_server, until

CLUSTER_COUNT, INTERVAL_SECONDS = 1_000, 300
AIM_LAG_SECONDS, AIM_IDLE_MIB = 5, 120


def memory_mib(server: Server, name: str) -> float:
    """A figure of the kernel's about the process, such as VmRSS (now) or VmHWM (its peak)."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = [each for each in status.splitlines() if each.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024


def lags(database: Path, interval: int, *, since: int, named: str = "%") -> list[int]:
    """Microseconds between due and begun, of every look at a cluster of such a name that was due after `since`."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        runs = connection.execute(
            "SELECT account_id || '/' || inventory_type || '/' || cluster_name, started_at, finished_at FROM run"
            " WHERE finished_at IS NOT NULL AND cluster_name LIKE ? ORDER BY cluster_id, id",
            (named,),
        ).fetchall()
    connection.close()
    found = []
    for (identity, _, ended), (following, began, _) in pairwise(runs):
        if identity == following:
            due = next_due(identity, interval=interval, timeouts=0, now=ended)
            if due > since:
                found.append(began - due)
    return found


def main(clusters: int, interval_seconds: int) -> None:
    """Measure and print."""
    env = environment(ANCHORE_CATALOG_K8S_INVENTORY_REPORT_INTERVAL_SEC=str(interval_seconds))
    with tempfile.TemporaryDirectory() as name, running_server(Path(name, "data"), env=env) as server:
        for number in range(clusters):
            body = cluster_body(f"cluster-{number}", f"ok.seed-{number}.images-35")
            server.http.post(CLUSTERS, json=body).raise_for_status()
        until(lambda: all_seen(server, clusters) or None, seconds=600, process=server.process)
        since = time.time_ns() // 1000
        time.sleep(2 * interval_seconds)
        idle, peak = memory_mib(server, "VmRSS"), memory_mib(server, "VmHWM")
        found = lags(server.data_dir / "orchestrator.db", interval_seconds * SECOND, since=since)
    percentiles = statistics.quantiles(found, n=100)
    show(
        f"{clusters} clusters every {interval_seconds} s, {len(found)} looks",
        [
            ("lag, median", f"{statistics.median(found) / MILLISECOND:.0f} ms"),
            ("lag, 99th percentile", f"{percentiles[98] / MILLISECOND:.0f} ms (aim: <= {AIM_LAG_SECONDS} s)"),
            ("lag, most", f"{max(found) / MILLISECOND:.0f} ms"),
            ("memory", f"{idle:.0f} MiB (aim: <= {AIM_IDLE_MIB} idle)"),
            ("memory, most", f"{peak:.0f} MiB"),
        ],
    )


def all_seen(server: Server, clusters: int) -> bool:
    """Whether every cluster was looked at."""
    with sqlite3.connect(f"file:{server.data_dir / 'orchestrator.db'}?mode=ro", uri=True) as connection:
        seen = connection.execute("SELECT count(*) FROM cluster WHERE last_success_at IS NOT NULL").fetchone()[0]
    connection.close()
    return bool(seen == clusters)


if __name__ == "__main__":
    arguments = [int(each) for each in sys.argv[1:]]
    main(*(arguments + [CLUSTER_COUNT, INTERVAL_SECONDS][len(arguments) :]))
