"""A service that is killed at any moment: no child and no credential file outlives it and the next start."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.kai.workdir import Workdirs
from tests.integration.kai.conftest import processes_in, wait_until
from tests.integration.kai.looks import CANARY

SERVICE = """
import sys
from pathlib import Path
import anyio
from orchestrator.kai.workdir import Workdirs
from tests.integration.kai.looks import cluster, make_runner

async def look_for_ever(runner, scenario):
    while True:
        await runner.look(cluster(scenario))

async def main():
    with Workdirs.open(Path(sys.argv[1])) as workdirs:
        runner = await make_runner(workdirs)
        await runner.version()
        print("ready", flush=True)
        async with anyio.create_task_group() as tasks:
            for scenario in ("hang", "deaf", "ok", "refused", "orphan"):
                tasks.start_soon(look_for_ever, runner, scenario)

anyio.run(main)
"""


@pytest.mark.parametrize("milliseconds", [0, 3, 10, 30, 60, 100, 200, 350])
def test_nothing_outlives_a_kill(tmp_path: Path, milliseconds: int) -> None:
    parent = tmp_path / "shm"
    parent.mkdir(mode=0o700)
    argv = [sys.executable, "-c", SERVICE, str(parent)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as service:
        assert service.stdout is not None
        while b"ready" not in service.stdout.readline():
            assert service.poll() is None
        time.sleep(milliseconds / 1000)
        service.kill()
    with Workdirs.open(parent) as workdirs:
        wait_until(lambda: not processes_in(parent))
        assert list(parent.iterdir()) == [workdirs.root]
        assert CANARY not in "".join(path.read_text() for path in parent.rglob("*") if path.is_file())


def test_kai_itself_dies_at_once_with_the_service(tmp_path: Path) -> None:
    parent = tmp_path / "shm"
    parent.mkdir(mode=0o700)
    argv = [sys.executable, "-c", SERVICE, str(parent)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as service:
        wait_until(lambda: len(hanging(parent)) == 2)
        left = hanging(parent)
        service.kill()
    wait_until(lambda: not set(left) & set(processes_in(parent)))


def hanging(parent: Path) -> list[int]:
    """The children that play `hang` and `deaf`, once they are kai and no longer setpriv."""
    found = []
    for pid in processes_in(parent):
        try:
            process = Path(f"/proc/{pid}")
            program = process.joinpath("cmdline").read_bytes().partition(b"\0-c\0")[0]
            is_kai = b"fake-kai" in program and b"setpriv" not in program
            kubeconfig = process.joinpath("cwd/kubeconfig").read_text()
        except OSError:
            continue
        if is_kai and ("hang" in kubeconfig or "deaf" in kubeconfig):
            found.append(pid)
    return found
