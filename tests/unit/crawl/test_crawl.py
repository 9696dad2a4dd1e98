"""What is kept of what launches link to, when it is asked for again, and how politely."""

import io
import json
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest

import objects
from crawl import polite
from objects import Objects
from tests.conftest import Database
from tests.unit.crawl.conftest import APART, CONTACT, NOW, Crawl, Links, Site, links

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x05\0\0\0\x02\xd0\x08\x06\0\0\0\0\0\0\0"  # 1280 x 720, and no pixel
PAGE = """<!doctype html><html lang="en-GB"><head><title>A title</title>
<meta property="og:title" content="Kestrel &amp; Σ"><meta name="description" content=" In  short ">
<meta property="article:published_time" content="2030-12-24T10:00:00+02:00"></head>
<body><nav>Menu</nav><main><h1>Kestrel</h1><p>It flies.</p><script>evil()</script></main></body></html>"""


def test_each_link_is_kept_with_what_it_says(
    database: Database, launch: Links, crawl: Crawl, site: Site, store: Objects
) -> None:
    site.says("/robots.txt", "User-agent: *\nDisallow: /private", media="text/plain")
    launch(
        site.says("/press-kit", PAGE, ETag='"1"', Last_Modified="Tue, 24 Dec 2030 10:00:00 GMT"),
        image={"image_url": site.says("/rocket.png", PNG, media="application/octet-stream")},
        mission_patches=[{"name": "Σ patch", "image_url": site.origin + "/gone.png"}],
        vid_urls=[{"url": site.origin + "/private/stream", "type": {"name": "Official Webcast"}}],
    )
    result = crawl()
    assert result.code == 0, result.lines
    assert result.last.startswith("INFO Crawled 2 new, 0 changed, 0 as before; 2 failed, 0 put off; 4 requests to 1 ")
    assert links(database, "kind, label, status, error, type, width, height, title, description, language, text") == [
        ("image", None, 200, None, "image/png", 1280, 720, None, None, None, None),
        ("patch", "Σ patch", 404, "It answers 404", None, None, None, None, None, None, None),
        (
            *("info", "Official Page", 200, None, "text/html", None, None),
            *("Kestrel & Σ", "In short", "en-GB", "Kestrel It flies."),
        ),
        ("video", "Official Webcast", None, "Its robots.txt forbids it", None, None, None, None, None, None, None),
    ]
    [(published, etag, size)] = database.query(
        "SELECT published_at::text, etag, bytes FROM launch_links WHERE kind = 'info'"
    )
    assert (published, etag, size) == ("2030-12-24 08:00:00+00", '"1"', len(PAGE.encode()))
    [(key,)] = database.query("SELECT object_key FROM launch_links WHERE kind = 'info'")
    body, metadata = store.get(key)
    assert body == PAGE.encode()
    assert metadata["url"] == site.origin + "/press-kit"
    assert {request.headers["User-Agent"] for request in site.requests} == {f"rocket-launches/1 (+{CONTACT})"}
    assert not any("Cookie" in request.headers for request in site.requests)


def test_a_picture_that_many_launches_share_is_asked_for_once(
    database: Database, launch: Links, crawl: Crawl, site: Site, store: Objects
) -> None:
    picture = site.says("/rocket.png", PNG)
    for _ in range(10):
        launch(image=picture)
    assert crawl().code == 0
    assert site.paths == ["/robots.txt", "/rocket.png"]
    assert len(set(links(database, "object_key, sha256, status, width, next_at"))) == 1
    assert len(list(store.keys("crawled/"))) == 1
    # Nor is it for a launch that comes later.
    launch(image=picture)
    assert crawl(HOUR).last == "INFO No address is due."
    assert links(database, "width") == [(1280,)] * 11


def test_the_same_page_is_asked_for_less_and_less_often(
    database: Database, launch: Links, crawl: Crawl, site: Site
) -> None:
    launch(site.says("/page", PAGE, ETag='"1"'), in_days=5)
    at, asked = timedelta(), []
    for _ in range(25):
        before = len(site.paths)
        crawl(at)
        if "/page" in site.paths[before:]:
            asked.append(at.days)
        at += DAY + MINUTE
        database.query("UPDATE rocket_launches SET net = net + interval '1 day'")
    assert asked == [0, 1, 3, 7, 15]
    assert [request.headers.get("If-None-Match") for request in site.requests if request.path == "/page"] == [
        None,
        *['"1"'] * 4,
    ]
    site.says("/page", PAGE + "more")
    result = crawl(timedelta(days=32))
    assert "1 changed" in result.last
    assert links(database, "times_same") == [(0,)]


def test_what_has_not_changed_is_as_it_was(database: Database, launch: Links, crawl: Crawl, site: Site) -> None:
    launch(site.says("/page", PAGE, ETag='"1"'))
    crawl()
    before = links(database, "title, text, sha256, object_key, bytes, etag")
    site.says("/page", b"", 304)
    assert "1 as before" in crawl(DAY + HOUR).last
    assert links(database, "status, error") == [(304, None)]
    assert links(database, "title, text, sha256, object_key, bytes, etag") == before
    # What was there stays known when it is gone, with the reason.
    site.says("/page", "", 410)
    crawl(4 * DAY)
    assert links(database, "status, error") == [(410, "It answers 410")]
    assert links(database, "title, text, sha256, object_key, bytes, etag") == before


def test_requests_to_a_host_are_apart(launch: Links, crawl: Crawl, new_site: Callable[[], Site]) -> None:
    sites = [new_site() for _ in range(3)]
    launch(*(site.says(f"/{number}", PAGE) for site in sites for number in range(4)))
    assert crawl().code == 0
    for site in sites:
        assert len(site.asked) == 5
        assert all(later - earlier >= APART for (_, earlier), (_, later) in pairwise(site.asked))
    # One host does not wait for another.
    everything = sorted(at for site in sites for _, at in site.asked)
    assert everything[-1] - everything[0] < 2 * 5 * APART + 0.5


def test_hosts_with_one_address_are_one(launch: Links, crawl: Crawl, site: Site) -> None:
    port = site.server.port
    names = (site.origin, f"http://127.2:{port}")  # the same address, written in another way
    site.says("/1", PAGE)
    launch(*(f"{name}/1" for name in names))
    assert crawl().code == 0
    times = [at for _, at in site.asked]
    assert all(later - earlier >= APART for earlier, later in pairwise(times))


def test_a_host_is_not_asked_too_soon_after_an_earlier_run(
    database: Database, launch: Links, crawl: Crawl, site: Site
) -> None:
    launch(site.says("/1", PAGE))
    crawl()
    database.query("UPDATE crawled_hosts SET asked_at = %s", NOW + HOUR)
    launch(site.says("/2", PAGE))
    began = time.monotonic()
    crawl(HOUR, apart=1)
    assert site.paths[-1] == "/2"
    assert site.asked[-1][1] - began >= 1


def test_crawl_delay_is_obeyed(launch: Links, crawl: Crawl, site: Site) -> None:
    site.says("/robots.txt", "User-agent: rocket-launches\nCrawl-delay: 0.3", media="text/plain")
    launch(site.says("/1", PAGE), site.says("/2", PAGE))
    crawl()
    times = [at for _, at in site.asked]
    assert len(times) == 3
    assert all(later - earlier >= 0.3 for earlier, later in pairwise(times))


def test_robots_txt_is_good_for_a_day(launch: Links, crawl: Crawl, site: Site) -> None:
    launch(site.says("/1", PAGE))
    crawl()
    launch(site.says("/2", PAGE))
    crawl(HOUR)
    launch(site.says("/3", PAGE))
    crawl(DAY + HOUR)
    assert (
        site.paths == ["/robots.txt", "/1", "/2", "/robots.txt", "/3", "/1", "/2"][:5]
        or site.paths.count("/robots.txt") == 2
    )


def test_the_budget_ends_a_run_and_the_next_goes_on(
    launch: Links, crawl: Crawl, new_site: Callable[[], Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = [new_site() for _ in range(2)]
    launch(*(site.says(f"/{number}", PAGE) for site in sites for number in range(5)))
    monkeypatch.setattr(polite, "REQUESTS", 7)
    assert "5 put off; 7 requests to 2 hosts" in crawl().last
    assert "0 put off; 5 requests to 2 hosts" in crawl(HOUR).last
    asked = [path for site in sites for path in site.paths if path != "/robots.txt"]
    assert len(asked) == 10
    assert len({(site.origin, path) for site in sites for path in site.paths}) == 12


def test_without_an_object_store_what_is_read_is_kept(
    database: Database, launch: Links, crawl: Crawl, site: Site
) -> None:
    launch(site.says("/page", PAGE))
    assert crawl(OBJECT_STORE="none").code == 0
    assert links(database, "title, object_key") == [("Kestrel & Σ", None)]


def test_the_details_may_be_in_the_object_store(
    database: Database, launch: Links, crawl: Crawl, site: Site, store: Objects
) -> None:
    launch()
    page = {"results": [{}, {"image": site.says("/a.png", PNG)}]}
    buffer = io.BytesIO()
    with objects.compressor(buffer) as file:
        file.write(json.dumps(page).encode())
    store.put("launch-library/x.json.zst", buffer.getvalue(), {})
    database.query("UPDATE rocket_launches SET details = NULL, object_key = 'launch-library/x.json.zst', position = 1")
    assert crawl().code == 0
    assert links(database, "kind, width") == [("image", 1280)]


def test_only_launches_around_now_count(launch: Links, crawl: Crawl, site: Site) -> None:
    for days in (-8, -6, 29, 31):
        launch(site.says(f"/{days}", PAGE), in_days=days)
    crawl()
    assert sorted(site.paths) == ["/-6", "/29", "/robots.txt"]


def test_without_a_contact_nothing_is_asked_for(launch: Links, crawl: Crawl, site: Site) -> None:
    launch(site.says("/page", PAGE))
    result = crawl(CRAWL_CONTACT="")
    assert (result.code, "CRAWL_CONTACT is not set" in result.last) == (99, True)
    assert crawl(CRAWL_CONTACT="a\nb").code == 78
    assert crawl(CRAWL_NETWORKS="everything").code == 78
    assert site.paths == []


def test_a_second_run_leaves_it_to_the_first(database: Database, launch: Links, crawl: Crawl, site: Site) -> None:
    launch(site.says("/page", PAGE))
    connection = database.server.superuser(database.name)
    connection.cursor().execute("SELECT pg_advisory_lock(hashtext('crawl'))")
    try:
        result = crawl()
    finally:
        connection.close()
    assert (result.code, result.last) == (99, "INFO Another run is crawling.")
    assert site.paths == []


def test_an_object_whose_run_has_died_gets_its_row(database: Database, launch: Links, crawl: Crawl, site: Site) -> None:
    launch(site.says("/page", PAGE))
    crawl()
    before = links(database, "title, text, sha256, object_key, bytes, final_url")
    database.query(
        "UPDATE launch_links SET fetched_at = NULL, status = NULL, title = NULL, text = NULL, sha256 = NULL,"
        " object_key = NULL, bytes = NULL, final_url = NULL"
    )
    result = crawl(HOUR)
    assert result.last.endswith("; 1 of a run that died")
    assert links(database, "title, text, sha256, object_key, bytes, final_url") == before
    assert site.paths == ["/robots.txt", "/page"]
    assert crawl(2 * HOUR).last == "INFO No address is due."


def test_an_older_object_is_not_taken_for_that_of_the_run_that_has_died(
    database: Database, launch: Links, crawl: Crawl, site: Site
) -> None:
    launch(site.says("/page", PAGE), in_days=5)
    crawl()
    site.says("/page", PAGE + "more")
    crawl(2 * DAY)
    before = links(database, "sha256")
    database.query("UPDATE launch_links SET attempted_at = %s", NOW + 2 * DAY + HOUR)
    assert crawl(2 * DAY + 2 * HOUR).last == "INFO No address is due."
    assert links(database, "sha256") == before
