"""One child process: started without a shell, listened to, and surely ended."""

import errno
import fcntl
import io
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import Process

GRACE_SECONDS: Final = 2.0
STDERR_END_BYTES: Final = 8 * 1024

# After SIGKILL only a process that the kernel itself holds up (a dead NFS mount) is still there: nobody can end it.
_KILL_PATIENCE_SECONDS: Final = 2.0
_CHUNK: Final = 256 * 1024


_SHORTAGES: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


class NotStarted(StrEnum):
    """Why there is no child."""

    MISSING = "missing"
    NO_INTERPRETER = "no_interpreter"
    NOT_EXECUTABLE = "not_executable"
    NO_RESOURCES = "no_resources"


class StartFailed(Exception):
    """The child could not be started. `kind` says why; the text is the system's own."""

    def __init__(self, kind: NotStarted, problem: str) -> None:
        super().__init__(problem)
        self.kind = kind


class Ending(StrEnum):
    """What ended the child."""

    EXITED = "exited"
    TIMED_OUT = "timed_out"
    GAVE_WAY = "gave_way"
    FLOODED = "flooded"


@dataclass(slots=True)
class HeadAndTail:
    """The first and the last bytes of a stream of any length."""

    limit: int
    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    total: int = 0

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
        self.total += len(chunk)
        room = self.limit - len(self.head)
        self.head += chunk[:room]
        self.tail += chunk[room:][-self.limit :]
        del self.tail[: -self.limit]

    @property
    def left_out(self) -> int:
        """How many bytes between head and tail were not kept."""
        return self.total - len(self.head) - len(self.tail)

    def text(self) -> str:
        """What was kept, as text; where something is left out, a new line begins."""
        return (self.head + b"\n" * bool(self.left_out) + self.tail).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildResult:
    """How a child ended. `exit_code` is negative for a signal, None if the child could not even be killed.

    `stdout` is whole, but for a child that flooded. No repr: what a child prints may hold anything.
    """

    ending: Ending
    exit_code: int | None
    stdout: bytes = field(repr=False)
    stderr: HeadAndTail = field(repr=False)
    seconds: float


def pdeathsig_wrapper(path: str) -> list[str] | None:
    """The command to put before a child's, so that the kernel kills it when the thread that started it ends.

    None where no `setpriv` that can do it (util-linux's can, busybox's cannot) is on the given PATH: then a child
    outlives a killed service until the next start sweeps it. `preexec_fn` could do the same, but makes CPython fork
    where it would otherwise vfork. Blocks for a few milliseconds.
    """
    setpriv = shutil.which("setpriv", path=path)
    if setpriv is None:
        return None
    wrapper = [setpriv, "--pdeathsig", "KILL", "--"]
    try:
        tried = subprocess.run([*wrapper, setpriv, "--version"], capture_output=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return wrapper if tried.returncode == 0 else None


def is_shortage(error: OSError) -> bool:
    """Whether the system ran out of memory, processes or open files, and not of what was asked for itself."""
    return error.errno in _SHORTAGES


def forbid_core_dumps() -> None:
    """No core files from this process and the children it starts from now on: they would hold credentials."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


async def run_child(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    deadline_seconds: float,
    stdout_limit: int,
    grace_seconds: float = GRACE_SECONDS,
    give_way: anyio.Event | None = None,
) -> ChildResult:
    """Run a child to its end, or end it: at the deadline, when `give_way` is set, when it prints over `stdout_limit`
    bytes, on cancellation.

    The child has a session of its own, its stdin is empty. Ending means TERM to its process group, KILL after the
    grace. However it ends, its group is killed and both pipes are closed behind it: what the child left running
    holds nobody up. The pipes are ours, not asyncio's, whose `wait` waits for them as well on Python 3.11.
    Raises StartFailed when there is no child.
    """
    started = anyio.current_time()
    with _Pipe() as stdout, _Pipe() as stderr:
        process = await _start(argv, cwd=cwd, env=env, stdout=stdout, stderr=stderr)
        kept, heard = _Capped(stdout_limit), HeadAndTail(STDERR_END_BYTES)
        try:
            ending = await _listen(
                process,
                stdout=stdout,
                kept=kept,
                stderr=stderr,
                heard=heard,
                deadline_seconds=deadline_seconds,
                give_way=give_way or anyio.Event(),
            )
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process, grace_seconds)
        stdout.read_rest(kept.write)
        stderr.read_rest(heard.write)
        return ChildResult(
            ending=Ending.FLOODED if kept.full else ending,
            exit_code=process.returncode,
            stdout=kept.taken.getvalue(),
            stderr=heard,
            seconds=anyio.current_time() - started,
        )


async def _start(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: "_Pipe", stderr: "_Pipe"
) -> Process:
    try:
        # Shielded: a child that was begun must come into our hands to be ended.
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=stdout.write_end,
                stderr=stderr.write_end,
                cwd=cwd,
                env=dict(env),
                start_new_session=True,
            )
    except OSError as error:
        if error.errno == errno.ENOENT and await anyio.Path(argv[0]).exists():
            raise StartFailed(NotStarted.NO_INTERPRETER, os.strerror(errno.ENOENT)) from None
        raise _start_failed(error) from None
    stdout.close_write_end()
    stderr.close_write_end()
    return process


def _start_failed(error: OSError) -> StartFailed:
    kind = NotStarted.NOT_EXECUTABLE
    if is_shortage(error):
        kind = NotStarted.NO_RESOURCES
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        kind = NotStarted.MISSING
    return StartFailed(kind, os.strerror(error.errno or 0))


async def _listen(
    process: Process,
    *,
    stdout: "_Pipe",
    kept: "_Capped",
    stderr: "_Pipe",
    heard: HeadAndTail,
    deadline_seconds: float,
    give_way: anyio.Event,
) -> Ending:
    """Take what the child prints until it has exited, has printed too much, or has to end."""

    async def until_full() -> None:
        await stdout.read(kept.write)
        if kept.full:
            listening.cancel_scope.cancel()

    async def until_others_need_the_place() -> None:
        await give_way.wait()
        listening.cancel_scope.cancel()

    with anyio.move_on_after(deadline_seconds):
        async with anyio.create_task_group() as listening:
            listening.start_soon(until_full)
            listening.start_soon(stderr.read, heard.write)
            listening.start_soon(until_others_need_the_place)
            await process.wait()
            listening.cancel_scope.cancel()
    if kept.full:
        return Ending.FLOODED
    if process.returncode is not None:
        return Ending.EXITED
    return Ending.GAVE_WAY if give_way.is_set() else Ending.TIMED_OUT


async def _end(process: Process, grace_seconds: float) -> None:
    """Make sure that the child and its process group are gone."""
    if process.returncode is None:
        _signal_group(process, signal.SIGTERM)
        await _wait_at_most(grace_seconds, process.wait)
    # Also after an exit: the group may hold children of the child. Its number cannot have gone to strangers: the
    # kernel keeps it while the group has members, and hands out all other numbers first when it has none.
    _signal_group(process, signal.SIGKILL)
    if process.returncode is None:
        await _wait_at_most(_KILL_PATIENCE_SECONDS, process.wait)


async def _wait_at_most(seconds: float, wait: Callable[[], Awaitable[object]]) -> None:
    with anyio.move_on_after(seconds):
        await wait()


def _signal_group(process: Process, number: signal.Signals) -> None:
    # PermissionError: the group's last members are zombies, or have become another user's.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


class _Capped:
    """Bytes up to a limit; `full` once there were more."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = io.BytesIO()
        self.full = False

    def write(self, chunk: bytes) -> bool:
        """Take the chunk; False when it was too much."""
        room = self.limit - self.taken.tell()
        self.full = self.full or len(chunk) > room
        self.taken.write(chunk[:room])
        return not self.full


class _Pipe:
    """A pipe whose read end is ours."""

    def __init__(self) -> None:
        try:
            self.read_end, self.write_end = os.pipe()
        except OSError as error:
            raise _start_failed(error) from None
        os.set_blocking(self.read_end, False)

    def __enter__(self) -> "_Pipe":
        return self

    def __exit__(self, *_: object) -> None:
        self.close_write_end()
        os.close(self.read_end)

    def close_write_end(self) -> None:
        """Leave the write end to the child."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    async def read(self, take: Callable[[bytes], bool | None]) -> None:
        """Hand over what arrives until everybody has closed the other end, or `take` answers False.

        One chunk a turn of the loop, so that a child that prints without end cannot keep the loop to itself.
        """
        while True:
            await anyio.wait_readable(self.read_end)
            chunk = os.read(self.read_end, _CHUNK)
            if not chunk or take(chunk) is False:
                return

    def read_rest(self, take: Callable[[bytes], object]) -> None:
        """Hand over what the child wrote last: at most what a pipe holds, since others may go on writing."""
        with suppress(BlockingIOError):
            take(os.read(self.read_end, fcntl.fcntl(self.read_end, fcntl.F_GETPIPE_SZ)))
