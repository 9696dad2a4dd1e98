"""Launches to their end: the list drops a launch a day after its time, also where it has no outcome yet.

One that a message shows is then asked for by its id, less and less often, until it has an outcome or is not known any
more.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime

from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

from fetch import launch, store
from fetch.launch_library import LaunchLibrary
from step import Failure

REQUESTS_AN_HOUR = 12  # the others are for the pages

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Followed:
    """The ids that were asked for, and those of them that the Launch Library does not know any more."""

    asked: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)


def follow(connection: Connection, library: LaunchLibrary, spent: int, now: datetime) -> Followed:
    """Ask for some launches by their ids, and stage what is found. A failure is a warning and ends it for this run.

    `spent` is how many requests the hour before this run had.
    """
    followed = Followed()
    for launch_id in store.to_follow(connection, now):
        url = library.launch_url(launch_id)
        if not url or spent + len(library.requests) >= REQUESTS_AN_HOUR:
            break
        followed.asked.append(launch_id)
        try:
            one = ask(library, url, launch_id)
        except (Failure, launch.Unreadable) as failure:
            request = library.requests[-1]
            if request.status == 404:
                followed.withdrawn.append(launch_id)
                log.info("The Launch Library does not know the launch %s any more: it is withdrawn", launch_id)
                continue
            reason = failure if isinstance(failure, launch.Unreadable) else request.status or "no whole answer"
            request.error = (
                f"The launch {launch_id} could not be asked for by its id ({reason}): a later run tries again."
            )
            log.warning("%s", request.error)
            break
        store.stage(connection, library.requests[-1], [(None, one)])
    return followed


def ask(library: LaunchLibrary, url: str, launch_id: str) -> launch.Launch:
    """Return a launch by its address. Raises Failure, or Unreadable for an answer that is not that launch."""
    one = launch.read(library.launch(url))
    if one.launch_id != launch_id:
        raise launch.Unreadable("it is another launch")
    return one
