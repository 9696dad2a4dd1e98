"""A launch as a Discord message, one for each kind.

What a phone's lock screen shows is the first line, `content`: it says all that matters. The rest is one embed.

Names and descriptions are other people's text: nothing in them can mention anybody, format anything or make a link.
Discord's limits: content 2,000, title 256, description 4,096, field value 1,024, footer 2,048, 6,000 characters
together. Ours are lower, so that all of them at their longest stay below the last.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from notify.store import Launch

TITLE, DESCRIPTION, VALUE, LINK, LABEL, LINE = 256, 1000, 250, 500, 30, 80
FIELD = 1024  # Discord's own

PRECISE = ("second", "minute", "hour")
OUTCOMES = ("Success", "Failure", "Partial Failure")
STATUSES = {
    "Go": ("Go for launch", 0x2ECC71),
    "TBC": ("To be confirmed", 0xF1C40F),
    "TBD": ("To be determined", 0xF1C40F),
    "Hold": ("On hold", 0xE67E22),
    "In Flight": ("In flight", 0x3498DB),
    "Payload Deployed": ("Payload deployed", 0x3498DB),
    "Success": ("Launch successful", 0x1F8B4C),
    "Partial Failure": ("Launch was a partial failure", 0xE74C3C),
    "Failure": ("Launch failed", 0xE74C3C),
}
GREY = 0x95A5A6
WITHDRAWN = "Withdrawn by the Launch Library"
LINK_SAFE = ":/?#@!$&'*+,;=%~"  # what an address may hold (RFC 3986), but for brackets
# What the Launch Library writes where it knows nothing.
UNKNOWN = re.compile(r"(unknown( (pad|location|payload|orbit|mission))?|(details )?(tbd|tbc|n/a)\.?)", re.IGNORECASE)

SUPPRESS_NOTIFICATIONS = 1 << 12  # a flag of Discord's: nobody's phone makes a sound


def announced(launch: Launch, slips: int = 0) -> dict[str, Any]:
    """Return the message that is edited for as long as the launch can change; `slips` since it was posted."""
    embed = card(launch)
    embed["title"] = escape(launch.name, TITLE) or "Launch without a name"
    times = "once" if slips == 1 else f"{slips} times"
    since = f"\nSlipped {times} since this was posted" if slips else ""
    embed["fields"] = fields(launch, ("When", when(launch) + since), *details(launch))
    if description := known(find(launch.details, "mission.description")):
        embed["description"] = escape(description, DESCRIPTION)
    embed["footer"] = {"text": "Launch Library 2, thespacedevs.com"}
    if is_link(launch.image_url):
        embed["image"] = {"url": launch.image_url}
        if credit := find(launch.details, "image.credit"):
            embed["footer"]["text"] += f" · Image: {cut(plain(credit), VALUE)}"
    if launch.press_kit and (
        kit := link(escape(plain(launch.press_kit_title or ""), LABEL) or "Read", launch.press_kit)
    ):
        embed["fields"].append({"name": "Press kit", "value": kit, "inline": False})
    # No first line: it makes no sound, and the title says it.
    return message("", embed, None, silent=True)


def reminder(launch: Launch, now: datetime, ping: str | None) -> dict[str, Any]:
    """Return the message that the launch is near."""
    net = launch.net or now
    about = "about " if launch.net_precision == "hour" else ""
    text = f"{name(launch)} launches in {about}{span(net - now)}, at {about}{net:%H:%M} UTC"
    embed = card(launch)
    embed["fields"] = fields(launch, ("When", when(launch)), *details(launch, only=("Pad", "Webcast", "Weather")))
    return message(text, embed, ping)


def slipped(launch: Launch, before: Launch, ping: str | None) -> dict[str, Any]:
    """Return the message that the time has moved from that of `before`, or is on hold."""
    embed = card(launch)
    known = (("Reason", reason(launch)), ("Latest", latest(launch)), ("Weather", weather(launch)))
    if launch.status == "Hold":
        text = f"{name(launch)} is on hold; it was to launch {brief(before, launch)}"
        embed["fields"] = fields(launch, ("When", when(launch)), *known)
        return message(text, embed, ping)
    text = f"{name(launch)} {move(before, launch)}"
    # Without a countdown to a time that is none any more.
    embed["fields"] = [{"name": "Was", "value": when(before).partition("\n")[0], "inline": False}]
    embed["fields"] += fields(launch, ("Now", when(launch)), *known)
    return message(text, embed, ping)


def live(launch: Launch, now: datetime, ping: str | None) -> dict[str, Any]:
    """Return the message that the webcast has begun, with the link to it."""
    left = f", launch in {span(launch.net - now)}, at {launch.net:%H:%M} UTC" if launch.net and is_exact(launch) else ""
    embed = card(launch)
    embed["fields"] = fields(launch, *details(launch, only=("Webcast",)), ("When", when(launch)))
    return message(f"{name(launch)} is live{left}", embed, ping)


def outcome(launch: Launch, ping: str | None) -> dict[str, Any]:
    """Return the message that tells how the launch ended; a success makes no sound."""
    words = {"Success": "was successful", "Failure": "failed", "Partial Failure": "was a partial failure"}
    why = reason(launch)
    text = f"{name(launch)} {words.get(launch.status or '', 'has ended')}" + (f": {why}" if why else "")
    embed = card(launch)
    embed["fields"] = fields(launch, ("Launched", when(launch)), ("Latest", latest(launch)))
    has_failed = launch.status != "Success"
    return message(text, embed, ping if has_failed else None, silent=not has_failed)


def board(launches: Sequence[Launch]) -> dict[str, Any]:
    """Return the one message with the launches to come."""
    lines = [
        f"**{escape(launch.name, LINE) or 'Launch without a name'}**\n{when(launch).replace(chr(10), ', ')}"
        + (" · on hold" if launch.status == "Hold" else "")
        for launch in launches
    ]
    embed = {"title": "Next launches", "description": "\n".join(lines) or "No launch is known.", "color": GREY}
    return message("", embed, None, silent=True)


def message(text: str, embed: dict[str, Any], ping: str | None, *, silent: bool = False) -> dict[str, Any]:
    """Return the body for Discord's "Execute Webhook" and "Edit Webhook Message".

    `ping` is the id of the role to mention: the only mention that is possible.
    """
    body: dict[str, Any] = {"embeds": [embed], "allowed_mentions": {"parse": []}}
    if ping:
        text = f"{text} <@&{ping}>"
        body["allowed_mentions"]["roles"] = [ping]
    if text:
        body["content"] = text
    if silent:
        body["flags"] = SUPPRESS_NOTIFICATIONS
    return body


def card(launch: Launch) -> dict[str, Any]:
    """Return an embed in the color of the launch's status."""
    return {"color": GREY if launch.is_withdrawn else STATUSES.get(launch.status or "", ("", GREY))[1]}


def fields(launch: Launch, first: tuple[str, str | None], *others: tuple[str, str | None]) -> list[dict[str, Any]]:
    """Return an embed's fields, but for those without a value."""
    known = STATUSES.get(launch.status or "", (escape(launch.status or "Unknown", VALUE), GREY))[0]
    status = WITHDRAWN if launch.is_withdrawn else known
    short = ("Status", "Rocket", "Provider", "Mission")
    pairs = (first, ("Status", status), *others)
    return [{"name": name, "value": value, "inline": name in short} for name, value in pairs if value]


def name(launch: Launch) -> str:
    """Return a launch's name as part of a sentence."""
    return escape(launch.name, VALUE) or "A launch without a name"


def is_placeholder(launch: Launch) -> bool:
    """Tell whether a time of 2.0.0, which has no precision, is a date that nobody knows yet: TBD at midnight."""
    at_midnight = launch.net is not None and launch.net.time() == datetime.min.time()
    return launch.net_precision is None and launch.status == "TBD" and at_midnight


def is_exact(launch: Launch) -> bool:
    """Tell whether a time, if there is one, is known to the hour or better."""
    return launch.net_precision in (None, *PRECISE) and not is_placeholder(launch)


def when(launch: Launch) -> str:
    """Say when, no more exactly than it is known.

    `<t:UNIX:F>` and `<t:UNIX:R>` are shown in the reader's own time zone and as a countdown, so they are for times
    that are known to the hour or better.
    """
    net, precision = launch.net, launch.net_precision
    if net is None:
        return "No date yet"
    if is_exact(launch) and not launch.is_withdrawn:
        shown, countdown = f"<t:{int(net.timestamp())}:F>", f"<t:{int(net.timestamp())}:R>"
        return f"About {shown}, known to the hour\n{countdown}" if precision == "hour" else f"{shown}\n{countdown}"
    return f"It was to be {date(launch)}" if launch.is_withdrawn else date(launch)


def date(launch: Launch) -> str:
    """Say on which day, in which month or in which year, in UTC."""
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
    return words.get(precision or "day") or f"{net.year} ({escape(precision or '', VALUE)})"


def brief(launch: Launch, beside: Launch) -> str:
    """Say when in a sentence: without the day if it is that of `beside`."""
    net = launch.net
    if net is None or not is_exact(launch):
        return date(launch)
    about = "about " if launch.net_precision == "hour" else ""
    same_day = beside.net is not None and beside.net.date() == net.date()
    return f"{'' if same_day else f'{net.day} {net:%B}, '}{about}{net:%H:%M} UTC"


def move(before: Launch, after: Launch) -> str:
    """Say where a time has moved to, and by how much where both are known to the hour or better."""
    if after.net is None:
        return "has no date any more"
    if before.net is None or not is_exact(before) or not is_exact(after):
        return f"slipped to {brief(after, before)}"
    if after.net < before.net:
        return f"moved up to {brief(after, before)}, {span(before.net - after.net)} earlier"
    return f"slipped to {brief(after, before)}, +{span(after.net - before.net)}"


def span(length: timedelta) -> str:
    """Write a length of time in its two largest units, such as "1 h 15 min" or "2 days 3 h"."""
    minutes = max(1, round(length.total_seconds() / 60))
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [f"{days} day{'' if days == 1 else 's'}" if days else "", f"{hours} h" if hours else ""]
    parts += [f"{minutes} min" if minutes and not days else ""]
    return " ".join(filter(None, parts))


def facets(launch: Launch) -> dict[str, str]:
    """Return what a channel's filters look at: name, provider, rocket, pad, location."""
    of = launch.details
    rocket = find(of, "rocket.configuration.full_name", "rocket.configuration.name", "details.rocket")
    return {
        "name": launch.name,
        "provider": find(of, "launch_service_provider.name", "lsp_name", "details.provider") or "",
        "rocket": rocket or (launch.name.partition(" | ")[0] if " | " in launch.name else ""),
        "pad": find(of, "pad.name", "pad") or "",
        "location": find(of, "pad.location.name", "location") or "",
    }


def details(launch: Launch, only: Sequence[str] = ()) -> Iterator[tuple[str, str | None]]:
    """Yield the fields that come out of the launch as received, in whichever version of the API."""
    of, words = launch.details, facets(launch)
    pad, location = (known(words[part]) for part in ("pad", "location"))
    place = escape(", ".join(filter(None, (pad, location))), VALUE)
    latitude, longitude = find(of, "pad.latitude"), find(of, "pad.longitude")
    built = f"https://www.openstreetmap.org/?mlat={latitude}&mlon={longitude}" if latitude and longitude else None
    mapped = (link(place, find(of, "pad.map_url")) or link(place, built)) if pad else None

    mission = known(find(of, "mission.name", "mission"))
    kinds = (find(of, "mission.type", "mission_type"), find(of, "mission.orbit.name", "orbit"))
    kind = ", ".join(filter(None, map(known, kinds)))
    every = {
        "Rocket": escape(words["rocket"], VALUE),
        "Provider": escape(words["provider"], VALUE),
        "Pad": mapped or place,
        "Mission": escape(f"{mission} ({kind})" if mission and kind else mission or kind, VALUE),
        "Webcast": webcast(launch),
        "Weather": None if launch.status in OUTCOMES else weather(launch),
        "Reason": reason(launch),
        "Latest": latest(launch),
    }
    yield from ((name, value) for name, value in every.items() if not only or name in only)


def webcast(launch: Launch) -> str | None:
    """Link the official webcast and, where it is another, the first by the Launch Library's own order."""
    found = []
    for key in ("vid_urls", "vidURLs"):
        videos = launch.details.get(key) if isinstance(launch.details, dict) else None
        for number, video in enumerate(videos if isinstance(videos, list) else []):
            url = video if isinstance(video, str) else find(video, "url")
            kind = find(video, "type.name") or ""
            priority = video.get("priority") if isinstance(video, dict) else None
            if is_link(url):
                found.append((priority if type(priority) is int else number, number, kind, url))
    found.sort(key=lambda video: video[:2])
    official = [video for video in found if video[2].startswith("Official")]
    links = []
    for *_, kind, url in dict.fromkeys((official or found)[:1] + found[:1]):
        label = escape(kind, LABEL) if len(found) > 1 and official else ""
        links.append(link(label or "Watch", url))
    both = " · ".join(filter(None, links)) or link("Watch", find(launch.details, "mission.vid_urls.0.url"))
    return both if both is None or len(both) <= FIELD else links[0]


def weather(launch: Launch) -> str | None:
    """Say how likely the weather allows the launch, and what may not."""
    probability = launch.details.get("probability") if isinstance(launch.details, dict) else None
    concerns = known(find(launch.details, "weather_concerns"))
    likely = f"{probability} % go" if type(probability) is int and 0 <= probability <= 100 else ""
    return escape(". ".join(filter(None, (likely, concerns and f"Concerns: {concerns}"))), VALUE)


def reason(launch: Launch) -> str | None:
    """Say why a launch is on hold or has failed, if the Launch Library does."""
    path = {"Hold": "holdreason", "Failure": "failreason", "Partial Failure": "failreason"}.get(launch.status or "")
    return escape(known(find(launch.details, path)) or "", VALUE) if path else None


def latest(launch: Launch) -> str | None:
    """Return the newest line that the Launch Library's team wrote about the launch."""
    updates = launch.details.get("updates") if isinstance(launch.details, dict) else None
    lines = [
        (find(update, "created_on") or "", find(update, "comment") or "")
        for update in (updates if isinstance(updates, list) else [])
    ]
    return escape(max(lines, key=lambda line: line[0])[1], VALUE) if lines else None


def known(text: str | None) -> str | None:
    """Return a text that says something, None for the Launch Library's "Unknown" and "TBD"."""
    return None if text is None or UNKNOWN.fullmatch(text) else text


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
