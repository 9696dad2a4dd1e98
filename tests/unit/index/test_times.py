"""The times that people write."""

from datetime import UTC, datetime

import pytest

from index import times

NOW = datetime(2026, 11, 24, 7, 7, tzinfo=UTC)  # a Tuesday


@pytest.mark.parametrize(
    ("text", "rest", "start", "end"),
    [
        ("falcon today", "falcon", "2026-11-24", "2026-11-25"),
        ("tonight", "", "2026-11-24", "2026-11-25"),
        ("Tomorrow spacex", "spacex", "2026-11-25", "2026-11-26"),
        ("yesterday", "", "2026-11-23", "2026-11-24"),
        ("this week", "", "2026-11-23", "2026-11-30"),
        ("this weekend", "", "2026-11-28", "2026-11-30"),
        ("next weekend", "", "2026-12-05", "2026-12-07"),
        ("falcon  next\tweek", "falcon", "2026-11-30", "2026-12-07"),
        ("next month", "", "2026-12-01", "2027-01-01"),
        ("this year", "", "2026-01-01", "2027-01-01"),
        ("next year", "", "2027-01-01", "2028-01-01"),
        ("december", "", "2026-12-01", "2027-01-01"),
        ("Nov", "", "2026-11-01", "2026-12-01"),
        ("in october", "in", "2027-10-01", "2027-11-01"),
        ("december 2025 ariane", "ariane", "2025-12-01", "2026-01-01"),
        ("10 december", "", "2026-12-10", "2026-12-11"),
        ("10th of December 2027", "", "2027-12-10", "2027-12-11"),
        ("dec 10, 2027", "", "2027-12-10", "2027-12-11"),
        ("March 3rd", "", "2027-03-03", "2027-03-04"),
        ("2026-12-10", "", "2026-12-10", "2026-12-11"),
        ("2026-12", "", "2026-12-01", "2027-01-01"),
        ("2027", "", "2027-01-01", "2028-01-01"),
        ("may", "", "2027-05-01", "2027-06-01"),
        ("may 2027", "", "2027-05-01", "2027-06-01"),
        ("long march 5 in december", "long march 5 in", "2026-12-01", "2027-01-01"),
    ],
)
def test_a_time(text: str, rest: str, start: str, end: str) -> None:
    found, span = times.take(text, NOW)
    assert span
    assert (found, f"{span.start:%Y-%m-%d}", f"{span.end:%Y-%m-%d}") == (rest, start, end)


@pytest.mark.parametrize(
    "text",
    ["long march 5", "Starlink 17-42", "32 december", "31 april 2027", "2026-13", "0 may 2027", "20277", "x2027",
     "maybe", "decembers", "12026-12-10", "marching", "yesterdays", "", "next launch"],
)  # fmt: skip
def test_no_time(text: str) -> None:
    rest, span = times.take(text, NOW)
    # A month or a year remains of what is no day.
    assert rest == text if span is None else text[0].isdecimal()
