"""What the newest reports of a sender tell beyond their images."""

import pytest

from orchestrator.model.instant import DAY, HOUR, MINUTE
from orchestrator.model.report import InventoryReport, NamespaceReport
from orchestrator.model.traces import KEPT_TRACES, Trace, mixing, pace_of, trace_of, with_trace


def traces(*versions: str, namespaces: str = "a") -> list[Trace]:
    return [Trace(number, number * MINUTE, version, namespaces) for number, version in enumerate(versions)]


def test_pace_is_the_median_of_the_gaps() -> None:
    times = [0, 5, 10, 15, 600, 605]
    assert pace_of([Trace(at, at * MINUTE, "v1", "a") for at in times]) == 5 * MINUTE


def test_pace_is_a_day_while_it_is_not_known() -> None:
    assert pace_of([]) == pace_of(traces("v1")) == DAY


def test_oldest_traces_are_forgotten() -> None:
    kept: list[Trace] = []
    for number in range(KEPT_TRACES * 2):
        kept = with_trace(kept, Trace(number, number * HOUR, "v1", "a"))
    assert len(kept) == KEPT_TRACES
    assert kept[-1].report_at == KEPT_TRACES * 2 - 1


def test_report_in_parts_leaves_one_trace() -> None:
    kept = with_trace([], Trace(7, 1, "v1", "a"))
    assert with_trace(kept, Trace(7, 2, "v1", "b")) == kept


@pytest.mark.parametrize(
    ("versions", "alternates"),
    [
        ([], False),
        (["v1.30", "v1.30"], False),
        (["v1.29", "v1.29", "v1.30", "v1.30"], False),
        (["v1.29", "v1.30", "v1.29"], True),
        (["v1.29", "", "v1.29"], False),
    ],
)
def test_versions_that_alternate_are_two_clusters(versions: list[str], alternates: bool) -> None:
    assert bool(mixing(traces(*versions))) == alternates


def test_namespaces_that_alternate_are_two_agents() -> None:
    def named(*namespaces: str) -> list[Trace]:
        return [Trace(number, number, "v1", name) for number, name in enumerate(namespaces)]

    assert mixing(named("a", "a", "b", "a")) == []
    assert mixing(named("a", "b", "c", "d")) == []
    [warning] = mixing(named("a", "b", "a", "b"))
    assert "two agents" in warning


def test_trace_of_a_report_does_not_depend_on_its_order() -> None:
    def report(*names: str) -> InventoryReport:
        namespaces = tuple(NamespaceReport(name, frozenset()) for name in names)
        return InventoryReport(None, None, None, "v1", namespaces, 0)

    one, other = (trace_of(report(*names), report_at=1, received_at=2) for names in (("a", "b"), ("b", "a")))
    assert one == other == Trace(1, 2, "v1", one.namespaces)
    assert trace_of(report("a"), report_at=1, received_at=2) != one
