"""The image time-to-live: which items of the inventory are still returned."""

from dataclasses import dataclass
from typing import Final

from orchestrator.model.instant import DAY, Instant

NEWEST_REPORT_ONLY: Final = -1
KEEP_FOR_EVER: Final = 0
MAX_TTL_DAYS: Final = 36_500


@dataclass(frozen=True, slots=True)
class Retention:
    """The rule set by `image_ttl_days`.

    A positive number is days after the last sighting, -1 only what the newest reports hold, 0 for ever.
    Raises ValueError for any other number.
    """

    image_ttl_days: int = 120

    def __post_init__(self) -> None:
        if not NEWEST_REPORT_ONLY <= self.image_ttl_days <= MAX_TTL_DAYS:
            raise ValueError(
                f"image_ttl_days: expected a number of days from 1 to {MAX_TTL_DAYS}, "
                "-1 for the newest report only, or 0 for no limit"
            )

    @property
    def newest_report_only(self) -> bool:
        """Whether an item is returned only while the newest report of its cluster holds it."""
        return self.image_ttl_days == NEWEST_REPORT_ONLY

    def oldest_returned(self, now: Instant) -> Instant | None:
        """The last sighting that is just still returned at `now`; None where age does not matter.

        An item not seen for *more than* n days is gone, so one seen exactly n days ago is still there.
        """
        if self.image_ttl_days <= 0:
            return None
        return now - self.image_ttl_days * DAY

    def expired(self, last_seen: Instant, now: Instant) -> bool:
        """Whether an absent item last seen then is no longer returned at `now`, so that its return makes it new."""
        return self.newest_report_only or self._too_old(last_seen, now)

    def present_expired(self, received_at: Instant, now: Instant) -> bool:
        """The same for items that were present in the newest report of their context, received then.

        With -1 a present item whose context is not named for a while is merely not returned: nobody said it had gone.
        """
        return self._too_old(received_at, now)

    def _too_old(self, last_seen: Instant, now: Instant) -> bool:
        oldest = self.oldest_returned(now)
        return oldest is not None and last_seen < oldest
