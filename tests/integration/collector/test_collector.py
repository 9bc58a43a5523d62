"""The loop over a real database and real children: what is stored, what is left alone, who waits for whom."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from structlog.typing import EventDict

from orchestrator.collector.loop import Pace
from orchestrator.kai.runner import Look
from orchestrator.model.cluster import ClusterConfig
from orchestrator.model.instant import SECOND
from orchestrator.model.run import Run, RunState
from orchestrator.model.slots import Room
from orchestrator.store.clusters import ClusterNotFound
from tests.integration.collector.world import FAST, INTERVAL, World, config, eventually, make_world, running

pytestmark = pytest.mark.anyio

# Renewal that never comes, so that only the transaction itself can find the claim lost.
NO_RENEWAL = Pace(renew_seconds=3600, poll_seconds=0.05)


async def test_a_new_cluster_is_looked_at_at_once_and_then_waits_for_its_tick(world: World) -> None:
    async with running(world.loop()):
        await world.add(config("shop"))
        run = await world.ended_run("shop")
    assert run.result.state is RunState.SUCCEEDED
    assert run.result.kai_version == "0.5.0"
    assert run.result.server_version == "v1.20.2"
    items = await world.items("shop")
    assert len(items) == run.result.images == run.result.appeared
    assert all(item.present for item in items)
    cluster = await world.cluster("shop")
    assert not cluster.running
    assert cluster.last_success_at is not None
    assert 0 < cluster.due_at - cluster.last_success_at <= INTERVAL * 11 // 10
    assert list(world.workdirs.root.iterdir()) == []


@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        ("wrong-token", "unauthorized"),
        ("forbidden", "forbidden"),
        ("refused", None),
        ("half", None),
        ("nothing", None),
        ("garbage", None),
        ("bad-utf8", None),
        ("other-cluster", None),
        ("empty-server", None),
        ("no-version", None),
        ("duplicate-namespace", None),
        ("noisy-failure", "unauthorized"),
        ("panic", None),
        ("killed", None),
    ],
)
async def test_a_failed_look_leaves_the_inventory_as_it_was(
    sqlite_world: World, scenario: str, code: str | None
) -> None:
    world = sqlite_world
    await world.add(config("shop"))
    async with running(world.loop()):
        await world.ended_run("shop")
        before = await world.items("shop")
        await world.replace(config("shop", scenario))
        run = await world.ended_run("shop", beyond=1)
    assert run.result.state is RunState.FAILED
    assert run.result.reason is not None
    assert run.result.reason.message
    assert run.result.reason.remedy
    if code:
        assert run.result.reason.code == code
    assert await world.items("shop") == before != []
    cluster = await world.cluster("shop")
    assert cluster.failures == 1
    assert cluster.last_run == run
    assert cluster.last_success is not None
    assert list(world.workdirs.root.iterdir()) == []


@pytest.mark.parametrize("scenario", ["missing-namespace", "extra-namespace"])
async def test_a_report_of_other_namespaces_than_asked_for_is_not_stored(sqlite_world: World, scenario: str) -> None:
    world = sqlite_world
    await world.add(config("shop"))
    async with running(world.loop()):
        await world.ended_run("shop")
        names = tuple({item.namespace for item in await world.items("shop")})
        before = await world.items("shop")
        await world.replace(config("shop", scenario, namespaces=names))
        run = await world.ended_run("shop", beyond=1)
    assert run.result.state is RunState.FAILED
    assert await world.items("shop") == before


async def test_time_outs_and_floods_and_a_missing_kai_are_failures_too(world: World) -> None:
    await world.add(config("hangs", "deaf"))
    async with running(world.loop(runner=world.runner(timeout_seconds=0.3))):
        run = await world.ended_run("hangs")
    assert run.result.state is RunState.TIMED_OUT
    hung = await world.cluster("hangs")
    assert hung.due_at > run.finished_at + INTERVAL // 2  # type: ignore[operator]

    await world.add(config("floods", "flood"))
    async with running(world.loop(runner=world.runner(stdout_limit_bytes=100_000))):
        run = await world.ended_run("floods")
    assert run.result.state is RunState.FAILED

    await world.add(config("no-kai"))
    async with running(world.loop(runner=world.runner(binary="/nowhere/kai"))):
        run = await world.ended_run("no-kai")
    assert run.result.state is RunState.FAILED
    assert run.result.exit_code is None
    assert run.result.reason is not None
    assert "not found" in run.result.reason.message


async def test_entries_that_cannot_be_taken_are_counted_and_the_rest_goes_in(world: World) -> None:
    await world.add(config("shop", "nul-tag"))
    async with running(world.loop()):
        run = await world.ended_run("shop")
    assert run.result.state is RunState.SUCCEEDED
    assert run.result.left_out == 1
    assert len(await world.items("shop")) == run.result.images


async def test_a_look_begun_before_a_put_is_cancelled_as_soon_as_it_is_found_out(world: World) -> None:
    await world.add(config("shop", "hang"))
    async with running(world.loop()):
        await world.running("shop")
        await world.replace(config("shop", "one"))
        await world.ended_run("shop", beyond=1)
    newest, oldest = await world.runs("shop")
    assert (oldest.result.state, newest.result.state) == (RunState.DISCARDED, RunState.SUCCEEDED)
    assert len(await world.items("shop")) == 3


async def test_a_look_begun_before_a_put_is_not_ingested(world: World) -> None:
    await world.add(config("shop", "ok.delay-1s"))
    async with running(world.loop(NO_RENEWAL)):
        await world.running("shop")
        await world.replace(config("shop", "one"))
        await world.ended_run("shop", beyond=1)
    newest, oldest = await world.runs("shop")
    assert (oldest.result.state, newest.result.state) == (RunState.DISCARDED, RunState.SUCCEEDED)
    assert len(await world.items("shop")) == 3


@pytest.mark.parametrize("pace", [FAST, NO_RENEWAL], ids=["found-by-renewal", "found-by-ingest"])
async def test_a_look_at_a_cluster_that_is_deleted_meanwhile_is_not_ingested(world: World, pace: Pace) -> None:
    await world.add(config("shop", "ok.delay-1s"))
    async with running(world.loop(pace)):
        await world.running("shop")
        await world.delete("shop")
        run = await world.ended_run("shop")
    assert run.result.state in (RunState.DISCARDED, RunState.INTERRUPTED)
    assert await world.items("shop") == []
    with pytest.raises(ClusterNotFound):
        await world.cluster("shop")


async def take_over(world: World, name: str) -> None:
    """What another replica does after a lease ran out: a claim with the next number."""
    await world.db.write(
        lambda: world.db.execute(
            "UPDATE cluster SET claim = claim + 1, lease_until = ? WHERE cluster_name = ?",
            (world.db.now() + 3600 * SECOND, name),
        )
    )


@pytest.mark.parametrize("pace", [FAST, NO_RENEWAL], ids=["found-by-renewal", "found-by-ingest"])
async def test_a_look_whose_lease_was_lost_is_not_written(world: World, pace: Pace) -> None:
    await world.add(config("shop", "ok.delay-1s"))
    async with running(world.loop(pace)):
        await world.running("shop")
        await take_over(world, "shop")
        run = await world.ended_run("shop")
    assert run.result.state is RunState.DISCARDED
    assert await world.items("shop") == []
    assert (await world.cluster("shop")).last_run is None


async def test_two_loops_share_the_clusters_and_never_look_at_one_at_the_same_time(world: World) -> None:
    names = [f"shop-{number}" for number in range(8)]
    for name in names:
        await world.add(config(name, "one"))
    async with running(world.loop(), world.loop()):
        for name in names:
            await world.ended_run(name)
    for name in names:
        assert [run.result.state for run in await world.runs(name)] == [RunState.SUCCEEDED]


async def test_clusters_that_hang_do_not_hold_up_the_others(world: World) -> None:
    for number in range(4):
        await world.add(config(f"deaf-{number}", "deaf"))
    pace = Pace(max_concurrent_runs=2, renew_seconds=0.1, poll_seconds=0.05)
    async with running(world.loop(pace, runner=world.runner(timeout_seconds=0.2))):
        for number in range(4):
            await world.ended_run(f"deaf-{number}")
    # From here on they are known to be slow, and get no more than one of the two slots.
    async with running(world.loop(pace)):
        for number in range(4):
            await world.request(f"deaf-{number}")

        async def one_is_hanging() -> bool | None:
            return True if [n for n in range(4) if (await world.cluster(f"deaf-{n}")).running] else None

        await eventually(one_is_hanging)
        for number in range(5):
            await world.add(config(f"shop-{number}", "one"))
        for number in range(5):
            run = await world.ended_run(f"shop-{number}")
            assert run.result.state is RunState.SUCCEEDED
        assert len([n for n in range(4) if (await world.cluster(f"deaf-{n}")).running]) == 1


async def test_clusters_that_begin_to_hang_give_way_and_are_looked_at_again(world: World) -> None:
    for number in range(3):
        await world.add(config(f"shop-{number}", "one"))
    async with running(world.loop()):
        for number in range(3):
            await world.look(f"shop-{number}")
    # shop-0 and shop-1 hang from one moment to the next, and nothing in their rows tells so.
    await world.db.write(
        lambda: world.db.execute(
            "UPDATE cluster SET server = 'https://hang.fake-kai.test:6443', due_at = 0 WHERE cluster_name <> 'shop-2'"
        )
    )
    pace = Pace(max_concurrent_runs=2, renew_seconds=0.1, poll_seconds=0.05, late_seconds=0.0)
    ages = iter(range(0, 1_000_000, 20))
    async with running(world.loop(pace, clock=lambda: float(next(ages)))):
        for number in range(2):
            await world.running(f"shop-{number}")
        good = await world.look("shop-2")
        assert good.result.state is RunState.SUCCEEDED
        (first,) = [each for n in range(2) for each in await world.runs(f"shop-{n}") if each.result.reason]
        assert first.result.state is RunState.GAVE_WAY
        assert first.result.reason is not None
        assert first.result.reason.code == "gave_way"
        # With all of its time, and in the one slot that such have: it does not give way again.
        await world.running(first.cluster_name)
        for number in range(3):
            await world.add(config(f"next-{number}", "one"))
            assert (await world.ended_run(f"next-{number}")).result.state is RunState.SUCCEEDED
        cluster = await world.cluster(first.cluster_name)
        assert cluster.running
        assert cluster.failures == 1
    assert await world.items(first.cluster_name)


async def test_a_stop_gives_the_cluster_back_and_the_next_start_looks_again(world: World) -> None:
    await world.add(config("shop", "hang"))
    async with running(world.loop()):
        await world.running("shop")
    (run,) = await world.runs("shop")
    assert run.result.state is RunState.INTERRUPTED
    assert list(world.workdirs.root.iterdir()) == []
    assert not (await world.cluster("shop")).running
    async with running(world.loop()):
        again = await world.running("shop")
    assert again.current_run_id != run.id


async def test_a_restart_keeps_the_phase(world: World) -> None:
    await world.add(config("shop"))
    async with running(world.loop()):
        await world.ended_run("shop")
    due_at = (await world.cluster("shop")).due_at
    loop = world.loop()
    async with running(loop):
        await world.add(config("other"))
        await world.ended_run("other")
    assert (await world.cluster("shop")).due_at == due_at
    assert len(await world.runs("shop")) == 1


async def test_a_look_of_a_dead_process_is_done_again_after_its_lease(world: World) -> None:
    await world.add(config("shop"))
    ledger = world.ledger(lease=SECOND, interval=SECOND)
    ((claim,), _) = await ledger.claim(Room.of(20))
    async with running(world.loop(ledger=ledger)):
        await world.ended_run("shop", beyond=1)
    *_, second, first = await world.runs("shop")
    assert first.id == claim.run_id
    assert (first.result.state, second.result.state) == (RunState.INTERRUPTED, RunState.SUCCEEDED)


class TrippingRunner:
    """Trips over every cluster of one name."""

    def __init__(self, runner: Any, name: str) -> None:
        self._runner = runner
        self._name = name

    async def look(self, given: ClusterConfig, *, give_way: anyio.Event) -> Look:
        if given.cluster_name == self._name:
            raise ZeroDivisionError(f"tripped over {given.credential.get_secret_value()}")
        look: Look = await self._runner.look(given, give_way=give_way)
        return look


async def test_a_bug_in_one_look_is_told_and_leaves_the_other_clusters_alone(
    world: World, events: list[EventDict]
) -> None:
    for name in ("a", "tripping", "z"):
        await world.add(config(name))
    async with running(world.loop(runner=TrippingRunner(world.runner(), "tripping"))):
        runs: dict[str, Run] = {name: await world.ended_run(name) for name in ("a", "tripping", "z")}
    assert {name: run.result.state for name, run in runs.items()} == {
        "a": RunState.SUCCEEDED,
        "tripping": RunState.FAILED,
        "z": RunState.SUCCEEDED,
    }
    reason = runs["tripping"].result.reason
    assert reason is not None
    assert reason.code == "internal_error"
    assert "ZeroDivisionError" in reason.message
    assert "the-token" not in reason.message + reason.remedy
    (logged,) = [event for event in events if event["log_level"] == "error"]
    assert logged["cluster"] == "tripping"
    assert logged["exc_info"]


async def test_a_credential_that_cannot_be_opened_is_a_failure_with_its_reason(world: World) -> None:
    await world.add(config("shop"))
    await world.db.write(lambda: world.db.execute("UPDATE cluster SET credential = ?", (bytes(60),)))
    async with running(world.loop()):

        async def ended() -> bool | None:
            return True if [run for run in await world.runs("shop") if run.result.state.ended] else None

        await eventually(ended)
    (run,) = await world.runs("shop")
    assert run.result.reason is not None
    assert run.result.reason.code == "credential_unreadable"


async def test_a_result_is_stored_when_the_database_is_back(world: World) -> None:
    await world.add(config("shop", "ok.delay-250ms"))
    loop = world.loop()
    async with running(loop):
        await world.running("shop")
        world.db.away = True
        await anyio.sleep(1)
        assert loop.alive()
        world.db.away = False
        run = await world.ended_run("shop")
    assert run.result.state is RunState.SUCCEEDED
    assert len(await world.runs("shop")) == 1


async def test_goes_on_after_postgresql_was_away(postgres_url: str, tmp_path: Path) -> None:
    name = postgres_url.rpartition("/")[2]

    def admin(statement: str) -> None:
        with psycopg.connect(postgres_url.replace(name, "postgres"), autocommit=True) as connection:
            connection.execute(statement)

    with make_world(postgres_url, tmp_path) as world:
        await world.add(config("shop", "ok.delay-250ms"))
        loop = world.loop()
        async with running(loop):
            await world.ended_run("shop")
            admin(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            admin(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608
            turns = loop._failed_turns
            await eventually(_more(lambda: loop._failed_turns > turns))
            admin(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            run = await world.look("shop")
        assert run.result.state is RunState.SUCCEEDED
        assert loop._failed_turns == 0


def _more(condition: Any) -> Any:
    async def find() -> bool | None:
        return True if condition() else None

    return find


async def test_no_child_is_left_behind(world: World) -> None:
    for scenario in ("hang", "deaf", "orphan"):
        await world.add(config(scenario, scenario))
    async with running(world.loop()):
        for scenario in ("hang", "deaf"):
            await world.running(scenario)
        await world.ended_run("orphan")
    assert children_in(str(world.workdirs.root)) == []


def children_in(root: str) -> list[int]:
    """Processes that work below a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            # Gone meanwhile, or not ours.
            with suppress(OSError):
                if str((entry / "cwd").readlink()).startswith(root):
                    found.append(int(entry.name))
    return found
