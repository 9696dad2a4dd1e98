"""The original project's table is adopted with its rows."""

import json
from datetime import UTC
from typing import Any

import pytest

from standins.launch_library import LaunchLibrary
from standins.postgres import OWNER
from tests.conftest import Database
from tests.unit.init_schema.conftest import NEW_YORK, ORIGINAL, PROMISED, create_original, dump


def adopt(database: Database, text: str = "text") -> dict[int, tuple[Any, ...]]:
    """Adopt an original table where New York's time is the custom; return its rows by id, as they were."""
    create_original(database, text)
    database.query(f"ALTER DATABASE {database.name} SET timezone = '{NEW_YORK}'")
    database.query(f"ALTER ROLE {OWNER} IN DATABASE {database.name} SET timezone = '{NEW_YORK}'")
    original = "SELECT id, launch_id, name, net, image_url, details::text FROM rocket_launches"
    before = {row[0]: row[1:] for row in database.query(original)}
    assert len(before) == len(ORIGINAL)
    assert database.run("init_schema", PGTZ=NEW_YORK, TZ=NEW_YORK).code == 0
    return before


@pytest.mark.parametrize("text", ["text", "varchar(255)"])
def test_an_original_table_is_adopted_with_every_value(
    empty_database: Database, shared_database: Database, text: str
) -> None:
    before = adopt(empty_database, text)
    assert len(empty_database.query(PROMISED)) == len(before)
    statement = "SELECT id, launch_id, name, net, image_url, details FROM rocket_launches"
    after = {row[0]: row[1:] for row in empty_database.query(statement)}
    assert after.keys() == before.keys()
    for number, (launch_id, name, net, image_url, details) in before.items():
        kept_launch_id, kept_name, *kept = after[number]
        assert kept_launch_id == launch_id or launch_id is None
        assert kept_name == (kept_launch_id if name is None else name)
        takes_jsonb = details and r"\u0000" not in details and r"\ud800" not in details
        expected = json.loads(details) if takes_jsonb else details or {}
        assert kept == [net and net.replace(tzinfo=UTC), image_url, expected]
    assert dump(empty_database, "--schema-only") == dump(shared_database, "--schema-only")

    assert empty_database.run("init_schema", "--to", "0001", PGTZ=NEW_YORK).code == 0
    nets = dict(empty_database.query("SELECT id, net FROM rocket_launches"))
    assert nets == {number: row[2] for number, row in before.items()}


def test_after_adoption_fetch_adds_and_updates(empty_database: Database) -> None:
    before = adopt(empty_database)
    launch = {"name": "Falcon 9 | Renamed", "net": "2027-01-17T06:00:00Z"}
    page = {"results": [{"id": launch_id, **launch} for launch_id in ("12345", "new")]}
    with LaunchLibrary() as library:
        library.page = json.dumps(page).encode()
        result = empty_database.run("fetch", LAUNCH_LIBRARY_URL=library.upcoming_url)
    assert result.code == 0, result.lines
    ids = dict(empty_database.query("SELECT launch_id, id FROM rocket_launches WHERE name = 'Falcon 9 | Renamed'"))
    (first,) = (number for number, row in before.items() if row[0] == "12345")
    assert ids == {"12345": first, "new": max(before) + 1}


def test_an_empty_original_table_is_adopted(empty_database: Database) -> None:
    create_original(empty_database, rows=[])
    assert empty_database.run("init_schema").code == 0
    insert = "INSERT INTO rocket_launches (launch_id, name, details) VALUES ('a', 'A', '{}') RETURNING id"
    assert empty_database.query(insert)[0][0] >= 1


def test_the_table_of_another_owner_is_left_alone(empty_database: Database) -> None:
    create_original(empty_database)
    empty_database.query("ALTER TABLE rocket_launches OWNER TO postgres")
    before = dump(empty_database)
    result = empty_database.run("init_schema")
    assert result.code == 78
    assert "Use the role that owns the database and its tables" in result.last
    assert dump(empty_database) == before


@pytest.mark.parametrize(
    ("obstacle", "named"),
    [
        ("CREATE VIEW next_launches AS SELECT id, launch_id, name, net, image_url FROM rocket_launches", "view"),
        ("ALTER TABLE rocket_launches DROP details", "details"),
        ("ALTER TABLE rocket_launches DROP CONSTRAINT rocket_launches_launch_id_key", "unique"),
        ("ALTER TABLE rocket_launches ADD status int", "status"),
    ],
)
def test_a_table_that_cannot_be_adopted_is_left_alone_with_a_sentence(
    empty_database: Database, obstacle: str, named: str
) -> None:
    create_original(empty_database)
    empty_database.query(f"SET ROLE {OWNER}; {obstacle}")
    before = dump(empty_database)
    try:
        result = empty_database.run("init_schema")
    finally:
        assert dump(empty_database) == before
    assert result.code == 78
    assert named in result.last
