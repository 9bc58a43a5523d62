"""What a process makes sure of before it serves: its data directory is its own, its port free, its children bounded."""

import asyncio
import fcntl
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = "service.lock"
_BACKLOG = 1024


class StartRefused(Exception):
    """The service cannot start like this; the text says why and what to do."""


def make_data_dir(path: Path) -> None:
    """Make the directory, open to its owner only. One that is there keeps its mode: somebody chose it.

    Raises StartRefused.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartRefused(
            f"cannot make the data directory {path}: {error.strerror}; choose one with --data-dir"
        ) from (error)
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise StartRefused(f"the data directory {path} is not writable; choose one with --data-dir")


@contextmanager
def only_service_in(data_dir: Path) -> Iterator[None]:
    """Hold the lock of the data directory; the kernel gives it back however this process ends.

    Raises StartRefused while another service holds it.
    """
    path = data_dir / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StartRefused(f"cannot open {path}: {error.strerror}; choose another --data-dir") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartRefused(
                f"another service runs in {data_dir}; stop it, or choose another --data-dir "
                "(several services can share one inventory on PostgreSQL)"
            ) from None
        yield
    finally:
        os.close(descriptor)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `port` 0 is any free one. Raises StartRefused."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartRefused(f"cannot listen on {host}: {error.strerror}; choose an address with --host") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartRefused(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --host and --port"
        ) from error
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket, *, scheme: str = "http") -> str:
    """The URL at which the service answers, for people on this machine."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can reach the socket."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def watch_children_without_threads() -> None:
    """On Python 3.11 asyncio waits for each child in a thread of its own; later versions use pidfds by themselves."""
    if sys.version_info < (3, 12) and hasattr(os, "pidfd_open"):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
