"""The cluster that the service runs in: looked at with the pod's own token, by the process in it and no other."""

import hashlib
from pathlib import Path

import pytest

from orchestrator.collector.look import Looker
from orchestrator.collector.loop import CollectorLoop
from orchestrator.collector.pod import Pod
from orchestrator.demo import demo_clusters
from orchestrator.model.run import RunState
from orchestrator.model.slots import Room
from orchestrator.store.clusters import OwnCluster, put_own
from tests.integration.collector.world import FAST, World, config, running

pytestmark = pytest.mark.anyio

TOKEN = "token-of-the-second-hour"
SERVER = f"ok.token-{hashlib.sha256(TOKEN.encode()).hexdigest()[:8]}.fake-kai.test"


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    """A pod whose API server takes the second token only."""
    directory = tmp_path / "serviceaccount"
    directory.mkdir()
    (directory / "token").write_text("token-of-the-first-hour")
    (directory / "ca.crt").write_text(demo_clusters()[0].cluster_certificate or "")
    environ = {"KUBERNETES_SERVICE_HOST": SERVER, "KUBERNETES_SERVICE_PORT": "443"}
    return Pod.around("here", environ, directory)


def loop_in(world: World, pod: Pod | None) -> CollectorLoop:
    """The loop of a process in that pod."""
    ledger = world.ledger(own_cluster=pod.cluster_name if pod else None)
    return CollectorLoop(ledger, Looker(ledger, world.sealer, world.runner(), storing_seconds=40, pod=pod), FAST)


async def add(world: World, pod: Pod, *, server: str | None = None) -> OwnCluster:
    return await world.db.write(
        lambda: put_own(world.db, world.sealer, world.account_id, pod.cluster_name, server or pod.server)
    )


async def test_each_look_has_the_token_of_its_moment(world: World, pod: Pod) -> None:
    # What is stored of the address counts for nothing: the token goes to the pod's own API server.
    await add(world, pod, server="https://refused.fake-kai.test")
    async with running(loop_in(world, pod)):
        first = await world.ended_run("here")
        (pod.directory / "token").write_text(TOKEN)
        second = await world.look("here")
        (pod.directory / "token").unlink()
        third = await world.look("here")
    assert first.result.reason is not None
    assert first.result.reason.code == "unauthorized"
    assert "start the pod again" in first.result.reason.remedy
    assert second.result.state is RunState.SUCCEEDED
    assert third.result.reason is not None
    assert third.result.reason.code == "service_account_unreadable"
    assert await world.items("here")


async def test_other_processes_leave_it_alone_and_look_at_the_rest(world: World, pod: Pod) -> None:
    await add(world, pod)
    elsewhere = Pod("there", pod.server, pod.directory)
    async with running(loop_in(world, None), loop_in(world, elsewhere)):
        await world.add(config("shop"))
        await world.ended_run("shop")
        await world.look("shop")
    assert await world.runs("here") == []
    assert await world.ledger().seconds_until_due(Room.of(1)) != 0


async def test_nothing_of_the_token_is_stored(world: World, pod: Pod, tmp_path: Path) -> None:
    (pod.directory / "token").write_text(TOKEN)
    await add(world, pod)
    async with running(loop_in(world, pod)):
        await world.ended_run("here")
    rows = await world.db.read(lambda: world.db.rows("SELECT * FROM cluster") + world.db.rows("SELECT * FROM run"))
    assert TOKEN not in repr([tuple(row) for row in rows])
    cluster = await world.cluster("here")
    assert cluster.config.is_own
    assert cluster.config.credential.get_secret_value() == ""


async def test_is_stored_once_and_follows_its_address(world: World, pod: Pod) -> None:
    assert await add(world, pod) is OwnCluster.ADDED
    assert await add(world, pod) is OwnCluster.KEPT
    assert await add(world, pod, server="https://moved") is OwnCluster.MOVED
    cluster = await world.cluster("here")
    assert (cluster.config.server, cluster.generation) == ("https://moved", 2)


async def test_a_cluster_that_somebody_stored_under_its_name_stays(world: World, pod: Pod) -> None:
    stored = await world.add(config("here"))
    assert await add(world, pod) is OwnCluster.TAKEN
    assert await world.cluster("here") == stored
