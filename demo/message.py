"""Shows a Discord message in a terminal, as its reader would see it."""

import re
import textwrap
from collections.abc import Iterator
from datetime import datetime
from typing import Any

WIDTH = 76
UNITS = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}


def show(message: dict[str, Any], earlier: list[dict[str, Any]]) -> str:
    """Return a message in a frame; of its `earlier` versions, the lines that an edit has replaced."""
    lines = list(render(message))
    for version in earlier:
        lines += ["", "(edited; it said before:)", *(line for line in render(version) if line not in lines)]
    framed = (f"│ {line}".rstrip() for line in lines)
    return "\n".join(("┌" + "─" * WIDTH, *framed, "└" + "─" * WIDTH))


def render(message: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a message."""
    yield from wrap(message.get("content", ""))
    for embed in message.get("embeds", []):
        yield from wrap(embed.get("title", ""))
        yield from wrap(embed.get("url", ""))
        yield from wrap(embed.get("description", ""))
        yield ""
        for item in embed.get("fields", []):
            yield from wrap(f"{item['name'] + ':':<10}{item['value']}", " " * 10)
        yield ""
        if image := embed.get("image", {}).get("url"):
            yield f"[image: {image}]"
        yield from wrap(embed.get("footer", {}).get("text", ""))


def wrap(markdown: str, indent: str = "") -> list[str]:
    """Break a text into lines, its Markdown shown as Discord shows it."""
    text = re.sub(r"<t:(-?\d+):(\w)>", lambda match: moment(int(match[1]), match[2]), markdown.replace("\n", ", "))
    text = re.sub(r"(?<!\\)\[(.+?)(?<!\\)\]\((\S+?)\)", r"\1 <\2>", text)
    text = re.sub(r"\\([^\w\s])", r"\1", text)
    return textwrap.wrap(text, WIDTH - 2, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def moment(unix: int, style: str) -> str:
    """Show Discord's `<t:UNIX:STYLE>`: R as a countdown, any other as date and time in the reader's time zone."""
    time = datetime.fromtimestamp(unix).astimezone()
    if style != "R":
        return f"{time:%A}, {time.day} {time:%B %Y %H:%M %Z}"
    seconds = (time - datetime.now(time.tzinfo)).total_seconds()
    unit, size = next((unit, size) for unit, size in UNITS.items() if abs(seconds) >= size or size == 1)
    number = round(abs(seconds) / size)
    plural = "" if number == 1 else "s"
    return f"in {number} {unit}{plural}" if seconds > 0 else f"{number} {unit}{plural} ago"
