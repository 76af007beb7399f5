"""When nights are: the moments at which the nightly job is due, on every host the same."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from recsvc.errors import UsageError
from recsvc.settings import Settings
from recsvc.vocabulary import RETRAIN

JOB = RETRAIN  # the name of the nightly job in the ledger
LATEST = "latest"

# A night of a day lies within a day and some hours of that day in UTC, whatever the zone.
_DAYS_AROUND = (-2, -1, 0, 1, 2)

# Who starts a run at 02:00 may have a clock a little ahead of the one that is read here.
_CLOCK_TOLERANCE = timedelta(minutes=1)

_FURTHEST_AHEAD = timedelta(days=1)


@dataclass(frozen=True)
class Nights:
    """One night for each day of the calendar, named by the moment at which it is due, in UTC.

    A local time that a change to summer time skips is taken by the offset before the change: 02:30
    becomes 03:30. One that comes twice means the first.
    """

    at: time  #: local time of day
    zone: ZoneInfo  #: time zone of ``at``

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the nights that RECSVC_SCHEDULE and RECSVC_TIMEZONE tell."""
        return cls(time.fromisoformat(settings.schedule), ZoneInfo(settings.timezone))

    def night_of(self, day: date) -> datetime:
        """Return the night of a day of the zone's calendar, in UTC."""
        return datetime.combine(day, self.at, tzinfo=self.zone).astimezone(UTC)

    def newest(self, now: datetime) -> datetime:
        """Return the last night that is due at ``now``."""
        return max(night for night in self._around(now) if night <= now)

    def starting(self, now: datetime) -> datetime:
        """Return the night for which something was started just before ``now``."""
        return self.newest(now + _CLOCK_TOLERANCE)

    def following(self, moment: datetime) -> datetime:
        """Return the first night after ``moment``."""
        return min(night for night in self._around(moment) if night > moment)

    def missed(self, last: datetime | None, now: datetime) -> datetime | None:
        """Return the night to catch up on: the newest one, however many were missed.

        Args:
            last: the newest night that was dealt with; ``None`` if there was none yet, and then
                none was missed either.
            now: aware.
        """
        newest = self.newest(now)
        return newest if last is not None and last < newest else None

    def parse(self, text: str, now: datetime) -> datetime:
        """Return the night that a person or a scheduler names: in ISO 8601, or ``latest``.

        Raises:
            UsageError: it is no time, has no offset from UTC, or is more than a day ahead.
        """
        if text == LATEST:
            return self.starting(now)
        moment = _moment(text)
        if moment is None:
            raise UsageError(
                f"--scheduled-for {text} is no time with an offset: "
                f"write it as 2026-11-23T02:00:00Z, or as `{LATEST}`."
            )
        if moment > now + _FURTHEST_AHEAD:
            # The ledger would count every night until then as dealt with.
            raise UsageError(
                f"--scheduled-for {text} is more than a day ahead: name a night that is due, "
                f"or `{LATEST}`."
            )
        return moment

    def _around(self, moment: datetime) -> list[datetime]:
        day = moment.astimezone(self.zone).date()
        return [self.night_of(day + timedelta(days=shift)) for shift in _DAYS_AROUND]


def _moment(text: str) -> datetime | None:
    """Return a time with an offset as one in UTC; ``None`` if it is none."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):  # the first and the last day of the calendar
        return None
