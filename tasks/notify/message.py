"""A launch as a Discord message: one embed.

Names and descriptions are other people's text: nothing in them can mention anybody, format anything or make a link.
Discord's limits: title 256, description 4,096, field value 1,024, footer 2,048, 6,000 characters together. Ours are
lower, so that all of them at their longest stay below the last.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from notify.store import Launch

TITLE, DESCRIPTION, VALUE, LINK = 256, 1500, 250, 500

PRECISE = ("second", "minute", "hour")
STATUSES = {
    "Go": ("Go for launch", 0x2ECC71),
    "TBC": ("To be confirmed", 0xF1C40F),
    "TBD": ("To be determined", 0xF1C40F),
    "Hold": ("On hold", 0xE67E22),
    "In Flight": ("In flight", 0x3498DB),
    "Payload Deployed": ("Payload deployed", 0x3498DB),
    "Success": ("Launch successful", 0x3498DB),
    "Partial Failure": ("Launch was a partial failure", 0xE74C3C),
    "Failure": ("Launch failed", 0xE74C3C),
}
GREY = 0x95A5A6
LINK_SAFE = ":/?#@!$&'*+,;=%~"  # what an address may hold (RFC 3986), but for brackets


def build(launch: Launch) -> dict[str, Any]:
    """Return the body for Discord's "Execute Webhook" and "Edit Webhook Message"."""
    status, color = STATUSES.get(launch.status or "", (escape(launch.status or "Unknown", VALUE), GREY))
    embed: dict[str, Any] = {
        "title": escape(launch.name, TITLE) or "Launch without a name",
        "color": color,
        "fields": [
            {"name": name, "value": value, "inline": name not in ("When", "Pad", "Webcast")}
            for name, value in (("When", when(launch)), ("Status", status), *details(launch))
            if value
        ],
        "footer": {"text": "Launch Library 2, thespacedevs.com"},
    }
    if description := find(launch.details, "mission.description"):
        embed["description"] = escape(description, DESCRIPTION)
    if is_link(launch.image_url):
        embed["image"] = {"url": launch.image_url}
        if credit := find(launch.details, "image.credit"):
            embed["footer"]["text"] += f" · Image: {cut(plain(credit), VALUE)}"
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def when(launch: Launch) -> str:
    """Say when, no more exactly than it is known.

    `<t:UNIX:F>` and `<t:UNIX:R>` are shown in the reader's own time zone and as a countdown, so they are for times
    that are known to the hour or better.
    """
    net, precision = launch.net, launch.net_precision
    if net is None:
        return "No date yet"
    date = f"{net.day} {net:%B %Y}"
    if precision in PRECISE:
        return f"<t:{int(net.timestamp())}:F>\n<t:{int(net.timestamp())}:R>"
    if precision is None:  # 2.0.0, where a TBD at midnight is a date that nobody knows yet
        if launch.status == "TBD" and net.time() == datetime.min.time():
            return f"Not before {date}"
        return f"<t:{int(net.timestamp())}:F>\n<t:{int(net.timestamp())}:R>"
    monday = net - timedelta(days=net.weekday())
    words = {
        "day": date,
        "morning": f"{date}, morning",
        "afternoon": f"{date}, afternoon",
        "week": f"Week of {monday.day} {monday:%B %Y}",
        "month": f"{net:%B %Y}",
        "quarter": f"Quarter {(net.month + 2) // 3} of {net.year}",
        "half": f"{'First' if net.month <= 6 else 'Second'} half of {net.year}",
        "year": f"{net.year}",
    }
    return words.get(precision) or f"{net.year} ({escape(precision, VALUE)})"


def details(launch: Launch) -> Iterator[tuple[str, str | None]]:
    """Yield the fields that come out of the launch as received, in whichever version of the API."""
    of = launch.details
    rocket = find(of, "rocket.configuration.full_name", "rocket.configuration.name", "details.rocket")
    if not rocket and " | " in launch.name:  # every name is "rocket | mission"
        rocket = launch.name.partition(" | ")[0]
    yield "Rocket", rocket and escape(rocket, VALUE)

    provider = find(of, "launch_service_provider.name", "lsp_name", "details.provider")
    yield "Provider", provider and escape(provider, VALUE)

    pad = find(of, "pad.name", "pad")
    location = find(of, "pad.location.name", "location")
    if pad or location:
        place = escape(", ".join(filter(None, (pad, location))), VALUE)
        latitude, longitude = find(of, "pad.latitude"), find(of, "pad.longitude")
        built = f"https://www.openstreetmap.org/?mlat={latitude}&mlon={longitude}" if latitude and longitude else None
        yield "Pad", link(place, find(of, "pad.map_url")) or link(place, built) or place

    mission = find(of, "mission.name", "mission")
    kind = ", ".join(filter(None, (find(of, "mission.type", "mission_type"), find(of, "mission.orbit.name", "orbit"))))
    if mission or kind:
        yield "Mission", escape(f"{mission} ({kind})" if mission and kind else mission or kind, VALUE)

    webcast = find(of, "vid_urls.0.url", "vidURLs.0.url", "vidURLs.0", "mission.vid_urls.0.url")
    yield "Webcast", link("Watch", webcast)


def find(value: Any, *paths: str) -> str | None:  # noqa: ANN401  # any JSON
    """Return the first string or number, as text, that one of the dotted paths leads to."""
    for path in paths:
        found = value
        for key in path.split("."):
            if isinstance(found, list) and key.isdecimal():
                found = found[int(key)] if int(key) < len(found) else None
            else:
                found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, str | int | float) and not isinstance(found, bool) and (text := plain(str(found))):
            return text
    return None


def plain(text: str) -> str:
    """Return a text on one line, without control characters and directions of writing."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def escape(text: str, limit: int) -> str:
    """Return a text that Discord shows as it is: no formatting, mention, emoji name, or link made of an address."""
    text = re.sub(r"([\\*_~|`<>\[\]()@:])", r"\\\1", plain(text))
    return cut(re.sub(r"^(\d*)([#+.-])", r"\1\\\2", text), limit)


def cut(text: str, limit: int) -> str:
    """Shorten to so many UTF-16 units, by which Discord's own editor counts, and never behind half an escape."""
    if units(text) <= limit:
        return text
    text = text[:limit]
    while units(text) > limit - 1 or text.endswith("\\"):
        text = text[:-1]
    return text + "…"


def units(text: str) -> int:
    """Count UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2


def is_link(url: object) -> bool:
    """Tell whether Discord takes this as an address."""
    if not isinstance(url, str) or len(url) > LINK or plain(url) != url or " " in url:
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def link(text: str, url: str | None) -> str | None:
    """Return a Markdown link; a bracket in the address would end it too early."""
    address = quote(url or "", safe=LINK_SAFE)
    return f"[{text}]({address})" if is_link(url) and len(address) <= LINK else None
