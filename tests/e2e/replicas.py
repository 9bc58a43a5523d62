"""Several replicas on one PostgreSQL: how they are started, and what their database says that they did."""

import base64
import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg

from orchestrator.model.instant import SECOND, Instant
from orchestrator.model.schedule import next_tick
from tests.e2e.server import Server, environment, running_server, until

KEY = base64.b64encode(bytes(32)).decode()

# Looks that say nothing about their cluster: cut short, taken over, or refused for being late.
REFUSED = frozenset({"discarded", "interrupted"})


def replica_environment(url: str, *, interval: int, lease: int = 3, **more: str) -> dict[str, str]:
    """The environment of a replica on this database; `interval` and `lease` in seconds."""
    usual = {
        "ORCHESTRATOR_DATABASE_URL": url,
        "ORCHESTRATOR_SEALING_KEYS": KEY,
        "ANCHORE_CATALOG_K8S_INVENTORY_REPORT_INTERVAL_SEC": str(interval),
        "ORCHESTRATOR_LEASE_SEC": str(lease),
    }
    return environment(**(usual | more))


@contextlib.contextmanager
def replicas(directory: Path, env: dict[str, str], *, count: int = 3) -> Iterator[list[Server]]:
    """So many replicas, all started at once and then waited for."""
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(running_server(directory / f"replica-{number}", env=env, ready=False))
            for number in range(count)
        ]
        for each in started:
            each.wait_until_ready()
        yield started


@dataclass(frozen=True, slots=True)
class Look:
    """A run of the collector's."""

    cluster: str
    run_id: int
    state: str
    started_at: Instant
    finished_at: Instant | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What a fleet's looks came to in a window of time.

    `lost` are ticks of a cluster in which no look began that counted, `doubled` looks that counted beside another
    one of the same tick or while another one was going on, `refused` looks whose result was not taken, `left_open`
    runs that no cluster knows of any more and that never end.
    """

    looks: int
    lost: list[str]
    doubled: list[str]
    refused: int
    left_open: int


def database_now(url: str) -> Instant:
    """The clock of the database, by which everything is stored."""
    (now,) = query(url, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")[0]
    return int(now)


def query(url: str, statement: str, *parameters: Any) -> list[Any]:
    """All rows of a statement, on a connection of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode(), parameters).fetchall()


def looks_of(url: str) -> dict[str, list[Look]]:
    """All looks that began, by the identity of their cluster that its schedule goes by, in their order."""
    rows = query(
        url,
        "SELECT account_id || '/' || inventory_type || '/' || cluster_name, cluster_name, id, state, started_at,"
        " finished_at FROM run WHERE sender = 'embedded' AND started_at IS NOT NULL ORDER BY id",
    )
    found: defaultdict[str, list[Look]] = defaultdict(list)
    for identity, *rest in rows:
        found[identity].append(Look(*rest))
    return found


def figures(url: str, *, interval: int, since: Instant, before: Instant, patience: int = 0) -> Figures:
    """What came of the ticks between two instants; `interval` in seconds, `patience` how many ticks in a row may
    pass without a look."""
    every = interval * SECOND
    lost: list[str] = []
    doubled: list[str] = []
    looks = refused = 0
    for identity, all_looks in looks_of(url).items():
        counted = [each for each in all_looks if each.state not in REFUSED]
        windowed = [each for each in all_looks if since <= each.started_at < before]
        looks += sum(each.state not in REFUSED for each in windowed)
        refused += sum(each.state in REFUSED for each in windowed)
        ticks: defaultdict[Instant, list[Look]] = defaultdict(list)
        for look in counted:
            # The tick that follows names the one it began in, as it does for the schedule.
            ticks[next_tick(identity, interval=every, now=look.started_at)].append(look)
        doubled += [f"{identity}: {each}" for each in ticks.values() if len(each) > 1 and each[1].started_at >= since]
        doubled += [
            f"{identity}: {one} {other}"
            for one, other in pairwise(counted)
            if other.started_at >= since and (one.finished_at is None or one.finished_at > other.started_at)
        ]
        lost += _lost(identity, set(ticks), every, since=since, before=before, patience=patience)
    (left_open,) = query(
        url,
        "SELECT count(*) FROM run WHERE state IN ('queued', 'running') AND id NOT IN"
        " (SELECT run_id FROM cluster WHERE run_id IS NOT NULL"
        " UNION SELECT queued_run_id FROM cluster WHERE queued_run_id IS NOT NULL)",
    )[0]
    return Figures(looks, lost, doubled, refused, left_open)


def _lost(
    identity: str, seen: set[Instant], every: int, *, since: Instant, before: Instant, patience: int
) -> list[str]:
    lost = []
    missed = 0
    tick = next_tick(identity, interval=every, now=since)
    while (following := next_tick(identity, interval=every, now=tick)) < before:
        missed = 0 if following in seen else missed + 1
        if missed > patience:
            lost.append(f"{identity}: no look from {tick} to {following}")
        tick = following
    return lost


def wait_until_all_seen(url: str, servers: list[Server], *, after: Instant = 0, seconds: float = 60) -> None:
    """Return once every cluster had a good look that began after that instant."""
    unseen = (
        "SELECT count(*) FROM cluster c WHERE NOT EXISTS (SELECT 1 FROM run r WHERE r.id = c.last_success_id"
        " AND r.started_at > %s)"
    )
    until(
        lambda: query(url, unseen, after) == [(0,)] or None,
        seconds=seconds,
        process=servers[0].process,
        what=servers[0].log,
    )


def stored_by(server: Server) -> int:
    """How many looks this replica brought to an end."""
    return sum(event["event"] == "look" for event in server.events())
