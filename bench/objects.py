"""The object store: recorded pages are fetched into a folder, and the tables made again from it.

`PAGES=…` names a folder or an archive of recorded pages, as for `make replay`.
"""

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import fetch.__main__
from bench.measure import Measure
from bench.steps import peak
from demo.recorded import NoPages, recorded_pages
from deploy.programs import Failed
from init_schema import schema
from standins.launch_library import LaunchLibrary
from standins.postgres import DATABASE, ROLES, Postgres

TABLES = ("rocket_launches", "launch_changes", "fetches")


def measures(_rounds: int) -> Iterator[Measure]:
    """Fetch each page once, and rebuild twice: on tables as they are, and on lost ones."""
    try:
        pages = recorded_pages(Path(os.environ.get("PAGES", "")))
    except (NoPages, OSError) as error:
        raise Failed(f"PAGES=… has to name a folder or an archive of recorded pages: {error}") from None
    with Postgres() as server, tempfile.TemporaryDirectory() as folder, LaunchLibrary() as library:
        with mock.patch.dict(os.environ, server.env(ROLES["init_schema"])):
            schema.migrate("head")
        environment = server.env(ROLES["fetch"]) | {
            "LAUNCH_LIBRARY_URL": library.upcoming_url,
            "LAUNCH_LIBRARY_TOKEN": "any-number-of-requests",
            "OBJECT_STORE": Path(folder).as_uri(),
        }
        received, number, started = 0, 0, time.perf_counter()
        logging.disable(logging.CRITICAL)
        for page in pages:
            number += 1
            library.page = page.body
            received += len(page.body)
            with mock.patch.dict(os.environ, environment | {"NOW": page.at.isoformat()}, clear=True):
                fetch.__main__.run()
        logging.disable(logging.NOTSET)
        seconds = time.perf_counter() - started
        kept = [path.stat().st_size for path in Path(folder).rglob("*.zst")]
        yield Measure(f"fetch {number:,} pages with a store", "", "", [number / seconds], unit=" pages/s")
        yield Measure("bytes received", "bytes kept", "", [received], [sum(kept)])
        yield Measure("answers received", "objects", "", [number], [len(kept)])

        before = tables(server)
        for name, prepare in (("as they are", ""), ("lost", f"TRUNCATE {', '.join(TABLES)}, notifications")):
            with contextlib.closing(server.superuser()) as connection, connection, connection.cursor() as cursor:
                cursor.execute(prepare or "SELECT")
            started = time.perf_counter()
            memory = peak("-m", "fetch", "--from-store", env=environment, folder="tasks")
            answers = len(kept) if prepare else number
            rate = answers / (time.perf_counter() - started)
            yield Measure(f"rebuild from {answers:,} answers, tables {name}", "", "", [rate], unit=" pages/s")
            yield Measure("… its memory", "", "≤ 96", [memory], unit=" MiB")
            after = tables(server)
            assert prepare or after == before
            assert len(after["launch_changes"]) == len(before["launch_changes"])


def tables(server: Postgres) -> dict[str, list[tuple[object, ...]]]:
    """Return all that is stored."""
    with contextlib.closing(server.superuser(DATABASE)) as connection, connection.cursor() as cursor:
        found = {}
        for name in TABLES:
            cursor.execute(f"SELECT * FROM {name} ORDER BY id")
            found[name] = cursor.fetchall()
        return found
