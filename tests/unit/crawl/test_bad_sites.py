"""Sites on their bad days, and those that mean no good: each has a reason in its row, and the step ends well."""

import gzip
import itertools
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from crawl import polite, public
from tests.conftest import ROOT, Database
from tests.unit.crawl.conftest import NOW, Crawl, Links, Site, links
from tests.unit.crawl.test_crawl import DAY, HOUR, PAGE, PNG
from tests.unit.raw_server import drips, raw_server, says

WEEK = timedelta(days=7)
OUTCOME = "status, error"
MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (204, "It answers 204"),
        (400, "It answers 400"),
        (404, "It answers 404"),
        (410, "It answers 410"),
        (418, "It answers 418"),
        (500, "It answers 500"),
        (502, "It answers 502"),
        (304, "It answers 304"),  # to a request without a condition
        (300, "It answers 300"),
    ],
)
def test_an_answer_without_a_page_is_named(  # noqa: PLR0917  # fixtures
    database: Database, launch: Links, crawl: Crawl, site: Site, status: int, error: str
) -> None:
    launch(site.says("/page", "x" if status not in (204, 304) else "", status))
    assert crawl().code == 0
    assert links(database, OUTCOME) == [(status, error)]
    assert links(database, "object_key") == [(None,)]


@pytest.mark.parametrize("status", [401, 403, 451])
def test_a_host_that_refuses_is_left_alone_for_a_week(
    database: Database, launch: Links, crawl: Crawl, site: Site, status: int
) -> None:
    launch(site.says("/1", "", status), site.says("/2", PAGE))
    result = crawl()
    assert "1 failed, 1 put off" in result.last
    assert site.paths == ["/robots.txt", "/1"]
    assert links(database, "error")[0] == (f"It refuses to answer ({status})",)
    reason = f"It refuses to answer ({status}): {site.origin} is left alone until 2031-01-08 00:00 UTC"
    assert links(database, "error")[1] == (reason,)
    crawl(WEEK - HOUR)
    assert site.paths == ["/robots.txt", "/1"]
    database.query("UPDATE rocket_launches SET net = net + interval '8 days'")
    site.says("/1", PAGE)
    crawl(WEEK + HOUR)
    assert links(database, OUTCOME) == [(200, None), (200, None)]


@pytest.mark.parametrize(
    ("header", "until"),
    [
        ({"Retry_After": "7200"}, 2 * HOUR),
        ({"Retry_After": "Thu, 02 Jan 2031 00:00:00 GMT"}, DAY),
        ({"Retry_After": "soon"}, HOUR),
        ({}, HOUR),
        ({"Retry_After": "99999999999"}, WEEK),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_host_that_asks_to_wait_is_waited_for(  # noqa: PLR0917  # fixtures
    database: Database, launch: Links, crawl: Crawl, site: Site, status: int, header: dict[str, str], until: timedelta
) -> None:
    launch(site.says("/1", "", status, **header), site.says("/2", PAGE))
    crawl()
    assert site.paths == ["/robots.txt", "/1"]
    [(not_before,)] = database.query("SELECT not_before FROM crawled_hosts")
    assert timedelta() <= not_before - (NOW + until) < timedelta(minutes=1) or until == DAY
    assert crawl(until - timedelta(minutes=1)).code == 99
    assert site.paths == ["/robots.txt", "/1"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_nothing_is_asked_for_while_robots_txt_cannot_be_read(
    database: Database, launch: Links, crawl: Crawl, site: Site, status: int
) -> None:
    launch(site.says("/page", PAGE))
    site.says("/robots.txt", "", status)
    assert "1 put off" in crawl().last
    assert site.paths == ["/robots.txt"]
    assert f"Its robots.txt cannot be read ({status})" in links(database, "error")[0][0]
    site.says("/robots.txt", "")
    crawl(2 * HOUR)
    assert links(database, OUTCOME) == [(200, None)]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_without_a_robots_txt_all_may_be_asked_for(
    database: Database, launch: Links, crawl: Crawl, site: Site, status: int
) -> None:
    launch(site.says("/page", PAGE))
    site.says("/robots.txt", "", status)
    crawl()
    assert links(database, OUTCOME) == [(200, None)]


def test_a_robots_txt_of_ten_megabytes_is_read_as_far_as_it_must_be(
    database: Database, launch: Links, crawl: Crawl, site: Site
) -> None:
    rules = "User-agent: *\nDisallow: /private\n" + "# nothing\n" * MIB
    site.says("/robots.txt", rules, media="text/plain")
    launch(site.says("/private", PAGE), site.says("/page", PAGE))
    crawl()
    assert links(database, "error") == [("Its robots.txt forbids it",), (None,)]
    assert database.query("SELECT length(robots) <= 524288 FROM crawled_hosts") == [(True,)]


@pytest.mark.parametrize("body", [b"\xff\0\xfe" * 1000, b"<html>" * 1000, b"Disallow: /\n", b"User-agent: *\nAllow"])
def test_a_robots_txt_that_is_none_forbids_nothing(
    database: Database, launch: Links, crawl: Crawl, site: Site, body: bytes
) -> None:
    site.says("/robots.txt", body)
    launch(site.says("/page", PAGE))
    crawl()
    assert links(database, OUTCOME) == [(200, None)]


def test_a_robots_txt_that_has_moved_is_followed(
    database: Database, launch: Links, crawl: Crawl, new_site: Callable[[], Site]
) -> None:
    site, other = new_site(), new_site()
    other.says("/robots", "User-agent: *\nDisallow: /", media="text/plain")
    site.says("/robots.txt", "", 301, Location=other.origin + "/robots")
    launch(site.says("/page", PAGE))
    crawl()
    assert links(database, "error") == [("Its robots.txt forbids it",)]
    assert (site.paths, other.paths) == (["/robots.txt"], ["/robots"])


# Redirects


def chain(site: Site, hops: int) -> str:
    for number in range(hops):
        site.says(f"/{number}", "", 302, Location=f"/{number + 1}")
    site.says(f"/{hops}", PAGE)
    return f"{site.origin}/0"


@pytest.mark.parametrize(("hops", "error"), [(1, None), (5, None), (6, "More than 5 redirects")])
def test_redirects_are_followed_so_far(  # noqa: PLR0917  # fixtures
    database: Database, launch: Links, crawl: Crawl, site: Site, hops: int, error: str | None
) -> None:
    launch(chain(site, hops))
    crawl()
    assert links(database, "error") == [(error,)]
    if not error:
        assert links(database, "final_url") == [(f"{site.origin}/{hops}",)]


def test_a_loop_ends(database: Database, launch: Links, crawl: Crawl, new_site: Callable[[], Site]) -> None:
    """Also that of a wall that wants a cookie."""
    site, other = new_site(), new_site()
    site.says("/1", "", 302, Location=f"{other.origin}/2", Set_Cookie="consent=1")
    other.says("/2", "", 302, Location=f"{site.origin}/1", Set_Cookie="consent=1")
    launch(f"{site.origin}/1")
    crawl()
    assert links(database, "error") == [("More than 5 redirects",)]
    assert not any("Cookie" in request.headers for one in (site, other) for request in one.requests)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("file:///etc/passwd", "file: is not for the web"),
        ("ftp://example.org/", "ftp: is not for the web"),
        ("javascript:alert(1)", "javascript: is not for the web"),
        ("data:text/html,x", "data: is not for the web"),
        ("//user:secret@example.org/", "The address has a login in it"),
        ("https://example.org:8443/", "Port 8443 is not the web's"),
        ("http://example.org:22/", "Port 22 is not the web's"),
        ("https://example.org/" + "a" * 3000, "more than 2048 characters"),
    ],
)
def test_a_redirect_elsewhere_is_not_followed(  # noqa: PLR0917  # fixtures
    database: Database, launch: Links, crawl: Crawl, site: Site, target: str, reason: str
) -> None:
    site.says("/page", "", 302, Location=target)
    launch(f"{site.origin}/page")
    assert crawl().code == 0
    [(error,)] = links(database, "error")
    assert error.startswith("It redirects to ")
    assert reason in error


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "10.0.0.1",
            "172.16.5.4",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",  # noqa: S104  # it is asked for, and not bound to
            "224.0.0.1",
        ),
        *("[::1]", "[fe80::1]", "[fc00::1]", "[::ffff:10.0.0.1]", "[64:ff9b::10.0.0.1]", "[2002:a00:1::]"),
        *("localhost", "2130706433", "0x7f.1", "127.1"),
    ],
)
def test_no_private_address_is_asked(  # fixtures
    database: Database, launch: Links, crawl: Crawl, site: Site, host: str
) -> None:
    site.says("/page", "", 302, Location=f"http://{host}/")
    launch(f"{site.origin}/page", f"http://{host}/2")
    assert crawl(CRAWL_NETWORKS="127.0.0.2/32").code == 0
    for (error,) in links(database, "error"):
        assert "which is not public" in error, error


def test_a_name_is_judged_by_the_address_that_is_connected_to(
    database: Database, launch: Links, crawl: Crawl, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS says one address to who asks first, and another one afterwards."""
    real, answers = socket.getaddrinfo, itertools.chain(["127.0.0.2"] * 5, itertools.repeat("127.0.0.1"))
    asked: list[str] = []

    def lookup(host: str, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401  # the socket module's
        if host != "rebinding.example":
            return real(host, *arguments, **named)
        asked.append(next(answers))
        return real(asked[-1], *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    reached: list[int] = []
    with raw_server(lambda *_: reached.append(1), "") as private:
        port = private.rpartition(":")[2]
        launch(f"http://rebinding.example:{port}/")
        assert crawl(CRAWL_NETWORKS="127.0.0.2/32").code == 0
        assert len(asked) >= 1
        answers = itertools.chain(itertools.repeat("127.0.0.1"))
        assert crawl(2 * HOUR, CRAWL_NETWORKS="127.0.0.2/32").code == 0
    assert reached == []
    assert "127.0.0.1" in asked
    [(error,)] = links(database, "error")
    assert error
    assert site.paths == []


def test_of_several_addresses_one_that_is_private_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("93.184.215.14", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(PermissionError, match=r"10\.0\.0\.1, which is not public"):
        public.connect("example.org", 443, 1, ())


def test_a_certificate_of_nobody_known_is_refused(
    database: Database, launch: Links, crawl: Crawl, tmp_path: Path
) -> None:
    command = "req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=127.0.0.2 -addext subjectAltName=IP:127.0.0.2"
    files = ("-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate"))
    subprocess.run(["openssl", *command.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    with HTTPServer(host="127.0.0.2", port=0, ssl_context=context) as server:
        launch(f"https://127.0.0.2:{server.port}/")
        assert crawl().code == 0
        assert server.log == []
    assert "CERTIFICATE_VERIFY_FAILED" in links(database, "error")[0][0]


# Bodies


def test_an_endless_body_is_cut_off(
    database: Database, launch: Links, crawl: Crawl, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polite, "BODY_BYTES", MIB)
    site.pages["/page"] = lambda _: Response(itertools.repeat(b" " * 65536), content_type="text/html")
    launch(f"{site.origin}/page")
    assert crawl().code == 0
    assert links(database, "status, error, object_key") == [(200, "It has more than 1 MiB", None)]


def test_an_answer_that_drips_ends_in_time(
    database: Database, launch: Links, crawl: Crawl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public, "ANSWER_SECONDS", 0.5)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 99999\r\n\r\n"
    calls = iter([says(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), drips(head, b" ")])
    with raw_server(lambda *one: next(calls)(*one), "/page") as url:  # noqa: PLW0108  # another one each time
        launch(url)
        assert crawl().code == 0
    [(error,)] = links(database, "error")
    assert "not complete after 0.5 s" in error


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
    ids=["nothing", "no HTTP", "cut off", "no gzip", "no chunks", "headers", "a long header"],
)
def test_an_answer_that_is_none_is_no_failure_of_ours(
    database: Database, launch: Links, crawl: Crawl, answer: bytes
) -> None:
    calls = iter([says(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")])
    with raw_server(lambda *one: next(calls, says(answer))(*one), "/page") as url:  # noqa: PLW0108  # the same
        launch(url)
        assert crawl().code == 0
    [(status, error)] = links(database, OUTCOME)
    assert (status, bool(error)) == (None, True)


def test_a_server_that_is_not_there(database: Database, launch: Links, crawl: Crawl) -> None:
    launch("http://127.0.0.99:9/page", "http://nowhere.invalid/")
    assert "2 put off" in crawl().last
    assert all("robots.txt cannot be read" in error for (error,) in links(database, "error"))


def test_ten_thousand_links_of_one_launch_are_not_all_asked_for(
    database: Database, launch: Links, crawl: Crawl, site: Site
) -> None:
    launch(*(f"{site.origin}/{number}" for number in range(10_000)))
    assert crawl().code == 0
    assert len(links(database, "url")) == 50
    assert len(site.paths) == 51


@pytest.mark.parametrize(
    "details",
    [
        {"info_urls": "x", "vid_urls": 7, "mission_patches": None, "image": 7, "mission": []},
        {"info_urls": [None, 1, "x", {"url": None}, {"url": "ftp://x"}, {"url": "https://" + "x" * 3000}]},
        {"infoURLs": ["not an address"], "image": {"image_url": ["x"]}, "mission": {"vid_urls": [{}]}},
    ],
)
def test_a_launch_with_odd_links(launch: Links, crawl: Crawl, details: dict[str, Any]) -> None:
    launch(**details)
    assert crawl().last == "INFO No address is due."


# Memory


@pytest.fixture
def large(site: Site) -> list[str]:
    """What is large, or becomes large."""
    deep = '<script type="application/ld+json">' + "[" * 100_000 + "]" * 100_000 + "</script>"
    return [
        site.says("/zeros", gzip.compress(b"\0" * (200 * MIB), 1), Content_Encoding="gzip"),
        site.says("/html", b"<p>" + b"x" * (50 * MIB)),
        site.says("/read", b"<p>" + b"word <b>" * (4 * MIB // 8 - 100)),
        site.says("/nested", b"<div>" * (3 * MIB // 5)),
        site.says("/json", f"<html>{deep}"),
        site.says("/picture", PNG + b"\xff" * (15 * MIB), media="image/png"),
        site.says(
            "/xml", '<!DOCTYPE x [<!ENTITY a "aaaa">' + "<!ENTITY b '&a;&a;'>" * 1000 + "]><x>&b;</x>", media="text/xml"
        ),
        site.says(
            "/svg", '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', media="image/svg+xml"
        ),
    ]


def test_memory_is_bounded(database: Database, launch: Links, site: Site, large: list[str], tmp_path: Path) -> None:
    launch(*large)
    env = database.env("crawl") | {
        "NOW": NOW.isoformat(),
        "OBJECT_STORE": f"file://{tmp_path}/store",
        "CRAWL_CONTACT": "x@example.org",
        "CRAWL_NETWORKS": "127.0.0.0/8",
        "PYTHONPATH": str(ROOT / "tasks"),
    }
    program = (
        "import os, resource, sys; from crawl import polite, __main__ as m; import step; polite.APART = 0;"
        "code = step.main(m.run); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024); sys.exit(code)"
    )
    # A process begins with the size of the one that starts it, and ours is large: a small one in between, therefore.
    between = "import os, subprocess, sys; sys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", between, "-c", program], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    found = dict(links(database, "replace(url, %s, ''), coalesce(error, type)".replace("%s", f"'{site.origin}'")))
    assert found == {
        "/zeros": "It has more than 16 MiB",
        "/html": "It has more than 16 MiB",
        "/read": "text/html",
        "/nested": "text/html",
        "/json": "text/html",
        "/picture": "image/png",
        "/xml": "text/xml",
        "/svg": "image/svg+xml",
    }
    peak = int(done.stdout.splitlines()[-1])
    assert peak <= 96
