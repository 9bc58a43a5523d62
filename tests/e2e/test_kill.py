"""Killed at any instant: nothing that was accepted is lost, nothing is left lying around, every cluster goes on."""

import random
import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import CLUSTERS, Server, cluster_body, environment, processes_in, running_server, until

ROUNDS = 8
IMAGES = 300


@pytest.mark.timeout(240)
def test_killed_at_random_moments_it_loses_nothing_and_leaves_nothing(data_dir: Path) -> None:
    env = environment(
        # Leases that end soon, so that the test need not wait a minute for those of the dead.
        ORCHESTRATOR_LEASE_SEC="3",
        ANCHORE_CATALOG_K8S_INVENTORY_REPORT_INTERVAL_SEC="1",
        ORCHESTRATOR_MAX_CONCURRENT_RUNS="4",
    )
    seed = random.randrange(10**6)  # noqa: S311
    chance = random.Random(seed)  # noqa: S311 - chooses moments, not secrets
    accepted: list[str] = []
    roots: list[str] = []
    for number in range(ROUNDS):
        with running_server(data_dir, env=env) as server:
            check_nothing_is_left(roots, seed)
            check_all_is_there(server, accepted, seed)
            roots += server.workdir_roots()
            threading.Timer(chance.uniform(0, 1.5), server.process.kill).start()
            accepted += add_clusters_until_killed(server, f"round-{number}")
            server.process.wait(10)
    with running_server(data_dir, env=env) as server:
        check_nothing_is_left(roots, seed)
        check_all_is_there(server, accepted, seed)
        runs_before = {name: newest_run(server, name) for name in accepted}
        for name in accepted:
            until(lambda name=name: newest_success(server, name) > runs_before[name] or None, seconds=60)  # type: ignore[misc]
        assert server.stop() == 0
        check_nothing_is_left(roots, seed)


def add_clusters_until_killed(server: Server, prefix: str) -> list[str]:
    """Add a cluster after the other; returns the names of those that were accepted with a 200."""
    added = []
    for number in range(3):
        name = f"{prefix}-{number}"
        body = cluster_body(name, f"ok.seed-{name}.images-{IMAGES}.namespaces-7")
        try:
            if server.http.post(CLUSTERS, json=body).status_code == 200:
                added.append(name)
        except httpx.TransportError:
            break
    return added


def check_nothing_is_left(roots: list[str], seed: int) -> None:
    for root in roots:
        assert not Path(root).exists(), f"seed {seed}: {root} was left"
        assert processes_in(root) == [], f"seed {seed}: orphans in {root}"


def check_all_is_there(server: Server, accepted: list[str], seed: int) -> None:
    """Every accepted cluster is stored, and each inventory is there whole or not at all."""
    stored = {each["cluster_name"] for each in server.http.get(CLUSTERS).json()}
    assert stored >= set(accepted), f"seed {seed}: lost {set(accepted) - stored}"
    counted = Counter(item["cluster_name"] for item in server.items())
    assert set(counted.values()) <= {IMAGES}, f"seed {seed}: half an inventory: {counted}"


def newest_run(server: Server, name: str) -> int:
    return max((int(run["id"]) for run in server.runs(name)), default=0)


def newest_success(server: Server, name: str) -> int:
    return max((int(run["id"]) for run in server.runs(name) if run["state"] == "succeeded"), default=0)
