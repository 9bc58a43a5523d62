"""The demo: three clusters that a stand-in for kai plays, one of them broken on purpose, on an inventory of its own."""

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from orchestrator.config_file import SettingsError
from orchestrator.model.cluster import ClusterConfig, CredentialType
from orchestrator.settings import Settings
from orchestrator.store import clusters
from orchestrator.store.database import Database
from orchestrator.store.sealing import Sealer

STAND_IN = Path(__file__).parent.parent / "bin" / "fake-kai"

# Short, so that one sees the list being refreshed.
INTERVAL_SECONDS = 15

BROKEN_CLUSTER = "edge-lyon"
CHANGING_CLUSTER = "shop-staging"

# What the stand-in plays is chosen by the host name of the API server: see `bin/fake-kai stand-in`.
_SERVERS = {
    "shop-production": "https://ok.seed-production.delay-250ms.fake-kai.test:6443",
    CHANGING_CLUSTER: "https://churn.period-60s.seed-staging.fake-kai.test:6443",
    BROKEN_CLUSTER: "https://forbidden-namespaces.fake-kai.test:6443",
}

# The certificate of a CA whose key nobody has: the stand-in wants to see one, as kai does.
_CA_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBPDCB5KADAgECAgEBMAoGCCqGSM49BAMCMB0xGzAZBgNVBAMMEmRlbW8ta3Vi
ZXJuZXRlcy1jYTAgFw0yNDAxMDEwMDAwMDBaGA8yMTI0MDEwMTAwMDAwMFowHTEb
MBkGA1UEAwwSZGVtby1rdWJlcm5ldGVzLWNhMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEBMZOecnEzCTyA2DE0ng8dR9mJ26EwlYEQ+HFhHHxFNAndwqXlfW2Om8C
pvwwfTW5n73wKuUrfCYALjnZlqZZ6KMTMBEwDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNHADBEAiA83GH+zhwB8Aks4R8EuSOoRRdoK93VwHh/cI2c7e6e9wIg
CoMSkJrGHVR7Men+vuXtAiwffQ3TIHCTRvCmcF7FDyQ=
-----END CERTIFICATE-----
"""


def demo_settings(settings: Settings) -> Settings:
    """The settings of a demo: `demo` in the data directory, the stand-in as kai, a short interval unless one is set.

    Raises SettingsError where a database was chosen, which might be a real one, or the stand-in is not there.
    """
    if settings.db_host or "database_url" in settings.model_fields_set:
        raise SettingsError(
            "--demo keeps a database of its own: unset ORCHESTRATOR_DATABASE_URL and ANCHORE_DB_*, or leave --demo out"
        )
    if not STAND_IN.is_file():
        raise SettingsError(f"--demo needs {STAND_IN}, which is not there; run it from a checkout")
    changes: dict[str, Any] = {"data_dir": settings.data_dir / "demo", "kai_binary": str(STAND_IN)}
    changes["own_cluster_name"] = None
    if "report_interval_sec" not in settings.model_fields_set:
        changes["report_interval_sec"] = INTERVAL_SECONDS
    return Settings.model_validate(settings.model_dump(exclude_unset=True) | changes)


def add_demo_clusters(db: Database, sealer: Sealer, account_id: int) -> None:
    """Store the demo's clusters where they are missing; a unit of work that writes."""
    stored = {each.config.cluster_name for each in clusters.list_all(db, sealer, account_id)}
    for config in demo_clusters():
        if config.cluster_name not in stored:
            clusters.add(db, sealer, account_id, config)


def demo_clusters() -> list[ClusterConfig]:
    """Three clusters as the stand-in plays them."""
    return [
        ClusterConfig(
            cluster_name=name,
            server=server,
            cluster_certificate=_CA_CERTIFICATE,
            client_certificate=None,
            credential_type=CredentialType.TOKEN,
            credential=SecretStr("a-token-that-the-stand-in-takes"),
        )
        for name, server in _SERVERS.items()
    ]


def banner(*, url: str, username: str, password_file: Path | None) -> str:
    """What a newcomer is told once the demo runs. `password_file` holds the password that was made; there is none,
    or None is given, where whoever started the demo chose one, now or the first time."""
    password = password_file.read_text(encoding="utf-8").strip() if password_file and password_file.exists() else None
    user = f"{username}:{password}" if password else f'{username}:"$ANCHORE_ADMIN_PASSWORD"'
    api = f"{url}/v1/enterprise/inventories"
    return f"""
kai-orchestrator runs a demo at {url}
  Three made-up clusters. kai is played by a stand-in (bin/fake-kai): no real cluster is asked anything.
  user {username}, password {password or "as you set it in ANCHORE_ADMIN_PASSWORD"}

Worth trying in another terminal:
  1. Which images run where?
     curl -u {user} {api}
  2. What is wrong with {BROKEN_CLUSTER}, the cluster that is broken on purpose?
     curl -u {user} {api}/clusters/{BROKEN_CLUSTER}/status
  3. Look at {CHANGING_CLUSTER} now, and wait for what comes of it:
     curl -u {user} -X POST '{api}/clusters/{CHANGING_CLUSTER}/sync?wait=10'

Ctrl-C stops it; the next start goes on with the same data.
"""
