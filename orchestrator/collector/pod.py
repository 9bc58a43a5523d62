"""The pod that the service runs in, and the cluster around it, as Kubernetes tells every pod.

Where things are is Kubernetes' own contract, the one that client-go's `rest.InClusterConfig` follows: the variables
KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, and the files `token` and `ca.crt` of the service account. The
token is good for about an hour, and the kubelet puts another into the file before that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from pydantic import SecretStr

from orchestrator.kai.reasons import ReasonCode
from orchestrator.model.cluster import ClusterConfig, CredentialType
from orchestrator.model.run import Reason

SERVICE_ACCOUNT_DIR: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class NotInKubernetes(Exception):
    """This process runs in no pod, or in one without a service account; the text says what to do."""


class ServiceAccountUnreadable(Exception):
    """The files of the service account cannot be read just now."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.reason = Reason(
            "service_account_unreadable",
            f"The service account of the service's own pod cannot be read: {problem}.",
            "Mount the service account's token into the pod (automountServiceAccountToken: true).",
        )


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of the cluster that is to be known as `cluster_name`, with its API server's URL and the directory of its
    service account."""

    cluster_name: str
    server: str
    directory: Path

    @classmethod
    def around(cls, cluster_name: str, environ: Mapping[str, str], directory: Path = SERVICE_ACCOUNT_DIR) -> Self:
        """The pod around this process. Reads its files once, as each look will. Raises NotInKubernetes."""
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise NotInKubernetes(
                "ORCHESTRATOR_OWN_CLUSTER_NAME is set, but this is no pod in Kubernetes (KUBERNETES_SERVICE_HOST and "
                "KUBERNETES_SERVICE_PORT are not set); unset it"
            )
        pod = cls(cluster_name, f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}", directory)
        try:
            pod.read("token")
            pod.read("ca.crt")
        except ServiceAccountUnreadable as problem:
            raise NotInKubernetes(
                f"ORCHESTRATOR_OWN_CLUSTER_NAME is set, but the pod's service account cannot be read: {problem}; "
                "mount it (automountServiceAccountToken: true), or unset the variable"
            ) from None
        return pod

    def complete(self, stored: ClusterConfig) -> ClusterConfig:
        """The config to look with: what is stored says only which namespaces; where the token goes, it does not say.

        Blocks for two small files. Raises ServiceAccountUnreadable.
        """
        return replace(
            stored,
            server=self.server,
            cluster_certificate=self.read("ca.crt"),
            client_certificate=None,
            credential_type=CredentialType.TOKEN,
            credential=SecretStr(self.read("token")),
        )

    def read(self, name: str) -> str:
        """What a file of the service account holds now. Raises ServiceAccountUnreadable."""
        path = self.directory / name
        try:
            text = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ServiceAccountUnreadable(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ServiceAccountUnreadable(f"{path}: not text in UTF-8") from None
        if not text:
            raise ServiceAccountUnreadable(f"{path}: empty")
        return text


def as_told_in_the_pod(reason: Reason | None) -> Reason | None:
    """The reason of a look at the own cluster: nobody gave it a credential, so nobody is told to give another."""
    if reason is None or reason.code != ReasonCode.UNAUTHORIZED:
        return reason
    return replace(
        reason,
        remedy="The credential is that of the service's own pod: check that its service account still exists, and "
        "start the pod again, so that the token is mounted anew.",
    )
