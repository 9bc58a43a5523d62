"""Wires everything and runs it: the one module that knows all others, and the order in which they start and stop."""

import os
import signal
import sys
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from socket import socket
from types import FrameType
from typing import Final, NoReturn

import anyio
import structlog
from starlette.types import ASGIApp

from orchestrator import __version__
from orchestrator.api.app import create_api, create_probes
from orchestrator.catalog.access import ADMIN, Access
from orchestrator.catalog.bootstrap import OwnCluster, UnusablePassword, ensure_admin, ensure_own_cluster
from orchestrator.catalog.clusters import ClusterCatalog
from orchestrator.catalog.inventory import InventoryCatalog
from orchestrator.catalog.passwords import Passwords
from orchestrator.catalog.reports import ReportCatalog
from orchestrator.catalog.sources import SourceCatalog
from orchestrator.catalog.system import System
from orchestrator.collector.ledger import Ledger
from orchestrator.collector.look import Looker
from orchestrator.collector.loop import CollectorLoop, Pace
from orchestrator.collector.pod import SERVICE_ACCOUNT_DIR, NotInKubernetes, Pod
from orchestrator.config_file import SettingsError
from orchestrator.demo import add_demo_clusters, banner, demo_settings
from orchestrator.instance import (
    StartRefused,
    is_loopback,
    listen,
    make_data_dir,
    only_service_in,
    url_of,
    watch_children_without_threads,
)
from orchestrator.kai.process import forbid_core_dumps, pdeathsig_wrapper
from orchestrator.kai.runner import KaiRunner
from orchestrator.kai.workdir import Workdirs, default_parent
from orchestrator.lifetime import Stop, serve, stop_signals
from orchestrator.model.instant import HOUR, SECOND
from orchestrator.model.network import NetworkRules
from orchestrator.server import make_server, raise_file_limit
from orchestrator.settings import Settings
from orchestrator.store.accounts import ensure_account
from orchestrator.store.claims import hasten, release_all
from orchestrator.store.database import Database, DatabaseUnavailable, SchemaMismatch
from orchestrator.store.ingest import IngestRules
from orchestrator.store.postgres import UnusableDatabase, UnusableUrl
from orchestrator.store.sealing import Sealer, SealingKeyError, open_sealer
from orchestrator.store.sweep import SweepRules
from orchestrator.tls import ServerTls

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

SEALING_KEY_FILE: Final = "sealing.key"
PASSWORD_FILE: Final = "admin-password"  # noqa: S105 - the name of a file

# Of the service's own environment, all that kai sees: who sets these for the service means its children.
PASSED_TO_KAI: Final = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")

# Why a start is refused; their text says what to do.
_REFUSALS: Final = (
    SettingsError,
    StartRefused,
    NotInKubernetes,
    UnusableUrl,
    UnusableDatabase,
    SchemaMismatch,
    SealingKeyError,
    UnusablePassword,
)

_DATABASE_PATIENCE_SECONDS = 30.0

_log = structlog.get_logger(__name__)


def run(settings: Settings, *, demo: bool, warnings: list[str]) -> int:
    """Run the service until a signal ends it. Returns the exit code: 0 when it was told to stop, 2 when it cannot
    start as configured, 1 when the database does not answer. The death of the loop comes through as an exception."""
    for number in stop_signals():
        signal.signal(number, _leave_at_once)
    for warning in warnings:
        _log.warning(warning)
    try:
        with ExitStack() as stack:
            return _run(demo_settings(settings) if demo else settings, stack, demo=demo)
    except _REFUSALS as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USAGE
    except OSError as error:
        sys.stderr.write(f"cannot start: {error}\n")
        return EXIT_USAGE
    except DatabaseUnavailable as error:
        sys.stderr.write(f"the database cannot be used: {error}\n")
        return EXIT_FAILED


def _leave_at_once(_number: int, _frame: FrameType | None) -> NoReturn:
    """Before the event loop has taken over the signals: as process 1 of a container, nothing else would end us."""
    raise SystemExit(0)


def _run(settings: Settings, stack: ExitStack, *, demo: bool) -> int:
    """Start in the order in which each step needs the ones before; `stack` ends them the other way round."""
    forbid_core_dumps()
    os.umask(0o077)
    watch_children_without_threads()
    tls = _open_tls(settings)
    pod = _own_pod(settings)
    db = Database(settings.database_url)
    listener = _take_place(settings, db, stack)
    _migrate(db)
    # Due times that a longer interval had set must not outlast it.
    db.writing(partial(hasten, db, interval=settings.report_interval_sec * SECOND))
    sealer = db.writing(
        partial(open_sealer, db, keys=settings.sealing_keys, key_file=settings.data_dir / SEALING_KEY_FILE)
    )
    if demo:
        db.writing(partial(_add_demo_clusters, db, sealer))
    if pod is not None:
        _add_own_cluster(db, sealer, pod)
    collector = None
    if settings.role != "api":
        collector = _open_collector(settings, db, sealer, pod, stack, demo=demo)
    stop = Stop()
    api = _open_api(settings, db, sealer, collector, stop)
    if _answers(settings) and tls is None and not is_loopback(listener):
        _warn_of_plain_http(settings)
    server = make_server(api, drain_seconds=settings.drain_sec, file_limit=raise_file_limit(), tls=tls)
    url = url_of(listener, scheme="https" if tls else "http")

    def announce() -> None:
        kai = settings.kai_binary if collector else None
        _log.info("listening", url=url, role=settings.role, kai=kai, version=__version__)
        if demo:
            password = None if settings.admin_password else settings.data_dir / PASSWORD_FILE
            sys.stdout.write(banner(url=url, username=ADMIN, password_file=password))
            sys.stdout.flush()

    anyio.run(
        partial(serve, collector=collector, server=server, listener=listener, tls=tls, stop=stop, announce=announce)
    )
    return 0


def _answers(settings: Settings) -> bool:
    """Whether this process has users who sign in."""
    return settings.role != "collector"


def _take_place(settings: Settings, db: Database, stack: ExitStack) -> socket:
    """Make sure of the data directory and of the port to listen on."""
    if db.is_sqlite or (_answers(settings) and settings.admin_password is None):
        make_data_dir(settings.data_dir)
    if db.is_sqlite:
        stack.enter_context(only_service_in(settings.data_dir))
    listener = stack.enter_context(listen(settings.host, settings.port))
    stack.enter_context(closing(db))
    return listener


def _migrate(db: Database) -> None:
    """Bring the schema up to date, waiting for a database server that starts at the same time as we do; on SQLite,
    which we have to ourselves, also put in order what a killed service left."""
    deadline = time.monotonic() + (0 if db.is_sqlite else _DATABASE_PATIENCE_SECONDS)
    while True:
        try:
            applied = db.migrate()
        except DatabaseUnavailable as error:
            if time.monotonic() >= deadline:
                raise
            _log.warning("the database cannot be used yet; waiting for it", error=str(error))
            time.sleep(1)
        else:
            if applied:
                _log.info("database migrated", migrations=applied)
            break
    if db.is_sqlite and (released := db.writing(partial(release_all, db))):
        _log.info("the last run of the service was killed; its looks are done again", looks=released)


def _add_demo_clusters(db: Database, sealer: Sealer) -> None:
    add_demo_clusters(db, sealer, ensure_account(db, ADMIN).id)


def _own_pod(settings: Settings) -> Pod | None:
    if settings.own_cluster_name is None:
        return None
    return Pod.around(settings.own_cluster_name, os.environ, SERVICE_ACCOUNT_DIR)


def _add_own_cluster(db: Database, sealer: Sealer, pod: Pod) -> None:
    unit = partial(ensure_own_cluster, db, sealer, cluster_name=pod.cluster_name, server=pod.server)
    if db.writing(unit) is not OwnCluster.TAKEN:
        return
    _log.warning(
        "the own cluster is not looked at with the pod's service account: a cluster of that name is stored already",
        cluster=pod.cluster_name,
        remedy="delete that cluster and start again, or give the own cluster another name",
    )


def _make_runner(settings: Settings, workdirs: Workdirs, path: str) -> KaiRunner:
    return KaiRunner(
        binary=settings.kai_binary,
        workdirs=workdirs,
        timeout_seconds=float(settings.kai_timeout_sec),
        network_rules=_network_rules(settings),
        path_env=path,
        stdout_limit_bytes=settings.kai_output_limit_bytes,
        request_batch_size=settings.kai_request_batch_size,
        extra_env={name: value for name, value in os.environ.items() if value and name.upper() in PASSED_TO_KAI},
    )


def _network_rules(settings: Settings) -> NetworkRules:
    return NetworkRules(allowed=settings.allowed_networks, denied=settings.denied_networks)


def _open_tls(settings: Settings) -> ServerTls | None:
    if settings.tls_certificate_file is None or settings.tls_key_file is None:
        return None
    return ServerTls(settings.tls_certificate_file, settings.tls_key_file, settings.tls_key_passphrase)


def _warn_of_kai(runner: KaiRunner, path: str) -> None:
    """Say at start what would otherwise be found out late."""
    problem = runner.describe()
    if problem is not None:
        _log.warning("no cluster can be looked at", problem=problem.message, remedy=problem.remedy)
    if pdeathsig_wrapper(path) is None:
        _log.warning(
            "setpriv is not installed: if this service is killed, a running kai goes on until the next start",
            remedy="install util-linux",
        )


def _warn_of_plain_http(settings: Settings) -> None:
    _log.warning(
        "passwords and tokens cross the network in plain HTTP",
        host=settings.host,
        remedy="set ORCHESTRATOR_TLS_CERTIFICATE_FILE and ORCHESTRATOR_TLS_KEY_FILE, put a proxy with TLS before "
        "the service, or listen on 127.0.0.1",
    )


def _open_collector(
    settings: Settings, db: Database, sealer: Sealer, pod: Pod | None, stack: ExitStack, *, demo: bool
) -> CollectorLoop:
    path = os.environ.get("PATH", os.defpath)
    if demo:
        # The stand-in is a script for the Python that runs us.
        path = os.pathsep.join([str(Path(sys.executable).parent), path])
    runner = _make_runner(settings, stack.enter_context(Workdirs.open(default_parent(os.environ))), path)
    _warn_of_kai(runner, path)
    return _make_collector(settings, db, sealer, runner, pod)


def _make_collector(
    settings: Settings, db: Database, sealer: Sealer, runner: KaiRunner, pod: Pod | None
) -> CollectorLoop:
    interval = settings.report_interval_sec * SECOND
    ledger = Ledger(
        db,
        interval=interval,
        lease=settings.lease_sec * SECOND,
        rules=IngestRules(
            retention=settings.retention,
            # Ticks are up to a tenth of the interval late, looks up to their timeout long: more is a missed look.
            pace=interval + interval // 10 + settings.kai_timeout_sec * SECOND,
            gap=settings.presence_gap_hours * HOUR,
        ),
        sweep_rules=SweepRules(
            retention=settings.retention,
            presence_days=settings.presence_days,
            run_history_days=settings.run_history_days,
            run_history_per_cluster=settings.run_history_per_cluster,
        ),
        own_cluster=pod.cluster_name if pod else None,
    )
    # Others look again when the lease is over, so a result is tried to be stored for less than that.
    looker = Looker(ledger, sealer, runner, storing_seconds=settings.lease_sec * 2 / 3, pod=pod)
    pace = Pace(max_concurrent_runs=settings.max_concurrent_runs, renew_seconds=settings.lease_sec / 3)
    return CollectorLoop(ledger, looker, pace)


def _open_api(settings: Settings, db: Database, sealer: Sealer, collector: CollectorLoop | None, stop: Stop) -> ASGIApp:
    # A process without a loop has none that could be dead, and leaves new work to others, who find it by themselves.
    alive = collector.alive if collector else lambda: True
    if not _answers(settings):
        return create_probes(System(db), service_version=__version__, loop_alive=alive)
    wake = collector.wake if collector else lambda: None
    passwords = Passwords()
    password_file = settings.data_dir / PASSWORD_FILE
    ensure_admin(db, passwords, password=settings.admin_password, password_file=password_file)
    if settings.admin_password is None and password_file.exists():
        _log.info("the password that was made for the user admin is in a file", file=str(password_file))
    interval = settings.report_interval_sec * SECOND
    retention = settings.retention
    return create_api(
        access=Access(db, passwords),
        clusters=ClusterCatalog(
            db,
            sealer,
            network_rules=_network_rules(settings),
            retention=retention,
            interval=interval,
            wake=wake,
        ),
        inventory=InventoryCatalog(db, retention=retention, interval=interval),
        reports=ReportCatalog(db, retention=retention, gap=settings.presence_gap_hours * HOUR),
        sources=SourceCatalog(db, sealer, retention=retention, interval=interval),
        system=System(db),
        service_version=__version__,
        loop_alive=alive,
        stopping=stop,
    )
