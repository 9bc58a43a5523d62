"""Timing and printing, the same for every measurement."""

import statistics
import time
from collections.abc import Callable


def seconds(work: Callable[[], object], *, runs: int) -> list[float]:
    """Wall seconds of each run."""
    taken = []
    for _ in range(runs):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return taken


def paired(ours: Callable[[], object], floor: Callable[[], object], *, runs: int) -> tuple[float, float, float]:
    """Medians in seconds of both, run in turn, and the median of their ratios pair by pair."""
    pairs = [(seconds(ours, runs=1)[0], seconds(floor, runs=1)[0]) for _ in range(runs)]
    mine, theirs = zip(*pairs, strict=True)
    return (
        statistics.median(mine),
        statistics.median(theirs),
        statistics.median(one / other for one, other in pairs),
    )


def show(title: str, rows: list[tuple[str, str]]) -> None:
    """Print a table of names and figures."""
    width = max(len(name) for name, _ in rows)
    print(f"\n{title}")  # noqa: T201
    for name, figure in rows:
        print(f"  {name:<{width}}  {figure}")  # noqa: T201
