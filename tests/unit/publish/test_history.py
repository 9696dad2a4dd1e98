"""What is said of a change."""

from datetime import UTC, datetime, timedelta

import pytest

from publish.history import Change, State, moments

THEN = datetime(2031, 1, 10, 12, 0, tzinfo=UTC)
MIDNIGHT = datetime(2031, 1, 31, tzinfo=UTC)
SEEN = datetime(2030, 12, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def state(net: datetime | None = THEN, precision: str | None = "minute", status: str | None = "Go") -> State:
    return State("Kestrel", net, precision, status, None)


def text(value: object) -> str | None:
    """Write a value as `launch_changes` has it."""
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else str(value) if value else None


def told(before: State, after: State) -> str:
    """Say what changed from one state to the other."""
    changes = [
        Change("1", field, text(old), text(new), SEEN + HOUR)
        for field, old, new in zip(State._fields, before, after, strict=True)
        if old != new
    ]
    [announced, moment] = moments(after, changes, SEEN, None)
    assert announced.after == before
    assert (moment.before, moment.after) == (before, after)
    return moment.sentence


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (state(), state(THEN + HOUR), "slipped to 13:00 UTC, +1 h"),
        (state(), state(THEN - 30 * HOUR), "moved up to 9 January, 06:00 UTC, 1 day 6 h earlier"),
        (state(), state(None), "has no date any more"),
        (state(None), state(), "is now planned for 10 January 2031, 12:00 UTC"),
        (state(precision="hour"), state(), "is now known to the minute: 12:00 UTC"),
        (state(MIDNIGHT, "month"), state(), "is now planned for 10 January 2031, 12:00 UTC, which was January 2031"),
        (state(MIDNIGHT, "month"), state(THEN, "day"), "is now planned for 10 January 2031, which was January 2031"),
        (
            state(datetime(2031, 3, 31, tzinfo=UTC), "quarter 1"),
            state(MIDNIGHT, "month"),
            "is now planned for January 2031, which was Quarter 1 of 2031",
        ),
        (
            state(),
            state(MIDNIGHT, "month"),
            "is now known less exactly: January 2031, which was 10 January 2031, 12:00 UTC",
        ),
        (
            state(MIDNIGHT, "month"),
            state(datetime(2031, 2, 28, tzinfo=UTC), "month"),
            "slipped to February 2031, from January 2031",
        ),
        (
            state(datetime(2031, 6, 30, tzinfo=UTC), "half 1"),
            state(datetime(2031, 12, 31, tzinfo=UTC), "half 2"),
            "slipped to the second half of 2031, from the first half of 2031",
        ),
        (state(MIDNIGHT, "day"), state(), "moved up to 10 January 2031, 12:00 UTC, from 31 January 2031"),
        (state(), state(status="Success"), "was successful"),
        (state(), state(status="Failure"), "failed"),
        (state(), state(status="Hold"), "is on hold"),
        (state(), state(THEN + HOUR, status="Hold"), "is on hold"),
        (state(status="Hold"), state(THEN + HOUR), "slipped to 13:00 UTC, +1 h, and is go for launch"),
        (state(), state(status="Scrub\nbed"), "has the status Scrub bed"),
        (state(), state(status=None), "has no status any more"),
        (state(), state()._replace(image_url="https://example.org/1.png"), "has a new picture"),
        (state(), state()._replace(name="Merlin"), "is now called Merlin"),
        (
            state(),
            state(datetime(9999, 12, 31, tzinfo=UTC), "year"),
            "slipped to 9999, from 10 January 2031, 12:00 UTC",
        ),
    ],
)
def test_a_change_is_told_as_a_person_would(before: State, after: State, said: str) -> None:
    assert told(before, after) == f"Kestrel {said}"


def test_a_past_of_several_changes_is_told_from_the_beginning() -> None:
    changes = [
        Change("1", "net", "2031-01-10T10:00:00Z", "2031-01-10T11:00:00Z", SEEN + HOUR),
        Change("1", "status", "TBD", "TBC", SEEN + HOUR),
        Change("1", "net", "2031-01-10T11:00:00Z", "2031-01-10T12:00:00Z", SEEN + 2 * HOUR),
        Change("1", "status", "TBC", "Go", SEEN + 3 * HOUR),
    ]
    found = moments(state(), changes, SEEN, SEEN + 4 * HOUR)
    assert [(moment.at - SEEN, moment.predicate, moment.label) for moment in found] == [
        (0 * HOUR, "was announced for 10 January 2031, 10:00 UTC", ""),
        (1 * HOUR, "slipped to 11:00 UTC, +1 h, and is to be confirmed", "+1 h"),
        (2 * HOUR, "slipped to 12:00 UTC, +1 h", "+1 h"),
        (3 * HOUR, "is go for launch", ""),
        (4 * HOUR, "was withdrawn by the Launch Library", ""),
    ]
