"""fetch_and_store_data on real answers of the Launch Library, compared with what this test works out by itself.

The recordings are not part of this repository: without RECORDED_PAGES=FOLDER these tests are left out.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pytest_httpserver import HTTPServer

from fetch import __main__ as step
from tests.conftest import ROOT, Database

UPCOMING = "/2.2.0/launch/upcoming/"
PAGES = [
    "2.0.0/upcoming-2020-12.json",
    "2.0.0/upcoming-2023-06.json",
    "2.0.0/upcoming-2024-03-31.json",
    "2.0.0/upcoming-2025-06-07.json",
    "2.0.0/upcoming-2026-03-02.json",
    "2.2.0/upcoming-detailed-2026-07-20.json",
    "2.2.0/upcoming-list-2026-07-20.json",
]


class Seen(NamedTuple):
    """What a page says of a launch, in the columns' words; a time is text, as recorded."""

    name: str
    net: str
    net_precision: str | None
    status: str
    image_url: str | None


def seen(launch: dict[str, Any]) -> Seen:
    """Read a launch of 2.0.0 or 2.2.0. Up to 2.2.0 a status' short word is its `abbrev`, in 2.0.0 its name."""
    status, precision = launch["status"], launch.get("net_precision")
    return Seen(
        launch["name"],
        launch["net"],
        precision and precision["name"].lower(),
        status.get("abbrev") or status["name"],
        launch["image"],
    )


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")


def table(database: Database) -> dict[str, tuple[Any, ...]]:
    """Every column of every launch, by its id."""
    return {
        row[0]: row[1:]
        for row in database.query(
            "SELECT launch_id, name, net, net_precision, status, image_url, last_updated, details, "
            "first_seen_at, last_seen_at FROM rocket_launches"
        )
    }


def row(launch: dict[str, Any], first_seen_at: datetime, last_seen_at: datetime) -> tuple[Any, ...]:
    """The row of a launch that was last seen like this."""
    facts = seen(launch)
    updated = launch.get("last_updated")
    return (
        *facts._replace(net=moment(facts.net)),  # type: ignore[arg-type]
        updated and moment(updated),
        launch,
        first_seen_at,
        last_seen_at,
    )


class Expected:
    """What the pages say, one after the other."""

    def __init__(self) -> None:
        self.last: dict[str, dict[str, Any]] = {}
        self.first_seen: dict[str, datetime] = {}
        self.last_seen: dict[str, datetime] = {}
        self.changes: list[tuple[Any, ...]] = []
        self.counts: list[tuple[int, ...]] = []

    def see(self, launches: list[dict[str, Any]], at: datetime) -> None:
        added = changed = 0
        for launch in launches:
            key = launch["id"]
            if key not in self.last:
                added += 1
                self.first_seen[key] = at
            else:
                facts = zip(Seen._fields, seen(self.last[key]), seen(launch), strict=True)
                changes = [(key, field, old, new, at) for field, old, new in facts if old != new]
                changed += bool(changes)
                self.changes += changes
            self.last[key] = launch
            self.last_seen[key] = at
        self.counts.append((len(launches), added, changed, len(launches) - added - changed, 0))

    def table(self) -> dict[str, tuple[Any, ...]]:
        return {key: row(launch, self.first_seen[key], self.last_seen[key]) for key, launch in self.last.items()}


def assert_stored(database: Database, expected: Expected) -> None:
    assert table(database) == expected.table()
    changes = "SELECT launch_id, field, old_value, new_value, seen_at FROM launch_changes"
    assert sorted(database.query(changes), key=repr) == sorted(expected.changes, key=repr)
    counts = "SELECT seen, added, changed, unchanged, unreadable FROM fetches WHERE error IS NULL ORDER BY id"
    assert database.query(counts) == expected.counts


def test_the_series_is_replayed_and_every_change_found(
    database: Database, httpserver: HTTPServer, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = httpserver.url_for(UPCOMING)
    for name, value in (database.env("fetch") | {"LAUNCH_LIBRARY_URL": url}).items():
        monkeypatch.setenv(name, value)
    files = sorted((recorded / "2.2.0" / "series").glob("*.json"))
    assert len(files) == 150
    expected = Expected()

    for number, file in enumerate(files):
        now = datetime.strptime(file.stem, "%Y%m%dT%H%M%S%z")
        page = json.loads(file.read_bytes())
        httpserver.clear()
        httpserver.expect_request(UPCOMING).respond_with_data(file.read_bytes(), content_type="application/json")
        monkeypatch.setenv("NOW", now.isoformat())
        if number % 12:
            step.run()  # in this process, which is faster
        else:
            result = database.run("fetch", LAUNCH_LIBRARY_URL=url, NOW=now.isoformat())
            assert result.code == (0 if "results" in page else 65)
        if "results" in page:
            expected.see(page["results"], now)
    assert len(expected.counts) == 149
    assert_stored(database, expected)
    # The recordings hold what this test is about.
    assert len(expected.last) > 20
    assert {field for _, field, *_ in expected.changes} >= {"name", "net", "net_precision", "status"}

    # The last page again: its launches were seen, and that is all.
    changes = len(expected.changes)
    monkeypatch.setenv("NOW", "2026-01-01T00:00:00Z")
    step.run()
    expected.see(json.loads(files[-1].read_bytes())["results"], datetime(2026, 1, 1, tzinfo=UTC))
    assert len(expected.changes) == changes
    assert_stored(database, expected)


@pytest.mark.parametrize("file", PAGES)
def test_every_recorded_page_is_read_in_full(
    database: Database, httpserver: HTTPServer, recorded: Path, file: str
) -> None:
    content = (recorded / file).read_bytes()
    launches = json.loads(content)["results"]
    httpserver.expect_request(UPCOMING).respond_with_data(content, content_type="application/json")
    at = "2031-01-01T00:00:00Z"
    result = database.run("fetch", LAUNCH_LIBRARY_URL=httpserver.url_for(UPCOMING), NOW=at)
    assert len(launches) == 10
    assert result.lines == [
        "INFO Stored 10 launches: 10 added, 0 changed, 0 unchanged; 0 unreadable; pages read: 1",
    ]
    assert table(database) == {launch["id"]: row(launch, moment(at), moment(at)) for launch in launches}
    # What 2.0.0 does not have is unknown.
    precise = not file.startswith("2.0.0")
    assert all(bool(columns[2]) == bool(columns[5]) == precise for columns in table(database).values())


@pytest.mark.parametrize("file", ["2.0.0/truncated-2023-06.json", "2.2.0/series/20250503T191502Z.json"])
def test_a_recorded_answer_that_is_no_page_is_refused(
    database: Database, httpserver: HTTPServer, recorded: Path, file: str
) -> None:
    content = (recorded / file).read_bytes()
    httpserver.expect_request(UPCOMING).respond_with_data(content, content_type="application/json")
    result = database.run("fetch", LAUNCH_LIBRARY_URL=httpserver.url_for(UPCOMING))
    assert result.code == 65
    assert "Nothing was stored" in result.last
    assert table(database) == {}
    assert database.query("SELECT status, seen, error IS NULL FROM fetches") == [(200, 0, False)]


def collect(**env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", __file__]
    env = {"PATH": os.environ["PATH"]} | env
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)


def test_without_recorded_pages_their_tests_are_left_out() -> None:
    without, with_ = collect(), collect(RECORDED_PAGES="tests")
    assert (without.returncode, with_.returncode) == (0, 0)
    assert "test_every_recorded_page_is_read_in_full" in with_.stdout
    assert "test_every_recorded_page_is_read_in_full" not in without.stdout
    assert "RECORDED_PAGES=FOLDER" in without.stdout
    assert "RECORDED_PAGES" not in with_.stdout


def test_a_folder_of_recorded_pages_that_is_not_there_is_named() -> None:
    done = collect(RECORDED_PAGES="/nowhere")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "RECORDED_PAGES=/nowhere is not a folder" in done.stderr
