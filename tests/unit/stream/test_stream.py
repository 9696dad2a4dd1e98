"""What publish_launch_changes writes, and when."""

import contextlib
import json
from datetime import timedelta
from pathlib import Path
from unittest import mock

import jsonschema  # type: ignore[import-untyped]  # Airflow brings it, without its types
import pytest
from pytest_httpserver import HTTPServer

from demo.recorded import recorded_pages
from fetch import __main__ as fetch
from step import Failure
from stream import __main__ as program
from stream.topics import CHANGES, LAUNCHES
from stream.transactions import Transactions
from tests.conftest import ROOT, Database
from tests.unit.publish.conftest import Launches
from tests.unit.stream.conftest import NOW, Stream, Topics

UPCOMING = "/2.2.0/launch/upcoming/"
MINUTE = timedelta(minutes=1)
SCHEMAS = ROOT / "tasks" / "stream" / "schemas"
HOSTILE = [
    '"}], {"name": "x',
    "\\ \b\f\n\r\t\x1b[31m\x7f",
    "\u2028 ΣYNDEO 🚀 \U0010ffff",
    "@everyone <b>*_~`",
    "null",
    " ",
]


def test_a_new_topic_has_the_whole_table_and_every_change(
    launches: Launches, stream: Stream, topics: Topics, database: Database
) -> None:
    one, two = launches.add("Kestrel | Sparrow"), launches.add("Kestrel | Wren", net=None)
    launches.change(one, at=NOW, status="Hold", name="Kestrel | House sparrow")
    launches.change(two, at=NOW + MINUTE, net_precision="day")
    assert stream().lines == ["INFO Streamed 3 changes and 2 launches, from the start"]
    topics.assert_equal(database)


def test_only_what_is_new_is_written(launches: Launches, stream: Stream, topics: Topics, database: Database) -> None:
    one, two = launches.add(), launches.add()
    launches.change(one, status="Hold", at=NOW)
    assert stream().code == 0
    result = stream()
    assert (result.code, result.lines) == (99, ["INFO Nothing is new: 2 launches, and the newest change is 1"])
    launches.change(two, status="Hold", at=NOW + MINUTE)
    three = launches.add("Merlin")
    assert stream(after=MINUTE).lines == ["INFO Streamed 1 changes and 2 launches"]
    topics.assert_equal(database)
    assert [record.key for record in topics.read(LAUNCHES)] == [one, two, two, three]


def test_a_fetch_that_changed_nothing_is_nothing_new(launches: Launches, stream: Stream, database: Database) -> None:
    launches.add()
    stream()
    database.query("UPDATE rocket_launches SET last_seen_at = now(), asked_at = now(), details = '{\"new\": 1}'")
    assert stream(after=MINUTE).code == 99


def test_no_launch_at_all(stream: Stream, topics: Topics, database: Database) -> None:
    result = stream()
    assert (result.code, result.lines) == (99, ["INFO Nothing is new."])
    topics.assert_equal(database)


def test_a_withdrawn_launch_says_so_and_one_that_left_the_table_leaves_the_topic(
    launches: Launches, stream: Stream, topics: Topics, database: Database
) -> None:
    one, two = launches.add(), launches.add()
    stream()
    database.query("UPDATE rocket_launches SET withdrawn_at = now() WHERE launch_id = %s", one)
    database.query("DELETE FROM rocket_launches WHERE launch_id = %s", two)
    assert stream(after=MINUTE).lines == ["INFO Streamed 0 changes and 2 launches"]
    topics.assert_equal(database)
    assert topics.read(LAUNCHES)[-1].value is None
    assert stream(after=2 * MINUTE).code == 99


def test_each_record_is_a_cloud_event_by_its_schema(launches: Launches, stream: Stream, topics: Topics) -> None:
    """The Kafka binding in binary mode: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings."""
    one = launches.add()
    launches.change(one, at=NOW, name="Kestrel | House sparrow", net=NOW, net_precision="hour", status="Go for launch")
    stream()
    source = f"/rocket-launches/{NOW:%Y%m%dT%H%M%SZ}"
    seen = set()
    for topic, schema in ((CHANGES, "change"), (LAUNCHES, "launch")):
        rule = json.loads((SCHEMAS / f"{schema}.schema.json").read_text(encoding="utf-8"))
        checker = jsonschema.Draft7Validator(rule, format_checker=jsonschema.FormatChecker())
        for record in topics.read(topic):
            checker.validate(record.value)
            assert record.headers["ce_specversion"] == "1.0"
            assert record.headers["ce_source"] == source
            assert record.headers["ce_subject"] == record.key == one
            assert record.headers["content-type"] == "application/json"
            seen.add((topic, record.headers["ce_type"], record.headers["ce_id"], record.headers["ce_time"]))
            assert record.milliseconds == NOW.timestamp() * 1000
    time = f"{NOW:%Y-%m-%dT%H:%M:%S}.000000Z"
    changed = {(CHANGES, "rocket-launches.launch.changed", str(number), time) for number in (1, 2, 3, 4)}
    assert seen == changed | {(LAUNCHES, "rocket-launches.launch", f"{one}/{time}", time)}


@pytest.mark.parametrize("schema", ["change", "launch"])
def test_a_schema_refuses_what_is_not_its_own(schema: str) -> None:
    rule = json.loads((SCHEMAS / f"{schema}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(rule)
    for value in ({}, {"launch_id": "x", "name": "y", "other": 1}, None):
        assert not jsonschema.Draft7Validator(rule).is_valid(value)


def test_texts_of_others_arrive_as_they_are(
    launches: Launches, stream: Stream, topics: Topics, database: Database
) -> None:
    for text in HOSTILE:
        one = launches.add(text)
        launches.change(one, at=NOW, name=text[::-1], status=text, image_url=text)
    stream()
    topics.assert_equal(database)


def test_a_reader_never_sees_half_a_fetch(launches: Launches, stream: Stream, topics: Topics) -> None:
    some = [launches.add() for _ in range(5)]
    for minute in range(6):
        for one in some:
            launches.change(one, at=NOW + minute * MINUTE, status=f"Hold {minute}")
    seen, commit = [], Transactions.commit

    def committed(self: Transactions) -> None:
        seen.append(len(topics.changes()))
        commit(self)

    with mock.patch.object(program, "BATCH", 7), mock.patch.object(Transactions, "commit", committed):
        assert stream(after=6 * MINUTE).code == 0
    # Two fetches a transaction: the first that is full is the second.
    assert [*seen, len(topics.changes())] == [0, 10, 20, 30]
    assert len(topics.read(CHANGES, **{"isolation.level": "read_uncommitted"})) == 30


def test_a_database_that_was_restored_is_noticed_and_healed_on_demand(
    launches: Launches, stream: Stream, topics: Topics, database: Database
) -> None:
    one, two = launches.add(), launches.add()
    for minute in range(4):
        launches.change(one, at=NOW + minute * MINUTE, status=f"Hold {minute}")
    stream(after=5 * MINUTE)
    before = topics.changes()
    # As it was yesterday, and before a fetch.
    database.query("DELETE FROM launch_changes WHERE id > 2")
    result = stream(after=6 * MINUTE)
    assert result.code == 78
    assert f"ends with change 4, of {NOW + 3 * MINUTE:%Y-%m-%dT%H:%M:%S}.000000Z" in result.last
    assert "--from-start" in result.last
    # And after one, which gives the numbers once more.
    database.query("ALTER TABLE launch_changes ALTER id RESTART WITH 3")
    launches.change(two, at=NOW + 7 * MINUTE, status="Hold", name="Wren")
    assert stream(after=7 * MINUTE).code == 78
    assert topics.changes() == before
    result = stream("--from-start", after=8 * MINUTE)
    assert result.lines == ["INFO Streamed 4 changes and 2 launches, from the start"]
    topics.assert_equal(database)
    # What a reader has seen of the old numbers is of another source.
    sources = {record.headers["ce_source"] for record in topics.changes()}
    assert len(sources) == 1
    assert sources.isdisjoint(record.headers["ce_source"] for record in before)
    assert stream(after=9 * MINUTE).code == 99
    launches.change(two, at=NOW + 10 * MINUTE, status="Go")
    assert stream(after=10 * MINUTE).code == 0
    assert {record.headers["ce_source"] for record in topics.changes()} == sources


def test_the_dag_asks_for_the_start_by_a_variable(
    launches: Launches, stream: Stream, topics: Topics, database: Database
) -> None:
    launches.change(launches.add(), at=NOW, status="Hold")
    stream()
    assert stream(after=MINUTE, FROM_START="false").code == 99
    assert stream(after=MINUTE, FROM_START="true").lines == ["INFO Streamed 1 changes and 1 launches, from the start"]
    topics.assert_equal(database)


def test_a_topic_of_changes_that_was_emptied_is_noticed_and_healed_on_demand(
    launches: Launches, stream: Stream, topics: Topics, database: Database
) -> None:
    launches.change(launches.add(), at=NOW, status="Hold", name="Wren")
    stream()
    topics.delete(CHANGES)
    for _ in range(2):  # it is there the second time
        result = stream(after=MINUTE)
        assert result.code == 78
        assert "was emptied: it had 2 changes that it has no more" in result.last
    assert stream("--from-start", after=2 * MINUTE).code == 0
    topics.assert_equal(database)


def test_changes_that_have_grown_old_are_no_loss(launches: Launches, stream: Stream, topics: Topics) -> None:
    one = launches.add()
    launches.change(one, at=NOW - timedelta(days=400), status="Hold")
    launches.change(one, at=NOW - timedelta(days=380), status="Go")
    stream()
    topics.delete(CHANGES)  # as the broker does, sooner or later
    assert stream(after=MINUTE).lines[-1] == "INFO Nothing is new."
    launches.change(one, at=NOW, status="Hold")
    assert stream(after=2 * MINUTE).lines == ["INFO Streamed 1 changes and 1 launches"]
    assert [record.headers["ce_id"] for record in topics.changes()] == ["3"]


def test_a_table_that_its_topic_has_lost_is_written_again(
    launches: Launches, stream: Stream, topics: Topics, database: Database
) -> None:
    launches.change(launches.add(), at=NOW, status="Hold")
    stream()
    topics.delete(LAUNCHES)
    assert stream(after=MINUTE).lines == ["INFO Streamed 0 changes and 1 launches"]
    topics.assert_equal(database)


def test_both_topics_anew(launches: Launches, stream: Stream, topics: Topics, database: Database) -> None:
    launches.change(launches.add(), at=NOW, status="Hold")
    stream()
    topics.delete(LAUNCHES, CHANGES)
    assert stream(after=MINUTE).lines == ["INFO Streamed 1 changes and 1 launches, from the start"]
    topics.assert_equal(database)


def test_the_last_change_is_found_behind_many_undone_transactions(
    launches: Launches, stream: Stream, topics: Topics, database: Database
) -> None:
    """Each leaves its records and a mark behind the last one that counts."""
    one = launches.add()
    launches.change(one, at=NOW, status="Hold")
    stream()
    launches.change(one, at=NOW + MINUTE, status="Go", name="Wren")
    with mock.patch.object(Transactions, "commit", side_effect=SystemExit(143)):
        for _ in range(20):
            with pytest.raises(SystemExit):
                stream(after=MINUTE)
    assert len(topics.changes()) == 1
    assert stream(after=2 * MINUTE).lines == ["INFO Streamed 2 changes and 1 launches"]
    topics.assert_equal(database)


def test_recorded_pages(  # noqa: PLR0917  # fixtures
    database: Database,
    stream: Stream,
    topics: Topics,
    httpserver: HTTPServer,
    recorded: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Real pages, one after another, streamed after each tenth: the topics are the tables."""
    for name, value in (database.env("fetch") | {"LAUNCH_LIBRARY_URL": httpserver.url_for(UPCOMING)}).items():
        monkeypatch.setenv(name, value)
    codes = []
    for number, page in enumerate(recorded_pages(recorded / "2.2.0" / "series")):
        httpserver.clear()
        httpserver.expect_request(UPCOMING).respond_with_data(page.body, content_type="application/json")
        monkeypatch.setenv("NOW", page.at.isoformat())
        with contextlib.suppress(Failure):  # a recorded answer is no page
            fetch.run()
        if number % 10 == 0:
            codes.append(stream(NOW=page.at.isoformat()).code)
    codes.append(stream(after=MINUTE).code)
    assert codes.count(0) > 10
    assert set(codes) <= {0, 99}
    topics.assert_equal(database)
    assert len(topics.changes()) > 100
