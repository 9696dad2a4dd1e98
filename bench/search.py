"""The search index: a million launches against OpenSearch's own `_bulk`, with the same bytes; a run with nothing new.

`PAGES=…` names the folder of recorded pages that the judged queries are asked on.
"""

import contextlib
import json
import logging
import os
import shutil
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from unittest import mock

from bench import judged
from bench.measure import ROOT, Measure, interleaved
from bench.search_sql import Baselines, compared
from bench.steps import peak
from deploy.programs import Failed
from index import __main__ as program
from index.mapping import BODY, INDEX
from index.search import find
from index.server import Server
from standins.opensearch import PROGRAMS, OpenSearch
from standins.postgres import ROLES, Postgres

LAUNCHES, FEW = 1_000_000, 20_000
REAL = 300  # launches that the Launch Library has at a time
RUNS = 7  # of a run with nothing new, in each round
HEAP = "1g"  # in the cluster's 320m, Java would collect garbage
EMPTY = "TRUNCATE rocket_launches, launch_changes, launch_links, notifications RESTART IDENTITY CASCADE"
# Its breaker counts garbage as used, which Java's serial collector leaves until the heap is full: HTTP 429, then.
SETTINGS = "indices.breaker.total.use_real_memory: false"
# Launches as mode=list has them, and a mission. The ids of the first 65,535 begin with 0000.
FILL = """
    INSERT INTO rocket_launches (launch_id, name, net, net_precision, status, image_url, details)
    SELECT lpad(to_hex(n), 8, '0') || substr(md5(n::text)::uuid::text, 9),
           concat(rocket, ' | ', mission, ' ', 1 + n %% 30, '-', n %% 97),
           '2026-11-24T12:00Z'::timestamptz + n %% 100000 * interval '7 minutes', 'minute', 'Go',
           'https://images.example.org/' || md5(rocket) || '.jpg',
           jsonb_build_object(
               'launch_service_provider', jsonb_build_object('name', provider, 'abbrev', abbreviation),
               'rocket', jsonb_build_object('configuration', jsonb_build_object('full_name', rocket, 'family', family)),
               'pad', jsonb_build_object(
                   'name', pad, 'latitude', latitude, 'longitude', longitude,
                   'location', jsonb_build_object('name', location)
               ),
               'mission', jsonb_build_object(
                   'name', concat(mission, ' ', 1 + n %% 30, '-', n %% 97), 'type', kind,
                   'description', concat('Flight ', n %% 97, ': ', description),
                   'orbit', jsonb_build_object('name', orbit, 'abbrev', short)
               )
           )
    FROM generate_series(1, %(launches)s) AS n
    JOIN (VALUES
        (0, 'SpaceX', 'SpX', 'Falcon 9 Block 5', 'Falcon', 'Space Launch Complex 40', 28.56194, -80.57736,
         'Cape Canaveral SFS, FL, USA'),
        (1, 'China Aerospace Science and Technology Corporation', 'CASC', 'Long March 2D', 'Long March',
         'Launch Complex 94', 40.957893, 100.290867, 'Jiuquan Satellite Launch Center, People''s Republic of China'),
        (2, 'Rocket Lab', 'RL', 'Electron', 'Electron', 'Rocket Lab Launch Complex 1B', -39.260881, 177.86479,
         'Rocket Lab Launch Complex 1, Mahia Peninsula, New Zealand'),
        (3, 'Arianespace', 'ASA', 'Ariane 62', 'Ariane', 'Ariane Launch Area 4', 5.256319, -52.786838,
         'Guiana Space Centre, French Guiana'),
        (4, 'Russian Federal Space Agency (ROSCOSMOS)', 'RFSA', 'Soyuz 2.1a', 'Soyuz', '31/6', 45.996034, 63.564003,
         'Baikonur Cosmodrome, Republic of Kazakhstan')
    ) AS rockets (r, provider, abbreviation, rocket, family, pad, latitude, longitude, location) ON r = n %% 5
    JOIN (VALUES
        (0, 'Starlink Group', 'Communications', 'Low Earth Orbit', 'LEO',
         'A batch of 29 satellites for the Starlink mega-constellation, a project for space-based Internet.'),
        (1, 'Yaogan', 'Government/Top Secret', 'Sun-Synchronous Orbit', 'SSO',
         'A satellite that is said to be for land surveys, crop yield estimation, the watch of natural resources and '
         'the prevention of disasters; others believe it to serve reconnaissance by radar and by optical sensors.'),
        (2, 'Progress MS', 'Resupply', 'Low Earth Orbit', 'LEO',
         'A resupply mission to the International Space Station with food, fuel, water and experiments.'),
        (3, 'Navigator', 'Navigation', 'Medium Earth Orbit', 'MEO',
         'Two satellites of a global navigation system, which join those in the second plane and replace one that has '
         'been in service for fourteen years, with atomic clocks of a new kind and a signal that is harder to jam.')
    ) AS missions (m, mission, kind, orbit, short, description) ON m = n %% 4;
    ANALYZE rocket_launches;
"""


def measures(rounds: int) -> Iterator[Measure]:
    """Index into nothing, then what the server itself does with the same bytes; then nothing; then what is found."""
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        raise Failed(f"OpenSearch is fetched by Maven, and there is no {missing[0]}.")
    with OpenSearch(SETTINGS, heap=HEAP, compiler=()) as search, Postgres() as server:
        peak("-m", "init_schema", env=server.env(ROLES["init_schema"]), folder="tasks")
        env = server.env(ROLES["index"]) | search.env()
        memory: dict[int, list[float]] = {FEW: [], LAUNCHES: []}

        def fill(launches: int) -> None:
            search.delete()
            with contextlib.closing(server.superuser()) as connection, connection, connection.cursor() as cursor:
                cursor.execute(EMPTY)
                cursor.execute(FILL, {"launches": launches})

        fill(FEW)
        bodies = recorded(env)
        search.delete()
        memory[FEW].append(peak("-m", "index", env=env, folder="tasks"))
        fill(LAUNCHES)

        def ours() -> float:
            search.delete()
            started = time.perf_counter()
            memory[LAUNCHES].append(peak("-m", "index", env=env, folder="tasks"))
            return LAUNCHES / (time.perf_counter() - started)

        def theirs() -> float:
            search.delete()
            return by_bulk(search, bodies)

        rates = interleaved((rounds + 1) // 2, theirs=theirs, ours=ours)  # each takes minutes
        name = f"documents a second, of {LAUNCHES:,}"
        yield Measure(name, "", "", rates["ours"])
        yield Measure(name, "_bulk itself", "≥ 0.7", rates["ours"], rates["theirs"])
        yield Measure("… its memory", "", "≤ 96 MiB", memory[LAUNCHES], unit=" MiB")
        yield Measure("… its memory", f"{FEW:,} launches", "flat", memory[LAUNCHES][:1], memory[FEW])

        def seconds(*command: str) -> float:
            started = time.perf_counter()
            ended = subprocess.run(
                [sys.executable, *command], cwd=ROOT / "tasks", env=env, stdout=subprocess.DEVNULL, check=False
            )
            assert ended.returncode in (0, 99)
            return time.perf_counter() - started

        yield Measure(f"index, {LAUNCHES:,} and nothing new", "", "", [seconds("-m", "index")], unit=" s")
        fill(REAL)
        seconds("-m", "index")
        starts = interleaved(
            RUNS * rounds,
            bare=lambda: seconds("-c", "import requests, psycopg2"),
            nothing=lambda: seconds("-m", "index"),
        )
        name = f"index, {REAL} and nothing new"
        yield Measure(name, "import requests, psycopg2", "≤ 2", starts["nothing"], starts["bare"])

        yield from figures(server, search)


def recorded(env: dict[str, str]) -> list[bytes]:
    """Index, and return what was sent to `_bulk`."""
    bodies: list[bytes] = []
    bulk = Server.bulk

    def kept(server: Server, index: str, lines: bytes) -> object:
        bodies.append(lines)
        return bulk(server, index, lines)

    with mock.patch.object(Server, "bulk", kept), mock.patch.dict(os.environ, env, clear=True):
        program.run()
    return bodies


def by_bulk(search: OpenSearch, bodies: list[bytes]) -> float:
    """Send the bodies again and again, each time with other ids, by one connection; return documents a second."""
    login = b64encode(f"index:{search.passwords['index']}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/x-ndjson"}
    context = ssl.create_default_context(cadata=search.ca)
    search.request("PUT", f"/{INDEX}", json=BODY).raise_for_status()
    with contextlib.closing(HTTPSConnection("127.0.0.1", search.port, context=context)) as connection:
        started = time.perf_counter()
        for time_around in range(LAUNCHES // FEW):
            for body in bodies:
                lines = body.replace(b'id": "0000', b'id": "%04x' % time_around)
                connection.request("POST", f"/{INDEX}/_bulk?filter_path=errors", lines, headers)
                answer = json.load(connection.getresponse())
                assert answer == {"errors": False}, answer
        search.request("POST", f"/{INDEX}/_refresh").raise_for_status()
        seconds = time.perf_counter() - started
    there: int = search.request("GET", f"/{INDEX}/_count").json()["count"]
    assert there == LAUNCHES // FEW * FEW, there
    return there / seconds


def figures(server: Postgres, search: OpenSearch) -> Iterator[Measure]:
    """Judge what each way finds in recorded pages; print it by kind and query, too. Nothing without PAGES."""
    folder = Path(os.environ.get("PAGES") or "?")
    if not folder.is_dir():
        print("The judged queries are left out: PAGES=… has to name the folder with the recorded pages.", flush=True)
        return
    search.delete()  # what was deleted one by one would still count when words are weighed
    with contextlib.closing(server.superuser()) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute(EMPTY)
        logging.disable(logging.CRITICAL)  # the step's own lines
        judged.load(server.env(ROLES["fetch"]), folder)
        logging.disable(logging.NOTSET)
        peak("-m", "index", env=server.env(ROLES["index"]) | search.env(), folder="tasks")
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT name FROM rocket_launches")
            names = [name for (name,) in cursor.fetchall()]
        for path, which in ((judged.QUERIES, "queries"), (judged.UNSEEN, "unseen queries")):
            now, queries = judged.read(names, path)
            baselines = Baselines(connection, now)
            found = {way: [baselines.search(way, query.text) for query in queries] for way in baselines.ways}
            with mock.patch.dict(os.environ, search.env("reader")), Server() as reader:
                answers = [find(reader, query.text, now)["hits"]["hits"] for query in queries]
            found["search"] = [[hit["_source"]["name"] for hit in hits] for hits in answers]
            for way, results in found.items():
                mrr, recall = judged.judge(results, [query.expected for query in queries])
                yield Measure(f"MRR of {len(queries)} {which}, {way}", "", "", [mrr])
                yield Measure("… recall@5", "", "", [recall])
            print(*compared(queries, found), sep="\n", flush=True)
