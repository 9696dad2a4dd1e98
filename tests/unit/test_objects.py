"""The object store: a folder, and S3's refusals as a server gives them."""

import re
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from objects import Missing, Objects, from_environment
from step import Failure
from tests.conftest import run_step

PREFIX = "launch-library/2.3.0/"
KEY = f"{PREFIX}2031/01/01/20310101T000000Z-0123456789ab.json.zst"
METADATA = {"url": "http://127.0.0.1/?limit=100", "status": "200"}
SECRET = "a-secret-key"  # invented


@pytest.fixture
def folder(tmp_path: Path) -> Objects:
    return Objects(f"file://{tmp_path}/a%20store")


@pytest.fixture
def s3(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """A store whose server is the test's own."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", httpserver.url_for("").rstrip("/"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr("objects.RETRIES", 0)
    return Objects("s3://launches/mine")


def test_what_was_put_comes_back_with_its_metadata(folder: Objects, tmp_path: Path) -> None:
    folder.put(KEY, b"\0\xff", METADATA)
    assert folder.get(KEY) == (b"\0\xff", METADATA)
    assert (tmp_path / "a store" / KEY).read_bytes() == b"\0\xff"


def test_an_object_is_never_overwritten(folder: Objects) -> None:
    folder.put(KEY, b"first", METADATA)
    folder.put(KEY, b"second", METADATA)
    assert folder.get(KEY)[0] == b"first"


def test_keys_are_those_below_a_prefix_and_nothing_beside_them(folder: Objects) -> None:
    others = [f"{PREFIX}2031/01/02/{number:05}.json.zst" for number in range(2500)]
    for key in (KEY, *others, "backups/a.dump"):
        folder.put(key, b"", METADATA)
    assert sorted(folder.keys("launch-library/")) == [KEY, *others]


def test_what_was_deleted_is_missing_and_deleting_it_again_is_no_error(folder: Objects, tmp_path: Path) -> None:
    folder.put(KEY, b"", METADATA)
    folder.delete([KEY])
    folder.delete([KEY])
    with pytest.raises(Missing, match="0123456789ab"):
        folder.get(KEY)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "sentence"),
    [
        (403, "RequestTimeTooSkewed", 78, "clock and the store's differ by more than 15 minutes"),
        (403, "InvalidAccessKeyId", 78, "check AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", 78, "check AWS_SECRET_ACCESS_KEY"),
        (403, "AccessDenied", 78, "has not the right to do this"),
        (404, "NoSuchBucket", 78, "make it, or correct OBJECT_STORE"),
        (507, "InsufficientStorage", 75, "it is full. Make room"),
        (403, "QuotaExceeded", 75, "it is full. Make room"),
        (403, "Invented", 78, "Check OBJECT_STORE and the keys"),
        (500, "InternalError", 75, "Check that it runs"),
        (503, "SlowDown", 75, "Check that it runs"),
    ],
)
def test_a_refusal_says_what_to_do(  # noqa: PLR0917  # a row of the table
    s3: Objects, httpserver: HTTPServer, status: int, code: str, exit_code: int, sentence: str
) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>"
    httpserver.expect_request(re.compile(".*")).respond_with_data(body, status, content_type="text/xml")
    with pytest.raises(Failure) as refused:
        s3.put(KEY, b"", METADATA)
    assert refused.value.exit_code == exit_code
    assert sentence in str(refused.value)
    assert str(refused.value).startswith("The object store s3://launches/mine does not keep an object")
    assert SECRET not in str(refused.value)
    assert code in str(refused.value) or "is full" in sentence
    assert "<" not in str(refused.value)


def test_a_put_is_conditional_and_carries_the_metadata(s3: Objects, httpserver: HTTPServer) -> None:
    httpserver.expect_request(re.compile(".*"), method="PUT").respond_with_data("", headers={"ETag": '"1"'})
    s3.put(KEY, b"body", METADATA)
    [(request, _)] = httpserver.log
    assert request.path == f"/launches/mine/{KEY}"
    assert request.headers["If-None-Match"] == "*"
    assert request.headers["x-amz-meta-url"] == METADATA["url"]
    assert request.headers["x-amz-meta-status"] == "200"


def test_one_that_is_there_already_is_no_error(s3: Objects, httpserver: HTTPServer) -> None:
    body = "<Error><Code>PreconditionFailed</Code></Error>"
    httpserver.expect_request(re.compile(".*")).respond_with_data(body, 412)
    s3.put(KEY, b"", METADATA)
    assert len(httpserver.log) == 1


def test_a_server_that_is_not_there_may_be_later(s3: Objects, httpserver: HTTPServer) -> None:
    httpserver.stop()
    try:
        with pytest.raises(Failure, match=r"does not list its objects: .*error sending request") as away:
            s3.check("launch-library/")
    finally:
        httpserver.start()
    assert away.value.exit_code == 75


@pytest.mark.parametrize("url", ["ftp://x", "s3://", "nonsense", "file:///proc/none/such", "az://without-account"])
def test_an_address_that_can_be_no_store_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBJECT_STORE", url)
    with pytest.raises(Failure, match="give an address such as s3://bucket/prefix") as refused:
        from_environment()
    assert refused.value.exit_code == 78


def test_without_an_address_there_is_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBJECT_STORE", "")
    assert from_environment() is None


def test_a_backup_is_put_and_got_back(tmp_path: Path) -> None:
    env = {"OBJECT_STORE": (tmp_path / "store").as_uri()}
    (tmp_path / "dumps").mkdir()
    (tmp_path / "dumps" / "launches-20310101T021500Z.dump").write_bytes(b"\0dump")
    put = run_step("objects", env, "put", str(tmp_path / "dumps"), "backups/")
    assert put.code == 0
    assert "launches-20310101T021500Z.dump" in put.last
    got = run_step("objects", env, "get", str(tmp_path / "back.dump"), "backups/launches-20310101T021500Z.dump")
    assert got.code == 0
    assert (tmp_path / "back.dump").read_bytes() == b"\0dump"


def test_a_backup_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, folder: Objects) -> None:
    folder.put("backups/launches-20310101T021500Z.dump", b"", {})
    env = {"OBJECT_STORE": folder.url}
    result = run_step("objects", env, "get", str(tmp_path / "back.dump"), "backups/other.dump")
    assert result.code == 65
    assert "backups/other.dump is not in" in result.last
    assert "which has backups/launches-20310101T021500Z.dump" in result.last
    assert run_step("objects", {}, "get", str(tmp_path / "back.dump"), "backups/other.dump").code == 78
