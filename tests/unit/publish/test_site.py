"""What publish_launches writes, and what it leaves as it is."""

import contextlib
import json
import re
import subprocess
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from functools import partial
from unittest import mock

import jsonschema  # type: ignore[import-untyped]  # its types are a package of their own
import pytest

import step
from objects import Objects
from publish import __main__ as program
from publish.history import MINUS
from tests.conftest import Database, run_in_process, started
from tests.unit.publish.conftest import ADDRESS, DETAILS, NOW, Launches, Publish, Site, compressed

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def test_the_next_launch_has_all_that_is_known(
    launches: Launches, publish: Publish, site: Site, store: Objects
) -> None:
    launch_id = launches.add()
    picture = launches.picture(launch_id, store)
    result = publish()
    assert result.code == 0, result.lines
    assert re.fullmatch(rf"INFO Published at {ADDRESS}: \d+ files written, 0 unchanged, 0 removed", result.last)
    page = site.page()
    [hero] = page.css(".hero")
    text = " ".join(hero.text().split())
    assert "Next launch Kestrel 2 | Sparrow 2 January 2031, 00:00 UTC Go for launch" in text
    assert "It brings a sparrow into orbit." in text
    assert "RocketKestrel 2, Falcon WorksPadPad 1, Kourou Map of the padMissionSparrow (Communications)" in text
    [image] = hero.css("img")
    assert image.attributes == {
        "src": f"pictures/{picture}.png",
        "alt": "A kestrel",
        "width": "1280",
        "height": "720",
    }
    links = [node.attributes["href"] for node in hero.css("a")]
    assert links == [
        f"launch/{launch_id}.html",
        "https://www.openstreetmap.org/?mlat=5.2&mlon=-52.8",
        "https://video.example.org/1",
    ]
    assert "Weather is fine." in site.text(f"launch/{launch_id}.html")
    site.assert_whole()


def test_nothing_is_written_that_has_not_changed(launches: Launches, publish: Publish, site: Site) -> None:
    slipping, other = launches.add(), launches.add("Merlin | Owl", NOW + 3 * DAY)
    assert publish().code == 0
    before = site.files()
    again = publish(10 * MINUTE)
    assert again.code == 99
    assert again.last.endswith(f": 0 files written, {len(before)} unchanged, 0 removed")
    assert site.files() == before

    launches.change(slipping, NOW + HOUR, net=NOW + DAY + HOUR)
    assert publish(HOUR).code == 0
    after = site.files()
    changed = {path for path in after if after[path] != before.get(path)}
    assert changed == {
        f"launch/{slipping}.html",
        "index.html",
        "launches.ics",
        "calendars/falcon-works.ics",
        "launches.json",
        "feed.json",
        "feed.xml",
    }
    assert f"launch/{other}.html" in after


def test_what_was_lost_or_altered_in_the_store_comes_back(launches: Launches, publish: Publish, site: Site) -> None:
    launches.add()
    assert publish().code == 0
    before = {path: body for path, (_, body) in site.files().items()}
    (site.folder / "launches.ics").unlink()
    (site.folder / "index.html").write_text("<script>alert(1)</script>")
    result = publish(10 * MINUTE)
    assert result.last.startswith(f"INFO Published at {ADDRESS}: 2 files written")
    assert {path: body for path, (_, body) in site.files().items()} == before


def test_what_nothing_names_any_more_goes_after_a_day(
    launches: Launches, publish: Publish, site: Site, database: Database
) -> None:
    launches.add()
    gone = launches.add("Merlin | Owl", details=DETAILS | {"launch_service_provider": {"name": "Owl"}})
    publish()
    assert (site.folder / "calendars/owl.ics").exists()
    database.query("DELETE FROM rocket_launches WHERE launch_id = %s", gone)
    (site.folder / "from-elsewhere.html").write_text("")
    publish(HOUR)
    publish(DAY + HOUR - MINUTE)
    assert (site.folder / f"launch/{gone}.html").exists()
    result = publish(DAY + HOUR)
    assert result.code == 0
    assert result.last.endswith("3 removed")
    assert not (site.folder / f"launch/{gone}.html").exists()
    assert not (site.folder / "calendars/owl.ics").exists()
    assert not (site.folder / "from-elsewhere.html").exists()
    assert database.query("SELECT path FROM published_files WHERE unnamed_since IS NOT NULL") == []


def test_what_is_named_again_stays(launches: Launches, publish: Publish, site: Site, database: Database) -> None:
    launch_id = launches.add()
    publish()
    database.query("UPDATE rocket_launches SET launch_id = 'other'")
    publish(HOUR)
    database.query("UPDATE rocket_launches SET launch_id = %s", launch_id)
    publish(2 * HOUR)
    publish(3 * DAY)
    assert (site.folder / f"launch/{launch_id}.html").exists()


@pytest.mark.parametrize(
    ("net", "precision", "said"),
    [
        (datetime(2031, 1, 31, 12, 30, tzinfo=UTC), "minute", "31 January 2031, 12:30 UTC"),
        (datetime(2031, 1, 31, 12, tzinfo=UTC), "hour", "31 January 2031, about 12:00 UTC"),
        (datetime(2031, 1, 31, tzinfo=UTC), "day", "31 January 2031"),
        (datetime(2031, 1, 31, tzinfo=UTC), "week", "Week of 27 January 2031"),
        (datetime(2031, 1, 31, tzinfo=UTC), "month", "January 2031"),
        (datetime(2031, 3, 31, tzinfo=UTC), "quarter 1", "Quarter 1 of 2031"),
        (datetime(2031, 12, 31, tzinfo=UTC), "half 2", "Second half of 2031"),
        (datetime(2031, 12, 31, tzinfo=UTC), "year", "2031"),
        (None, None, "No date yet"),
    ],
)
def test_a_time_is_shown_no_more_exactly_than_it_is_known(  # noqa: PLR0917  # fixtures
    net: datetime | None, precision: str | None, said: str, launches: Launches, publish: Publish, site: Site
) -> None:
    launches.add(net=net, net_precision=precision)
    publish()
    [when] = site.page().css(".hero .when > :first-child")
    assert when.text() == said
    assert (when.tag == "time") == (precision in {"minute", "hour"})
    [row] = site.page().css(".row .at > :first-child")
    assert row.text() == said
    assert bool(site.page().css(".countdown")) == (precision in {"minute", "hour"})


def test_a_launch_on_hold_is_next_where_there_is_no_other(launches: Launches, publish: Publish, site: Site) -> None:
    launches.add("Held", NOW + HOUR, status="Hold", details={"holdreason": "Winds"})
    publish()
    assert "Held" in site.page().css(".hero")[0].text()
    assert "Winds" in site.page().css(".hero")[0].text()
    assert not site.page().css(".countdown")
    launches.add("Going", NOW + 2 * HOUR)
    publish(MINUTE)
    assert "Going" in site.page().css(".hero")[0].text()
    assert [node.text() for node in site.page().css(".row a")] == ["Held", "Going"]
    assert "on hold" in site.page().css(".row .at")[0].text()


def test_launches_stand_under_their_month_the_nearest_first(launches: Launches, publish: Publish, site: Site) -> None:
    launches.add("December", datetime(2031, 1, 31, tzinfo=UTC), net_precision="month")
    launches.add("Quarter", datetime(2031, 3, 31, tzinfo=UTC), net_precision="quarter 1")
    launches.add("Day", datetime(2031, 1, 20, tzinfo=UTC), net_precision="day")
    launches.add("Minute", datetime(2031, 2, 20, tzinfo=UTC))
    launches.add("None", None, net_precision=None)
    publish()
    page = site.page()
    assert [
        (month.css_first("h3").text(), [row.text() for row in month.css(".row a")])  # type: ignore[union-attr]
        for month in page.css(".month")
    ] == [
        ("January 2031", ["Day", "December"]),
        ("February 2031", ["Minute"]),
        ("Quarter 1 of 2031", ["Quarter"]),
        ("Without a date", ["None"]),
    ]


def test_what_has_flown_or_left_the_page_is_not_to_come(launches: Launches, publish: Publish, site: Site) -> None:
    launches.add("Flown", NOW - DAY, status="Success")
    launches.add("Failed", NOW - 2 * DAY, status="Failure", details={"failreason": "It <b>fell</b>."})
    launches.add("Silent", NOW - 3 * HOUR)
    launches.add("Flying", NOW - HOUR, status="In Flight")
    launches.add("Merged", NOW + DAY, last_seen_at=NOW - HOUR)
    launches.add("Beyond the page", NOW + 40 * DAY, last_seen_at=NOW - HOUR)
    launches.add("On the page", NOW + 30 * DAY)
    launches.add("Withdrawn", NOW + DAY, withdrawn_at=NOW - HOUR)
    publish()
    page = site.page()
    assert [node.text() for node in page.css(".row a")] == ["Flying", "On the page", "Beyond the page"]
    flown = [(node.css_first("a").text(), node.css_first(".badge").text()) for node in page.css("#flown + .told li")]  # type: ignore[union-attr]
    assert flown == [("Silent", "Has no outcome yet"), ("Flown", "Successful"), ("Failed", "Failed")]


def test_changes_are_told_as_a_person_would(launches: Launches, publish: Publish, site: Site) -> None:
    launches.add("There from the start")
    new = launches.add("New", first_seen_at=NOW - DAY)
    launches.change(new, NOW - 20 * HOUR, net=NOW + DAY + 75 * MINUTE, status="TBC")
    launches.change(new, NOW - 10 * HOUR, image_url="https://example.org/2.jpg")
    publish()
    told = [" ".join(node.text().split()) for node in site.page().css("#changed + .told li")]
    assert told == [
        "New slipped to 01:15 UTC, +1 h 15 min, and is to be confirmed 31 December 2030, 04:00 UTC",
        "New was announced for 2 January 2031, 00:00 UTC 31 December 2030, 00:00 UTC",
    ]
    feed = json.loads(site.text("feed.json"))
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    assert [item["title"] for item in feed["items"]] == [
        "New slipped to 01:15 UTC, +1 h 15 min, and is to be confirmed",
        "New was announced for 2 January 2031, 00:00 UTC",
    ]
    assert feed["items"][0]["url"] == f"{ADDRESS}/launch/{new}.html"
    atom = ET.fromstring(site.text("feed.xml"))  # noqa: S314  # ours
    space = {"a": "http://www.w3.org/2005/Atom"}
    assert [entry.findtext("a:title", namespaces=space) for entry in atom.findall("a:entry", space)] == [
        item["title"] for item in feed["items"]
    ]
    ids = [entry.findtext("a:id", namespaces=space) for entry in atom.findall("a:entry", space)]
    assert ids == [item["id"] for item in feed["items"]]
    assert len(set(ids)) == 2
    assert all(re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", one or "") for one in ids)
    for tag in ("id", "title", "updated", "author/a:name"):
        assert atom.findtext(f"a:{tag}", namespaces=space)


def test_a_launchs_page_shows_how_its_time_moved(launches: Launches, publish: Publish, site: Site) -> None:
    launch_id = launches.add(net=NOW + DAY)
    launches.change(launch_id, NOW - 5 * DAY, net=NOW + 2 * DAY)
    launches.change(launch_id, NOW - 2 * DAY, net=NOW + 2 * DAY - 3 * HOUR)
    launches.change(launch_id, NOW - DAY, status="Hold")
    publish()
    page = site.page(f"launch/{launch_id}.html")
    assert [node.text() for node in page.css("svg .slip")] == ["+1 day", f"{MINUS}3 h"]
    assert len(page.css("svg circle")) == 2
    assert [[" ".join(cell.text().split()) for cell in row.css("td")][1:] for row in page.css("tbody tr")] == [
        ["It is on hold", ""],
        ["It moved up to 2 January, 21:00 UTC, 3 h earlier", f"{MINUS}3 h"],
        ["It slipped to 3 January, 00:00 UTC, +1 day", "+1 day"],
        ["It was announced for 2 January 2031, 00:00 UTC", ""],
    ]


def test_the_list_for_programs_is_as_its_schema_says(
    launches: Launches, publish: Publish, site: Site, store: Objects
) -> None:
    launch_id = launches.add()
    picture = launches.picture(launch_id, store)
    launches.add("Bare", None, net_precision=None, status=None, details={})
    launches.add("Flown", NOW - DAY, status="Success")
    publish()
    found, schema = json.loads(site.text("launches.json")), json.loads(site.text("launches.schema.json"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(found, schema, format_checker=jsonschema.FormatChecker())
    assert found[0] == {
        "id": launch_id,
        "name": "Kestrel 2 | Sparrow",
        "net": "2031-01-02T00:00:00Z",
        "net_precision": "minute",
        "status": "Go",
        "provider": "Falcon Works",
        "rocket": "Kestrel 2",
        "pad": "Pad 1",
        "location": "Kourou",
        "map": "https://www.openstreetmap.org/?mlat=5.2&mlon=-52.8",
        "mission": "Sparrow (Communications)",
        "webcasts": ["https://video.example.org/1"],
        "page": f"{ADDRESS}/launch/{launch_id}.html",
        "picture": f"{ADDRESS}/pictures/{picture}.png",
    }
    assert [one["name"] for one in found] == ["Kestrel 2 | Sparrow", "Bare", "Flown"]


def test_details_are_read_out_of_the_store_once(
    launches: Launches, publish: Publish, site: Site, store: Objects, database: Database
) -> None:
    launch_id = launches.add()
    database.query("UPDATE rocket_launches SET details = NULL, object_key = 'launch-library/1.json.zst', position = 0")
    missing = publish()
    assert missing.code == 0
    assert missing.lines[0].startswith("WARNING What launch-library/1.json.zst says is left out")
    assert "Falcon Works" not in site.text(f"launch/{launch_id}.html")
    store.put("launch-library/1.json.zst", compressed(json.dumps({"results": [DETAILS]})), {})
    assert publish(MINUTE).code == 0
    assert "Falcon Works" in site.text(f"launch/{launch_id}.html")
    with mock.patch.object(Objects, "get", side_effect=AssertionError):
        assert publish(2 * MINUTE).code == 99


def test_a_picture_that_is_lost_is_left_out(launches: Launches, publish: Publish, site: Site, store: Objects) -> None:
    launch_id = launches.add()
    picture = launches.picture(launch_id, store)
    store.delete([f"crawled/{picture}"])
    result = publish()
    assert result.lines[0] == f"WARNING A picture is left out, as crawled/{picture} is not in the store"
    assert not site.page().css("img")
    site.assert_whole()


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/octet-stream"])
def test_what_could_run_is_no_picture(  # noqa: PLR0917  # fixtures
    kind: str, launches: Launches, publish: Publish, site: Site, store: Objects, database: Database
) -> None:
    launches.picture(launches.add(), store)
    database.query("UPDATE launch_links SET type = %s", kind)
    publish()
    assert not site.page().css("img")
    assert not (site.folder / "pictures").exists()


@pytest.mark.parametrize("launch_id", ["../../launch-library/x", "a/b", "Σ", "x" * 255, ".", "<script>"])
def test_a_launchs_id_makes_no_path_of_its_own(
    launch_id: str, launches: Launches, publish: Publish, site: Site
) -> None:
    launches.add(launch_id=launch_id)
    assert publish().code == 0
    [page] = (site.folder / "launch").iterdir()
    assert re.fullmatch(r"[0-9a-f]{32}\.html", page.name)
    site.assert_whole()


def test_a_page_names_only_what_is_there_whenever_the_run_ends(
    launches: Launches, publish: Publish, site: Site
) -> None:
    """Stopped before each of its writes, with a version before it and without one."""
    first, original = launches.add(), Objects.write
    for number in range(16):
        launches.change(first, NOW + number * MINUTE, net=NOW + DAY + number * HOUR)
        launches.add(f"New {number}", NOW + 2 * DAY)
        left = number

        def write(self: Objects, key: str, body: bytes, media: str, cache: str) -> str:
            nonlocal left
            left -= 1
            if left < 0:
                raise SystemExit(137)
            return original(self, key, body, media, cache)

        with mock.patch.object(Objects, "write", write), pytest.raises(SystemExit):
            publish(number * MINUTE)
        site.assert_whole()
    assert publish(HOUR).code == 0
    site.assert_whole()
    assert len(site.page().css(".row")) == 17


def test_a_second_run_waits_for_the_first(launches: Launches, database: Database, store: Objects) -> None:
    launches.add()
    env = database.env("publish") | {"NOW": NOW.isoformat(), "OBJECT_STORE": store.url, "PUBLIC_URL": ADDRESS}
    with contextlib.closing(database.server.superuser(database.name)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('publish'))")
        with started("publish", env) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(3)
            cursor.execute("SELECT pg_advisory_unlock(hashtext('publish'))")
            assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("env", "code", "said"),
    [
        ({"PUBLIC_URL": ""}, 99, "PUBLIC_URL is not set"),
        ({"OBJECT_STORE": ""}, 99, "OBJECT_STORE is not set"),
        ({"OBJECT_STORE": "none"}, 99, "OBJECT_STORE is not set"),
        ({"PUBLIC_URL": "launches.example.org"}, 78, "PUBLIC_URL is not an address such as"),
        ({"PUBLIC_URL": "javascript:alert(1)"}, 78, "PUBLIC_URL is not an address such as"),
        ({"PGPORT": "1"}, 75, "PostgreSQL did not answer"),
        ({"PGPASSWORD": "wrong"}, 78, "PostgreSQL refused the connection"),
        ({"OBJECT_STORE": "s3://bucket", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "r",
          "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, 75, "The object store s3://bucket does not"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said(
    env: dict[str, str], code: int, said: str, launches: Launches, publish: Publish
) -> None:
    launches.add()
    result = publish(**env)
    assert result.code == code, result.lines
    assert said in result.last


def test_without_a_schema_it_says_so(empty_database: Database, tmp_path: object) -> None:
    env = empty_database.env("publish") | {"OBJECT_STORE": f"file://{tmp_path}/s", "PUBLIC_URL": ADDRESS}
    result = run_in_process(partial(step.main, program.run), env)
    assert result.code == 78
    assert result.last.endswith("Run initialize_schema, which makes and grants it.")


def test_without_a_launch_there_is_a_site(publish: Publish, site: Site) -> None:
    assert publish().code == 0
    assert "No launch is known" in site.text()
    site.assert_whole()
