"""Private directories, one a look, that hold a credential for as long as the look lasts and no longer.

Each process has a root of its own and a lock on it. The kernel gives the lock back however the process ends, so a
root whose lock is free belongs to nobody: it is swept at the next start, with the children that were left in it.
"""

import fcntl
import os
import secrets
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import structlog

_PREFIX: Final = "kai-orchestrator-"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS: Final = 16
_PATIENCE_SECONDS: Final = 0.25

# How a user namespace without the machine's root in it shows root's own directories.
_UNMAPPED: Final = 65534

_log = structlog.get_logger(__name__)


class UnsafeParent(OSError):
    """The directory that roots would be made in lets others replace what we put there."""


def default_parent(environ: Mapping[str, str]) -> Path:
    """Where roots are made: in memory where possible, so that no credential reaches a disk.

    `/dev/shm`, else `$XDG_RUNTIME_DIR`, else the directory for temporary files; the first that can be used.
    """
    for candidate in ("/dev/shm", environ.get("XDG_RUNTIME_DIR")):  # noqa: S108 - held to be safe by _is_safe
        if candidate and os.access(candidate, os.R_OK | os.W_OK | os.X_OK) and _is_safe(Path(candidate)):
            return Path(candidate)
    return Path(tempfile.gettempdir())


class Workdirs:
    """This process's root. Methods block, for microseconds on tmpfs: call them in a worker thread."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    @contextmanager
    def open(cls, parent: Path) -> Iterator["Workdirs"]:
        """Sweep what dead processes left in `parent`, then hold a root of our own there until the block ends.

        Raises UnsafeParent for a directory where others could replace our files, OSError when it cannot be used.
        """
        parent = parent.resolve()
        if not _is_safe(parent):
            raise UnsafeParent(f"{parent} is writable for others and not sticky: expected a private directory or /tmp")
        sweep(parent)
        root, lock = _make_root(parent)
        try:
            yield cls(root)
        finally:
            _remove_tree(root)
            os.close(lock)

    def create(self) -> Path:
        """A new empty directory, mode 0700."""
        return Path(tempfile.mkdtemp(prefix="look-", dir=self.root))

    @staticmethod
    def write(path: Path, content: bytes) -> None:
        """A new file, mode 0600; raises OSError when there is one already, or a link by that name."""
        descriptor = os.open(path, _NEW_FILE, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)

    @staticmethod
    def remove(workdir: Path) -> None:
        """Remove a directory that `create` made, whatever a child has done in it; a failure is logged."""
        _remove_tree(workdir)


def sweep(parent: Path) -> int:
    """Remove the roots in `parent` that belong to no living process, first ending the children left in them.

    Only directories of our own user with our prefix; returns how many there were. Takes up to a quarter of a second
    where other processes hold theirs: the child that a killed process was just starting holds its lock until it
    has become setpriv or kai.
    """
    with os.scandir(parent) as entries:
        roots = [parent / entry.name for entry in entries if entry.name.startswith(_PREFIX)]
    swept = 0
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        held = []
        for root in roots:
            try:
                swept += _sweep_root(root)
            except BlockingIOError:
                held.append(root)
            except OSError:
                # Somebody else's, a link, or one that another sweep took first.
                continue
        roots = held
        if not roots or time.monotonic() > deadline:
            return swept
        time.sleep(0.01)


def _sweep_root(root: Path) -> bool:
    """Remove a root of our own that nobody holds; raises BlockingIOError when it is held."""
    lock = os.open(root, _DIRECTORY)
    try:
        status = os.fstat(lock)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != 0o700:
            return False
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_still(root, lock):
            return False
        orphans = _kill_children_in(root)
        _remove_tree(root)
        _log.info("workdirs_swept", root=str(root), orphans=orphans)
        return True
    finally:
        os.close(lock)


def _make_root(parent: Path) -> tuple[Path, int]:
    """A new root and the descriptor that holds its lock.

    Between making the directory and locking it, another process's sweep may take it for abandoned. Then either the
    lock is taken or the directory is gone when we look again: begin anew under another name.
    """
    for _ in range(_ATTEMPTS):
        root = parent / f"{_PREFIX}{os.geteuid()}-{secrets.token_hex(8)}"
        root.mkdir(mode=0o700)
        lock = None
        with suppress(BlockingIOError, FileNotFoundError):
            lock = os.open(root, _DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(root, lock):
                return root, lock
        if lock is not None:
            os.close(lock)
    raise OSError(f"{parent}: other processes swept each new directory of ours away")


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the path still names the directory that was opened."""
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _is_safe(parent: Path) -> bool:
    """Whether this is a directory in which nobody but us and root can replace what we make."""
    status = parent.stat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (0, os.geteuid(), _UNMAPPED):
        return False
    return not status.st_mode & 0o022 or bool(status.st_mode & stat.S_ISVTX)


def _remove_tree(path: Path) -> None:
    """A child may have taken our permissions away, or still be writing: a few tries, and no more."""
    for _ in range(3):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            return
        except OSError as error:
            problem = error.strerror or type(error).__name__
            _open_up(path)
        else:
            return
    _log.error("workdir_not_removed", path=str(path), problem=problem)


def _open_up(path: Path) -> None:
    """Give ourselves the permissions to remove what is below; links are not followed."""
    with suppress(OSError):
        path.chmod(0o700)
    for directory, names, _ in os.walk(path):
        for below in (Path(directory, name) for name in names):
            with suppress(OSError):
                if not below.is_symlink():
                    below.chmod(0o700)


def _kill_children_in(root: Path) -> int:
    """Kill the processes of our user that work inside this root of a dead process; returns how many there were.

    They are children whose parent was killed before they could be told to die with it.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    killed: set[int] = set()
    while found := {pid for pid in _processes() if _kill_if_in(root, pid)}:
        killed |= found
        if time.monotonic() > deadline:
            break
        time.sleep(0.001)
    return len(killed)


def _processes() -> list[int]:
    """The numbers of all processes, none on a system without /proc."""
    try:
        with os.scandir("/proc") as entries:
            return [int(entry.name) for entry in entries if entry.name.isdecimal()]
    except FileNotFoundError:
        return []


def _kill_if_in(root: Path, pid: int) -> bool:
    """Kill the process if it works inside the root; False also when it is gone meanwhile, or not ours."""
    try:
        if not _works_in(root, pid):
            return False
        process = os.pidfd_open(pid)
        try:
            # Looked at again: the number may have gone to another process before it was pinned.
            if not _works_in(root, pid):
                return False
            signal.pidfd_send_signal(process, signal.SIGKILL)
        finally:
            os.close(process)
    except OSError:
        return False
    return True


def _works_in(root: Path, pid: int) -> bool:
    process = Path("/proc", str(pid))
    return process.stat().st_uid == os.geteuid() and process.joinpath("cwd").readlink().is_relative_to(root)
