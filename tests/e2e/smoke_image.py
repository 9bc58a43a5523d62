"""Runs the container image as a hardened deployment would, and uses it. Its kai is played by bin/fake-kai.

    python -m tests.e2e.smoke_image PODMAN IMAGE

Not a test of its own, since it needs an image and a podman that holds it: .ci/run builds the one, and calls this with
both. Exits non-zero when something is not as it should be, with the container's log.
"""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx

from orchestrator.demo import demo_clusters
from tests.certificates import make_pair
from tests.e2e.container import PYTHON, SERVICE_ACCOUNT, Container, wait_for
from tests.e2e.image_contents import problems
from tests.e2e.server import CLUSTERS, INVENTORIES, cluster_body

ANY_USER = "1234567:0"
FAST = {"ANCHORE_CATALOG_K8S_INVENTORY_REPORT_INTERVAL_SEC": "2", "ORCHESTRATOR_KAI_TIMEOUT_SEC": "5"}

# The image's own code, sabotaged in place: what is tried is whether anybody notices.
SABOTAGED = """
import sys
import anyio
from orchestrator import app, cli
from orchestrator.collector.loop import CollectorLoop, Pace
async def broken(self, tasks, *, due):
    {what}
CollectorLoop._turn = broken
app.Pace = lambda **given: Pace(**given, stuck_seconds=2.0)
sys.exit(cli.main())
"""


def works_and_stops(container: Container) -> None:
    """It starts, answers, looks at a cluster, leaves nothing behind, and stops when told to."""
    container.env |= FAST
    container.start()
    http = container.http
    assert http.get("/health", auth=None).status_code == 200
    assert container.healthy()
    assert http.get(INVENTORIES, auth=None).status_code == 401
    assert http.get("/v1/enterprise/ui/").status_code == 200
    assert http.get("/v1/enterprise/ui/swagger-ui-bundle.js").status_code == 200

    for scenario in ("ok", "orphan", "orphan-session", "killed", "deaf"):
        add(container, scenario)
    for scenario, state in {"ok": "succeeded", "orphan": "succeeded", "killed": "failed", "deaf": "timed_out"}.items():
        run = look(container, scenario)
        assert run["state"] == state, run
    images = http.get(INVENTORIES, params={"cluster_name": "ok"}).json()
    assert images, "no images of the cluster that was looked at"
    assert all(item["context"].startswith("ok/") for item in images)

    processes = container.processes()
    assert not [each for each in processes if each[1].startswith("Z")], f"zombies: {processes}"
    assert not [each for each in processes if each[0] == "root"], f"runs as root: {processes}"
    assert any(each[2] == "1" and "tini" in each[3] for each in processes), f"no init: {processes}"
    logs = container.podman("logs", container.name)
    assert container.password not in logs
    assert "a-token-for-tests" not in logs

    container.stop()
    container.remove()
    container.start()
    assert http.get(INVENTORIES, params={"cluster_name": "ok"}).json() != [], "the volume was not enough to go on"
    container.stop()


def survives_a_kill(container: Container) -> None:
    """Killed in the middle of a look, it goes on with its volume: nothing lost, nothing left, still collecting."""
    container.env |= {**FAST, "ORCHESTRATOR_LEASE_SEC": "6"}
    container.start()
    add(container, "ok")
    assert look(container, "ok")["state"] == "succeeded"
    before = container.http.get(INVENTORIES).json()
    add(container, "hang")
    wait_for(lambda: status(container, "hang")["running"], 20, "looking")
    assert container.workdirs(), "no workdir was found during a look"
    container.podman("kill", "--signal", "KILL", container.name)
    assert container.podman("wait", container.name) == "137"

    container.restart()
    after = container.http.get(INVENTORIES).json()
    assert [each["image_tag"] for each in after] == [each["image_tag"] for each in before], "data was lost"
    assert container.http.delete(f"{CLUSTERS}/hang").status_code == 204
    assert look(container, "ok")["state"] == "succeeded"
    last = status(container, "ok")["last_run"]["id"]
    wait_for(lambda: status(container, "ok")["last_run"]["id"] > last, 20, "collecting on its own")
    container.http.delete(f"{CLUSTERS}/ok")
    # What is left is the directory of this very process, empty: that of the one that was killed is gone.
    wait_for(lambda: len(container.workdirs()) == 1, 20, "clean of workdirs")
    container.stop()


def is_found_unhealthy_when_it_hangs(container: Container) -> None:
    """The health check fails while the service does not answer, and passes again once it does."""
    container.start()
    assert container.healthy()
    service = container.service_pid()
    container.signal(signal.SIGSTOP, service)
    assert not container.healthy(), "healthy while it hangs"
    container.signal(signal.SIGCONT, service)
    wait_for(container.healthy, 20, "healthy again")
    container.stop()


def is_found_unhealthy_when_the_loop_is_stuck(container: Container) -> None:
    """The port still answers; the health check fails all the same."""
    container.run()
    wait_for(lambda: container.answers("/version"), 60)
    wait_for(lambda: container.http.get("/health").status_code == 503, 20, "found stuck")
    assert container.answers("/version"), "the port is dead too, so this proves nothing"
    assert not container.healthy(), "healthy although the loop is stuck"
    container.stop()


def ends_when_the_loop_dies(container: Container) -> None:
    """Nobody has to notice: the container ends with an error, to be started anew."""
    container.run()
    assert container.podman("wait", container.name) == "1"
    assert "sabotage" in container.try_podman("logs", container.name).stderr


def serves_https_as_config_yaml_says(container: Container) -> None:
    """Port, TLS and password come from files; the health check finds the service by them."""
    container.start()
    assert container.healthy()
    plain = httpx.URL(str(container.http.base_url)).copy_with(scheme="http")
    try:
        answered: object = httpx.get(plain)
    except httpx.TransportError:
        answered = None
    assert answered is None, "plain HTTP is answered as well"
    logs = container.podman("logs", container.name)
    assert "https://" in logs
    assert "plain HTTP" not in logs
    assert container.password not in logs
    container.stop()


def looks_at_its_own_cluster(container: Container) -> None:
    """In a pod with a service account, one setting is enough."""
    container.start()
    wait_for(lambda: status(container, "here")["health"] == "healthy", 30, "looked at")
    assert container.http.get(INVENTORIES, params={"cluster_name": "here"}).json()
    container.stop()


def add(container: Container, scenario: str) -> None:
    """Store a cluster that the stand-in plays."""
    response = container.http.post(CLUSTERS, json=cluster_body(scenario, scenario))
    assert response.status_code == 200, response.text


def look(container: Container, name: str) -> dict[str, object]:
    """Have a cluster looked at; the run once it has ended."""
    response = container.http.post(f"{CLUSTERS}/{name}/sync?wait=25")
    assert response.status_code == 200, response.text
    found: dict[str, object] = response.json()
    return found


def status(container: Container, name: str) -> dict[str, object]:
    """How a cluster is doing."""
    response = container.http.get(f"{CLUSTERS}/{name}/status")
    assert response.status_code == 200, response.text
    found: dict[str, object] = response.json()
    return found


def sabotaged(what: str) -> list[str]:
    """The image's start, with a loop that does something else."""
    return ["/usr/bin/tini", "--", PYTHON, "-I", "-B", "-c", SABOTAGED.format(what=what)]


def trials(podman: str, image: str, files: Path) -> list[tuple[Callable[[Container], None], Container]]:
    """What is tried, and on which container. `files` is an empty directory that any user may enter."""
    config, account = files / "config", files / "serviceaccount"
    config.mkdir()
    account.mkdir()
    make_pair(config, days=60)
    (account / "token").write_text("the-token-of-the-pod")
    (account / "ca.crt").write_text(demo_clusters()[0].cluster_certificate or "")
    https = Container(podman, image, mounts={config: "/config"}, scheme="https")
    (config / "config.yaml").write_text(
        "orchestrator:\n"
        f"  port: {https.port}\n"
        "  tls_certificate_file: /config/certificate.pem\n"
        "  tls_key_file: ${ANCHORE_KEY}\n"
    )
    (config / "env").write_text(f"ANCHORE_ADMIN_PASSWORD='{https.password}'\nANCHORE_KEY=/config/key.pem\n")
    https.env = {"ANCHORE_ENV_FILE": "/config/env"}
    for path in files.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    own = {
        "ORCHESTRATOR_OWN_CLUSTER_NAME": "here",
        "KUBERNETES_SERVICE_HOST": "ok.fake-kai.test",
        "KUBERNETES_SERVICE_PORT": "443",
    }
    return [
        (works_and_stops, Container(podman, image)),
        (works_and_stops, Container(podman, image, user=ANY_USER)),
        (survives_a_kill, Container(podman, image)),
        (is_found_unhealthy_when_it_hangs, Container(podman, image)),
        (
            is_found_unhealthy_when_the_loop_is_stuck,
            Container(podman, image, entrypoint=sabotaged("await anyio.sleep_forever()")),
        ),
        (
            ends_when_the_loop_dies,
            Container(podman, image, entrypoint=sabotaged("raise ZeroDivisionError('sabotage')")),
        ),
        (serves_https_as_config_yaml_says, https),
        (looks_at_its_own_cluster, Container(podman, image, env=own, mounts={account: SERVICE_ACCOUNT})),
    ]


def attempt(trial: Callable[[Container], None], container: Container) -> bool:
    """Whether the trial went as it should; what went wrong is said, with the container's log."""
    who = f"{trial.__name__}, {'any user of group 0' if container.user else 'the user of the image'}"
    try:
        trial(container)
    except (AssertionError, httpx.HTTPError, subprocess.TimeoutExpired) as error:
        say(f"FAILED: {who}: {error or type(error).__name__}")
        logs = container.try_podman("logs", container.name)
        sys.stdout.write(logs.stdout + logs.stderr)
        return False
    finally:
        container.remove_all()
    say(f"ok: {who}")
    return True


def main(podman: str, image: str) -> int:
    """Try the image; returns the exit code."""
    found = problems(podman, image)
    for problem in found:
        say(f"in the image: {problem}")
    with tempfile.TemporaryDirectory() as directory:
        files = Path(directory)
        files.chmod(0o755)
        results = [attempt(trial, container) for trial, container in trials(podman, image, files)]
    passed = sum(results) + (not found)
    say(f"{passed} passed, {len(results) + 1 - passed} failed")
    return 0 if passed == len(results) + 1 else 1


def say(text: str) -> None:
    """Tell whoever reads CI's log."""
    sys.stdout.write(f"[smoke] {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
