"""Plots as numbers for the templates, which draw them as SVG: sizes are units of a view box."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from publish.history import MINUS, MOVED, Moment
from wording import span

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 92, 12, 20, 36
LETTER = 7.4  # the width of one, at most, in a label
STEPS = [
    timedelta(minutes=minutes)
    for minutes in (5, 15, 30, 60, 180, 360, 720, 1440, 2880, 10080, 20160, 43200, 86400, 175200, 525600, 1051200)
]


class Tick(NamedTuple):
    """A place on an axis, and what is written there."""

    at: float
    text: str


class Label(NamedTuple):
    """A slip: where it is, what is written beside it, and where."""

    x: float
    y: float
    text: str
    text_x: float
    text_y: float
    anchor: str


class Slips(NamedTuple):
    """How a launch's time moved: from left to right when it was seen, upwards the time that was planned."""

    line: str
    labels: list[Label]
    seen: list[Tick]
    planned: list[Tick]


class Bar(NamedTuple):
    """A bar with its value in words."""

    x: float
    y: float
    width: float
    height: float
    text: str
    series: int


class Bars(NamedTuple):
    """Bars side by side, in groups."""

    bars: list[Bar]
    groups: list[Tick]
    values: list[Tick]


def slips(moments: Sequence[Moment]) -> Slips | None:
    """Return the plot of a launch's time, if it has moved."""
    points = [(moment.at, moment.after.net) for moment in moments if moment.after.net]
    moved = [moment for moment in moments if MOVED in moment.kinds and moment.moved_by]
    if not moved or len(points) < 2:
        return None
    first, last = min(at for at, _ in points), max(at for at, _ in points)
    last += max((last - first) / 12, timedelta(minutes=5))
    early, late = min(net for _, net in points), max(net for _, net in points)
    room = max((late - early) / 8, timedelta(minutes=5))
    x = Scale(first, last, LEFT, WIDTH - RIGHT)
    y = Scale(early - room, late + room, HEIGHT - BOTTOM, TOP)

    line, before = [f"M{x(points[0][0]):.1f} {y(points[0][1]):.1f}"], points[0][1]
    for at, net in points[1:]:
        if net != before:
            line.append(f"H{x(at):.1f}V{y(net):.1f}")
            before = net
    line.append(f"H{x(last):.1f}")
    spots = [(x(moment.at), y(moment.after.net), moment.label) for moment in moved if moment.after.net]
    return Slips("".join(line), labels(spots), x.ticks(6), y.ticks(7))


def labels(spots: Sequence[tuple[float, float, str]]) -> list[Label]:
    """Write each label beside its spot, and move it up or down while it would lie over another."""
    placed: list[Label] = []
    taken: list[tuple[float, float, float]] = []  # left, right and middle of what is written
    for x, y, text in spots:
        width = LETTER * len(text)
        anchor = "start" if x + 8 + width < WIDTH - RIGHT else "end"
        left = x + 8 if anchor == "start" else x - 8 - width
        for shift in sorted(range(-20 * 15, 20 * 15, 15), key=abs):
            middle = y - 10 + shift  # above the line
            free = all(left > r or left + width < le or abs(middle - m) >= 15 for le, r, m in taken)
            if free and TOP / 2 <= middle <= HEIGHT - BOTTOM - 4:
                break
        else:
            middle = y - 10
        taken.append((left, left + width, middle))
        placed.append(Label(x, y, text, x + 8 if anchor == "start" else x - 8, middle + 4, anchor))
    return placed


class Scale:
    """Times as places between two ends."""

    def __init__(self, low: datetime, high: datetime, start: float, end: float) -> None:
        self._low, self._high, self._start, self._end = low, high, start, end

    def __call__(self, at: datetime) -> float:
        """Return the place of a time."""
        return self._start + (self._end - self._start) * ((at - self._low) / (self._high - self._low))

    def ticks(self, most: int) -> list[Tick]:
        """Return round times, at most so many, written as exactly as they are apart."""
        length = self._high - self._low
        step = next((step for step in STEPS if length / step <= most), STEPS[-1] * math.ceil(length / STEPS[-1] / most))
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        at, found = epoch + step * math.ceil((self._low - epoch) / step), []
        while at <= self._high:
            found.append(Tick(round(self(at), 1), words(at, step, within_a_day=length < timedelta(days=1))))
            at += step
        return found


def words(at: datetime, step: timedelta, *, within_a_day: bool) -> str:
    """Write a time as exactly as is needed beside others."""
    if step < timedelta(days=1):
        return f"{at:%H:%M}" if within_a_day else f"{at.day} {at:%b %H:%M}"
    return f"{at.day} {at:%b %Y}" if step < timedelta(days=30) else f"{at:%b %Y}"


def bars(groups: Sequence[tuple[str, Sequence[tuple[float, str]]]], top: float, unit: str) -> Bars:
    """Return bars that stand side by side in groups; each has a value up to `top`, and its words."""
    width = (WIDTH - LEFT - RIGHT) / max(len(groups), 1)
    foot, full = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    found, names = [], []
    for number, (name, values) in enumerate(groups):
        each = min(width * 0.8 / max(len(values), 1), 48)
        start = LEFT + width * number + (width - each * len(values)) / 2
        names.append(Tick(round(LEFT + width * (number + 0.5), 1), name))
        for series, (value, text) in enumerate(values):
            height = full * min(value / top, 1) if top else 0
            found.append(
                Bar(round(start + each * series + 1, 1), round(foot - height, 1), round(each - 2, 1), round(height, 1),
                    text, series)
            )  # fmt: skip
    steps = [Tick(round(foot - full * part / 4, 1), f"{top * part / 4:g}{unit}") for part in range(5)]
    return Bars(found, names, steps)


def days(length: timedelta | None) -> str:
    """Write a length of time that can be negative or not known."""
    if length is None:
        return "\N{EN DASH}"
    if abs(length) < timedelta(minutes=1):
        return "0"
    return f"{MINUS if length < timedelta() else ''}{span(abs(length))}"
