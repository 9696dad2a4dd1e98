"""Which launch is next."""

import contextlib
from datetime import datetime

import pytest

from notify import channels
from notify.plan import plan
from notify.store import Store
from standins.discord import WEBHOOK_ID
from step import connect
from tests.conftest import Database
from tests.unit.notify.conftest import (
    EARLIER,
    LAST,
    LATER,
    NOW,
    SOON,
    add,
)

# Which launch is next: what is stored, as (id, net, precision, status, last seen), and the id of the next.

MONTH = "2026-11-30T00:00:00Z"
YEAR = "2026-12-31T00:00:00Z"
Case = tuple[list[tuple[str | None, ...]], str | None]
NEXT: dict[str, Case] = {
    "nothing stored": ([], None),
    "the nearest": ([("late", LATER), ("soon", SOON), ("last", LAST)], "soon"),
    "a past one is not": ([("past", EARLIER), ("soon", SOON)], "soon"),
    "one at this very moment is not": ([("now", NOW), ("soon", SOON)], "soon"),
    "only past ones": ([("past", EARLIER)], None),
    "no date": ([("none", None)], None),
    "no date and a date": ([("none", None), ("soon", SOON)], "soon"),
    "a tie, by id": ([("b", SOON), ("a", SOON), ("c", SOON)], "a"),
    "a real time at the month's end beats the month": (
        [("month", MONTH, "month"), ("real", "2026-11-30T23:59:59Z")],
        "real",
    ),
    "a real time at the year's end beats month, quarter, half and year": (
        [(name, YEAR, name) for name in ("month", "quarter 4", "half 2", "year")] + [("real", "2026-12-31T23:59:59Z")],
        "real",
    ),
    "a month beats a real time after it": ([("month", MONTH, "month"), ("real", "2026-12-01T00:00:01Z")], "month"),
    "a month beats the year that it is in": ([("year", YEAR, "year"), ("month", MONTH, "month")], "month"),
    "a real time at the month's end beats a month of 2.0.0": (
        [("month", MONTH, None, "TBD"), ("real", "2026-11-30T23:59:59Z", None)],
        "real",
    ),
    "in 2.0.0 midnight is a time unless to be determined": (
        [("real", MONTH, None), ("later", SOON, "month")],
        "real",
    ),
    "a real midnight of a launch to be determined": (
        [("real", "2026-11-26T00:00:00Z", "minute", "TBD"), ("later", LATER)],
        "real",
    ),
    "a real time today beats today": (
        [("day", "2026-11-24T00:00:00Z", "day"), ("real", "2026-11-24T23:00:00Z")],
        "real",
    ),
    "today is not over": ([("day", "2026-11-24T00:00:00Z", "day"), ("soon", SOON)], "day"),
    "this morning is today": ([("day", "2026-11-24T00:00:00Z", "morning"), ("soon", SOON)], "day"),
    "yesterday is over": ([("day", "2026-11-23T00:00:00Z", "day"), ("soon", SOON)], "soon"),
    "this week is not over": ([("week", "2026-11-23T00:00:00Z", "week"), ("last", "2026-11-30T00:00:01Z")], "week"),
    "last week is over": ([("week", "2026-11-22T00:00:00Z", "week"), ("soon", SOON)], "soon"),
    "this year is not over, whichever day it is written by": (
        [("year", "2026-01-01T00:00:00Z", "year"), ("next year", "2027-01-01T00:00:01Z")],
        "year",
    ),
    "the first half is over": ([("half", "2026-06-30T00:00:00Z", "half 1"), ("soon", SOON)], "soon"),
    "the third quarter is over": ([("quarter", "2026-09-30T00:00:00Z", "quarter 3"), ("soon", SOON)], "soon"),
    "last month is over": ([("month", "2026-10-31T00:00:00Z", "month"), ("soon", SOON)], "soon"),
    "last year is over": ([("year", "2025-12-31T00:00:00Z", "year"), ("soon", SOON)], "soon"),
    "an unknown precision is at least this year": ([("decade", YEAR, "decade"), ("soon", SOON)], "soon"),
    "one that the last page no longer had": ([("gone", SOON, "minute", "Go", EARLIER), ("late", LATER)], "late"),
    "all older than a page whose only launch has no date": (
        [("gone", SOON, "minute", "Go", EARLIER), ("none", None)],
        None,
    ),
    "all older than a page whose only launch is long past": (
        [("gone", SOON, "minute", "Go", EARLIER), ("old", "2020-01-01T00:00:00Z")],
        None,
    ),
}
NEXT |= {
    f"one that is {status}": ([("no", SOON, "minute", status), ("late", LATER)], "late")
    for status in ("Hold", "In Flight", "Success", "Failure", "Partial Failure", "Payload Deployed")
}
NEXT |= {
    f"one that is {status} is": ([("soon", SOON, "minute", status), ("late", LATER)], "soon")
    for status in ("Go", "TBC", "TBD", "Some new word", None)
}


@pytest.mark.parametrize(("launches", "expected"), NEXT.values(), ids=NEXT.keys())
def test_which_launch_is_next(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    launches: list[tuple[str | None, ...]],
    expected: str | None,
) -> None:
    for launch_id, net, *more in launches:
        assert launch_id
        add(database, launch_id, net, **dict(zip(("net_precision", "status", "last_seen_at"), more, strict=False)))
    for variable, value in database.env("notify").items():
        monkeypatch.setenv(variable, value)
    rules, chosen = channels.read({"DISCORD_WEBHOOK_URL": f"https://discord.com/api/webhooks/{WEBHOOK_ID}/t"})
    now = datetime.fromisoformat(NOW)
    with contextlib.closing(connect()) as connection:
        [planned] = plan(Store(connection, [WEBHOOK_ID], now), rules, chosen, now)
    assert (planned.nearest and planned.nearest.launch_id) == expected
