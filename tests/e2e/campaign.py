"""A campaign of faults against replicas on one PostgreSQL, for as long as one likes.

Run: `python -m tests.e2e.campaign [SECONDS] [CLUSTERS] [REPLICAS] [SEED]`. Every few seconds chance kills a replica
and starts it again, stops one past its lease, cuts the connections to the database, or restarts it, also as by a power
failure. Then it is quiet for two leases and some intervals, and the runs that the database holds are counted: it
exits with 1 if a look was doubled, or if, once it was quiet, one was lost or a run was left open.
"""

import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx

from tests.bench.table import show
from tests.e2e.replicas import database_now, figures, looks_of, query, replica_environment, wait_until_all_seen
from tests.e2e.server import Server, running_server
from tests.integration.postgres import RestartableServer, restartable_server

SECONDS, CLUSTERS, REPLICAS = 120, 60, 3
INTERVAL_SECONDS, LEASE_SECONDS = 6, 3
CUT = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


class Campaign:
    """A fleet, and what is done to it."""

    def __init__(self, stack: ExitStack, directory: Path, database: RestartableServer, url: str, count: int) -> None:
        self._stack = stack
        self._directory = directory
        self._database = database
        self._url = url
        self.done: Counter[str] = Counter()
        self.replicas = [self._start() for _ in range(count)]
        for each in self.replicas:
            each.wait_until_ready()

    def _start(self) -> Server:
        env = replica_environment(self._url, interval=INTERVAL_SECONDS, lease=LEASE_SECONDS)
        directory = self._directory / f"replica-{time.monotonic_ns()}"
        return self._stack.enter_context(running_server(directory, env=env, ready=False))

    def add_clusters(self, count: int) -> None:
        for number in range(count):
            server = self.replicas[number % len(self.replicas)]
            server.add(f"shop-{number}", f"churn.period-3s.seed-{number}.delay-500ms")
        wait_until_all_seen(self._url, self.replicas)

    def harm(self, chance: random.Random) -> None:
        """One fault, and the time that it takes."""
        faults: list[Callable[[random.Random], None]] = [self.kill, self.stop, self.cut, self.restart, self.crash]
        fault = chance.choice(faults)
        self.done[fault.__name__] += 1
        fault(chance)

    def kill(self, chance: random.Random) -> None:
        number = chance.randrange(len(self.replicas))
        self.replicas[number].process.kill()
        self.replicas[number] = self._start()
        self.replicas[number].wait_until_ready()

    def stop(self, chance: random.Random) -> None:
        process = chance.choice(self.replicas).process
        process.send_signal(signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + chance.uniform(0, 2))
        process.send_signal(signal.SIGCONT)

    def cut(self, _chance: random.Random) -> None:
        query(self._url, CUT)

    def restart(self, chance: random.Random, *, crash: bool = False) -> None:
        self._database.stop(crash=crash)
        time.sleep(chance.uniform(0, 2))
        self._database.start()

    def crash(self, chance: random.Random) -> None:
        self.restart(chance, crash=True)


def main(seconds: int, clusters: int, count: int, seed: int) -> int:
    """Do it, print what came of it, and return the exit code."""
    chance = random.Random(seed)  # noqa: S311 - chooses moments, not secrets
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(restartable_server())
        url = stack.enter_context(database.server.fresh_database())
        campaign = Campaign(stack, directory, database, url, count)
        campaign.add_clusters(clusters)
        since = database_now(url)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            campaign.harm(chance)
            time.sleep(chance.uniform(0, 3))
        time.sleep(2 * LEASE_SECONDS)
        quiet = database_now(url)
        time.sleep(3 * INTERVAL_SECONDS)
        now = database_now(url)
        whole = figures(url, interval=INTERVAL_SECONDS, since=since, before=now)
        after = figures(url, interval=INTERVAL_SECONDS, since=quiet, before=now, patience=1)
        states = Counter(look.state for looks in looks_of(url).values() for look in looks)
        unhealthy = [each.url for each in campaign.replicas if httpx.get(f"{each.url}/ready").status_code != 200]
    show(
        f"{clusters} clusters every {INTERVAL_SECONDS} s, {count} replicas, {seconds} s of faults, seed {seed}",
        [
            ("faults", ", ".join(f"{name} {times}" for name, times in sorted(campaign.done.items()))),
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
