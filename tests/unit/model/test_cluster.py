"""What a cluster config may hold."""

import base64
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from orchestrator.model.cluster import ClusterConfig, CredentialType, check_cluster
from orchestrator.model.fields import InvalidField

GOOD = ClusterConfig(
    cluster_name="docker-desktop-token",
    server="https://kubernetes.docker.internal:6443",
    cluster_certificate="abc",
    client_certificate=None,
    credential_type=CredentialType.TOKEN,
    credential=SecretStr("jkl"),
    namespaces=("all",),
)


def test_documented_examples_are_accepted() -> None:
    assert check_cluster(GOOD) is GOOD
    check_cluster(replace(GOOD, credential_type=CredentialType.PRIVATE_KEY, client_certificate="def"))


@pytest.mark.parametrize(
    "server",
    ["https://10.0.0.1:6443", "https://[2001:db8::1]:443/", "https://rancher.example/k8s/clusters/c-1", "HTTPS://k8s"],
)
def test_servers_that_are_accepted(server: str) -> None:
    check_cluster(replace(GOOD, server=server))


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("cluster_name", {"cluster_name": ""}),
        ("cluster_name", {"cluster_name": " a"}),
        ("cluster_name", {"cluster_name": "a/b"}),
        ("cluster_name", {"cluster_name": ".."}),
        ("cluster_name", {"cluster_name": "a\nb"}),
        ("cluster_name", {"cluster_name": "a\ud800"}),
        ("cluster_name", {"cluster_name": "x" * 254}),
        ("inventory_type", {"inventory_type": "ecs"}),
        ("cluster_config.cluster_server", {"server": "http://k8s"}),
        ("cluster_config.cluster_server", {"server": "k8s:6443"}),
        ("cluster_config.cluster_server", {"server": "https://"}),
        ("cluster_config.cluster_server", {"server": "https://user:password@k8s"}),
        ("cluster_config.cluster_server", {"server": "https://@k8s"}),
        ("cluster_config.cluster_server", {"server": "https://k8s?a=b"}),
        ("cluster_config.cluster_server", {"server": "https://k8s/#"}),
        ("cluster_config.cluster_server", {"server": "https://k8s:99999"}),
        ("cluster_config.cluster_server", {"server": "https://k8s:port"}),
        ("cluster_config.cluster_server", {"server": "https://[::1"}),
        ("cluster_config.cluster_server", {"server": "https://k8s /"}),
        ("cluster_config.cluster_server", {"server": "https://evil\\@k8s"}),
        ("cluster_config.cluster_server", {"server": "https://" + "x" * 3000}),
        ("cluster_config.credential", {"credential": SecretStr("  ")}),
        ("cluster_config.credential", {"credential": SecretStr("a\0b")}),
        ("cluster_config.cluster_certificate", {"cluster_certificate": "x" * 300_000}),
        ("cluster_config.client_certificate", {"credential_type": CredentialType.PRIVATE_KEY}),
        ("cluster_config.namespaces[1]", {"namespaces": ("a", "")}),
        ("cluster_config.namespaces[0]", {"namespaces": ("A",)}),
        ("cluster_config.namespaces[0]", {"namespaces": ("a/b",)}),
        ("cluster_config.namespaces[0]", {"namespaces": ("-a",)}),
        ("cluster_config.namespaces[0]", {"namespaces": ("x" * 64,)}),
        ("cluster_config.namespaces[0]", {"namespaces": ("a\n",)}),
    ],
)
def test_bad_value_is_refused_by_the_name_of_its_field(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidField) as caught:
        check_cluster(replace(GOOD, **changes))
    assert caught.value.field == field
    assert "jkl" not in str(caught.value)


KEY = "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("field", ["cluster_certificate", "client_certificate"])
@pytest.mark.parametrize("text", [KEY, CERTIFICATE + KEY])
@pytest.mark.parametrize("encoded", [False, True])
def test_private_key_among_certificates_is_refused(field: str, text: str, encoded: bool) -> None:
    value = base64.encodebytes(text.encode()).decode() if encoded else text
    with pytest.raises(InvalidField, match="belongs into credential") as caught:
        check_cluster(replace(GOOD, **{field: value}))  # type: ignore[arg-type]
    assert caught.value.field == f"cluster_config.{field}"
    assert "c2VjcmV0" not in str(caught.value)


@given(st.text())
def test_any_server_is_accepted_or_refused_by_its_name(server: str) -> None:
    with suppress(InvalidField):
        check_cluster(replace(GOOD, server=server))


@pytest.mark.parametrize("namespaces", [(), ("all",), ("a", "all")])
def test_every_namespace_is_asked_for(namespaces: tuple[str, ...]) -> None:
    assert replace(GOOD, namespaces=namespaces).asked_namespaces is None


def test_named_namespaces_are_asked_for_once() -> None:
    assert replace(GOOD, namespaces=("a", "b", "a")).asked_namespaces == {"a", "b"}


def test_credential_may_go_only_where_it_went() -> None:
    assert GOOD.same_destination(replace(GOOD, namespaces=(), credential=SecretStr("other")))
    for changes in (
        {"server": "https://evil"},
        {"cluster_certificate": None},
        {"client_certificate": "def"},
        {"credential_type": CredentialType.PRIVATE_KEY},
    ):
        assert not GOOD.same_destination(replace(GOOD, **changes))  # type: ignore[arg-type]


def test_credential_is_in_no_representation() -> None:
    assert "jkl" not in repr(GOOD)
    assert "jkl" not in str(GOOD)
