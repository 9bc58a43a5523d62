"""A cluster as it is configured for embedded mode: where its API server is, how to prove who asks, what to look at."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from orchestrator.model.encoding import pem_of
from orchestrator.model.fields import InvalidField

INVENTORY_TYPE: Final = "kubernetes"
ALL_NAMESPACES: Final = "all"

MAX_CLUSTER_NAME_CHARACTERS: Final = 253
MAX_CERTIFICATE_CHARACTERS: Final = 256 * 1024
MAX_CREDENTIAL_CHARACTERS: Final = 64 * 1024
MAX_SERVER_CHARACTERS: Final = 2048
MAX_NAMESPACES: Final = 10_000

# A Kubernetes namespace is a DNS label (RFC 1123): at most 63 characters.
_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class CredentialType(StrEnum):
    """How kai proves to the API server who it is."""

    TOKEN = "token"  # noqa: S105 - the name of a kind of credential
    PRIVATE_KEY = "private_key"
    SERVICE_ACCOUNT = "service_account"
    """That of the pod that the service itself runs in: its token is read at each look and never stored. No client can
    ask for it, and clients are told `token`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """One configured cluster, certificates and credential as they were given.

    `cluster_certificate` is the CA of the API server, None for the system's own. `client_certificate` goes with a
    private key. `namespaces` are as given: empty, or with `all` among them, means every namespace.
    Built through `check_cluster`, which holds the rules.
    """

    cluster_name: str
    server: str
    cluster_certificate: str | None
    client_certificate: str | None
    credential_type: CredentialType
    credential: SecretStr = field(repr=False)
    namespaces: tuple[str, ...] = ()
    inventory_type: str = INVENTORY_TYPE

    @property
    def is_own(self) -> bool:
        """Whether it is the cluster that the service runs in, looked at with its pod's service account."""
        return self.credential_type is CredentialType.SERVICE_ACCOUNT

    @property
    def asked_namespaces(self) -> frozenset[str] | None:
        """The namespaces to look at, None for every one."""
        return asked_namespaces(self.namespaces)

    def same_destination(self, other: "ClusterConfig") -> bool:
        """Whether a credential stored for `other` may go where this config sends it: the masked credential of a
        PUT is kept only then, or whoever may edit a cluster could have its token sent to a server of theirs."""
        return (
            self.server == other.server
            and self.cluster_certificate == other.cluster_certificate
            and self.client_certificate == other.client_certificate
            and self.credential_type == other.credential_type
        )


def asked_namespaces(namespaces: Collection[str]) -> frozenset[str] | None:
    """The namespaces that a list asks for, None for every one: an empty list, or `all` anywhere in it."""
    if not namespaces or ALL_NAMESPACES in namespaces:
        return None
    return frozenset(namespaces)


def check_cluster(config: ClusterConfig) -> ClusterConfig:
    """Return the config unchanged when its shape holds, else raise InvalidField.

    Contents that will not work (no PEM, an expired token) are not refused: see `credential.warnings_for`.
    """
    check_cluster_name(config.cluster_name)
    if config.inventory_type != INVENTORY_TYPE:
        raise InvalidField("inventory_type", f"expected {INVENTORY_TYPE!r}, the only type there is")
    check_server(config.server)
    _check_certificate("cluster_config.cluster_certificate", config.cluster_certificate)
    _check_certificate("cluster_config.client_certificate", config.client_certificate)
    credential = config.credential.get_secret_value()
    if not credential.strip():
        raise InvalidField("cluster_config.credential", "expected a token or a private key, got an empty value")
    _check_text("cluster_config.credential", credential, MAX_CREDENTIAL_CHARACTERS)
    if config.credential_type is CredentialType.PRIVATE_KEY and not (config.client_certificate or "").strip():
        raise InvalidField(
            "cluster_config.client_certificate",
            "required when credential_type is private_key: give the client's certificate (base64 PEM)",
        )
    check_namespaces(config.namespaces)
    return config


def check_cluster_name(name: str) -> None:
    """Raise InvalidField unless the name can stand in a URL's path, a context and a YAML file."""
    if not name or name != name.strip():
        raise InvalidField("cluster_name", "expected a name without white space at its ends")
    if name in {".", ".."} or "/" in name:
        raise InvalidField("cluster_name", "expected a name without '/': it is a part of the URL and of the context")
    if len(name) > MAX_CLUSTER_NAME_CHARACTERS:
        raise InvalidField("cluster_name", f"expected at most {MAX_CLUSTER_NAME_CHARACTERS} characters")
    if _UNPRINTABLE.search(name):
        raise InvalidField("cluster_name", "expected printable characters only")


def check_server(server: str) -> None:
    """Raise InvalidField unless the address is an https URL that carries nothing but host, port and path."""
    name = "cluster_config.cluster_server"
    if len(server) > MAX_SERVER_CHARACTERS or re.search(r"[^\x21-\x7e]|[\\\"<>^`{|}]", server):
        raise InvalidField(name, "expected an https URL in ASCII, without white space")
    url, host = _split_url(server, name)
    if url.scheme != "https" or not server.lower().startswith("https://"):
        raise InvalidField(name, "expected an https URL such as https://10.0.0.1:6443 (over http a token is readable)")
    if not host:
        raise InvalidField(name, "expected a host after https://")
    if url.username is not None or url.password is not None or "@" in url.netloc:
        raise InvalidField(name, "expected no user or password in the URL: they belong into credential")
    if url.query or url.fragment or "?" in server or "#" in server:
        raise InvalidField(name, "expected no query and no fragment in the URL")


def _split_url(server: str, name: str) -> tuple[SplitResult, str | None]:
    try:
        url = urlsplit(server)
        _ = url.port
    except ValueError as error:
        raise InvalidField(name, "expected a valid https URL: its host or port cannot be read") from error
    return url, url.hostname


def check_namespaces(namespaces: tuple[str, ...]) -> None:
    """Raise InvalidField unless each is `all` or a DNS-1123 label: kai takes "" for the whole cluster at once."""
    if len(namespaces) > MAX_NAMESPACES:
        raise InvalidField("cluster_config.namespaces", f"expected at most {MAX_NAMESPACES} entries")
    for index, namespace in enumerate(namespaces):
        if not _DNS_LABEL.fullmatch(namespace):
            raise InvalidField(
                f"cluster_config.namespaces[{index}]",
                "expected 'all' or a namespace's name: lower-case letters, digits and '-', at most 63 characters",
            )


def _check_certificate(name: str, value: str | None) -> None:
    _check_text(name, value, MAX_CERTIFICATE_CHARACTERS)
    # Certificates are stored as they are and given back to whoever asks: no key may hide among them.
    if value is not None and b"PRIVATE KEY-----" in (pem_of(value) or b""):
        raise InvalidField(name, "expected certificates only: it holds a private key, which belongs into credential")


def _check_text(name: str, value: str | None, limit: int) -> None:
    if value is None:
        return
    if len(value) > limit:
        raise InvalidField(name, f"expected at most {limit} characters")
    if "\x00" in value or re.search(r"[\ud800-\udfff]", value):
        raise InvalidField(name, "expected text without NUL and without lone surrogates")
