"""Why a look failed, in plain words, and what to do about it.

Here are the reasons that we find ourselves; what kai says is read in `messages`.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from orchestrator.kai.process import NotStarted
from orchestrator.model.report import InventoryReport, MalformedReport, UnprovenReport
from orchestrator.model.run import Reason


class ReasonCode(StrEnum):
    """The kinds of failure, for programs."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    TLS_UNTRUSTED_CA = "tls_untrusted_ca"
    TLS_WRONG_HOST = "tls_wrong_host"
    TLS_EXPIRED = "tls_expired"
    TLS_FAILED = "tls_failed"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    GAVE_WAY = "gave_way"
    BAD_CERTIFICATE_DATA = "bad_certificate_data"
    BAD_CREDENTIAL = "bad_credential"
    SERVER_ERROR = "server_error"
    NOT_KUBERNETES = "not_kubernetes"
    CONFIG_REJECTED = "config_rejected"
    CRASHED = "crashed"
    NO_OUTPUT = "no_output"
    NOT_JSON = "not_json"
    REPORT_INCOMPLETE = "report_incomplete"
    OTHER_CLUSTER = "other_cluster"
    OUTPUT_TOO_LARGE = "output_too_large"
    KAI_NOT_FOUND = "kai_not_found"
    KAI_NOT_EXECUTABLE = "kai_not_executable"
    KAI_NOT_STARTED = "kai_not_started"
    WORKDIR_UNUSABLE = "workdir_unusable"
    ADDRESS_REFUSED = "address_refused"
    UNKNOWN = "unknown"


KAI_NOT_FOUND_REMEDY: Final = (
    "Set ORCHESTRATOR_KAI_BINARY to the path of Anchore's kai, or put kai on the service's PATH."
)
_IS_IT_KAI: Final = "Check that the binary is Anchore's kai, 0.2.1 to 0.5.0"


def kai_not_found(binary: str) -> Reason:
    """There is no file of that name."""
    return Reason(ReasonCode.KAI_NOT_FOUND, f"kai binary not found: {binary}", KAI_NOT_FOUND_REMEDY)


def kai_not_executable(binary: str, problem: str) -> Reason:
    """There is a file, but it cannot be run."""
    return Reason(
        ReasonCode.KAI_NOT_EXECUTABLE,
        f"the kai binary {binary} cannot be executed: {problem}",
        "Check its permissions (chmod +x), and that it is built for this machine.",
    )


def kai_is_directory(binary: str) -> Reason:
    """There is a directory of that name."""
    return Reason(
        ReasonCode.KAI_NOT_EXECUTABLE,
        f"the kai binary {binary} cannot be executed: it is a directory",
        "Set ORCHESTRATOR_KAI_BINARY to the path of the kai binary itself.",
    )


def kai_lacks_interpreter(binary: str) -> Reason:
    """There is a file that may be run, but not what the system would run it with."""
    return Reason(
        ReasonCode.KAI_NOT_EXECUTABLE,
        f"the kai binary {binary} cannot be executed: its interpreter is missing",
        "A script needs the program that its first line names (without a carriage return at its end), a binary "
        "the dynamic loader that it was linked for: install that, or use Anchore's kai as released.",
    )


def not_started(binary: str, kind: NotStarted, problem: str) -> Reason:
    """The system did not start kai."""
    if kind is NotStarted.MISSING:
        return kai_not_found(binary)
    if kind is NotStarted.NO_INTERPRETER:
        return kai_lacks_interpreter(binary)
    if kind is NotStarted.NOT_EXECUTABLE:
        return kai_not_executable(binary, problem)
    return Reason(
        ReasonCode.KAI_NOT_STARTED,
        f"kai could not be started: {problem}",
        "The system is short of memory, processes or open files: give it more, or let fewer looks run at a time.",
    )


def workdir_unusable(problem: str) -> Reason:
    """The files that kai needs could not be written."""
    return Reason(
        ReasonCode.WORKDIR_UNUSABLE,
        f"the files for kai could not be written: {problem}",
        "Check that /dev/shm (or XDG_RUNTIME_DIR, or the directory for temporary files) has room.",
    )


def address_refused(host: str, problem: str) -> Reason:
    """The settings do not let clusters be where this one's server is."""
    return Reason(
        ReasonCode.ADDRESS_REFUSED,
        f"clusters may not be where {host} is: {problem}",
        "Check cluster_server; the networks that clusters may be in are a setting of this service.",
    )


def timed_out(deadline_seconds: float) -> Reason:
    """kai was still running at the deadline."""
    return Reason(
        ReasonCode.TIMEOUT,
        f"kai was still running after {deadline_seconds:g} s and was ended",
        "The API server hangs or is slow, or the cluster is large: look at its health, name fewer namespaces, "
        "or raise ORCHESTRATOR_KAI_TIMEOUT_SEC.",
    )


def gave_way(seconds: float) -> Reason:
    """kai was still running long after it used to have ended, and other clusters waited."""
    return Reason(
        ReasonCode.GAVE_WAY,
        f"kai was still running after {seconds:.0f} s, far longer than at the last good look, and was ended because "
        "other clusters were waiting",
        "The cluster is looked at again as soon as there is room, then with all the time that looks have. If it goes "
        "on, look at the health of the API server and of the network between; ORCHESTRATOR_MAX_CONCURRENT_RUNS and "
        "more replicas make room.",
    )


def output_too_large(limit_bytes: int) -> Reason:
    """kai printed more than is taken."""
    return Reason(
        ReasonCode.OUTPUT_TOO_LARGE,
        f"kai printed more than {limit_bytes} bytes and was ended",
        "Name the namespaces to look at, in several clusters' configs if need be, or raise the limit.",
    )


def no_output() -> Reason:
    """kai claims success and printed nothing."""
    return Reason(
        ReasonCode.NO_OUTPUT,
        "kai ended with exit code 0 and printed no report",
        f"{_IS_IT_KAI}.",
    )


def malformed(error: MalformedReport) -> Reason:
    """kai claims success, and what it printed is no report."""
    if error.problem.startswith("no JSON"):
        return Reason(
            ReasonCode.NOT_JSON,
            f"what kai printed is no JSON, or not all of it ({error})",
            f"{_IS_IT_KAI}; the run's kept output shows how it begins.",
        )
    return Reason(
        ReasonCode.REPORT_INCOMPLETE,
        f"what kai printed is no whole report ({error})",
        f"{_IS_IT_KAI}, and that cluster_server is a Kubernetes API server.",
    )


def unproven(error: UnprovenReport, report: InventoryReport, cluster_name: str, clean: Callable[[str], str]) -> Reason:
    """kai claims success, but its report does not prove a look at this cluster.

    `clean` redacts what the error quotes from the report, which it does after a colon.
    """
    problem, colon, quoted = str(error).partition(": ")
    message = f"{problem}{colon}{clean(quoted)}"
    if report.cluster_name not in (None, cluster_name):
        return Reason(ReasonCode.OTHER_CLUSTER, message, f"{_IS_IT_KAI}: it does not look at what it is told to.")
    if not report.server_version:
        return Reason(
            ReasonCode.NOT_KUBERNETES,
            str(error),
            "Check cluster_server: host, port and path of the API server, as in the kubeconfig; "
            "a login page or a redirect also answers to everything.",
        )
    return Reason(
        ReasonCode.REPORT_INCOMPLETE,
        message,
        f"{_IS_IT_KAI}, and that cluster_server is the API server itself; the next look tries again.",
    )
