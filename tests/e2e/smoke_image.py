"""Runs the container image as a hardened deployment would, and uses it once. Its kai is played by bin/fake-kai.

    python -m tests.e2e.smoke_image PODMAN IMAGE

Not a test of its own, since it needs an image and a podman that holds it: .ci/run builds the one, and calls this with
both. Exits non-zero at the first thing that is not as it should be, with the container's log.
"""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import httpx

from tests.e2e.server import CLUSTERS, INVENTORIES, cluster_body

USERS = {"the image's own user": None, "any user in group 0": "1234567:0"}
START_DEADLINE_SECONDS = 30.0
STOP_DEADLINE_SECONDS = 10.0


class Container:
    """A container of the image, on a volume that outlives it."""

    def __init__(self, podman: str, image: str, user: str | None) -> None:
        self._podman = podman
        self._image = image
        self._user = ["--user", user] if user else []
        self.name = f"kai-smoke-{secrets.token_hex(4)}"
        self.port = _free_port()
        self.password = secrets.token_urlsafe()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", auth=("admin", self.password), timeout=30)

    def podman(self, *arguments: str) -> str:
        """Run podman; its output without the line's end."""
        done = subprocess.run(
            [self._podman, *arguments],
            env=os.environ | {"ANCHORE_ADMIN_PASSWORD": self.password},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"podman {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def start(self) -> None:
        """As locked down as a cluster's strictest policy has it, and wait until it is ready."""
        self.podman(
            *("run", "--detach", "--name", self.name, "--network", "host", *self._user),
            *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges"),
            *("--volume", f"{self.name}:/data", "--health-interval", "disable"),
            *("--env", "ANCHORE_ADMIN_PASSWORD", "--env", f"ANCHORE_SERVICE_PORT={self.port}", self._image),
        )
        _wait_for(lambda: self._answers("/ready"), START_DEADLINE_SECONDS)

    def _answers(self, path: str) -> bool:
        if self.podman("inspect", "--format", "{{.State.Running}}", self.name) != "true":
            raise AssertionError("the container ended by itself")
        try:
            return self.http.get(path).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """SIGTERM; it has to end with 0, in time."""
        begun = time.monotonic()
        self.podman("kill", "--signal", "TERM", self.name)
        code = self.podman("wait", self.name)
        took = time.monotonic() - begun
        assert code == "0", f"exit code {code} on SIGTERM"
        assert took < STOP_DEADLINE_SECONDS, f"{took:.1f} s to stop on SIGTERM"

    def remove(self) -> None:
        """The container, not its volume."""
        self.podman("rm", "--force", "--time", "0", self.name)


def smoke(container: Container) -> None:
    """Start, be asked, look at a cluster, stop, and know it again at the next start."""
    container.start()
    http = container.http
    assert http.get("/health", auth=None).status_code == 200
    container.podman("healthcheck", "run", container.name)
    assert http.get(INVENTORIES, auth=None).status_code == 401

    created = http.post(CLUSTERS, json=cluster_body("smoke", "ok"))
    assert created.status_code == 200, created.text
    looked = http.post(f"{CLUSTERS}/smoke/sync?wait=20")
    assert looked.status_code == 200, looked.text
    assert looked.json()["state"] == "succeeded", looked.text
    images = http.get(INVENTORIES, params={"cluster_name": "smoke"}).json()
    assert images, "no images of the cluster that was looked at"
    assert all(item["context"].startswith("smoke/") for item in images)

    processes = container.podman("top", container.name, "user", "state", "args").splitlines()[1:]
    assert not [line for line in processes if line.split()[1].startswith("Z")], f"zombies: {processes}"
    assert not [line for line in processes if line.split()[0] == "root"], f"runs as root: {processes}"
    assert container.password not in container.podman("logs", container.name)

    container.stop()
    container.remove()
    container.start()
    assert http.get(INVENTORIES, params={"cluster_name": "smoke"}).json() != [], "the volume was not enough to go on"
    container.stop()


def main(podman: str, image: str) -> int:
    """Try the image as each kind of user."""
    for who, user in USERS.items():
        container = Container(podman, image, user)
        try:
            smoke(container)
        except (AssertionError, httpx.HTTPError) as error:
            _say(f"as {who}: FAILED: {error}")
            subprocess.run([podman, "logs", container.name], check=False)
            return 1
        finally:
            subprocess.run(
                [podman, "rm", "--force", "--time", "0", "--volumes", container.name], capture_output=True, check=False
            )
            subprocess.run([podman, "volume", "rm", "--force", container.name], capture_output=True, check=False)
        _say(f"as {who}: started, looked at a cluster, stopped, and went on with its volume")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"[smoke] {text}\n")
    sys.stdout.flush()


def _wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not ready after {seconds:.0f} s")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
