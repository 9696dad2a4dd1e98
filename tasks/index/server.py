"""OpenSearch or Elasticsearch, by the requests that both have; and what its errors mean."""

import contextlib
import json
import os
import ssl
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import requests
import tenacity
from requests.adapters import HTTPAdapter

import step
from index.store import State
from step import BAD_CONFIGURATION, TRY_LATER, Failure, innermost, printable

TIMEOUT = (5, 60)  # seconds: to connect, and without an answer
DEADLINE = 90  # seconds, of a request
PAGE = 10_000  # launches that are listed at once: the servers' own limit
BUSY = (429, 502, 503, 504)
ODD = (AttributeError, IndexError, KeyError, TypeError, ValueError)  # what reading an answer raises that is none
GONE_ON = "The next try goes on from what is indexed."


class Refused(NamedTuple):
    """A document that the server did not take: its id, the HTTP status, and why."""

    id: str
    status: int
    reason: str


class Busy(Exception):  # noqa: N818  # of the server
    """The server did not answer, or has no time now."""


class Certified(HTTPAdapter):
    """Trusts the CA in SEARCH_CA, too."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # urllib3's own
        """Make connections by that context."""
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)


class Server:
    """The server that SEARCH_URL names. Each method raises Failure: 75 if it is away or full, 78 if it refuses us."""

    def __init__(self) -> None:
        self.url = address()
        seconds = os.environ.get("SEARCH_WAIT_SECONDS") or "30"
        if not seconds.isdecimal():
            raise Failure(BAD_CONFIGURATION, f"SEARCH_WAIT_SECONDS is {seconds!r}: give a number of seconds.")
        self._seconds = int(seconds)
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no ~/.netrc: what is set is what is used
        user, password = (os.environ.get(f"SEARCH_{name}", "").strip() for name in ("USERNAME", "PASSWORD"))
        if user:
            self._session.auth = (user.encode(), password.encode())  # type: ignore[assignment]  # bytes, or Latin-1
        if ca := os.environ.get("SEARCH_CA", "").strip():
            try:
                # What stands between the certificates may be in any language.
                context = ssl.create_default_context(cadata=ca.encode("ascii", "replace").decode())
                self._session.mount("https://", Certified(context))
            except (ssl.SSLError, ValueError):
                raise Failure(BAD_CONFIGURATION, "SEARCH_CA has no certificate in PEM format: set it anew.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    @contextlib.contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Raise Failure (78) where the answer to a request is not what such a server says."""
        try:
            yield
        except ODD:
            raise no_server(self.url, what) from None

    def indices(self, name: str) -> dict[str, str | None]:
        """Return the indices of this name or behind this alias, and whose each is by its mapping's own mark."""
        nothing: dict[str, Any] = {}
        found = self._call("GET", f"/{name}", missing=nothing)
        if not found and found is not nothing:
            raise no_server(self.url, f"GET /{name}")
        with self.reading(f"GET /{name}"):
            return {one: index["mappings"].get("_meta", {}).get("application") for one, index in found.items()}

    def create(self, index: str, body: dict[str, Any]) -> None:
        """Make an index."""
        self._call("PUT", f"/{index}", body)

    def point(self, alias: str, index: str, instead_of: Iterable[str]) -> None:
        """Let the alias name this index, and delete those that it named, all at once."""
        actions: list[dict[str, Any]] = [{"add": {"index": index, "alias": alias}}]
        actions += [{"remove_index": {"index": old}} for old in instead_of]
        self._call("POST", "/_aliases", {"actions": actions})

    def refresh(self, index: str) -> None:
        """Let searches see all that was written."""
        self._call("POST", f"/{index}/_refresh")

    def state(self, index: str) -> State:
        """Return what the index has, as the sums of its documents."""
        halves = {half: {"sum": {"field": f"digest_{half}"}} for half in ("high", "low")}
        found = self.search(index, {"size": 0, "track_total_hits": True, "aggs": halves})
        with self.reading(f"POST /{index}/_search"):
            sums = (int(found["aggregations"][half]["value"]) for half in halves)
            return State(found["hits"]["total"]["value"], *sums)

    def digests(self, index: str) -> Iterator[list[tuple[str, int]]]:
        """Yield the launches that the index has, in the order of their ids, and digests; an empty page at last."""
        body: dict[str, Any] = {
            "size": PAGE,
            "sort": [{"launch_id": "asc"}],
            "_source": False,
            "docvalue_fields": ["digest_high", "digest_low"],
        }
        while hits := self.search(index, body)["hits"]["hits"]:
            with self.reading(f"POST /{index}/_search"):
                if strange := [hit["_id"] for hit in hits if hit["sort"] != [hit["_id"]]]:
                    raise Failure(
                        BAD_CONFIGURATION,
                        f"The index {index} has documents that are not ours, such as {printable(str(strange[0]))}: "
                        "something else writes to it. Delete the index: the next run makes it anew.",
                    )
                found = [(hit["_id"], digest(hit.get("fields", {}))) for hit in hits]
            yield found
            body["search_after"] = [found[-1][0]]
        yield []

    def search(self, index: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a search, which has a list of hits."""
        answer = self._call("POST", f"/{index}/_search?allow_partial_search_results=false", body)
        with self.reading(f"POST /{index}/_search"):
            _ = [*answer["hits"]["hits"]]
        return answer

    def bulk(self, index: str, lines: bytes) -> list[Refused]:
        """Write documents, and return those that were refused; to repeat it changes nothing."""
        query = "?filter_path=errors,items.*._id,items.*.status,items.*.error"
        answer = self._call("POST", f"/{index}/_bulk{query}", lines)
        with self.reading(f"POST /{index}/_bulk"):
            if not answer["errors"]:
                return []
            failed = [result for result in results(answer) if result.get("error")]
            return [Refused(result["_id"], result["status"], reason(result["error"])) for result in failed]

    def _call(
        self, method: str, path: str, body: object = None, missing: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Make a request, again where the server is busy; return the answer, or `missing` where there is no index."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        kind = "application/x-ndjson" if isinstance(body, bytes) else "application/json"
        waiting = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Busy),
            wait=tenacity.wait_exponential(multiplier=0.25, max=5),
            stop=tenacity.stop_after_delay(self._seconds),
            reraise=True,
        )
        try:
            return waiting(self._once, method, path, data, kind, missing)
        except Busy as busy:
            raise Failure(
                TRY_LATER,
                f"The search server {self.url} did not do its work within {self._seconds} s: {busy}. Check that it "
                f"runs, and SEARCH_URL. {GONE_ON}",
            ) from None

    def _once(
        self, method: str, path: str, data: bytes | None, kind: str, missing: dict[str, Any] | None
    ) -> dict[str, Any]:
        try:
            with step.deadline(DEADLINE):
                response = self._session.request(
                    method,
                    self.url + path,
                    data=data,
                    headers={"Content-Type": kind} if data else {},
                    timeout=TIMEOUT,
                    allow_redirects=False,
                )
        except requests.exceptions.SSLError as error:
            if isinstance(why := innermost(error), ssl.SSLCertVerificationError):
                raise Failure(
                    BAD_CONFIGURATION,
                    f"The certificate of the search server {self.url} is not good: {why.verify_message}. Check its "
                    "date and its names, and SEARCH_CA.",
                ) from None
            raise Busy(printable(str(why))) from None
        except (requests.RequestException, TimeoutError) as error:
            raise Busy(printable(str(innermost(error)))) from None
        return self._read(f"{method} {path.partition('?')[0]}", response, missing)

    def _read(self, what: str, response: requests.Response, missing: dict[str, Any] | None) -> dict[str, Any]:
        """Return the answer to a request, or `missing`. Raises Busy or Failure where it is none."""
        status = response.status_code
        try:
            answer = response.json()
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            answer = {}
        elif missing is not None and kind_of(answer.get("error")) == "index_not_found_exception":
            return missing
        elif status == requests.codes.ok:
            with self.reading(what):
                for result in results(answer):
                    self._blocked(result["status"], result.get("error"))
                    if result["status"] in BUSY:
                        raise Busy(reason(result.get("error")))
            return answer
        elif kind_of(answer.get("error")) == "resource_already_exists_exception":
            return answer  # by a request before this one, whose answer was lost
        raise self._refused(what, status, answer.get("error"))

    def _refused(self, what: str, status: int, error: Any) -> Exception:  # noqa: ANN401  # what it said
        """Return what an answer means that is none to the request; its error is None where it was no JSON."""
        self._blocked(status, error)
        if status in BUSY or status == requests.codes.server_error:
            return Busy(f"{what}: HTTP {status}, {reason(error)}")
        said = f"The search server {self.url} refuses {what} (HTTP {status}): {reason(error)}."
        if kind_of(error) == "index_not_found_exception":
            return Failure(TRY_LATER, f"{said} It was there a moment ago. The next try looks again.")
        if status == requests.codes.unauthorized:
            return Failure(BAD_CONFIGURATION, f"{said} Check SEARCH_USERNAME and SEARCH_PASSWORD.")
        if status == requests.codes.forbidden:
            return Failure(BAD_CONFIGURATION, f"{said} Give the user the rights that docs/searching.md lists.")
        if not error:
            return no_server(self.url, f"{what} with HTTP {status}")
        return Failure(BAD_CONFIGURATION, f"{said} docs/searching.md says which servers will do.")

    def _blocked(self, status: int, error: Any) -> None:  # noqa: ANN401  # what it said
        """Raise Failure (75) if the server takes no more, as its disk is nearly full; not while it starts (503)."""
        if kind_of(error).endswith("_block_exception") and status != requests.codes.unavailable:
            raise Failure(
                TRY_LATER,
                f"The search server {self.url} takes nothing more: {reason(error)}. Where its disk is nearly full, "
                f"make room: it takes documents again by itself. {GONE_ON}",
            )


def results(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what `_bulk` says of each document."""
    return [result for item in answer.get("items", ()) for result in item.values()]


def digest(fields: dict[str, list[int]]) -> int:
    """Return a document's digest; -1 where it has none, as no document of ours."""
    if len(fields) < 2:
        return -1
    [high], [low] = fields["digest_high"], fields["digest_low"]
    return high << 31 | low


def no_server(url: str, what: str) -> Failure:
    """Return what it means that an answer is none of such a server."""
    return Failure(BAD_CONFIGURATION, f"{url} answers {what} as no OpenSearch or Elasticsearch does: check SEARCH_URL.")


def kind_of(error: Any) -> str:  # noqa: ANN401  # what it said
    """Return the server's name of an error; empty where it has none."""
    return str(error.get("type", "")) if isinstance(error, dict) else ""


def reason(error: Any) -> str:  # noqa: ANN401  # what it said
    """Return the server's own words, as a line; the innermost, which say most."""
    if not isinstance(error, dict):
        return printable(str(error))[:500] if error else "without a word"
    while isinstance(inner := error.get("caused_by"), dict) and inner.get("reason"):
        error = inner
    return printable(f"{error.get('reason') or error.get('type')}")[:500].rstrip(".")


def address() -> str:
    """Return SEARCH_URL. Raises Failure (78) if it is no address of a server, or has a login in it."""
    url = os.environ.get("SEARCH_URL", "").strip().rstrip("/")
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and not ("@" in parts.netloc or parts.query or parts.fragment)
        requests.Request("GET", url).prepare()
        (parts.hostname or "").encode("idna")  # which comes when it connects
        _ = parts.port
    except ValueError:
        is_one = False
    if not is_one:
        raise Failure(
            BAD_CONFIGURATION,
            "SEARCH_URL is not an address such as https://search.example.org:9200, without a login: set it anew, and "
            "the login as SEARCH_USERNAME and SEARCH_PASSWORD.",
        )
    return url
