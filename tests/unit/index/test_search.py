"""make search: what is found, in which order, and how it is printed."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from index.search import query
from tests.conftest import ROOT
from tests.unit.index.conftest import Index, Run, Search
from tests.unit.publish.conftest import DETAILS, NOW, TOMORROW, Launches

PROGRESS = "Soyuz 2.1a | Прогресс МС-33"  # noqa: RUF001  # Cyrillic, as it is meant to be
LAUNCHES = {
    "Falcon 9 Block 5 | Starlink Group 17-42": "SpaceX",
    "Falcon Heavy | Griffin Mission 1": "SpaceX",
    "Ariane 64 | ΣYNDEO-3": "Arianespace",
    "H3-24 | ひまわり 10号": "Mitsubishi Heavy Industries",
    PROGRESS: "Russian Federal Space Agency (ROSCOSMOS)",
    "Spectrum | Jägerstraße": "Isar Aerospace",
    "Vega-C | L'Étoile": "Arianespace",
    "Long March 5 | Chang'e 7": "China Aerospace Science and Technology Corporation",
}


@pytest.fixture
def several(launches: Launches, run: Run) -> None:
    """One launch after another, a day between."""
    for number, (name, provider) in enumerate(LAUNCHES.items()):
        rocket, _, mission = name.partition(" | ")
        details = DETAILS | {
            "launch_service_provider": {"name": provider},
            "rocket": {"configuration": {"full_name": rocket}},
            "mission": {"name": mission, "type": "Communications"},
        }
        launches.add(name, TOMORROW + timedelta(days=number), details=details)
    assert run().code == 0


def first(printed: str) -> str:
    return printed.partition("\n")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (text, name)
        for name, texts in {
            "Falcon 9 Block 5 | Starlink Group 17-42": (
                "falcon 9", "F9", "falcon9", "Starlink 17-42", "starlink 17 42", "starlnk", "starl", "STARLINK",
            ),
            "Falcon Heavy | Griffin Mission 1": ("fh", "falcon heavy", "grifin", "when does griffin fly?"),
            "Ariane 64 | ΣYNDEO-3": ("syndeo", "ΣYNDEO-3", "syndeo3", "ariane64", "ariane 6"),
            "H3-24 | ひまわり 10号": ("himawari", "ヒマワリ", "ひまわり10", "Himawari 10", "h3"),
            PROGRESS: ("progress ms", "прогресс", "Progress MS-33", "soyuz", "roscosmos"),
            "Spectrum | Jägerstraße": ("jagerstrasse", "jägerstraße", "jaegerstrasse", "isar"),
            "Vega-C | L'Étoile": ("etoile", "étoile", "l'etoile", "vega c", "vegac"),
            "Long March 5 | Chang'e 7": ("change 7", "chang'e", "lm 5", "long march 5", "cz 5", "china"),
        }.items()
        for text in texts
    ],
)  # fmt: skip
def test_what_people_type_finds_the_launch(several: None, search: Search, text: str, expected: str) -> None:  # noqa: ARG001  # it is stored
    assert first(search(*text.split(), NOW=NOW.isoformat())) == expected


def test_what_is_printed(launches: Launches, run: Run, search: Search) -> None:
    one = launches.add("Kestrel 2 | Sparrow", TOMORROW.replace(hour=15, minute=30))
    launches.change(one, net=TOMORROW.replace(hour=16, minute=30))
    run()
    assert search("sparow", "kourou", NOW=NOW.isoformat()).splitlines() == [
        "Kestrel 2 | Sparrow",
        "  2 January 2031, 16:30 UTC · Go for launch · slipped 1 time",
        "  Pad 1, Kourou",
        "  mission: [Sparrow]",
        "  location: [Kourou]",
    ]


def test_a_search_without_words_is_what_comes_next(several: None, search: Search) -> None:  # noqa: ARG001  # it is stored
    printed = search(NOW=NOW.isoformat())
    assert [line for line in printed.splitlines() if " | " in line] == [*LAUNCHES]
    assert search("next", "launch", NOW=NOW.isoformat()) == printed


def test_an_imprecise_time_is_found_on_each_of_its_days(launches: Launches, run: Run, search: Search) -> None:
    launches.add("In December", datetime(2031, 12, 31, tzinfo=UTC), net_precision="month")
    launches.add("In 2031", datetime(2031, 12, 31, tzinfo=UTC), net_precision="year")
    launches.add("On the 10th", datetime(2031, 12, 10, 23, 59, 59, tzinfo=UTC), net_precision="second")
    launches.add("On the 11th", datetime(2031, 12, 11, tzinfo=UTC), net_precision="second")
    run()

    def names(text: str) -> list[str]:
        found = search(*text.split(), NOW=NOW.isoformat()).splitlines()
        return [line for line in found if line and not line.startswith(" ")]

    assert names("10 december") == ["On the 10th", "In December", "In 2031"]
    assert names("december") == ["On the 10th", "On the 11th", "In December", "In 2031"]
    assert names("november") == ["In 2031"]
    assert names("2032") == ["Nothing is found."]


def test_filters(several: None, search: Search, launches: Launches, run: Run) -> None:  # noqa: ARG001  # it is stored
    launches.add("Kestrel | Held", TOMORROW, status="Hold")
    run()
    now = NOW.isoformat()
    found = search("--provider", "arianespace", NOW=now)
    assert [line for line in found.splitlines() if " | " in line] == ["Ariane 64 | ΣYNDEO-3", "Vega-C | L'Étoile"]
    assert first(search("--status", "on hold", NOW=now)) == "Kestrel | Held"
    assert first(search("--status", "hold", NOW=now)) == "Kestrel | Held"
    assert first(search("--since", "2031-01-09", NOW=now)) == "Long March 5 | Chang'e 7"
    assert "SINCE is 'soon': give a day" in search("--since", "soon", NOW=now, code=78)
    assert "There is no status 'good': give one of Go, TBC" in search("--status", "good", NOW=now, code=78)


def test_what_was_withdrawn_is_not_found(launches: Launches, run: Run, search: Search) -> None:
    launches.add(withdrawn_at=NOW)
    run()
    assert search("sparrow") == "Nothing is found.\n"


def test_what_has_flown_comes_after_what_is_to_come(launches: Launches, run: Run, search: Search) -> None:
    launches.add("Kestrel | Sparrow 1", NOW - timedelta(days=3), status="Success")
    launches.add("Kestrel | Sparrow 2", TOMORROW)
    run()
    found = search("sparrow", NOW=NOW.isoformat())
    assert [line for line in found.splitlines() if " | " in line] == ["Kestrel | Sparrow 2", "Kestrel | Sparrow 1"]


def test_what_has_flown_comes_last_without_words_too(launches: Launches, run: Run, search: Search) -> None:
    launches.add("Kestrel | Sparrow 1", NOW - timedelta(hours=3), status="Success")
    launches.add("Kestrel | Sparrow 2", TOMORROW)
    run()
    found = search(NOW=NOW.isoformat())
    assert [line for line in found.splitlines() if " | " in line] == ["Kestrel | Sparrow 2", "Kestrel | Sparrow 1"]


@pytest.mark.parametrize(("text", "expected"), [("x4", "HTV-[X4]"), ("htv", "[HTV]-X4"), ("4", "HTV-X[4]")])
def test_what_matched_is_in_brackets(launches: Launches, run: Run, search: Search, text: str, expected: str) -> None:
    launches.add(details=DETAILS | {"mission": {"name": "HTV-X4 Kōnotori"}})
    run()
    assert f"  mission: {expected} Kōnotori\n" in search(text, NOW=NOW.isoformat())


def test_more_than_are_shown(launches: Launches, run: Run, search: Search) -> None:
    for _ in range(12):
        launches.add()
    run()
    assert search("sparrow").splitlines()[-1] == "10 of 12"


@pytest.mark.parametrize(
    "text",
    ['"}}', "*:*", "name:*", "/.*/", "\\", "'; DROP TABLE", "(", "a AND", "\x00\x1b[31m", "-", "😀", "x" * 50_000,
     "sparrow " * 5000, "\ud800", "--", "日本" * 500, "%s {} {0}", "1e999", "2026-99-99"],
)  # fmt: skip
def test_hostile_searches(several: None, search: Search, text: str) -> None:  # noqa: ARG001  # it is stored
    assert "\x1b" not in search("--", text, NOW=NOW.isoformat())


def test_hostile_text_cannot_steer_a_terminal(launches: Launches, run: Run, search: Search) -> None:
    launches.add("Sparrow \x1b[31m\nKestrel\r", details=DETAILS | {"mission": {"name": "\x1b]0;owned\x07 sparrow"}})
    run()
    found = search("sparrow", NOW=NOW.isoformat())
    assert "\x1b" not in found
    assert "\x07" not in found
    assert found.startswith("Sparrow [31m Kestrel\n")


def test_before_the_first_run(index: Index, search: Search) -> None:  # noqa: ARG001  # it is gone
    assert "There is no index yet: the first run of index_launches makes it." in search("sparrow", code=78)


def test_a_search_has_a_bounded_number_of_words() -> None:
    body = query("word " * 1000, NOW)
    [words] = body["query"]["function_score"]["query"]["bool"]["must"]
    assert len(words["bool"]["should"]) == 20


def test_the_documented_request_is_what_is_sent() -> None:
    """Where this fails, write it anew into docs/search.json."""
    documented = json.loads((ROOT / "docs" / "search.json").read_text(encoding="utf-8"))
    assert documented == query("falcon geostationary next month", datetime(2026, 11, 24, tzinfo=UTC))


def test_a_search_has_words_of_bounded_length() -> None:
    body = query("x" * 50_000, NOW)
    assert len(json.dumps(body)) < 5000
