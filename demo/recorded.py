"""What both replays share: recorded pages, and a table of what was told."""

import itertools
import statistics
import tarfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

TOLD = """
    SELECT n.kind, n.launch_id, n.attempt, n.minutes_before, n.net, n.posted_at, n.facts, r.net
    FROM notifications AS n
    JOIN rocket_launches AS r USING (launch_id)
    WHERE n.posted_at IS NOT NULL
    ORDER BY n.id
"""


class NoPages(Exception):  # noqa: N818  # it says what is missing
    """There is nothing to replay; the sentence says why."""


class Page(NamedTuple):
    """A page and when it was recorded."""

    at: datetime
    body: bytes


class Message(NamedTuple):
    """A message that was posted: the NET that it named then, its body now, and the last NET that is known."""

    kind: str
    launch_id: str
    attempt: int
    minutes_before: int | None
    net: datetime | None
    posted_at: datetime
    body: dict[str, Any]
    last_net: datetime | None


def recorded_pages(source: Path) -> Iterator[Page]:
    """Return the pages of a folder or of an archive such as pages.tar.xz, in its order. Raises NoPages."""
    pages = read(source)
    if not (first := next(pages, None)):
        raise NoPages(f"{source} has no *.json files: give a folder or an archive with recorded pages.")
    return itertools.chain([first], pages)


def read(source: Path) -> Iterator[Page]:
    """Yield the pages of a folder or of an archive."""
    if source.is_dir():
        for path in sorted(source.glob("*.json")):
            yield Page(recorded_at(path), path.read_bytes())
        return
    try:
        with tarfile.open(source, "r|*") as archive:  # as a stream: unpacked it may be very large
            for member in archive:
                if member.name.endswith(".json") and (file := archive.extractfile(member)):
                    yield Page(recorded_at(Path(member.name)), file.read())
    except (OSError, tarfile.TarError) as error:
        raise NoPages(f"{source} cannot be read ({error}): give a folder or an archive with recorded pages.") from None


def recorded_at(path: Path) -> datetime:
    """Read the time in a page's name."""
    try:
        return datetime.strptime(path.stem, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise NoPages(f"{path} does not say when it was recorded: call it such as 20250503T191502Z.json.") from None


def table(messages: Sequence[Message]) -> str:
    """Write how many messages of each kind there were, and how long before or after NET."""
    lines = ["| kind | messages | launches | before NET, median | before NET, least |", "|---|---|---|---|---|"]
    for kind in dict.fromkeys(message.kind for message in messages):
        of_kind = [message for message in messages if message.kind == kind]
        # What was announced is measured by when the launch was at last, and by its first announcement.
        first = {message.launch_id: message for message in reversed(of_kind)}.values()
        leads = [
            (net - message.posted_at).total_seconds()
            for message in (first if kind == "announced" else of_kind)
            if (net := message.last_net if kind in ("announced", "outcome") else message.net)
        ]
        launches = len({message.launch_id for message in of_kind})
        lines.append(
            f"| {kind} | {len(of_kind)} | {launches} | {span(statistics.median(leads))} | {span(min(leads))} |"
        )
    return "\n".join(lines)


def span(seconds: float) -> str:
    """Write a length of time in hours and minutes; below zero, it is after NET."""
    minutes = round(seconds / 60)
    return f"{'-' if minutes < 0 else ''}{abs(minutes) // 60} h {abs(minutes) % 60:02} min"
