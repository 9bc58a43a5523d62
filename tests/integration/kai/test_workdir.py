"""Workdirs: private while they last, and gone when they should be, whoever died meanwhile."""

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.kai.workdir import UnsafeParent, Workdirs, default_parent, sweep
from tests.integration.kai.conftest import is_alive, processes_in, wait_until

HOLDER = """
import sys, subprocess
from pathlib import Path
from orchestrator.kai.workdir import Workdirs
with Workdirs.open(Path(sys.argv[1])) as workdirs:
    directory = workdirs.create()
    Workdirs.write(directory / "kubeconfig", b"canary")
    if len(sys.argv) > 2:
        subprocess.Popen([sys.executable, "-I", "-S", "-c", sys.argv[2]], cwd=directory, start_new_session=True)
    print(directory, flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(parent: Path, child: str | None = None) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another service that holds workdirs in the parent, and one of them; killed at the end."""
    argv = [sys.executable, "-c", HOLDER, str(parent), *([child] if child else [])]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        directory = process.stdout.readline().strip()
        try:
            yield process, Path(directory)
        finally:
            process.kill()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    with Workdirs.open(tmp_path) as workdirs:
        first, second = workdirs.create(), workdirs.create()
        Workdirs.write(first / "kubeconfig", b"secret")
        assert first != second
        assert [mode(each) for each in (workdirs.root, first, second)] == [0o700] * 3
        assert mode(first / "kubeconfig") == 0o600
        assert (first / "kubeconfig").read_bytes() == b"secret"
        Workdirs.remove(first)
        assert not first.exists()
        assert second.exists()
    assert list(tmp_path.iterdir()) == []


def test_an_open_umask_opens_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Workdirs.open(tmp_path) as workdirs:
            directory = workdirs.create()
            Workdirs.write(directory / "kubeconfig", b"secret")
            assert [mode(each) for each in (workdirs.root, directory, directory / "kubeconfig")] == [
                0o700,
                0o700,
                0o600,
            ]
    finally:
        os.umask(before)


def test_a_file_that_is_there_already_is_never_written_to(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    with Workdirs.open(tmp_path) as workdirs:
        directory = workdirs.create()
        (directory / "kubeconfig").symlink_to(outside)
        with pytest.raises(OSError, match="File exists"):
            Workdirs.write(directory / "kubeconfig", b"secret")
        assert not outside.exists()


def test_a_workdir_goes_whatever_the_child_did_in_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    with Workdirs.open(tmp_path) as workdirs:
        directory = workdirs.create()
        locked = directory / "home" / "locked"
        locked.mkdir(parents=True)
        (locked / "file").write_text("")
        (directory / "link").symlink_to(outside)
        locked.chmod(0)
        (directory / "home").chmod(0o500)
        directory.chmod(0o500)
        Workdirs.remove(directory)
        assert not directory.exists()
        Workdirs.remove(directory)
    assert (outside / "kept").read_text() == "kept"


def test_a_killed_process_leaves_a_root_that_the_next_start_sweeps(tmp_path: Path) -> None:
    with other_process(tmp_path) as (process, directory):
        process.kill()
        process.wait()
        assert (directory / "kubeconfig").exists()
        with Workdirs.open(tmp_path) as workdirs:
            assert list(tmp_path.iterdir()) == [workdirs.root]


def test_the_root_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    with other_process(tmp_path) as (process, directory):
        with Workdirs.open(tmp_path):
            assert sweep(tmp_path) == 0
            assert (directory / "kubeconfig").read_bytes() == b"canary"
        assert process.poll() is None


def test_children_of_a_killed_process_are_ended_with_its_root(tmp_path: Path) -> None:
    sleeper = "import time; time.sleep(600)"
    with other_process(tmp_path, sleeper) as (process, directory):
        wait_until(lambda: bool(processes_in(directory)))
        [orphan] = processes_in(directory)
        with Workdirs.open(tmp_path):
            assert is_alive(orphan)
        process.kill()
        process.wait()
        with Workdirs.open(tmp_path):
            wait_until(lambda: not is_alive(orphan))


def test_a_lock_that_a_starting_child_still_holds_is_waited_for(tmp_path: Path) -> None:
    with other_process(tmp_path) as (process, directory):
        # What the child of a killed process has between fork and exec: the lock, without the process that took it.
        inherited = os.open(directory.parent, os.O_RDONLY)
        process.kill()
        process.wait()
        fcntl.flock(inherited, fcntl.LOCK_EX)
        timer = threading.Timer(0.05, os.close, [inherited])
        timer.start()
        assert sweep(tmp_path) == 1
        timer.join()


def test_only_our_own_directories_are_swept(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    parent = tmp_path / "shm"
    parent.mkdir()
    (parent / "kai-orchestrator-0-link").symlink_to(elsewhere)
    (parent / "kai-orchestrator-0-file").write_text("")
    (parent / "kai-orchestrator-0-shared").mkdir(mode=0o755)
    (parent / "somebody-elses").mkdir(mode=0o700)
    before = sorted(parent.iterdir())
    assert sweep(parent) == 0
    assert sorted(parent.iterdir()) == before
    assert (elsewhere / "kept").exists()


def test_another_users_root_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "kai-orchestrator-1234-x"
    theirs.mkdir(mode=0o700)
    with monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: theirs.stat().st_uid + 1)
        assert sweep(tmp_path) == 0
    assert theirs.exists()
    assert sweep(tmp_path) == 1


def test_a_parent_where_others_could_replace_our_files_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(UnsafeParent), Workdirs.open(tmp_path):
        pass
    tmp_path.chmod(0o1777)
    with Workdirs.open(tmp_path):
        pass


def test_a_root_swept_between_making_and_locking_it_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[str] = []

    def lock_too_late(descriptor: int, operation: int) -> None:
        if len(lost) < 3:
            path = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
            lost.append(path)
            if len(lost) == 1:
                raise BlockingIOError
            Path(path).rmdir()
        real_flock(descriptor, operation)

    real_flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lock_too_late)
    with Workdirs.open(tmp_path) as workdirs:
        assert len(lost) == 3
        assert str(workdirs.root) not in lost
        assert workdirs.create().is_dir()


def test_starts_and_sweeps_at_once_never_take_a_living_root(tmp_path: Path) -> None:
    stop = threading.Event()
    failures: list[str] = []

    def sweep_all_the_time() -> None:
        while not stop.is_set():
            sweep(tmp_path)

    def start_and_stop() -> None:
        for _ in range(10):
            with Workdirs.open(tmp_path) as workdirs:
                if not workdirs.root.is_dir():
                    failures.append(str(workdirs.root))
                workdirs.create()

    sweeper = threading.Thread(target=sweep_all_the_time)
    starters = [threading.Thread(target=start_and_stop) for _ in range(3)]
    sweeper.start()
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    stop.set()
    sweeper.join()
    assert failures == []
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    with Workdirs.open(tmp_path) as workdirs, subprocess.Popen(["sleep", "600"]) as child:
        held = [str(each.readlink()) for each in Path(f"/proc/{child.pid}/fd").iterdir()]
        child.kill()
        assert held
        assert str(workdirs.root) not in held


def test_roots_are_made_in_memory_where_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_parent({}) in (Path("/dev/shm"), Path(tempfile.gettempdir()))
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    real_access = os.access
    monkeypatch.setattr(os, "access", lambda path, how: path != "/dev/shm" and real_access(path, how))
    assert default_parent({"XDG_RUNTIME_DIR": str(runtime)}) == runtime
    assert default_parent({"XDG_RUNTIME_DIR": str(tmp_path / "absent")}) == Path(tempfile.gettempdir())
    runtime.chmod(0o777)
    assert default_parent({"XDG_RUNTIME_DIR": str(runtime)}) == Path(tempfile.gettempdir())
