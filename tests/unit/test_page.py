"""A page is read launch by launch, and every launch as Python's parser reads it from the whole text."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import page
from page import Page

KEYS = st.sampled_from(["results", "next", "count", "a"])
NUMBERS = st.integers() | st.floats() | st.just(10**30)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def chunks(text: bytes, size: int) -> Iterator[bytes]:
    return (text[start : start + size] for start in range(0, len(text), size))


def read(text: bytes, size: int = 7) -> tuple[list[object], bool, str | None]:
    """Read a text in pieces; return its launches, if there is a list of them, and its next link."""
    one = Page(chunks(text, size))
    return list(one), one.is_list, one.following


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a busy machine
@given(st.dictionaries(KEYS, VALUES), st.integers(1, 20), st.sampled_from([None, 1]), st.booleans())
def test_a_page_is_read_as_if_in_one_piece(
    value: dict[str, object],
    size: int,
    indent: int | None,
    ascii_: bool,  # noqa: FBT001  # hypothesis' own
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
    results, following = value.get("results"), value.get("next")
    is_list = isinstance(results, list)
    found = read(text, size)
    assert repr(found) == repr((results if is_list else [], is_list, following if isinstance(following, str) else None))


def test_what_other_parsers_do_not_take_is_as_received() -> None:
    launches = (
        '[1e400, -1e-400, NaN, -Infinity, 123456789012345678901234567890, "\\ud800", "\\u0000", 1.10, {"a":1,"a":2}]'
    )
    (found, is_list, following) = read(f'\N{BOM}\n{{"next": "x", "results": {launches}}}\n'.encode(), 1)
    assert (repr(found), is_list, following) == (repr(json.loads(launches)), True, "x")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b'{"results": [',
        b'{"results": [1',
        b'{"results": [1]',
        b'{"results": [1,]}',
        b'{"results": [,1]}',
        b'{"results": [1 2]}',
        b'{"results": [1]]}',
        b'{"results": [1]} x',
        b'{"results": [1]}{}',
        b'{"results": [1],}',
        b'{"results" [1]}',
        b'{"results": [1] "next": 1}',
        b"{1: [1]}",
        b"{,}",
        b'{"results": ["\xff"]}',
        b'{"results": []}\xc3',
        b'{"results": [1.]}',
        b'{"results": [-]}',
        b"[" * 100_000,
        b'{"results": [' + b"[" * 100_000,
        b'{"results": [' + b"9" * 5000 + b"]}",
    ],
    ids=lambda text: repr(text)[:40],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_is_not_json_is_refused(text: bytes, size: int) -> None:
    with pytest.raises((ValueError, RecursionError)):
        read(text, size)


@pytest.mark.parametrize(
    "text", [b"[]", b"7", b'"results"', b"null", b"{}", b'{"results": {"1": 2}}', b'{"results": 1}']
)
def test_what_has_no_list_says_so(text: bytes) -> None:
    assert read(text) == ([], False, None)


def test_a_launch_is_given_before_the_next_has_come() -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"results": ['
        while True:
            yield b'{"id": "x"}, '

    launches = iter(Page(endless()))
    assert [next(launches) for _ in range(1000)] == 1000 * [{"id": "x"}]


@pytest.mark.parametrize("start", [b'{"results": ["', b'"', b'{"'])
def test_a_value_without_an_end_is_given_up(start: bytes) -> None:
    def endless() -> Iterator[bytes]:
        yield start
        while True:
            yield 65536 * b"x"

    one = Page(endless())
    with pytest.raises(ValueError, match="longer than any launch"):
        list(one)
    assert one.size < 5 * page.VALUE_CHARACTERS
