"""Bad days of the object store on the real cluster: nothing is lost, no request is spent for nothing."""

from collections.abc import Iterator
from typing import Any

import pytest

from deploy.kind import NODE
from deploy.programs import S3, TASKS, kubectl, run
from tests.e2e.cluster import UPCOMING, make, query, served, stand_in, stored, until
from tests.faults.test_cluster import FETCH, NOTIFY, bare_pod, end_of, slip, tables, turn

pytestmark = pytest.mark.usefixtures("cluster")


def scale(replicas: int) -> None:
    """Take the server away, or bring it back."""
    kubectl("scale", "deployment/s3", "-n", S3, f"--replicas={replicas}")
    kubectl("rollout", "status", "deployment/s3", "-n", S3, "--timeout=2m")
    if not replicas:
        kubectl("wait", "pods", "-n", S3, "-l", "app.kubernetes.io/name=versitygw", "--for=delete", "--timeout=1m")


@pytest.fixture
def away() -> Iterator[None]:
    """No server until the end of the test."""
    scale(0)
    yield
    scale(1)


def asked() -> int:
    """Return how many requests the Launch Library has had."""
    return len(stand_in("launch-library")["requests"])


def assert_all_is_kept() -> None:
    """What a run that died has left is adopted by a check, and the next finds nothing wrong."""
    make("check-store")
    assert make("check-store")[0] == 0


@pytest.mark.usefixtures("away")
def test_a_store_that_is_away_costs_no_request() -> None:
    before, requests = tables(), asked()
    code, last = end_of(bare_pod(FETCH))
    assert (code, "The object store s3://launches does not list its objects" in last) == (75, True), last
    assert asked() == requests
    assert tables() == before
    scale(1)
    assert end_of(bare_pod(FETCH))[0] == 0
    assert stored() == served()


def test_a_message_waits_for_a_store_that_is_away() -> None:
    assert end_of(bare_pod(NOTIFY))[0] in (0, 99)  # it tells of what others have moved
    slip()
    before = tables()
    scale(0)
    try:
        code, last = end_of(bare_pod(NOTIFY))
    finally:
        scale(1)
    assert (code, "does not give an object" in last) == (75, True), last
    assert tables() == before
    assert end_of(bare_pod(NOTIFY))[0] == 0
    assert tables() != before


def test_an_answer_that_cannot_be_kept_is_not_stored() -> None:
    before = tables()
    page = stand_in("launch-library", f"{UPCOMING}?mode=detailed&limit=100")  # a new one: a known one is kept already
    page["results"][0]["name"] += " (new)"
    # Longer than the server takes to go.
    throttled = {"status": 429, "headers": {"Retry-After": "90"}}
    stand_in("launch-library", orders={"faults": [throttled, {"body": page}]})
    pod = bare_pod(FETCH)
    until(lambda: "Throttled" in kubectl("logs", pod, "-n", TASKS, check=False), 60, "fetch does not wait")
    scale(0)
    try:
        code, last = end_of(pod, 180)
    finally:
        scale(1)
    assert (code, "could not be kept, so nothing of it was stored" in last) == (75, True), last
    assert tables() == before
    [failed] = query("SELECT status, error, object_key FROM fetches ORDER BY id DESC LIMIT 1")
    assert "the request has to be repeated" in failed["error"]
    assert failed["object_key"] is None
    assert end_of(bare_pod(FETCH))[0] == 0
    assert stored() == served()
    assert_all_is_kept()


def test_a_server_that_dies_comes_back_with_all_it_has() -> None:
    turn()
    run("docker", "exec", NODE, "pkill", "-9", "versitygw")
    code, last = end_of(bare_pod(FETCH))
    assert code in (0, 75), last
    kubectl("rollout", "status", "deployment/s3", "-n", S3, "--timeout=2m")
    assert end_of(bare_pod(FETCH))[0] == 0
    assert stored() == served()
    assert_all_is_kept()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "the secret key is wrong"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "does not know the access key"),
        ({"AWS_ACCESS_KEY_ID": "backup"}, "the secret key is wrong"),
        ({"OBJECT_STORE": "s3://elsewhere"}, "there is no such bucket"),
        ({"OBJECT_STORE": "s3://launches/elsewhere"}, "has not the right to do this"),
    ],
    ids=["key", "user", "another's name", "bucket", "prefix"],
)
def test_what_no_waiting_heals_is_named(wrong: dict[str, Any], sentence: str) -> None:
    before, requests = tables(), asked()
    code, last = end_of(bare_pod(FETCH, **wrong))
    assert (code, sentence in last) == (78, True), last
    assert asked() == requests
    assert tables() == before
