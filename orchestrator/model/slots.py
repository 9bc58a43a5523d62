"""How many looks run at a time, who may have the slots, and which look gives its slot up when others wait.

Clusters that hang must not hold up the ones that answer. Those that timed out last take half of the slots at most;
those and the ones never seen well all but a quarter. What is left is clusters that were well and begin to hang: nobody
knows them beforehand, so a look at one gives way once it takes far longer than it used to and others wait. It is done
again with its whole time, as one that timed out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

LEAST_PATIENCE_SECONDS: Final = 5.0
PATIENCE_TIMES_USUAL: Final = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many more looks may begin: in all, at clusters that `unproven` or `slow` is true of, at those that are
    slow. A slow cluster timed out last; an unproven one did, or was never seen well."""

    total: int
    unproven: int
    slow: int

    @classmethod
    def of(cls, slots: int) -> Self:
        """The room while nothing runs. A single slot is open to everybody."""
        return cls(total=slots, unproven=slots - slots // 4, slow=max(1, slots // 2))

    def less(self, *, total: int, unproven: int, slow: int) -> Self:
        """The room that is left beside so many more looks, never less than none."""
        return type(self)(
            total=max(0, self.total - total), unproven=max(0, self.unproven - unproven), slow=max(0, self.slow - slow)
        )

    @property
    def for_unproven(self) -> bool:
        """Whether a look at a cluster that was never seen well may begin."""
        return self.total > 0 and self.unproven > 0

    @property
    def for_slow(self) -> bool:
        """Whether a look at a cluster that timed out last may begin: then any look may."""
        return self.for_unproven and self.slow > 0


@dataclass(frozen=True, slots=True)
class Occupied:
    """A slot: the run that has it, for how long, and how long the last good look at its cluster took, in seconds."""

    run_id: int
    seconds: float
    usual_seconds: float

    @property
    def over(self) -> float:
        """By how many seconds its time to answer is exceeded: four times the usual, five seconds at least."""
        return self.seconds - max(LEAST_PATIENCE_SECONDS, PATIENCE_TIMES_USUAL * self.usual_seconds)


def to_give_way(occupied: Iterable[Occupied], waiting: int) -> list[int]:
    """The runs that give way to so many waiting clusters: such as exceed their time, those that do so most first."""
    exceeded = sorted((each for each in occupied if each.over > 0), key=lambda each: -each.over)
    return [each.run_id for each in exceeded[: max(0, waiting)]]
