"""One run: what is due is asked for, each host as it wants to be asked, and what comes is kept.

One request at a time, and to a host, or an address that several hosts have, at least five seconds apart; its robots.txt
(RFC 9309) first, which is good for a day. A host that refuses is left alone for a week.
"""

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from protego import Protego

from crawl.public import Answer, Unanswered, Web, redirect
from crawl.read import Facts, facts
from crawl.store import Body, Due, Host, Store
from objects import Objects
from page import clean
from step import Failure

AGENT = "rocket-launches"  # in robots.txt
APART, LONGEST_DELAY = 5.0, 60.0  # seconds between two requests; what Crawl-delay may ask for at most
REQUESTS, BYTES, SECONDS = 100, 128 * 1024 * 1024, 400  # of a run
BODY_BYTES, ROBOTS_BYTES = 16 * 1024 * 1024, 512 * 1024
HOPS = 5  # redirects
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
DOUBLINGS = 5  # of a day: what stays the same is asked for every 32 days in the end

log = logging.getLogger("crawl")


@dataclass(slots=True)
class Job:
    """An address that is due; `url` is what is asked for next, which a redirect changes."""

    due: Due
    url: str
    hops: int = 0


@dataclass(slots=True)
class Site:
    """A host in this run; `keys` are its name and, once it is to be asked, its addresses: these keep requests apart."""

    host: Host
    keys: list[str]
    robots_url: str
    is_looked_up: bool = False
    hops: int = 0
    rules: Protego | None = None
    apart: float = APART


@dataclass(slots=True)
class Totals:
    """What a run has done."""

    requests: int = 0
    bytes: int = 0
    new: int = 0
    changed: int = 0
    same: int = 0
    failed: int = 0
    put_off: int = 0
    hosts: set[str] = field(default_factory=set)


class Crawl:
    """A run that began at `started_at`; without an object store, bodies are read and not kept."""

    def __init__(self, web: Web, store: Store, kept_in: Objects | None, started_at: datetime) -> None:
        self._web, self._store, self._kept_in = web, store, kept_in
        self._started_at, self._began = started_at, time.monotonic()
        self._sites: dict[str, Site] = {}
        self._asked: dict[str, float] = {}  # by name or address, when it was last asked
        self.totals = Totals()

    def run(self, due: Sequence[Due]) -> Totals:
        """Ask for what is due, in this order as far as the hosts let us, until all is done or the budget is spent."""
        jobs = [job for one in due if (job := self._job(one))]
        known = self._store.hosts({origin(job.url) for job in jobs})
        for job in jobs:
            self._site(job.url, known)
        while jobs := self._without_left_alone(jobs):
            job = min(jobs, key=self._ready_at)
            ready = self._ready_at(job)
            if not self._has_budget(ready):
                break
            time.sleep(max(0.0, ready - time.monotonic()))
            if self._advance(job):
                jobs.remove(job)
        self.totals.put_off += len(jobs)
        return self.totals

    def _job(self, due: Due) -> Job | None:
        try:
            return Job(due, self._web.address(due.url))
        except Unanswered as reason:
            self._failed(due, None, str(reason))
            return None

    def _site(self, url: str, known: dict[str, Host] | None = None) -> Site:
        """Return the site of an address; how it was asked in earlier runs counts."""
        name = origin(url)
        if name not in self._sites:
            host = (known if known is not None else self._store.hosts([name])).get(name) or Host(name)
            self._sites[name] = site = Site(host, [urlsplit(url).hostname or ""], f"{name}/robots.txt")
            if host.robots is not None and host.robots_at and host.robots_at > self._now() - DAY:
                learn(site)
        return self._sites[name]

    def _look_up(self, site: Site) -> None:
        """Learn a site's addresses; that it was asked in an earlier run counts for all of them."""
        site.keys += self._web.peers(site.robots_url)
        site.is_looked_up = True
        if at := site.host.asked_at:
            ago = max(0.0, (self._now() - at).total_seconds())
            for key in site.keys:
                self._asked[key] = max(self._asked.get(key, float("-inf")), time.monotonic() - ago)

    def _next_site(self, job: Job) -> Site:
        """Return the site that is asked next for a job: its own, or where its robots.txt has moved to."""
        site = self._site(job.url)
        return site if site.rules else self._site(site.robots_url)

    def _ready_at(self, job: Job) -> float:
        """Return when its site may be asked next, by the monotonic clock."""
        site = self._next_site(job)
        return max(self._asked.get(key, float("-inf")) for key in site.keys) + site.apart

    def _has_budget(self, ready: float) -> bool:
        left = self._began + SECONDS - max(ready, time.monotonic())
        return left > 0 and self.totals.requests < REQUESTS and self.totals.bytes < BYTES

    def _without_left_alone(self, jobs: list[Job]) -> list[Job]:
        """Put off what is on hosts that are to be left alone, and return the others."""
        alone: dict[str, list[Job]] = {}
        for job in jobs:
            host = self._site(job.url).host
            if host.not_before and host.not_before > self._now():
                alone.setdefault(host.host, []).append(job)
        for name, some in alone.items():
            host = self._sites[name].host
            if host.not_before:
                reason = f"{host.reason}: {name} is left alone until {host.not_before:%Y-%m-%d %H:%M} UTC"
                for job in some:
                    if job.hops:  # it has been asked for, which is enough for a day
                        self._failed(job.due, None, f"It redirects, and there: {reason}")
                if waiting := [job.due.url for job in some if not job.hops]:
                    self._store.postpone(waiting, host.not_before, reason)
                    log.info("%d put off: %s", len(waiting), reason)
                    self.totals.put_off += len(waiting)
        return [job for job in jobs if origin(job.url) not in alone]

    def _advance(self, job: Job) -> bool:
        """Make one request for a job, or none where none may be made, and tell whether it is done."""
        if not (asked := self._next_site(job)).is_looked_up:
            self._look_up(asked)
            return False
        site = self._site(job.url)
        if not site.rules:
            self._ask_for_robots(site)
            return False
        if not site.rules.can_fetch(job.url, AGENT):
            self._failed(job.due, None, "Its robots.txt forbids it", after=WEEK)
            return True
        headers = {"If-None-Match": job.due.etag, "If-Modified-Since": job.due.last_modified}
        try:
            answer = self._ask(
                site, job.url, BODY_BYTES, {name: value for name, value in headers.items() if value}, job.due.url
            )
            if (to := redirect(job.url, answer)) is not None:
                return self._follow(job, to)
        except Unanswered as reason:
            self._failed(job.due, None, str(reason))
            return True
        self._take(job, site, answer)
        return True

    def _ask(self, site: Site, url: str, limit: int, headers: dict[str, str], due: str | None) -> Answer:
        """Ask a site. That it is asked is written first: a run that dies does not ask too soon again."""
        self._store.claim(due, site.host.host, self._now())
        self.totals.requests += 1
        self.totals.hosts.add(site.host.host)
        try:
            answer = self._web.get(url, limit, headers)
        finally:
            for key in site.keys:
                self._asked[key] = time.monotonic()
        self.totals.bytes += len(answer.body)
        return answer

    def _ask_for_robots(self, site: Site) -> None:
        """Ask once for a site's robots.txt: without an answer the site is left alone, with a 4xx it has none."""
        try:
            answer = self._ask(self._site(site.robots_url), site.robots_url, ROBOTS_BYTES, {}, None)
        except Unanswered as reason:
            self._leave_alone(site, HOUR, f"Its robots.txt cannot be read ({reason})")
            return
        if (to := redirect(site.robots_url, answer)) is not None and site.hops < HOPS:
            try:
                site.hops, site.robots_url = site.hops + 1, self._web.address(to)
            except Unanswered:
                self._keep_robots(site, "")
        elif answer.status == 429 or answer.status >= 500:
            self._leave_alone(site, wait(answer, self._now()), f"Its robots.txt cannot be read ({answer.status})")
        else:
            # What is cut off may end in the middle of a line.
            text = answer.body.rpartition(b"\n")[0] if answer.is_cut else answer.body
            self._keep_robots(site, text.decode("utf-8", "replace") if answer.status == 200 else "")

    def _keep_robots(self, site: Site, text: str) -> None:
        site.host.robots, site.host.robots_at = str(clean(text)), self._now()
        site.host.not_before = site.host.reason = None
        learn(site)
        self._store.keep_host(site.host)

    def _leave_alone(self, site: Site, how_long: timedelta, reason: str) -> None:
        site.host.not_before, site.host.reason = self._now() + how_long, str(clean(reason))
        self._store.keep_host(site.host)

    def _follow(self, job: Job, to: str) -> bool:
        """Go on where a redirect leads, and tell whether that is the end. Raises Unanswered."""
        job.hops += 1
        if job.hops > HOPS:
            raise Unanswered(f"More than {HOPS} redirects")
        try:
            job.url = self._web.address(to)
        except Unanswered as reason:
            raise Unanswered(f"It redirects to {to[:200]}: {reason}") from None
        return False

    def _take(self, job: Job, site: Site, answer: Answer) -> None:
        """Keep an answer that is no redirect, or the reason why it is not kept."""
        if answer.status == 304 and job.due.sha256:
            self._done(job.due, 304, None, is_same=True, body=None)
        elif answer.status == 200 and not answer.is_cut:
            self._keep(job, answer)
        elif answer.status == 200:
            self._failed(job.due, 200, f"It has more than {BODY_BYTES // 1024 // 1024} MiB")
        elif answer.status in (401, 403, 451):
            self._leave_alone(site, WEEK, f"It refuses to answer ({answer.status})")
            self._failed(job.due, answer.status, f"It refuses to answer ({answer.status})", after=WEEK)
        elif answer.status in (429, 503):
            how_long = wait(answer, self._now())
            self._leave_alone(site, how_long, f"It asks to wait ({answer.status})")
            self._failed(job.due, answer.status, f"It asks to wait ({answer.status})", after=how_long)
        else:
            self._failed(job.due, answer.status, f"It answers {answer.status}")

    def _keep(self, job: Job, answer: Answer) -> None:
        """Keep a body under its digest, then what it says of itself."""
        due, digest = job.due, hashlib.sha256(answer.body).hexdigest()
        key = f"crawled/{digest[:2]}/{digest}" if self._kept_in else None
        content_type = str(answer.headers.get("Content-Type", ""))[:200]
        metadata = {
            "url": due.url,
            "final": job.url,
            "fetched": self._now().isoformat(),
            "type": printable(content_type),
            "language": printable(answer.headers.get("Content-Language", "")),
            "etag": printable(answer.headers.get("ETag", "")),
            "modified": printable(answer.headers.get("Last-Modified", "")),
        }
        if self._kept_in and key:
            try:
                self._kept_in.put(key, answer.body, metadata)
            except Failure:
                self._store.postpone([due.url], self._now() + HOUR, "It could not be kept")
                raise
        self.keep_row(due, answer.body, digest, key, metadata)

    def keep_row(self, due: Due, body: bytes, digest: str, key: str | None, metadata: dict[str, str]) -> None:
        """Write what a body says of itself, and when it is due again."""
        about: Facts = facts(body, metadata["type"], metadata["language"])
        found = Body(
            final_url=metadata["final"],
            etag=metadata["etag"] or None,
            last_modified=metadata["modified"] or None,
            object_key=key,
            sha256=digest,
            bytes=len(body),
            facts=about,
        )
        self._done(due, 200, None, is_same=due.sha256 == digest, body=found)

    def _failed(self, due: Due, status: int | None, reason: str, after: timedelta | None = None) -> None:
        self._done(due, status, str(clean(reason)), is_same=due.error == reason, body=None, after=after)

    def _done(  # noqa: PLR0913  # what there is to say
        self,
        due: Due,
        status: int | None,
        error: str | None,
        *,
        is_same: bool,
        body: Body | None,
        after: timedelta | None = None,
    ) -> None:
        """Write the end of a job: what stays the same is asked for less and less often."""
        times = due.times_same + 1 if is_same else 0
        at = self._now()
        self._store.outcome(
            due.url,
            now=at,
            next_at=at + (after or DAY * 2 ** min(times, DOUBLINGS)),
            times_same=times,
            status=status,
            error=error,
            body=body,
        )
        what = "failed" if error else "same" if is_same else "changed" if due.sha256 else "new"
        setattr(self.totals, what, getattr(self.totals, what) + 1)
        shown = f"{body.facts.type}, {body.bytes:,} bytes" if body else error or "as before"
        log.info("%s: %s, %s", due.url, "as before" if is_same and not error else what, shown)

    def _now(self) -> datetime:
        return self._started_at + timedelta(seconds=time.monotonic() - self._began)


def learn(site: Site) -> None:
    """Read the rules of a site's robots.txt."""
    site.rules = Protego.parse(site.host.robots or "")
    site.apart = max(APART, min(site.rules.crawl_delay(AGENT) or 0.0, LONGEST_DELAY))


def origin(url: str) -> str:
    """Return scheme, name and port of an address, such as https://www.example.org."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def wait(answer: Answer, now: datetime) -> timedelta:
    """Return how long a host wants to be left alone, a week at most; an hour where it does not say."""
    said = str(answer.headers.get("Retry-After", "")).strip()
    if said.isdecimal():
        return timedelta(seconds=min(int(said[:9]), WEEK.total_seconds()))
    try:
        until = parsedate_to_datetime(said)
        return min(max((until if until.tzinfo else until.replace(tzinfo=UTC)) - now, timedelta()), WEEK)
    except (ValueError, TypeError, OverflowError):
        return HOUR


def printable(text: object) -> str:
    """Return what an object's metadata can have of a header: ASCII that is printed, on one line."""
    return "".join(c for c in str(text)[:200] if c.isascii() and c.isprintable())


def adopt(crawl: Crawl, store: Store, kept_in: Objects, unfinished: dict[str, datetime]) -> int:
    """Give objects whose run died before it wrote their rows these rows; return how many there were."""
    known, adopted = store.kept(), 0
    for key in kept_in.keys("crawled/"):
        if key not in known:
            body, metadata = kept_in.get(key)
            digest, asked_at = hashlib.sha256(body).hexdigest(), unfinished.get(metadata["url"])
            if asked_at and datetime.fromisoformat(metadata["fetched"]) >= asked_at and key.endswith(digest):
                crawl.keep_row(Due(metadata["url"]), body, digest, key, metadata)
                adopted += 1
    return adopted
