"""The settings of notify_discord."""

import pytest

from standins.discord import TOKEN
from tests.conftest import Database
from tests.unit.notify.conftest import SOON, Watched, add, run


@pytest.mark.parametrize("url", [None, ""])
def test_without_a_webhook_it_says_so_and_needs_no_database(database: Database, url: str | None) -> None:
    result = run(database, url, PGPORT="1")
    assert (result.code, result.lines) == (
        99,
        ["INFO No webhook: DISCORD_WEBHOOK_URL is not set, so nobody was notified"],
    )


def test_switched_off_it_says_so_and_needs_nothing(database: Database, discord: Watched) -> None:
    result = run(database, discord.webhook_url, NOTIFY="false", PGPORT="1")
    assert (result.code, result.lines) == (99, ["INFO Notifying is switched off for this run: nothing was posted"])
    assert discord.requests == []


@pytest.mark.parametrize("setting", ["true", ""])
def test_switched_on(database: Database, discord: Watched, setting: str) -> None:
    add(database, "soon", SOON)
    assert run(database, discord.webhook_url, NOTIFY=setting).code == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"NOTIFY": "yes"},
        {"NOTIFY": "True\n2026 INFO forged"},
    ],
)
def test_a_wrong_setting_is_bad_configuration(database: Database, discord: Watched, wrong: dict[str, str]) -> None:
    result = run(database, discord.webhook_url, **wrong)
    assert (result.code, len(result.lines)) == (78, 1)
    assert "give" in result.last
    assert "\x1b" not in result.last
    assert discord.requests == []


@pytest.mark.parametrize(
    "url",
    [
        TOKEN,
        f"discord.com/api/webhooks/1/{TOKEN}",
        f"ftp://discord.com/api/webhooks/1/{TOKEN}",
        f"https:///api/webhooks/1/{TOKEN}",
        f"https://discord.com/api/webhooks/{TOKEN}",
        f"https://discord.com/api/webhooks/x/{TOKEN}",
        f"https://discord.com/api/webhooks/1/{TOKEN}/slack",
        f"https://discord.com/api/webhooks/1/{TOKEN} ",
        f"https://discord.com/{TOKEN}",
        f"https://[discord.com/api/webhooks/1/{TOKEN}",
        f"https://discord.com:port/api/webhooks/1/{TOKEN}",
        f"https://discord.com:99999/api/webhooks/1/{TOKEN}",
        f"https://discord..com/api/webhooks/1/{TOKEN}",
        f"https://.discord.com/api/webhooks/1/{TOKEN}",
        f"https://{64 * 'x'}.com/api/webhooks/1/{TOKEN}",
        f"https://*/api/webhooks/1/{TOKEN}",
    ],
)
def test_what_is_no_webhook_is_bad_configuration_and_not_repeated(database: Database, url: str) -> None:
    add(database, "soon", SOON)
    result = run(database, url)
    assert (result.code, len(result.lines)) == (78, 1)
    assert "copy it from the channel's settings" in result.last
