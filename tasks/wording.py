"""How a launch is told to people: what it is, when, and what has changed; for each version of the API.

All of it is other people's text, on one line: whoever shows it escapes it. This file is copied into each image, beside
step.py.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

LINK = 500  # characters of an address that is shown
LAST_YEAR = 9000  # so that there is room for a year more

PRECISE = ("second", "minute", "hour")
OUTCOMES = ("Success", "Failure", "Partial Failure")
STATUSES = {
    "Go": "Go for launch",
    "TBC": "To be confirmed",
    "TBD": "To be determined",
    "Hold": "On hold",
    "In Flight": "In flight",
    "Payload Deployed": "Payload deployed",
    "Success": "Launch successful",
    "Partial Failure": "Launch was a partial failure",
    "Failure": "Launch failed",
}
ENDED = {"Success": "was successful", "Failure": "failed", "Partial Failure": "was a partial failure"}
# What the Launch Library writes where it knows nothing.
UNKNOWN = re.compile(r"(unknown( (pad|location|payload|orbit|mission))?|(details )?(tbd|tbc|n/a)\.?)", re.IGNORECASE)


def plain(text: str) -> str:
    """Return a text on one line, without control characters and directions of writing."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())


Shown = Callable[[str], str]


class Timed(Protocol):
    """A launch's time, and how well it is known; `net` is in UTC."""

    @property
    def net(self) -> datetime | None: ...  # noqa: D102  # its name says it
    @property
    def net_precision(self) -> str | None: ...  # noqa: D102
    @property
    def status(self) -> str | None: ...  # noqa: D102


class Webcast(NamedTuple):
    """A video's address; `kind` is such as "Official Webcast", or empty."""

    kind: str
    url: str


def is_placeholder(launch: Timed) -> bool:
    """Tell whether a time of 2.0.0, which has no precision, is a date that nobody knows yet: TBD at midnight."""
    at_midnight = launch.net is not None and launch.net.time() == datetime.min.time()
    return launch.net_precision is None and launch.status == "TBD" and at_midnight


def is_exact(launch: Timed) -> bool:
    """Tell whether a time, if there is one, is known to the hour or better."""
    return launch.net_precision in (None, *PRECISE) and not is_placeholder(launch)


def date(launch: Timed, shown: Shown = plain) -> str:
    """Say on which day, in which month or in which year, in UTC; `shown` writes a precision that is not known."""
    net, precision = launch.net, launch.net_precision
    if net is None:
        return "without a date"
    if is_placeholder(launch):
        return f"Not before {net.day} {net:%B %Y}"
    day = f"{net.day} {net:%B %Y}"
    monday = net - timedelta(days=net.weekday())
    words = {
        **dict.fromkeys(("day", *PRECISE), day),
        "morning": f"{day}, morning",
        "afternoon": f"{day}, afternoon",
        "week": f"Week of {monday.day} {monday:%B %Y}",
        "month": f"{net:%B %Y}",
        **{f"quarter {number}": f"Quarter {number} of {net.year}" for number in range(1, 5)},
        "half 1": f"First half of {net.year}",
        "half 2": f"Second half of {net.year}",
        "year": f"{net.year}",
    }
    return words.get(precision or "day") or f"{net.year} ({shown(precision or '')})"


def period(launch: Timed) -> tuple[datetime, datetime]:  # noqa: PLR0911  # a precision each
    """Return from when to when a launch can be, as its time is known; for an exact time, both are that time."""
    net = launch.net or datetime.max.replace(tzinfo=UTC)
    if is_exact(launch) or net.year > LAST_YEAR:
        return net, net
    day = net.replace(hour=0, minute=0, second=0, microsecond=0)
    month = day.replace(day=1)
    precision = launch.net_precision or ""
    if is_placeholder(launch) or precision == "month":
        return month, later(month, 1)
    if precision in ("day", "morning", "afternoon"):
        return day, day + timedelta(days=1)
    if precision == "week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    if precision.startswith("quarter"):
        quarter = month.replace(month=(month.month - 1) // 3 * 3 + 1)
        return quarter, later(quarter, 3)
    if precision.startswith("half"):
        half = month.replace(month=1 if month.month <= 6 else 7)
        return half, later(half, 6)
    year = month.replace(month=1)
    return year, later(year, 12)


def later(month: datetime, by: int) -> datetime:
    """Return the first of a month, some months on."""
    months = month.year * 12 + month.month - 1 + by
    return month.replace(year=months // 12, month=months % 12 + 1)


def brief(launch: Timed, beside: Timed, shown: Shown = plain) -> str:
    """Say when in a sentence: without the day if it is that of `beside`."""
    net = launch.net
    if net is None or not is_exact(launch):
        return date(launch, shown)
    about = "about " if launch.net_precision == "hour" else ""
    same_day = beside.net is not None and beside.net.date() == net.date()
    return f"{'' if same_day else f'{net.day} {net:%B}, '}{about}{net:%H:%M} UTC"


def move(before: Timed, after: Timed, shown: Shown = plain) -> str:
    """Say where a time has moved to, and by how much where both are known to the hour or better."""
    if after.net is None:
        return "has no date any more"
    if before.net is None or not is_exact(before) or not is_exact(after):
        return f"slipped to {brief(after, before, shown)}"
    if after.net < before.net:
        return f"moved up to {brief(after, before, shown)}, {span(before.net - after.net)} earlier"
    return f"slipped to {brief(after, before, shown)}, +{span(after.net - before.net)}"


def span(length: timedelta) -> str:
    """Write a length of time in its two largest units, such as "1 h 15 min" or "2 days 3 h"."""
    minutes = max(1, round(length.total_seconds() / 60))
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [f"{days} day{'' if days == 1 else 's'}" if days else "", f"{hours} h" if hours else ""]
    parts += [f"{minutes} min" if minutes and not days else ""]
    return " ".join(filter(None, parts))


def facets(name: str, details: Any) -> dict[str, str]:  # noqa: ANN401  # a launch as received
    """Return what launches are chosen by: name, provider, rocket, pad, location; empty where it is not known."""
    rocket = find(details, "rocket.configuration.full_name", "rocket.configuration.name", "details.rocket")
    return {
        "name": name,
        "provider": find(details, "launch_service_provider.name", "lsp_name", "details.provider") or "",
        "rocket": rocket or (name.partition(" | ")[0] if " | " in name else ""),
        "pad": find(details, "pad.name", "pad") or "",
        "location": find(details, "pad.location.name", "location") or "",
    }


def mission(details: Any) -> str | None:  # noqa: ANN401  # the same
    """Return a mission's name with its type and orbit, such as "Starlink (Communications, Low Earth Orbit)"."""
    name = known(find(details, "mission.name", "mission"))
    kinds = (find(details, "mission.type", "mission_type"), find(details, "mission.orbit.name", "orbit"))
    kind = ", ".join(filter(None, map(known, kinds)))
    return f"{name} ({kind})" if name and kind else name or kind or None


def maps(details: Any) -> Iterator[str]:  # noqa: ANN401  # the same
    """Yield addresses of a map of the pad, the best first; what a launch says may be no address."""
    if address := find(details, "pad.map_url"):
        yield address
    latitude, longitude = find(details, "pad.latitude"), find(details, "pad.longitude")
    if latitude and longitude:
        yield f"https://www.openstreetmap.org/?mlat={latitude}&mlon={longitude}"


def webcasts(details: Any) -> list[Webcast]:  # noqa: ANN401  # the same
    """Return a launch's webcasts in the Launch Library's own order."""
    found = []
    for key in ("vid_urls", "vidURLs"):
        videos = details.get(key) if isinstance(details, dict) else None
        for number, video in enumerate(videos if isinstance(videos, list) else []):
            url = video if isinstance(video, str) else find(video, "url")
            priority = video.get("priority") if isinstance(video, dict) else None
            if url and is_link(url):
                order = priority if type(priority) is int else number
                found.append((order, number, Webcast(find(video, "type.name") or "", url)))
    return [webcast for *_, webcast in sorted(found, key=lambda one: one[:2])]


def weather(details: Any) -> str:  # noqa: ANN401  # the same
    """Say how likely the weather allows the launch, and what may not."""
    probability = details.get("probability") if isinstance(details, dict) else None
    concerns = known(find(details, "weather_concerns"))
    likely = f"{probability} % go" if type(probability) is int and 0 <= probability <= 100 else ""
    return ". ".join(filter(None, (likely, concerns and f"Concerns: {concerns}")))


def reason(status: str | None, details: Any) -> str | None:  # noqa: ANN401  # the same
    """Say why a launch is on hold or has failed, if the Launch Library does."""
    path = {"Hold": "holdreason", "Failure": "failreason", "Partial Failure": "failreason"}.get(status or "")
    return known(find(details, path)) if path else None


def updates(details: Any) -> list[tuple[str, str]]:  # noqa: ANN401  # the same
    """Return what the Launch Library's team wrote about the launch, when and what, the newest first."""
    lines = details.get("updates") if isinstance(details, dict) else None
    found = [
        (find(line, "created_on") or "", find(line, "comment") or "")
        for line in (lines if isinstance(lines, list) else [])
    ]
    return sorted(found, key=lambda line: line[0], reverse=True)


def known(text: str | None) -> str | None:
    """Return a text that says something, None for the Launch Library's "Unknown" and "TBD"."""
    return None if text is None or UNKNOWN.fullmatch(text) else text


def find(value: Any, *paths: str) -> str | None:  # noqa: ANN401  # any JSON
    """Return the first string or number, as text, that one of the dotted paths leads to."""
    for path in paths:
        found = value
        for key in path.split("."):
            if isinstance(found, dict):
                found = found.get(key)
            elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            else:
                break
        else:
            if isinstance(found, str | int | float) and not isinstance(found, bool) and (text := plain(str(found))):
                return text
    return None


def is_link(url: object) -> bool:
    """Tell whether this is an address of the web that can be shown."""
    if not isinstance(url, str) or len(url) > LINK or plain(url) != url or " " in url:
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
