"""Post the next launch to Discord, and edit the messages whose launch has changed.

Exit codes: 0 posted or edited, 65 Discord refuses a message, 75 try again later (Discord or the database is away),
78 the configuration is bad (the webhook was deleted), 99 nothing to say, or no webhook to say it to, 143 stopped by
SIGTERM.
"""

import contextlib
import logging
import os
import sys

import step
from notify import heartbeat, message
from notify.discord import Refused, Webhook
from notify.store import Launch, Store
from step import BAD_CONFIGURATION, BAD_INPUT, DONE, NOTHING_TO_SAY, Failure

log = logging.getLogger("notify")


def run() -> int:
    """Tell what there is to tell, then send the heartbeat; return the exit code."""
    exit_code, last_line = tell()
    # Before the last line: that is what the UI shows, and a heartbeat that fails is not the result of the run.
    if url := os.environ.get("HEARTBEAT_URL"):
        heartbeat.send(url)
    log.info("%s", last_line)
    return exit_code


def tell() -> tuple[int, str]:
    """Read the configuration, edit what is outdated, post what is new; return the exit code and the last line."""
    if (wanted := os.environ.get("NOTIFY") or "true") not in ("true", "false"):
        raise Failure(BAD_CONFIGURATION, f"NOTIFY is {wanted!r}: give true or false.")
    if wanted == "false":
        return NOTHING_TO_SAY, "Notifying is switched off for this run: nothing was posted"
    if not (url := os.environ.get("DISCORD_WEBHOOK_URL")):
        return NOTHING_TO_SAY, "No webhook: DISCORD_WEBHOOK_URL is not set, so nobody was notified"
    webhook = Webhook(url)
    now = step.now()

    with contextlib.closing(step.connect()) as connection:
        store = Store(connection, webhook.id, now)
        store.lock()
        edited, refused = edit_outdated(store, webhook)
        following = store.next()
        posted = following is not None and post(store, webhook, following)
    if refused:
        raise refused
    if edited or posted:
        return DONE, f"Messages: {posted:d} posted, {edited} edited"
    reason = f"{following.name} is announced" if following else "no launch is to come"
    return NOTHING_TO_SAY, f"Nothing to say: {reason}"


def edit_outdated(store: Store, webhook: Webhook) -> tuple[int, Refused | None]:
    """Bring the messages up to date whose launch has changed; return how many, and why one of them is not."""
    edited, refused = 0, None
    for launch in store.outdated():
        try:
            edited += edit(store, webhook, launch)
        except Refused as failure:
            if failure.exit_code != BAD_INPUT:
                raise
            log.error("%s: %s", launch.name, failure)  # noqa: TRY400  # a sentence for people
            refused = failure  # of this message alone: the others are still edited, and the next launch is posted
    return edited, refused


def edit(store: Store, webhook: Webhook, launch: Launch) -> bool:
    """Bring a message up to date; return False where it was deleted by hand."""
    if not webhook.edit(launch.message_id or "", message.build(launch)):
        log.info("The message for %s was deleted in Discord", launch.name)
        store.gone(launch)
        return False
    store.edited(launch)
    log.info("Edited: %s", launch.name)
    return True


def post(store: Store, webhook: Webhook, launch: Launch) -> bool:
    """Post a launch that no message shows yet.

    Only an answer that is lost (the step is killed before `posted`, a time-out, a 5xx) leads to a second message:
    the next run finds the attempt, says so, and posts again, since a launch announced twice is better than never.
    """
    if launch.message_id:
        return False
    if launch.attempted_at:
        log.warning(
            "A run at %s sent a message for %s and did not learn if it arrived: it may now be there twice",
            f"{launch.attempted_at:%Y-%m-%dT%H:%M:%SZ}",
            launch.name,
        )
    body = message.build(launch)
    store.attempt(launch)
    try:
        message_id = webhook.post(body)
    except Refused:
        store.refused(launch)
        raise
    store.posted(launch, message_id)
    log.info("Posted: %s", launch.name)
    return True


def main() -> int:
    """Run the step and return its exit code."""
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings have the address in them: a secret
    return step.main(run)


if __name__ == "__main__":
    sys.exit(main())
