"""Replicas on one PostgreSQL and the faults that befall them, and a client that lives with those.

The client is what stands before replicas and what talks to them in earnest: it asks the next replica when one does not
answer or says 503, and where an answer was lost it finds out whether what it asked for was done.
"""

import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from tests.e2e.replicas import query, replica_environment
from tests.e2e.server import CLUSTERS, PASSWORD, Server, Service, running_server
from tests.integration.postgres import RestartableServer

LEASE_SECONDS = 3
CUT = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


class PatientClient(httpx.BaseTransport):
    """Sends each request to one replica after the other until one answers it."""

    def __init__(self, replicas: Callable[[], list[Server]], *, patience_seconds: float) -> None:
        self._replicas = replicas
        self._patience_seconds = patience_seconds
        self._http = httpx.HTTPTransport()
        self._turn = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        deadline = time.monotonic() + self._patience_seconds
        lost = False
        while True:
            try:
                response = self._send(request)
            except httpx.ConnectError:
                response = None
            except httpx.TransportError:
                response, lost = None, True
            if response is not None and response.status_code != 503:
                return self._after_a_loss(request, response) if lost else response
            # A 503 may come after a commit of which the database could not tell any more.
            lost = lost or response is not None
            if time.monotonic() > deadline:
                raise httpx.ConnectError(f"no replica answers {request.method} {request.url}")
            time.sleep(0.1)

    def _send(self, request: httpx.Request) -> httpx.Response | None:
        """What the next replica answers, None where it is not up yet. Raises httpx.TransportError."""
        self._turn += 1
        replicas = self._replicas()
        replica = replicas[self._turn % len(replicas)]
        if not replica.url:
            return None
        url = httpx.URL(replica.url).copy_with(raw_path=request.url.raw_path)
        response = self._http.handle_request(
            httpx.Request(
                request.method, url, headers=request.headers, content=request.content, extensions=request.extensions
            )
        )
        response.read()
        return response

    def _after_a_loss(self, request: httpx.Request, response: httpx.Response) -> httpx.Response:
        """The answer to a request that may have been done already when it was sent before."""
        if request.method == "POST" and request.url.path == CLUSTERS and response.status_code == 409:
            name = json.loads(request.content)["cluster_name"]
            stored = httpx.Request("GET", f"{request.url}/{name}", headers=request.headers)
            del stored.headers["Content-Length"]
            return self.handle_request(stored)
        if request.method == "DELETE" and response.status_code == 404:
            return httpx.Response(204)
        return response

    def close(self) -> None:
        self._http.close()


class FaultyFleet(Service):
    """Replicas on one database, what can befall them, and how often it did."""

    patience_seconds = 90.0

    def __init__(self, stack: ExitStack, directory: Path, database: RestartableServer, env: dict[str, str]) -> None:
        """`env` is that of a replica. What is started ends with `stack`."""
        self.replicas: list[Server] = []
        self.done: Counter[str] = Counter()
        self._stack = stack
        self._directory = directory
        self._database = database
        self._url = env["ORCHESTRATOR_DATABASE_URL"]
        self._env = env
        client = PatientClient(lambda: self.replicas, patience_seconds=self.patience_seconds)
        super().__init__(
            stack.enter_context(
                httpx.Client(base_url="http://fleet.test", auth=("admin", PASSWORD), timeout=60, transport=client)
            )
        )

    def start(self, count: int) -> None:
        """Start so many replicas at once and return when all are ready."""
        self.replicas = [self._start() for _ in range(count)]
        for each in self.replicas:
            each.wait_until_ready()

    def _start(self) -> Server:
        directory = self._directory / f"replica-{time.monotonic_ns()}"
        return self._stack.enter_context(running_server(directory, env=self._env, ready=False))

    @contextmanager
    def befallen(self, chance: random.Random, *, pause_seconds: float) -> Iterator[None]:
        """One fault after the other, from before the block begins until it ends; whatever was stopped then runs."""
        over = threading.Event()

        def befall() -> None:
            while not over.is_set():
                self.befall(chance)
                over.wait(chance.uniform(0, pause_seconds))

        with ThreadPoolExecutor(1) as pool:
            faults = pool.submit(befall)
            try:
                yield
            finally:
                over.set()
                faults.result()

    def befall(self, chance: random.Random) -> None:
        """One fault, and the time that it takes."""
        faults: list[Callable[[random.Random], None]] = [self.kill, self.stop, self.cut, self.restart, self.crash]
        fault = chance.choice(faults)
        self.done[fault.__name__] += 1
        fault(chance)

    def kill(self, chance: random.Random) -> None:
        """Kill a replica and start another in its place."""
        number = chance.randrange(len(self.replicas))
        self.replicas[number].process.kill()
        self.replicas[number] = self._start()
        self.replicas[number].wait_until_ready()

    def stop(self, chance: random.Random) -> None:
        """Let a replica stand still for longer than its leases last."""
        process = chance.choice(self.replicas).process
        process.send_signal(signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + chance.uniform(0, 2))
        process.send_signal(signal.SIGCONT)

    def cut(self, _chance: random.Random) -> None:
        """End all connections to the database."""
        query(self._url, CUT)

    def restart(self, chance: random.Random, *, crash: bool = False) -> None:
        """Stop the database and start it again a little later."""
        self._database.stop(crash=crash)
        time.sleep(chance.uniform(0, 2))
        self._database.start()

    def crash(self, chance: random.Random) -> None:
        """The same, as by a power failure."""
        self.restart(chance, crash=True)


@contextmanager
def faulty_fleet(
    directory: Path, database: RestartableServer, *, count: int, interval: int, **more: str
) -> Iterator[tuple[FaultyFleet, str]]:
    """So many replicas, all ready, and the URL of their database; `interval` in seconds."""
    with ExitStack() as stack:
        url = stack.enter_context(database.server.fresh_database())
        env = replica_environment(url, interval=interval, lease=LEASE_SECONDS, **more)
        fleet = FaultyFleet(stack, directory, database, env)
        fleet.start(count)
        yield fleet, url
