"""What index_launches writes, and when."""

import hashlib
import json
import random
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest

from index import __main__ as program
from index import mapping
from index.document import document
from index.mapping import BODY, VERSION
from index.server import Server
from objects import Objects
from tests.conftest import Database
from tests.unit.index.conftest import Index, Run
from tests.unit.publish.conftest import DETAILS, NOW, TOMORROW, Launches, compressed

HOSTILE = [
    '"}}\n{"delete":{"_id":"x"}}',
    "\\ \b\f\n\r\t\x1b[31m\x7f",
    "\u2028 ΣYNDEO 🚀 \U0010ffff",
    "@everyone <b>*_~`",
    "null",
    " ",
    "x" * 100_000,
    "*:* OR name:[* TO *] /regex.*/",
]


def test_a_new_index_has_the_whole_table(launches: Launches, run: Run, index: Index, database: Database) -> None:
    one = launches.add("Kestrel | Sparrow")
    launches.add("Kestrel | Wren", net=None, net_precision=None, status=None, image_url="https://example.org/wren.png")
    launches.add("Kestrel | Owl", withdrawn_at=NOW, details=None)
    launches.change(one, net=TOMORROW + timedelta(days=2))
    launches.change(one, net=TOMORROW)
    database.query(
        "INSERT INTO launch_links (launch_id, url, kind, first_seen_at, title, text)"
        " VALUES (%s, 'https://example.org', 'info', now(), 'About', 'It weighs a gram.')",
        one,
    )
    result = run()
    assert result.lines == ["INFO The alias launches names launches-1", "INFO Indexed 3 launches, deleted 0"]
    assert index.names() == {"launches-1": ["launches"]}
    index.assert_equal(database)
    assert index.hits()[one]["_source"]["slips"] == 1


def test_only_what_has_changed_is_written(launches: Launches, run: Run, index: Index, database: Database) -> None:
    one, two, three = launches.add(), launches.add(), launches.add()
    assert run().code == 0
    before = index.hits()
    result = run()
    assert (result.code, result.lines) == (99, ["INFO Nothing is new: 3 launches"])
    launches.change(two, status="Hold")
    database.query("DELETE FROM rocket_launches WHERE launch_id = %s", three)
    four = launches.add()
    assert run().lines == ["INFO Indexed 2 launches, deleted 1"]
    index.assert_equal(database)
    after = index.hits()
    assert after[one]["_version"] == before[one]["_version"]
    assert after[two]["_version"] > before[two]["_version"]
    assert set(after) == {one, two, four}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE rocket_launches SET image_url = 'https://example.org/new.png'",
        "UPDATE rocket_launches SET withdrawn_at = '2031-01-01T00:00Z'",
        "UPDATE rocket_launches SET details = jsonb_set(details, '{mission,name}', '\"Swift\"')",
        """
        INSERT INTO launch_changes (launch_id, field, old_value, new_value, seen_at)
        SELECT launch_id, 'net', '2030-12-01T00:00:00Z', '2031-01-02T00:00:00Z', now() FROM rocket_launches
        """,
        """
        INSERT INTO launch_links (launch_id, url, kind, first_seen_at, title, text)
        SELECT launch_id, 'https://example.org', 'info', now(), 'About', 'A gram.' FROM rocket_launches
        """,
    ],
)
def test_whatever_a_document_says_is_brought_up_to_date(
    launches: Launches, run: Run, index: Index, database: Database, change: str
) -> None:
    launches.add()
    run()
    database.query(change)
    assert run().code == 0
    index.assert_equal(database)
    assert run().code == 99


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/launches-1/_doc/00000000-0000-4000-8000-000000000002", None),
        ("PUT", "/launches-1/_doc/stranger", {"launch_id": "stranger", "name": "x", "digest_high": 1, "digest_low": 2}),
        ("DELETE", "/launches-1", None),
        ("POST", "/_aliases", {"actions": [{"remove": {"index": "launches-1", "alias": "launches"}}]}),
    ],
)
def test_an_index_that_somebody_has_changed_is_mended(  # noqa: PLR0917  # fixtures
    launches: Launches, run: Run, index: Index, database: Database, method: str, path: str, body: object
) -> None:
    for _ in range(3):
        launches.add()
    run()
    index.server.request(method, path, json=body).raise_for_status()
    assert run().code == 0
    index.assert_equal(database)
    assert run().code == 99


def test_an_empty_table(run: Run, index: Index, database: Database) -> None:
    assert run().code == 0
    index.assert_equal(database)
    assert run().code == 99


def test_hostile_text_in_every_field(launches: Launches, run: Run, index: Index) -> None:
    for text in HOSTILE:
        words = {
            "launch_service_provider": {"name": text, "abbrev": text},
            "rocket": {"configuration": {"full_name": text, "family": text}},
            "pad": {"name": text, "latitude": text, "longitude": text, "location": {"name": text}},
            "mission": {"name": text, "type": text, "description": text, "orbit": {"name": text, "abbrev": text}},
            "program": [{"name": text}],
        }
        launches.add(text, status=text, net_precision=text, image_url=text, details=words)
    shapes: list[object] = [[], "text", 7, {"mission": 7, "pad": [], "program": {}}, {"pad": {"latitude": "1e999"}}]
    for details in shapes:
        launches.add("odd", details=details)
    assert run().lines[-1] == f"INFO Indexed {len(HOSTILE) + len(shapes)} launches, deleted 0"
    hits = index.hits()
    assert {hit["_source"]["name"] for hit in hits.values()} == {*HOSTILE, "odd"}
    assert run().code == 99


@pytest.mark.parametrize("launch_id", ['"', "a/b?c=d", "\u2028", "ß" * 120, "_all", "."])
def test_hostile_ids(launches: Launches, run: Run, index: Index, database: Database, launch_id: str) -> None:
    launches.add(launch_id=launch_id)
    launches.add(launch_id=f"{launch_id}2")
    assert run().code == 0
    database.query("DELETE FROM rocket_launches WHERE launch_id = %s", launch_id)
    assert run().lines == ["INFO Indexed 0 launches, deleted 1"]
    index.assert_equal(database)


def test_ids_are_compared_as_the_index_sorts_them(
    launches: Launches, run: Run, index: Index, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.server.PAGE", 7)
    monkeypatch.setattr("index.store.BATCH", 5)
    monkeypatch.setattr(program, "BATCH", 3)
    monkeypatch.setattr(program, "LARGEST", 2000)
    rng = random.Random(19)  # noqa: S311  # the same each time
    ids = {"".join(rng.choices("aAbBzZ-_~019äÄßéж日\ufffd😀", k=rng.randint(1, 3))) for _ in range(60)}
    for launch_id in ids:
        launches.add(launch_id=launch_id)
    run()
    for round_number in range(3):
        for launch_id in rng.sample(sorted(ids), 15):
            database.query("DELETE FROM rocket_launches WHERE launch_id = %s", launch_id)
            if rng.random() < 0.5:
                launches.add(f"round {round_number}", launch_id=launch_id)
            else:
                ids.discard(launch_id)
        assert run().code == 0
        index.assert_equal(database)
    assert run().code == 99


def test_details_in_an_object_store(
    launches: Launches, run: Run, index: Index, database: Database, tmp_path: Path
) -> None:
    store = Objects(f"file://{tmp_path}")
    store.put("page.json", compressed(json.dumps({"results": [DETAILS, DETAILS | {"mission": {"name": "Wren"}}]})), {})
    one = launches.add()
    database.query("UPDATE rocket_launches SET details = NULL, object_key = 'page.json', position = 1")
    assert run(OBJECT_STORE=store.url).code == 0
    assert index.hits()[one]["_source"]["mission"] == "Wren"
    assert run(OBJECT_STORE=store.url).code == 99


def test_an_answer_that_is_missing_is_looked_for_again(
    launches: Launches, run: Run, index: Index, database: Database, tmp_path: Path
) -> None:
    store = Objects(f"file://{tmp_path}")
    one = launches.add()
    database.query("UPDATE rocket_launches SET details = NULL, object_key = 'page.json', position = 0")
    for _ in range(2):
        result = run(OBJECT_STORE=store.url)
        assert result.code == 0
        assert "What page.json says is left out" in result.lines[0]
        assert "mission" not in index.hits()[one]["_source"]
    store.put("page.json", compressed(json.dumps({"results": [DETAILS]})), {})
    assert run(OBJECT_STORE=store.url).code == 0
    assert index.hits()[one]["_source"]["mission"] == "Sparrow"
    assert run(OBJECT_STORE=store.url).code == 99


def test_a_late_run_never_overwrites_newer_with_older(
    launches: Launches, run: Run, index: Index, database: Database
) -> None:
    one, two = launches.add("old"), launches.add("gone")
    real = Server.bulk

    def late(server: Server, name: str, lines: bytes) -> object:
        """Let the table change, and another run bring that to the index, before this one writes."""
        with mock.patch.object(Server, "bulk", real), mock.patch("index.store.ALONE", "SELECT 1"):
            launches.change(one, name="new")
            database.query("DELETE FROM rocket_launches WHERE launch_id = %s", two)
            assert run().code == 0
        return real(server, name, lines)

    with mock.patch.object(Server, "bulk", late):
        result = run()
    assert result.code == 75
    assert "has 1 launches as a later run has written them" in result.last or "has 2 launches" in result.last
    run()
    index.assert_equal(database)
    assert index.hits()[one]["_source"]["name"] == "new"


def test_a_changed_mapping_builds_a_new_index_beside_the_old_one(
    launches: Launches, run: Run, index: Index, database: Database
) -> None:
    for _ in range(3):
        launches.add()
    run()
    with (
        mock.patch.object(program, "INDEX", "launches-2"),
        mock.patch.object(program, "VERSION", 2),
    ):
        # Killed before the alias moves: readers have the old one, and the next run goes on.
        with mock.patch.object(Server, "point", side_effect=SystemExit(143)), pytest.raises(SystemExit):
            run()
        assert index.names() == {"launches-1": ["launches"], "launches-2": []}
        index.assert_equal(database)
        launches.add()
        assert run().lines == [
            "INFO The alias launches names launches-2 instead of launches-1",
            "INFO Indexed 1 launches, deleted 0",
        ]
        assert index.names() == {"launches-2": ["launches"]}
        index.assert_equal(database)
        assert run().code == 99
    # And back, to the image of before.
    assert run().lines[0] == "INFO The alias launches names launches-1 instead of launches-2"
    index.assert_equal(database)


def test_the_version_of_the_mapping_is_raised_with_it() -> None:
    """If this fails, raise VERSION in mapping.py, and put both here: servers keep the old mapping otherwise."""
    digest = hashlib.sha256(json.dumps(BODY, sort_keys=True).encode()).hexdigest()[:12]
    assert digest == {1: "9f51fff92b16"}[VERSION]
    assert f"launches-{VERSION}" == mapping.INDEX


@pytest.mark.parametrize(
    ("net", "precision", "expected"),
    [
        ("2031-01-02T03:04:05", "second", ("2031-01-02T03:04:05", "2031-01-02T03:04:05")),
        ("2031-01-02T03:04:05", "hour", ("2031-01-02T03:04:05", "2031-01-02T03:04:05")),
        ("2031-01-02T00:00:00", "day", ("2031-01-02T00:00:00", "2031-01-03T00:00:00")),
        ("2031-12-31T00:00:00", "month", ("2031-12-01T00:00:00", "2032-01-01T00:00:00")),
        ("2031-12-31T00:00:00", "year", ("2031-01-01T00:00:00", "2032-01-01T00:00:00")),
        ("9999-12-31T00:00:00", "year", ("9999-12-31T00:00:00", "9999-12-31T00:00:00")),
    ],
)
def test_when_a_launch_can_be(  # noqa: PLR0917  # fixtures
    launches: Launches, run: Run, index: Index, net: str, precision: str, expected: tuple[str, str]
) -> None:
    one = launches.add(net=f"{net}Z", net_precision=precision)  # type: ignore[arg-type]  # PostgreSQL reads it
    assert run().code == 0
    when = index.hits()[one]["_source"]["when"]
    start, end = (f"{time}.000+00:00" for time in expected)
    assert when == ({"gte": start, "lte": end} if start == end else {"gte": start, "lt": end})


def test_without_a_server_there_is_nothing_to_do(run: Run) -> None:
    result = run(SEARCH_URL="")
    assert (result.code, result.lines) == (99, ["INFO Nothing is indexed: SEARCH_URL is not set."])


def test_what_one_launch_has_wrong_keeps_no_other_back(
    launches: Launches, run: Run, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = launches.add(), launches.add("odd")

    def odd(row: object, known: dict[str, object]) -> dict[str, object]:
        made = document(row, known)  # type: ignore[arg-type]  # a row
        return made | ({"unknown": 1} if made["name"] == "odd" else {})

    monkeypatch.setattr("index.document.document", odd)
    for _ in range(2):
        result = run()
        assert result.code == 65
        assert f"refuses 1 launches, such as {two}: mapping set to strict" in result.last
        assert set(index.hits()) == {one}
    monkeypatch.undo()
    assert run().code == 0
    assert set(index.hits()) == {one, two}
