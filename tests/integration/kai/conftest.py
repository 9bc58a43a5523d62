"""Small misbehaving children, and a look at what is running."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MakeChild = Callable[[str], list[str]]


@pytest.fixture
def child(tmp_path: Path) -> Callable[[str], list[str]]:
    """Gives the argv of a child that runs this Python source."""

    def make(source: str) -> list[str]:
        script = tmp_path / f"child-{len(list(tmp_path.glob('child-*')))}.py"
        script.write_text(source)
        return [sys.executable, "-I", "-S", str(script)]

    return make


@pytest.fixture
def no_child_left(tmp_path: Path) -> Iterator[None]:
    """Fails the test when a process that works in its directory is still there at its end."""
    yield
    wait_until(lambda: not processes_in(tmp_path))


def processes_in(directory: Path) -> list[int]:
    """The processes whose working directory is inside, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if (entry / "cwd").readlink().is_relative_to(directory):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def open_descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Poll until the condition holds; fails when it still does not after so long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
