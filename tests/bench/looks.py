"""What the service adds to the cost of running kai: looks at many clusters, each a child that costs 40 ms of CPU.

Floor: the same child as often, by `xargs -P`. Ours holds everything that a look is: claim, kubeconfig and kai config
on tmpfs, the child, its report of 35 images parsed and ingested, the run recorded, on SQLite. Every cluster is new, so
each report is a first one; a second round then has nothing to change. Run: `python -m tests.bench.looks [LOOKS]`.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import orjson
import structlog

from orchestrator.collector.loop import Pace
from orchestrator.instance import watch_children_without_threads
from orchestrator.kai.workdir import default_parent
from orchestrator.model.slots import Room
from orchestrator.store import claims
from tests.bench.table import show
from tests.integration.collector.world import World, config, make_world, running

LOOKS = 1_000
AT_A_TIME = 4
IMAGES = 35
CHILD_CPU_SECONDS = 0.040
AIM_OVERHEAD_MS, AIM_RATIO = 8, 1.15

CHILD = """\
#!{python} -ISs
import sys, time
if "version" in sys.argv:
    sys.stdout.write('{{"version": "0.2.2"}}')
    raise SystemExit
while time.process_time() < {cpu}:
    pass
sys.stdout.write({report!r})
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds: of CPU in this process, of CPU in its children, and by the clock."""

    own: float
    children: float
    wall: float


@contextmanager
def measured(into: list[Cost]) -> Iterator[None]:
    def cpu(who: int) -> float:
        usage = resource.getrusage(who)
        return usage.ru_utime + usage.ru_stime

    own, children, begun = cpu(resource.RUSAGE_SELF), cpu(resource.RUSAGE_CHILDREN), time.perf_counter()
    yield
    into.append(
        Cost(cpu(resource.RUSAGE_SELF) - own, cpu(resource.RUSAGE_CHILDREN) - children, time.perf_counter() - begun)
    )


def write_child(directory: Path) -> Path:
    """A program that costs what kai 0.5.0 costs and prints a report as kai 0.2 does, without the cluster's name."""
    images = [{"tag": f"registry.example.com/app-{n}:1.{n}", "repoDigest": f"sha256:{n:064x}"} for n in range(IMAGES)]
    report = {
        "timestamp": "2021-09-08T08:26:50Z",
        "results": [{"namespace": f"team-{n}", "images": images[n::5]} for n in range(5)],
        "serverVersionMetadata": {"gitVersion": "v1.20.2"},
    }
    path = directory / "child"
    path.write_text(
        CHILD.format(python=Path(sys.executable).resolve(), cpu=CHILD_CPU_SECONDS, report=orjson.dumps(report).decode())
    )
    path.chmod(0o755)
    return path


def by_xargs(child: Path, looks: int) -> Cost:
    costs: list[Cost] = []
    numbers = "\n".join(str(number) for number in range(looks)).encode()
    with measured(costs):
        subprocess.run(
            ["xargs", "-P", str(AT_A_TIME), "-n", "1", str(child)], input=numbers, stdout=subprocess.DEVNULL, check=True
        )
    return costs[0]


async def by_the_service(world: World, child: Path, looks: int) -> list[Cost]:
    """The cost of a first look at every cluster, and of a second one."""
    for number in range(looks):
        await world.add(config(f"cluster-{number}"))
    costs: list[Cost] = []
    loop = world.loop(Pace(max_concurrent_runs=AT_A_TIME), runner=world.runner(binary=str(child)))
    async with running(loop):
        for _ in range(2):
            await world.db.write(lambda: world.db.execute("UPDATE cluster SET due_at = 0"))
            loop.wake()
            with measured(costs):
                while await world.db.read(lambda: overdue(world)):  # noqa: ASYNC110 - nobody announces it
                    await anyio.sleep(0.2)
    return costs


def overdue(world: World) -> bool:
    due_at = claims.next_due_at(world.db, Room.of(AT_A_TIME))
    running_now = world.db.one("SELECT count(*) FROM cluster WHERE run_id IS NOT NULL")[0]
    return bool(running_now) or due_at is None or due_at <= world.db.now()


def main(looks: int) -> None:
    """Measure and print."""
    # Events are rendered, but not printed.
    render = structlog.processors.JSONRenderer()
    structlog.configure(processors=[render], logger_factory=structlog.ReturnLoggerFactory())
    watch_children_without_threads()
    memory = default_parent(os.environ)
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory(dir=memory) as workdirs:
        directory = Path(name)
        child = write_child(directory)
        floor = by_xargs(child, looks)
        with make_world(f"sqlite:///{directory / 'looks.db'}", Path(workdirs)) as world:
            first, second = anyio.run(by_the_service, world, child, looks)
    rows = [
        ("floor, CPU a child", f"{floor.children / looks * 1000:.1f} ms"),
        ("ours, first reports: CPU a child", f"{first.children / looks * 1000:.1f} ms"),
        ("ours, unchanged reports: CPU a child", f"{second.children / looks * 1000:.1f} ms"),
        ("own CPU a look, first reports", f"{first.own / looks * 1000:.2f} ms (aim: <= {AIM_OVERHEAD_MS})"),
        ("own CPU a look, unchanged reports", f"{second.own / looks * 1000:.2f} ms (aim: <= {AIM_OVERHEAD_MS})"),
    ]
    for title, cost in (("first", first), ("unchanged", second)):
        ratio = (cost.own + cost.children) / floor.children
        rows.append((f"CPU, service included, {title} reports : floor", f"{ratio:.2f} (aim: <= {AIM_RATIO})"))
        rows.append((f"by the clock, {title} reports : floor", f"{cost.wall / floor.wall:.2f}"))
    show(f"{looks} looks, {AT_A_TIME} at a time, {IMAGES} images each, on SQLite", rows)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else LOOKS)
