"""With an object store, a message shows what the answer there says of its launch."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from objects import Objects, compressor
from tests.conftest import Database
from tests.unit.notify.conftest import NOW, SOON, Watched, add, run

PAGE, ALONE = "launch-library/2.3.0/page.json.zst", "launch-library/2.3.0/alone.json.zst"
DETAILS = {"mission": {"description": "To the \ud800 Moon."}, "rocket": {"configuration": {"name": "Kestrel"}}}
SHOWN = "To the \ufffd Moon."


@pytest.fixture
def store(tmp_path: Path) -> Objects:
    return Objects(f"file://{tmp_path}/store")


def put(store: Objects, key: str, answer: Any) -> None:  # noqa: ANN401  # any JSON
    body = BytesIO()
    with compressor(body) as file:
        file.write(json.dumps(answer).encode())
    store.put(key, body.getvalue(), {})


def point(database: Database, key: str, position: int | None) -> None:
    database.query("UPDATE rocket_launches SET details = NULL, object_key = %s, position = %s", key, position)


@pytest.mark.parametrize("place", [(PAGE, 2), (ALONE, None)], ids=["on a page", "by its id"])
def test_a_message_shows_the_details_of_the_answer(
    database: Database, discord: Watched, store: Objects, place: tuple[str, int | None]
) -> None:
    put(store, PAGE, {"results": [{"mission": None}, None, DETAILS]})
    put(store, ALONE, DETAILS)
    add(database, "a", SOON)
    point(database, *place)
    assert run(database, discord.webhook_url, NOW=NOW, OBJECT_STORE=store.url).code == 0
    [message] = discord.messages
    assert message.body["embeds"][0]["description"] == SHOWN
    assert "Kestrel" in str(message.body["embeds"][0]["fields"])


@pytest.mark.parametrize("answer", [None, b"", b"not compressed", {"results": []}, "no page", [[]]], ids=repr)
def test_without_its_answer_a_launch_is_announced_all_the_same(
    database: Database, discord: Watched, store: Objects, answer: object
) -> None:
    if isinstance(answer, bytes):
        store.put(PAGE, answer, {})
    elif answer is not None:
        put(store, PAGE, answer)
    add(database, "a", SOON)
    point(database, PAGE, 0)
    result = run(database, discord.webhook_url, NOW=NOW, OBJECT_STORE=store.url)
    assert result.code == 0
    assert len(discord.messages) == 1
    says_so = any(f"What {PAGE} says is left out" in line for line in result.lines)
    assert says_so == (answer is None or isinstance(answer, bytes))


def test_a_store_that_is_away_is_tried_again(database: Database, discord: Watched) -> None:
    add(database, "a", SOON)
    point(database, PAGE, 0)
    closed = {
        "OBJECT_STORE": "s3://launches",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_REGION": "us-east-1",
    }
    result = run(database, discord.webhook_url, NOW=NOW, **closed)
    assert result.code == 75
    assert "The object store s3://launches does not give an object" in result.last
    assert discord.messages == []


def test_a_store_that_is_not_named_is_asked_for(database: Database, discord: Watched) -> None:
    add(database, "a", SOON)
    point(database, PAGE, 0)
    result = run(database, discord.webhook_url, NOW=NOW)
    assert result.code == 78
    assert "OBJECT_STORE does not say which: set it" in result.last


@pytest.mark.parametrize(
    ("address", "unnamed_since", "linked"),
    [
        ("https://launches.example.org/", None, "https://launches.example.org/launch/a.html"),
        ("https://launches.example.org", NOW, None),  # it will be deleted
        ("", None, None),
    ],
)
def test_a_message_links_the_page_that_is_published(
    database: Database, discord: Watched, address: str, unnamed_since: str | None, linked: str | None
) -> None:
    database.query("TRUNCATE published_files")
    add(database, "a", SOON)
    database.query(
        "INSERT INTO published_files (path, launch_id, sha256, etag, written_at, unnamed_since)"
        " VALUES ('launch/a.html', 'a', '', '', now(), %s)",
        unnamed_since,
    )
    assert run(database, discord.webhook_url, PUBLIC_URL=address).code == 0
    [message] = discord.messages
    assert message.body["embeds"][0].get("url") == linked
    # One that is published after its launch was announced is linked by the next run.
    if linked is None and not unnamed_since:
        assert run(database, discord.webhook_url, PUBLIC_URL="https://launches.example.org").code == 0
        assert message.body["embeds"][0]["url"] == "https://launches.example.org/launch/a.html"
