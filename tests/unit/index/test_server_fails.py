"""The search server is away, refuses, or is none: each has its sentence and exit code, and the next run goes on."""

import http.server
import itertools
import json
import os
import re
import signal
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from index import __main__ as program
from index import server as module
from index.mapping import BODY
from index.server import Server
from index.store import Store
from standins.opensearch import OpenSearch
from tests.conftest import Database, Result, assert_stops, run_step, started
from tests.unit.index.conftest import Index, Run, Search
from tests.unit.publish.conftest import Launches
from tests.unit.raw_server import drips, raw_server, says

NONE = "as no OpenSearch or Elasticsearch does: check SEARCH_URL."
DAY = timedelta(days=1)
BLOCK = {"type": "cluster_block_exception", "reason": "blocked by: [disk usage exceeded flood-stage watermark]"}


@pytest.fixture(autouse=True)
def some(launches: Launches, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Launches, of which each is sent by a request of its own."""
    monkeypatch.setattr(program, "LARGEST", 1)
    return [launches.add() for _ in range(5)]


@pytest.fixture
def run(run: Run, opensearch: OpenSearch) -> Run:
    """Run the step, and look whether its log has a secret."""

    def checked(**env: str) -> Result:
        result = run(**env)
        passwords = [*opensearch.passwords.values(), *filter(None, [env.get("SEARCH_PASSWORD")])]
        logins = [b64encode(f"index:{one}".encode()).decode() for one in passwords]
        assert not [line for line in result.lines if any(one in line for one in (*passwords, *logins, "hunter2"))]
        return result

    return checked


@pytest.fixture(scope="module")
def own_server(opensearch: OpenSearch) -> Iterator[OpenSearch]:  # noqa: ARG001  # it skips where there can be none
    with OpenSearch() as server:
        yield server


@pytest.fixture
def own(own_server: OpenSearch) -> Iterator[OpenSearch]:
    """A server that a test may harm."""
    own_server.delete()
    yield own_server
    own_server.send(signal.SIGCONT)


class Between:
    """Stands between the step and the server: what `instead` answers wins, all else is passed on."""

    def __init__(self, web: HTTPServer, server: OpenSearch) -> None:
        self._server = server
        self.env = {"SEARCH_URL": web.url_for("").rstrip("/")}
        self.asked: list[str] = []
        self.instead: Callable[[str], Response | None] = lambda _: None
        web.expect_request(re.compile("")).respond_with_handler(self._handle)

    def pass_on(self, request: Request) -> Response:
        text = request.get_data(as_text=True)
        answer = self._server.request(request.method, request.full_path.rstrip("?"), "index", data=text)
        return Response(answer.content, answer.status_code, content_type=answer.headers["Content-Type"])

    def _handle(self, request: Request) -> Response:
        self.asked.append(f"{request.method} {request.path}")
        return self.instead(self.asked[-1]) or self.pass_on(request)


@pytest.fixture
def between(httpserver: HTTPServer, opensearch: OpenSearch) -> Between:
    return Between(httpserver, opensearch)


def says_json(status: int, body: object) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")


def at(number: int, what: Callable[[], object]) -> Any:  # noqa: ANN401  # a patch
    """Let something happen just before a run's nth request to write documents."""
    real, calls = Server.bulk, []

    def bulk(server: Server, name: str, lines: bytes) -> object:
        calls.append(lines)
        if len(calls) == number:
            what()
        return real(server, name, lines)

    return mock.patch.object(Server, "bulk", bulk)


@pytest.mark.parametrize("address", ["https://127.0.0.1:1", "https://no-such-host.invalid:9200"])
def test_nobody_is_there(run: Run, search: Search, address: str) -> None:
    began = time.monotonic()
    result = run(SEARCH_URL=address, SEARCH_WAIT_SECONDS="2")
    assert time.monotonic() - began < 8
    assert result.code == 75
    assert f"The search server {address} did not do its work within 2 s: " in result.last
    assert result.last.endswith("Check that it runs, and SEARCH_URL. The next try goes on from what is indexed.")
    assert address in search("sparrow", code=75, SEARCH_URL=address, SEARCH_WAIT_SECONDS="0")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_that_goes_in_the_middle_of_a_run(  # noqa: PLR0917  # fixtures
    run: Run, own: OpenSearch, database: Database, monkeypatch: pytest.MonkeyPatch, some: list[str], how: signal.Signals
) -> None:
    def goes() -> None:
        monkeypatch.setattr(module, "TIMEOUT", (1, 1))
        if how == signal.SIGKILL:
            own.stop()
        else:
            own.send(how)

    began = time.monotonic()
    with at(3, goes):
        result = run(**own.env())
    assert time.monotonic() - began < 30
    assert result.code == 75
    assert "did not do its work within 3 s: " in result.last
    if how == signal.SIGKILL:
        own.start()
    own.send(signal.SIGCONT)
    index = Index(own)
    assert len(index.hits("launches-1")) in (2, 3)  # a server that goes on takes what it was sent
    left = len(some) - len(index.hits("launches-1"))
    monkeypatch.undo()
    assert run(**own.env()).last == f"INFO Indexed {left} launches, deleted 0"
    index.assert_equal(database)
    assert run(**own.env()).code == 99


def test_a_server_that_is_killed_and_started_again_is_waited_for(run: Run, own: OpenSearch, database: Database) -> None:
    starting = threading.Thread(target=own.start)

    def killed() -> None:
        own.stop()
        starting.start()

    with at(3, killed):
        result = run(**own.env(), SEARCH_WAIT_SECONDS="120")
    starting.join()
    assert result.code == 0
    Index(own).assert_equal(database)
    assert run(**own.env()).code == 99


@pytest.mark.parametrize("stands_still", [False, True])
def test_stopped_in_the_middle(
    run: Run, index: Index, database: Database, between: Between, *, stands_still: bool
) -> None:
    third, stopped = threading.Event(), threading.Event()

    def wait(asked: str) -> None:
        if asked.endswith("_bulk") and between.asked.count(asked) == 3:
            third.set()
            stopped.wait(20 if stands_still else 0.3)

    between.instead = wait
    code = "import sys, step; from index import __main__ as index; index.LARGEST = 1; sys.exit(step.main(index.run))"
    with started("index", database.env("index") | index.server.env() | between.env, code) as process:
        assert third.wait(20)
        process.terminate()
        assert_stops(process)
    stopped.set()
    assert len(index.hits("launches-1")) in (2, 3)  # what was sent can still arrive
    assert run().code == 0
    index.assert_equal(database)
    assert run().code == 99


@pytest.mark.parametrize("login", [{"SEARCH_PASSWORD": "wrong-secret"}, {"SEARCH_USERNAME": "nobody"}])
def test_a_wrong_login(run: Run, index: Index, database: Database, login: dict[str, str]) -> None:
    began = time.monotonic()
    result = run(**login, SEARCH_WAIT_SECONDS="30")
    assert time.monotonic() - began < 10
    assert result.code == 78
    assert "refuses GET /launches (HTTP 401): " in result.last
    assert result.last.endswith("Check SEARCH_USERNAME and SEARCH_PASSWORD.")
    assert run().code == 0
    index.assert_equal(database)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_user_that_may_only_read(
    run: Run, launches: Launches, index: Index, database: Database, *, is_there: bool
) -> None:
    if is_there:
        run()
        launches.add()
    result = run(**index.server.env("reader"))
    assert result.code == 78
    assert "(HTTP 403): no permissions for " in result.last
    assert result.last.endswith("Give the user the rights that docs/searching.md lists.")
    assert run().code == 0
    index.assert_equal(database)


def certificate(folder: Path, start: datetime, end: datetime) -> str:
    """Write the certificate and the key of a server at 127.0.0.1; return the first."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    building = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    building = building.serial_number(1).not_valid_before(start).not_valid_after(end)
    building = building.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = building.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem, clear = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "pair").write_bytes(
        made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, clear)
    )
    return made.public_bytes(pem).decode()


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [(-2 * DAY, -DAY, "certificate has expired"), (DAY, 2 * DAY, "certificate is not yet valid")],
)
def test_a_certificate_that_is_not_valid_now(
    run: Run, tmp_path: Path, start: timedelta, end: timedelta, words: str
) -> None:
    """OpenSearch does not start with one, but goes on with one that expires."""
    now = datetime.now(UTC)
    trusted = certificate(tmp_path, now + start, now + end)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair")
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as web:
        web.socket = context.wrap_socket(web.socket, server_side=True)
        thread = threading.Thread(target=web.handle_request)
        web.timeout = 10
        thread.start()
        address = f"https://127.0.0.1:{web.server_port}"
        result = run(SEARCH_URL=address, SEARCH_CA=trusted)
        thread.join()
    assert result.code == 78
    assert result.last == (
        f"ERROR The certificate of the search server {address} is not good: {words}. Check its date and its names, and "
        "SEARCH_CA."
    )


@pytest.mark.parametrize("what", ["another CA", "no CA", "another name"])
def test_a_certificate_that_cannot_be_trusted(
    run: Run, index: Index, database: Database, tmp_path: Path, what: str
) -> None:
    now = datetime.now(UTC)
    env = {
        "another CA": {"SEARCH_CA": certificate(tmp_path, now - DAY, now + DAY)},
        "no CA": {"SEARCH_CA": ""},
        "another name": {"SEARCH_URL": index.server.url.replace("127.0.0.1", "localhost")},
    }[what]
    result = run(**env)
    assert result.code == 78
    assert " is not good: " in result.last
    assert ("Hostname mismatch" if what == "another name" else "unable to get local issuer certificate") in result.last
    assert result.last.endswith("Check its date and its names, and SEARCH_CA.")
    assert run().code == 0
    index.assert_equal(database)


@pytest.mark.parametrize(
    "ca", ["no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "Főtanúsítvány"]
)
def test_a_ca_that_is_no_certificate(run: Run, ca: str) -> None:
    result = run(SEARCH_CA=ca)
    assert (result.code, result.last) == (
        78,
        "ERROR SEARCH_CA has no certificate in PEM format: set it anew.",
    )


def test_a_ca_with_a_comment_in_another_language(run: Run, index: Index, database: Database) -> None:
    assert run(SEARCH_CA=f"# Főtanúsítvány\n{index.server.ca}").code == 0
    index.assert_equal(database)


@pytest.mark.parametrize(
    "address",
    [
        "search.example.org",
        "search.example.org:9200",
        "ftp://search.example.org",
        "https://",
        "https://search.example.org:port",
        "https://search.example.org:99999",
        "https://[::1",
        "https://search..example.org",
        f"https://{'a' * 64}.example.org",
        "https://*.example.org",
        "https://search example.org",
        "https://index:hunter2@127.0.0.1:9200",
        "https://index@127.0.0.1:9200",
        "https://:hunter2@127.0.0.1:9200",
        "https://127.0.0.1:9200/?token=hunter2",
        "https://127.0.0.1:9200/#hunter2",
    ],
)
def test_an_address_that_is_none_or_has_a_login_in_it(run: Run, address: str) -> None:
    result = run(SEARCH_URL=address)
    assert result.code == 78
    assert result.last == (
        "ERROR SEARCH_URL is not an address such as https://search.example.org:9200, without a login: set it anew, and "
        "the login as SEARCH_USERNAME and SEARCH_PASSWORD."
    )


def test_a_wait_that_is_none(run: Run) -> None:
    result = run(SEARCH_WAIT_SECONDS="a while")
    assert (result.code, result.last) == (78, "ERROR SEARCH_WAIT_SECONDS is 'a while': give a number of seconds.")


LINK = {"Location": "https://search.example.org"}
SITES = {
    "HTML": Response("<html>Welcome", content_type="text/html"),
    "no page": Response("<html>Not found", 404, content_type="text/html"),
    "a redirect": Response("", 302, LINK),
    "a redirect with JSON": Response("{}", 301, LINK, content_type="application/json"),
    "nothing": Response(""),
    "no content": Response("", 204),
    "a message": says_json(200, {"message": "hi"}),
    "another message": says_json(404, {"message": "hi"}),
    "a list": says_json(200, []),
    "an empty object": says_json(200, {}),
    "null": says_json(200, None),
    "half": Response('{"launches-1": {"map', content_type="application/json"),
    "deep": Response("[" * 200_000, content_type="application/json"),
    "no UTF-8": Response(b'{"\xff": 1}', content_type="application/json; charset=utf-8"),
    "no charset": Response(b"\xff\xfe{", content_type="application/json; charset=none"),
    "mappings": says_json(200, {"launches-1": {"mappings": "none"}}),
    "a mark": says_json(200, {"launches-1": {"mappings": {"_meta": [1]}}}),
    "a root": says_json(200, {"name": "search", "cluster_name": "search", "version": {"number": "3.4.0"}}),
}


@pytest.mark.parametrize("name", SITES)
def test_a_web_site_is_no_search_server(run: Run, search: Search, httpserver: HTTPServer, name: str) -> None:
    httpserver.expect_request(re.compile("")).respond_with_handler(lambda _: SITES[name])
    address = httpserver.url_for("").rstrip("/")
    result = run(SEARCH_URL=address)
    assert result.code == 78
    assert f"{address} answers " in result.last
    assert result.last.endswith(NONE)
    assert len(httpserver.log) == 1
    assert search("sparrow", code=78, SEARCH_URL=address).endswith(NONE)


SOMEBODY = {"GET /launches": {"launches-1": {"mappings": BODY["mappings"]}}, "POST /launches-1/_refresh": {}}
FOUND: dict[str, Any] = {
    "hits": {"total": {"value": 1}, "hits": []},
    "aggregations": {"digest_high": {"value": 1.0}, "digest_low": {"value": 1.0}},
}


@pytest.mark.parametrize("path", ["_search", "_bulk"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"hits": 1},
        {"hits": {"hits": 1}},
        FOUND | {"aggregations": {}},
        FOUND | {"hits": {"hits": [{}]}},
        FOUND | {"hits": FOUND["hits"] | {"hits": [1]}},
        FOUND | {"hits": FOUND["hits"] | {"hits": [{"_id": "a", "sort": ["a"], "fields": {"a": [1], "b": [2]}}]}},
        {"errors": True},
        {"errors": True, "items": 1},
        {"errors": True, "items": [1]},
        {"errors": True, "items": [{"index": {"error": {}}}]},
        {"errors": True, "items": [{"index": {"status": 400, "error": {"reason": [1]}}}]},
    ],
)
def test_an_answer_that_is_odd(run: Run, between: Between, path: str, body: dict[str, Any]) -> None:
    def odd(asked: str) -> Response | None:
        if asked in SOMEBODY:
            return says_json(200, SOMEBODY[asked])
        if asked.endswith(path):
            return says_json(200, body)
        return says_json(200, FOUND) if asked.endswith("_search") else None

    between.instead = odd
    result = run(**between.env)
    assert result.code == 78
    assert result.last.endswith(NONE)


def test_plain_text_to_a_server_that_wants_tls(run: Run, index: Index) -> None:
    result = run(SEARCH_URL=index.server.url.replace("https", "http"), SEARCH_WAIT_SECONDS="1")
    assert result.code == 75
    assert "Check that it runs, and SEARCH_URL." in result.last


def test_tls_to_a_server_that_has_none(run: Run, httpserver: HTTPServer) -> None:
    result = run(SEARCH_URL=httpserver.url_for("").replace("http", "https"), SEARCH_WAIT_SECONDS="1")
    assert result.code == 75
    assert "Check that it runs, and SEARCH_URL." in result.last


@pytest.mark.parametrize(
    "answer",
    [
        says(b""),
        says(b"", reset=True),
        says(b"SSH-2.0-OpenSSH\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"),
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
        says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"),
        drips(b"", b""),
        drips(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
    ],
    ids=["nothing", "reset", "nonsense", "half", "chunks", "gzip", "silence", "drops"],
)
def test_a_broken_connection(run: Run, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:  # noqa: ANN401
    monkeypatch.setattr(module, "TIMEOUT", (0.5, 0.5))
    monkeypatch.setattr(module, "DEADLINE", 1)
    began = time.monotonic()
    with raw_server(answer, "") as url:
        result = run(SEARCH_URL=url, SEARCH_WAIT_SECONDS="1")
    assert time.monotonic() - began < 10
    assert result.code == 75
    assert "did not do its work within 1 s: " in result.last


BUSY = {
    "too many": says_json(429, {"error": {"type": "circuit_breaking_exception", "reason": "Data too large"}}),
    "no shards": says_json(503, {"error": {"type": "search_phase_execution_exception", "reason": "all shards failed"}}),
    # What it says while it starts; the same kind as when its disk is nearly full.
    "starting": says_json(503, {"error": BLOCK | {"reason": "blocked by: [state not recovered / initialized]"}}),
    "security": Response("OpenSearch Security not initialized.", 503),
    "a proxy": Response("<html>Bad gateway", 502, content_type="text/html"),
    "a defect": says_json(500, {"error": {"type": "null_pointer_exception", "reason": None}}),
}


REQUESTS = ("POST /launches-1/_bulk", "GET /launches", "PUT /launches-1", "POST /_aliases", "POST /launches-1/_refresh")


@pytest.mark.parametrize(("name", "request_"), [*zip(BUSY, itertools.cycle(REQUESTS), strict=False)])
def test_a_server_that_is_busy_is_asked_again(  # noqa: PLR0917  # fixtures
    run: Run, index: Index, database: Database, between: Between, name: str, request_: str
) -> None:
    between.instead = lambda asked: BUSY[name] if asked == request_ and between.asked.count(asked) <= 2 else None
    assert run(**between.env, SEARCH_WAIT_SECONDS="10").code == 0
    assert between.asked.count(request_) >= 3
    index.assert_equal(database)
    assert run().code == 99


@pytest.mark.parametrize("name", ["too many", "starting", "security"])
def test_a_server_that_stays_busy(run: Run, index: Index, database: Database, between: Between, name: str) -> None:
    bulk = "POST /launches-1/_bulk"
    between.instead = lambda asked: BUSY[name] if asked == bulk and between.asked.count(bulk) > 2 else None
    result = run(**between.env, SEARCH_WAIT_SECONDS="1")
    assert result.code == 75
    assert f"did not do its work within 1 s: {bulk}: HTTP {BUSY[name].status_code}, " in result.last
    assert len(index.hits("launches-1")) == 2
    assert run().last == "INFO Indexed 3 launches, deleted 0"
    index.assert_equal(database)


def test_documents_that_a_server_has_no_time_for_are_sent_again(
    run: Run, index: Index, database: Database, between: Between
) -> None:
    error = {"type": "rejected_execution_exception", "reason": "rejected execution of coordinating operation"}
    busy = says_json(200, {"errors": True, "items": [{"index": {"_id": "a", "status": 429, "error": error}}]})
    between.instead = lambda asked: busy if asked.endswith("_bulk") and between.asked.count(asked) != 3 else None
    result = run(**between.env, SEARCH_WAIT_SECONDS="1")
    assert result.code == 75
    assert "within 1 s: rejected execution of coordinating operation." in result.last
    between.asked.clear()
    between.instead = lambda asked: busy if asked.endswith("_bulk") and between.asked.count(asked) < 3 else None
    assert run(**between.env).code == 0
    index.assert_equal(database)
    assert run().code == 99


@pytest.mark.parametrize("name", ["PUT /launches-1", "POST /launches-1/_bulk", "POST /_aliases"])
def test_an_answer_that_was_lost(run: Run, index: Index, database: Database, httpserver: HTTPServer, name: str) -> None:
    """What was asked for is done, and asked for again."""
    between = Between(httpserver, index.server)
    lost: list[str] = []

    def lose(request: Request) -> Response:
        asked = f"{request.method} {request.path}"
        answer = between.pass_on(request)
        if asked == name and asked not in lost:
            lost.append(asked)
            return Response("<html>Bad gateway", 502)
        return answer

    httpserver.clear()
    httpserver.expect_request(re.compile("")).respond_with_handler(lose)
    result = run(**between.env)
    assert lost
    assert (result.code, result.last) == (0, "INFO Indexed 5 launches, deleted 0")
    index.assert_equal(database)
    assert run().code == 99


def test_an_alias_whose_move_was_not_answered(
    run: Run, index: Index, database: Database, between: Between, httpserver: HTTPServer
) -> None:
    """The index of before is gone by then, which is no fault."""
    run()

    def lose(request: Request) -> Response:
        between.asked.append(f"{request.method} {request.path}")
        answer = between.pass_on(request)
        return Response("", 502) if between.asked.count("POST /_aliases") == 1 else answer

    httpserver.clear()
    httpserver.expect_request(re.compile("")).respond_with_handler(lose)
    with mock.patch.object(program, "INDEX", "launches-2"), mock.patch.object(program, "VERSION", 2):
        result = run(**between.env)
        assert result.code == 75
        assert "no such index [launches-1]. It was there a moment ago. The next try looks again." in result.last
        assert index.names() == {"launches-2": ["launches"]}
        assert run().code == 99
    index.assert_equal(database)


@pytest.mark.parametrize("block", ["read_only_allow_delete", "read_only", "write"])
def test_a_server_that_takes_nothing_more(  # noqa: PLR0917  # fixtures
    run: Run, launches: Launches, index: Index, database: Database, some: list[str], block: str
) -> None:
    """As where its disk is nearly full."""
    run()
    launches.change(some[0], status="Hold")
    settings = "/launches-1/_settings"
    index.server.request("PUT", settings, json={f"index.blocks.{block}": True}).raise_for_status()
    began = time.monotonic()
    result = run(SEARCH_WAIT_SECONDS="30")
    assert time.monotonic() - began < 10
    assert result.code == 75
    assert "takes nothing more: index [launches-1] blocked by: [" in result.last
    assert "Where its disk is nearly full, make room: it takes documents again by itself." in result.last
    index.server.request("PUT", settings, json={f"index.blocks.{block}": None}).raise_for_status()
    assert run().last == "INFO Indexed 1 launches, deleted 0"
    index.assert_equal(database)


def test_a_server_that_takes_no_new_index(run: Run, index: Index, database: Database) -> None:
    """As where the disks of all nodes are nearly full."""
    setting = "cluster.blocks.create_index"
    index.server.request("PUT", "/_cluster/settings", json={"transient": {setting: True}}).raise_for_status()
    try:
        result = run()
        assert result.code == 75
        assert "takes nothing more: blocked by: " in result.last
    finally:
        index.server.request("PUT", "/_cluster/settings", json={"transient": {setting: None}}).raise_for_status()
    assert run().code == 0
    index.assert_equal(database)


def test_a_server_with_a_copy_too_few(run: Run, launches: Launches, index: Index, database: Database) -> None:
    """It is yellow, and works."""
    run()
    replicas = {"index.auto_expand_replicas": False, "index.number_of_replicas": 1}
    index.server.request("PUT", "/launches-1/_settings", json=replicas).raise_for_status()
    assert index.get("/_cluster/health/launches-1")["status"] == "yellow"
    launches.add()
    assert run().code == 0
    index.assert_equal(database)
    assert run().code == 99


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("stranger", {"aliases": {"launches": {}}}),
        ("launches-2", {"aliases": {"launches": {}}}),
        ("launches", {}),
        ("launches", BODY),
        ("launches-1", {}),
        ("launches-1", {"mappings": {"_meta": {"application": "another"}}, "aliases": {"launches": {}}}),
    ],
)
def test_an_index_of_somebody_else_is_left_alone(
    run: Run, index: Index, search: Search, name: str, body: dict[str, Any]
) -> None:
    index.server.request("PUT", f"/{name}", json=body).raise_for_status()
    try:
        before = index.get(f"/{name}")
        result = run()
        assert result.code == 78
        assert f"has an index {name}, which is not ours, by the name or behind the alias launches: " in result.last
        assert result.last.endswith("nothing was written. Remove it or that alias, or use another server.")
        assert index.get(f"/{name}") == before
        assert [*index.names()] == [name]
        if name == "stranger":
            assert "refuses POST /launches/_search (HTTP 400): " in search("sparrow", code=78)
    finally:
        index.server.request("DELETE", f"/{name}").raise_for_status()
    assert run().code == 0


@pytest.mark.parametrize("document", [{"name": "x"}, {"launch_id": "y", "name": "x"}])
def test_documents_of_somebody_else(run: Run, index: Index, database: Database, document: dict[str, str]) -> None:
    run()
    index.server.request("PUT", "/launches-1/_doc/stranger", json=document).raise_for_status()
    result = run()
    assert result.code == 78
    assert "launches-1 has documents that are not ours, such as stranger: something else writes to it." in result.last
    assert result.last.endswith("Delete the index: the next run makes it anew.")
    index.server.delete()
    assert run().code == 0
    index.assert_equal(database)


def test_a_document_that_somebody_has_replaced(run: Run, index: Index, database: Database, some: list[str]) -> None:
    run()
    changed = {"launch_id": some[0], "name": "x"}
    index.server.request("PUT", f"/launches-1/_doc/{some[0]}", json=changed).raise_for_status()
    assert run().code == 0
    index.assert_equal(database)


def test_an_index_that_is_deleted_in_the_middle(run: Run, index: Index, database: Database) -> None:
    refresh = Server.refresh

    def gone(server: Server, name: str) -> None:
        index.server.delete()
        refresh(server, name)

    with mock.patch.object(Server, "refresh", gone):
        result = run()
    assert result.code == 75
    assert "no such index [launches-1]. It was there a moment ago. The next try looks again." in result.last
    assert run().code == 0
    index.assert_equal(database)


def test_an_id_that_is_too_long_for_the_server_keeps_no_other_back(
    run: Run, launches: Launches, index: Index, some: list[str]
) -> None:
    longest = "日" * 170 + "xx"
    launches.add(launch_id=longest)
    launches.add(launch_id="日" * 255)
    assert run().code == 0
    assert set(index.hits()) == {*some, longest}
    assert run().code == 99


def at_once(database: Database, index: Index, number: int) -> list[Result]:
    """Start several runs; return how each has ended."""
    results: list[Result] = []
    env = database.env("index") | index.server.env()
    runs = [threading.Thread(target=lambda: results.append(run_step("index", env))) for _ in range(number)]
    for one in runs:
        one.start()
    for one in runs:
        one.join()
    return results


def test_several_at_once(run: Run, index: Index, database: Database) -> None:
    """One writes all; the others wait for it, and find nothing new."""
    results = at_once(database, index, 4)
    assert sorted(result.code for result in results) == [0, 99, 99, 99], results
    assert [result.last for result in results if result.code] == 3 * ["INFO Nothing is new: 5 launches"]
    index.assert_equal(database)
    assert run().code == 99


def test_a_run_waits_for_another(run: Run, index: Index, database: Database) -> None:
    waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    results: list[Result] = []
    env = database.env("index") | index.server.env()
    second = threading.Thread(target=lambda: results.append(run_step("index", env)))

    def until_it_waits() -> None:
        second.start()
        end = time.monotonic() + 20
        while not database.query(waiting):
            assert time.monotonic() < end
            time.sleep(0.02)

    with at(2, until_it_waits):
        assert run(PATH=os.environ["PATH"]).code == 0
    second.join()
    assert [(one.code, one.last) for one in results] == [(99, "INFO Nothing is new: 5 launches")]
    index.assert_equal(database)


def test_a_database_that_goes_in_the_middle(
    run: Run, index: Index, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.store.BATCH", 1)
    monkeypatch.setattr(program, "BATCH", 1)
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename <> 'postgres'"
    with at(2, lambda: database.query(ended, database.name)):
        result = run()
    assert result.code == 75
    assert "ERROR PostgreSQL: " in result.last
    assert 0 < len(index.hits("launches-1")) < 5
    assert run().code == 0
    index.assert_equal(database)
    assert run().code == 99


def test_a_database_that_is_away(run: Run, index: Index, database: Database) -> None:
    result = run(PGPORT="1")
    assert result.code == 75
    assert "PostgreSQL did not answer within 1 s" in result.last
    with mock.patch.object(Store, "state", side_effect=SystemExit(143)), pytest.raises(SystemExit):
        run()
    assert run().code == 0
    index.assert_equal(database)
