"""The pod around the service: where its API server is, and its token as it is at each look."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from orchestrator.collector.pod import NotInKubernetes, Pod, ServiceAccountUnreadable, as_told_in_the_pod
from orchestrator.model.cluster import ClusterConfig, CredentialType
from orchestrator.model.run import Reason

UNAUTHORIZED = Reason("unauthorized", "the credential is refused", "Give a new credential.")

STORED = ClusterConfig(
    cluster_name="here",
    server="https://somewhere.else",
    cluster_certificate=None,
    client_certificate=None,
    credential_type=CredentialType.SERVICE_ACCOUNT,
    credential=SecretStr(""),
    namespaces=("web",),
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A service account as Kubernetes mounts it."""
    (tmp_path / "token").write_text("first-token")
    (tmp_path / "ca.crt").write_text("the CA\n")
    return tmp_path


def variables(host: str = "10.96.0.1") -> dict[str, str]:
    return {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("10.96.0.1", "https://10.96.0.1:443"),
        ("fd00::1", "https://[fd00::1]:443"),
        ("api.test", "https://api.test:443"),
    ],
)
def test_the_api_server_is_where_kubernetes_says(directory: Path, host: str, server: str) -> None:
    assert Pod.around("here", variables(host), directory).server == server


def test_the_token_is_read_each_time_and_goes_to_the_pods_own_api_server_only(directory: Path) -> None:
    pod = Pod.around("here", variables(), directory)
    first = pod.complete(STORED)
    (directory / "token").write_text("second-token\n")
    second = pod.complete(STORED)
    assert first.credential.get_secret_value() == "first-token"
    assert second.credential.get_secret_value() == "second-token"
    assert (second.server, second.cluster_certificate) == ("https://10.96.0.1:443", "the CA")
    assert (second.credential_type, second.namespaces) == (CredentialType.TOKEN, ("web",))
    assert "first-token" not in repr(pod)
    assert "second-token" not in repr(second)


@pytest.mark.parametrize("missing", ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"])
def test_outside_of_kubernetes_there_is_no_pod(directory: Path, missing: str) -> None:
    environ = variables()
    del environ[missing]
    with pytest.raises(NotInKubernetes, match="ORCHESTRATOR_OWN_CLUSTER_NAME is set, but this is no pod"):
        Pod.around("here", environ, directory)


@pytest.mark.parametrize("name", ["token", "ca.crt"])
@pytest.mark.parametrize("content", [None, b" \n", b"\xff"])
def test_a_service_account_that_cannot_be_read_is_told_at_start_and_at_a_look(
    directory: Path, name: str, content: bytes | None
) -> None:
    pod = Pod.around("here", variables(), directory)
    if content is None:
        (directory / name).unlink()
    else:
        (directory / name).write_bytes(content)
    with pytest.raises(NotInKubernetes, match="automountServiceAccountToken"):
        Pod.around("here", variables(), directory)
    with pytest.raises(ServiceAccountUnreadable) as caught:
        pod.complete(STORED)
    assert caught.value.reason.code == "service_account_unreadable"
    assert str(directory / name) in caught.value.reason.message


def test_only_the_remedy_that_asks_for_a_credential_is_another_one_in_the_pod() -> None:
    told = as_told_in_the_pod(UNAUTHORIZED)
    assert told is not None
    assert (told.code, told.message) == (UNAUTHORIZED.code, UNAUTHORIZED.message)
    assert "Give" not in told.remedy
    forbidden = Reason("forbidden", "may not list pods", "Bind a ClusterRole.")
    assert as_told_in_the_pod(forbidden) is forbidden
    assert as_told_in_the_pod(None) is None
