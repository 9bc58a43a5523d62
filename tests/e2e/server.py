"""The service as its users have it: a process of its own on a free port, with kai played by the stand-in."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from orchestrator.demo import STAND_IN, demo_clusters

T = TypeVar("T")

PASSWORD = "a password for tests"
CLUSTERS = "/v1/enterprise/inventories/clusters"
INVENTORIES = "/v1/enterprise/inventories"

# A python3 that starts fast comes first: the stand-in is a script.
PATH = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"


class Service:
    """What one asks of a service by HTTP, of however many processes it is."""

    patience_seconds = 30.0

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def until(self, find: Callable[[], T | None]) -> T:
        """What `find` finds, asked until it finds something."""
        return until(find, seconds=self.patience_seconds)

    def add(self, name: str, scenario: str, **changes: Any) -> httpx.Response:
        """POST a cluster that the stand-in plays as `scenario` says."""
        response = self.http.post(CLUSTERS, json=cluster_body(name, scenario, **changes))
        assert response.status_code == 200, response.text
        return response

    def status(self, name: str) -> dict[str, Any]:
        response = self.http.get(f"{CLUSTERS}/{name}/status")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def runs(self, name: str) -> list[dict[str, Any]]:
        """Newest first."""
        response = self.http.get(f"{CLUSTERS}/{name}/runs?limit=100")
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()
        return found

    def items(self, **conditions: str) -> list[dict[str, Any]]:
        response = self.http.get(INVENTORIES, params=conditions)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()
        return found

    def wait_for_health(self, name: str, *wanted: str) -> dict[str, Any]:
        """The cluster's status once its health is one of those wanted."""

        def found() -> dict[str, Any] | None:
            status = self.status(name)
            return status if status["health"] in wanted else None

        return self.until(found)

    def wait_until_looking(self, name: str) -> None:
        """Return once somebody looks at the cluster."""
        self.until(lambda: self.status(name)["running"] or None)


class Server(Service):
    """A service that is one running process."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, data_dir: Path) -> None:
        super().__init__(httpx.Client())
        self.process = process
        self.log = log
        self.data_dir = data_dir
        self.url = ""

    @property
    def output(self) -> str:
        """Everything it printed so far."""
        return self.log.read_text(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """What it logged, each line as its JSON says."""
        # A line without its end is still being written.
        lines = self.output.splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def until(self, find: Callable[[], T | None]) -> T:
        """What `find` finds; fails with what the process printed, and early when it ends."""
        return until(find, seconds=self.patience_seconds, process=self.process, what=self.log)

    def wait_until_ready(self) -> None:
        """Return once the service answers, or fail with what it printed."""
        self.url = self.until(self._url)
        self.http = httpx.Client(base_url=self.url, auth=("admin", PASSWORD), timeout=60)
        self.until(lambda: self.http.get("/ready").status_code == 200 or None)

    def _url(self) -> str | None:
        return next((event["url"] for event in self.events() if event["event"] == "listening"), None)

    def workdir_roots(self) -> list[str]:
        """The directories whose lock the process holds: see orchestrator.kai.workdir."""
        descriptors = Path("/proc", str(self.process.pid), "fd").iterdir()
        return [target for each in descriptors if "/kai-orchestrator-" in (target := _target(each))]

    def stop(self, number: int = signal.SIGTERM, *, seconds: float = 15) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def cluster_body(name: str, scenario: str, **changes: Any) -> dict[str, Any]:
    """What one POSTs for a cluster that the stand-in plays."""
    config = {
        "cluster_server": f"https://{scenario}.fake-kai.test:6443",
        "cluster_certificate": demo_clusters()[0].cluster_certificate,
        "credential_type": "token",
        "credential": "a-token-for-tests",
        "namespaces": ["all"],
    }
    return {"cluster_name": name, "inventory_type": "kubernetes", "cluster_config": config | changes}


def environment(**more: str) -> dict[str, str]:
    """The environment of a service under test: nothing of the developer's own."""
    usual = {"PATH": PATH, "ORCHESTRATOR_KAI_BINARY": str(STAND_IN), "ANCHORE_ADMIN_PASSWORD": PASSWORD}
    return {name: value for name, value in (usual | more).items() if value}


@contextmanager
def running_server(
    data_dir: Path,
    *,
    env: Mapping[str, str] | None = None,
    args: Sequence[str] = (),
    command: Sequence[str] = ("-m", "orchestrator.cli"),
    ready: bool = True,
) -> Iterator[Server]:
    """Start a service, wait until it is ready unless told not to, and stop it in the end if it still runs."""
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir.with_name(f"{data_dir.name}-{time.monotonic_ns()}.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command, "--port", "0", "--data-dir", str(data_dir), *args],
            env=environment() if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )
    server = Server(process, log, data_dir)
    try:
        if ready:
            server.wait_until_ready()
        yield server
    finally:
        server.http.close()
        # Gently, so that it takes its workdirs along.
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(
    find: Callable[[], T | None],
    *,
    seconds: float = 30,
    process: "subprocess.Popen[bytes] | None" = None,
    what: Path | None = None,
) -> T:
    """What `find` finds, asked until it finds something; fails early when the process ends."""
    deadline = time.monotonic() + seconds
    while (found := find()) is None:
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > deadline:
            said = what.read_text(errors="replace")[-4000:] if what else ""
            raise AssertionError(f"{'the service ended' if ended else 'not within the deadline'}:\n{said}")
        time.sleep(0.02)
    return found


def processes_in(directory: str) -> list[int]:
    """The processes that work below a directory, or are told of it in their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                working = str((entry / "cwd").readlink())
                arguments = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if working.startswith(directory) or directory.encode() in arguments:
                found.append(int(entry.name))
    return found
