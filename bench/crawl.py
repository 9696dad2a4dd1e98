"""The crawl, as politely as it is: twenty sites on this machine, one request in five seconds to each."""

import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from unittest import mock

from bench.measure import Measure
from bench.steps import peak
from crawl.polite import APART, REQUESTS
from init_schema import schema
from standins.postgres import ROLES, Postgres

SITES = 20
LIBRARIES = ("selectolax", "protego", "imagesize")  # beside those that fetch has, too
PICTURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x05\0\0\0\x02\xd0\x08\x06\0\0\0\0\0\0\0" + bytes(4 * 1024 * 1024)
PAGE = b"<html><title>A page</title><main>" + b"<p>Some words, and a few more.</p>" * 10_000


class Site(BaseHTTPRequestHandler):
    """Has a picture of 4 MiB and pages of 340 kB; no robots.txt."""

    def do_GET(self) -> None:  # http.server's
        """Answer."""
        if self.path == "/robots.txt":
            self.send_error(404)
            return
        body, media = (PICTURE, "image/png") if self.path.endswith(".png") else (PAGE, "text/html")
        self.send_response(200)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def measures(_rounds: int) -> Iterator[Measure]:
    """Crawl once; then again, when nothing is due."""
    with Postgres() as server, tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        with mock.patch.dict(os.environ, server.env(ROLES["init_schema"])):
            schema.migrate("head")
        links: list[dict[str, str]] = []
        for number in range(SITES):
            site = ThreadingHTTPServer((f"127.0.0.{number + 2}", 0), Site)
            threading.Thread(target=partial(site.serve_forever, 0.1), daemon=True).start()
            stack.callback(site.server_close)
            stack.callback(site.shutdown)
            origin = f"http://127.0.0.{number + 2}:{site.server_port}"
            links += [{"url": f"{origin}/{path}"} for path in ("1", "2", "3", "4.png")]
        with closing(server.superuser()) as connection, connection, connection.cursor() as cursor:
            for number in range(0, len(links), 20):
                values = (
                    f"{number}",
                    datetime.now(UTC) + timedelta(days=1),
                    json.dumps({"info_urls": links[number : number + 20]}),
                )
                cursor.execute(
                    "INSERT INTO rocket_launches (launch_id, name, net, details) VALUES (%s, 'A', %s, %s)", values
                )
        environment = server.env(ROLES["crawl"]) | {
            "CRAWL_CONTACT": "crawl@example.org",
            "CRAWL_NETWORKS": "127.0.0.0/8",
            "OBJECT_STORE": Path(folder).as_uri(),
        }
        started = time.perf_counter()
        memory = peak("-m", "crawl", env=environment, folder="tasks")
        seconds = time.perf_counter() - started
        idle = peak("-m", "crawl", env=environment, folder="tasks")
    limit = SITES / APART
    yield Measure(
        f"crawl of {SITES} sites, {REQUESTS} requests",
        f"politeness: {limit:g} a second",
        "",
        [REQUESTS / seconds],
        unit=" a second",
    )
    yield Measure("… its memory", "nothing due", "≤ 96 MiB", [memory], unit=" MiB")
    yield Measure("… when nothing is due", "", "", [idle], unit=" MiB")
    for name in LIBRARIES:
        files = distribution(name).files or []
        size = sum(file.locate().stat().st_size for file in files if file.locate().exists() and file.suffix != ".pyc")  # type: ignore[attr-defined]
        yield Measure(f"what {name} adds", "", "", [size / 1e6], unit=" MB")
