"""A fleet of which a part hangs: how late the looks at the others begin.

The service as its users start it, on SQLite, with the stand-in for kai and its time-out at two fifths of the interval,
as 120 of 300 seconds are. All clusters are well at first; then a part of them hangs, all at once and with no warning:
the worst that can come. Floor of the lag: the due time that follows from the schedule and the end of the look before.
Run: `python -m tests.bench.hanging [CLUSTERS] [HANGING] [INTERVAL_SECONDS]`.
"""

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from orchestrator.demo import STAND_IN
from orchestrator.model.instant import MILLISECOND, SECOND
from tests.bench.fleet import all_seen, lags
from tests.bench.table import show
from tests.e2e.server import CLUSTERS, cluster_body, environment, running_server, until

CLUSTER_COUNT, HANGING_COUNT, INTERVAL_SECONDS = 200, 100, 60
INTERVALS = 6

KAI = """\
#!/bin/sh
[ -e {trigger} ] && grep -qs hangs "${{2%/*}}"/* && exec sleep 600
exec {kai} "$@"
"""


def main(clusters: int, hanging: int, interval_seconds: int) -> None:
    """Measure and print."""
    env = environment(
        ANCHORE_CATALOG_K8S_INVENTORY_REPORT_INTERVAL_SEC=str(interval_seconds),
        ORCHESTRATOR_KAI_TIMEOUT_SEC=str(interval_seconds * 2 // 5),
    )
    rows = []
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory())
        trigger, kai = Path(name, "trigger"), Path(name, "kai")
        kai.write_text(KAI.format(trigger=trigger, kai=STAND_IN))
        kai.chmod(0o755)
        server = stack.enter_context(
            running_server(Path(name, "data"), env=env | {"ORCHESTRATOR_KAI_BINARY": str(kai)})
        )
        for number in range(clusters):
            server.http.post(CLUSTERS, json=cluster_body(f"well-{number}", "one")).raise_for_status()
        for number in range(hanging):
            server.http.post(CLUSTERS, json=cluster_body(f"hangs-{number}", "one.seed-hangs")).raise_for_status()
        until(lambda: all_seen(server, clusters + hanging) or None, seconds=600, process=server.process)
        since = time.time_ns() // 1000
        trigger.touch()
        time.sleep(INTERVALS * interval_seconds)
        database, interval = server.data_dir / "orchestrator.db", interval_seconds * SECOND
        all_lags = lags(database, interval, since=since, named="well-%")
        for number in range(1, INTERVALS):
            found = lags(database, interval, since=since + number * interval, named="well-%")
            if len(found) > 1:
                percentile = statistics.quantiles(found, n=100)[98] / MILLISECOND
                rows.append((f"after {number} intervals: 99th percentile", f"{percentile:.0f} ms"))
        timed_out = sum(server.status(f"hangs-{number}")["health"] != "healthy" for number in range(hanging))
        rows.insert(0, ("found to hang", str(timed_out)))
        rows.insert(0, ("lag, most", f"{max(all_lags) / MILLISECOND:.0f} ms"))
        rows.insert(0, ("lag, median", f"{statistics.median(all_lags) / MILLISECOND:.0f} ms"))
    show(f"{clusters} clusters every {interval_seconds} s beside {hanging} that hang, {len(all_lags)} looks", rows)


if __name__ == "__main__":
    arguments = [int(each) for each in sys.argv[1:]]
    main(*(arguments + [CLUSTER_COUNT, HANGING_COUNT, INTERVAL_SECONDS][len(arguments) :]))
