"""What deploy/ says: valid by its schemas, as hardened as promised, and in the words of the service as it is."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

from orchestrator import __version__
from orchestrator.collector.pod import SERVICE_ACCOUNT_DIR
from orchestrator.settings import options
from orchestrator.settings_loader import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
KUBERNETES_VERSIONS = ["1.25", "1.31", kubernetes_validate.latest_version()]

VARIABLES = {name for option in options() for name in (option.env, option.file_env) if name}


def documents(name: str | None = None) -> list[dict[str, Any]]:
    """All objects of a file, or of all files."""
    files = [DEPLOY / "kubernetes" / name] if name else sorted((DEPLOY / "kubernetes").iterdir())
    return [document for file in files for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def the(kind: str) -> dict[str, Any]:
    """The one object of that kind."""
    (found,) = [document for document in documents() if document["kind"] == kind]
    return found


def pod() -> dict[str, Any]:
    found: dict[str, Any] = the("Deployment")["spec"]["template"]["spec"]
    return found


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_kubernetes_knows_every_field(version: str) -> None:
    for document in documents():
        kubernetes_validate.validate(document, version, strict=True)


def test_the_validator_would_tell() -> None:
    wrong = the("Deployment") | {"spec": the("Deployment")["spec"] | {"replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES_VERSIONS[-1], strict=True)
    with pytest.raises(ValueError, match="read_onyl"):
        PyCompose.from_yaml(COMPOSE.replace("read_only", "read_onyl"))


def test_compose_knows_every_field_and_nothing_is_missing() -> None:
    PyCompose.from_yaml(COMPOSE).validate()


def test_each_object_is_in_the_services_namespace() -> None:
    without = {"Namespace", "ClusterRole", "ClusterRoleBinding"}
    namespaces = {each["metadata"].get("namespace") for each in documents() if each["kind"] not in without}
    assert namespaces == {the("Namespace")["metadata"]["name"]} == {"kai-orchestrator"}
    assert documents("kai-orchestrator.yaml")[0]["kind"] == "Namespace"


def test_the_pod_runs_with_nothing_that_it_does_not_need() -> None:
    context, own = pod()["securityContext"], container()["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"]) == (True, 10001)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert pod()["enableServiceLinks"] is False
    assert "limits" in container()["resources"]
    written = {mount["mountPath"] for mount in container()["volumeMounts"] if not mount.get("readOnly")}
    assert written == {"/data"}


def test_the_container_of_compose_is_as_hardened() -> None:
    service = yaml.safe_load(COMPOSE)["services"]["kai-orchestrator"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_probes_ask_what_the_service_answers() -> None:
    paths = {name: container()[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in paths.items()} == {
        "startup": "/health",
        "liveness": "/health",
        "readiness": "/ready",
    }
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert {ports[probe["port"]] for probe in paths.values()} == {8228}


def test_every_variable_is_an_option_and_its_value_is_taken(tmp_path: Path) -> None:
    given = {each["name"]: each["value"] for each in container()["env"]}
    composed = yaml.safe_load(COMPOSE)["services"]["kai-orchestrator"]["environment"]
    for variables in (given, composed):
        assert set(variables) <= VARIABLES
        secret = tmp_path / "secret"
        secret.write_text("x")
        settings, warnings = load_settings(
            {name: str(secret) if name.endswith("_FILE") else value for name, value in variables.items()}, {}
        )
        assert warnings == []
        assert settings.admin_password is not None
        assert settings.sealing_keys is not None


def test_the_variables_that_documentation_speaks_of_are_options() -> None:
    text = (DEPLOY / "README.md").read_text(encoding="utf-8") + COMPOSE
    text += "".join(file.read_text(encoding="utf-8") for file in (DEPLOY / "kubernetes").iterdir())
    named = set(re.findall(r"\b((?:ANCHORE|ORCHESTRATOR)_[A-Z_]*[A-Z])\b", text))
    assert named <= VARIABLES


def test_secrets_are_there_under_the_names_that_are_read_and_hold_nothing() -> None:
    secret = the("Secret")
    (volume,) = [volume for volume in pod()["volumes"] if "secret" in volume]
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]
    (place,) = [mount["mountPath"] for mount in container()["volumeMounts"] if mount["name"] == volume["name"]]
    files = {each["value"] for each in container()["env"] if each["name"].endswith("_FILE")}
    assert files == {f"{place}/{key}" for key in secret["stringData"]}
    assert set(secret["stringData"].values()) == {""}
    composed = yaml.safe_load(COMPOSE)
    service = composed["services"]["kai-orchestrator"]
    read = {value.removeprefix("/run/secrets/") for name, value in service["environment"].items() if "_FILE" in name}
    assert read == set(service["secrets"]) == set(composed["secrets"])


def test_the_service_may_reach_what_is_named_and_nothing_else() -> None:
    policy = the("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == the("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    for rule in policy["egress"]:
        assert rule["to"]
        assert rule["ports"]
        for peer in rule["to"]:
            assert peer.get("podSelector") or peer["ipBlock"]["cidr"].startswith("192.0.2.")
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 443, 5432, 6443}


def test_the_service_account_may_list_and_nothing_else() -> None:
    wanted = [{"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["list"]}]
    assert the("ClusterRole")["rules"] == wanted
    name = the("ServiceAccount")["metadata"]["name"]
    assert the("ClusterRoleBinding")["subjects"][0]["name"] == name == pod()["serviceAccountName"]
    assert the("ServiceAccount")["automountServiceAccountToken"] is False
    assert pod()["automountServiceAccountToken"] is True
    assert str(SERVICE_ACCOUNT_DIR) == "/var/run/secrets/kubernetes.io/serviceaccount"


def test_the_image_is_that_of_this_version() -> None:
    image = f"kai-orchestrator:{__version__}"
    assert container()["image"] == image
    assert yaml.safe_load(COMPOSE)["services"]["kai-orchestrator"]["image"] == image
    assert image in (DEPLOY / "README.md").read_text(encoding="utf-8")
