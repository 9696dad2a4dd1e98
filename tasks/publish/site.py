"""The site: every file of one version of it, in the order in which they have to appear."""

import hashlib
import json
import math
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from publish import calendars, plot
from publish.facts import UNKNOWN
from publish.history import ANNOUNCED, PICTURE, Moment, moments, said, title
from publish.store import ByDays, ByProvider, Picture, Row, Tables
from wording import ENDED, OUTCOMES, STATUSES, date, is_exact, is_link, is_placeholder, period

FOLDER = Path(__file__).parent
FLYING = timedelta(hours=2)  # after its time, a launch without an outcome is still the next one
KEPT = timedelta(days=90)  # for so long a launch stays in the calendars and lists
RECENT, FLOWN, FED = 12, 12, 100  # changes and launches on the first page; changes in the feeds
DAYS = [30, 14, 7, 3, 1]  # before a launch

FOREVER = "public, max-age=31536000, immutable"  # its name says what is in it
PAGE, DATA = "public, max-age=60", "public, max-age=300"
HTML, CALENDAR = "text/html; charset=utf-8", "text/calendar; charset=utf-8"
ATOM, JSON_FEED, JSON = "application/atom+xml; charset=utf-8", "application/feed+json", "application/json"
EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/gif": "gif", "image/avif": "avif"}
MEDIA = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
# Nothing from elsewhere, and no script or style but our files: whatever an API's text has in it.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'"
)


class File(NamedTuple):
    """A file by its path below public/; `cache` is its Cache-Control. Of a launch's page, the launch."""

    path: str
    body: bytes
    media: str
    cache: str
    launch_id: str | None = None


@dataclass(frozen=True)
class Card:
    """A launch as the templates show it."""

    row: Row
    history: list[Moment]
    path: str
    picture: str | None  # its path
    size: tuple[int, int] | None  # in pixels
    press_kit: str | None

    @property
    def title(self) -> str:
        """Return its name on one line."""
        return title(self.row.state)

    @property
    def when(self) -> str:
        """Say when, no more exactly than it is known, in UTC."""
        row = self.row
        if row.withdrawn_at:
            return f"It was to be {said(row.state)}" if row.net else "It had no date"
        if row.net is None:
            return "No date yet"
        return said(row.state) if is_exact(row) else date(row)

    @property
    def exact(self) -> str | None:
        """Return the time as programs read it, where it is known to the hour or better."""
        row = self.row
        return f"{row.net:%Y-%m-%dT%H:%M:%SZ}" if row.net and is_exact(row) and not row.withdrawn_at else None

    @property
    def status(self) -> str:
        """Return its status in words."""
        return "Withdrawn" if self.row.withdrawn_at else STATUSES.get(self.row.status or "") or self.row.status or ""

    @property
    def tone(self) -> str:
        """Return what kind of a status that is, for its colour."""
        if self.row.withdrawn_at or self.row.status in ("Failure", "Partial Failure"):
            return "bad"
        return "good" if self.row.status in ("Go", "Success", "In Flight", "Payload Deployed") else "open"

    @property
    def facts(self) -> dict[str, Any]:
        """Return all facts, known or not."""
        return UNKNOWN | self.row.facts

    @property
    def why(self) -> str | None:
        """Return why it is on hold or has failed."""
        names = {"Hold": "holdreason", "Failure": "failreason", "Partial Failure": "failreason"}
        return self.row.facts.get(names.get(self.row.status or "", ""))

    @property
    def month(self) -> str:
        """Return the heading it stands under."""
        row = self.row
        if row.net is None:
            return "Without a date"
        if is_exact(row) or is_placeholder(row) or (row.net_precision or "").startswith(("day", "morning", "after")):
            return f"{row.net:%B %Y}"
        return f"{period(row.state)[0]:%B %Y}" if row.net_precision in ("week", "month") else date(row)

    @property
    def slips(self) -> plot.Slips | None:
        """Return the plot of how its time moved."""
        return plot.slips(self.history)

    @property
    def ended(self) -> str:
        """Say how it went."""
        return ENDED.get(self.row.status or "", "has no outcome yet").removeprefix("was ").capitalize()


def is_coming(row: Row, newest: datetime, horizon: datetime, now: datetime) -> bool:
    """Tell whether a launch is to come: it has no outcome, its time is not up, and the newest page has it.

    One that this page no longer has was merged into another, or has slipped, unless it is beyond that page's end.
    """
    if row.withdrawn_at or row.status in OUTCOMES:
        return False
    if row.net is None:
        return row.last_seen_at == newest
    _, end = period(row.state)
    is_there = row.last_seen_at == newest or row.net > horizon
    return is_there and end + (FLYING if is_exact(row) else timedelta()) > now and row.net > now - timedelta(days=366)


def path_of(launch_id: str) -> str:
    """Return the path of a launch's page, whatever its id is made of."""
    safe = re.fullmatch(r"[0-9A-Za-z-]{1,64}", launch_id)
    return f"launch/{launch_id if safe else short(launch_id.encode(), 32)}.html"


def picture_path(picture: Picture) -> str:
    """Return the path of a picture, which never changes."""
    return f"pictures/{picture.sha256}.{EXTENSIONS[picture.type]}"


def short(content: bytes, length: int = 8) -> str:
    """Return the first digits of a SHA-256."""
    return hashlib.sha256(content).hexdigest()[:length]


@cache
def static() -> dict[str, File]:
    """Return our own style, script and icon; their names change with what is in them."""
    found = {}
    for path in sorted((FOLDER / "static").iterdir()):
        if path.suffix in MEDIA:
            body = path.read_bytes()
            name = f"{path.stem}-{short(body)}{path.suffix}"
            found[path.stem] = File(name, body, MEDIA[path.suffix], FOREVER)
    return found


@cache
def templates() -> jinja2.Environment:
    """Return the templates: whatever is put into them is escaped."""
    loader = jinja2.FileSystemLoader(FOLDER / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"static": static(), "policy": POLICY, "days": plot.days}
    environment.filters |= {"utc": utc, "iso": iso, "day": lambda at: f"{at.day} {at:%B %Y}"}
    environment.tests |= {"link": is_link}
    return environment


def utc(at: datetime) -> str:
    """Write a time."""
    return f"{at.day} {at:%B %Y}, {at:%H:%M} UTC"


def iso(at: datetime) -> str:
    """Write a time as programs read it."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


class Site:
    """One version of the site, made of tables as of one moment, at an address that does not end with a slash."""

    def __init__(self, tables: Tables, pictures: Mapping[str, str], address: str, now: datetime) -> None:
        """Take which pictures are there: their paths by their digests."""
        self._address, self._now = address, now
        self.cards = {row.launch_id: self._card(row, tables, pictures) for row in tables.launches}
        newest = max((row.last_seen_at for row in tables.launches), default=now)
        horizon = max((row.net for row in tables.launches if row.net and row.last_seen_at == newest), default=now)
        far = datetime.max.replace(tzinfo=now.tzinfo)
        coming = [card for card in self.cards.values() if is_coming(card.row, newest, horizon, now)]
        self.coming = sorted(
            coming,
            key=lambda card: (period(card.row.state)[1] if card.row.net else far, card.row.net or far, card.path),
        )
        there = {card.path for card in self.coming}
        self.flown = sorted(
            (
                card
                for card in self.cards.values()
                if card.row.net
                and card.path not in there
                and not card.row.withdrawn_at
                and (card.row.status in OUTCOMES or (is_exact(card.row) and card.row.net <= now))
            ),
            key=lambda card: (card.row.net, card.path),
            reverse=True,
        )
        began = min((row.first_seen_at for row in tables.launches), default=now)
        told = [
            (moment, card)
            for card in self.cards.values()
            for moment in card.history
            if moment.kinds != (PICTURE,) and not (ANNOUNCED in moment.kinds and moment.at == began)
        ]
        self.told = sorted(told, key=lambda one: (one[0].at, one[1].path), reverse=True)[:FED]

    def _card(self, row: Row, tables: Tables, pictures: Mapping[str, str]) -> Card:
        history = moments(row.state, tables.changes.get(row.launch_id, ()), row.first_seen_at, row.withdrawn_at)
        picture = tables.pictures.get(row.launch_id)
        path = pictures.get(picture.sha256) if picture else None
        size = (picture.width, picture.height) if picture and picture.width and picture.height else None
        kit = tables.press_kits.get(row.launch_id)
        return Card(row, history, path_of(row.launch_id), path, size, kit if is_link(kit) else None)

    def events(self) -> dict[str, calendars.Said]:
        """Return what the calendars' events say, by the launches' ids."""
        since = self._now - KEPT
        return {
            launch_id: calendars.said(card.row, f"{self._address}/{card.path}")
            for launch_id, card in self.cards.items()
            if calendars.is_listed(card.row)
            and (card.row.net is None or card.row.net > since)
            and (card.row.withdrawn_at is None or card.row.withdrawn_at > since)
        }

    def files(
        self, events: Mapping[str, str], by_days: list[ByDays], by_provider: list[ByProvider]
    ) -> Iterator[list[File]]:
        """Yield the files in groups: a file names only those of its own group and of groups before it."""
        yield list(static().values())
        statistics = self._render("statistics.html", root="", **statistics_plots(by_days, by_provider))
        yield [File("statistics.html", statistics, HTML, PAGE)]
        yield [
            File(card.path, self._render("launch.html", root="../", card=card), HTML, PAGE, card.row.launch_id)
            for card in self.cards.values()
        ]
        ours = list(self._calendars(events))
        yield [*(file for _, file in ours), *self._data()]
        yield [File("index.html", self._index([(name, file.path) for name, file in ours]), HTML, PAGE)]

    def waiting(self) -> File:
        """Return what is at the site's address until its first version is complete."""
        return File("index.html", self._render("waiting.html", root=""), HTML, PAGE)

    def _index(self, named: list[tuple[str, str]]) -> bytes:
        groups = [(month, list(cards)) for month, cards in groupby(self.coming, key=attrgetter("month"))]
        facts = [card.row.facts for card in self.coming]
        choices = [
            (name, key, sorted({one[key] for one in facts if one.get(key)}, key=str.casefold))
            for name, key in (("Provider", "provider"), ("Rocket", "rocket"), ("Place", "location"))
        ]
        return self._render(
            "index.html",
            root="",
            # Nobody counts down to a launch that is on hold, where there is another.
            next=next((card for card in self.coming if card.row.status != "Hold"), next(iter(self.coming), None)),
            groups=groups,
            choices=choices,
            told=self.told[:RECENT],
            flown=self.flown[:FLOWN],
            calendars=named,
        )

    def _calendars(self, events: Mapping[str, str]) -> Iterator[tuple[str, File]]:
        """Yield each calendar with its name: that of all launches first."""
        providers: dict[str, list[str]] = {}
        for launch_id, event in events.items():
            if provider := self.cards[launch_id].row.facts.get("provider"):
                providers.setdefault(provider, []).append(event)
        yield "All launches", self._calendar("Rocket launches", "launches.ics", list(events.values()))
        taken: set[str] = set()
        for provider, some in sorted(providers.items()):
            name = re.sub(r"[^a-z0-9]+", "-", provider.lower()).strip("-")[:60]
            if not name or name in taken:
                name = f"{name}-{short(provider.encode())}".strip("-")
            taken.add(name)
            yield provider, self._calendar(f"Rocket launches: {provider}", f"calendars/{name}.ics", some)

    def _calendar(self, name: str, path: str, events: list[str]) -> File:
        return File(path, calendars.calendar(name, f"{self._address}/{path}", events), CALENDAR, DATA)

    def _data(self) -> Iterator[File]:
        """Yield the feeds of changes, the list for programs, and its schema."""
        items = [
            {
                "id": uuid.uuid5(uuid.NAMESPACE_URL, f"{card.row.launch_id}/{moment.at.isoformat()}").urn,
                "url": f"{self._address}/{card.path}",
                "title": moment.sentence,
                "content_text": f"{moment.sentence}. {card.status}." if card.status else f"{moment.sentence}.",
                "date_published": iso(moment.at),
            }
            for moment, card in self.told
        ]
        feed = {
            "version": "https://jsonfeed.org/version/1.1",
            "title": "Rocket launches: what changed",
            "home_page_url": f"{self._address}/index.html",
            "feed_url": f"{self._address}/feed.json",
            "description": "Launches that are new, slip, fly or are withdrawn",
            "language": "en",
            "items": items,
        }
        updated = items[0]["date_published"] if items else "1970-01-01T00:00:00Z"
        atom = self._render("feed.xml", items=items, address=self._address, updated=updated)
        yield File("feed.xml", atom, ATOM, DATA)
        yield File("feed.json", dumps(feed), JSON_FEED, DATA)
        since = self._now - KEPT
        shown = [*self.coming, *(card for card in self.flown if card.row.net and card.row.net > since)]
        yield File("launches.json", dumps([self._plain(card) for card in shown]), JSON, DATA)
        yield File("launches.schema.json", (FOLDER / "static" / "launches.schema.json").read_bytes(), JSON, DATA)

    def _plain(self, card: Card) -> dict[str, Any]:
        """Return a launch as launches.schema.json describes it."""
        row, facts = card.row, card.row.facts
        return {
            "id": row.launch_id,
            "name": row.name,
            "net": iso(row.net) if row.net else None,
            "net_precision": row.net_precision,
            "status": row.status,
            **{key: facts.get(key) for key in ("provider", "rocket", "pad", "location", "map", "mission")},
            "webcasts": [url for _, url in facts.get("webcasts", [])],
            "page": f"{self._address}/{card.path}",
            "picture": f"{self._address}/{card.picture}" if card.picture else None,
        }

    def _render(self, template: str, **values: Any) -> bytes:  # noqa: ANN401  # whatever it shows
        return templates().get_template(template).render(values).encode()


def statistics_plots(by_days: list[ByDays], by_provider: list[ByProvider]) -> dict[str, Any]:
    """Return what statistics.html shows: two plots, and the numbers for the tables below them."""
    moved = [
        (
            f"{row.days} day{'' if row.days == 1 else 's'}",
            [(percent(part, row.launches), f"{percent(part, row.launches)} %") for part in row[2:5]],
        )
        for row in by_days
    ]
    dated = [(cut(row.provider), row.ahead.total_seconds() / 86400) for row in by_provider if row.ahead][:8]
    ahead = [(name, [(days, f"{days:.0f} days")]) for name, days in dated]
    longest = round(max((days for _, days in dated), default=0))
    return {
        "moved": plot.bars(moved, 100, " %") if moved else None,
        "ahead": plot.bars(ahead, round_up(longest), "") if ahead else None,
        "by_days": by_days,
        "by_provider": by_provider,
        "launches": sum(row.launches for row in by_provider),
        "percent": percent,
    }


def cut(name: str) -> str:
    """Shorten a name to what there is room for below a bar."""
    return name if len(name) <= 12 else f"{name[:11]}…"


def percent(part: int, whole: int) -> int:
    """Return a part of a whole in percent."""
    return round(100 * part / whole) if whole else 0


def round_up(number: int) -> int:
    """Return the next multiple of four that has zeros behind its first digits, for the top of an axis."""
    unit = 4
    while number > unit * 10:
        unit *= 10
    return max(math.ceil(number / unit) * unit, 4)


def dumps(value: Any) -> bytes:  # noqa: ANN401  # any JSON
    """Write JSON, readable and in UTF-8."""
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
