"""Children of every kind of bad behaviour: each ends, and holds nobody up."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from orchestrator.kai.process import (
    ChildResult,
    Ending,
    HeadAndTail,
    NotStarted,
    StartFailed,
    pdeathsig_wrapper,
    run_child,
)
from tests.integration.kai.conftest import MakeChild, is_alive, open_descriptors, wait_until

pytestmark = pytest.mark.usefixtures("no_child_left")

LIMIT = 1024 * 1024
PATH = os.environ["PATH"]


@pytest.fixture(autouse=True)
def no_blocking() -> Iterator[BlockBuster]:
    with blockbuster_ctx("orchestrator") as blockbuster:
        yield blockbuster


async def run(
    argv: list[str],
    tmp_path: Path,
    *,
    deadline: float = 60,
    grace: float = 20,
    limit: int = LIMIT,
    give_way: anyio.Event | None = None,
) -> ChildResult:
    return await run_child(
        argv,
        cwd=tmp_path,
        env={"LANG": "C.UTF-8"},
        deadline_seconds=deadline,
        stdout_limit=limit,
        grace_seconds=grace,
        give_way=give_way,
    )


@pytest.mark.anyio
async def test_a_good_child_is_heard_out(child: MakeChild, tmp_path: Path) -> None:
    source = (
        "import os, sys; print(os.getcwd(), dict(os.environ), sys.stdin.read()); sys.stderr.write('log'); sys.exit(3)"
    )
    result = await run(child(source), tmp_path)
    assert result.stdout.decode() == f"{tmp_path} {{'LANG': 'C.UTF-8'}} \n"
    assert bytes(result.stderr.head) == b"log"
    assert (result.ending, result.exit_code) == (Ending.EXITED, 3)
    assert 0 < result.seconds < 60


@pytest.mark.anyio
async def test_a_lot_on_both_pipes_at_once_is_drained(child: MakeChild, tmp_path: Path) -> None:
    source = """
import os
for number in range(1024):
    os.write(2, b"e" * 1024)
    os.write(1, b"o" * 1024)
os.write(2, b"THE END")
"""
    result = await run(child(source), tmp_path, limit=1024 * 1024)
    assert result.ending is Ending.EXITED
    assert result.stdout == b"o" * 1024 * 1024
    assert result.stderr.total == 1024 * 1024 + 7
    assert bytes(result.stderr.head) == b"e" * 8192
    assert result.stderr.tail.endswith(b"THE END")
    assert result.stderr.left_out == result.stderr.total - 2 * 8192


@pytest.mark.anyio
async def test_a_flood_is_cut_off(child: MakeChild, tmp_path: Path) -> None:
    result = await run(child("import os\nwhile True: os.write(1, b'x' * 65536)"), tmp_path)
    assert result.ending is Ending.FLOODED
    assert len(result.stdout) == LIMIT
    assert result.exit_code == -signal.SIGTERM


@pytest.mark.anyio
async def test_one_byte_too_many_at_the_very_end_is_a_flood_as_well(child: MakeChild, tmp_path: Path) -> None:
    argv = child(f"import os; os.write(1, b'x' * {4096})")
    assert (await run(argv, tmp_path, limit=4096)).ending is Ending.EXITED
    assert (await run(argv, tmp_path, limit=4095)).ending is Ending.FLOODED


@pytest.mark.anyio
async def test_a_hanging_child_is_ended_at_the_deadline(child: MakeChild, tmp_path: Path) -> None:
    argv = child("import sys, time; print('so far', flush=True); time.sleep(600)")
    result = await run(argv, tmp_path, deadline=1)
    assert (result.ending, result.exit_code) == (Ending.TIMED_OUT, -signal.SIGTERM)
    assert result.stdout == b"so far\n"


@pytest.mark.anyio
async def test_a_child_that_closes_its_pipes_and_stays_is_ended_too(child: MakeChild, tmp_path: Path) -> None:
    result = await run(child("import os, time; os.close(1); os.close(2); time.sleep(600)"), tmp_path, deadline=0.5)
    assert result.ending is Ending.TIMED_OUT


@pytest.mark.anyio
async def test_a_child_gives_way_when_told_to_and_its_last_words_are_heard(child: MakeChild, tmp_path: Path) -> None:
    give_way = anyio.Event()
    started = tmp_path / "started"
    source = f"import sys, time; print('half', flush=True); open({str(started)!r}, 'w'); time.sleep(600)"

    async def need_the_place() -> None:
        while not await anyio.Path(started).exists():  # noqa: ASYNC110 - a child announces nothing
            await anyio.sleep(0.01)
        give_way.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(need_the_place)
        result = await run(child(source), tmp_path, give_way=give_way)
    assert (result.ending, result.exit_code, result.stdout) == (Ending.GAVE_WAY, -15, b"half\n")


@pytest.mark.anyio
async def test_a_child_that_ended_by_itself_did_not_give_way(child: MakeChild, tmp_path: Path) -> None:
    give_way = anyio.Event()
    result = await run(child("print('all')"), tmp_path, give_way=give_way)
    assert (result.ending, result.exit_code) == (Ending.EXITED, 0)
    give_way.set()
    result = await run(child("import time; time.sleep(600)"), tmp_path, give_way=give_way)
    assert result.ending is Ending.GAVE_WAY


@pytest.mark.anyio
async def test_last_words_at_the_deadline_are_heard(child: MakeChild, tmp_path: Path) -> None:
    source = """
import os, signal, sys, time
def bye(*_):
    os.write(1, b"half a report")
    os.write(2, b"asked to stop")
    os._exit(7)
signal.signal(signal.SIGTERM, bye)
os.write(2, b"ready, ")
time.sleep(600)
"""
    result = await run(child(source), tmp_path, deadline=2)
    assert (result.ending, result.exit_code) == (Ending.TIMED_OUT, 7)
    assert (result.stdout, result.stderr.text()) == (b"half a report", "ready, asked to stop")


@pytest.mark.anyio
async def test_a_deaf_child_is_killed_after_the_grace(child: MakeChild, tmp_path: Path) -> None:
    source = "import signal, time\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(600)"
    result = await run(child(source), tmp_path, deadline=1, grace=0.2)
    assert (result.ending, result.exit_code) == (Ending.TIMED_OUT, -signal.SIGKILL)


GRANDCHILD = """
import os, sys, time
if os.fork() == 0:
    {before}
    open({path!r}, "w").write(str(os.getpid()))
    os.rename({path!r}, {path!r} + ".done")
    os.chdir("/")
    time.sleep(600)
while not os.path.exists({path!r} + ".done"):
    time.sleep(0.001)
print("report", flush=True)
os._exit(0)
"""


@pytest.mark.anyio
@pytest.mark.parametrize("before", ["pass", "import signal; signal.signal(15, signal.SIG_IGN)"])
async def test_a_grandchild_in_the_group_that_holds_the_pipes_is_ended(
    child: MakeChild, tmp_path: Path, before: str
) -> None:
    pid_file = tmp_path / "pid"
    result = await run(child(GRANDCHILD.format(path=str(pid_file), before=before)), tmp_path)
    assert (result.ending, result.exit_code, result.stdout) == (Ending.EXITED, 0, b"report\n")
    pid = int((tmp_path / "pid.done").read_text())
    await asyncio.to_thread(wait_until, lambda: not is_alive(pid))


@pytest.mark.anyio
async def test_a_grandchild_in_its_own_session_holds_nobody_up(child: MakeChild, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    before = open_descriptors()
    result = await run(child(GRANDCHILD.format(path=str(pid_file), before="os.setsid()")), tmp_path)
    pid = int((tmp_path / "pid.done").read_text())
    try:
        assert (result.ending, result.exit_code, result.stdout) == (Ending.EXITED, 0, b"report\n")
        assert result.seconds < 60
        assert open_descriptors() <= before
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.anyio
async def test_a_grandchild_that_floods_after_the_exit_is_not_listened_to(child: MakeChild, tmp_path: Path) -> None:
    source = """
import os, signal
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
print("report", flush=True)
if os.fork() == 0:
    os.setsid()
    while True: os.write(2, b"x" * 65536)
os._exit(0)
"""
    result = await run(child(source), tmp_path)
    assert (result.ending, result.stdout) == (Ending.EXITED, b"report\n")


@pytest.mark.anyio
async def test_cancellation_ends_the_child_and_comes_through(child: MakeChild, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    argv = child(f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    before = open_descriptors()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, argv, tmp_path)
        await asyncio.to_thread(wait_until, lambda: pid_file.exists() and pid_file.read_text() != "")
        tasks.cancel_scope.cancel()
    assert tasks.cancel_scope.cancelled_caught
    assert not is_alive(int(pid_file.read_text()))
    assert open_descriptors() <= before


@pytest.mark.anyio
async def test_cancellation_at_any_moment_leaves_no_child(child: MakeChild, tmp_path: Path) -> None:
    argv = child("import time; time.sleep(600)")
    before = open_descriptors()
    for milliseconds in (0, 1, 2, 5, 10, 20, 40):
        with anyio.move_on_after(milliseconds / 1000):
            await run(argv, tmp_path)
    assert open_descriptors() <= before


@pytest.mark.anyio
async def test_signals_show_as_negative_exit_codes(child: MakeChild, tmp_path: Path) -> None:
    result = await run(child("import os; os.kill(os.getpid(), 9)"), tmp_path)
    assert (result.ending, result.exit_code) == (Ending.EXITED, -9)


@pytest.mark.anyio
async def test_why_a_child_cannot_be_started_is_told(tmp_path: Path) -> None:
    no_program = tmp_path / "text"
    no_program.write_text("just text\n")
    no_program.chmod(0o755)
    no_permission = tmp_path / "locked"
    no_permission.write_text("#!/bin/sh\n")
    no_permission.chmod(0o644)
    no_interpreter = tmp_path / "lost"
    no_interpreter.write_text("#!/nonexistent/interpreter\n")
    no_interpreter.chmod(0o755)
    before = open_descriptors()
    for program, kind in [
        (tmp_path / "absent", NotStarted.MISSING),
        (no_program / "below", NotStarted.MISSING),
        (no_interpreter, NotStarted.NO_INTERPRETER),
        (no_program, NotStarted.NOT_EXECUTABLE),
        (no_permission, NotStarted.NOT_EXECUTABLE),
        (tmp_path, NotStarted.NOT_EXECUTABLE),
    ]:
        with pytest.raises(StartFailed) as caught:
            await run([str(program)], tmp_path)
        assert caught.value.kind is kind, program
        assert str(tmp_path) not in str(caught.value)
    assert open_descriptors() <= before


@pytest.mark.anyio
async def test_want_of_descriptors_is_told(child: MakeChild, tmp_path: Path) -> None:
    argv = child("pass")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() + 20, hard))
        while True:
            try:
                taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        with pytest.raises(StartFailed) as caught:
            await run(argv, tmp_path)
        assert caught.value.kind is NotStarted.NO_RESOURCES
        # Enough for the pipes, too few for the start itself.
        for _ in range(4):
            os.close(taken.pop())
        with pytest.raises(StartFailed) as caught:
            await run(argv, tmp_path)
        assert caught.value.kind is NotStarted.NO_RESOURCES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


@pytest.mark.anyio
async def test_many_at_once(child: MakeChild, tmp_path: Path) -> None:
    argv = child("import os; os.write(1, b'x' * 300000); os.write(2, b'y' * 300000)")
    results: list[ChildResult] = []

    async def one() -> None:
        results.append(await run(argv, tmp_path))

    async with anyio.create_task_group() as tasks:
        for _ in range(16):
            tasks.start_soon(one)
    assert [(result.exit_code, len(result.stdout)) for result in results] == [(0, 300000)] * 16


@pytest.mark.anyio
async def test_nothing_of_a_childs_output_shows_in_a_repr(child: MakeChild, tmp_path: Path) -> None:
    result = await run(child("import sys; print('canary'); print('canary', file=sys.stderr)"), tmp_path)
    assert "canary" not in repr(result)


PARENT = """
import asyncio, os, sys
from pathlib import Path
from orchestrator.kai.process import pdeathsig_wrapper, run_child
source, directory = sys.argv[1:]
argv = [*(pdeathsig_wrapper(os.environ["PATH"]) or []), sys.executable, "-I", "-S", "-c", source]
asyncio.run(run_child(argv, cwd=Path(directory), env={}, deadline_seconds=600, stdout_limit=1000))
"""


def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    assert pdeathsig_wrapper(PATH), "expected util-linux's setpriv where tests run"
    pid_file = tmp_path / "pid"
    source = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", PARENT, source, str(tmp_path)]) as parent:
        wait_until(lambda: pid_file.exists() and pid_file.read_text() != "")
        pid = int(pid_file.read_text())
        assert is_alive(pid)
        parent.kill()
    wait_until(lambda: not is_alive(pid))


def test_without_a_setpriv_that_can_do_it_there_is_no_wrapper(tmp_path: Path) -> None:
    assert pdeathsig_wrapper(str(tmp_path)) is None
    incapable = tmp_path / "setpriv"
    incapable.write_text("#!/bin/sh\necho 'unrecognized option' >&2\nexit 1\n")
    incapable.chmod(0o755)
    assert pdeathsig_wrapper(str(tmp_path)) is None


@pytest.mark.anyio
async def test_core_dumps_are_forbidden_to_children_as_well(tmp_path: Path) -> None:
    source = """
import resource, subprocess, sys
from orchestrator.kai.process import forbid_core_dumps
forbid_core_dumps()
print(subprocess.run(["sh", "-c", "ulimit -Hc"], capture_output=True, text=True).stdout)
"""
    done = await anyio.run_process([sys.executable, "-c", source])
    assert done.stdout.decode().strip() == "0"


def test_head_and_tail_hold_all_of_a_short_stream_once() -> None:
    for size in range(40):
        for step in (1, 3, 40):
            kept = HeadAndTail(8)
            stream = bytes(range(size))
            for begin in range(0, size, step):
                kept.write(stream[begin : begin + step])
            assert bytes(kept.head) == stream[:8]
            assert bytes(kept.tail) == stream[8:][-8:]
            assert kept.left_out == max(0, size - 16)


@pytest.mark.anyio
async def test_an_endless_child_leaves_the_loop_free(child: MakeChild, tmp_path: Path) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    argv = child("import os\nwhile True: os.write(2, b'x' * 65536)")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        result = await run(argv, tmp_path, deadline=1)
        tasks.cancel_scope.cancel()
    assert result.ending is Ending.TIMED_OUT
    assert turns > 50
    assert result.stderr.total > 65536


@pytest.mark.anyio
async def test_seconds_are_those_of_the_child(child: MakeChild, tmp_path: Path) -> None:
    begin = time.monotonic()
    result = await run(child("import time; time.sleep(0.2)"), tmp_path)
    assert 0.2 <= result.seconds <= time.monotonic() - begin
