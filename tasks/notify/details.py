"""The details of launches, from the answers in the object store."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import objects
from notify.store import Launch
from objects import Missing
from step import BAD_CONFIGURATION, Failure

log = logging.getLogger(__name__)


def filled(launches: Sequence[Launch]) -> list[Launch]:
    """Return the launches with their details: usually, one answer has those of all.

    Where an answer is missing or damaged, the log says so and the message does without: better than none. Raises
    Failure, if the store is away (75) or will not have us (78).
    """
    places: dict[str, list[int | None]] = defaultdict(list)
    for launch in launches:
        if launch.object_key:
            places[launch.object_key].append(launch.position)
    if not places:
        return list(launches)
    if not (kept_in := objects.from_environment()):
        raise Failure(
            BAD_CONFIGURATION,
            "The details of launches are in an object store, and OBJECT_STORE does not say which: set it, as "
            "fetch_and_store_data has it.",
        )
    found: dict[tuple[str | None, int | None], Any] = {}
    for key, positions in places.items():
        try:
            found |= {(key, position): one for position, one in objects.places(kept_in.get(key)[0], positions).items()}
        except (Missing, ValueError, RecursionError, EOFError, objects.ZstdError) as error:
            log.warning("Messages are without what %s says, which cannot be read: %s", key, error)
    return [
        launch._replace(details=found.get((launch.object_key, launch.position), {})) if launch.object_key else launch
        for launch in launches
    ]
