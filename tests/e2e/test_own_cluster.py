"""A service in a pod adds the cluster around it, and its token is nowhere but in kai's own hands."""

import secrets
from pathlib import Path

from orchestrator.demo import demo_clusters
from tests.e2e.server import environment, running_server, until
from tests.e2e.test_secrets import answers, files_holding, processes_telling


def launcher_in(tmp_path: Path, service_account: Path) -> str:
    """A start of the service in a pod whose service account is mounted there."""
    launcher = tmp_path / "launcher.py"
    launcher.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from orchestrator import app, cli\n"
        f"app.SERVICE_ACCOUNT_DIR = Path({str(service_account)!r})\n"
        "sys.exit(cli.main())\n"
    )
    return str(launcher)


def test_the_own_cluster_is_looked_at_with_a_token_that_is_kept_nowhere(data_dir: Path, tmp_path: Path) -> None:
    canary = f"canary{secrets.token_hex(16)}"
    service_account = tmp_path / "serviceaccount"
    service_account.mkdir()
    (service_account / "token").write_text(canary)
    (service_account / "ca.crt").write_text(demo_clusters()[0].cluster_certificate or "")
    env = environment(
        PYTHONPATH=str(Path(__file__).parents[2]),
        ORCHESTRATOR_OWN_CLUSTER_NAME="here",
        KUBERNETES_SERVICE_HOST="ok.fake-kai.test",
        KUBERNETES_SERVICE_PORT="443",
    )
    command = [launcher_in(tmp_path, service_account)]
    with running_server(data_dir, command=command, env=env) as server:
        server.wait_for_health("here", "healthy")
        assert server.items(cluster_name="here")
        assert processes_telling(canary) == []
        assert [text for text in answers(server, ["here"]) if canary in text] == []
        assert server.stop() == 0
        assert canary not in server.output
    assert files_holding(canary, data_dir) == []


def test_a_cluster_that_somebody_stored_under_that_name_is_left_alone(data_dir: Path, tmp_path: Path) -> None:
    with running_server(data_dir) as server:
        server.add("here", "one")
        server.wait_for_health("here", "healthy")
        server.stop()
    service_account = tmp_path / "serviceaccount"
    service_account.mkdir()
    for name in ("token", "ca.crt"):
        (service_account / name).write_text("x")
    env = environment(
        PYTHONPATH=str(Path(__file__).parents[2]),
        ORCHESTRATOR_OWN_CLUSTER_NAME="here",
        KUBERNETES_SERVICE_HOST="fd00::1",
        KUBERNETES_SERVICE_PORT="443",
    )
    with running_server(data_dir, command=[launcher_in(tmp_path, service_account)], env=env) as server:
        until(lambda: "a cluster of that name is stored already" in server.output or None)
        assert server.status("here")["health"] == "healthy"


def test_outside_of_kubernetes_it_is_refused(data_dir: Path) -> None:
    env = environment(ORCHESTRATOR_OWN_CLUSTER_NAME="here")
    with running_server(data_dir, env=env, ready=False) as server:
        assert server.process.wait(20) == 2
        assert "this is no pod in Kubernetes" in server.output
        assert "Traceback" not in server.output
