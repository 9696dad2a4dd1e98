"""The calendars, by RFC 5545: an event a launch, which moves with it.

A launch is one event for ever: its UID is the launch's id, and SEQUENCE rises with each revision. From day precision on
it is all-day, over the whole period in which it can be; one that is known only to its quarter, half or year would fill
each of these days, and comes in once its month is known.
"""

import hashlib
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import NamedTuple

from icalendar import Alarm, Calendar, Event
from icalendar.prop import vDuration

from publish.history import title
from publish.store import Row
from wording import STATUSES, is_exact, period

LENGTH = timedelta(hours=1)  # of an event with a time: a launch itself has none
REFRESH = timedelta(hours=1)
SURE = ("Go", "In Flight", "Payload Deployed", "Success", "Failure", "Partial Failure")
VAGUE = ("quarter", "half", "year")


def is_listed(row: Row) -> bool:
    """Tell whether a launch is an event: its month is known, or it was an event before, which is now cancelled."""
    return bool(row.net) and (is_dated(row) or row.event is not None)


def is_dated(row: Row) -> bool:
    """Tell whether a launch is known to the month or better."""
    return row.net is not None and not (row.net_precision or "").startswith(VAGUE)


class Said(NamedTuple):
    """What an event says, but for what tells its revision; two revisions differ in this."""

    uid: str
    summary: str
    start: datetime | date
    end: datetime | date
    status: str
    description: str
    url: str
    location: str
    provider: str


def said(row: Row, page: str) -> Said:
    """Return what a launch's event says; `page` is the address of its page."""
    facts, state = row.facts, row.state
    start, end = period(state)
    is_cancelled = bool(row.withdrawn_at) or not is_dated(row)
    lines = [
        STATUSES.get(row.status or "", ""),
        facts.get("mission", ""),
        facts.get("description", ""),
        *(f"Webcast: {url}" for _, url in facts.get("webcasts", [])[:1]),
        page,
    ]
    return Said(
        uid=row.launch_id,
        summary=title(state),
        start=start if is_exact(state) else start.date(),
        end=end + LENGTH if is_exact(state) else end.date(),
        status="CANCELLED" if is_cancelled else "CONFIRMED" if row.status in SURE else "TENTATIVE",
        description="\n".join(filter(None, lines)),
        url=page,
        location=", ".join(filter(None, (facts.get("pad"), facts.get("location")))),
        provider=facts.get("provider", ""),
    )


def digest(event: Said) -> str:
    """Return what is the same for two revisions that say the same."""
    return hashlib.sha256(repr(event).encode()).hexdigest()


def written(event: Said, sequence: int, revised_at: datetime) -> str:
    """Write an event, and which revision of it this is, and of when."""
    found = Event()
    found.add("uid", event.uid)
    found.add("sequence", sequence)
    found.add("dtstamp", revised_at)
    found.add("last-modified", revised_at)
    found.add("summary", event.summary)
    found.add("dtstart", event.start)
    found.add("dtend", event.end)
    found.add("status", event.status)
    found.add("transp", "TRANSPARENT")  # it keeps nobody from an appointment
    found.add("description", event.description)
    found.add("url", event.url)
    if event.location:
        found.add("location", event.location)
    if event.provider:
        found.add("categories", [event.provider])
    if isinstance(event.start, datetime) and event.status != "CANCELLED":
        alarm = Alarm()
        alarm.add("action", "DISPLAY")
        alarm.add("trigger", -timedelta(hours=1))
        alarm.add("description", event.summary)
        found.add_component(alarm)
    return str(found.to_ical().decode())


def calendar(name: str, address: str, events: Iterable[str]) -> bytes:
    """Return a calendar that others subscribe to, of events as `written` returns them."""
    found = Calendar()
    found.add("prodid", "-//rocket-launches//publish//EN")
    found.add("version", "2.0")
    found.add("method", "PUBLISH")
    found.add("name", name)
    found.add("x-wr-calname", name)  # what most programs read instead
    found.add("url", address)
    found.add("source", address, parameters={"VALUE": "URI"})
    found.add("refresh-interval", vDuration(REFRESH), parameters={"VALUE": "DURATION"})
    found.add("x-published-ttl", "PT1H")
    # An event is written once: that takes most of the time.
    head, end, _ = found.to_ical().decode().partition("END:VCALENDAR")
    return "".join((head, *events, end, "\r\n")).encode()
