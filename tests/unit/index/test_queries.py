"""The judged queries, and the figures by which results are compared."""

import contextlib
import os
from collections import Counter
from pathlib import Path
from unittest import mock

import pytest

from bench.judged import QUERIES, UNSEEN, Query, judge, load, named, read
from bench.search_sql import Baselines, compared
from index.search import find
from index.server import Server
from standins.opensearch import OpenSearch
from tests.conftest import Database
from tests.unit.index.conftest import Run

KESTRELS = ["Kestrel | Wren 1", "Kestrel | Wren 2", "Kestrel | Unknown", "Kestrel | Unknown", "Merlin | Wren 1"]


def test_what_is_best_first_has_the_best_figures() -> None:
    assert judge([["a", "b"], ["c"]], [["a", "b"], ["c"]]) == (1, 1)
    assert judge([["x", "b"], ["c"]], [["a", "b"], ["c"]]) == (0.75, 0.75)
    assert judge([["x", "y", "z", "a"]], [["a"]]) == (0.25, 1)
    assert judge([[], ["x"]], [["a"], ["b"]]) == (0, 0)


def test_recall_is_of_the_first_five_and_the_rank_of_all() -> None:
    assert judge([["1", "2", "3", "4", "5", "a"]], [["a"]]) == (1 / 6, 0)
    many = [str(number) for number in range(100)]
    assert judge([many[50:]], [many]) == (1, 1)
    assert judge([[*many[:4], "x", *many[5:]]], [many]) == (1, 0.8)


def test_a_name_counts_as_often_as_there_are_launches_of_it() -> None:
    assert judge([["a", "a", "b"]], [["a", "a", "b"]]) == (1, 1)
    assert judge([["a", "a", "a"]], [["a", "b", "c"]]) == (1, 1 / 3)
    assert judge([["a"]], [["a", "a"]]) == (1, 0.5)


def test_results_of_fewer_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        judge([["a"]], [["a"], ["b"]])


def test_an_entry_stands_for_one_launch_or_for_all_that_fit() -> None:
    assert named(["Kestrel | Wren 2"], KESTRELS) == ["Kestrel | Wren 2"]
    assert named(["Kestrel | *"], KESTRELS) == KESTRELS[:4]
    assert named(["* | Wren*", "Kestrel | Wren 1"], KESTRELS) == ["Kestrel | Wren 1", "Kestrel | Wren 2", KESTRELS[4]]
    assert named(["Kestrel | Unknown*"], KESTRELS) == ["Kestrel | Unknown", "Kestrel | Unknown"]


@pytest.mark.parametrize("entry", ["Kestrel", "kestrel | Wren 1", "Kestrel | Wren .", "Osprey*", "Kestrel | Unknown"])
def test_an_entry_that_stands_for_no_launch_or_for_several_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="launches are named"):
        named([entry], KESTRELS)


def test_the_table_has_all_queries_each_kind_and_each_query() -> None:
    queries = [Query("wren", "name", "", ["a"]), Query("owl", "name", "", ["b"]), Query("soon", "date", "", ["c"])]
    assert list(compared(queries, {"one": [["a"], ["x", "b"], ["c"]], "two": [["a"], [], []]})) == [
        "| query | one | two |",
        "|---|---|---|",
        "| all 3 | 0.83, 1.00 | 0.33, 0.33 |",
        "| kind: name | 0.75, 1.00 | 0.50, 0.50 |",
        "| kind: date | 1.00, 1.00 | 0.00, 0.00 |",
        "| wren | 1.00, 1.00 | 1.00, 1.00 |",
        "| owl | 0.50, 1.00 | 0.00, 0.00 |",
        "| soon | 1.00, 1.00 | 0.00, 0.00 |",
    ]


def test_recorded_pages_have_what_the_queries_expect(database: Database, recorded: Path) -> None:
    """And each entry without a * is exactly one launch's name."""
    load(database.env("fetch"), recorded)
    rows = database.query("SELECT name, first_seen_at <= '2026-04-01', details IS NULL FROM rocket_launches")
    assert Counter(row[1:] for row in rows) == {
        (True, False): 186,
        (False, False): 10,
    }
    now, queries = read([name for name, *_ in rows])
    assert len({query.text for query in queries}) == len(queries) == 40
    assert all(query.why and query.expected for query in queries)
    with contextlib.closing(database.server.superuser(database.name)) as connection:
        baselines = Baselines(connection, now)
        found = {way: [baselines.search(way, query.text) for query in queries] for way in baselines.ways}
    figures = {way: judge(results, [query.expected for query in queries]) for way, results in found.items()}
    # There are queries that even this answers, and queries that only a better way does.
    assert 0.3 < figures["ILIKE"][1] < figures["full text"][1] < 0.7


def test_the_search_finds_what_people_expect(
    database: Database, run: Run, opensearch: OpenSearch, recorded: Path
) -> None:
    """Of the queries by which it was made, and of those that were written without knowing it."""
    load(database.env("fetch"), recorded)
    assert run().code == 0
    names = [name for (name,) in database.query("SELECT name FROM rocket_launches")]
    figures = []
    with mock.patch.dict(os.environ, opensearch.env("reader"), clear=True), Server() as server:
        for path in (QUERIES, UNSEEN):
            now, queries = read(names, path)
            assert len(queries) == 40
            answers = [find(server, query.text, now)["hits"]["hits"] for query in queries]
            results = [[hit["_source"]["name"] for hit in hits] for hits in answers]
            figures.append(judge(results, [query.expected for query in queries]))
    (mrr, recall), (mrr_unseen, recall_unseen) = figures
    # As measured, less a query.
    assert mrr > 0.97
    assert recall > 0.97
    assert mrr_unseen > 0.80
    assert recall_unseen > 0.75
