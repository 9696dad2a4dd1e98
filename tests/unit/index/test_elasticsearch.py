"""The requests of search, by Elasticsearch's specification of version 8 and of the newest."""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any
from unittest import mock

import pytest
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from index import __main__ as program
from tests.conftest import Database
from tests.unit.index.conftest import Run, Search
from tests.unit.index.elasticsearch_spec import Request, violations
from tests.unit.publish.conftest import Launches

JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
KEYWORD = {"type": "keyword", "ignore_above": 256, "normalizer": "folded"}
CREATE = {
    "settings": {
        "number_of_shards": 1,
        "number_of_replicas": 0,
        "auto_expand_replicas": "0-1",
        "refresh_interval": "-1",
        "max_ngram_diff": 8,
        "analysis": {
            "char_filter": {
                "signs": {"type": "mapping", "mappings": ["Σ => S", "& => and"]},
                "dashes": {"type": "pattern_replace", "pattern": "(\\p{L})-(\\d)", "replacement": "$1$2"},
            },
            "filter": {
                "parts": {
                    "type": "word_delimiter_graph",
                    "preserve_original": True,
                    "catenate_all": True,
                    "split_on_numerics": True,
                    "stem_english_possessive": False,
                },
                "names": {"type": "synonym_graph", "synonyms": ["iss, international space station"], "lenient": False},
                "beginnings": {"type": "edge_ngram", "min_gram": 2, "max_gram": 10, "preserve_original": True},
                "flat": {"type": "flatten_graph"},
                "folding": {"type": "asciifolding", "preserve_original": False},
            },
            "tokenizer": {"spaces": {"type": "whitespace", "max_token_length": 100}, "words": {"type": "standard"}},
            "analyzer": {
                "names": {
                    "type": "custom",
                    "char_filter": ["signs", "dashes"],
                    "tokenizer": "whitespace",
                    "filter": ["parts", "flat", "lowercase", "asciifolding"],
                },
                "search": {"type": "custom", "tokenizer": "standard", "filter": ["lowercase", "folding", "names"]},
                "beginnings": {"tokenizer": "spaces", "filter": ["lowercase", "beginnings"]},
            },
            "normalizer": {"folded": {"type": "custom", "filter": ["lowercase", "asciifolding"]}},
        },
    },
    "mappings": {
        "dynamic": "strict",
        "_meta": {"mapping": 1},
        "_source": {"excludes": ["everything"]},
        "properties": {
            "name": {
                "type": "text",
                "analyzer": "names",
                "search_analyzer": "search",
                "term_vector": "with_positions_offsets",
                "copy_to": "everything",
                "fields": {"keyword": KEYWORD, "beginnings": {"type": "text", "analyzer": "beginnings"}},
            },
            "everything": {"type": "text", "analyzer": "names", "norms": False, "index_options": "positions"},
            "provider": KEYWORD,
            "image": {"type": "keyword", "index": False, "doc_values": False},
            "place": {"type": "geo_point"},
            "when": {"type": "date_range", "format": "strict_date_time||epoch_millis"},
            "net": {"type": "date", "format": "strict_date_time_no_millis"},
            "pads": {"type": "integer"},
            "version": {"type": "long"},
            "webcast": {"type": "boolean"},
            "pad": {"properties": {"name": {"type": "text"}}},
        },
    },
}
SEARCH = {
    "query": {
        "function_score": {
            "query": {
                "bool": {
                    "must": [
                        {
                            "dis_max": {
                                "queries": [
                                    {
                                        "multi_match": {
                                            "query": "falcon geostationary",
                                            "type": "cross_fields",
                                            "operator": "and",
                                            "fields": ["name^3", "provider"],
                                        }
                                    },
                                    {
                                        "multi_match": {
                                            "query": "falcn",
                                            "type": "best_fields",
                                            "fields": ["name"],
                                            "fuzziness": "AUTO:4,7",
                                            "prefix_length": 1,
                                            "minimum_should_match": "2<75%",
                                        }
                                    },
                                    {"match": {"name": {"query": "falcon", "boost": 2, "_name": "exact"}}},
                                    {"match_phrase": {"name": {"query": "falcon 9", "slop": 1}}},
                                    {"match_phrase_prefix": {"name": "falcon"}},
                                ],
                                "tie_breaker": 0.3,
                            }
                        }
                    ],
                    "should": {"constant_score": {"filter": {"term": {"status": "Go"}}, "boost": 1.5}},
                    "filter": [
                        {"range": {"when": {"gte": "2026-12-01", "lt": "2027-01-01", "relation": "intersects"}}},
                        {"term": {"provider": {"value": "spacex", "case_insensitive": True}}},
                        {"terms": {"status": ["Go", "TBC"]}},
                        {"exists": {"field": "net"}},
                        {"geo_distance": {"distance": "100km", "place": {"lat": 28.5, "lon": -80.6}}},
                    ],
                    "must_not": [{"ids": {"values": ["1"]}}],
                    "minimum_should_match": 0,
                }
            },
            "functions": [
                {"gauss": {"net": {"origin": "now", "scale": "30d", "offset": "1d", "decay": 0.5}}},
                {"filter": {"match_all": {}}, "weight": 2},
            ],
            "score_mode": "multiply",
            "boost_mode": "multiply",
        }
    },
    "size": 10,
    "_source": ["name", "net"],
    "docvalue_fields": ["pads", {"field": "net", "format": "strict_date_time"}],
    "highlight": {
        "type": "unified",
        "pre_tags": [""],
        "post_tags": [""],
        "number_of_fragments": 0,
        "fields": {"name": {}, "everything": {"fragment_size": 100, "matched_fields": ["everything"]}},
    },
    "sort": ["_score", {"net": "asc"}, {"provider": {"order": "desc", "missing": "_last", "unmapped_type": "keyword"}}],
    "search_after": [1.5, 1795564800000, "spacex"],
    "track_total_hits": True,
}
Change = Callable[[dict[str, Any]], object]
WRONG_REQUESTS = [
    (Request("GET", "/launches/_serach"), "GET /launches/_serach: there is no such API"),
    (Request("POST", "/launches-1"), "POST /launches-1: there is only"),
    (Request("GET", "/launches", query={"ignore_unavailabel": "true"}), "query.ignore_unavailabel: there is no such"),
    (Request("GET", "/launches", query={"local": "yes"}), "query.local: must be boolean"),
    (Request("POST", "/_search", query={"size": "ten"}), "query.size: must be an integer"),
    (Request("POST", "/_aliases"), "body: is missing"),
    (Request("POST", "/_refresh", {}), "body: there can be none"),
    (Request("POST", "/_search", {}), "headers.Content-Type: none, not application/json"),
    (Request("POST", "/_bulk", [{"index": {}}, {}], {}, JSON), "headers.Content-Type: application/json, not"),
    (Request("POST", "/_bulk", [{"index": {"_idd": "1"}}, {}], {}, NDJSON), "body.0.index._idd: IndexOperation has"),
    (Request("POST", "/_bulk", [{"remove": {}}, {}], {}, NDJSON), "body.0.remove: OperationContainer has no"),
    (Request("POST", "/_bulk", [{"index": {}}], {}, NDJSON), "body.1: the document for index is missing"),
    (
        Request("POST", "/_bulk", [{"index": {"version_type": "extern"}}, {}], {}, NDJSON),
        'body.0.index.version_type: "extern" is no VersionType',
    ),
    (Request("POST", "/_bulk", [{"update": {}}, {"docs": {}}], {}, NDJSON), "body.1.docs: UpdateAction has no"),
    (
        Request("POST", "/_aliases", {"actions": [{"add": {}, "remove": {}}]}, {}, JSON),
        "body.actions.0: Action must have one of its keys, not 2",
    ),
]
WRONG_INDICES: list[tuple[Change, str]] = [
    (lambda body: body["mappings"]["properties"]["name"].update(analyser="names"), "mappings.properties.name.analyser"),
    (lambda body: body["mappings"]["properties"]["net"].update(type="time"), 'mappings.properties.net.type: "time" is'),
    (lambda body: body["mappings"].update(dynamic="strikt"), 'mappings.dynamic: "strikt" is no DynamicMapping'),
    (lambda body: body["mappings"]["properties"]["image"].update(index="no"), "mappings.properties.image.index: must"),
    (lambda body: body["settings"].update(number_of_shrads=1), "settings.number_of_shrads: IndexSettings has no"),
    (lambda body: body["settings"]["analysis"]["filter"]["parts"].update(catenate=True), "filter.parts.catenate: Word"),
    (lambda body: body["settings"]["analysis"]["filter"]["parts"].update(type="word"), 'filter.parts.type: "word" is'),
    (lambda body: body["settings"]["analysis"]["char_filter"]["dashes"].pop("pattern"), "dashes.pattern: is missing"),
    (lambda body: body["settings"]["analysis"]["analyzer"]["beginnings"].pop("tokenizer"), "tokenizer: is missing"),
]
WRONG_SEARCHES = [
    ({"query": {"mtach": {"name": "x"}}}, "body.query.mtach: QueryContainer has no such property"),
    ({"query": {}}, "body.query: QueryContainer must have one of its keys, not 0"),
    ({"query": {"match_all": {}, "match_none": {}}}, "body.query: QueryContainer must have one of its keys, not 2"),
    ({"query": {"match": {"name": "x", "status": "y"}}}, "body.query.match: must have one key, not 2"),
    ({"query": {"bool": {"must": [{"mtach": {}}]}}}, "body.query.bool.must.0.mtach: QueryContainer has no"),
    ({"query": {"range": {"when": {"gtee": 1}}}}, "body.query.range.when.gtee"),
    ({"query": {"range": {"when": {"relation": "overlaps"}}}}, 'body.query.range.when.relation: "overlaps" is no'),
    ({"query": {"multi_match": {"query": "x", "type": "all_fields"}}}, 'body.query.multi_match.type: "all_fields"'),
    (
        {"query": {"function_score": {"functions": [{"gauss": {"net": {"scales": "1d"}}}]}}},
        "body.query.function_score.functions.0.gauss.net.scales: DecayPlacement has no",
    ),
    ({"query": {"function_score": {"functions": [{"gauss": {}}]}}}, "functions.0.gauss: UntypedDecayFunction must"),
    ({"aggs": {"one": {"sum": {"fields": "one"}}}}, "body.aggs.one.sum.fields: SumAggregation has no"),
    ({"aggs": {"one": {"summ": {"field": "one"}}}}, "body.aggs.one.summ: AggregationContainer has no"),
    ({"sort": [{"net": {"ordre": "asc"}}]}, "body.sort.0.net.ordre: FieldSort has no"),
    ({"sort": [{"net": "ascending"}]}, 'body.sort.0.net: "ascending" is no SortOrder: asc, desc'),
    ({"highlight": {"fields": {"name": {"tags": ""}}}}, "body.highlight.fields.name.tags: HighlightField has"),
    ({"search_after": "x"}, 'body.search_after: must be a list, not "x"'),
    ({"size": "10"}, 'body.size: must be an integer, not "10"'),
]


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Record all that is sent from now on."""
    found: list[Request] = []
    send = HTTPAdapter.send

    def sent(adapter: HTTPAdapter, request: PreparedRequest, **more: Any) -> Response:  # noqa: ANN401  # as it has them
        assert request.method
        body = request.body or b""
        assert isinstance(body, bytes)
        found.append(Request.sent(request.method, str(request.url), dict(request.headers), body))
        return send(adapter, request, **more)

    monkeypatch.setattr(HTTPAdapter, "send", sent)
    return found


def test_every_request_of_the_step_is_right(
    launches: Launches, run: Run, search: Search, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    launches.add(), launches.add("Kestrel | Wren", net_precision="month")
    sent = recorded(monkeypatch)
    assert run().code == 0
    database.query("DELETE FROM rocket_launches WHERE name = 'Kestrel | Wren'")
    with mock.patch.object(program, "INDEX", "launches-2"), mock.patch.object(program, "VERSION", 2):
        assert run().code == 0
        database.query("UPDATE rocket_launches SET status = 'Hold'")
        launches.add()
        assert run().code == 0
        database.query("DELETE FROM rocket_launches WHERE status = 'Go'")
        assert run().code == 0
    search("sparow", "2.1a", "next", "month", "--provider", "spacex", "--since", "2031-01-01", "--status", "hold")
    search()
    kinds = {(one.method, re.sub(r"launches(-\d)?", "launches", one.path)) for one in sent}
    assert kinds == {
        ("GET", "/launches"), ("PUT", "/launches"), ("POST", "/_aliases"), ("POST", "/launches/_refresh"),
        ("POST", "/launches/_search"), ("POST", "/launches/_bulk"),
    }  # fmt: skip
    lines = [key for one in sent if isinstance(one.body, list) for line in one.body for key in line]
    assert {"index", "delete"} <= {*lines}
    assert violations(sent) == [[] for _ in sent]


def test_a_request_is_read_as_it_was_sent() -> None:
    body = b'{"delete":{"_id":"2"}}\n{"index":{"_id":"1"}}\n{"name":"Vega-C"}\n'
    sent = Request.sent("POST", "/launches-1/_bulk?refresh&filter_path=items.*%2Cerrors", NDJSON, body)
    assert sent.query == {"refresh": "", "filter_path": "items.*,errors"}
    [action, *_] = lines = sent.body if isinstance(sent.body, list) else []
    assert (action, len(lines)) == ({"delete": {"_id": "2"}}, 3)
    assert violations([sent, Request.sent("POST", "/_search", JSON, json.dumps(SEARCH).encode())]) == [[], []]


def test_faults_are_found() -> None:
    wrong: list[tuple[Request, str]] = [*WRONG_REQUESTS]
    for change, fault in WRONG_INDICES:
        body = deepcopy(CREATE)
        change(body)
        wrong.append((Request("PUT", "/launches-1", body, {}, JSON), fault))
    wrong += [(Request("POST", "/launches/_search", body, {}, JSON), fault) for body, fault in WRONG_SEARCHES]
    told = violations([request for request, _ in wrong])
    for (_, fault), found in zip(wrong, told, strict=True):
        # Both versions say this, and nothing else.
        assert [line.split(".")[0] for line in found] == ["8", "9"], found
        assert all(fault in line for line in found), found
