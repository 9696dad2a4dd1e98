"""The search index on a real cluster: `make e2e WITH=search`. One test after the other."""

import json
import re
from typing import Any

import pytest

from deploy.airflow import Api
from deploy.charts import install
from deploy.programs import SEARCH, TASKS, kubectl
from deploy.search import RIGHTS, set_up_search, write_search_secrets
from deploy.settings import secret
from tests.e2e.cluster import ended, make, newest_log, query, run_pod, stand_in
from tests.e2e.conftest import only_with

DAG = "index_launches"
LAUNCH = 'launch_id, name, to_char(net, \'YYYY-MM-DD"T"HH24:MI:SS".000+00:00"\') AS net, status'
NAMES = ("launch_id", "name", "net", "status")
# Prints all that is indexed, a launch a line.
READ = """
import json
from index.server import Server
with Server() as server:
    for hit in server.search("launches", {"size": 10000})["hits"]["hits"]:
        print(json.dumps(hit["_source"]))
"""
# What each may not do, as reader, and without a login.
FORBIDDEN = """
from index.server import Server
with Server() as server:
    server.indices("launches")  # waits for the policies of this new pod
    def status(method, path):
        return server._session.request(method, server.url + path, json={}, timeout=20).status_code
    said = [status("DELETE", "/launches"), status("PUT", "/launches-1/_doc/x"), status("PUT", "/mine")]
    said += [status("GET", "/_cat/indices"), status("GET", "/_plugins/_security/api/internalusers")]
    server._session.auth = None
    print(*said, status("GET", "/launches/_search"))
"""
# A new pod's policies are there after a moment.
CONNECT = """
import socket, time
time.sleep(3)
socket.create_connection(("search.search.svc", 9200), 5).close()
print("connected")
"""


@pytest.fixture(scope="module", autouse=True)
def wanted(request: pytest.FixtureRequest) -> str:
    only_with("search", "a search server")
    return str(request.getfixturevalue("parts"))


def run(program: str, label: str = "search") -> str:
    return run_pod("index", program, login="search-reader", label=label)


def assert_equal() -> None:
    """The index has the launches of the table, as the user for people reads them."""
    table = {row["launch_id"]: row for row in query(f"SELECT {LAUNCH} FROM rocket_launches")}
    assert table
    found = [json.loads(line) for line in run(READ).splitlines()]
    assert {one["launch_id"]: {name: one.get(name) for name in NAMES} for one in found} == table


def server() -> dict[str, Any]:
    return json.loads(kubectl("get", "pod", "search-0", "-n", SEARCH, "-o", "json"))  # type: ignore[no-any-return]


def search(**words: str) -> str:
    code, output = make("search", *(f"{name}={text.replace('$', '$$')}" for name, text in words.items()))
    assert code == 0
    return output


def test_from_nothing(wanted: str) -> None:
    if not wanted:
        pytest.skip("the cluster is there")
    phases = [line.split()[0] for line in wanted.splitlines() if re.search(r" \d+ s$", line)]
    assert phases.index("objects") < phases.index("search") < phases.index("airflow")
    assert "Search: https://search.search.svc:9200 in the cluster, as reader with what this prints: kubectl" in wanted
    assert not [user for user in RIGHTS if secret(TASKS, f"search-{user}")["SEARCH_PASSWORD"] in wanted]


def test_the_index_follows_the_fetch() -> None:
    with Api() as call:
        assert set(ended(call, DAG, 1)) == {"success"}
    assert re.search(r"INFO Indexed \d+ launches, deleted 0$", newest_log(DAG, 0), re.MULTILINE)
    assert_equal()


def test_people_find_what_they_look_for() -> None:
    [launch] = query(
        "SELECT name FROM rocket_launches WHERE name ~ '^Falcon 9.*Starlink Group [0-9]+-[0-9]+$' ORDER BY net LIMIT 1"
    )
    number = launch["name"].rpartition(" ")[2]
    assert search(Q=f"starlnk {number}").splitlines()[0] == launch["name"]
    assert search(Q="falcon", PROVIDER="spacex").startswith("Falcon")
    assert "SpaceX" not in search(PROVIDER="nobody")


@pytest.mark.parametrize("text", ['it\'s $(SEARCH_PASSWORD) `id` "x" ; exit 3', "--help", "$PATH", "*", "\\"])
def test_what_is_typed_is_no_command(text: str) -> None:
    output = search(Q=text)
    assert secret(TASKS, "search-reader")["SEARCH_PASSWORD"] not in output
    assert "usage:" not in output


def test_a_slip_is_found() -> None:
    with Api() as call:
        count = len(ended(call, DAG, 1))
        stand_in("launch-library", orders={"scenario": "slipped"})
        assert make("trigger")[0] == 0
        assert ended(call, DAG, count + 1)[-1] == "success"
    assert_equal()
    assert "slipped 1 time" in search()


def test_who_may_do_what() -> None:
    assert run(FORBIDDEN).split() == [*5 * ["403"], "401"]
    assert run(CONNECT) == "connected\n"
    with pytest.raises(AssertionError, match=r"timed out|refused"):
        run(CONNECT, label="none")


def test_another_installation_keeps_logins_and_the_certificate() -> None:
    """As each `make up` does."""
    secrets = [(SEARCH, "search-tls"), *((TASKS, f"search-{user}") for user in RIGHTS)]
    before, was = {name: secret(namespace, name) for namespace, name in secrets}, server()
    write_search_secrets({"WITH": "search"})
    install("search", {})
    set_up_search({"WITH": "search"})
    assert {name: secret(namespace, name) for namespace, name in secrets} == before
    # The server was not started again.
    assert server()["metadata"]["uid"] == was["metadata"]["uid"]


def test_a_lost_secret_is_made_again_and_the_data_survive_the_pod() -> None:
    for user in RIGHTS:
        kubectl("delete", "secret", f"search-{user}", "-n", TASKS)
    kubectl("delete", "pod", "search-0", "-n", SEARCH)
    kubectl("rollout", "status", "statefulset/search", "-n", SEARCH, "--timeout=3m")
    set_up_search({"WITH": "search"})
    assert_equal()
    with Api() as call:
        count = len(ended(call, DAG, 1))
        call("POST", f"/api/v2/dags/{DAG}/dagRuns", {"logical_date": None})
        assert ended(call, DAG, count + 1)[-1] == "success"
    assert "INFO Nothing is new" in newest_log(DAG)
