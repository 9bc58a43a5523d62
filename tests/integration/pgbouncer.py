"""PgBouncer before the tests' PostgreSQL, in the mode that takes sessions away from their clients."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.integration.postgres import PostgresServer, _directory, _free_port, server_user

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
START_DEADLINE_SEC = 20.0

# Fewer connections to the server than one replica has to PgBouncer: transactions change places all the time.
CONFIGURATION = """\
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
logfile = {log}
"""


@contextlib.contextmanager
def pgbouncer(server: PostgresServer) -> Iterator[PostgresServer]:
    """Start it before the server and yield how the server is reached through it."""
    if PROGRAM is None:
        raise FileNotFoundError("pgbouncer")
    user = server_user()
    through = PostgresServer(port=_free_port(), user=server.user, password=server.password)
    with _directory(user) as directory:
        users, configuration, log = directory / "users", directory / "pgbouncer.ini", directory / "log"
        users.write_text(f'"{server.user}" "{server.password}"\n')
        configuration.write_text(CONFIGURATION.format(server_port=server.port, port=through.port, users=users, log=log))
        for path in (users, configuration):
            path.chmod(0o644)  # in a directory that only its owner can enter
        process = subprocess.Popen(
            [PROGRAM, "--quiet", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=directory,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )
        try:
            _wait_until_ready(through, process, log)
            yield through
        finally:
            process.terminate()
            process.wait(START_DEADLINE_SEC)


def _wait_until_ready(through: PostgresServer, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE_SEC
    while True:
        try:
            psycopg.connect(through.url("postgres")).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")[-1000:] if log.exists() else ""
                raise AssertionError(f"pgbouncer does not answer: {error}\n{said}") from error
            time.sleep(0.02)
        else:
            return
