"""What each channel should be sent in this run."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from notify import message
from notify.channels import Channel, Rules
from notify.details import filled
from notify.due import DAY, PINGING, Due, Sight, announced, due, parse, slips
from notify.store import Change, Launch, Store, Told
from wording import facets

BOARD = 10  # launches on it


class Post(NamedTuple):
    """A message to post: its row's columns, and when it was sent before without an answer, if it was."""

    title: str
    body: dict[str, Any]
    kind: str
    columns: dict[str, Any]
    attempted_at: datetime | None


class Edit(NamedTuple):
    """A message that shows something that is no longer so: its row, what it should be, what to do if it is gone."""

    title: str
    body: dict[str, Any]
    row: Told
    instead: Post | None


class Plan(NamedTuple):
    """What one channel should be sent, in this order; and the launch that is next there."""

    channel: Channel
    items: list[Post | Edit]
    nearest: Launch | None


def plan(store: Store, rules: Rules, channels: Sequence[Channel], now: datetime) -> Iterator[Plan]:
    """Compare what there is to tell with what was told, for each channel."""
    for channel in channels:
        webhook = channel.key.partition("/")[0]
        if webhook not in [other.key for other in channels]:
            store.adopt(channel.key)
    reminders = [timedelta(minutes=minutes) for channel in channels for minutes in channel.reminders]
    launches = filled(store.launches(max([DAY, rules.announce, *reminders])))
    ids = [launch.launch_id for launch in launches]
    changes: dict[str, list[Change]] = defaultdict(list)
    for change in store.changes(ids):
        changes[change.launch_id].append(change)
    told: dict[tuple[str | None, str], list[Told]] = defaultdict(list)
    for row in store.told(ids):
        told[row.launch_id, row.channel].append(row)

    found = {one.launch_id: slips(one, changes[one.launch_id], rules.slip) for one in launches}

    for channel in channels:
        taken = [launch for launch in launches if channel.takes(facets(launch.name, launch.details), failed=False)]
        coming = [launch for launch in taken if launch.is_coming]
        nearest = next((launch for launch in coming if launch.status != "Hold"), None)
        items: list[Post | Edit] = []
        for launch in launches:
            rows = told[launch.launch_id, channel.key]
            moves = [change.id for change in changes[launch.launch_id] if change.field == "net"]
            past = found[launch.launch_id]
            sight = Sight(launch, past, rows, channel, rules, now, max(moves, default=0), launch is nearest)
            if unpinned := [row.id for row in rows if row.attempt is None]:
                store.pin(unpinned, sight.attempt)
                pinned = [row if row.attempt is not None else row._replace(attempt=sight.attempt) for row in rows]
                sight = sight._replace(told=pinned)
            posts = [post(one, sight) for one in due(sight)]
            # One deleted by hand is posted again, but not beside another announcement.
            is_due = any(one.kind == "announced" for one in posts)
            items += [*posts, *outdated(sight, changes[launch.launch_id], is_due=is_due)]
        if "board" in channel.kinds:
            items += pinned_board(told[None, channel.key], message.board(coming[:BOARD]))
        # What pings cannot wait for a rate limit.
        items.sort(key=lambda item: isinstance(item, Edit) + 2 * (isinstance(item, Post) and item.kind not in PINGING))
        yield Plan(channel, items, nearest)


def post(one: Due, sight: Sight) -> Post:
    """Write a message that is due."""
    launch, ping = one.launch, sight.channel.ping
    match one.kind:
        case "reminder":
            body = message.reminder(launch, sight.now, ping)
        case "slipped":
            net, precision = one.before or (None, None)
            body = message.slipped(launch, launch._replace(net=net, net_precision=precision), ping)
        case "live":
            body = message.live(launch, sight.now, ping)
        case "outcome":
            body = message.outcome(launch, ping)
        case _:
            body = message.announced(launch)
    columns = {
        "launch_id": launch.launch_id,
        "attempt": one.attempt,
        "minutes_before": one.minutes_before,
        "net": launch.net,
    }
    same = (one.kind, one.attempt, one.minutes_before)
    attempted_at = next(
        (row.attempted_at for row in sight.told if (row.kind, row.attempt, row.minutes_before) == same), None
    )
    return Post(launch.name, body, one.kind, columns, attempted_at)


def outdated(sight: Sight, changes: Sequence[Change], *, is_due: bool) -> Iterator[Edit]:
    """Yield the announcements that show something that is no longer so."""
    for row in sight.told:
        if row.kind != "announced" or not row.message_id:
            continue
        since = [change for change in changes if row.posted_at and change.seen_at > row.posted_at]
        body = message.announced(sight.launch, sum(is_slip(change, sight.rules) for change in since))
        if row.facts != body:
            unseen = sight._replace(told=[other for other in sight.told if other is not row])
            again = not is_due and "announced" in sight.channel.kinds and announced(unseen)
            yield Edit(sight.launch.name, body, row, post(again, unseen) if again else None)


def pinned_board(rows: Sequence[Told], body: dict[str, Any]) -> Iterator[Post | Edit]:
    """Yield what brings the one message with the next launches up to date."""
    columns = {"launch_id": None, "attempt": None, "minutes_before": None, "net": None}
    fresh = Post("next launches", body, "board", columns, next((row.attempted_at for row in rows), None))
    shown = [row for row in rows if row.message_id]
    if not shown:
        yield fresh
    yield from (Edit("next launches", body, row, fresh) for row in shown if row.facts != body)


def is_slip(change: Change, rules: Rules) -> bool:
    """Tell whether a change is one of the time, to a later one by as much as counts as a slip."""
    if change.field != "net" or not change.old_value or not change.new_value:
        return False
    return parse(change.new_value) - parse(change.old_value) >= rules.slip
