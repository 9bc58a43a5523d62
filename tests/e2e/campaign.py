"""A campaign of faults against replicas on one PostgreSQL, for as long as one likes.

Run: `python -m tests.e2e.campaign [SECONDS] [CLUSTERS] [REPLICAS] [SEED]`. Every few seconds chance kills a replica
and starts it again, stops one past its lease, cuts the connections to the database, or restarts it, also as by a power
failure. Then it is quiet for two leases and some intervals, and the runs that the database holds are counted: it
exits with 1 if a look was doubled, or if, once it was quiet, one was lost or a run was left open.
"""

import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import httpx

from tests.bench.table import show
from tests.e2e.faults import LEASE_SECONDS, faulty_fleet
from tests.e2e.replicas import database_now, figures, looks_of, wait_until_all_seen
from tests.integration.postgres import restartable_server

SECONDS, CLUSTERS, REPLICAS = 120, 60, 3
INTERVAL_SECONDS = 6


def main(seconds: int, clusters: int, count: int, seed: int) -> int:
    """Do it, print what came of it, and return the exit code."""
    chance = random.Random(seed)  # noqa: S311 - chooses moments, not secrets
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(restartable_server())
        fleet, url = stack.enter_context(faulty_fleet(directory, database, count=count, interval=INTERVAL_SECONDS))
        for number in range(clusters):
            fleet.add(f"shop-{number}", f"churn.period-3s.seed-{number}.delay-500ms")
        wait_until_all_seen(url, fleet.replicas)
        since = database_now(url)
        with fleet.befallen(chance, pause_seconds=3):
            time.sleep(seconds)
        time.sleep(2 * LEASE_SECONDS)
        quiet = database_now(url)
        time.sleep(3 * INTERVAL_SECONDS)
        now = database_now(url)
        whole = figures(url, interval=INTERVAL_SECONDS, since=since, before=now)
        after = figures(url, interval=INTERVAL_SECONDS, since=quiet, before=now, patience=1)
        states = Counter(look.state for looks in looks_of(url).values() for look in looks)
        unhealthy = [each.url for each in fleet.replicas if httpx.get(f"{each.url}/ready").status_code != 200]
    show(
        f"{clusters} clusters every {INTERVAL_SECONDS} s, {count} replicas, {seconds} s of faults, seed {seed}",
        [
            ("faults", ", ".join(f"{name} {times}" for name, times in sorted(fleet.done.items()))),
            ("looks that counted", str(whole.looks)),
            ("by state", ", ".join(f"{state} {times}" for state, times in sorted(states.items()))),
            ("doubled", str(len(whole.doubled))),
            ("refused or cut short", str(whole.refused)),
            ("ticks without a look while faults went on", str(len(whole.lost))),
            ("lost once it was quiet", str(len(after.lost))),
            ("runs left open", str(after.left_open)),
        ],
    )
    for line in [*whole.doubled, *after.lost, *unhealthy]:
        sys.stdout.write(f"{line}\n")
    return int(bool(whole.doubled or after.lost or after.left_open or unhealthy))


if __name__ == "__main__":
    arguments = [int(each) for each in sys.argv[1:]]
    defaults = [SECONDS, CLUSTERS, REPLICAS, random.randrange(10**6)]  # noqa: S311
    sys.exit(main(*(arguments + defaults[len(arguments) :])))
