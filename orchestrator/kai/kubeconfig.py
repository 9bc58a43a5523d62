"""The kubeconfig that one look gives to kai."""

import re
from typing import Any

import orjson

from orchestrator.model.cluster import ClusterConfig, CredentialType
from orchestrator.model.credential import certificate_data, normalise_token

# One cluster, one user, one context: their names mean nothing outside the file.
_NAME = "look"

# JSON allows these raw inside a string, YAML 1.1 as Go reads it does not (a file that does not parse is ignored by
# kai in silence). None of them can stand outside a string.
_ODD_FOR_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def render_kubeconfig(config: ClusterConfig) -> bytes:
    """A complete kubeconfig: with anything missing, kai would fall back to another one, or to its own pod's account.

    Holds data only: nothing that runs a program (`exec`, `auth-provider`), reads a file (`tokenFile`, paths) or
    sends the credential through somebody else (`proxy-url`).
    """
    cluster = {"server": config.server}
    if config.cluster_certificate is not None and config.cluster_certificate.strip():
        cluster["certificate-authority-data"] = certificate_data(config.cluster_certificate)
    return as_yaml(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": _NAME, "cluster": cluster}],
            "users": [{"name": _NAME, "user": _user(config)}],
            "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME}}],
            "current-context": _NAME,
            "preferences": {},
        }
    )


def _user(config: ClusterConfig) -> dict[str, str]:
    credential = config.credential.get_secret_value()
    if config.credential_type is CredentialType.TOKEN:
        return {"token": normalise_token(credential)}
    if config.credential_type is CredentialType.SERVICE_ACCOUNT:
        # A kubeconfig without a credential is one that kai would complete by itself.
        raise ValueError("the pod's token has to be put in first")
    return {
        "client-certificate-data": certificate_data(config.client_certificate or ""),
        "client-key-data": certificate_data(credential),
    }


def as_yaml(document: dict[str, Any]) -> bytes:
    """The document as YAML in its JSON form: every string is quoted, so that none becomes a number or a date."""
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    return _ODD_FOR_YAML.sub(lambda match: f"\\u{ord(match.group()):04x}", text).encode()
