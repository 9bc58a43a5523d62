"""Clusters for bin/fake-kai, and runners for them."""

import base64
import os
import sys
from pathlib import Path
from typing import Any

import anyio.to_thread
from pydantic import SecretStr

from orchestrator.kai.runner import KaiRunner
from orchestrator.kai.workdir import Workdirs
from orchestrator.model.cluster import ClusterConfig, CredentialType

FAKE_KAI = Path(__file__).parents[3] / "bin" / "fake-kai"

# fake-kai's interpreter is `python3` on PATH: this one, without a version manager's detour.
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

CANARY = "c4n4ryS3cretThatMustNotShow"

_PEM = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"
_KEY = f"-----BEGIN PRIVATE KEY-----\nTUlJ{CANARY}\n-----END PRIVATE KEY-----\n"


def cluster(
    scenario: str,
    *,
    name: str = "prod",
    server: str | None = None,
    kind: CredentialType = CredentialType.TOKEN,
    namespaces: tuple[str, ...] = (),
) -> ClusterConfig:
    """A cluster at which fake-kai plays the scenario."""
    with_key = kind is CredentialType.PRIVATE_KEY
    return ClusterConfig(
        cluster_name=name,
        server=server or f"https://{scenario}.fake-kai.test:6443",
        cluster_certificate=base64.b64encode(_PEM.encode()).decode(),
        client_certificate=_PEM if with_key else None,
        credential_type=kind,
        credential=SecretStr(_KEY if with_key else CANARY),
        namespaces=namespaces,
    )


async def make_runner(workdirs: Workdirs, **settings: Any) -> KaiRunner:
    """A runner of fake-kai; `settings` replace its arguments."""
    arguments: dict[str, Any] = {"binary": str(FAKE_KAI), "path_env": PATH, "timeout_seconds": 60, **settings}
    return await anyio.to_thread.run_sync(lambda: KaiRunner(workdirs=workdirs, **arguments))
