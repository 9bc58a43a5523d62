"""Many replicas on one PostgreSQL, and what happens when one of them, or the database, fails."""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from orchestrator.demo import STAND_IN
from orchestrator.model.instant import SECOND, parse_instant
from tests.e2e.replicas import (
    database_now,
    figures,
    looks_of,
    query,
    replica_environment,
    replicas,
    stored_by,
    wait_until_all_seen,
)
from tests.e2e.server import CLUSTERS, Server, processes_in, running_server, until
from tests.integration.conftest import postgres_or_skip
from tests.integration.postgres import restartable_server

pytestmark = pytest.mark.postgres

LEASE_SECONDS = 3


def add_all(servers: list[Server], scenarios: dict[str, str]) -> None:
    """Add clusters, each through another replica."""
    for number, (name, scenario) in enumerate(scenarios.items()):
        servers[number % len(servers)].add(name, scenario)


def test_started_at_once_three_replicas_look_at_each_of_60_clusters_once_an_interval(
    tmp_path: Path, postgres_url: str
) -> None:
    interval = 5
    env = replica_environment(postgres_url, interval=interval, lease=30)
    with replicas(tmp_path, env) as servers:
        migrated = [sum("migrated" in event["event"] for event in each.events()) for each in servers]
        assert sorted(migrated) == [0, 0, 1]
        assert query(postgres_url, "SELECT count(*) FROM account_user") == [(1,)]
        add_all(servers, {f"shop-{number}": f"one.seed-{number}" for number in range(60)})
        wait_until_all_seen(postgres_url, servers)
        since = database_now(postgres_url)
        # A busy machine may miss ticks, which are skipped, not queued; but no cluster is left out.
        for _ in range(2):
            wait_until_all_seen(postgres_url, servers, after=database_now(postgres_url))
        found = figures(postgres_url, interval=interval, since=since, before=database_now(postgres_url))
        assert (found.doubled, found.refused, found.left_open) == ([], 0, 0)
        assert found.looks >= 120
        states = {look.state for looks in looks_of(postgres_url).values() for look in looks}
        assert states <= {"succeeded", "running"}
        assert all(stored_by(each) > 0 for each in servers)
        assert len({item["cluster_name"] for item in servers[0].items()}) == 60
        for each in servers:
            response = each.http.post(f"{CLUSTERS}/shop-0/sync?wait=20")
            assert (response.status_code, response.json()["state"]) == (200, "succeeded")
        assert [each.stop() for each in servers] == [0, 0, 0]


def test_the_clusters_of_a_killed_replica_are_taken_over_within_the_lease(tmp_path: Path, postgres_url: str) -> None:
    """And replicas on one host leave each other's workdirs alone, but clear away those of the dead one."""
    env = replica_environment(postgres_url, interval=300, lease=LEASE_SECONDS)
    names = [f"shop-{number}" for number in range(5)]
    with running_server(tmp_path / "doomed", env=env) as doomed:
        add_all([doomed], dict.fromkeys(names, "one.delay-10s"))
        for name in names:
            doomed.wait_until_looking(name)
        (root,) = doomed.workdir_roots()
        until(lambda: len(list(Path(root).iterdir())) == len(names) or None)
        with replicas(tmp_path, env, count=2) as servers:
            assert len(list(Path(root).iterdir())) == len(names), "swept the workdirs of a living replica"
            assert all(each.status(name)["running"] for name in names for each in servers)
            doomed.process.kill()
            doomed.process.wait(10)
            killed_at = database_now(postgres_url)
            until(lambda: taken_over(postgres_url) == len(names) or None, seconds=LEASE_SECONDS + 20)
            for looks in looks_of(postgres_url).values():
                first, second = looks
                assert (first.state, second.state) == ("interrupted", "running")
                # Within the lease, the second between two turns of the loop, and what a busy machine takes; the next
                # look would have been due in minutes.
                assert (second.started_at - killed_at) / SECOND < LEASE_SECONDS + 1 + 6
            roots = [path for each in servers for path in each.workdir_roots()]
            until(lambda: sum(len(list(Path(path).iterdir())) for path in roots) == len(names) or None)
            with running_server(tmp_path / "next", env=env) as following:
                assert not Path(root).exists()
                assert processes_in(root) == []
                assert sum(len(list(Path(path).iterdir())) for path in roots) == len(names)
                for name in names:
                    following.wait_for_health(name, "healthy")
            assert [each.stop() for each in servers] == [0, 0]


def taken_over(url: str) -> int:
    return sum(len(looks) > 1 for looks in looks_of(url).values())


def test_the_late_result_of_a_stopped_replica_is_refused(tmp_path: Path, postgres_url: str) -> None:
    env = replica_environment(postgres_url, interval=300, lease=LEASE_SECONDS)
    with running_server(tmp_path / "stopped", env=env) as stopped:
        # What runs there differs from second to second, so that it shows whose report was taken.
        stopped.add("shop", "churn.period-1s.delay-2s")
        (root,) = stopped.workdir_roots()
        until(lambda: processes_in(root) or None)
        stopped.process.send_signal(signal.SIGSTOP)
        with running_server(tmp_path / "other", env=env) as other:
            try:
                status = other.wait_for_health("shop", "healthy")
                items = other.items()
                assert items
            finally:
                stopped.process.send_signal(signal.SIGCONT)
            until(lambda: was_refused(stopped) or None, process=stopped.process, what=stopped.log)
            assert other.items() == items
            runs = other.runs("shop")
            assert [run["state"] for run in runs] == ["succeeded", "interrupted"]
            assert other.status("shop")["last_success_at"] == status["last_success_at"]
            assert stopped.http.get("/ready").status_code == 200
            response = stopped.http.post(f"{CLUSTERS}/shop/sync?wait=20")
            assert (response.status_code, response.json()["state"]) == (200, "succeeded")
            assert other.items() != items


def was_refused(server: Server) -> bool:
    """Whether a look of this replica ended without being stored."""
    return any(
        event["event"].startswith("look cancelled") or (event["event"] == "look" and event["state"] == "discarded")
        for event in server.events()
    )


def test_the_database_may_be_restarted_under_load(tmp_path: Path) -> None:
    interval = 3
    with ExitStack() as stack:
        database = stack.enter_context(postgres_or_skip(restartable_server))
        url = stack.enter_context(database.server.fresh_database())
        env = replica_environment(url, interval=interval, lease=LEASE_SECONDS)
        servers = stack.enter_context(replicas(tmp_path, env))
        add_all(servers, {f"shop-{number}": f"one.seed-{number}.delay-250ms" for number in range(16)})
        wait_until_all_seen(url, servers)
        since = database_now(url)
        for crash in (False, True):
            database.stop(crash=crash)
            response = servers[0].http.get(CLUSTERS)
            assert response.status_code == 503
            assert int(response.headers["Retry-After"]) > 0
            database.start()
            wait_until_all_seen(url, servers, after=database_now(url))
        # What was claimed when the database went is done again once its lease is over.
        wait_until_all_seen(url, servers, after=database_now(url))
        until(lambda: figures(url, interval=interval, since=since, before=database_now(url)).left_open == 0 or None)
        assert figures(url, interval=interval, since=since, before=database_now(url)).doubled == []
        assert {item["cluster_name"] for item in servers[1].items()} == {f"shop-{number}" for number in range(16)}
        assert [each.stop() for each in servers] == [0, 0, 0]


def test_one_process_answers_and_another_looks(tmp_path: Path, postgres_url: str) -> None:
    env = replica_environment(postgres_url, interval=300)
    # No kai is needed where no cluster is looked at, and no password where nobody signs in.
    answering = env | {"ORCHESTRATOR_KAI_BINARY": "/nowhere/kai"}
    looking = {name: value for name, value in env.items() if name != "ANCHORE_ADMIN_PASSWORD"}
    with (
        running_server(tmp_path / "api", env=answering, args=["--role", "api"]) as api,
        running_server(tmp_path / "collector", env=looking | {"ORCHESTRATOR_ROLE": "collector"}) as collector,
    ):
        for path in ("/health", "/ready", "/version"):
            assert [each.http.get(path).status_code for each in (api, collector)] == [200, 200]
        assert collector.http.get(CLUSTERS).status_code == 404
        assert collector.http.get("/v1/enterprise/openapi.json").status_code == 404
        assert not any(event["level"] == "warning" for each in (api, collector) for event in each.events())
        api.add("shop", "one")
        api.wait_for_health("shop", "healthy")
        response = api.http.post(f"{CLUSTERS}/shop/sync?wait=20")
        assert (response.status_code, response.json()["state"]) == (200, "succeeded")
        assert (stored_by(api), stored_by(collector)) == (0, 2)
        assert api.workdir_roots() == []
        api.add("hanging", "hang")
        api.wait_until_looking("hanging")
        assert [api.stop(), collector.stop()] == [0, 0]
        assert list((tmp_path / "collector").iterdir()) == []


# A replica whose clock, and that of its kai, is wrong.
WRONG_CLOCK = """\
import sys
import time
def shifted(clock, by):
    return lambda: clock() + by
def told_by(clock, convert):
    return lambda seconds=None: convert(clock() if seconds is None else seconds)
time.time, time.time_ns = shifted(time.time, {shift}), shifted(time.time_ns, {shift} * 10**9)
time.gmtime, time.localtime = told_by(time.time, time.gmtime), told_by(time.time, time.localtime)
"""


def test_replicas_whose_clocks_are_an_hour_apart_agree(tmp_path: Path, postgres_url: str) -> None:
    interval = 2
    names = [f"shop-{number}" for number in range(8)]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                replica_with_a_wrong_clock(tmp_path / name, postgres_url, interval=interval, shift=shift)
            )
            for name, shift in (("slow", -3600), ("right", 0), ("fast", 3600))
        ]
        for each in servers:
            each.wait_until_ready()
        add_all(servers, dict.fromkeys(names, "churn.period-1s.delay-250ms"))
        wait_until_all_seen(postgres_url, servers)
        since = database_now(postgres_url)
        until(lambda: all(stored_by(each) >= len(names) for each in servers) or None, seconds=60)
        now = database_now(postgres_url)
        found = figures(postgres_url, interval=interval, since=since, before=now)
        assert (found.doubled, found.refused, found.left_open) == ([], 0, 0)
        for looks in looks_of(postgres_url).values():
            # None was late by another's clock, and each was taken.
            assert {look.state for look in looks} <= {"succeeded", "running"}
            assert all(since - 60 * SECOND < look.started_at <= now + 60 * SECOND for look in looks)
        for item in servers[0].items(present="true"):
            assert abs(parse_instant(item["last_seen"]) - now) < 60 * SECOND
        assert all(server.status(name)["health"] == "healthy" for name in names for server in servers)


@contextmanager
def replica_with_a_wrong_clock(directory: Path, url: str, *, interval: int, shift: int) -> Iterator[Server]:
    """A replica, and a kai, whose machine's clock is off by so many seconds; not waited for."""
    directory.mkdir()
    clock = WRONG_CLOCK.format(shift=shift)
    kai, launcher = directory / "kai", directory / "launcher.py"
    play = f"import runpy\nrunpy.run_path({str(STAND_IN)!r}, run_name='__main__')\n"
    kai.write_text(f"#!{sys.executable} -ISs\n{clock}{play}")
    kai.chmod(0o755)
    launcher.write_text(f"{clock}from orchestrator.cli import main\nsys.exit(main())\n")
    env = replica_environment(
        url,
        interval=interval,
        lease=30,
        PYTHONPATH=str(Path(__file__).parents[2]),
        ORCHESTRATOR_KAI_BINARY=str(kai),
        # So that each replica gets its share of so few clusters.
        ORCHESTRATOR_MAX_CONCURRENT_RUNS="2",
    )
    with running_server(directory / "data", env=env, command=[str(launcher)], ready=False) as server:
        yield server
