"""The tables, made again from the object store: equal where the store has all, and honest where it has not."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from objects import Objects
from tests.conftest import Database, Result, run_step
from tests.unit.fetch.conftest import UPCOMING, Fetch, assert_failed, handle, launch, page, serve

HELD, MOVED = {"status": {"id": 5, "name": "On Hold"}}, {"net": "2031-05-05T03:02:01Z"}


@pytest.fixture
def store(tmp_path: Path) -> Objects:
    return Objects(f"file://{tmp_path}/store")


@pytest.fixture
def fetch(fetch: Fetch, store: Objects) -> Fetch:
    return partial(fetch, OBJECT_STORE=store.url)


@pytest.fixture
def rebuild(database: Database, store: Objects) -> Fetch:
    """Run the step with `--from-store` and further arguments."""

    def run(*arguments: str, **env: str) -> Result:
        return run_step("fetch", database.env("fetch") | {"OBJECT_STORE": store.url, "NOW": LATER} | env, *arguments)

    return run


LATER = "2031-02-01T00:00:00Z"


def day(number: int) -> str:
    return f"2031-01-{number:02}T00:00:00Z"


@pytest.fixture
def history(database: Database, httpserver: HTTPServer, fetch: Fetch) -> None:
    """Runs of every kind, a day apart."""

    def following(left: Iterator[Response], _request: Request) -> Response:
        return next(left)

    def say(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        return Response(body if isinstance(body, str) else json.dumps(body), status, headers)

    answers: list[list[Response]] = [
        [say(page(launch(1), launch(2)))],
        [say(page(launch(1), launch(2)))],  # the same
        [say(page(launch(1, **MOVED), launch(2, pad=None), {"id": "x"}, launch(3)))],
        [say("<html>", 502)],
        [say("{half a page")],
        [say(page({"id": 1}))],
        [say("", 500)],
        [say({"detail": "1 second"}, 429, {"Retry-After": "0"}), say(page(launch(2, **HELD), launch(3, name="Ω")))],
        [say(page(launch(3, status={"id": 77, "name": "New"})))],
        [say(page(launch(2), launch(3))), say({"detail": "No Launch matches the given query."}, 404)],
        [say(page(launch(3)))],
        [say(page(launch(3))), say(launch(2, **HELD))],
    ]
    for number, some in enumerate(answers, 1):
        left = iter(some)
        httpserver.clear()
        httpserver.expect_request(re.compile("/2.3.0/launches/.*")).respond_with_handler(partial(following, left))
        if number == 9:
            database.query(
                "INSERT INTO notifications (launch_id, channel, kind, attempt, message_id, facts)"
                " SELECT launch_id, '1', 'announced', 0, '7', '{}' FROM rocket_launches ORDER BY launch_id LIMIT 2"
            )
        fetch(NOW=day(number if number < 12 else 20))
    assert database.query("SELECT count(*) FROM fetches") == [(15,)]
    assert database.query("SELECT count(*) FROM launch_changes") == [(8,)]
    assert database.query("SELECT count(asked_at), count(withdrawn_at) FROM rocket_launches") == [(2, 1)]


def without_ids(tables: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: sorted(map(str, (row[1:] for row in rows))) for name, rows in tables.items()}


@pytest.mark.usefixtures("history")
def test_by_the_same_reading_nothing_differs(database: Database, rebuild: Fetch) -> None:
    before = database.tables()
    result = rebuild("--from-store")
    assert result.code == 0
    assert result.last == (
        "INFO Rebuilt from 14 answers since 2031-01-01T00:00:00Z: launches 0 new, 0 other, 0 gone; "
        "changes 0 new, 0 gone; requests 0 new, 0 other, 0 gone"
    )
    assert database.tables() == before


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("number", range(2, 13))
def test_from_any_moment_on_nothing_differs(database: Database, rebuild: Fetch, number: int) -> None:
    before = database.tables()
    result = rebuild("--from-store", "--since", day(number))
    assert result.code == 0, result.lines
    assert f"since {day(number)}: launches 0 new, 0 other, 0 gone; changes 0 new, 0 gone" in result.last
    assert database.tables() == before


@pytest.mark.usefixtures("history")
def test_from_the_store_alone_the_same_tables_come_but_for_what_has_no_answer(
    database: Database, rebuild: Fetch
) -> None:
    before = database.tables()
    database.query("TRUNCATE rocket_launches, launch_changes, fetches, notifications")
    result = rebuild("--from-store")
    assert result.code == 0, result.lines
    after = database.tables()
    assert after["launch_changes"] != before["launch_changes"]  # their ids
    assert without_ids(after)["launch_changes"] == without_ids(before)["launch_changes"]
    facts = "SELECT launch_id, name, net, net_precision, status, image_url, first_seen_at, withdrawn_at"
    # Not known: that the same page came again, twice, and the request that had no answer.
    assert len(after["fetches"]) == len(before["fetches"]) - 3
    assert len(database.query(f"{facts} FROM rocket_launches")) == 3


def wrong(database: Database) -> None:
    """Let the tables be wrong as an earlier reading may have left them."""
    database.query(f"""
        UPDATE rocket_launches SET name = 'Wrong', status = NULL WHERE launch_id = '{launch(1)["id"]}';
        UPDATE launch_changes SET new_value = 'Wrong' WHERE field = 'name';
        UPDATE fetches SET unreadable = 9, warnings = '{{}}' WHERE unreadable = 1 AND status = 200 AND error IS NULL;
        INSERT INTO rocket_launches (launch_id, name, details, first_seen_at) VALUES ('x', 'X', '{{}}', '2031-01-03Z');
        INSERT INTO launch_changes (launch_id, field, new_value, seen_at) VALUES ('x', 'name', 'X', '2031-01-04Z');
    """)


@pytest.mark.usefixtures("history")
def test_what_was_read_wrongly_is_put_right_and_ids_stay(database: Database, rebuild: Fetch) -> None:
    before = database.tables()
    wrong(database)
    would = rebuild("--from-store", "--dry-run")
    assert would.code == 0
    is_wrong = database.tables()
    result = rebuild("--from-store")
    assert would.last == result.last.replace("Rebuilt", "Would be rebuilt")
    assert result.last.endswith(
        "launches 0 new, 1 other, 1 gone; changes 2 new, 3 gone; requests 0 new, 1 other, 0 gone"
    )
    assert any("other: Kestrel 1" in line for line in would.lines)
    assert any("gone: X (x)" in line for line in would.lines)
    after = database.tables()
    assert is_wrong["rocket_launches"] != after["rocket_launches"] == before["rocket_launches"]
    assert after["fetches"] == before["fetches"]
    assert without_ids(after) == without_ids(before)


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("damage", ["altered", "cut off", "gone", "not compressed"])
def test_an_answer_that_is_not_what_was_received_stops_it(
    database: Database, rebuild: Fetch, store: Objects, tmp_path: Path, damage: str
) -> None:
    [(key,)] = database.query("SELECT object_key FROM fetches WHERE unreadable = 1 AND error IS NULL")
    path = tmp_path / "store" / key
    if damage == "gone":
        store.delete([key])
    elif damage == "altered":
        path.write_bytes(next(other for other in path.parent.parent.rglob("*.zst") if other != path).read_bytes())
    else:
        path.write_bytes(path.read_bytes()[:-9] if damage == "cut off" else b"hello")
    before = database.tables()
    result = rebuild("--from-store")
    assert_failed(result, 65, key, "nothing was changed. Bring the object back from a copy")
    assert database.tables() == before
    # What came after it can still be rebuilt.
    assert rebuild("--from-store", "--since", day(4)).code == 0

    result = rebuild("--check-store")
    assert result.code == 65
    assert [key in line for line in result.lines] == [True, False]
    assert "1 are missing or not as they were received" in result.last


@pytest.mark.usefixtures("history")
def test_a_run_that_died_before_its_rows_is_adopted(database: Database, rebuild: Fetch) -> None:
    before = database.tables()
    database.query("DELETE FROM fetches WHERE run_at = '2031-01-03Z'")
    result = rebuild("--check-store")
    assert result.code == 65
    assert "1 had no row in fetches and have one now: run rebuild_rocket_launches to read them." in result.last
    assert rebuild("--check-store").lines[-1].startswith("INFO All 12 objects are there")
    assert rebuild("--from-store").code == 0
    assert database.tables()["rocket_launches"] == before["rocket_launches"]


@pytest.mark.usefixtures("history")
def test_a_rebuild_adopts_what_no_row_names(database: Database, rebuild: Fetch) -> None:
    before = database.tables()
    database.query("DELETE FROM fetches WHERE run_at = '2031-01-03Z'")
    result = rebuild("--from-store")
    assert result.last.endswith("requests 1 new, 0 other, 0 gone")
    assert database.tables()["rocket_launches"] == before["rocket_launches"]
    assert without_ids(database.tables()) == without_ids(before)


@pytest.mark.usefixtures("history")
def test_the_end_of_a_rebuild_waits_for_a_fetch_that_stores_something(database: Database, rebuild: Fetch) -> None:
    before = database.tables()
    with other(database) as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('fetch'))")
        result = rebuild("--from-store")
    assert_failed(result, 75, "lock timeout")
    assert database.tables() == before


@pytest.fixture
def half_done(program: Fetch, httpserver: HTTPServer, store: Objects) -> Iterator[tuple[Event, Thread]]:
    """A fetch that has kept its first page, and waits for the second until the event is set."""
    asked, event = Event(), Event()

    def answer(request: Request) -> Response:
        if "offset" in request.args:
            asked.set()
            event.wait(60)
            return Response(json.dumps(page(launch(2))))
        return Response(json.dumps(page(launch(1), following=f"{httpserver.url_for(UPCOMING)}?offset=1&limit=1")))

    handle(httpserver, answer)
    running = Thread(target=partial(program, NOW=day(1), LAUNCH_LIBRARY_PAGES="all", OBJECT_STORE=store.url))
    running.start()
    assert asked.wait(60)
    assert list(store.keys("launch-library/"))
    yield event, running
    event.set()
    running.join()


@pytest.mark.parametrize("option", ["--from-store", "--check-store", "--thin-store"])
def test_what_compares_rows_and_objects_waits_for_a_fetch_that_runs(
    database: Database, rebuild: Fetch, half_done: tuple[Event, Thread], option: str
) -> None:
    event, running = half_done
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(rebuild, option, KEEP_DAYS="1")
        with pytest.raises(TimeoutError):
            waiting.result(timeout=2)
        event.set()
        result = waiting.result()
    assert result.code == 0, result.lines
    assert result.lines[0] == "INFO Waiting for a fetch that is running"
    running.join()
    assert database.query("SELECT count(*), count(object_key) FROM fetches") == [(2, 2)]
    assert database.query("SELECT count(*) FROM rocket_launches") == [(2,)]


@contextmanager
def other(database: Database) -> Iterator[Any]:
    connection = database.server.superuser(database.name)
    try:
        yield connection.cursor()
    finally:
        connection.close()


def test_without_answers_there_is_nothing_to_rebuild(rebuild: Fetch) -> None:
    assert_failed(rebuild("--from-store"), 78, "has no answers to rebuild from")


@pytest.mark.parametrize("option", ["--from-store", "--check-store", "--thin-store", "--leave-store"])
def test_without_a_store_it_says_so(rebuild: Fetch, option: str) -> None:
    result = rebuild(option, OBJECT_STORE="none")
    assert (result.code, "OBJECT_STORE is not set, or is none" in result.last) == (99, True)


@pytest.mark.parametrize("since", ["yesterday", "2031-13-01"])
def test_a_time_is_asked_for(rebuild: Fetch, since: str) -> None:
    assert_failed(rebuild("--from-store", SINCE=since), 78, f"SINCE is '{since}': give a time such as")


# Details that were in PostgreSQL, and are to be again


def test_details_move_into_the_store_and_back(
    database: Database, httpserver: HTTPServer, fetch: Fetch, rebuild: Fetch, store: Objects
) -> None:
    details = "SELECT launch_id, details FROM rocket_launches ORDER BY launch_id"
    serve(httpserver, launch(1), launch(2, mission='ü \\ " \n'), launch(3))
    assert fetch(NOW=day(1), OBJECT_STORE="").code == 0
    had = database.query(details)
    serve(httpserver, launch(3))
    result = fetch(NOW=day(2))
    assert result.lines[0] == "INFO Moved the details of 3 launches from PostgreSQL into the object store"
    assert database.query("SELECT position, details FROM rocket_launches ORDER BY launch_id") == [
        (0, None),
        (1, None),
        (0, None),
    ]
    assert rebuild("--check-store").code == 0
    assert len(list(store.keys("launch-library/details/"))) == 1
    assert fetch(NOW=day(3)).lines[0].startswith("INFO Stored")

    database.query("UPDATE rocket_launches SET name = 'Wrong' WHERE launch_id <> %s", launch(3)["id"])
    before = database.tables()
    assert rebuild("--from-store").code == 0  # from day 2 on: what came before is not in the store
    assert database.query("SELECT name FROM rocket_launches ORDER BY launch_id")[:2] == [("Wrong",), ("Wrong",)]
    assert database.tables()["fetches"] == before["fetches"]

    result = rebuild("--leave-store")
    assert (result.code, result.last) == (
        0,
        "INFO The details of 3 launches are in PostgreSQL again; OBJECT_STORE=none leaves them there",
    )
    assert database.query(details) == had
    assert database.run("init_schema", "--to", "0005").code == 0
    assert database.run("init_schema").code == 0


def test_the_way_down_is_refused_while_the_store_alone_has_the_details(
    database: Database, httpserver: HTTPServer, fetch: Fetch
) -> None:
    serve(httpserver, launch(1))
    assert fetch(NOW=day(1)).code == 0
    result = database.run("init_schema", "--to", "0005")
    assert result.code == 78
    assert "the details of launches are in the object store" in result.last


def test_what_moved_comes_back_when_the_tables_are_lost(
    database: Database, httpserver: HTTPServer, fetch: Fetch, rebuild: Fetch
) -> None:
    serve(httpserver, launch(1), launch(2))
    assert fetch(NOW=day(1), OBJECT_STORE="").code == 0
    serve(httpserver, launch(1, name="Other"))
    assert fetch(NOW=day(2)).code == 0
    database.query("TRUNCATE rocket_launches, launch_changes, fetches, notifications")
    assert rebuild("--from-store").code == 0
    assert database.query("SELECT name FROM rocket_launches ORDER BY launch_id") == [
        ("Other",),
        (launch(2)["name"],),
    ]
    assert rebuild("--check-store").code == 0


def test_runs_whose_answers_are_not_kept_are_left_as_they_are(
    database: Database, httpserver: HTTPServer, fetch: Fetch, rebuild: Fetch
) -> None:
    for number, store in ((1, {}), (2, {"OBJECT_STORE": ""}), (3, {}), (4, {})):
        serve(httpserver, launch(1, name=f"Name {number}"))
        assert fetch(NOW=day(number), **store).code == 0
    before = database.tables()
    result = rebuild("--from-store")
    assert f"since {day(3)}" in result.last
    assert database.tables() == before
    assert_failed(rebuild("--from-store", "--since", day(2)), 78, f"What changed until {day(2)} is in the tables only")


# What is kept


def test_thinning_keeps_what_changed_and_what_is_pointed_to(
    database: Database, httpserver: HTTPServer, fetch: Fetch, rebuild: Fetch, store: Objects
) -> None:
    for number in range(1, 31):
        # It changes on the tenth and the twentieth; else only its counter does, which is no change.
        serve(httpserver, launch(1, name=f"Name {number // 10}", pad={"id": number}))
        assert fetch(NOW=day(number)).code == 0
    handle(httpserver, lambda _: Response("<html>", 502))
    fetch(NOW=day(1), RUN_TYPE="manual")
    for number in range(20):
        store.put(f"backups/launches-203101{number:02}T000000Z.dump", b"", {})
    before = database.tables()
    for backups in (6, 0):
        result = rebuild("--thin-store", NOW=day(31))
        assert result.last == f"INFO Deleted 0 answers in which nothing was new, and {backups} old backups"
    result = rebuild("--thin-store", NOW=day(31), KEEP_DAYS="7")
    assert result.last == "INFO Deleted 20 answers in which nothing was new, and 0 old backups"
    kept = database.query("SELECT run_at::date::text FROM fetches WHERE object_key IS NOT NULL ORDER BY run_at")
    assert [int(day[-2:]) for (day,) in kept] == [1, 10, 20, 24, 25, 26, 27, 28, 29, 30]
    assert rebuild("--check-store").code == 0
    assert rebuild("--from-store").code == 0
    after = database.tables()
    assert after["rocket_launches"] == before["rocket_launches"]
    assert after["launch_changes"] == before["launch_changes"]
    assert len(after["fetches"]) == len(before["fetches"])


def test_many_are_thinned_a_hundred_at_a_time(
    database: Database, httpserver: HTTPServer, fetch: Fetch, rebuild: Fetch, store: Objects
) -> None:
    serve(httpserver, launch(1))
    assert fetch(NOW=day(1)).code == 0
    database.query("""
        INSERT INTO fetches (requested_at, run_at, url, error, object_key)
        SELECT at, at, 'https://x.example', 'No answer', 'launch-library/2.3.0/' || to_char(at, 'HH24MISS')
        FROM generate_series('2031-01-02Z'::timestamptz, '2031-01-02T00:03:29Z', '1 second') AS at
    """)
    for (key,) in database.query("SELECT object_key FROM fetches OFFSET 1"):
        store.put(key, b"", {})
    result = rebuild("--thin-store", NOW=day(31), KEEP_DAYS="7")
    assert result.last == "INFO Deleted 210 answers in which nothing was new, and 0 old backups"
    assert len(list(store.keys("launch-library/"))) == 1
    assert database.query("SELECT count(object_key) FROM fetches") == [(1,)]


def test_a_thinning_that_was_killed_is_completed(
    database: Database, httpserver: HTTPServer, fetch: Fetch, rebuild: Fetch, store: Objects
) -> None:
    for number in range(1, 5):
        serve(httpserver, launch(1, pad={"id": number}))
        assert fetch(NOW=day(number)).code == 0
    [(key,)] = database.query("SELECT object_key FROM fetches WHERE run_at = '2031-01-02Z'")
    store.delete([key])  # and not yet forgotten
    assert rebuild("--thin-store", NOW=day(31), KEEP_DAYS="7").code == 0
    assert rebuild("--check-store").code == 0


@pytest.mark.parametrize("days", ["0", "-1", "x", "1.5"])
def test_a_number_of_days_is_asked_for(rebuild: Fetch, days: str) -> None:
    assert_failed(rebuild("--thin-store", KEEP_DAYS=days), 78, "give a number of days")
