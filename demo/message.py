"""Shows a Discord message in a terminal, as its reader would see it when it arrives."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

WIDTH = 76
UNITS = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}
SUPPRESS_NOTIFICATIONS = 1 << 12  # Discord's flag
FIELD = " " * 10  # where the value of a field begins


class Version(NamedTuple):
    """What a message says from a time on, when it was posted or edited."""

    at: datetime
    body: dict[str, Any]


def show(versions: Sequence[Version]) -> str:
    """Return a message in a frame; of its earlier versions, what an edit has replaced."""
    first, last = versions[0], versions[-1]
    sound = "silent" if first.body.get("flags", 0) & SUPPRESS_NOTIFICATIONS else "makes a sound"
    lines = [line for text, indent in parts(last.body) for line in wrap(text, last.at, indent)]
    for before, after in reversed(list(pairwise(versions))):
        lines += ["", f"(edited at {clock(after.at)}; it said before:)"]
        for text, indent in parts(before.body):
            if (text, indent) not in parts(after.body):
                lines += wrap(text, before.at, indent)
    framed = (f"│ {line}".rstrip() for line in lines)
    return "\n".join((f"┌─ {clock(first.at)}, {sound} ".ljust(WIDTH + 1, "─"), *framed, "└" + "─" * WIDTH))


def parts(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the parts of a message from top to bottom, in Markdown, each with the indent of its further lines."""
    if content := body.get("content"):
        yield content, ""
        yield "", ""
    for embed in body.get("embeds", []):
        head = [embed[name] for name in ("title", "url", "description") if embed.get(name)]
        yield from ((text, "") for text in head)
        if head:
            yield "", ""
        for item in embed.get("fields", []):
            yield f"{item['name'] + ':':<{len(FIELD)}}{item['value']}", FIELD
        image, footer = embed.get("image", {}).get("url"), embed.get("footer", {}).get("text")
        if image or footer:
            yield "", ""
        if image:
            yield f"[image: {image}]", ""
        if footer:
            yield footer, ""


def wrap(markdown: str, at: datetime, indent: str) -> Iterator[str]:
    """Break a text into lines, its Markdown shown as Discord shows it at a time."""
    text = re.sub(r"<t:(-?\d+):(\w)>", lambda match: moment(int(match[1]), match[2], at), markdown)
    text = re.sub(r"(?<!\\)\[(.+?)(?<!\\)\]\((\S+?)\)", r"\1 <\2>", text)
    text = re.sub(r"\\([^\w\s])", r"\1", text)
    for number, line in enumerate(text.split("\n")):
        yield from textwrap.wrap(
            line,
            WIDTH - 2,
            initial_indent=indent if number else "",
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]


def moment(unix: int, style: str, at: datetime) -> str:
    """Show Discord's `<t:UNIX:STYLE>`: R as a countdown, any other as date and time in the reader's time zone."""
    time = datetime.fromtimestamp(unix).astimezone()
    if style != "R":
        return f"{time:%A}, {time.day} {time:%B %Y %H:%M %Z}"
    seconds = (time - at).total_seconds()
    unit, size = next((unit, size) for unit, size in UNITS.items() if abs(seconds) >= size or size == 1)
    number = round(abs(seconds) / size)
    plural = "" if number == 1 else "s"
    return f"in {number} {unit}{plural}" if seconds > 0 else f"{number} {unit}{plural} ago"


def clock(time: datetime) -> str:
    """Write a time of day in the reader's time zone."""
    return f"{time.astimezone():%H:%M %Z}"
