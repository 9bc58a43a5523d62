"""What a report does to what was there: which images of a namespace appeared, stayed, went, came back."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.model.instant import Instant
from orchestrator.model.report import UNKNOWN_DIGEST, Image
from orchestrator.model.retention import Retention


@dataclass(frozen=True, slots=True)
class Known:
    """An item of a context as it is stored, with its newest interval of presence.

    `last_seen` is None while it is present: it was then last seen with the context's newest report.
    """

    id: int
    image: Image
    created_at: Instant
    present_since: Instant
    last_seen: Instant | None


@dataclass(frozen=True, slots=True)
class Return:
    """An item that is present again: `archived` is its earlier interval (first, last seen) where the gap was long
    enough to end it, None where the interval just goes on."""

    id: int
    created_at: Instant
    present_since: Instant
    archived: tuple[Instant, Instant] | None


@dataclass(slots=True)
class Change:
    """The difference a report makes to a context. `gone` are ids of items last seen with the report before."""

    appeared: list[Image] = field(default_factory=list)
    returned: list[Return] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    superseded: list[int] = field(default_factory=list)


def compare(
    known: Iterable[Known],
    reported: Iterable[Image],
    *,
    seen_until: Instant,
    still_returned: bool,
    now: Instant,
    retention: Retention,
    gap: int,
) -> Change:
    """What changes in a context when a report received at `now` holds exactly these images.

    `seen_until` is when the context's newest report was received, until then its present items were seen.
    `still_returned` is whether present items were still returned just before this report: an item that comes back
    after its expiry is new, whether or not a sweep has removed it meanwhile. An absence shorter than `gap`
    (microseconds) does not end an interval of presence.
    """
    change = Change()
    missing = set(reported)
    waiting: list[Known] = []
    for item in known:
        reported_again = item.image in missing
        missing.discard(item.image)
        if item.last_seen is None and still_returned:
            if not reported_again:
                change.gone.append(item.id)
                waiting.append(item)
            continue
        last_seen = seen_until if item.last_seen is None else item.last_seen
        if reported_again:
            expired = not still_returned if item.last_seen is None else retention.expired(last_seen, now)
            change.returned.append(_return(item, last_seen, expired=expired, now=now, gap=gap))
        else:
            if item.last_seen is None:
                change.gone.append(item.id)
            waiting.append(item)
    change.appeared.extend(missing)
    change.superseded.extend(_superseded(waiting, set(reported), seen_until=seen_until, now=now, retention=retention))
    return change


def _return(item: Known, last_seen: Instant, *, expired: bool, now: Instant, gap: int) -> Return:
    ended = now - last_seen >= gap
    return Return(
        id=item.id,
        created_at=now if expired else item.created_at,
        present_since=now if ended else item.present_since,
        archived=(item.present_since, last_seen) if ended else None,
    )


def _superseded(
    waiting: Iterable[Known], reported: set[Image], *, seen_until: Instant, now: Instant, retention: Retention
) -> list[int]:
    """The absent items without a digest whose tag has one: kai knows no digest while a pod starts."""
    unexpired = [
        item for item in waiting if not retention.expired(seen_until if item.last_seen is None else item.last_seen, now)
    ]
    images = reported.union(item.image for item in unexpired)
    with_digest = {tag for tag, digest in images if digest != UNKNOWN_DIGEST}
    return [item.id for item in unexpired if item.image[1] == UNKNOWN_DIGEST and item.image[0] in with_digest]
