"""Find launches by words and times, by their provider and status, and print them, the best first.

Exit codes: 0 printed, 75 the search server is away, 78 it refuses, or a filter is none, 143 stopped by SIGTERM.
"""

import argparse
import re
import sys
from datetime import UTC, datetime
from typing import Any, NamedTuple

import step
from index import times
from index.mapping import ALIAS, FILLERS
from index.server import Server
from step import BAD_CONFIGURATION, DONE, Failure
from wording import STATUSES, date, is_exact, plain

SHOWN = 10  # launches
MOST, LONGEST = 20, 50  # words that are looked for, and their characters: a fuzzy search of a long one takes minutes
REASONS = 3  # that are shown of a launch

# Where words are looked for, and how much more a place says than another.
FIELDS = {
    "name": 4, "mission": 3, "provider": 3, "rocket": 3, "location": 2, "pad": 2, "orbit": 2, "kind": 2, "program": 2,
    "customer": 1, "state": 1, "description": 1, "pages": 0.2,
}  # fmt: skip
SHORT = [name for name in FIELDS if name not in ("description", "pages")]
EXACT = [f"{name}^{boost}" for name, boost in FIELDS.items()]
MARKS = ("\ue000", "\ue001")  # around what matched: no text has these


class Found(NamedTuple):
    """A launch that was found; `why` is what matched, by its field."""

    name: str
    net: datetime | None
    net_precision: str | None
    status: str | None
    place: str
    slips: int
    why: list[str]


def query(  # noqa: PLR0913  # what people can give
    text: str, now: datetime, *, provider: str = "", since: str = "", status: str = "", least: str = "2<-1"
) -> dict[str, Any]:
    """Return the body of a search, in which `least` says how many of the words have to be there.

    Raises Failure (78) if `since` is no time, or there is no such status.
    """
    rest, span = times.take(text, now)
    words = [word for word in re.split(r"[^\w'/+.-]+", rest) if re.search(r"\w", word)]
    words = [word[:LONGEST] for word in words if word.lower() not in FILLERS][:MOST]
    filters: list[dict[str, Any]] = []
    better: list[dict[str, Any]] = []
    if span:
        time = {"gte": span.start.isoformat(), "lt": span.end.isoformat()}
        filters.append({"range": {"when": time | {"relation": "intersects"}}})
        better.append({"range": {"when": time | {"relation": "within", "boost": 3}}})  # not just "in 2026"
    if provider:
        filters.append({"match": {"provider": {"query": provider, "operator": "and"}}})
    if since:
        filters.append({"range": {"net": {"gte": time_of(since).isoformat()}}})
    if status:
        filters.append({"term": {"status": status_of(status)}})
    must: list[dict[str, Any]] = [] if words else [{"match_all": {}}]
    if words:
        # Each word somewhere; of three or more, one can be missing.
        must.append({"bool": {"should": [word_query(word) for word in words], "minimum_should_match": least}})
        phrase = {"query": " ".join(words), "type": "phrase", "fields": [f"{name}^{FIELDS[name]}" for name in SHORT]}
        better.append({"multi_match": phrase})
    return {
        "size": SHOWN,
        "track_total_hits": True,
        "query": {
            "function_score": {
                "query": {
                    "bool": {
                        "must": must,
                        "filter": filters,
                        "should": better,
                        "must_not": [{"exists": {"field": "withdrawn_at"}}],
                    }
                },
                # What is to come, before what has flown.
                "functions": [{"filter": {"range": {"when": {"gte": now.isoformat()}}}, "weight": 2}],
            }
        },
        "sort": ["_score", {"net": {"order": "asc", "missing": "_last"}}],
        "_source": ["name", "net", "net_precision", "status", "pad", "location", "slips"],
        "highlight": {
            "pre_tags": [MARKS[0]],
            "post_tags": [MARKS[1]],
            "fragment_size": 80,
            "number_of_fragments": 1,
            "fields": {name: {} for name in FIELDS},
        },
    }


def word_query(word: str) -> dict[str, Any]:
    """Return what finds a word: as it is, else its beginning, else with a typing error or two."""
    ways: list[dict[str, Any]] = [{"query": word, "fields": EXACT, "operator": "and"}]
    plain_words = {"query": word, "fields": SHORT, "analyzer": "launch", "operator": "and"}
    if len(word) > 2 or word.isdecimal():  # two letters begin too much; Ariane 6 is 62 and 64
        ways.append(plain_words | {"type": "bool_prefix", "boost": 0.5})
    if len(word) > 3:
        ways.append(plain_words | {"fuzziness": "AUTO:4,8", "prefix_length": 1, "boost": 0.3})
    return {"dis_max": {"queries": [{"multi_match": way} for way in ways]}}


def time_of(text: str) -> datetime:
    """Return a day or a time in UTC."""
    try:
        time = datetime.fromisoformat(text)
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    except ValueError:
        raise Failure(BAD_CONFIGURATION, f"SINCE is {text!r}: give a day such as 2026-12-01.") from None


def status_of(text: str) -> str:
    """Return a status as launches have it; people also write it as messages do."""
    for short, long in STATUSES.items():
        if text.lower() in (short.lower(), long.lower()):
            return short
    raise Failure(BAD_CONFIGURATION, f"There is no status {text!r}: give one of {', '.join(STATUSES)}.")


def find(server: Server, text: str, now: datetime, **filters: str) -> dict[str, Any]:
    """Return the answer to a search: what has some of the words, where nothing has all."""
    answer = server.search(ALIAS, query(text, now, **filters))
    return answer if answer["hits"]["hits"] else server.search(ALIAS, query(text, now, **filters, least="1"))


def found(answer: dict[str, Any]) -> list[Found]:
    """Return the launches of an answer, the best first."""
    return [
        Found(
            plain(hit["_source"]["name"]),
            datetime.fromisoformat(net) if (net := hit["_source"].get("net")) else None,
            hit["_source"].get("net_precision"),
            hit["_source"].get("status"),
            ", ".join(plain(hit["_source"][part]) for part in ("pad", "location") if hit["_source"].get(part)),
            hit["_source"]["slips"],
            [f"{field}: {marked(texts[0])}" for field, texts in hit.get("highlight", {}).items() if field != "name"],
        )
        for hit in answer["hits"]["hits"]
    ]


def marked(text: str) -> str:
    """Return a text with what matched in brackets; what was marked word by word is marked together."""
    text = re.sub(f"{MARKS[1]}(\\W?){MARKS[0]}", r"\1", text)
    return plain(text.replace(MARKS[0], "[").replace(MARKS[1], "]"))


def show(launch: Found) -> str:
    """Return what a person wants of a launch, in two to four lines."""
    when = date(launch)
    if launch.net and is_exact(launch):
        when += f", {'about ' if launch.net_precision == 'hour' else ''}{launch.net:%H:%M} UTC"
    status = STATUSES.get(launch.status or "", launch.status)
    slips = f"slipped {launch.slips} time{'' if launch.slips == 1 else 's'}" if launch.slips else None
    lines = [launch.name, "  " + " · ".join(filter(None, (when, status, slips))), f"  {launch.place}"]
    lines += [f"  {why}" for why in launch.why[:REASONS]]
    return "\n".join(step.printable(line) for line in lines if line.strip())


def run() -> int:
    """Print what is found. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m index.search", description=__doc__)
    parser.add_argument("--provider", default="", help="such as SpaceX, or ULA")
    parser.add_argument("--since", default="", metavar="DAY", help="such as 2026-12-01: none with an earlier NET")
    parser.add_argument("--status", default="", help=", ".join(STATUSES))
    parser.add_argument("words", nargs="*", help="what to look for; without any, what comes next")
    given = parser.parse_args()
    with Server() as server:
        if not server.indices(ALIAS):
            raise Failure(BAD_CONFIGURATION, "There is no index yet: the first run of index_launches makes it.")
        text = " ".join(given.words)
        filters = {"provider": given.provider, "since": given.since, "status": given.status}
        answer = find(server, text, step.now(), **filters)
    launches = found(answer)
    print("\n".join(map(show, launches)) if launches else "Nothing is found.")  # noqa: T201  # what it is for
    if (total := answer["hits"]["total"]["value"]) > len(launches):
        print(f"{len(launches)} of {total}")  # noqa: T201  # the same
    return DONE


if __name__ == "__main__":
    sys.exit(step.main(run))
