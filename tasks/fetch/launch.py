"""One launch, as the Launch Library 2.3.0, 2.2.0 and 2.0.0 and the original project's example page write it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from page import clean

# By their ids, so that one launch reads the same in every version of the API. An id that is not here is shown by the
# word that comes with it.
STATUSES = {
    1: "Go",
    2: "TBD",
    3: "Success",
    4: "Failure",
    5: "Hold",
    6: "In Flight",
    7: "Partial Failure",
    8: "TBC",
    9: "Payload Deployed",
}
PRECISIONS = {
    0: "second",
    1: "minute",
    2: "hour",
    5: "day",
    6: "week",
    7: "month",
    8: "quarter 1",
    9: "quarter 2",
    10: "quarter 3",
    11: "quarter 4",
    12: "half 1",
    13: "half 2",
    14: "year",
}

LONGEST_ID = 255  # a UUID has 36; what is longer than an index entry would fail the whole page


class Unreadable(Exception):  # noqa: N818  # it says something of the launch
    """Why a launch cannot be stored."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What is stored of a launch; `details` is all of it, as received, or None where the object store has it."""

    launch_id: str
    name: str
    net: datetime | None
    net_precision: str | None
    status: str | None
    image_url: str | None
    last_updated: datetime | None
    details: Any


def read(value: object) -> Launch:
    """Read one element of a page's `results`.

    Fields that a version does not have are None. Raises Unreadable for anything that is no launch: no id, no name, or
    a value of another type than every version gives it.
    """
    if not isinstance(value, dict):
        raise Unreadable(f"it is {kind(value)}, not an object")
    launch_id = value.get("id")
    if not isinstance(launch_id, str) or not launch_id:
        raise Unreadable(f"its id is {kind(launch_id)}")
    if len(launch_id) > LONGEST_ID or clean(launch_id) != launch_id:
        raise Unreadable("its id is longer than an id can be, or has characters that cannot be stored")
    try:
        details = clean(value)
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except ValueError as reason:
        raise Unreadable(str(reason)) from None
    if not (name := text(details, "name")):
        raise Unreadable("it has no name")
    return Launch(
        launch_id=launch_id,
        name=name,
        net=time(details, "net"),
        net_precision=(precision := word(details, "net_precision", PRECISIONS)) and precision.lower(),
        status=word(details, "status", STATUSES),
        image_url=image(details),
        last_updated=time(details, "last_updated"),
        details=details,
    )


def text(launch: Mapping[str, Any], field: str) -> str | None:
    """Return a string, or None where it is missing, null or empty."""
    value = launch.get(field)
    if value is not None and not isinstance(value, str):
        raise Unreadable(f"its {field} is {kind(value)}, not a string")
    return value or None


def time(launch: Mapping[str, Any], field: str) -> datetime | None:
    """Return an ISO 8601 time in UTC, which is also what a time without a zone means here."""
    if not (value := text(launch, field)):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unreadable(f"its {field} is no time: {value[:40]!r}") from None


def word(launch: Mapping[str, Any], field: str, known: Mapping[int, str]) -> str | None:
    """Return our word for an object such as `{"id": 1, "name": "Go for Launch", "abbrev": "Go"}`, else its own."""
    value = launch.get(field)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Unreadable(f"its {field} is {kind(value)}, not an object")
    number = value.get("id")
    if type(number) is int and number in known:
        return known[number]
    return text(value, "name") or text(value, "abbrev")


def image(launch: Mapping[str, Any]) -> str | None:
    """Return the image's address: a string up to 2.2.0, `image_url` of an object from 2.3.0 on."""
    value = launch.get("image")
    return text(value, "image_url") if isinstance(value, dict) else text(launch, "image")


def kind(value: object) -> str:
    """Name a JSON value's type, for people."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return "missing or empty" if value in (None, "") else names.get(type(value), "a number")
