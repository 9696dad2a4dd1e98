"""index_launches against a real PostgreSQL and a real OpenSearch: what its tests share."""

import contextlib
import io
import os
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import pytest

import step
from index import __main__ as program
from index import search as searching
from standins.opensearch import OpenSearch
from step import Failure
from tests.conftest import Database, Result, run_in_process
from tests.unit.publish.conftest import Launches

Run = Callable[..., Result]
Search = Callable[..., str]

# What a document says, found by PostgreSQL itself in the details that the tests store.
EXPECTED = r"""
    SELECT launch_id, jsonb_strip_nulls(jsonb_build_object(
        'launch_id', launch_id,
        'name', name,
        'net', to_char(net, 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'),
        'net_precision', net_precision,
        'status', status,
        'image_url', image_url,
        'withdrawn_at', to_char(withdrawn_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"+00:00"'),
        'slips', (SELECT count(*) FROM launch_changes AS c WHERE c.launch_id = r.launch_id AND c.field = 'net'
                  AND c.new_value::timestamptz > c.old_value::timestamptz),
        'pages', (SELECT jsonb_agg(title || chr(10) || text ORDER BY id) FROM launch_links AS l
                  WHERE l.launch_id = r.launch_id AND text IS NOT NULL),
        'provider', details #>> '{launch_service_provider,name}',
        'rocket', coalesce(details #>> '{rocket,configuration,full_name}', substring(name FROM '^(.*?) \| ')),
        'pad', details #>> '{pad,name}',
        'location', details #>> '{pad,location,name}',
        'latitude', (details #>> '{pad,latitude}')::float,
        'mission', details #>> '{mission,name}',
        'kind', details #>> '{mission,type}',
        'description', details #>> '{mission,description}'
    ))
    FROM rocket_launches AS r
"""


class Index:
    """The index, as its administrator sees it."""

    def __init__(self, server: OpenSearch) -> None:
        self.server = server

    def get(self, path: str) -> Any:  # noqa: ANN401  # any JSON
        answer = self.server.request("GET", path)
        answer.raise_for_status()
        return answer.json()

    def names(self) -> dict[str, list[str]]:
        """Return the indices of launches, and the aliases of each."""
        return {name: [*one["aliases"]] for name, one in self.get("/launches*").items()}

    def hits(self, name: str = "launches") -> dict[str, dict[str, Any]]:
        """Return all documents with their versions."""
        self.server.request("POST", f"/{name}/_refresh")
        found = self.get(f"/{name}/_search?size=10000&version=true")["hits"]["hits"]
        return {hit["_id"]: hit for hit in found}

    def documents(self, name: str = "launches") -> dict[str, dict[str, Any]]:
        """Return what all documents say, as `expected` does."""
        found = {}
        for launch_id, hit in self.hits(name).items():
            document = hit["_source"]
            for digest in ("digest_high", "digest_low", "when", "orbit", "program", "customer", "state"):
                document.pop(digest, None)
            for several in ("provider", "rocket"):
                if several in document:
                    document[several] = document[several][0]
            if "point" in document:
                document["latitude"] = document.pop("point")["lat"]
            document["net"] = document["net"].replace(".000", "") if "net" in document else None
            found[launch_id] = {key: value for key, value in document.items() if value is not None}
        return found

    def assert_equal(self, database: Database, name: str = "launches") -> None:
        """The index has what the tables have: no more and no less."""
        assert self.documents(name) == expected(database)


def expected(database: Database) -> dict[str, dict[str, Any]]:
    """Return what the documents have to say."""
    return dict(database.query(EXPECTED))


@pytest.fixture
def index(opensearch: OpenSearch) -> Index:
    """The index, which is not there yet."""
    opensearch.delete()
    return Index(opensearch)


@pytest.fixture(scope="module")
def one_database(new_database: Callable[..., Database]) -> Database:
    return new_database()


@pytest.fixture
def database(one_database: Database) -> Database:
    """A database with the schema and nothing in it."""
    one_database.query("TRUNCATE rocket_launches, launch_links, launch_changes, fetches RESTART IDENTITY CASCADE")
    return one_database


@pytest.fixture
def launches(database: Database) -> Launches:
    return Launches(database)


@pytest.fixture
def run(database: Database, opensearch: OpenSearch, index: Index) -> Run:  # noqa: ARG001  # it is gone at its start
    """Run the step in this process."""

    def run(**env: str) -> Result:
        settings = {"DATABASE_WAIT_SECONDS": "1", "SEARCH_WAIT_SECONDS": "3"}
        return run_in_process(
            partial(step.main, program.run), database.env("index") | settings | opensearch.env() | env
        )

    return run


@pytest.fixture
def search(opensearch: OpenSearch) -> Search:
    """Search as a person does, and return what is printed, or why not."""

    def search(*arguments: str, code: int = 0, **env: str) -> str:
        with (
            mock.patch("sys.argv", ["search", *arguments]),
            mock.patch.dict(os.environ, opensearch.env("reader") | env, clear=True),
            contextlib.redirect_stdout(io.StringIO()) as printed,
        ):
            if not code:
                assert searching.run() == 0
                return printed.getvalue()
            with pytest.raises(Failure) as caught:
                searching.run()
        assert caught.value.exit_code == code
        return str(caught.value)

    return search
