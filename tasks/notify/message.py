"""A launch as a Discord message, one for each kind.

What a phone's lock screen shows is the first line, `content`: it says all that matters. The rest is one embed.

Names and descriptions are other people's text: nothing in them can mention anybody, format anything or make a link.
Discord's limits: content 2,000, title 256, description 4,096, field value 1,024, footer 2,048, 6,000 characters
together. Ours are lower, so that all of them at their longest stay below the last.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import wording
from notify.store import Launch
from wording import (
    ENDED,
    LINK,
    OUTCOMES,
    STATUSES,
    brief,
    date,
    facets,
    find,
    is_exact,
    is_link,
    known,
    maps,
    mission,
    move,
    plain,
    span,
    webcasts,
)

TITLE, DESCRIPTION, VALUE, LABEL, LINE = 256, 1000, 250, 30, 80
FIELD = 1024  # Discord's own

COLORS = {
    "Go": 0x2ECC71,
    "TBC": 0xF1C40F,
    "TBD": 0xF1C40F,
    "Hold": 0xE67E22,
    "In Flight": 0x3498DB,
    "Payload Deployed": 0x3498DB,
    "Success": 0x1F8B4C,
    "Partial Failure": 0xE74C3C,
    "Failure": 0xE74C3C,
}
GREY = 0x95A5A6
WITHDRAWN = "Withdrawn by the Launch Library"
LINK_SAFE = ":/?#@!$&'*+,;=%~"  # what an address may hold (RFC 3986), but for brackets

SUPPRESS_NOTIFICATIONS = 1 << 12  # a flag of Discord's: nobody's phone makes a sound


def announced(launch: Launch, slips: int = 0) -> dict[str, Any]:
    """Return the message that is edited for as long as the launch can change; `slips` since it was posted."""
    embed = card(launch)
    embed["title"] = escape(launch.name, TITLE) or "Launch without a name"
    if is_link(launch.page):
        embed["url"] = launch.page  # what the title links to
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
        text = f"{name(launch)} is on hold; it was to launch {brief(before, launch, word)}"
        embed["fields"] = fields(launch, ("When", when(launch)), *known)
        return message(text, embed, ping)
    text = f"{name(launch)} {move(before, launch, word)}"
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
    why = reason(launch)
    text = f"{name(launch)} {ENDED.get(launch.status or '', 'has ended')}" + (f": {why}" if why else "")
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
    return {"color": GREY if launch.is_withdrawn else COLORS.get(launch.status or "", GREY)}


def fields(launch: Launch, first: tuple[str, str | None], *others: tuple[str, str | None]) -> list[dict[str, Any]]:
    """Return an embed's fields, but for those without a value."""
    known = STATUSES.get(launch.status or "") or escape(launch.status or "Unknown", VALUE)
    status = WITHDRAWN if launch.is_withdrawn else known
    short = ("Status", "Rocket", "Provider", "Mission")
    pairs = (first, ("Status", status), *others)
    return [{"name": name, "value": value, "inline": name in short} for name, value in pairs if value]


def name(launch: Launch) -> str:
    """Return a launch's name as part of a sentence."""
    return escape(launch.name, VALUE) or "A launch without a name"


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
    return f"It was to be {date(launch, word)}" if launch.is_withdrawn else date(launch, word)


def details(launch: Launch, only: Sequence[str] = ()) -> Iterator[tuple[str, str | None]]:
    """Yield the fields that come out of the launch as received, in whichever version of the API."""
    words = facets(launch.name, launch.details)
    pad, location = (known(words[part]) for part in ("pad", "location"))
    place = escape(", ".join(filter(None, (pad, location))), VALUE)
    mapped = next(filter(None, (link(place, address) for address in maps(launch.details))), None) if pad else None
    every = {
        "Rocket": escape(words["rocket"], VALUE),
        "Provider": escape(words["provider"], VALUE),
        "Pad": mapped or place,
        "Mission": escape(mission(launch.details) or "", VALUE),
        "Webcast": webcast(launch),
        "Weather": None if launch.status in OUTCOMES else weather(launch),
        "Reason": reason(launch),
        "Latest": latest(launch),
    }
    yield from ((name, value) for name, value in every.items() if not only or name in only)


def webcast(launch: Launch) -> str | None:
    """Link the official webcast and, where it is another, the first by the Launch Library's own order."""
    found = webcasts(launch.details)
    official = [video for video in found if video.kind.startswith("Official")]
    links = []
    for video in dict.fromkeys((official or found)[:1] + found[:1]):
        label = escape(video.kind, LABEL) if len(found) > 1 and official else ""
        links.append(link(label or "Watch", video.url))
    both = " · ".join(filter(None, links)) or link("Watch", find(launch.details, "mission.vid_urls.0.url"))
    return both if both is None or len(both) <= FIELD else links[0]


def weather(launch: Launch) -> str:
    """Say how likely the weather allows the launch, and what may not."""
    return escape(wording.weather(launch.details), VALUE)


def reason(launch: Launch) -> str:
    """Say why a launch is on hold or has failed, if the Launch Library does."""
    return escape(wording.reason(launch.status, launch.details) or "", VALUE)


def latest(launch: Launch) -> str | None:
    """Return the newest line that the Launch Library's team wrote about the launch."""
    return next((escape(text, VALUE) for _, text in wording.updates(launch.details)), None)


def word(text: str) -> str:
    """Return a word of the Launch Library's that we do not know, as a part of a sentence."""
    return escape(text, VALUE)


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


def link(text: str, url: str | None) -> str | None:
    """Return a Markdown link; a bracket in the address would end it too early."""
    address = quote(url or "", safe=LINK_SAFE)
    return f"[{text}]({address})" if is_link(url) and len(address) <= LINK else None
