"""Queries with the launches that a person expects of each, and recorded pages that have these launches.

The queries, and the moment at which all are asked, are in tests/unit/index/queries.toml. Tests and the benchmark load
the same pages, and judge by the same figures.
"""

import os
import re
import tarfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import NamedTuple
from unittest import mock

import fetch.__main__
from bench.measure import ROOT
from demo.recorded import Page, recorded_at, recorded_pages
from standins.launch_library import LaunchLibrary

QUERIES = ROOT / "tests" / "unit" / "index" / "queries.toml"
UNSEEN = QUERIES.with_name("queries_unseen.toml")  # written without knowing how the search works
FIRST = 5  # results that a person looks at

# When they were recorded, more or less. Two more pages of 2.0.0 have only launches that the detailed pages have, too.
OLD = {
    "2.0.0/upcoming-2020-12.json": datetime(2020, 12, 19, tzinfo=UTC),
    "2.0.0/upcoming-2023-06.json": datetime(2023, 6, 3, tzinfo=UTC),
    "2.0.0/upcoming-2024-03-31.json": datetime(2024, 3, 31, tzinfo=UTC),
}
NEW = {"2.2.0/upcoming-detailed-2026-07-20.json": datetime(2026, 7, 20, tzinfo=UTC)}


class Query(NamedTuple):
    """What a person types, the names of all launches that are right, what kind of query it is, and why they are."""

    text: str
    kind: str
    why: str
    expected: list[str]


def read(names: Sequence[str], path: Path = QUERIES) -> tuple[datetime, list[Query]]:
    """Return when all are asked, and the queries; `names` are those of all launches that are there."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    queries = [Query(**one) for one in content["query"]]
    return content["now"], [query._replace(expected=named(query.expected, names)) for query in queries]


def named(entries: Iterable[str], names: Sequence[str]) -> list[str]:
    """Return the names that entries stand for: one each, or all that fit where a * stands for any text.

    A name that several launches have is there several times. Raises ValueError for an entry that stands for no launch
    or, without a *, for several.
    """
    found: dict[str, list[str]] = {}
    for entry in entries:
        pattern = re.compile(".*".join(map(re.escape, entry.split("*"))))
        fitting = [name for name in names if pattern.fullmatch(name)]
        if not fitting or (len(fitting) > 1 and "*" not in entry):
            raise ValueError(f"{len(fitting)} launches are named {entry!r}")
        found |= {name: [one for one in fitting if one == name] for name in fitting}
    return [name for same in found.values() for name in same]


def pages(folder: Path) -> Iterator[Page]:
    """Yield the recorded pages that are loaded: of those that were recorded many times a day, each day's first."""
    for name, at in OLD.items():
        yield Page(at, (folder / name).read_bytes())
    days = set()
    for page in recorded_pages(folder / "2.2.0" / "series"):
        if b'"results"' in page.body and page.at.date() not in days:  # one answer is no page
            days.add(page.at.date())
            yield page
    with tarfile.open(folder / "2.2.0" / "detailed-2026q1.tar.xz") as archive:
        for member in archive:
            if member.isfile() and (at := recorded_at(Path(member.name))).date() not in days:
                days.add(at.date())
                file = archive.extractfile(member)
                assert file
                yield Page(at, file.read())
    for name, at in NEW.items():
        yield Page(at, (folder / name).read_bytes())


def load(env: Mapping[str, str], folder: Path) -> None:
    """Store the pages of a folder by the fetch step, each when it was recorded; `env` is the step's database."""
    with LaunchLibrary() as library:
        for page in pages(folder):
            library.page = page.body
            settings = {"LAUNCH_LIBRARY_URL": library.upcoming_url, "NOW": page.at.isoformat()}
            # Nothing else: details stay in PostgreSQL, as there is no object store.
            with mock.patch.dict(os.environ, {**env, **settings}, clear=True):
                fetch.__main__.run()


def judge(results: Sequence[Sequence[str]], expected: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Return MRR and recall@5, each the mean over all queries: the names found, best first, and those expected.

    A query's reciprocal rank is 1 / the place of its first right launch, or 0 where none is found. Its recall@5 is how
    many of the first five are right, divided by five or by how many right ones there are, if they are fewer.
    """
    ranks, recalls = [], []
    for found, right in zip(results, expected, strict=True):
        places = [place for place, name in enumerate(found, 1) if name in right]
        ranks.append(1 / places[0] if places else 0.0)
        both = Counter(found[:FIRST]) & Counter(right)  # a name counts as often as there are launches of it
        recalls.append(both.total() / min(FIRST, len(right)))
    return fmean(ranks), fmean(recalls)
