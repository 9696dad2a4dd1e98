"""Weeks of real pages."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import fetch.__main__
import notify.__main__
from standins.launch_library import UPCOMING, LaunchLibrary
from step import Failure
from tests.conftest import Database
from tests.unit.notify.conftest import (
    Watched,
)


def test_over_the_recorded_weeks_each_launch_has_one_message_that_is_kept_up_to_date(
    new_database: Callable[..., Database], discord: Watched, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = new_database()
    monkeypatch.setenv("DISCORD_WEBHOOK_URL", discord.webhook_url)
    facts = "SELECT launch_id, name, net, net_precision, status, image_url FROM rocket_launches"
    stored: dict[str, tuple[Any, ...]] = {}
    told: dict[str, tuple[Any, ...]] = {}  # what the message of a launch should show

    def step(name: str, program: Callable[[], object]) -> object:
        for variable, value in database.env(name).items():
            monkeypatch.setenv(variable, value)
        return program()

    pages = sorted((recorded / "2.2.0" / "series").glob("*.json"))
    assert len(pages) == 150
    with LaunchLibrary() as library:
        monkeypatch.setenv("LAUNCH_LIBRARY_URL", library.url + UPCOMING["2.2.0"])
        for page in pages:
            library.page = page.read_bytes()
            monkeypatch.setenv("NOW", datetime.strptime(page.stem, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).isoformat())
            with contextlib.suppress(Failure) if page == pages[0] else contextlib.nullcontext():
                step("fetch", fetch.__main__.run)
            before = [discord.count(method) for method in ("POST", "PATCH")]
            code = step("notify", notify.__main__.run)

            stored = {row[0]: row[1:] for row in database.query(facts)}
            outdated = {launch_id for launch_id, shown in told.items() if stored[launch_id] != shown}
            announced = {launch_id for (launch_id,) in database.query("SELECT launch_id FROM notifications")}
            new = announced - told.keys()
            posts, patches = discord.count("POST") - before[0], discord.count("PATCH") - before[1]
            assert (posts, patches) == (len(new), len(outdated)), page.name
            assert code == (0 if posts or patches else 99), page.name
            told = {launch_id: stored[launch_id] for launch_id in announced}

    ids = dict(database.query("SELECT message_id, launch_id FROM notifications ORDER BY id"))
    assert [message.id for message in discord.messages] == list(ids)
    assert len(set(ids.values())) == len(discord.messages) > 10
    assert discord.count("PATCH") > len(discord.messages)
    for message in discord.messages:
        (embed,) = message.body["embeds"]
        name, net, precision, status, image_url = stored[ids[message.id]]
        assert embed["title"].replace("\\", "") == name
        shown = {field["name"]: field["value"] for field in embed["fields"]}
        assert precision not in ("second", "minute", "hour") or f"<t:{net.timestamp():.0f}:F>" in shown["When"]
        words = {"Go": "Go for launch", "Success": "Launch successful", "Failure": "Launch failed"}
        assert shown["Status"] == words.get(status, shown["Status"])
        assert embed.get("image", {}).get("url") == image_url
