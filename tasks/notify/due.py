"""What is due: the kinds of message that a launch calls for in a channel and that the channel has not had."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from notify.channels import Channel, Rules
from notify.store import Change, Launch, Told
from wording import OUTCOMES, PRECISE, facets, is_placeholder

TO_THE_DAY = ("day", "morning", "afternoon")
PINGING = ("slipped", "reminder", "live", "outcome")

DAY = timedelta(days=1)
LIVE = timedelta(hours=6)  # a webcast that is still called live after a slip to tomorrow is not worth a ping
FRESH = timedelta(hours=6)  # a slip is told to a channel that was told nothing of the launch only while it is news


class Time(NamedTuple):
    """A NET with its precision."""

    net: datetime | None
    precision: str | None

    @classmethod
    def of(cls, launch: Launch) -> "Time":
        """Return a launch's time; 2.0.0 has no precision, and TBD at midnight is a date that nobody knows yet."""
        return cls(launch.net, "unknown" if is_placeholder(launch) else launch.net_precision)

    def after(self, field: str, value: str | None) -> "Time":
        """Return it after a change of that field to that value."""
        if field == "net":
            return self._replace(net=parse(value) if value else None)
        return self._replace(precision=value) if field == "net_precision" else self

    def is_near(self, now: datetime, reach: timedelta = DAY) -> bool:
        """Tell whether it is known to the day or better, and no further from now than `reach`, on either side."""
        return self.net is not None and self.precision in (None, *PRECISE, *TO_THE_DAY) and abs(self.net - now) <= reach


class Slip(NamedTuple):
    """A change after which a launch makes another attempt: a time that moved far within its last day, or a hold.

    `attempt` is its id in `launch_changes`; `before` is the time that people went by until then.
    """

    attempt: int
    seen_at: datetime
    before: Time


class Due(NamedTuple):
    """A message that is due. `before` is the time that a slip moved away from."""

    kind: str
    launch: Launch
    attempt: int
    minutes_before: int | None = None
    before: Time | None = None


def slips(launch: Launch, changes: Sequence[Change], least: timedelta) -> list[Slip]:
    """Return a launch's slips and holds, the oldest first; several small moves add up to one slip of `least`."""
    known = Time.of(launch)
    for change in reversed(changes):
        known = known.after(change.field, change.old_value)  # back to how it was at first
    gone_by = known  # what people go by: it does not follow a small move in the last day
    found = []
    for seen_at in sorted({change.seen_at for change in changes}):
        together = [change for change in changes if change.seen_at == seen_at]
        for change in together:
            known = known.after(change.field, change.new_value)
        if not gone_by.is_near(seen_at):
            gone_by = known
        elif has_slipped(gone_by, known, least) or any(change.new_value == "Hold" for change in together):
            found.append(Slip(together[-1].id, seen_at, gone_by))
            gone_by = known
    return found


def has_slipped(before: Time, after: Time, least: timedelta) -> bool:
    """Tell whether a time has moved by `least`, either way. A time to the day that becomes exact has not moved."""
    if before.net is None or after.net is None or after.precision not in (None, *PRECISE, *TO_THE_DAY):
        return True  # from tomorrow to "in December"
    if before.precision in TO_THE_DAY or after.precision in TO_THE_DAY:
        return before.net.date() != after.net.date()
    return abs(after.net - before.net) >= least


def parse(net: str) -> datetime:
    """Read a time as `launch_changes` has it, such as 2026-11-24T07:08:09Z."""
    return datetime.fromisoformat(net)


class Sight(NamedTuple):
    """A launch as one channel sees it now: what happened to it, and what the channel was told of it."""

    launch: Launch
    slips: Sequence[Slip]
    told: Sequence[Told]
    channel: Channel
    rules: Rules
    now: datetime
    last_move: int  # the id in `launch_changes` of the newest change of its time, 0 without one
    is_nearest: bool  # of the launches that the channel takes

    @property
    def attempt(self) -> int:
        """The launch's current attempt."""
        return self.slips[-1].attempt if self.slips else 0

    def was_told(self, kind: str) -> bool:
        """Tell whether the channel has had a message of this kind for the current attempt."""
        return any(row.kind == kind and row.attempt == self.attempt and row.posted_at for row in self.told)


def due(sight: Sight) -> Iterator[Due]:
    """Yield the messages that are due, those that ping first."""
    failed = sight.launch.status in ("Failure", "Partial Failure")
    if sight.channel.takes(facets(sight.launch.name, sight.launch.details), failed=failed):
        for rule in (slipped, reminder, live, outcome, announced):
            if (message := rule(sight)) and message.kind in sight.channel.kinds:
                yield message


def announced(sight: Sight) -> Due | None:
    """Announce each launch within its last day and the nearest always.

    One that has moved by a day or more since is announced once more when it comes near, as the first announcement lies
    far up in the channel by then. It is not while a message of its slip is still where people see it.
    """
    launch, rows = sight.launch, [row for row in sight.told if row.kind == "announced"]
    is_near = launch.is_coming and Time.of(launch).is_near(sight.now, sight.rules.announce)
    if not any(row.message_id for row in rows):
        # One whose answer was lost is the same announcement, even if the launch has slipped since.
        attempt = rows[-1].attempt or 0 if rows else sight.attempt
        return Due("announced", launch, attempt) if is_near or sight.is_nearest else None
    has_moved = launch.net is None or rows[-1].net is None or abs(launch.net - rows[-1].net) >= DAY
    lately = any((row.posted_at or row.attempted_at or sight.now) > sight.now - DAY for row in sight.told)
    return Due("announced", launch, sight.last_move) if is_near and has_moved and not lately else None


def reminder(sight: Sight) -> Due | None:
    """Remind of a time known to the hour or better; of several reminders that are due, by the nearest alone."""
    launch, (net, precision) = sight.launch, Time.of(sight.launch)
    if not launch.is_coming or launch.status == "Hold" or net is None or precision not in (None, *PRECISE):
        return None
    left = net - sight.now
    minutes = min((m for m in sight.channel.reminders if timedelta() < left <= timedelta(minutes=m)), default=None)
    had = [
        row.minutes_before or 0
        for row in sight.told
        if row.kind == "reminder" and row.attempt == sight.attempt and row.posted_at
    ]
    return (
        Due("reminder", launch, sight.attempt, minutes) if minutes and minutes < min(had, default=minutes + 1) else None
    )


def slipped(sight: Sight) -> Due | None:
    """Tell of a slip or a hold those who were told of the launch before it."""
    launch, now = sight.launch, sight.now
    if not sight.slips or not launch.is_coming or now - sight.slips[-1].seen_at > DAY:
        return None
    last, told_at = sight.slips[-1], max((row.posted_at for row in sight.told if row.posted_at), default=None)
    if told_at is None:  # by choice, if the channel takes no announcements
        since = [last] if "announced" not in sight.channel.kinds and now - last.seen_at <= FRESH else []
    else:
        since = [slip for slip in sight.slips if slip.seen_at > told_at]
    if not since or (launch.status != "Hold" and not has_slipped(since[0].before, Time.of(launch), sight.rules.slip)):
        return None  # or it is back where it was
    return Due("slipped", launch, last.attempt, before=since[0].before)


def live(sight: Sight) -> Due | None:
    """Tell that the webcast has begun, before the launch."""
    launch = sight.launch
    says_so = isinstance(launch.details, dict) and launch.details.get("webcast_live") is True
    if not says_so or not launch.is_coming or not Time.of(launch).is_near(sight.now, LIVE) or sight.was_told("live"):
        return None
    return Due("live", launch, sight.attempt)


def outcome(sight: Sight) -> Due | None:
    """Tell how a launch ended, within a day, those who were told of it, or whose channel has nothing but the end."""
    launch = sight.launch
    if launch.status not in OUTCOMES or launch.net is None or abs(sight.now - launch.net) > DAY:
        return None
    posted = [row for row in sight.told if row.posted_at]
    if any(row.kind == "outcome" for row in posted):
        return None
    only_the_end = "announced" not in sight.channel.kinds or not sight.channel.takes(
        facets(launch.name, launch.details), failed=False
    )
    return Due("outcome", launch, sight.attempt) if posted or only_the_end else None
