"""One look at a cluster: from its config to its report, or to the reason why there is none."""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import structlog
from anyio import CancelScope, CapacityLimiter

from orchestrator.kai import reasons
from orchestrator.kai.binary import Binary, KaiVersion, find_binary, read_version
from orchestrator.kai.config import DEFAULT_BATCH_SIZE, FILE_NAME, render_kai_config
from orchestrator.kai.kubeconfig import render_kubeconfig
from orchestrator.kai.messages import reason_of_exit
from orchestrator.kai.process import (
    ChildResult,
    Ending,
    NotStarted,
    StartFailed,
    is_shortage,
    pdeathsig_wrapper,
    run_child,
)
from orchestrator.kai.reasons import ReasonCode
from orchestrator.kai.redaction import excerpt, redact
from orchestrator.kai.resolver import Resolver
from orchestrator.kai.workdir import Workdirs
from orchestrator.model.cluster import ClusterConfig
from orchestrator.model.network import NetworkRules, literal_address
from orchestrator.model.report import InventoryReport, MalformedReport, UnprovenReport, check_look, parse_report
from orchestrator.model.run import Reason, RunState

DEFAULT_TIMEOUT_SECONDS: Final = 120.0
DEFAULT_STDOUT_LIMIT_BYTES: Final = 64 * 1024 * 1024

_PROBE_SECONDS: Final = 10.0
_PROBE_AGAIN_SECONDS: Final = 600.0
_PROBE_LIMIT_BYTES: Final = 64 * 1024
_STDOUT_EXCERPT_BYTES: Final = 2 * 1024
_PARSED_IN_THREAD_BYTES: Final = 256 * 1024

_PASSED_ON: Final = frozenset({"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"})

_Args = TypeVarTuple("_Args")
_Result = TypeVar("_Result")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look. Either it succeeded and has a report, or it failed or timed out and has a reason.

    `exit_code` is negative for a signal and None where kai was not started or never seen to end. `seconds` is what
    the look took in all. The excerpts are redacted: of stdout up to 2 KiB, kept only where it was no report; of
    stderr up to 8 KiB from each end. `kai_version` is such as `0.5.0`, None when the binary does not tell.
    """

    outcome: RunState
    report: InventoryReport | None = field(repr=False)
    reason: Reason | None
    exit_code: int | None
    seconds: float
    stdout_excerpt: str
    stderr_excerpt: str
    kai_version: str | None


@dataclass(frozen=True, slots=True)
class _Probed:
    """What a binary said of its version; where it said nothing, it is asked again after a while."""

    binary: Binary
    version: KaiVersion | None
    at: float

    def due_again(self, now: float) -> bool:
        return self.version is None and now - self.at > _PROBE_AGAIN_SECONDS


class _LookFailed(Exception):
    """Ends a look before there is a report."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.code)
        self.reason = reason


@dataclass(slots=True)
class _Told:
    """What is known of a look so far."""

    result: ChildResult | None = None
    version: KaiVersion | None = None


class KaiRunner:
    """Looks at clusters with the kai binary, any number of them at a time.

    `binary` is a path, or a name that is searched for on `path_env` at each look. `extra_env` may hold proxy and CA
    variables, upper or lower case: ValueError for any other, since the clean environment is what keeps kai from
    looking at another cluster than the one it is told. Making a runner blocks for a few milliseconds.
    """

    def __init__(
        self,
        *,
        binary: str,
        workdirs: Workdirs,
        path_env: str,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        stdout_limit_bytes: int = DEFAULT_STDOUT_LIMIT_BYTES,
        request_batch_size: int = DEFAULT_BATCH_SIZE,
        network_rules: NetworkRules | None = None,
        extra_env: Mapping[str, str] | None = None,
    ) -> None:
        self._binary = binary
        self._workdirs = workdirs
        self._path_env = path_env
        self._timeout_seconds = timeout_seconds
        self._stdout_limit = stdout_limit_bytes
        self._batch_size = request_batch_size
        self._network_rules = network_rules or NetworkRules()
        self._extra_env = dict(extra_env or {})
        for name in self._extra_env:
            if name.upper() not in _PASSED_ON:
                raise ValueError(f"{name}: expected one of {', '.join(sorted(_PASSED_ON))}")
        self._wrapper = pdeathsig_wrapper(path_env) or []
        self._threads = CapacityLimiter(8)
        self._resolver = Resolver()
        self._probing = anyio.Lock()
        self._probed: _Probed | None = None

    async def look(self, config: ClusterConfig, *, give_way: anyio.Event | None = None) -> Look:
        """Look at the cluster once. Whatever goes wrong is in the answer; only cancellation is raised.

        Ends a few seconds after the timeout at the latest, or once `give_way` is set: kai, its files and its children
        are gone by then.
        """
        begun = anyio.current_time()
        told = _Told()
        report, reason = None, None
        try:
            report = await self._report(config, told, give_way)
        except _LookFailed as failure:
            reason = failure.reason
        seconds = anyio.current_time() - begun
        if report is not None and told.result is not None and not told.result.stderr.total:
            return _look(config, told, report, None, seconds)
        # Redaction takes its time.
        return await self._in_thread(_look, config, told, report, reason, seconds)

    async def _report(self, config: ClusterConfig, told: _Told, give_way: anyio.Event | None) -> InventoryReport:
        """The whole of a look: check the address, write the files, run kai, read its report. Raises _LookFailed."""
        binary = await self._in_thread(find_binary, self._binary, self._path_env)
        if isinstance(binary, Reason):
            raise _LookFailed(binary)
        await self._check_address(config.server)
        told.version = await self._version_of(binary)
        workdir = await self._in_thread(self._prepare, config)
        try:
            result = told.result = await self._run(
                [*self._wrapper, binary.path, "-c", str(workdir / FILE_NAME)],
                workdir,
                deadline_seconds=self._timeout_seconds,
                stdout_limit=self._stdout_limit,
                give_way=give_way,
            )
        finally:
            with CancelScope(shield=True):
                await self._in_thread(self._workdirs.remove, workdir)
        self._check_ending(result)
        if result.exit_code != 0:
            raise _LookFailed(await self._in_thread(_why_it_failed, result, binary, config))
        if len(result.stdout) > _PARSED_IN_THREAD_BYTES:
            return await self._in_thread(_proven_report, result.stdout, config)
        return _proven_report(result.stdout, config)

    async def version(self) -> KaiVersion | None:
        """The version of the binary as it is now, None when there is none or it does not tell."""
        binary = await self._in_thread(find_binary, self._binary, self._path_env)
        if isinstance(binary, Reason):
            return None
        with suppress(_LookFailed):
            return await self._version_of(binary)
        return None

    def describe(self) -> Reason | None:
        """Why no look can succeed, None when the binary is there and executable. Blocks for a moment."""
        found = find_binary(self._binary, self._path_env)
        return found if isinstance(found, Reason) else None

    async def _check_address(self, server: str) -> None:
        """Best effort, since kai resolves the name again: a name that does not resolve is left for kai to report."""
        host = urlsplit(server).hostname or ""
        try:
            literal = literal_address(host)
            for address in [literal] if literal else await self._resolver.addresses_of(host):
                self._network_rules.check_address(address)
        except ValueError as error:
            raise _LookFailed(reasons.address_refused(host, str(error))) from None

    async def _version_of(self, binary: Binary) -> KaiVersion | None:
        """What the binary says of itself; asked once a file. Raises _LookFailed when it cannot be started at all."""
        async with self._probing:
            known = self._probed
            if known is None or known.binary != binary or known.due_again(anyio.current_time()):
                version = await self._probe(binary)
                _log.info("kai_version", binary=binary.path, version=version and version.version)
                known = self._probed = _Probed(binary, version, anyio.current_time())
            return known.version

    async def _probe(self, binary: Binary) -> KaiVersion | None:
        # Without the wrapper, which would hide why a binary cannot be started.
        workdir = await self._in_thread(self._prepare, None)
        try:
            result = await self._run(
                [binary.path, "version", "-o", "json"],
                workdir,
                deadline_seconds=_PROBE_SECONDS,
                stdout_limit=_PROBE_LIMIT_BYTES,
            )
        finally:
            with CancelScope(shield=True):
                await self._in_thread(self._workdirs.remove, workdir)
        return read_version(result.stdout)

    def _prepare(self, config: ClusterConfig | None) -> Path:
        """A workdir with kai's home, and with its files where there is a config."""
        try:
            workdir = self._workdirs.create()
        except OSError as error:
            raise _LookFailed(self._unprepared(error)) from None
        with ExitStack() as undo:
            # Whatever goes wrong from here on, a bug of ours included: no half-made workdir stays.
            undo.callback(self._workdirs.remove, workdir)
            try:
                self._fill(workdir, config)
            except OSError as error:
                raise _LookFailed(self._unprepared(error)) from None
            undo.pop_all()
        return workdir

    def _fill(self, workdir: Path, config: ClusterConfig | None) -> None:
        for name in ("home", "tmp"):
            (workdir / name).mkdir(mode=0o700)
        if config is not None:
            kubeconfig = workdir / "kubeconfig"
            self._workdirs.write(kubeconfig, render_kubeconfig(config))
            self._workdirs.write(workdir / FILE_NAME, self._kai_config(config, kubeconfig))

    def _unprepared(self, error: OSError) -> Reason:
        if is_shortage(error):
            return reasons.not_started(self._binary, NotStarted.NO_RESOURCES, _plain(error))
        return reasons.workdir_unusable(_plain(error))

    def _kai_config(self, config: ClusterConfig, kubeconfig: Path) -> bytes:
        return render_kai_config(
            cluster_name=config.cluster_name,
            kubeconfig=kubeconfig,
            asked_namespaces=config.asked_namespaces,
            deadline_seconds=self._timeout_seconds,
            request_batch_size=self._batch_size,
        )

    async def _run(
        self,
        argv: list[str],
        workdir: Path,
        *,
        deadline_seconds: float,
        stdout_limit: int,
        give_way: anyio.Event | None = None,
    ) -> ChildResult:
        try:
            return await run_child(
                argv,
                cwd=workdir,
                env=self._environment(workdir),
                deadline_seconds=deadline_seconds,
                stdout_limit=stdout_limit,
                give_way=give_way,
            )
        except StartFailed as failure:
            raise _LookFailed(reasons.not_started(self._binary, failure.kind, str(failure))) from None

    def _environment(self, workdir: Path) -> dict[str, str]:
        """Built from nothing: kai obeys KAI_* variables, and files below HOME and the XDG folders, unasked."""
        home = workdir / "home"
        return {
            **self._extra_env,
            "PATH": self._path_env,
            "HOME": str(home),
            "TMPDIR": str(workdir / "tmp"),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_CONFIG_DIRS": str(home / ".config"),
            "XDG_DATA_HOME": str(home / ".local"),
            "XDG_DATA_DIRS": str(home / ".local"),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "XDG_RUNTIME_DIR": str(home / ".run"),
        }

    def _check_ending(self, result: ChildResult) -> None:
        if result.ending is Ending.FLOODED:
            raise _LookFailed(reasons.output_too_large(self._stdout_limit))
        if result.ending is Ending.TIMED_OUT:
            raise _LookFailed(reasons.timed_out(self._timeout_seconds))
        if result.ending is Ending.GAVE_WAY:
            raise _LookFailed(reasons.gave_way(result.seconds))
        if result.exit_code == 0 and not result.stdout.strip():
            raise _LookFailed(reasons.no_output())

    async def _in_thread(self, function: Callable[[*_Args], _Result], *args: *_Args) -> _Result:
        return await anyio.to_thread.run_sync(function, *args, limiter=self._threads)


def _secrets(config: ClusterConfig) -> tuple[str, ...]:
    return (config.credential.get_secret_value(),)


def _why_it_failed(result: ChildResult, binary: Binary, config: ClusterConfig) -> Reason:
    """What the exit code and the words of kai mean, or those of the wrapper that was to become kai."""
    stdout = result.stdout[:_STDOUT_EXCERPT_BYTES].decode("utf-8", "replace")
    cut = bool(result.stderr.left_out) or len(result.stdout) > _STDOUT_EXCERPT_BYTES
    clean = partial(redact, secrets=_secrets(config), cut=cut)
    reason = reason_of_exit(exit_code=result.exit_code, stdout=stdout, stderr=result.stderr.text(), clean=clean)
    if reason.code == ReasonCode.KAI_NOT_FOUND and Path(binary.path).exists():
        return reasons.kai_lacks_interpreter(binary.path)
    return reason


def _proven_report(stdout: bytes, config: ClusterConfig) -> InventoryReport:
    """The report, if it is one and proves a look at this cluster; exit 0 alone proves nothing. Raises _LookFailed."""
    try:
        report = parse_report(stdout)
    except MalformedReport as error:
        raise _LookFailed(reasons.malformed(error)) from None
    try:
        check_look(report, cluster_name=config.cluster_name, asked=config.asked_namespaces)
    except UnprovenReport as error:
        clean = partial(redact, secrets=_secrets(config), cut=False)
        raise _LookFailed(reasons.unproven(error, report, config.cluster_name, clean)) from None
    return report


def _look(
    config: ClusterConfig, told: _Told, report: InventoryReport | None, reason: Reason | None, seconds: float
) -> Look:
    """What is kept of a look: the excerpts are redacted here; what the reason quotes was when it was found."""
    secrets = _secrets(config)
    stdout_excerpt = stderr_excerpt = ""
    if told.result is not None:
        stderr_excerpt = excerpt(told.result.stderr, secrets)
        if reason is not None:
            stdout_excerpt = redact(told.result.stdout[:_STDOUT_EXCERPT_BYTES].decode("utf-8", "replace"), secrets)
    return Look(
        outcome=_outcome(reason),
        report=report,
        reason=reason,
        exit_code=told.result.exit_code if told.result else None,
        seconds=seconds,
        stdout_excerpt=stdout_excerpt,
        stderr_excerpt=stderr_excerpt,
        kai_version=told.version.version if told.version else None,
    )


def _outcome(reason: Reason | None) -> RunState:
    if reason is None:
        return RunState.SUCCEEDED
    if reason.code == ReasonCode.GAVE_WAY:
        return RunState.GAVE_WAY
    # kai's own time-outs count as well: it, too, held a slot for as long.
    return RunState.TIMED_OUT if reason.code == ReasonCode.TIMEOUT else RunState.FAILED


def _plain(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else type(error).__name__
