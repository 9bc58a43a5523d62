"""The configured clusters: making, reading, changing and deleting them. Who may look at one, and when: claims.py."""

from dataclasses import dataclass
from dataclasses import replace as with_changes
from enum import StrEnum
from typing import Any, Final

import orjson
from pydantic import SecretStr

from orchestrator.model.cluster import INVENTORY_TYPE, ClusterConfig, CredentialType
from orchestrator.model.fields import InvalidField
from orchestrator.model.instant import Instant
from orchestrator.model.retention import Retention
from orchestrator.model.run import EMBEDDED_SENDER, Run, RunResult, RunState
from orchestrator.store import tables
from orchestrator.store.database import Database
from orchestrator.store.presence import end_presence
from orchestrator.store.runs import end_run, find_run, insert_run, runs_by_id
from orchestrator.store.sealing import CREDENTIAL_FIELD, CannotUnseal, Sealer
from orchestrator.store.sources import lock_source

NO_CREDENTIAL: Final = SecretStr("")


class ClusterExists(Exception):
    """The account has a cluster of this name."""


class ClusterNotFound(Exception):
    """The account has no cluster of this name."""


class OwnCluster(StrEnum):
    """What storing the cluster that the service runs in came to."""

    ADDED = "added"
    MOVED = "moved"
    """Its API server has another address than before."""
    KEPT = "kept"
    TAKEN = "taken"
    """The account has another cluster of that name, with a credential of its own, which stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A configured cluster and how its newest looks ended.

    `last_run` is the newest run that ended in success or failure, `failures` counts the failed looks since
    `last_success_at`. `current_run_id` is the run in progress, `due_at` when the next one is due. A credential that
    cannot be unsealed is empty in `config`, and `credential_readable` False: one such row hides no other cluster.
    """

    id: int
    account_id: int
    config: ClusterConfig
    credential_readable: bool
    generation: int
    created_at: Instant
    updated_at: Instant
    due_at: Instant
    failures: int
    last_success_at: Instant | None
    last_run: Run | None
    last_success: Run | None
    current_run_id: int | None

    @property
    def running(self) -> bool:
        """Whether somebody is looking at it now."""
        return self.current_run_id is not None


def add(db: Database, sealer: Sealer, account_id: int, config: ClusterConfig) -> Cluster:
    """Store a new cluster, due at once. Raises ClusterExists."""
    now = db.now()
    query = (
        tables.Cluster.insert(
            account_id=account_id,
            inventory_type=config.inventory_type,
            cluster_name=config.cluster_name,
            credential=_seal(sealer, account_id, config),
            **_columns(config),
            generation=1,
            created_at=now,
            updated_at=now,
            due_at=now,
            claim=0,
            timeouts=0,
            failures=0,
        )
        .on_conflict_ignore()
        .returning(tables.Cluster.id)
    )
    if not list(db.run(query.tuples())):
        raise ClusterExists(config.cluster_name)
    return find(db, sealer, account_id, config.cluster_name)


def put_own(db: Database, sealer: Sealer, account_id: int, cluster_name: str, server: str) -> OwnCluster:
    """Store the cluster that the service runs in, without a credential, or bring its address up to date."""
    config = ClusterConfig(
        cluster_name=cluster_name,
        server=server,
        cluster_certificate=None,
        client_certificate=None,
        credential_type=CredentialType.SERVICE_ACCOUNT,
        credential=NO_CREDENTIAL,
    )
    try:
        add(db, sealer, account_id, config)
    except ClusterExists:
        row = _row(db, db.locking(_named(account_id, cluster_name)), cluster_name)
        if row["credential_type"] != CredentialType.SERVICE_ACCOUNT.value:
            return OwnCluster.TAKEN
        if row["server"] == server:
            return OwnCluster.KEPT
        now = db.now()
        change = tables.Cluster.update(
            server=server, generation=tables.Cluster.generation + 1, updated_at=now, due_at=now
        )
        db.run(change.where(tables.Cluster.id == row["id"]))
        return OwnCluster.MOVED
    return OwnCluster.ADDED


def list_all(db: Database, sealer: Sealer, account_id: int) -> list[Cluster]:
    """Every cluster of the account, by name."""
    query = tables.Cluster.select().where(tables.Cluster.account_id == account_id)
    rows = list(db.run(query.order_by(tables.Cluster.cluster_name).dicts()))
    return _clusters(db, sealer, rows)


def find(db: Database, sealer: Sealer, account_id: int, cluster_name: str) -> Cluster:
    """The cluster of this name. Raises ClusterNotFound."""
    return _clusters(db, sealer, [_row(db, _named(account_id, cluster_name), cluster_name)])[0]


def replace(
    db: Database,
    sealer: Sealer,
    account_id: int,
    config: ClusterConfig,
    *,
    keep_credential: bool,
    retention: Retention,
) -> Cluster:
    """Put another config in the place of the stored one and make the cluster due at once. Raises ClusterNotFound.

    The generation grows, so that a look begun before is not stored. With `keep_credential` the stored credential
    stays, which is refused with InvalidField where the new config would carry it elsewhere. Namespaces that are no
    longer looked at are no longer present, as if the cluster were deleted. Of the cluster that the service runs in
    nothing but the namespaces can be replaced: InvalidField for anything else.
    """
    source_id = lock_source(db, account_id, config.inventory_type, config.cluster_name)
    row = _row(db, db.locking(_named(account_id, config.cluster_name)), config.cluster_name)
    stored = _config(row, NO_CREDENTIAL)
    if stored.is_own:
        config = _still_own(config, stored, keep_credential=keep_credential)
    if keep_credential:
        if not config.same_destination(stored):
            raise InvalidField(
                "cluster_config.credential",
                "give the credential again: the stored one is kept only while server, certificates and "
                "credential_type stay the same",
            )
        credential = row["credential"]
    else:
        credential = _seal(sealer, account_id, config)
    now = db.now()
    db.run(
        tables.Cluster.update(
            credential=credential,
            **_columns(config),
            generation=tables.Cluster.generation + 1,
            updated_at=now,
            due_at=now,
            timeouts=0,
        ).where(tables.Cluster.id == row["id"])
    )
    if source_id is not None and config.asked_namespaces is not None:
        end_presence(
            db,
            source_id,
            sender=EMBEDDED_SENDER,
            except_namespaces=config.asked_namespaces,
            now=now,
            retention=retention,
        )
    return find(db, sealer, account_id, config.cluster_name)


def _still_own(config: ClusterConfig, stored: ClusterConfig, *, keep_credential: bool) -> ClusterConfig:
    """The config as one of the own cluster, for clients speak of its token. Raises InvalidField."""
    own = with_changes(config, credential_type=CredentialType.SERVICE_ACCOUNT)
    if not keep_credential or config.credential_type is not CredentialType.TOKEN or not own.same_destination(stored):
        raise InvalidField(
            "cluster_config",
            "this is the cluster that the service runs in, looked at with its own service account: only namespaces "
            "can be changed; send the rest as it is, with ****** as credential",
        )
    return own


def delete(db: Database, account_id: int, cluster_name: str, *, retention: Retention) -> None:
    """Delete the config; what embedded mode saw there is no longer present and ages out. Raises ClusterNotFound."""
    source_id = lock_source(db, account_id, INVENTORY_TYPE, cluster_name)
    row = _row(db, db.locking(_named(account_id, cluster_name)), cluster_name)
    now = db.now()
    db.run(tables.Cluster.delete().where(tables.Cluster.id == row["id"]))
    for run_id in (row["run_id"], row["queued_run_id"]):
        if run_id is not None:
            end_run(db, run_id, RunResult(state=RunState.DISCARDED), now)
    if source_id is not None:
        end_presence(db, source_id, sender=EMBEDDED_SENDER, except_namespaces=frozenset(), now=now, retention=retention)


def request_look(db: Database, account_id: int, cluster_name: str) -> Run:
    """Make the cluster due at once and return the queued run that the look will be. Raises ClusterNotFound.

    One that is queued already serves for this request too; one that is running does not, since it began before.
    """
    row = _row(db, db.locking(_named(account_id, cluster_name)), cluster_name)
    now = db.now()
    run_id = row["queued_run_id"]
    if run_id is None:
        run_id = insert_run(
            db,
            account_id=account_id,
            cluster_name=cluster_name,
            sender=EMBEDDED_SENDER,
            state=RunState.QUEUED,
            requested_at=now,
            cluster_id=row["id"],
        )
    change = tables.Cluster.update(queued_run_id=run_id, due_at=now)
    db.run(change.where(tables.Cluster.id == row["id"]))
    run = find_run(db, account_id, run_id)
    if run is None:
        raise RuntimeError(f"run {run_id} is queued and not stored")
    return run


def open_config(sealer: Sealer, row: dict[str, Any]) -> ClusterConfig:
    """The config in a row of the table, its credential unsealed. Raises CannotUnseal."""
    credential = sealer.open(
        bytes(row["credential"]),
        account_id=row["account_id"],
        cluster_name=row["cluster_name"],
        field=CREDENTIAL_FIELD,
    )
    return _config(row, credential)


def _config(row: dict[str, Any], credential: SecretStr) -> ClusterConfig:
    return ClusterConfig(
        cluster_name=row["cluster_name"],
        inventory_type=row["inventory_type"],
        server=row["server"],
        cluster_certificate=row["cluster_certificate"],
        client_certificate=row["client_certificate"],
        credential_type=CredentialType(row["credential_type"]),
        credential=credential,
        namespaces=tuple(orjson.loads(row["namespaces"])),
    )


def _readable_config(sealer: Sealer, row: dict[str, Any]) -> tuple[ClusterConfig, bool]:
    try:
        return open_config(sealer, row), True
    except CannotUnseal:
        return _config(row, NO_CREDENTIAL), False


def _seal(sealer: Sealer, account_id: int, config: ClusterConfig) -> bytes:
    return sealer.seal(
        config.credential, account_id=account_id, cluster_name=config.cluster_name, field=CREDENTIAL_FIELD
    )


def _columns(config: ClusterConfig) -> dict[str, Any]:
    return {
        "server": config.server,
        "cluster_certificate": config.cluster_certificate,
        "client_certificate": config.client_certificate,
        "credential_type": config.credential_type.value,
        "namespaces": orjson.dumps(config.namespaces).decode(),
    }


def _named(account_id: int, cluster_name: str) -> Any:
    return tables.Cluster.select().where(
        tables.Cluster.account_id == account_id,
        tables.Cluster.inventory_type == INVENTORY_TYPE,
        tables.Cluster.cluster_name == cluster_name,
    )


def _row(db: Database, query: Any, cluster_name: str) -> dict[str, Any]:
    rows = list(db.run(query.dicts()))
    if not rows:
        raise ClusterNotFound(cluster_name)
    row: dict[str, Any] = rows[0]
    return row


def _clusters(db: Database, sealer: Sealer, rows: list[dict[str, Any]]) -> list[Cluster]:
    ids = {row[key] for row in rows for key in ("last_run_id", "last_success_id") if row[key] is not None}
    runs = runs_by_id(db, ids)
    return [_cluster(row, *_readable_config(sealer, row), runs) for row in rows]


def _cluster(row: dict[str, Any], config: ClusterConfig, readable: bool, runs: dict[int, Run]) -> Cluster:
    return Cluster(
        id=row["id"],
        account_id=row["account_id"],
        config=config,
        credential_readable=readable,
        generation=row["generation"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        due_at=row["due_at"],
        failures=row["failures"],
        last_success_at=row["last_success_at"],
        last_run=runs.get(row["last_run_id"]),
        last_success=runs.get(row["last_success_id"]),
        current_run_id=row["run_id"],
    )
