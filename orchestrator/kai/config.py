"""kai's own configuration file: one form that kai 0.2.1 to 0.5.0 all read alike."""

from collections.abc import Set
from pathlib import Path
from typing import Final

from orchestrator.kai.kubeconfig import as_yaml
from orchestrator.model.cluster import ALL_NAMESPACES

# kai ignores, in silence, a file given with -c whose name does not end in .yaml, .yml or .json.
FILE_NAME: Final = "kai.yaml"

DEFAULT_BATCH_SIZE: Final = 500


def render_kai_config(
    *,
    cluster_name: str,
    kubeconfig: Path,
    asked_namespaces: Set[str] | None,
    deadline_seconds: float,
    request_batch_size: int = DEFAULT_BATCH_SIZE,
) -> bytes:
    """The configuration of one look; `asked_namespaces` is None for all of them.

    There is no `anchore` section: with one, even an empty one, kai posts reports away. Each namespace stands once,
    since kai reports one that is listed twice twice.
    """
    timeout = request_timeout_seconds(deadline_seconds)
    return as_yaml(
        {
            "kubeconfig": {"path": str(kubeconfig), "cluster": cluster_name},
            "namespaces": [ALL_NAMESPACES] if asked_namespaces is None else sorted(asked_namespaces),
            "output": "json",
            "mode": "adhoc",
            "quiet": False,
            "verbose-inventory-reports": True,
            "log": {"structured": True, "level": "error"},
            # 0.2.x knows the first of these only; since 0.3 it wins over the second where it is there.
            "kubernetes-request-timeout-seconds": timeout,
            "kubernetes": {"request-timeout-seconds": timeout, "request-batch-size": request_batch_size},
        }
    )


def request_timeout_seconds(deadline_seconds: float) -> int:
    """kai's own timeout for a look that is ended at the deadline: three quarters of it, at least a second.

    Smaller than the deadline, so that kai's message about what hung comes before it is killed. Never 0, with which
    kai waits for ever.
    """
    return max(1, int(deadline_seconds * 0.75))
