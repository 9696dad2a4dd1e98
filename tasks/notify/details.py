"""The details of launches, from the answers in the object store; and where their pages are."""

import os
from collections.abc import Sequence

import objects
from notify.store import Launch


def filled(launches: Sequence[Launch]) -> list[Launch]:
    """Return the launches with their details, and with the addresses of their pages where PUBLIC_URL says where.

    Where an answer is missing or damaged, the message does without: better than none. Raises Failure as
    `objects.details` does.
    """
    found = objects.details((launch.object_key, launch.position) for launch in launches)
    site = os.environ.get("PUBLIC_URL", "").strip().rstrip("/")
    return [
        launch._replace(
            details=found.get((launch.object_key, launch.position), {}) if launch.object_key else launch.details,
            page=f"{site}/{launch.page}" if site and launch.page else None,
        )
        for launch in launches
    ]
