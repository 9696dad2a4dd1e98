"""The published site: a thousand launches written from nothing, after one has slipped, and when nothing has changed."""

import contextlib
import gzip
import io
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import objects
from bench.measure import Measure
from bench.steps import ADDRESS, peak
from bench.store import NOW, launches, store_all
from objects import Objects
from standins.postgres import ROLES, Postgres

LAUNCHES = 1_000
FORGET = "TRUNCATE published_launches, published_files"
SLIP = """
    WITH slipped AS (
        UPDATE rocket_launches SET net = net + interval '1 hour'
        WHERE id = (SELECT min(id) FROM rocket_launches) RETURNING launch_id, net
    )
    INSERT INTO launch_changes (launch_id, field, old_value, new_value, seen_at)
    SELECT launch_id, 'net', to_char(net - interval '1 hour', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
           to_char(net, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), now()
    FROM slipped
"""
# The answer that a page of them came with, and where each is in it.
PLACE = """
    UPDATE rocket_launches AS r SET details = NULL, object_key = %s, position = place.number - 1
    FROM unnest(%s) WITH ORDINALITY AS place (launch_id, number)
    WHERE r.launch_id = place.launch_id
"""
KINDS = {"from nothing": FORGET, "one slipped": SLIP, "nothing changed": "SELECT"}


def compressed(results: list[Any]) -> bytes:
    """Return a page as the object store has it."""
    body = io.BytesIO()
    with objects.compressor(body) as file:
        file.write(json.dumps({"results": results}).encode())
    return body.getvalue()


def measures(rounds: int) -> Iterator[Measure]:
    """Write the site into a folder, in a process of its own: its start is part of the time."""
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    memory, first_views, indexes, pages = [], [], [], []
    with Postgres() as server:
        peak("-m", "init_schema", env=server.env(ROLES["init_schema"]), folder="tasks")
        found = launches(LAUNCHES)
        with contextlib.closing(server.superuser()) as connection:
            store_all(connection, [found[start : start + 100] for start in range(0, LAUNCHES, 100)])
            for _ in range(rounds):
                with tempfile.TemporaryDirectory() as folder:
                    env = {"PUBLIC_URL": ADDRESS, "OBJECT_STORE": Path(folder).as_uri(), "NOW": NOW.isoformat()}
                    with connection, connection.cursor() as cursor:
                        for start in range(0, LAUNCHES, 100):
                            page, key = found[start : start + 100], f"launch-library/{start}.json.zst"
                            store = Objects(Path(folder).as_uri())
                            store.put(key, compressed([one.details for one in page]), {})
                            cursor.execute(PLACE, [key, [one.launch_id for one in page]])
                    for kind, statement in KINDS.items():
                        with connection, connection.cursor() as cursor:
                            cursor.execute(statement)
                        started = time.perf_counter()
                        memory.append(peak("-m", "publish", env=server.env(ROLES["publish"]) | env, folder="tasks"))
                        seconds[kind].append(time.perf_counter() - started)
                    public = Path(folder) / "public"
                    first_view = [public / "index.html", *public.glob("*.css"), *public.glob("*.js")]
                    first_views.append(sum(len(gzip.compress(path.read_bytes())) for path in first_view) / 1000)
                    indexes.append((public / "index.html").stat().st_size / 1000)
                    pages.append(max(path.stat().st_size for path in public.glob("launch/*.html")) / 1000)
    for kind, took in seconds.items():
        yield Measure(f"site of {LAUNCHES:,} launches, {kind}", "", "≤ 2 s", took, unit=" s")
    yield Measure("… its memory", "", "≤ 96 MiB", memory, unit=" MiB")
    yield Measure("… its first view, as it is sent", "", "≤ 100 kB", first_views, unit=" kB")
    yield Measure("… its first page, unpacked", "", "", indexes, unit=" kB")
    yield Measure("… its longest launch's page", "", "", pages, unit=" kB")
