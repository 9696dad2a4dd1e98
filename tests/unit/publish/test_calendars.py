"""The calendars, read by a program that is not the one that writes them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from ical.calendar import Calendar
from ical.calendar_stream import IcsCalendarStream

from tests.conftest import Database
from tests.unit.publish.conftest import ADDRESS, DETAILS, NOW, Launches, Publish, Site

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def calendar(site: Site, path: str = "launches.ics") -> Calendar:
    text = (site.folder / path).read_bytes().decode()
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    assert "\n" not in text.replace("\r\n", "")
    return IcsCalendarStream.calendar_from_ics(text)


def only(site: Site) -> Any:  # noqa: ANN401  # an event of ical's
    [event] = calendar(site).events
    return event


def imported(known: dict[str, Any], found: Calendar) -> None:
    """Import a calendar as RFC 5546 says: an event replaces the one of its UID if its SEQUENCE is not lower."""
    for event in found.events:
        if event.uid not in known or event.sequence >= known[event.uid].sequence:
            known[event.uid] = event


def test_a_launch_is_an_event(launches: Launches, publish: Publish, site: Site) -> None:
    launch_id = launches.add()
    publish()
    event = only(site)
    assert event.uid == launch_id
    assert event.summary == "Kestrel 2 | Sparrow"
    assert event.dtstart == NOW + DAY
    assert event.dtend == NOW + DAY + HOUR
    assert event.dtstamp == NOW
    assert event.sequence == 0
    assert event.status == "CONFIRMED"
    assert event.location == "Pad 1, Kourou"
    assert event.categories == ["Falcon Works"]
    assert str(event.url) == f"{ADDRESS}/launch/{launch_id}.html"
    assert event.description.split("\n") == [
        "Go for launch",
        "Sparrow (Communications)",
        "It brings a sparrow into orbit.",
        "Webcast: https://video.example.org/1",
        f"{ADDRESS}/launch/{launch_id}.html",
    ]
    [alarm] = event.alarm
    assert (alarm.action, alarm.trigger) == ("DISPLAY", -HOUR)
    assert calendar(site, "calendars/falcon-works.ics").events == [event]


def test_imported_twice_with_a_slip_between_it_is_one_event_moved(
    launches: Launches, publish: Publish, site: Site
) -> None:
    launch_id = launches.add()
    known: dict[str, Any] = {}
    publish()
    imported(known, calendar(site))
    launches.change(launch_id, NOW + HOUR, net=NOW + 2 * DAY)
    publish(HOUR)
    imported(known, calendar(site))
    [event] = known.values()
    assert (event.dtstart, event.sequence, event.dtstamp) == (NOW + 2 * DAY, 1, NOW + HOUR)


def test_the_sequence_rises_with_each_change_and_with_nothing_else(
    launches: Launches, publish: Publish, site: Site, database: Database
) -> None:
    launch_id = launches.add()
    seen = []
    changes: list[dict[str, object]] = [
        {"net": NOW + 2 * DAY},
        {},
        {"status": "Hold"},
        {"name": "Kestrel 2 | Wren"},
        {"net_precision": "day"},
        {"image_url": "https://example.org/new.png"},
        {"net": NOW + DAY, "net_precision": "minute"},
    ]
    for number, columns in enumerate(changes):
        launches.change(launch_id, NOW + number * HOUR, **columns)
        publish(number * HOUR)
        event = only(site)
        seen.append((event.sequence, (event.dtstamp - NOW) // HOUR))
    # The first version has the first change already; a picture is not in a calendar.
    assert seen == [(1, 0), (1, 0), (2, 2), (3, 3), (4, 4), (4, 4), (5, 6)]
    # What a person would call no change, but a reader sees.
    database.query("""UPDATE rocket_launches SET details = '{"pad": {"name": "Pad 2"}}'""")
    publish(8 * HOUR)
    assert (only(site).sequence, only(site).location) == (6, "Pad 2")


def test_it_does_not_fall_where_the_table_was_lost(
    launches: Launches, publish: Publish, site: Site, database: Database
) -> None:
    launch_id = launches.add()
    for number in range(3):
        launches.change(launch_id, NOW + number * HOUR, net=NOW + DAY + number * HOUR)
        publish(number * HOUR)
    assert only(site).sequence == 3
    database.query("TRUNCATE published_launches, published_files")
    publish(4 * HOUR)
    assert only(site).sequence == 3


@pytest.mark.parametrize(
    ("net", "precision", "start", "end"),
    [
        (datetime(2031, 1, 31, 12, 30, tzinfo=UTC), "hour", datetime(2031, 1, 31, 12, 30, tzinfo=UTC), None),
        (datetime(2031, 1, 31, tzinfo=UTC), "day", date(2031, 1, 31), date(2031, 2, 1)),
        (datetime(2031, 1, 31, tzinfo=UTC), "morning", date(2031, 1, 31), date(2031, 2, 1)),
        (datetime(2031, 1, 31, tzinfo=UTC), "week", date(2031, 1, 27), date(2031, 2, 3)),
        (datetime(2031, 1, 31, tzinfo=UTC), "month", date(2031, 1, 1), date(2031, 2, 1)),
        (datetime(2031, 12, 31, tzinfo=UTC), "month", date(2031, 12, 1), date(2032, 1, 1)),
    ],
)
def test_from_day_precision_on_it_is_all_day(  # noqa: PLR0917  # fixtures
    net: datetime, precision: str, start: date, end: date | None, launches: Launches, publish: Publish, site: Site
) -> None:
    launches.add(net=net, net_precision=precision)
    publish()
    event = only(site)
    assert event.dtstart == start
    assert event.dtend == (end or net + HOUR)
    assert bool(event.alarm) == (precision == "hour")


@pytest.mark.parametrize("precision", ["quarter 1", "half 1", "year"])
def test_what_is_known_to_its_quarter_comes_in_later_and_is_cancelled_when_it_goes_back_there(
    precision: str, launches: Launches, publish: Publish, site: Site
) -> None:
    launch_id = launches.add(net=datetime(2031, 3, 31, tzinfo=UTC), net_precision=precision)
    publish()
    assert calendar(site).events == []
    launches.change(launch_id, NOW + HOUR, net=NOW + 9 * DAY, net_precision="day")
    publish(HOUR)
    assert (only(site).status, only(site).dtstart) == ("CONFIRMED", date(2031, 1, 10))
    launches.change(launch_id, NOW + 2 * HOUR, net=datetime(2031, 3, 31, tzinfo=UTC), net_precision=precision)
    publish(2 * HOUR)
    assert only(site).status == "CANCELLED"
    launches.change(launch_id, NOW + 3 * HOUR, net=NOW + 9 * DAY, net_precision="day")
    publish(3 * HOUR)
    assert (only(site).status, only(site).sequence) == ("CONFIRMED", 3)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("Go", "CONFIRMED"),
        ("Success", "CONFIRMED"),
        ("In Flight", "CONFIRMED"),
        ("TBC", "TENTATIVE"),
        ("TBD", "TENTATIVE"),
        ("Hold", "TENTATIVE"),
        (None, "TENTATIVE"),
        ("Something new", "TENTATIVE"),
    ],
)
def test_its_status_is_that_of_the_launch(
    status: str | None, said: str, launches: Launches, publish: Publish, site: Site
) -> None:
    launches.add(status=status)
    publish()
    assert only(site).status == said


def test_what_the_launch_library_withdraws_is_cancelled_for_ninety_days(
    launches: Launches, publish: Publish, site: Site, database: Database
) -> None:
    launches.add()
    publish()
    database.query("UPDATE rocket_launches SET withdrawn_at = %s", NOW + HOUR)
    publish(HOUR)
    event = only(site)
    assert (event.status, event.sequence, event.alarm) == ("CANCELLED", 1, [])
    publish(90 * DAY)
    assert only(site).status == "CANCELLED"
    publish(91 * DAY + 2 * HOUR)
    assert calendar(site).events == []


@pytest.mark.parametrize(
    "text",
    [
        "x\r\nEND:VEVENT\r\nBEGIN:VEVENT",
        'a;b,c\\d:e"f',
        "line\u2028line\u2029line\x85line\x0bline",
        "\u202eright to left",
        "Σ" * 500,
        "x" * 10_000,
        "\x07",
    ],
)
def test_nothing_in_a_text_ends_its_line(text: str, launches: Launches, publish: Publish, site: Site) -> None:
    place = {"name": text, "location": {"name": text}}
    mission = {"name": text, "description": text}
    provider = {"launch_service_provider": {"name": text}}
    launches.add(text, details=DETAILS | provider | {"pad": place, "mission": mission})
    publish()
    for name in [name for name in site.files() if name.endswith(".ics")]:
        [event] = calendar(site, name).events
        assert event.summary
        assert "\r" not in event.summary
    site.assert_whole()


def test_two_providers_that_are_written_alike_have_a_calendar_each(
    launches: Launches, publish: Publish, site: Site
) -> None:
    for name in ("Falcon Works", "Falcon-Works", "鹰", "隼"):
        launches.add(details={"launch_service_provider": {"name": name}})
    publish()
    found = sorted((site.folder / "calendars").iterdir())
    assert len(found) == 4
    for path in found:
        assert len(calendar(site, f"calendars/{path.name}").events) == 1
    assert [node.text() for node in site.page().css(".files a")] == [
        "All launches",
        "Falcon Works",
        "Falcon-Works",
        "隼",
        "鹰",
    ]
