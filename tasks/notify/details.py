"""The details of launches, from the answers in the object store."""

from collections.abc import Sequence

import objects
from notify.store import Launch


def filled(launches: Sequence[Launch]) -> list[Launch]:
    """Return the launches with their details.

    Where an answer is missing or damaged, the message does without: better than none. Raises Failure as
    `objects.details` does.
    """
    found = objects.details((launch.object_key, launch.position) for launch in launches)
    return [
        launch._replace(details=found.get((launch.object_key, launch.position), {})) if launch.object_key else launch
        for launch in launches
    ]
