"""When nights are, at both changes of the clocks and after any time away."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from recsvc.errors import UsageError
from recsvc.pipeline.calendar import Nights

AT_TWO = Nights(time(2), ZoneInfo("UTC"))
BERLIN = Nights(time(2, 30), ZoneInfo("Europe/Berlin"))
NEW_YORK = Nights(time(1, 30), ZoneInfo("America/New_York"))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("nights", "day", "expected"),
    [
        (BERLIN, date(2027, 3, 27), "2027-03-27 01:30"),
        (BERLIN, date(2027, 3, 29), "2027-03-29 00:30"),
        (BERLIN, date(2027, 10, 30), "2027-10-30 00:30"),
        (BERLIN, date(2027, 11, 1), "2027-11-01 01:30"),
        (NEW_YORK, date(2027, 11, 6), "2027-11-06 05:30"),
        (NEW_YORK, date(2027, 11, 8), "2027-11-08 06:30"),
    ],
)
def test_a_night_is_due_at_the_local_time_in_summer_and_winter(
    nights: Nights, day: date, expected: str
) -> None:
    assert nights.night_of(day) == utc(expected)


def test_a_local_time_that_is_skipped_is_due_as_much_after_the_change() -> None:
    night = BERLIN.night_of(date(2027, 3, 28))
    assert night == utc("2027-03-28 01:30")
    assert night.astimezone(BERLIN.zone).time() == time(3, 30)


@pytest.mark.parametrize(
    ("nights", "day", "first", "second"),
    [
        (BERLIN, date(2027, 10, 31), "2027-10-31 00:30", "2027-10-31 01:30"),
        (NEW_YORK, date(2027, 11, 7), "2027-11-07 05:30", "2027-11-07 06:30"),
    ],
)
def test_a_local_time_that_comes_twice_is_due_the_first_time_only(
    nights: Nights, day: date, first: str, second: str
) -> None:
    assert nights.night_of(day) == utc(first)
    assert nights.newest(utc(second)) == utc(first)
    assert nights.missed(utc(first), utc(second)) is None
    assert nights.following(utc(first)) == nights.night_of(day + timedelta(days=1))


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia"])
@pytest.mark.parametrize("at", ["00:00", "00:30", "01:30", "02:00", "02:30", "03:00"])
def test_each_night_of_years_follows_the_one_before_and_none_comes_twice(
    zone: str, at: str
) -> None:
    nights = Nights(time.fromisoformat(at), ZoneInfo(zone))
    moment, found = utc("2010-12-31 23:59"), []
    while moment < utc("2013-01-01 00:00"):
        moment = nights.following(moment)
        assert nights.newest(moment) == moment
        assert nights.newest(moment - timedelta(microseconds=1)) < moment
        found.append(moment)
    first = found[0].astimezone(nights.zone).date()
    days = [first + timedelta(days=shift) for shift in range(len(found) + 1)]
    # Apia had no 30 December 2011: that day's night and the next one's are the same moment.
    assert found == sorted(set(map(nights.night_of, days)))[: len(found)]


def test_of_three_missed_nights_the_newest_is_caught_up() -> None:
    now = utc("2026-11-23 09:00")
    assert AT_TWO.missed(utc("2026-11-20 02:00"), now) == utc("2026-11-23 02:00")
    assert AT_TWO.missed(utc("2026-11-23 02:00"), now) is None


def test_an_empty_ledger_has_no_missed_night() -> None:
    assert AT_TWO.missed(None, utc("2026-11-23 09:00")) is None


def test_a_run_by_hand_after_the_night_leaves_nothing_to_catch_up() -> None:
    assert AT_TWO.missed(utc("2026-11-23 08:15"), utc("2026-11-23 09:00")) is None


def test_a_clock_set_back_makes_no_night_due_again() -> None:
    last = utc("2026-11-23 02:00")
    for now in ("2026-11-23 01:30", "2026-11-22 02:00", "2025-01-01 00:00"):
        assert AT_TWO.missed(last, utc(now)) is None


def test_a_night_starts_even_if_the_clock_is_some_seconds_behind_the_one_that_called() -> None:
    assert AT_TWO.starting(utc("2026-11-23 01:59:58")) == utc("2026-11-23 02:00")
    assert AT_TWO.starting(utc("2026-11-23 01:58:00")) == utc("2026-11-22 02:00")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T02:00:00Z", "2026-11-23 02:00"),
        ("2026-11-23T03:00+01:00", "2026-11-23 02:00"),
        ("latest", "2026-11-23 02:00"),
    ],
)
def test_a_night_can_be_named(text: str, expected: str) -> None:
    night = AT_TWO.parse(text, utc("2026-11-23 09:00"))
    assert night == utc(expected)
    assert night.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        *("2026-11-23T02:00:00", "tonight", "2026-13-01T00:00Z"),
        *("0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00"),
    ],
)
def test_a_night_without_an_offset_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--scheduled-for"):
        AT_TWO.parse(text, utc("2026-11-23 09:00"))


@pytest.mark.parametrize("text", ["2026-11-24T09:01Z", "2062-11-23T02:00Z"])
def test_a_night_far_ahead_is_refused_for_no_night_before_it_would_be_caught_up(text: str) -> None:
    now = utc("2026-11-23 09:00")
    with pytest.raises(UsageError, match="more than a day ahead"):
        AT_TWO.parse(text, now)
    assert AT_TWO.parse("2026-11-24T02:00Z", now) == utc("2026-11-24 02:00")
