"""A launch as a Discord message: what it says, and that no text of other people's gets out of hand."""

import re
import string
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notify import message
from notify.message import COLORS, announced
from notify.store import Launch
from standins.discord import find_problems
from wording import PRECISE, STATUSES, span

NET = datetime(2026, 11, 24, 7, 8, 9, tzinfo=UTC)
MIDNIGHT = datetime(2026, 12, 31, tzinfo=UTC)

V2_3 = {
    "rocket": {"configuration": {"name": "Long March", "full_name": "Long March 5B", "families": [{"id": 1}]}},
    "launch_service_provider": {"id": 1, "name": "CASC", "type": {"id": 1, "name": "Government"}},
    "mission": {
        "name": "Module",
        "type": "Space Station",
        "orbit": {"id": 1, "name": "Low Earth Orbit", "abbrev": "LEO"},
        "description": "A module\nfor the station.",
    },
    "pad": {"name": "LC-101", "latitude": 19.61, "longitude": 110.95, "location": {"name": "Wenchang, China"}},
    "vid_urls": [{"priority": 1, "url": "https://example.org/live"}],
    "image": {"image_url": "https://example.org/i.png", "credit": "Some Agency"},
}
V2_2 = {
    "rocket": {"configuration": {"name": "Long March", "full_name": "Long March 5B"}},
    "launch_service_provider": {"id": 1, "name": "CASC", "type": "Government"},
    "mission": V2_3["mission"],
    "pad": {
        "name": "LC-101",
        "map_url": "https://maps.example.org/?q=19.61,110.95",
        "latitude": "19.61",
        "longitude": "110.95",
        "location": {"name": "Wenchang, China"},
    },
    "vidURLs": [{"priority": 1, "url": "https://example.org/live"}],
    "image": "https://example.org/i.png",
}
V2_2_LIST = {
    "lsp_name": "CASC",
    "mission": "Module",
    "mission_type": "Space Station",
    "pad": "LC-101",
    "location": "Wenchang, China",
    "orbit": "Low Earth Orbit",
}
V2_0 = {
    "rocket": {"configuration": {"name": "Long March", "full_name": "Long March 5B"}},
    "launch_service_provider": {"name": "CASC"},
    "mission": {"name": "Module", "type": "Space Station", "orbit": {"name": "Low Earth Orbit"}, "description": "…"},
    "pad": {"name": "LC-101", "latitude": "19.61", "longitude": "110.95", "location": {"name": "Wenchang, China"}},
    "vidURLs": ["https://example.org/live"],
}
ORIGINAL = {"id": "12345", "details": {"rocket": "Long March 5B", "provider": "CASC"}}

MAP = "https://www.openstreetmap.org/?mlat=19.61&mlon=110.95"


def launch(**values: Any) -> Launch:  # noqa: ANN401  # a column's type each
    row: dict[str, Any] = {
        "launch_id": "an-id",
        "name": "Long March 5B | Module",
        "net": NET,
        "net_precision": "minute",
        "status": "Go",
        "image_url": "https://example.org/i.png",
        "details": {},
    }
    return Launch(**row | values)


def embed(**values: Any) -> dict[str, Any]:  # noqa: ANN401  # the same
    body = announced(launch(**values))
    assert body["allowed_mentions"] == {"parse": []}
    (only,) = body["embeds"]
    assert isinstance(only, dict)
    return only


def fields(**values: Any) -> dict[str, str]:  # noqa: ANN401  # the same
    return {field["name"]: field["value"] for field in embed(**values)["fields"]}


def shown(text: str) -> str:
    """Return what Discord shows of an escaped text; a backslash before a letter or digit would be shown itself."""
    return re.sub(r"\\([^0-9A-Za-z\s])", r"\1", text)


# What it says


@pytest.mark.parametrize(
    ("details", "pad", "has"),
    [
        (V2_3, f"[LC-101, Wenchang, China]({MAP})", "Mission Webcast"),
        (V2_2, "[LC-101, Wenchang, China](https://maps.example.org/?q=19.61,110.95)", "Mission Webcast"),
        (V2_2_LIST, "LC-101, Wenchang, China", "Mission"),
        (V2_0, f"[LC-101, Wenchang, China]({MAP})", "Mission Webcast"),
        (ORIGINAL, None, ""),
    ],
    ids=["2.3.0", "2.2.0", "2.2.0 list", "2.0.0", "original"],
)
def test_every_version_is_told_alike(details: dict[str, Any], pad: str | None, has: str) -> None:
    expected = {
        "When": f"<t:{NET.timestamp():.0f}:F>\n<t:{NET.timestamp():.0f}:R>",
        "Status": "Go for launch",
        "Rocket": "Long March 5B",
        "Provider": "CASC",
        "Pad": pad,
        "Mission": r"Module \(Space Station, Low Earth Orbit\)",
        "Webcast": "[Watch](https://example.org/live)",
    }
    told = {name: value for name, value in expected.items() if value and (name in has or pad or name < "Q")}
    if details is V2_2_LIST:
        del told["Webcast"]
    if details is ORIGINAL:
        told = {name: expected[name] for name in ("When", "Status", "Rocket", "Provider")}  # type: ignore[misc]
    assert fields(details=details) == told


def test_title_image_credit_and_description() -> None:
    told = embed(details=V2_3)
    assert told["title"] == r"Long March 5B \| Module"
    assert told["image"] == {"url": "https://example.org/i.png"}
    assert told["footer"]["text"].endswith(" · Image: Some Agency")
    assert told["description"] == "A module for the station."


def test_without_an_image_nobody_is_credited() -> None:
    told = embed(details=V2_3, image_url=None)
    assert "image" not in told
    assert "Agency" not in told["footer"]["text"]


@pytest.mark.parametrize("precision", ["second", "minute", None])
def test_a_precise_time_is_shown_in_the_readers_own_zone_with_a_countdown(precision: str | None) -> None:
    assert fields(net_precision=precision)["When"] == "<t:1795504089:F>\n<t:1795504089:R>"


def test_a_time_known_to_the_hour_says_so() -> None:
    assert fields(net_precision="hour")["When"] == "About <t:1795504089:F>, known to the hour\n<t:1795504089:R>"


@pytest.mark.parametrize(
    ("precision", "net", "words"),
    [
        ("day", NET, "24 November 2026"),
        ("morning", NET, "24 November 2026, morning"),
        ("week", NET, "Week of 23 November 2026"),
        ("week", datetime(2026, 11, 29, tzinfo=UTC), "Week of 23 November 2026"),
        ("week", datetime(2027, 1, 1, tzinfo=UTC), "Week of 28 December 2026"),
        ("month", MIDNIGHT, "December 2026"),
        ("quarter 4", MIDNIGHT, "Quarter 4 of 2026"),
        ("quarter 1", datetime(2026, 3, 31, tzinfo=UTC), "Quarter 1 of 2026"),
        ("quarter 2", datetime(2026, 6, 30, tzinfo=UTC), "Quarter 2 of 2026"),
        ("half 1", datetime(2026, 6, 30, tzinfo=UTC), "First half of 2026"),
        ("half 2", MIDNIGHT, "Second half of 2026"),
        ("year", MIDNIGHT, "2026"),
        ("decade", MIDNIGHT, "2026 (decade)"),
        ("*x*", MIDNIGHT, r"2026 (\*x\*)"),
    ],
)
def test_a_coarse_time_is_told_in_words(precision: str, net: datetime, words: str) -> None:
    assert fields(net_precision=precision, net=net)["When"] == words


@pytest.mark.parametrize(
    ("status", "net", "is_exact"),
    [("TBD", MIDNIGHT, False), ("TBD", NET, True), ("Go", MIDNIGHT, True), (None, MIDNIGHT, True)],
)
def test_in_2_0_0_to_be_determined_at_midnight_is_no_time(status: str | None, net: datetime, is_exact: bool) -> None:  # noqa: FBT001  # a parameter
    told = fields(status=status, net=net, net_precision=None)["When"]
    assert told.startswith("<t:") == is_exact
    assert is_exact or "December 2026" in told


@pytest.mark.parametrize("precision", [*PRECISE, "month", None])
def test_no_date(precision: str | None) -> None:
    assert fields(net=None, net_precision=precision)["When"] == "No date yet"


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_has_words_of_its_own(status: str) -> None:
    assert fields(status=status)["Status"] == STATUSES[status]
    assert embed(status=status)["color"] == COLORS[status]


@pytest.mark.parametrize(("status", "words"), [(None, "Unknown"), ("Scrubbed", "Scrubbed"), ("*New*", r"\*New\*")])
def test_an_unknown_status_is_told_as_it_is(status: str | None, words: str) -> None:
    assert fields(status=status)["Status"] == words


@pytest.mark.parametrize("mission", [None, {}, {"name": None, "description": None}, []])
def test_without_a_mission_there_is_no_mission(mission: object) -> None:
    told = embed(details={"mission": mission})
    assert "description" not in told
    assert "Mission" not in [field["name"] for field in told["fields"]]


@pytest.mark.parametrize(
    "details", [None, "text", 7, [], {}, {"pad": 1.5}, {"vidURLs": [None]}, {"pad": {"name": True}}]
)
def test_any_details_will_do(details: object) -> None:
    told = fields(details=details)
    assert told["Rocket"] == "Long March 5B"  # as every name begins


@pytest.mark.parametrize(("latitude", "longitude"), [(0, 0), (0.0, -0.5), ("0", "0"), (-33.5, "18")])
def test_the_map_is_linked_on_the_equator_too(latitude: object, longitude: object) -> None:
    pad = {"name": "Pad", "latitude": latitude, "longitude": longitude}
    address = f"https://www.openstreetmap.org/?mlat={latitude}&mlon={longitude}"
    assert fields(details={"pad": pad})["Pad"] == f"[Pad]({address})"


@pytest.mark.parametrize("name", ["", " ", "\u200b\u200b", "\u202e", "\n\t", "\0", "\ue000"])
def test_a_name_of_which_nothing_can_be_shown_still_has_a_title(name: str) -> None:
    assert embed(name=name)["title"].strip()


OFFICIAL = {"priority": 10, "url": "https://example.org/official", "type": {"id": 1, "name": "Official Webcast"}}
STREAM = {"priority": 7, "url": "https://example.org/stream", "type": {"id": 4, "name": "Unofficial Re-stream"}}


@pytest.mark.parametrize(
    ("videos", "told"),
    [
        ([STREAM, OFFICIAL], "[Official Webcast](https://example.org/official) · [Unofficial Re-stream](https://example.org/stream)"),
        ([OFFICIAL, STREAM], "[Official Webcast](https://example.org/official) · [Unofficial Re-stream](https://example.org/stream)"),
        ([OFFICIAL | {"priority": 1}, STREAM], "[Official Webcast](https://example.org/official)"),
        ([OFFICIAL], "[Watch](https://example.org/official)"),
        ([STREAM], "[Watch](https://example.org/stream)"),
        ([STREAM | {"url": "javascript:x"}, OFFICIAL], "[Watch](https://example.org/official)"),
        (["https://example.org/a", "https://example.org/b"], "[Watch](https://example.org/a)"),
        ([], None),
        (None, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["vid_urls", "vidURLs"])
def test_the_official_webcast_comes_first(key: str, videos: object, told: str | None) -> None:
    assert fields(details={key: videos}).get("Webcast") == told


@pytest.mark.parametrize(
    ("details", "told"),
    [
        ({"probability": 60, "weather_concerns": "Cumulus Cloud Rule"}, r"60 % go. Concerns\: Cumulus Cloud Rule"),
        ({"probability": 90, "weather_concerns": None}, "90 % go"),
        ({"probability": None, "weather_concerns": "Liftoff Winds"}, r"Concerns\: Liftoff Winds"),
        ({"probability": -1}, None),
        ({"probability": "60"}, None),
        ({"probability": True}, None),
    ],
)
def test_the_weather(details: dict[str, Any], told: str | None) -> None:
    assert fields(details=details).get("Weather") == told


def test_the_newest_line_of_the_launch_librarys_team() -> None:
    updates = [
        {"comment": "Now targeting 18:08.", "created_on": "2026-01-14T00:08:00Z"},
        {"comment": "Liftoff.", "created_on": "2026-01-14T18:08:00Z"},
        {"comment": "Added.", "created_on": "2026-01-05T20:54:00Z"},
    ]
    assert fields(details={"updates": updates})["Latest"] == "Liftoff."
    assert "Latest" not in fields(details={"updates": [{"comment": None}]})


@pytest.mark.parametrize(
    ("status", "details", "told"),
    [
        ("Failure", {"failreason": "It fell over."}, "It fell over."),
        ("Partial Failure", {"failreason": "Half of it."}, "Half of it."),
        ("Hold", {"holdreason": "A boat."}, "A boat."),
        ("Go", {"holdreason": "A boat, earlier.", "failreason": "x"}, None),
        ("Failure", {"failreason": ""}, None),
    ],
)
def test_why_it_is_on_hold_or_failed(status: str, details: dict[str, Any], told: str | None) -> None:
    assert fields(status=status, details=details).get("Reason") == told


def test_what_the_launch_library_does_not_know_is_not_shown() -> None:
    details = {
        "mission": {
            "name": "Unknown Payload",
            "type": "Unknown",
            "description": "Details TBD.",
            "orbit": {"name": "Unknown"},
        },
        "pad": {
            "name": "Unknown Pad",
            "latitude": 1,
            "longitude": 2,
            "map_url": "https://maps.example.org/",
            "location": {"name": "Jiuquan, China"},
        },
    }
    told = embed(details=details)
    assert "description" not in told
    assert {field["name"]: field["value"] for field in told["fields"] if field["name"] in ("Mission", "Pad")} == {
        "Pad": "Jiuquan, China"
    }
    assert "Pad" not in fields(details={"pad": {"name": "Unknown Pad", "location": {"name": "Unknown Location"}}})


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(seconds=20), "1 min"),
        (timedelta(minutes=52, seconds=20), "52 min"),
        (timedelta(minutes=59, seconds=50), "1 h"),
        (timedelta(hours=1, minutes=15), "1 h 15 min"),
        (timedelta(days=1, minutes=15), "1 day"),
        (timedelta(days=2, hours=3, minutes=9), "2 days 3 h"),
    ],
)
def test_a_length_of_time(length: timedelta, words: str) -> None:
    assert span(length) == words


# Other people's text

HOSTILE = [
    "@everyone",
    "@here <@123> <@!123> <@&123> <#123> </command:1> <:emoji:1> <a:emoji:1> <t:0:R> <id:home>",
    "[x](http://evil.example)",
    "[x](<http://evil.example>)",
    "http://evil.example https://evil.example/a_b_c",
    "||spoiler||",
    "`code` ```block```",
    "\\",
    "\\\\",
    "\\@everyone",
    "**b** *i* __u__ _i_ ~~s~~",
    "> quote",
    ">>> quote",
    "# heading",
    "-# small",
    "- item",
    "+ item",
    "1. item",
    "12. item",
    "3.14 is no item",
    "line\n# heading\n> quote\n- item\n1. item",
    "line\r\u2028# heading\u2029- item\x0b# heading\x85# heading",
    "\u200b# heading",
    "\u202etxet desrever\u202c \u2066isolated\u2069 \u200fright to left",
    "zero\u200bwidth\u200c\u200d\ufeffspaces",
    ":smile:",
]
PLACES = ["name", "status", "rocket", "provider", "pad", "location", "mission", "kind", "description", "precision"]
PLACES += ["weather", "latest", "reason"]


def told_at(place: str, text: str) -> str:
    """Return what the message makes of a text at one place."""
    details: dict[str, Any] = {
        "rocket": {"configuration": {"name": "R" if place != "rocket" else text}},
        "launch_service_provider": {"name": text if place == "provider" else "P"},
        "pad": {"name": text if place == "pad" else "P", "location": {"name": text if place == "location" else "L"}},
        "mission": {
            "name": text if place == "mission" else "M",
            "type": text if place == "kind" else "T",
            "description": text if place == "description" else "D",
        },
        "weather_concerns": text if place == "weather" else None,
        "updates": [{"comment": text if place == "latest" else None}],
        "failreason": text if place == "reason" else None,
    }
    of: dict[str, Any] = {"details": details} | ({"status": "Failure"} if place == "reason" else {})
    if place in ("name", "status"):
        of[place] = text
    elif place == "precision":
        of["net_precision"] = text
    told = embed(**of)
    if place in ("name", "description"):
        return str(told["title" if place == "name" else "description"])
    name = {"precision": "When", "location": "Pad", "kind": "Mission"}.get(place, place.capitalize())
    return str(next(field["value"] for field in told["fields"] if field["name"] == name))


def assert_harmless(text: str) -> None:
    """Assert that Discord shows a text as it is: on one line, and every character that could mean something escaped."""
    assert text.isprintable()
    bare = re.sub(r"\\[^0-9A-Za-z\s]", "", text)
    assert "\\" not in bare, "a backslash that Discord would show, or that escapes what follows"
    assert not set(bare) & set("*_~|`<>[]@"), bare
    assert not re.search(r"(?<!\\)(?:\\\\)*\\…", text), "cut in the middle of an escape"
    assert "://" not in bare
    assert not re.search(r":\w+:", bare)
    assert not re.match(r"([-+#>]|\d+\.)", text), text


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_shown_and_does_nothing(place: str, text: str) -> None:
    told = told_at(place, text)
    assert_harmless(told.removeprefix("2026 (").removesuffix(")") if place == "precision" else told)
    visible = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    assert visible in shown(told)


@pytest.mark.parametrize("text", HOSTILE)
def test_the_first_line_and_the_label_of_a_link_do_nothing_either(text: str) -> None:
    videos = [{"priority": 1, "url": "https://example.org/", "type": {"name": text}}, OFFICIAL]
    one = launch(name=text, status="Failure", details={"failreason": text, "vid_urls": videos, "webcast_live": True})
    bodies = [
        message.reminder(one, NET - timedelta(hours=1), "7"),
        message.slipped(one, one._replace(net=MIDNIGHT), "7"),
        message.slipped(one._replace(status="Hold"), one, "7"),
        message.live(one, NET - timedelta(hours=1), "7"),
        message.outcome(one, "7"),
    ]
    for body in bodies:
        assert_harmless(body["content"].removesuffix(" <@&7>"))
        assert body["content"].endswith(" <@&7>")
        assert body["allowed_mentions"] == {"parse": [], "roles": ["7"]}
        assert list(find_problems(body)) == []
        for field in body["embeds"][0]["fields"]:
            if field["name"] == "Webcast":
                for part in field["value"].split(" · "):
                    assert LINK.fullmatch(part), part
    board = message.board(10 * [one])
    lines = board["embeds"][0]["description"].split("\n")[::2]
    assert len(lines) == 10
    for line in lines:
        assert_harmless(line.removeprefix("**").removesuffix("**"))
    assert list(find_problems(board)) == []


LONG = {
    "letters": 10_000 * "x",
    "emoji": 10_000 * "🚀",
    "families": 2_000 * "👩\u200d🚀",
    "escapes": 10_000 * "*",
    "backslashes": 10_000 * "\\",
    "an odd one": "x" + 9_999 * "\\",
    "mixed": 5_000 * "🚀*",
    "spaces": 10_000 * " ",
    "newlines": 10_000 * "x\n",
    "combining": "x" + 9_999 * "\u0301",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_a_text_of_10000_characters_is_cut(place: str, text: str) -> None:
    try:
        told = told_at(place, text)
    except (StopIteration, KeyError):
        assert text.isspace()  # then it is left out
        return
    assert_harmless(told.removeprefix("2026 (").removesuffix(")") if place == "precision" else told)
    assert not told.rstrip("…)").endswith("\ud83d")
    assert text.isspace() or "…" in told


def test_everything_at_its_longest_is_no_more_than_discord_takes() -> None:
    long = 10_000 * "🚀*"
    link = "https://example.org/" + 480 * "x"
    details = {
        "rocket": {"configuration": {"name": long}},
        "launch_service_provider": {"name": long},
        "pad": {"name": long, "location": {"name": long}, "map_url": link},
        "mission": {"name": long, "type": long, "orbit": {"name": long}, "description": long},
        "vid_urls": [{"url": link + "1", "type": {"name": long}}, {"url": link, "type": {"name": "Official" + long}}],
        "image": {"credit": long},
        "probability": 100,
        "weather_concerns": long,
        "updates": [{"comment": long}],
        "failreason": long,
    }
    for status, number in ((long, 9), ("Failure", 9)):
        for precision in (long, "hour"):
            one = launch(name=long, status=status, net_precision=precision, image_url=link, details=details)
            body = announced(one, 1000)
            assert_within_limits(body)
            assert len(body["embeds"][0]["fields"]) == number


# Links


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://example.org/x",
        "//example.org/x",
        "https://",
        "https:///path",
        "http://[broken",
        "https://example.org:port/x",
        "https://example.org:99999/x",
        "https://example.org/a b",
        "https://example.org/a\nb",
        "https://example.org/" + 10_000 * "x",
        "see https://example.org/",
        "",
    ],
)
def test_what_is_no_address_is_no_link_and_no_image(url: str) -> None:
    details = {"pad": {"name": "Pad", "map_url": url}, "vid_urls": [{"url": url}]}
    told = embed(image_url=url, details=details)
    assert "image" not in told
    assert [field["value"] for field in told["fields"] if field["name"] in ("Pad", "Webcast")] == ["Pad"]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a_(b)",
        "https://example.org/x) [evil](https://evil.example",
        "https://example.org/x)[evil](https://evil.example",
        "https://example.org/<x>\\",
        "https://example.org/`x`",
        'https://example.org/x"title"',
        "https://example.org/ü",
    ],
)
def test_an_address_cannot_leave_its_link(url: str) -> None:
    told = fields(details={"pad": {"name": "[x](y)", "map_url": url}, "vid_urls": [{"url": url}]})
    assert re.fullmatch(
        r"\\\[x\\\]\\\(y\\\)|\[\\\[x\\\]\\\(y\\\)\]\(https://example\.org/[^][()<>\\`\"\s]*\)", told["Pad"]
    )
    assert re.fullmatch(
        r"\[Watch\]\(https://example\.org/[^][()<>\\`\"\s]*\)", told.get("Webcast", "[Watch](https://example.org/)")
    )


@pytest.mark.parametrize("letter", ["ü", "🚀", "(", "\\"])
def test_an_address_that_grows_by_escaping_keeps_the_limit(letter: str) -> None:
    url = "https://example.org/" + 450 * letter
    pad = {"name": "Pad", "latitude": 400 * letter, "longitude": "1"}
    assert_within_limits(
        announced(launch(image_url=url, details={"pad": pad | {"map_url": url}, "vid_urls": [{"url": url}]}))
    )
    assert_within_limits(announced(launch(details={"pad": pad})))


# Anything


def sizes(text: str) -> set[int]:
    """Count both ways: code points, and UTF-16 units."""
    return {len(text), len(text.encode("utf-16-le")) // 2}


def assert_within_limits(body: dict[str, Any]) -> None:
    """Assert that Discord takes a message, by its documentation, and by the stand-in's own reading of that."""
    assert body["allowed_mentions"] == {"parse": []}
    assert len(body["embeds"]) == 1
    told = body["embeds"][0]
    assert told["title"].strip()
    limited = [(told["title"], 256), (told.get("description", "-"), 4096), (told["footer"]["text"], 2048)]
    assert 1 <= len(told["fields"]) <= 25
    for field in told["fields"]:
        limited += [(field["name"], 256), (field["value"], 1024)]
    for text, limit in limited:
        assert text.strip()
        assert max(sizes(text)) <= limit
    assert sum(max(sizes(text)) for text, _ in limited) <= 6000
    if "image" in told:
        url = urlsplit(told["image"]["url"])
        assert url.scheme in ("http", "https")
        assert url.hostname
        assert url.port is None or url.port < 65536
    assert list(find_problems(body)) == []


ANY_TEXT = (
    st.text(max_size=300)
    | st.text("\\*_[]()<>@:`|#-. 🚀\u200b\n", max_size=300)
    | st.sampled_from(HOSTILE)
    | st.builds(str.__mul__, st.sampled_from(["x", "🚀", "*", "\\", "🚀*", " "]), st.just(10_000))
)
LINKS = st.builds("https://{}/{}".format, st.text(string.ascii_letters + ".:@[]", max_size=20), ANY_TEXT)
STRINGS = ANY_TEXT | LINKS
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def either(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Make an object with any of its parts, or any JSON in its place."""
    return st.fixed_dictionaries({}, optional=parts) | ANY_JSON


NAMED = either(name=STRINGS, full_name=STRINGS)
ANY_DETAILS = either(
    rocket=either(configuration=NAMED),
    launch_service_provider=NAMED,
    lsp_name=STRINGS,
    mission=either(name=STRINGS, type=STRINGS, description=STRINGS, orbit=NAMED, vid_urls=ANY_JSON),
    mission_type=STRINGS,
    orbit=STRINGS,
    location=STRINGS,
    pad=either(
        name=STRINGS,
        map_url=STRINGS,
        latitude=st.floats() | STRINGS,
        longitude=st.floats() | STRINGS,
        location=NAMED,
    ),
    vid_urls=st.lists(either(url=STRINGS), max_size=2),
    vidURLs=st.lists(STRINGS, max_size=2),
    image=either(credit=STRINGS),
    details=either(rocket=STRINGS, provider=STRINGS),
)
LAUNCHES = st.builds(
    launch,
    name=STRINGS,
    net=st.none() | st.datetimes(timezones=st.just(UTC)),
    net_precision=st.none()
    | st.sampled_from(["second", "day", "week", "month", "quarter 1", "half 2", "year"])
    | STRINGS,
    status=st.none() | st.sampled_from(sorted(STATUSES)) | STRINGS,
    image_url=st.none() | STRINGS,
    details=ANY_DETAILS,
    press_kit=st.none() | STRINGS,
    press_kit_title=st.none() | STRINGS,
    page=st.none() | STRINGS,
)

LINK = re.compile(r"\[((?:\\[^0-9A-Za-z\s]|[^][\\])*)\]\((https?://[^][()<>\s\\]+)\)")


@given(LAUNCHES)
@example(launch(name=10_000 * "\\", status=10_000 * "🚀", net_precision=10_000 * "*"))
@example(launch(net=datetime.min.replace(tzinfo=UTC), net_precision="week"))
@example(launch(net=datetime.max.replace(tzinfo=UTC), net_precision="quarter 4"))
@example(launch(details={"pad": {"name": 1e400, "latitude": -0.0, "longitude": float("nan")}}))
def test_any_launch_makes_a_message_that_discord_takes(any_launch: Launch) -> None:
    assert_within_limits(announced(any_launch))


@given(LAUNCHES)
def test_no_launch_makes_a_message_that_does_more_than_show(any_launch: Launch) -> None:
    (told,) = announced(any_launch)["embeds"]
    assert_harmless(told["title"])
    assert_harmless(told.get("description", ""))
    assert told["footer"]["text"].isprintable()  # Discord formats nothing in a footer
    for field in told["fields"]:
        value = field["value"]
        if field["name"] in ("Pad", "Webcast", "Press kit") and (link := LINK.fullmatch(value)):
            value = link[1]
        if field["name"] == "When":
            value = re.sub(r"^(About )?<t:-?\d+:F>(, known to the hour)?\n<t:-?\d+:R>$|^\d+( \((?=.*\)$))?", "", value)
        assert_harmless(value)


@pytest.mark.parametrize(
    ("title", "shown"),
    [("Press kit: *Σ*", r"[Press kit\: \*Σ\*](https://example.org/kit)"), (None, "[Read](https://example.org/kit)")],
)
def test_an_announcement_ends_with_the_press_kit_that_is_there(title: str | None, shown: str) -> None:
    body = announced(launch(press_kit="https://example.org/kit", press_kit_title=title))
    assert body["embeds"][0]["fields"][-1] == {"name": "Press kit", "value": shown, "inline": False}
    assert all(field["name"] != "Press kit" for field in announced(launch())["embeds"][0]["fields"])


@pytest.mark.parametrize(
    ("page", "linked"),
    [
        ("https://launches.example.org/launch/1.html", "https://launches.example.org/launch/1.html"),
        (None, None),
        ("launch/1.html", None),
        ("javascript:alert(1)", None),
    ],
)
def test_an_announcements_title_links_to_the_launchs_page(page: str | None, linked: str | None) -> None:
    assert announced(launch(page=page))["embeds"][0].get("url") == linked
