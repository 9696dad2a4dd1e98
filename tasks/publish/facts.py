"""What the site says of a launch, read out of its details once and kept in published_launches."""

from datetime import UTC, datetime
from typing import Any

from wording import facets, find, is_link, known, maps, mission, reason, updates, weather, webcasts

READER = 1  # the version of what is below: with another one, all details are read again

# All of them: texts, then lists of [kind, url] and of [time, text].
UNKNOWN: dict[str, Any] = {
    **dict.fromkeys(("provider", "rocket", "pad", "location", "mission", "description", "map", "picture", "credit")),
    **dict.fromkeys(("weather", "holdreason", "failreason")),
    "webcasts": [],
    "updates": [],
}
SHORT, LONG = 200, 2000  # characters of a name, and of a text
MOST = 5  # webcasts, updates


def facts(name: str, details: Any) -> dict[str, Any]:  # noqa: ANN401  # a launch as received
    """Return those of the facts that are known, such as `{"provider": "SpaceX", "updates": [[time, text], …]}`."""
    words = facets(name, details)
    found: dict[str, Any] = {part: known(words[part]) for part in ("provider", "rocket", "pad", "location")}
    found |= {
        "mission": mission(details),
        "picture": find(details, "image.name"),
        "credit": find(details, "image.credit"),
        "weather": weather(details),
        "holdreason": reason("Hold", details),
        "failreason": reason("Failure", details),
    }
    found = {key: cut(text, SHORT) for key, text in found.items() if text}
    if description := known(find(details, "mission.description")):
        found["description"] = cut(description, LONG)
    if address := next(filter(is_link, maps(details)), None):
        found["map"] = address
    found["webcasts"] = [[cut(video.kind, SHORT), video.url] for video in webcasts(details)[:MOST]]
    found["updates"] = [[time_of(at), cut(text, LONG)] for at, text in updates(details)[:MOST] if text]
    return {key: value for key, value in found.items() if value}


def time_of(text: str) -> str:
    """Return a time as programs read it; empty where the text is none."""
    try:
        at = datetime.fromisoformat(text)
        return f"{(at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError):
        return ""


def cut(text: str, length: int) -> str:
    """Shorten a text to so many characters."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"
