"""The two files that kai is given: complete, quoted, and without anything that is active."""

import base64
from pathlib import Path

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from orchestrator.kai.config import FILE_NAME, render_kai_config, request_timeout_seconds
from orchestrator.kai.kubeconfig import render_kubeconfig
from orchestrator.model.cluster import ClusterConfig, CredentialType

PEM = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nTUlJ\n-----END PRIVATE KEY-----\n"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(
    *,
    ca: str | None = PEM,
    client: str | None = None,
    credential: str = "token\n",
    kind: CredentialType = CredentialType.TOKEN,
) -> ClusterConfig:
    return ClusterConfig(
        cluster_name="prod",
        server="https://10.0.0.1:6443/k8s",
        cluster_certificate=ca,
        client_certificate=client,
        credential_type=kind,
        credential=SecretStr(credential),
    )


def kubeconfig(given_config: ClusterConfig) -> dict[str, object]:
    parsed = yaml.safe_load(render_kubeconfig(given_config))
    assert isinstance(parsed, dict)
    return parsed


def test_a_kubeconfig_with_a_token_is_complete() -> None:
    assert kubeconfig(config()) == {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "look", "cluster": {"server": "https://10.0.0.1:6443/k8s", "certificate-authority-data": b64(PEM)}}
        ],
        "users": [{"name": "look", "user": {"token": "token"}}],
        "contexts": [{"name": "look", "context": {"cluster": "look", "user": "look"}}],
        "current-context": "look",
        "preferences": {},
    }


def test_a_kubeconfig_with_a_client_certificate_holds_no_token() -> None:
    given_config = config(client=b64(PEM), credential=KEY, kind=CredentialType.PRIVATE_KEY)
    assert kubeconfig(given_config)["users"] == [
        {"name": "look", "user": {"client-certificate-data": b64(PEM), "client-key-data": b64(KEY)}}
    ]


def test_the_pods_own_token_has_to_be_put_in_first() -> None:
    with pytest.raises(ValueError, match="the pod's token"):
        render_kubeconfig(config(credential="", kind=CredentialType.SERVICE_ACCOUNT))


def test_a_client_certificate_beside_a_token_is_left_out() -> None:
    assert kubeconfig(config(client=PEM))["users"] == [{"name": "look", "user": {"token": "token"}}]


@pytest.mark.parametrize("ca", [None, "", " \n"])
def test_without_a_ca_the_systems_own_is_used(ca: str | None) -> None:
    assert kubeconfig(config(ca=ca))["clusters"] == [
        {"name": "look", "cluster": {"server": "https://10.0.0.1:6443/k8s"}}
    ]


def test_a_jwt_in_base64_is_sent_as_the_jwt() -> None:
    jwt = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b'{"alg":"x"}', b"{}", b"sig"))
    assert kubeconfig(config(credential=b64(jwt)))["users"] == [{"name": "look", "user": {"token": jwt}}]


def test_the_kai_config_serves_every_version() -> None:
    content = render_kai_config(
        cluster_name="123",
        kubeconfig=Path("/dev/shm/root/look/kubeconfig"),
        asked_namespaces=frozenset({"beta", "alpha"}),
        deadline_seconds=120,
        request_batch_size=500,
    )
    assert yaml.safe_load(content) == {
        "kubeconfig": {"path": "/dev/shm/root/look/kubeconfig", "cluster": "123"},
        "namespaces": ["alpha", "beta"],
        "output": "json",
        "mode": "adhoc",
        "quiet": False,
        "verbose-inventory-reports": True,
        "log": {"structured": True, "level": "error"},
        "kubernetes-request-timeout-seconds": 90,
        "kubernetes": {"request-timeout-seconds": 90, "request-batch-size": 500},
    }
    assert FILE_NAME.endswith(".yaml")


def test_all_namespaces_are_asked_for_by_name() -> None:
    content = render_kai_config(
        cluster_name="c", kubeconfig=Path("/k"), asked_namespaces=None, deadline_seconds=1, request_batch_size=1
    )
    assert yaml.safe_load(content)["namespaces"] == ["all"]


@pytest.mark.parametrize(("deadline", "timeout"), [(120, 90), (2, 1), (1, 1), (0.1, 1), (0, 1), (3600, 2700)])
def test_kais_own_timeout_comes_before_the_deadline_and_is_never_zero(deadline: float, timeout: int) -> None:
    assert request_timeout_seconds(deadline) == timeout


# Letters that YAML forbids bare, or that end a line in it: a file that holds one would be ignored by kai in silence.
ODD = "\x7f\x80\x85\x9f\xa0\u2028\u2029\ufeff\ufffe\uffff"
NAMES = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(ODD), min_size=1, max_size=60)


@given(NAMES, st.sampled_from(["1e3", "true", "null", "0x1f", "2020-01-01", "12"]))
def test_names_come_through_yaml_unchanged(name: str, namespace: str) -> None:
    content = render_kai_config(
        cluster_name=name,
        kubeconfig=Path('/a b/"k'),
        asked_namespaces=frozenset({namespace}),
        deadline_seconds=120,
        request_batch_size=500,
    )
    assert not set(ODD.replace("\xa0", "")) & set(content.decode())
    for parsed in (yaml.safe_load(content), orjson.loads(content)):
        assert parsed["kubeconfig"] == {"path": '/a b/"k', "cluster": name}
        assert parsed["namespaces"] == [namespace]


@given(credential=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), ca=st.none() | st.text(max_size=50))
def test_whatever_is_pasted_adds_no_key(credential: str, ca: str | None) -> None:
    parsed = kubeconfig(config(credential=credential, ca=ca and ca.encode("utf-8", "replace").decode()))
    assert set(parsed) == {"apiVersion", "kind", "clusters", "users", "contexts", "current-context", "preferences"}
    users = parsed["users"]
    assert isinstance(users, list)
    assert [set(user["user"]) for user in users] == [{"token"}]
