"""When a cluster is due for its next look: a stable place in the interval, a shift that differs from tick to tick,
and a longer wait after time-outs."""

from hashlib import blake2b
from typing import Final

from orchestrator.model.instant import HOUR, Instant

LONGEST_BACK_OFF: Final = HOUR


def next_tick(identity: str, *, interval: int, now: Instant) -> Instant:
    """The first tick of this cluster after `now`; ticks that were missed are skipped, never queued.

    `interval` is in microseconds. Each identity has its own stable offset in the interval, so that a thousand
    clusters spread evenly and a restart keeps their phase. Each tick is late by up to a tenth of the interval,
    differently from tick to tick: kai sees running pods only, and at a fixed phase a CronJob that runs between two
    ticks would never be seen at all.
    """
    offset = _hash(identity) % interval
    number = (now - offset) // interval
    tick = _tick(identity, number, offset, interval)
    while tick <= now:
        number += 1
        tick = _tick(identity, number, offset, interval)
    return tick


def _tick(identity: str, number: int, offset: int, interval: int) -> Instant:
    shift = _hash(f"{identity}\0{number}") % max(interval // 10, 1)
    return number * interval + offset + shift


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def back_off(*, interval: int, timeouts: int) -> int:
    """Microseconds to wait after the n-th time-out in a row: the interval doubled each time, up to an hour.

    An interval of more than an hour stays as it is: waiting must never get shorter by failing.
    """
    if timeouts <= 0:
        return interval
    return max(interval, min(interval << min(timeouts, 32), LONGEST_BACK_OFF))


def next_due(identity: str, *, interval: int, timeouts: int, now: Instant) -> Instant:
    """When the cluster is due again after a look that ended at `now`, the last `timeouts` of them by time-out."""
    if timeouts:
        return next_tick(
            identity, interval=interval, now=now + back_off(interval=interval, timeouts=timeouts) - interval
        )
    return next_tick(identity, interval=interval, now=now)
