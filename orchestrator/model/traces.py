"""What the newest reports of one posting sender tell beyond their images: how often they come, from how many agents.

Nothing in a report tells one agent from another but its content, and kai's chart gives every cluster the same default
name. Two agents of one name show by what alternates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from statistics import median_low
from typing import Final

from orchestrator.model.instant import DAY, Instant
from orchestrator.model.report import InventoryReport

KEPT_TRACES: Final = 12

UNKNOWN_PACE: Final = DAY
"""Microseconds that a sender's next report is given while its pace is not known: somebody may post by hand."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One report: by its own timestamp and when it was received, the API server's version it carries, and a short
    hash of the names of its namespaces."""

    report_at: Instant
    received_at: Instant
    server_version: str
    namespaces: str


def trace_of(report: InventoryReport, *, report_at: Instant, received_at: Instant) -> Trace:
    """What is remembered of a report."""
    names = "\n".join(sorted({each.namespace for each in report.namespaces}))
    return Trace(
        report_at, received_at, report.server_version or "", blake2b(names.encode(), digest_size=6).hexdigest()
    )


def with_trace(traces: Sequence[Trace], newest: Trace) -> list[Trace]:
    """The traces with one more, the oldest forgotten. A report repeated or sent in parts leaves the first of them."""
    if traces and traces[-1].report_at == newest.report_at:
        return list(traces)
    return [*traces, newest][-KEPT_TRACES:]


def pace_of(traces: Sequence[Trace]) -> int:
    """The usual time between two reports in microseconds: the median, so that one outage does not change it."""
    gaps = [later.received_at - earlier.received_at for earlier, later in pairwise(traces)]
    return max(median_low(gaps), 1) if gaps else UNKNOWN_PACE


def mixing(traces: Sequence[Trace]) -> list[str]:
    """Warnings that more than one agent seems to report under this name; none while all looks like one.

    A cluster that is upgraded changes its version once; only one that changes back and forth is two clusters.
    """
    warnings = []
    versions = _returns([trace.server_version for trace in traces if trace.server_version])
    if versions:
        warnings.append(
            f"reports alternate between API servers of versions {' and '.join(versions)}: two clusters seem to report "
            "under one name; give each agent its own kubeconfig.cluster"
        )
    elif len(_returns([trace.namespaces for trace in traces], least=2)) > 1:
        warnings.append(
            "reports alternate between different sets of namespaces: two agents seem to report under one name; "
            "give each agent its own kubeconfig.cluster, or its own namespaces to the same one"
        )
    return warnings


def _returns(values: Sequence[str], *, least: int = 1) -> list[str]:
    """The values that alternate, sorted: those that came back after another one, at least `least` times in all."""
    changes = [value for index, value in enumerate(values) if index == 0 or value != values[index - 1]]
    back = [value for index, value in enumerate(changes) if value in changes[:index]]
    return sorted(set(changes)) if len(back) >= least else []
