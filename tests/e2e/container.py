"""A container of the image, as locked down as a cluster's strictest policy has it, on a volume that outlives it."""

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx

START_DEADLINE_SECONDS = 60.0
STOP_DEADLINE_SECONDS = 10.0
PYTHON = "/opt/kai-orchestrator/bin/python"
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class Container:
    """Made by `podman run`. What its environment holds is handed to podman by name, never in an argument."""

    def __init__(
        self,
        podman: str,
        image: str,
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        mounts: Mapping[Path, str] | None = None,
        entrypoint: Sequence[str] = (),
        scheme: str = "http",
    ) -> None:
        """`mounts` are directories of this machine and their read-only places; `entrypoint` replaces the image's."""
        self._podman = podman
        self._image = image
        self.user = user
        self._mounts = [f"--volume={source}:{place}:ro" for source, place in (mounts or {}).items()]
        self._entrypoint = entrypoint
        self.name = f"kai-smoke-{secrets.token_hex(4)}"
        self.port = free_port()
        self.password = secrets.token_urlsafe()
        self.env = {"ANCHORE_ADMIN_PASSWORD": self.password, "ANCHORE_SERVICE_PORT": str(self.port), **(env or {})}
        self.http = httpx.Client(
            base_url=f"{scheme}://127.0.0.1:{self.port}",
            auth=("admin", self.password),
            timeout=30,
            verify=False,  # noqa: S501 - the certificate is made for the occasion
        )

    def podman(self, *arguments: str) -> str:
        """Run podman; its output without the line's end. Raises AssertionError when it fails."""
        done = self.try_podman(*arguments)
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr.strip()}"
        return done.stdout.strip()

    def try_podman(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run podman, whatever it ends with."""
        return subprocess.run(
            [self._podman, *arguments],
            env=os.environ | self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self) -> None:
        """A new container on the volume; returns once it is ready."""
        self.run()
        wait_for(lambda: self.answers("/ready"), START_DEADLINE_SECONDS)

    def run(self) -> None:
        """A new container on the volume."""
        user = ["--user", self.user] if self.user else []
        entrypoint = ["--entrypoint", self._entrypoint[0]] if self._entrypoint else []
        self.podman(
            *("run", "--detach", "--name", self.name, "--network", "host", *user, *entrypoint),
            *("--read-only", "--read-only-tmpfs=false", "--tmpfs", "/dev/shm:rw,mode=1777,size=64m"),
            *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
            *("--volume", f"{self.name}:/data", *self._mounts, "--health-interval", "disable"),
            *[argument for name, value in self.env.items() if value for argument in ("--env", name)],
            *(self._image, *self._entrypoint[1:]),
        )

    def restart(self) -> None:
        """Start the container that ended once more, as it is; returns once it is ready."""
        self.podman("start", self.name)
        wait_for(lambda: self.answers("/ready"), START_DEADLINE_SECONDS)

    def answers(self, path: str) -> bool:
        """Whether a GET is answered with 200. Raises AssertionError when the container has ended."""
        assert self.running(), "the container ended by itself"
        try:
            return self.http.get(path).status_code == 200
        except httpx.TransportError:
            return False

    def running(self) -> bool:
        """Whether it has not ended."""
        return self.podman("inspect", "--format", "{{.State.Running}}", self.name) == "true"

    def healthy(self) -> bool:
        """What the image's own health check says."""
        return self.try_podman("healthcheck", "run", self.name).returncode == 0

    def processes(self) -> list[list[str]]:
        """User, state, number and arguments of each process in it."""
        lines = self.podman("top", self.name, "user", "state", "pid", "args").splitlines()[1:]
        return [line.split(None, 3) for line in lines]

    def service_pid(self) -> int:
        """The number that the service itself has inside the container."""
        (found,) = [int(pid) for _, _, pid, args in self.processes() if args.startswith(PYTHON)]
        return found

    def signal(self, number: int, pid: int) -> None:
        """Send a signal to one of its processes, as its own user."""
        code = f"import os; os.kill({pid}, {number})"
        self.podman("exec", self.name, PYTHON, "-I", "-c", code)

    def workdirs(self) -> list[str]:
        """The directories of looks, with what is in them, wherever the service may have made some."""
        code = (
            "import glob; print(*(path for place in ('/dev/shm', '/tmp', '/data', '/run') "
            "for path in glob.glob(place + '/kai-orchestrator-*/**', recursive=True)), sep='\\n')"
        )
        return self.podman("exec", self.name, PYTHON, "-I", "-c", code).split()

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

    def remove_all(self) -> None:
        """The container and its volume, as far as they are there."""
        self.http.close()
        self.try_podman("rm", "--force", "--time", "0", "--volumes", self.name)
        self.try_podman("volume", "rm", "--force", self.name)


def wait_for(condition: Callable[[], bool], seconds: float, what: str = "ready") -> None:
    """Return once the condition holds; AssertionError when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not {what} after {seconds:.0f} s"
        time.sleep(0.1)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
