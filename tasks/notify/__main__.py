"""Tell each channel of the launches that come, slip, go live and end, and keep what it was told up to date.

Exit codes: 0 posted or edited, 65 Discord refuses a message, 75 try again later (Discord or the database is away),
78 the configuration is bad (a webhook was deleted, channels.toml is wrong), 99 nothing to say, or no webhook to say it
to, 143 stopped by SIGTERM.
"""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import step
from notify import channels, heartbeat
from notify.discord import Refused
from notify.plan import Edit, Plan, Post, plan
from notify.store import Store
from step import BAD_CONFIGURATION, BAD_INPUT, DONE, NOTHING_TO_SAY, TRY_LATER, Failure

log = logging.getLogger("notify")


class Result(NamedTuple):
    """What became of a channel's plan; `failure` is why not all of it was sent."""

    posted: int
    edited: int
    failure: Failure | None


def run(*, check: bool) -> int:
    """Tell what there is to tell, then send the heartbeat; return the exit code."""
    exit_code, last_line = tell(check=check)
    # Before the last line: that is what the UI shows, and a heartbeat that fails is not the result of the run.
    if (url := os.environ.get("HEARTBEAT_URL")) and not check:
        heartbeat.send(url)
    log.info("%s", last_line)
    return exit_code


def tell(*, check: bool) -> tuple[int, str]:
    """Read the configuration, work out what to send and send it; return the exit code and the last line."""
    if (wanted := os.environ.get("NOTIFY") or "true") not in ("true", "false"):
        raise Failure(BAD_CONFIGURATION, f"NOTIFY is {wanted!r}: give true or false.")
    if wanted == "false":
        return NOTHING_TO_SAY, "Notifying is switched off for this run: nothing was posted"
    rules, chosen = channels.read(os.environ)
    if not chosen:
        return NOTHING_TO_SAY, "No webhook: DISCORD_WEBHOOK_URL is not set, so nobody was notified"
    now = step.now()

    with contextlib.closing(step.connect()) as connection:
        store = Store(connection, [channel.key for channel in chosen], now)
        store.lock()
        plans = list(plan(store, rules, chosen, now))
        if check:
            return show(plans)
        # Each channel is served, whatever became of the one before.
        return sum_up(plans, [send(store, one, several=len(plans) > 1) for one in plans])


def show(plans: Sequence[Plan]) -> tuple[int, str]:
    """Log what each channel would be sent."""
    for channel, items, _ in plans:
        for item in items:
            what = f"post ({item.kind})" if isinstance(item, Post) else "edit"
            log.info("%s: would %s: %s", channel.name, what, item.body.get("content") or item.title)
        if not items:
            log.info("%s: nothing to send now", channel.name)
    items = [item for one in plans for item in one.items]
    posts = sum(isinstance(item, Post) for item in items)
    return DONE, f"Checked, and nothing was sent. Messages: {posts} to post, {len(items) - posts} to edit"


def send(store: Store, one: Plan, *, several: bool) -> Result:
    """Send what a channel should be sent. A message that Discord refuses does not keep back the others."""
    label = f"{one.channel.name}: " if several else ""
    posted, edited, failure = 0, 0, None
    for item in one.items:
        try:
            if isinstance(item, Edit) and edit(store, one.channel, item, label):
                edited += 1
            elif fresh := item if isinstance(item, Post) else item.instead:
                post(store, one.channel, fresh, label)
                posted += 1
        except Failure as error:
            if failure:
                log.error("%s%s", label, failure)  # noqa: TRY400  # a sentence for people
            failure = error
            if error.exit_code != BAD_INPUT:
                break  # of the channel, not of this message alone
            failure = Failure(BAD_INPUT, f"{item.title}: {error}")
    return Result(posted, edited, failure)


def edit(store: Store, channel: channels.Channel, item: Edit, label: str) -> bool:
    """Bring a message up to date; return False where it was deleted by hand."""
    if not channel.webhook.edit(item.row.message_id or "", item.body):
        log.info("%sThe message for %s was deleted in Discord", label, item.title)
        store.gone(item.row.id)
        return False
    store.edited(item.row.id, item.body)
    log.info("%sEdited: %s", label, item.title)
    return True


def post(store: Store, channel: channels.Channel, item: Post, label: str) -> None:
    """Post a message.

    Only an answer that is lost (the step is killed before `posted`, a time-out, a 5xx) leads to a second message:
    the next run finds the attempt, says so, and posts again, since a launch announced twice is better than never.
    """
    if item.attempted_at:
        log.warning(
            "%sA run at %s sent a message for %s and did not learn if it arrived: it may now be there twice",
            label,
            f"{item.attempted_at:%Y-%m-%dT%H:%M:%SZ}",
            item.title,
        )
    number = store.attempt(item.body, channel=channel.key, kind=item.kind, **item.columns)
    try:
        message_id = channel.webhook.post(item.body)
    except Refused:
        store.refused(number, item.attempted_at)
        raise
    store.posted(number, message_id)
    kind = "" if item.kind == "announced" else f" ({item.kind})"
    log.info("%sPosted%s: %s", label, kind, item.title)


def sum_up(plans: Sequence[Plan], results: Sequence[Result]) -> tuple[int, str]:
    """Return the exit code and the last line. Raises Failure if a channel was not sent all that it should be.

    75 wins, so that what may pass is tried again; then 78.
    """
    failures = {one.channel.name: result.failure for one, result in zip(plans, results, strict=True) if result.failure}
    if failures:
        codes = {failure.exit_code for failure in failures.values()}
        code = next(code for code in (TRY_LATER, BAD_CONFIGURATION, BAD_INPUT) if code in codes)
        said = [f"{name}: {failure}" if len(plans) > 1 else str(failure) for name, failure in failures.items()]
        raise Failure(code, " ".join(said))
    posted, edited = sum(result.posted for result in results), sum(result.edited for result in results)
    if posted or edited:
        return DONE, f"Messages: {posted} posted, {edited} edited"
    nearest = plans[0].nearest
    if len(plans) > 1:
        return NOTHING_TO_SAY, f"Nothing to say in any of {len(plans)} channels"
    word = "announced" if "announced" in plans[0].channel.kinds else "next"
    return NOTHING_TO_SAY, f"Nothing to say: {f'{nearest.name} is {word}' if nearest else 'no launch is to come'}"


def main() -> int:
    """Run the step and return its exit code."""
    parser = argparse.ArgumentParser(prog="notify", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="say what each channel would be sent now; send nothing")
    arguments = parser.parse_args()
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings have the address in them: a secret
    return step.main(partial(run, check=arguments.check))


if __name__ == "__main__":
    sys.exit(main())
