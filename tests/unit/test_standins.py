"""The stand-ins refuse what the real services refuse: otherwise the tests that use them would prove nothing."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from standins.discord import CLOUDFLARE, NO_ANSWER, RATE_LIMITED, SERVER_ERROR, Discord
from standins.launch_library import UPCOMING, LaunchLibrary, to_precision
from standins.server import Answer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def discord() -> Iterator[Discord]:
    with Discord() as discord:
        yield discord


@pytest.fixture
def library() -> Iterator[LaunchLibrary]:
    with LaunchLibrary() as library:
        yield library


def post(discord: Discord, body: object, query: str = "?wait=true") -> requests.Response:
    return requests.post(discord.webhook_url + query, json=body, timeout=5)


def embed(**parts: object) -> dict[str, Any]:
    return {"embeds": [{"title": "A launch"} | parts]}


FIELD = {"name": "When", "value": "soon"}
LARGE = {"name": "n" * 200, "value": "v" * 1000}
LIMITS = {
    "content of 2,000": {"content": "x" * 2000},
    "10 embeds": {"embeds": [{"title": "x"}] * 10},
    "title of 256": embed(title="x" * 256),
    "description of 4,096": embed(description="x" * 4096),
    "25 fields": embed(fields=[FIELD] * 25),
    "field name of 256": embed(fields=[{"name": "x" * 256, "value": "x"}]),
    "field value of 1,024": embed(fields=[{"name": "x", "value": "x" * 1024}]),
    "footer of 2,048": embed(footer={"text": "x" * 2048}),
    "6,000 in all": {"embeds": [{"description": "x" * 4000}, {"fields": [LARGE], "description": "x" * 800}]},
    "an https image": embed(image={"url": "https://images.example.org/a.jpg"}),
    "a timestamp": embed(timestamp="2026-11-24T07:20:05Z"),
    "both flags of a new message": {"content": "x", "flags": 4 | 4096},
    "no mention": {"content": "x", "allowed_mentions": {"parse": []}},
    "one role's mention": {"content": "x", "allowed_mentions": {"parse": [], "roles": ["1310000000000000004"]}},
    "all users' mentions, one role's": {"content": "x", "allowed_mentions": {"parse": ["users"], "roles": ["1"]}},
    "100 roles": {"content": "x", "allowed_mentions": {"roles": 100 * ["1"]}},
}
BEYOND = {
    "content of 2,001": ({"content": "x" * 2001}, "content"),
    "11 embeds": ({"embeds": [{"title": "x"}] * 11}, "embeds"),
    "title of 257": (embed(title="x" * 257), "embeds.0.title"),
    "title of 129 rockets": (embed(title="\N{ROCKET}" * 129), "embeds.0.title"),
    "title that is a number": (embed(title=1), "embeds.0.title"),
    "description of 4,097": (embed(description="x" * 4097), "embeds.0.description"),
    "26 fields": (embed(fields=[FIELD] * 26), "embeds.0.fields"),
    "field name of 257": (embed(fields=[{"name": "x" * 257, "value": "x"}]), "embeds.0.fields.0.name"),
    "field value of 1,025": (embed(fields=[FIELD, {"name": "x", "value": "x" * 1025}]), "embeds.0.fields.1.value"),
    "field without a name": (embed(fields=[{"value": "x"}]), "embeds.0.fields.0.name"),
    "field value of blanks": (embed(fields=[{"name": "x", "value": " "}]), "embeds.0.fields.0.value"),
    "footer of 2,049": (embed(footer={"text": "x" * 2049}), "embeds.0.footer.text"),
    "6,001 in all": (
        {"embeds": [{"description": "x" * 4001}, {"fields": [LARGE], "description": "x" * 800}]},
        "embeds",
    ),
    "an image in a file": (embed(image={"url": "file:///a.jpg"}), "embeds.0.image.url"),
    "a link without a scheme": (embed(url="example.org"), "embeds.0.url"),
    "a time of nobody's": (embed(timestamp="next Tuesday"), "embeds.0.timestamp"),
    "embeds that are a number": ({"embeds": 7}, "_misc"),
    "a flag of the interface alone": ({"content": "x", "flags": 64}, "flags"),
    "a message of components": ({"content": "x", "flags": 1 << 15}, "flags"),
    "a flag's name": ({"content": "x", "flags": "SUPPRESS_NOTIFICATIONS"}, "_misc"),
    "a mention of nobody's": ({"content": "x", "allowed_mentions": {"parse": ["here"]}}, "allowed_mentions.parse"),
    "a role's name": ({"content": "x", "allowed_mentions": {"roles": ["crew"]}}, "allowed_mentions.roles"),
    "a role that is no list": ({"content": "x", "allowed_mentions": {"roles": "1"}}, "allowed_mentions.roles"),
    "101 roles": ({"content": "x", "allowed_mentions": {"roles": 101 * ["1"]}}, "allowed_mentions.roles"),
    "all roles, and one": (
        {"content": "x", "allowed_mentions": {"parse": ["roles"], "roles": ["1"]}},
        "allowed_mentions.roles",
    ),
}


@pytest.mark.parametrize("body", LIMITS.values(), ids=LIMITS)
def test_discord_takes_what_is_at_the_limit(discord: Discord, body: dict[str, Any]) -> None:
    assert post(discord, body).status_code == 200
    assert [message.body for message in discord.messages] == [body]


@pytest.mark.parametrize(("body", "where"), BEYOND.values(), ids=BEYOND)
def test_discord_refuses_what_is_beyond(discord: Discord, body: dict[str, Any], where: str) -> None:
    answer = post(discord, body)
    assert (answer.status_code, answer.json()["code"]) == (400, 50035)
    found = answer.json()["errors"]
    for step in where.split("."):
        found = found[step]
    assert found["_errors"]
    assert not discord.messages


@pytest.mark.parametrize("body", [{}, {"content": " "}, {"embeds": []}])
def test_discord_refuses_an_empty_message(discord: Discord, body: dict[str, Any]) -> None:
    assert (post(discord, body).status_code, post(discord, body).json()["code"]) == (400, 50006)


def test_discord_tells_the_id_only_to_who_waits(discord: Discord) -> None:
    waited, not_waited = post(discord, {"content": "one"}), post(discord, {"content": "two"}, "")
    assert waited.json()["id"] == discord.messages[0].id
    assert (not_waited.status_code, not_waited.content) == (204, b"")
    assert [message.body["content"] for message in discord.messages] == ["one", "two"]


def test_discord_keeps_what_a_message_said_before(discord: Discord) -> None:
    message_id = post(discord, {"content": "before", "embeds": [{"title": "stays"}]}).json()["id"]
    url = f"{discord.webhook_url}/messages/{message_id}"
    assert requests.patch(url, json={"content": "after"}, timeout=5).json()["edited_timestamp"]
    assert requests.patch(url, json={"content": "x" * 2001}, timeout=5).status_code == 400
    assert requests.get(url, timeout=5).json()["content"] == "after"
    (message,) = discord.messages
    assert (message.edits, message.history[0]["content"]) == (1, "before")
    assert message.body == {"content": "after", "embeds": [{"title": "stays"}]}


@pytest.mark.parametrize(("flags", "status"), [(4, 200), (4096, 400), (4 | 4096, 400)])
def test_discord_takes_no_silence_for_an_edit(discord: Discord, flags: int, status: int) -> None:
    message_id = post(discord, {"content": "x", "flags": 4096}).json()["id"]
    url = f"{discord.webhook_url}/messages/{message_id}"
    assert requests.patch(url, json={"content": "y"}, timeout=5).status_code == 200
    assert requests.patch(url, json={"flags": flags}, timeout=5).status_code == status


def test_discord_ignores_components_that_are_not_asked_for(discord: Discord) -> None:
    body = {"content": "x", "components": [{"type": 1, "components": []}]}
    post(discord, body)
    post(discord, body, "?wait=true&with_components=true")
    assert ["components" in message.body for message in discord.messages] == [False, True]


def test_discord_knows_no_message_that_was_deleted(discord: Discord) -> None:
    url = f"{discord.webhook_url}/messages/{post(discord, {'content': 'x'}).json()['id']}"
    assert requests.delete(url, timeout=5).status_code == 204
    answers = [requests.request(method, url, json={}, timeout=5) for method in ("GET", "PATCH", "DELETE")]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, 10008)] * 3


def test_discord_knows_its_webhook_and_its_token(discord: Discord) -> None:
    assert requests.get(discord.webhook_url, timeout=5).status_code == 200
    wrong_token = requests.get(discord.webhook_url + "x", timeout=5)
    assert (wrong_token.status_code, wrong_token.json()["code"]) == (401, 50027)
    other_webhook = requests.get(f"{discord.url}/api/webhooks/1/stand-in-token", timeout=5)
    assert (other_webhook.status_code, other_webhook.json()["code"]) == (404, 10015)
    discord.deleted = True
    assert post(discord, {"content": "x"}).json()["code"] == 10015


def test_discord_has_several_webhooks_and_threads(discord: Discord) -> None:
    ops, crew = discord.webhook("ops"), discord.webhook("crew")
    ids = [url.split("/")[-2] for url in (discord.webhook_url, ops, crew)]
    assert len(set(ids)) == 3
    for url in (discord.webhook_url, f"{ops}?thread_id=7", crew):
        assert requests.post(url, json={"content": "x"}, timeout=5).status_code == 204
    assert [(message.webhook_id, message.thread) for message in discord.messages] == list(
        zip(ids, (None, "7", None), strict=True)
    )
    # A message is found only by its own webhook, and in its own thread.
    path = f"/messages/{discord.messages[1].id}"
    urls = (f"{ops}{path}?thread_id=7", ops + path, f"{crew}{path}?thread_id=7")
    assert [requests.get(url, timeout=5).status_code for url in urls] == [200, 404, 404]
    assert requests.post(f"{ops}?thread_id=crew", json={"content": "x"}, timeout=5).status_code == 400
    discord.delete(ops)
    assert [requests.get(url, timeout=5).status_code for url in (discord.webhook_url, ops, crew)] == [200, 404, 200]


def test_discord_can_limit_the_rate(discord: Discord) -> None:
    assert "X-RateLimit-Limit" not in post(discord, {"content": "x"}).headers
    discord.limits = ((2, 0.2), (3, 60))
    first, second, limited = (post(discord, {"content": "x"}) for _ in range(3))
    assert [answer.headers["X-RateLimit-Remaining"] for answer in (first, second)] == ["1", "0"]
    assert 0 < float(second.headers["X-RateLimit-Reset-After"]) <= 0.2
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "1")
    assert 0 < limited.json()["retry_after"] <= 0.2
    time.sleep(0.2)
    third, limited = (post(discord, {"content": "x"}) for _ in range(2))
    # The limit of the longer time is not in the headers.
    assert (third.status_code, third.headers["X-RateLimit-Remaining"]) == (200, "1")
    assert (limited.status_code, limited.json()["retry_after"] > 50) == (429, True)
    assert requests.post(discord.webhook("other"), json={"content": "x"}, timeout=5).status_code == 204


def test_discord_fails_as_ordered_and_then_works(discord: Discord) -> None:
    discord.faults += [RATE_LIMITED, CLOUDFLARE, SERVER_ERROR]
    limited, banned, broken, fine = (post(discord, {"content": "x"}) for _ in range(4))
    assert (limited.status_code, limited.json()["retry_after"], limited.headers["Retry-After"]) == (429, 0.3, "1")
    assert (banned.status_code, banned.headers["Content-Type"]) == (429, "text/html; charset=utf-8")
    assert (broken.status_code, fine.status_code, len(discord.messages)) == (500, 200, 1)


def test_discord_can_save_a_message_and_not_answer(discord: Discord) -> None:
    discord.faults.append(NO_ANSWER)
    with pytest.raises(requests.ConnectionError):
        post(discord, {"content": "x"})
    assert len(discord.messages) == 1


def test_the_stand_ins_can_be_controlled_from_outside(discord: Discord, library: LaunchLibrary) -> None:
    orders = {"faults": [{"status": 429, "headers": {"Retry-After": "7"}, "body": {"detail": "Slow down."}}]}
    requests.put(f"{library.url}/control", json=orders | {"scenario": "slipped"}, timeout=5).raise_for_status()
    throttled, fine = (requests.get(library.upcoming_url, timeout=5) for _ in range(2))
    assert (throttled.status_code, throttled.headers["Retry-After"], fine.status_code) == (429, "7", 200)
    state = requests.get(f"{library.url}/control", timeout=5).json()
    assert state == {
        "requests": ["GET /2.3.0/launches/upcoming/"] * 2,
        "scenario": "slipped",
        "dropped": [],
        "withdrawn": [],
    }

    requests.post(discord.webhook_url, json={"content": "Hello"}, timeout=5).raise_for_status()
    [message] = requests.get(f"{discord.url}/control", timeout=5).json()["messages"]
    assert (message["body"], message["edited_at"]) == ({"content": "Hello"}, None)
    requests.put(f"{discord.url}/control", json={"deleted": True}, timeout=5).raise_for_status()
    assert post(discord, {"content": "x"}).status_code == 404
    assert requests.put(f"{discord.url}/control", json={"delted": True}, timeout=5).status_code == 400
    assert requests.put(f"{library.url}/control", json={"scenario": "?"}, timeout=5).status_code == 400


def test_the_library_pages(library: LaunchLibrary) -> None:
    url: str | None = f"{library.upcoming_url}?limit=5&mode=normal"
    names = []
    while url:
        assert url.startswith(library.url)
        page = requests.get(url, timeout=5).json()
        assert page["count"] == 12
        names += [launch["name"] for launch in page["results"]]
        url = page["next"]
        assert url is None or "mode=normal" in url
    assert len(names) == len(set(names)) == 12
    assert requests.get(f"{library.upcoming_url}?limit=1000", timeout=5).json()["next"] is None


def test_the_library_has_upcoming_launches_at_any_time(library: LaunchLibrary) -> None:
    nets = []
    for launch in library.launches():
        net = datetime.fromisoformat(launch["net"])
        assert datetime.fromisoformat(launch["last_updated"]) < library.started_at
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", launch["window_end"])
        assert to_precision(net, launch["net_precision"]["id"]) == net
        nets.append(net)
    assert nets == sorted(nets)
    assert library.started_at - nets[0] < timedelta(hours=24)
    assert all(net > library.started_at for net in nets[1:])
    assert {launch["net_precision"]["name"].split()[0] for launch in library.launches()} == {
        *("Second", "Minute", "Hour", "Day", "Month", "Quarter", "Year")
    }


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        (1, "2028-02-05T17:45:30"),
        (2, "2028-02-05T17:00:00"),
        (5, "2028-02-05T00:00:00"),
        (7, "2028-02-29T00:00:00"),
        (8, "2028-03-31T00:00:00"),
        (14, "2028-12-31T00:00:00"),
    ],
)
def test_a_placeholder_is_the_last_day_of_its_period(precision: int, expected: str) -> None:
    time = to_precision(datetime(2028, 2, 5, 17, 45, 30, tzinfo=UTC), precision)
    assert time == datetime.fromisoformat(f"{expected}+00:00")


def test_the_slipped_scenario_changes_three_launches(library: LaunchLibrary) -> None:
    before = {launch["id"]: launch for launch in library.launches()}
    library.scenario = "slipped"
    changed = {
        name: (before[launch["id"]][name], launch[name])
        for launch in library.launches()
        for name in ("name", "net", "status", "image")
        if launch[name] != before[launch["id"]][name]
    }
    assert set(changed) == {"name", "net", "status", "image"}
    old, new = map(datetime.fromisoformat, changed["net"])
    assert new - old == timedelta(minutes=75)
    assert [status["abbrev"] for status in changed["status"]] == ["Go", "TBC"]


# How many fields a launch has, by the published description.
@pytest.mark.parametrize(("mode", "fields"), [("list", 14), ("normal", 32), ("detailed", 39)])
def test_the_library_has_what_the_mode_has(library: LaunchLibrary, mode: str, fields: int) -> None:
    launches = requests.get(f"{library.upcoming_url}?limit=100&mode={mode}", timeout=5).json()["results"]
    assert {launch["response_mode"] for launch in launches} == {mode}
    assert {len(launch) for launch in launches} == {fields}
    assert all(("vid_urls" in launch) == (mode == "detailed") for launch in launches)


def test_the_librarys_mode_is_normal_unless_it_is_told(library: LaunchLibrary) -> None:
    [launch] = requests.get(f"{library.upcoming_url}?limit=1", timeout=5).json()["results"]
    assert launch["response_mode"] == "normal"


def test_the_detailed_launches_have_what_a_message_shows(library: LaunchLibrary) -> None:
    launches = requests.get(f"{library.upcoming_url}?limit=100&mode=detailed", timeout=5).json()["results"]
    types = [[vid["type"]["name"] for vid in launch["vid_urls"]] for launch in launches if launch["vid_urls"]]
    assert ["Unofficial Re-stream", "Official Webcast"] in types
    for launch in launches:
        assert launch["vid_urls"] == sorted(launch["vid_urls"], key=lambda vid: int(vid["priority"]))
        times = [update["created_on"] for update in launch["updates"]]
        assert times == sorted(times, reverse=True)
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time) for time in times)
    assert {len(launch["updates"]) for launch in launches} == {0, 1, 2}
    assert any(launch["probability"] and launch["weather_concerns"] for launch in launches)
    [unknown] = [launch for launch in launches if launch["pad"]["name"] == "Unknown Pad"]
    mission = unknown["mission"]
    assert (mission["type"], mission["orbit"]["name"], mission["description"]) == ("Unknown", "Unknown", "Details TBD.")


def test_the_library_knows_a_launch_by_its_id_until_it_is_withdrawn(library: LaunchLibrary) -> None:
    first, second, *_ = [launch["id"] for launch in library.launches()]
    orders = {"dropped": [first], "withdrawn": [second]}
    requests.put(f"{library.url}/control", json=orders, timeout=5).raise_for_status()
    page = requests.get(f"{library.upcoming_url}?limit=100", timeout=5).json()
    assert page["count"] == 10
    assert {first, second}.isdisjoint(launch["id"] for launch in page["results"])

    def by_id(launch_id: str, path: str = "/2.3.0/launches") -> requests.Response:
        return requests.get(f"{library.url}{path}/{launch_id}/", timeout=5)

    assert (by_id(first).json()["id"], by_id(first).json()["response_mode"]) == (first, "detailed")
    for unknown in (by_id(second), by_id("nobody"), by_id(first, "/2.3.0/pads")):
        assert (unknown.status_code, unknown.json()) == (404, {"detail": "Not found."})


def test_the_library_knows_a_launch_of_a_recorded_page_as_it_was_last(library: LaunchLibrary) -> None:
    for name in ("earlier", "later"):
        library.page = json.dumps({"results": [{"id": "a b", "name": name}]}).encode()
        requests.get(library.url + UPCOMING["2.2.0"], timeout=5)
    library.page = b'{"results": []}'
    requests.get(library.url + UPCOMING["2.2.0"], timeout=5)
    found = requests.get(f"{library.url}/2.2.0/launch/a%20b/", timeout=5)
    assert found.json() == {"id": "a b", "name": "later"}
    assert requests.get(f"{library.url}/2.2.0/launch/c/", timeout=5).status_code == 404


@pytest.mark.parametrize("page", [b"{}", b'{"results": [{"id'])
def test_the_library_serves_a_recorded_page_byte_for_byte(library: LaunchLibrary, page: bytes) -> None:
    library.page = page
    for path in UPCOMING.values():
        assert requests.get(library.url + path, timeout=5).content == page


def test_the_library_answers_as_django_rest_framework_does(library: LaunchLibrary) -> None:
    missing = requests.get(f"{library.url}/2.2.0/launch/upcoming/", timeout=5)
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not found."})
    assert requests.get(f"{library.url}/2.3.0/api-throttle/", timeout=5).json()["your_request_limit"] == 15
    library.faults.append(Answer(500, "<h1>Server Error (500)</h1>"))
    assert requests.get(library.upcoming_url, timeout=5).text == "<h1>Server Error (500)</h1>"


@pytest.mark.parametrize("module", ["discord", "launch_library"])
def test_a_stand_in_is_a_program_that_needs_python_alone(module: str) -> None:
    # -I and -S: no site-packages, as in a bare image.
    code = f"import sys, runpy; sys.path.insert(0, '.'); runpy.run_module('standins.{module}', run_name='__main__')"
    command = [sys.executable, "-I", "-S", "-c", code, "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().removeprefix("Listening on ").strip()
        try:
            assert json.loads(requests.get(f"{url}/control", timeout=5).content)["requests"] == []
        finally:
            process.terminate()
        assert process.wait(5) == 0


def test_a_taken_port_is_said_in_a_sentence() -> None:
    with Discord() as server:
        port = server.url.rpartition(":")[2]
        command = [sys.executable, "-m", "standins.launch_library", "--port", port]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"Cannot listen on 127.0.0.1:{port} (Address already in use): --port names another.\n"
