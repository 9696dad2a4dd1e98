"""Two hundred links over twenty sites, with bad days among them: what is kept is what an independent list says."""

import os
import random
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest
from werkzeug import Request, Response

from objects import Objects
from tests.conftest import Database
from tests.unit.crawl.conftest import APART, Crawl, Links, Site
from tests.unit.crawl.test_crawl import DAY

SITES, PAGES = 20, 200
FAULTS = ("gone", "broken", "moved", "forbidden", "empty", "asks to wait", "none", "none", "none", "none", "none")


def asks_to_wait_once(body: bytes) -> Callable[[Request], Response]:
    answers = iter([Response("", 429, {"Retry-After": "60"})])
    return lambda _: next(answers, Response(body))


class Web:
    """The sites, and what a crawl should have in the end, by address.

    The first forbids /private/, and of the second nobody knows what it forbids.
    """

    def __init__(self, rng: random.Random, sites: list[Site]) -> None:
        self.sites, self.there = sites, dict[str, bytes]()
        self.waiting = set[str]()  # until they have been asked once
        sites[0].says("/robots.txt", "User-agent: *\nDisallow: /private/", media="text/plain")
        sites[1].says("/robots.txt", "", 503)
        self.addresses = [self._page(rng, number) for number in range(PAGES)]

    def _page(self, rng: random.Random, number: int) -> str:
        """Make a page, or a fault in its place, and return the address of it."""
        site, other = self.sites[number % SITES], rng.choice(self.sites)
        body = f"<html><title>Page {number}</title>".encode()
        path, may_be_had = f"/{number}", site is not self.sites[1]
        match rng.choice(FAULTS):
            case "none":
                site.says(path, body)
            case "empty":
                site.says(path, body := b"")
            case "gone":
                site.says(path, "", rng.choice([404, 410]))
                may_be_had = False
            case "broken":
                site.says(path, "", rng.choice([500, 502]))
                may_be_had = False
            case "asks to wait":
                site.pages[path] = asks_to_wait_once(body)
                self.waiting.add(site.origin + path)
            case "forbidden":
                path = f"/private/{number}"
                site.says(path, body)
                may_be_had = may_be_had and site is not self.sites[0]
            case "moved":
                site.says(path, "", 302, Location=other.says(f"/private/moved-{number}", body))
                may_be_had = may_be_had and other not in self.sites[:2]
        if may_be_had:
            self.there[site.origin + path] = body
        return site.origin + path


@pytest.mark.parametrize("number", range(2))
def test_what_is_kept_is_what_is_there(  # noqa: PLR0917  # fixtures
    database: Database,
    launch: Links,
    crawl: Crawl,
    new_site: Callable[[], Site],
    store: Objects,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    seed = f"{os.environ.get('SEED') or random.SystemRandom().randrange(10**6)} {number}"
    rng = random.Random(seed)  # noqa: S311  # of faults
    web = Web(rng, [new_site() for _ in range(SITES)])
    for first in range(0, PAGES, 20):
        launch(*web.addresses[first : first + 20])
    asked: dict[str, list[timedelta]] = defaultdict(list)  # by address, when, as the step is told the time
    for at in (day * DAY + run * timedelta(minutes=61) for day in range(4) for run in range(4)):
        before = [len(site.paths) for site in web.sites]
        time.sleep(APART)  # for the servers, the runs follow each other at once
        result = crawl(at)
        assert result.code in (0, 99), result.lines
        for site, there in zip(web.sites, before, strict=True):
            for path in site.paths[there:]:
                asked[site.origin + path].append(at)

    kept = database.query("SELECT url, object_key FROM launch_links WHERE object_key IS NOT NULL")
    assert {url: store.get(key)[0] for url, key in kept} == web.there, f"SEED={seed}"
    assert database.query("SELECT count(*) FROM launch_links WHERE next_at IS NULL") == [(0,)]
    # As the servers' own logs tell: robots.txt first, nothing that it forbids, never too soon, nothing twice a day.
    for site in web.sites:
        assert site.paths[0] == "/robots.txt"
        assert all(later - earlier >= APART for (_, earlier), (_, later) in pairwise(site.asked))
    assert not any(path.startswith("/private") for path in web.sites[0].paths)
    assert set(web.sites[1].paths) == {"/robots.txt"}
    for url, times in asked.items():
        has_waited = url in web.waiting and len(times) > 1
        assert all(later - earlier >= DAY for earlier, later in pairwise(times[has_waited:])) or "robots" in url, url
    with capsys.disabled():
        print(f"\nSEED={seed}, requests to each host: {[len(site.asked) for site in web.sites]}", end=" ")  # noqa: T201  # for who watches
