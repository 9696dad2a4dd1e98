"""The S3 server's image with the bucket's policy: each user can do what it is for, and nothing else."""

import contextlib
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from deploy import objects
from deploy.charts import RELEASES
from deploy.programs import Failed
from objects import Missing, Objects
from step import Failure

IMAGE, _ = RELEASES["s3"].images
ROOT_KEY = {"rootAccessKeyId": "root", "rootSecretAccessKey": secrets.token_urlsafe()}
ANSWER, BACKUP = "launch-library/2.3.0/2031/01/01/20310101T000000Z-0123456789ab.json.zst", "backups/a.dump"
CRAWLED, PUBLIC = "crawled/01/0123456789abcdef", "public/index.html"
# Beside what USERS says, which the test does not read.
MAY = {
    ("fetch", "put", ANSWER),
    ("fetch", "get", ANSWER),
    ("fetch", "list", "launch-library/"),
    ("notify", "get", ANSWER),
    ("index", "get", ANSWER),
    ("crawl", "get", ANSWER),
    ("crawl", "put", CRAWLED),
    ("crawl", "get", CRAWLED),
    ("crawl", "list", "crawled/"),
    ("publish", "get", ANSWER),
    ("publish", "get", CRAWLED),
    ("publish", "put", PUBLIC),
    ("publish", "list", "public/"),
    ("publish", "delete", PUBLIC),
    *((user, "get", PUBLIC) for user in objects.USERS),  # as everybody may
    ("thin", "get", ANSWER),
    ("thin", "get", BACKUP),
    ("thin", "list", "launch-library/"),
    ("thin", "list", "backups/"),
    ("thin", "delete", ANSWER),
    ("thin", "delete", BACKUP),
    ("backup", "put", BACKUP),
    ("backup", "get", BACKUP),
    ("backup", "list", "backups/"),
}


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def started(*mounts: str) -> Iterator[str]:
    """Start the server as its chart does, with the folders of a volume; yield its container's name."""
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False).returncode:
        pytest.skip(f"no Docker, or no {IMAGE} here: k8s/offline/build s3 makes it")
    variables = {
        "VGW_BACKEND": "posix",
        "VGW_BACKEND_ARGS": "/mnt/data",
        "ROOT_ACCESS_KEY_ID": ROOT_KEY["rootAccessKeyId"],
        "ROOT_SECRET_ACCESS_KEY": ROOT_KEY["rootSecretAccessKey"],
        "VGW_PORT": ":7070",
        "VGW_REGION": objects.REGION,
        "VGW_IAM_DIR": "/mnt/iam",
        "VGW_IAM_CACHE_DISABLE": "true",
    }
    name = f"s3-{secrets.token_hex(4)}"
    try:
        docker(
            *("run", "--detach", "--name", name, "--read-only", "--user", "1000", "--cap-drop", "ALL"),
            *("--tmpfs", "/mnt/iam:uid=1000", *mounts),
            *("--publish", "127.0.0.1::7070"),
            *(f"--env={key}={value}" for key, value in variables.items()),
            IMAGE,
        )
        yield name
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)


def address(container: str) -> str:
    """Return the server's address, once it answers."""
    found = docker("port", container, "7070").strip()
    host, port = found.split(":")
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            break
        time.sleep(0.1)
    time.sleep(0.5)  # Docker's own proxy takes connections before the server does
    return f"http://{found}"


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    """The server with a volume that is soon full."""
    with started("--tmpfs", "/mnt/data:uid=1000,size=64m") as name:
        yield name


@pytest.fixture(scope="module")
def server(container: str) -> str:
    return address(container)


@pytest.fixture
def keys(server: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set the bucket up as the deployment does, with these keys of its users."""
    found = {user: secrets.token_urlsafe() for user in objects.USERS}

    @contextlib.contextmanager
    def forward(*_: object) -> Iterator[str]:
        yield server

    def secret(_namespace: str, name: str) -> dict[str, str]:
        return ROOT_KEY if name == "s3-root" else {"AWS_SECRET_ACCESS_KEY": found[name.removeprefix("objects-")]}

    monkeypatch.setattr(objects, "forward", forward)
    monkeypatch.setattr(objects, "secret", secret)
    objects.set_up_bucket()
    return found


@pytest.fixture
def store(server: str, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401  # a function
    """Return the bucket as one of the users sees it."""

    def of(user: str, key: str = "", url: str = f"s3://{objects.BUCKET}", server: str = server) -> Objects:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server)
        monkeypatch.setenv("AWS_REGION", objects.REGION)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", user)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key or keys[user])
        return Objects(url)

    return of


@pytest.fixture
def full(server: str, store: Any) -> None:  # noqa: ANN401  # the same
    """Put what each prefix has, as root, who may."""
    root = store("root", ROOT_KEY["rootSecretAccessKey"])
    for key in (ANSWER, BACKUP, CRAWLED, PUBLIC):
        root.put(key, b"hello", {"status": "200"})
    assert server


def outcome(one: Objects, what: str, where: str) -> str:
    """Try something; return what came of it."""
    try:
        match what:
            case "put":
                one.put(where, b"", {})
            case "get":
                one.get(where)
            case "delete":
                one.delete([where])
            case "list":
                assert list(one.keys(where))
    except Missing:
        return "missing"
    except Failure as failure:
        return "refused" if failure.exit_code == 78 and "AccessDenied" in str(failure) else str(failure)
    return "done"


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("user", list(objects.USERS))
def test_each_user_can_do_what_it_is_for_and_nothing_else(store: Any, user: str) -> None:  # noqa: ANN401  # the same
    objects_and_prefixes = (
        (ANSWER, BACKUP, CRAWLED, PUBLIC, "elsewhere"),
        ("launch-library/", "backups/", "crawled/", "public/", ""),
    )
    tried = [(what, key) for what in ("put", "get") for key in objects_and_prefixes[0]]
    tried += [("list", prefix) for prefix in objects_and_prefixes[1]]
    tried += [("delete", key) for key in objects_and_prefixes[0]]  # last, as the others need what is there
    found = {(user, *one): outcome(store(user), *one) for one in tried}
    assert found == {(user, *one): "done" if (user, *one) in MAY else "refused" for one in tried}


@pytest.mark.usefixtures("full")
def test_what_was_deleted_is_missing_and_deleting_it_again_is_no_error(store: Any) -> None:  # noqa: ANN401  # the same
    thin = store("thin")
    for _ in range(2):
        thin.delete([ANSWER, BACKUP])
    assert [outcome(thin, "get", key) for key in (ANSWER, BACKUP)] == ["missing", "missing"]


def test_set_up_again_the_keys_are_those_of_the_secrets(store: Any, keys: dict[str, str]) -> None:  # noqa: ANN401  # the same
    for _ in range(3):
        keys["fetch"] = secrets.token_urlsafe()
        objects.set_up_bucket()
        store("fetch").check("launch-library/")
    with pytest.raises(Failure, match="the secret key is wrong"):
        store("fetch", "another").check("launch-library/")
    with pytest.raises(Failure, match="does not know the access key"):
        store("nobody", "another").check("launch-library/")
    with pytest.raises(Failure, match="there is no such bucket"):
        store("fetch", url="s3://another").check("launch-library/")


def test_more_objects_than_a_list_has_are_all_listed(store: Any) -> None:  # noqa: ANN401  # the same
    """S3 lists a thousand at a time."""
    keys = {f"launch-library/many/{number:05}.json.zst" for number in range(2100)}
    fetch = store("fetch")
    for key in keys:
        fetch.put(key, b"", {})
    assert set(fetch.keys("launch-library/many/")) == keys


@pytest.mark.usefixtures("full")
def test_what_is_there_is_not_overwritten_and_has_its_metadata(store: Any) -> None:  # noqa: ANN401  # the same
    fetch = store("fetch")
    fetch.put(ANSWER, b"other", {"status": "500"})
    body, metadata = fetch.get(ANSWER)
    assert (body, metadata["status"]) == (b"hello", "200")


# What a server says on a bad day


def said(one: Objects) -> tuple[int, str]:
    """Try to keep an object; return the exit code that a step would end with, and its last line."""
    with pytest.raises(Failure) as failure:
        one.put(f"launch-library/{secrets.token_hex(4)}", b"x" * 100_000, {})
    return failure.value.exit_code, str(failure.value)


def test_a_full_volume_is_to_be_tried_later(container: str, store: Any) -> None:  # noqa: ANN401  # the same
    fetch = store("fetch")
    docker("exec", container, "sh", "-c", "cat /dev/zero >/mnt/data/launches/fill 2>/dev/null; true")
    try:
        code, sentence = said(fetch)
        fetch.check("launch-library/")  # what is there can be read
    finally:
        docker("exec", container, "rm", "/mnt/data/launches/fill")
    assert (code, "it is full. Make room" in sentence) == (75, True), sentence
    fetch.put("launch-library/then", b"x" * 100_000, {})


def test_a_read_only_volume_is_to_be_tried_later(store: Any, tmp_path: Path) -> None:  # noqa: ANN401  # the same
    (tmp_path / "launches").mkdir()
    for path in (tmp_path, tmp_path / "launches"):
        path.chmod(0o777)
    with started("--volume", f"{tmp_path}:/mnt/data:ro") as container:
        root = store("root", ROOT_KEY["rootSecretAccessKey"], server=address(container))
        root.check("launch-library/")
        code, sentence = said(root)
    assert (code, "500 Internal Server Error (InternalError). Check that it runs" in sentence) == (75, True), sentence


def test_a_server_that_hangs_is_to_be_tried_later(container: str, store: Any) -> None:  # noqa: ANN401  # the same
    fetch = store("fetch")
    docker("pause", container)
    try:
        began = time.monotonic()
        code, sentence = said(fetch)
        took = time.monotonic() - began
    finally:
        docker("unpause", container)
    assert (code, "Check that it runs" in sentence) == (75, True), sentence
    assert took < 60
    fetch.put("launch-library/and-again", b"", {})


def test_a_clock_that_is_wrong_is_refused_by_the_word_that_is_explained(
    server: str,
    keys: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # a plain one will do
            return datetime.now(tz) + timedelta(minutes=20)

    monkeypatch.setattr(objects, "datetime", Ahead)
    with pytest.raises(Failed, match="RequestTimeTooSkewed"):
        objects.Server(server, "fetch", keys["fetch"])("GET", f"/{objects.BUCKET}/{ANSWER}")
