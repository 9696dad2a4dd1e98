"""The times that people write in a search: `december`, `10 december`, `next month`, `2027`, `2026-12-10`."""

import calendar
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from wording import later

MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_name) if name}
MONTHS |= {name[:3]: number for name, number in MONTHS.items()} | {"sept": 9}
# A Long March is a rocket.
MONTH = rf"(?<!long )(?P<month>{'|'.join(sorted(MONTHS, key=len, reverse=True))})"
DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
YEAR = r"(?:,? (?P<year>20\d\d))?"
FORMS = [
    r"(?P<year>20\d\d)-(?P<number>\d\d)(?:-(?P<day>\d\d))?",
    rf"{DAY} (?:of )?{MONTH}{YEAR}",
    rf"{MONTH} {DAY}{YEAR}",
    rf"{MONTH}{YEAR}",
    r"(?P<which>this|next) (?P<unit>weekend|week|month|year)",
    r"(?P<word>yesterday|today|tonight|tomorrow)",
    r"(?P<year>20[2-9]\d)",
]
PATTERNS = [re.compile(rf"(?<![\w-]){form}(?![\w-])", re.IGNORECASE) for form in FORMS]


class Span(NamedTuple):
    """From a time on, and before another."""

    start: datetime
    end: datetime


def take(text: str, now: datetime) -> tuple[str, Span | None]:
    """Return the text without the first time that it names, and that time, in UTC; None where it names none."""
    text = " ".join(text.split())
    for pattern in PATTERNS:
        for match in pattern.finditer(text):
            if found := span(match.groupdict(), now):
                return f"{text[: match.start()]} {text[match.end() :]}".strip(), found
    return text, None


def span(said: dict[str, str | None], now: datetime) -> Span | None:  # noqa: PLR0911  # a form each
    """Return the time that these words mean; None where there is no such day."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    day, week, month, year = timedelta(days=1), timedelta(days=7), today.replace(day=1), today.replace(month=1, day=1)
    is_next = (said.get("which") or "").lower() == "next"
    match (said.get("unit") or said.get("word") or "").lower():
        case "today" | "tonight":
            return Span(today, today + day)
        case "yesterday":
            return Span(today - day, today)
        case "tomorrow":
            return Span(today + day, today + 2 * day)
        case "week" | "weekend" as unit:
            monday = today - timedelta(days=today.weekday()) + is_next * week
            return Span(monday if unit == "week" else monday + 5 * day, monday + week)
        case "month":
            month = later(month, int(is_next))
            return Span(month, later(month, 1))
        case "year":
            year = later(year, 12 * is_next)
            return Span(year, later(year, 12))
    number = MONTHS.get((said.get("month") or "").lower()) or int(said.get("number") or 0)
    if not number:
        year = year.replace(year=int(said["year"] or 0))
        return Span(year, later(year, 12))
    try:
        # Without a year, it is the month that comes: this one counts.
        wanted = int(said.get("year") or today.year + (number < today.month))
        first = datetime(wanted, number, int(said.get("day") or 1), tzinfo=UTC)
    except ValueError:
        return None
    return Span(first, first + day if said.get("day") else later(first, 1))
