"""How a launch has changed, moment by moment, as a person would tell it."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from wording import ENDED, brief, date, is_exact, period, plain, span

MINUS = "\N{MINUS SIGN}"

ANNOUNCED, MOVED, STATUS, NAME, PICTURE, WITHDRAWN = "announced", "moved", "status", "name", "picture", "withdrawn"


class State(NamedTuple):
    """What is told of a launch when it changes."""

    name: str
    net: datetime | None
    net_precision: str | None
    status: str | None
    image_url: str | None


class Change(NamedTuple):
    """A row of `launch_changes`: a time is text, such as 2026-11-24T07:08:09Z."""

    launch_id: str
    field: str
    old_value: str | None
    new_value: str | None
    seen_at: datetime


class Moment(NamedTuple):
    """What was seen to change at one time: the kinds of changes, the state then, and that before; None at first."""

    at: datetime
    kinds: tuple[str, ...]
    before: State | None
    after: State

    @property
    def sentence(self) -> str:
        """Say what changed, with the name that the launch had then."""
        return f"{title(self.before or self.after)} {self.predicate}"

    @property
    def predicate(self) -> str:
        """Say what changed, without the name."""
        *parts, last = self._parts()
        return f"{', '.join(parts)}, and {last}" if parts else last

    @property
    def moved_by(self) -> timedelta | None:
        """Return by how much the time moved, if it did; a date counts in whole days."""
        if not self.before or MOVED not in self.kinds or not self.before.net or not self.after.net:
            return None
        if is_exact(self.before) and is_exact(self.after):
            return self.after.net - self.before.net
        return timedelta(days=(self.after.net.date() - self.before.net.date()).days)

    @property
    def label(self) -> str:
        """Write by how much the time moved, such as +1 h 15 min."""
        by = self.moved_by
        if by is None:
            return ""
        return f"{MINUS if by < timedelta() else '+'}{span(abs(by))}" if by else "0"

    def _parts(self) -> Iterator[str]:
        before, after = self.before, self.after
        if ANNOUNCED in self.kinds or before is None:
            yield f"was announced for {said(after)}" if after.net else "was announced without a date"
            return
        if WITHDRAWN in self.kinds:
            yield "was withdrawn by the Launch Library"
        if NAME in self.kinds:
            yield f"is now called {title(after)}"
        if MOVED in self.kinds and after.status != "Hold":
            yield moved(before, after)
        if STATUS in self.kinds:
            yield status(after.status)
        if PICTURE in self.kinds:
            yield "has a new picture" if after.image_url else "has no picture any more"
        if MOVED in self.kinds and after.status == "Hold" and STATUS not in self.kinds:
            yield "is still on hold"


def title(state: State) -> str:
    """Return a launch's name on one line, of a length that can be read."""
    name = plain(state.name) or "A launch without a name"
    return name if len(name) <= 200 else f"{name[:199]}…"


def said(state: State) -> str:
    """Say when in a sentence, no more exactly than it is known."""
    if state.net is None or not is_exact(state):
        text = date(state)
        return f"the {text[0].lower()}{text[1:]}" if text.startswith(("First", "Second", "Week")) else text
    about = "about " if state.net_precision == "hour" else ""
    return f"{date(state)}, {about}{state.net:%H:%M} UTC"


def moved(before: State, after: State) -> str:  # noqa: PLR0911  # a sentence each
    """Say where the time has moved to. A date that gets known better is no slip."""
    if after.net is None:
        return "has no date any more"
    if before.net is None:
        return f"is now planned for {said(after)}"
    if is_exact(before) and is_exact(after):
        by = after.net - before.net
        if not by:
            return f"is now known to the {after.net_precision or 'minute'}: {brief(after, before)}"
        where = brief(after, before)
        return f"slipped to {where}, +{span(by)}" if by > timedelta() else f"moved up to {where}, {span(-by)} earlier"
    (start, end), (was_from, was_to) = period(after), period(before)
    if start >= was_from and end <= was_to:
        return f"is now planned for {said(after)}, which was {said(before)}"
    if start <= was_from and end >= was_to:
        return f"is now known less exactly: {said(after)}, which was {said(before)}"
    return f"{'slipped' if end > was_to else 'moved up'} to {said(after)}, from {said(before)}"


def status(word: str | None) -> str:
    """Say what a status means, after the launch's name."""
    sayings = ENDED | {
        "Go": "is go for launch",
        "TBC": "is to be confirmed",
        "TBD": "is to be determined",
        "Hold": "is on hold",
        "In Flight": "has lifted off",
        "Payload Deployed": "has deployed its payload",
    }
    return sayings.get(word or "") or (f"has the status {plain(word)[:80]}" if word else "has no status any more")


def moments(
    now: State, changes: Iterable[Change], first_seen_at: datetime, withdrawn_at: datetime | None
) -> list[Moment]:
    """Return what is known of a launch's past, the oldest first, out of its changes in their order."""
    groups = [(at, list(group)) for at, group in groupby(changes, key=attrgetter("seen_at"))]
    found = [Moment(withdrawn_at, (WITHDRAWN,), now, now)] if withdrawn_at else []
    for at, group in reversed(groups):
        before = State(**now._asdict() | {change.field: value(change) for change in reversed(group)})
        fields = {change.field for change in group}
        kinds = [
            kind
            for kind, of in (
                (NAME, {"name"}),
                (STATUS, {"status"}),
                (MOVED, {"net", "net_precision"}),
                (PICTURE, {"image_url"}),
            )
            if fields & of
        ]
        found.append(Moment(at, tuple(kinds), before, now))
        now = before
    found.append(Moment(first_seen_at, (ANNOUNCED,), None, now))
    return found[::-1]


def value(change: Change) -> Any:  # noqa: ANN401  # of State
    """Return what a field was before."""
    if change.field == "net" and change.old_value:
        return datetime.fromisoformat(change.old_value).astimezone(UTC)
    return change.old_value or ("" if change.field == "name" else None)
