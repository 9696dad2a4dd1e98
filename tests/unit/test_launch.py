"""Reading one launch: each version's shape, every kind of bad value, and that PostgreSQL takes whatever comes out."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fetch import launch, launch_library, store
from fetch.launch import Launch, Unreadable
from tests.conftest import Database

ID = "0f0e0d0c-0b0a-4009-8008-070605040302"
NET = datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC)
SEEN_AT = datetime(2031, 1, 1, tzinfo=UTC)

# The same launch, as each version writes it.
VERSIONS: dict[str, dict[str, Any]] = {
    "2.3.0": {
        "id": ID,
        "name": "Kestrel 3 | Σ-7 Çağ",
        "status": {"id": 1, "name": "Go for Launch", "abbrev": "Go", "description": "Go"},
        "last_updated": "2031-01-02T03:04:05Z",
        "net": "2031-05-04T03:02:01Z",
        "net_precision": {"id": 2, "name": "Hour", "abbrev": "HR", "description": "…"},
        "image": {
            "id": 9,
            "name": "Kestrel on its pad",
            "image_url": "https://images.example/kestrel.png",
            "thumbnail_url": "https://images.example/small/kestrel.png",
            "credit": None,
            "license": {"id": 1, "name": "Unknown"},
            "single_use": False,
            "variants": [],
        },
        "mission": None,
        "pad": {"id": 4, "latitude": 1.5, "longitude": -2.25},
    },
    "2.2.0 normal": {
        "id": ID,
        "name": "Kestrel 3 | Σ-7 Çağ",
        "status": {"id": 1, "name": "Go for Launch", "abbrev": "Go", "description": "Go"},
        "last_updated": "2031-01-02T03:04:05Z",
        "net": "2031-05-04T03:02:01Z",
        "net_precision": {"id": 2, "name": "Hour", "abbrev": "HR", "description": "…"},
        "image": "https://images.example/kestrel.png",
        "pad": {"id": 4, "latitude": "1.5", "longitude": "-2.25"},
    },
    "2.2.0 detailed": {
        "id": ID,
        "name": "Kestrel 3 | Σ-7 Çağ",
        "status": {"id": 1, "name": "Go for Launch", "abbrev": "Go", "description": "Go"},
        "last_updated": "2031-01-02T03:04:05Z",
        "updates": [{"id": 1, "comment": "…", "profile_image": None}],
        "net": "2031-05-04T03:02:01Z",
        "net_precision": {"id": 2, "name": "Hour", "abbrev": "HR", "description": "…"},
        "infoURLs": [],
        "vidURLs": [{"priority": 9, "url": "https://video.example/1"}],
        "image": "https://images.example/kestrel.png",
    },
    "2.2.0 list": {
        "id": ID,
        "name": "Kestrel 3 | Σ-7 Çağ",
        "status": {"id": 1, "name": "Go for Launch", "abbrev": "Go", "description": "Go"},
        "last_updated": "2031-01-02T03:04:05Z",
        "net": "2031-05-04T03:02:01Z",
        "net_precision": {"id": 2, "name": "Hour", "abbrev": "HR", "description": "…"},
        "lsp_name": "Falconry",
        "mission": "Σ-7 Çağ",
        "pad": "Pad 4",
        "image": "https://images.example/kestrel.png",
    },
    "2.0.0": {
        "id": ID,
        "name": "Kestrel 3 | Σ-7 Çağ",
        "status": {"id": 1, "name": "Go"},
        "net": "2031-05-04T03:02:01Z",
        "tbdtime": True,
        "tbddate": True,
        "image": "https://images.example/kestrel.png",
    },
}
ORIGINAL = {
    "id": "12345",
    "name": "Falcon 9",
    "image": "https://images.example/falcon.jpg",
    "net": "2025-01-17T06:00:00Z",
    "details": {"rocket": "Falcon 9", "provider": "SpaceX"},
}


def with_(**fields: object) -> dict[str, Any]:
    """A launch of 2.3.0 with other values; `...` removes a field."""
    return {name: value for name, value in (VERSIONS["2.3.0"] | fields).items() if value is not ...}


def nested(depth: int) -> Any:  # noqa: ANN401  # any JSON
    value: Any = 0
    for level in range(depth):
        value = [value] if level % 2 else {"deeper": value}
    return value


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_reads_the_same(version: str) -> None:
    written = VERSIONS[version]
    old = version == "2.0.0"
    assert launch.read(written) == Launch(
        launch_id=ID,
        name="Kestrel 3 | Σ-7 Çağ",
        net=NET,
        net_precision=None if old else "hour",
        status="Go",
        image_url="https://images.example/kestrel.png",
        last_updated=None if old else datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC),
        details=written,
    )


def test_the_original_projects_example_is_read() -> None:
    assert launch.read(ORIGINAL) == Launch(
        launch_id="12345",
        name="Falcon 9",
        net=datetime(2025, 1, 17, 6, tzinfo=UTC),
        net_precision=None,
        status=None,
        image_url="https://images.example/falcon.jpg",
        last_updated=None,
        details=ORIGINAL,
    )


@pytest.mark.parametrize("field", ["net", "net_precision", "status", "image", "last_updated"])
@pytest.mark.parametrize("value", [None, ...], ids=["null", "missing"])
def test_what_is_null_or_missing_is_unknown_and_no_reason_to_refuse(field: str, value: object) -> None:
    column = "image_url" if field == "image" else field
    assert getattr(launch.read(with_(**{field: value})), column) is None


@pytest.mark.parametrize(
    ("image", "address"),
    [
        ("", None),
        ({}, None),
        ({"image_url": None}, None),
        ({"image_url": ""}, None),
        ({"thumbnail_url": "https://images.example/small.png"}, None),
        ("https://images.example/a.png", "https://images.example/a.png"),
    ],
)
def test_an_image_without_an_address_is_none(image: object, address: str | None) -> None:
    assert launch.read(with_(image=image)).image_url == address


@pytest.mark.parametrize("number", range(-1, 20))
def test_every_precision_id_is_read_whether_known_or_not(number: int) -> None:
    words = {0: "second", 1: "minute", 2: "hour", 5: "day", 6: "week", 7: "month", 14: "year"}
    words |= {7 + number: f"quarter {number}" for number in range(1, 5)} | {12: "half 1", 13: "half 2"}
    read = launch.read(with_(net_precision={"id": number, "name": "Some Other", "abbrev": "SO"}))
    assert read.net_precision == words.get(number, "some other")


@pytest.mark.parametrize("number", range(12))
def test_every_status_id_is_read_whether_known_or_not(number: int) -> None:
    words = {1: "Go", 2: "TBD", 3: "Success", 4: "Failure", 5: "Hold", 6: "In Flight", 7: "Partial Failure", 8: "TBC"}
    words[9] = "Payload Deployed"
    read = launch.read(with_(status={"id": number, "name": "Some Other", "abbrev": "SO"}))
    assert read.status == words.get(number, "Some Other")


@pytest.mark.parametrize("number", [True, 1.0, "1", None, 10**400, [], {}])
def test_an_id_of_another_type_is_no_known_word(number: object) -> None:
    assert launch.read(with_(status={"id": number, "name": "Other"})).status == "Other"
    assert launch.read(with_(net_precision={"id": number, "abbrev": "OTH"})).net_precision == "oth"
    assert launch.read(with_(status={"id": number})).status is None


@pytest.mark.parametrize("value", [None, True, 7, 1.5, "launch", [], [VERSIONS["2.3.0"]]])
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(Unreadable, match="not an object"):
        launch.read(value)


@pytest.mark.parametrize("value", [..., None, "", 0, 12345, 1.5, True, [], {}, [ID], {"id": ID}])
def test_a_launch_without_an_id_is_refused(value: object) -> None:
    with pytest.raises(Unreadable, match="its id is"):
        launch.read(with_(id=value))


@pytest.mark.parametrize("value", ["x" * 10_000, "a\0b", "a\ud800b", "\udfff"])
def test_an_id_that_cannot_be_stored_as_it_is_is_refused_not_altered(value: str) -> None:
    with pytest.raises(Unreadable, match="its id"):
        launch.read(with_(id=value))


@pytest.mark.parametrize("value", [..., None, ""])
def test_a_launch_without_a_name_is_refused(value: object) -> None:
    with pytest.raises(Unreadable, match="no name"):
        launch.read(with_(name=value))


@pytest.mark.parametrize("value", [0, 7, 1.5, True, [], {}, ["text"], {"name": "text"}])
@pytest.mark.parametrize("field", ["name", "net", "last_updated"])
def test_another_type_where_a_string_should_be_is_refused(field: str, value: object) -> None:
    with pytest.raises(Unreadable, match=f"its {field} is .*, not a string"):
        launch.read(with_(**{field: value}))


@pytest.mark.parametrize("value", [0, 1, 1.5, True, "Go", [], [{"id": 1}]])
@pytest.mark.parametrize("field", ["status", "net_precision"])
def test_another_type_where_an_object_should_be_is_refused(field: str, value: object) -> None:
    with pytest.raises(Unreadable, match=f"its {field} is .*, not an object"):
        launch.read(with_(**{field: value}))


@pytest.mark.parametrize(
    "fields",
    [
        {"image": 7},
        {"image": ["https://images.example/a.png"]},
        {"image": {"image_url": 7}},
        {"image": {"image_url": {"url": "https://images.example/a.png"}}},
        {"status": {"id": 99, "name": 7}},
        {"net_precision": {"id": 99, "name": None, "abbrev": ["M"]}},
    ],
    ids=str,
)
def test_another_type_inside_an_object_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(Unreadable, match="not a string"):
        launch.read(with_(**fields))


def test_a_name_of_10000_characters_is_kept_whole() -> None:
    assert launch.read(with_(name="Ü" * 10_000)).name == "Ü" * 10_000


@pytest.mark.parametrize("bad", ["\0", "\ud800", "\udc00\ud800"])
def test_what_postgresql_does_not_take_is_replaced_everywhere(bad: str) -> None:
    good = "\ufffd" * len(bad)
    read = launch.read(
        with_(
            name=f"Kes{bad}trel",
            status={"id": 99, "name": f"G{bad}o"},
            image={"image_url": f"https://images.example/{bad}"},
            pad={f"na{bad}me": [{"deep": [f"{bad}"]}]},
        )
    )
    assert (read.name, read.status) == (f"Kes{good}trel", f"G{good}o")
    assert read.image_url == f"https://images.example/{good}"
    assert read.details["pad"] == {f"na{good}me": [{"deep": [good]}]}
    assert read.details["name"] == read.name


@pytest.mark.parametrize("text", ["😀", "Türksat 5A", "ΣYNDEO-3", "(???) | #1 'x' \\ \"y\"", "\\u0000", "\N{BOM}\x01"])
def test_other_text_is_kept_as_it_is(text: str) -> None:
    assert launch.read(with_(name=text)).name == text


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [lambda n: n, lambda n: [1, n], lambda n: {"a": [{"b": n}]}])
def test_a_number_that_json_does_not_have_is_refused(place: Callable[[float], object], number: float) -> None:
    with pytest.raises(Unreadable, match="number"):
        launch.read(with_(pad=place(number)))


@pytest.mark.parametrize("depth", [10_000, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    with pytest.raises(Unreadable, match="nested"):
        launch.read(with_(pad=nested(depth)))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2031-05-04T03:02:01Z", NET),
        ("2031-05-04T03:02:01", NET),
        ("2031-05-04 03:02:01", NET),
        ("2031-05-04T03:02:01+00:00", NET),
        ("2031-05-04T08:32:01+05:30", NET),
        ("2031-05-03T20:02:01-07:00", NET),
        ("2031-05-04T03:02:01.250Z", NET.replace(microsecond=250_000)),
        ("2031-05-04", NET.replace(hour=0, minute=0, second=0)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("field", ["net", "last_updated"])
def test_times_are_utc_also_where_they_have_no_zone(field: str, written: str, read: datetime) -> None:
    assert getattr(launch.read(with_(**{field: written})), field) == read


@pytest.mark.parametrize(
    "written",
    [
        "soon",
        "None",
        " ",
        "2031-02-30T00:00:00Z",
        "2031-05-04T25:00:00Z",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2031-05-04T03:02:01+99:00",
        "2031-05-04T03:02:01Z; DROP TABLE rocket_launches",
        "2031-05-04T03:02:01\0",
        "x" * 100_000,
    ],
    ids=lambda written: repr(written[:40]),
)
@pytest.mark.parametrize("field", ["net", "last_updated"])
def test_what_is_no_time_is_refused_in_a_short_sentence(field: str, written: str) -> None:
    with pytest.raises(Unreadable, match=f"its {field} is no time") as refused:
        launch.read(with_(**{field: written}))
    assert len(str(refused.value)) < 200


# Text with what PostgreSQL does not take in it more often than chance would have it.
anything_written = st.text(st.characters() | st.sampled_from("\0\ud800\udfff\ufffd\\\"'\n\x1b"), max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | anything_written
any_json = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(anything_written, inner, max_size=4),
    max_leaves=8,
)


def often(likely: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda n: likely if n else any_json)


times = st.none() | st.datetimes(timezones=st.none() | st.timezones()).map(datetime.isoformat)
words = st.none() | st.fixed_dictionaries({}, optional={"id": st.integers(0, 16), "name": anything_written})
images = st.none() | anything_written | st.fixed_dictionaries({"image_url": st.none() | anything_written})
launches = st.fixed_dictionaries(
    {"id": often(st.sampled_from("abc") | anything_written), "name": often(anything_written)},
    optional={
        "net": often(times),
        "last_updated": often(times),
        "net_precision": often(words),
        "status": often(words),
        "image": often(images),
        "pad": any_json,
        "\0": any_json,
    },
)


@given(launches | any_json)
def test_any_json_is_a_launch_or_a_clear_refusal(value: object) -> None:
    with contextlib.suppress(Unreadable):
        assert isinstance(launch.read(value), Launch)


@pytest.fixture(scope="module")
def one_database(new_database: Callable[..., Database]) -> Database:
    """A database for many examples; whatever they leave there makes it harder for the next."""
    return new_database()


def exact(text: str) -> Any:  # noqa: ANN401  # any JSON
    """Read JSON without losing a digit, as PostgreSQL keeps it."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(launches, min_size=1, max_size=12))
def test_whatever_is_read_postgresql_takes_and_gives_back(one_database: Database, page: list[object]) -> None:
    readable = []
    for value in page:
        with contextlib.suppress(Unreadable):
            readable.append(launch.read(value))
    connection = one_database.server.superuser(one_database.name)
    with contextlib.closing(connection):
        store.prepare(connection)
        request = launch_library.Request(1, SEEN_AT, "http://127.0.0.1/", 200)
        store.stage(connection, request, enumerate(readable))
        store.merge(connection, [request], SEEN_AT)

    expected = {one.launch_id: one for one in readable}
    rows = one_database.query(
        "SELECT launch_id, name, net, net_precision, status, image_url, last_updated, details::text "
        "FROM rocket_launches WHERE launch_id = ANY(%s)",
        list(expected),
    )
    assert len(rows) == len(expected)
    for *facts, details in rows:
        one = asdict(expected[facts[0]])
        assert exact(details) == exact(json.dumps(one.pop("details")))
        assert facts == list(one.values())
