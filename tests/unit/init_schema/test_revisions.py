"""Up and down, twice, at once; and which revisions are refused."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import Database
from tests.unit.init_schema.conftest import PROMISED, TABLES, create_original, dump, revision, tables

# Up and down


def test_from_nothing_it_makes_every_table(empty_database: Database) -> None:
    result = empty_database.run("init_schema")
    assert (result.code, result.lines) == (0, ["INFO The schema is at revision 0008; it was at base"])
    assert tables(empty_database) == TABLES
    assert revision(empty_database) == ["0008"]
    assert empty_database.query(PROMISED) == []


def test_run_again_it_changes_nothing(database: Database) -> None:
    before = dump(database)
    result = database.run("init_schema")
    assert (result.code, result.last) == (0, "INFO The schema is at revision 0008, as before")
    assert dump(database) == before


@pytest.mark.parametrize(("processes", "start"), [(2, "nothing"), (5, "nothing"), (2, "the original table")])
def test_several_at_once_all_succeed(
    empty_database: Database, shared_database: Database, processes: int, start: str
) -> None:
    if start != "nothing":
        create_original(empty_database)
    with ThreadPoolExecutor(processes) as pool:
        results = list(pool.map(empty_database.run, processes * ["init_schema"]))
    assert [result.code for result in results] == processes * [0]
    assert sorted(result.last.partition(", as")[0].partition("; it")[0] for result in results) == (
        processes * ["INFO The schema is at revision 0008"]
    )
    assert sum("it was at base" in result.last for result in results) == 1
    assert dump(empty_database, "--schema-only") == dump(shared_database, "--schema-only")


def test_each_revision_down_and_up_again_leaves_the_same_schema(database: Database) -> None:
    newest = dump(database)
    for target in ("0005", "0004", "0003", "0002", "0001", "base"):
        assert database.run("init_schema", "--to", target).code == 0
        assert database.run("init_schema").code == 0
        assert dump(database) == newest


@pytest.mark.parametrize("target", ["0001", "0002", "0003", "0004", "0005"])
def test_down_again_is_as_if_never_gone_up(empty_database: Database, target: str) -> None:
    assert empty_database.run("init_schema", "--to", target).code == 0
    never_up = dump(empty_database, "--no-acl")
    assert empty_database.run("init_schema").code == 0
    assert dump(empty_database, "--no-acl") != never_up
    assert empty_database.run("init_schema", "--to", target).code == 0
    assert dump(empty_database, "--no-acl") == never_up


def test_the_requests_made_so_far_have_no_warnings(empty_database: Database) -> None:
    assert empty_database.run("init_schema", "--to", "0002").code == 0
    empty_database.query("INSERT INTO fetches (requested_at, url, status, seen) VALUES (now(), 'u', 200, 7)")
    assert empty_database.run("init_schema").code == 0
    assert empty_database.query("SELECT url, status, seen, warnings FROM fetches") == [("u", 200, 7, [])]


def test_the_messages_so_far_are_announcements_and_stay_on_the_way_down_and_up(empty_database: Database) -> None:
    assert empty_database.run("init_schema", "--to", "0004").code == 0
    empty_database.query("""
        INSERT INTO rocket_launches (launch_id, name, net, net_precision, details) VALUES
            ('a', 'A', '2026-11-25 12:00Z', 'minute', '{}'), ('b', 'B', '2026-06-30Z', 'quarter', '{}'),
            ('c', 'C', '2026-12-31Z', 'half', '{}'), ('d', 'D', NULL, 'half', '{}');
        INSERT INTO notifications (launch_id, webhook_id, message_id, facts, posted_at) VALUES
            ('a', '1', '7', '{"net": "2026-11-25T12:00:00+00:00", "name": "A"}', '2026-11-24Z'),
            ('b', '1', NULL, '{"net": null}', NULL), ('a', '2', '8', '{}', '2026-11-24Z')
    """)
    before = empty_database.query("SELECT * FROM notifications ORDER BY id")
    assert empty_database.run("init_schema").code == 0

    new = (
        "SELECT launch_id, channel, kind, attempt, minutes_before, net::text, message_id FROM notifications ORDER BY id"
    )
    assert empty_database.query(new) == [
        ("a", "1", "announced", None, None, "2026-11-25 12:00:00+00", "7"),
        ("b", "1", "announced", None, None, None, None),
        ("a", "2", "announced", None, None, None, "8"),
    ]
    precisions = "SELECT net_precision FROM rocket_launches ORDER BY launch_id"
    assert empty_database.query(precisions) == [("minute",), ("quarter 2",), ("half 2",), ("half",)]

    # Of what a newer version has added, the newest announcement of each webhook stays.
    empty_database.query("""
        INSERT INTO notifications (launch_id, channel, kind, attempt, message_id, facts) VALUES
            ('b', '3/9', 'announced', 0, '9', '{}'), ('b', '3', 'announced', 5, '10', '{}'),
            ('b', '3', 'slipped', 5, '11', '{}'), (NULL, '3', 'board', NULL, '12', '{}')
    """)
    assert empty_database.run("init_schema", "--to", "0004").code == 0
    *kept, newest = empty_database.query("SELECT * FROM notifications ORDER BY id")
    assert (kept, newest[1:4]) == (before, ("b", "3", "10"))
    assert empty_database.query(precisions) == [("minute",), ("quarter",), ("half",), ("half",)]


def test_base_removes_every_table(database: Database) -> None:
    result = database.run("init_schema", "--to", "base")
    assert (result.code, result.last) == (0, "INFO The schema is at revision base; it was at 0008")
    assert tables(database) == {"alembic_version"}
    assert revision(database) == []


def test_rows_survive_the_way_down_and_up(database: Database) -> None:
    # The columns that only the newest revision has start anew.
    kept = "SELECT id, launch_id, name, net, image_url, details FROM rocket_launches ORDER BY id"
    insert = """
        INSERT INTO rocket_launches (id, launch_id, name, net, image_url, details, status)
        VALUES (7, 'a', 'A', '2026-11-24T07:08:09.5+02', 'https://example.org/a', '{"deep": [1, null, "ü"]}', 'Go'),
               (41, 'b', 'B', NULL, NULL, '{}', NULL);
        SELECT setval(pg_get_serial_sequence('rocket_launches', 'id'), 41)
    """
    database.query(insert)
    before = database.query(kept)
    assert database.run("init_schema", "--to", "0001").code == 0
    down = database.query(kept.replace("details", "details::jsonb"))
    in_utc = [(*row[:3], row[3] and row[3].replace(tzinfo=None), *row[4:]) for row in before]
    assert down == in_utc
    assert database.query("INSERT INTO rocket_launches (launch_id) VALUES ('c') RETURNING id") == [(42,)]
    assert database.run("init_schema").code == 0
    assert database.query(kept) == [*before, (42, "c", "c", None, None, {})]
    insert = "INSERT INTO rocket_launches (launch_id, name, details) VALUES ('d', 'D', '{}') RETURNING id"
    assert database.query(insert) == [(43,)]


# What it refuses


def test_a_newer_database_is_left_alone(database: Database) -> None:
    database.query("UPDATE alembic_version SET version_num = '0009'")
    before = dump(database)
    for target in ("head", "0001", "base"):
        result = database.run("init_schema", "--to", target)
        assert result.code == 78
        assert "0009" in result.last
        assert "newer init_schema image" in result.last
        assert dump(database) == before


@pytest.mark.parametrize("target", ["0009", "", "+1", "%s\x1b[2J\nforged"])
def test_an_unknown_revision_is_refused(shared_database: Database, target: str) -> None:
    before = dump(shared_database)
    result = shared_database.run("init_schema", f"--to={target}")
    assert (result.code, len(result.lines)) == (78, 1)
    assert "base, 0001, 0002, 0003, 0004, 0005, 0006, 0007, 0008" in result.last
    assert "\x1b" not in result.last
    assert dump(shared_database) == before
