"""The settings of notify_discord, and its client for a webhook."""

import time

import pytest

from notify import discord as notify_discord
from notify.discord import Pace, Refused, Webhook
from standins.discord import TOKEN, WEBHOOK_ID
from standins.server import Answer
from step import Failure
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


# A thread, and what errors call the setting


@pytest.mark.parametrize(("query", "thread"), [("?thread_id=33", None), ("", "33"), ("?thread_id=1", "33")])
def test_a_thread_gets_its_messages_and_their_edits(discord: Watched, query: str, thread: str | None) -> None:
    webhook = Webhook(discord.webhook_url + query, thread)
    assert (webhook.id, webhook.thread, webhook.key) == (WEBHOOK_ID, "33", f"{WEBHOOK_ID}/33")
    assert webhook.edit(webhook.post({"content": "x"}), {"content": "y"})
    (message,) = discord.messages
    assert (message.thread, message.edits) == ("33", 1)


def test_without_a_thread_the_key_is_the_webhooks_id(discord: Watched) -> None:
    webhook = Webhook(f"{discord.webhook_url}?wait=false&x=1")
    assert (webhook.thread, webhook.key) == (None, WEBHOOK_ID)
    webhook.post({"content": "x"})
    assert discord.requests[0].query == {"wait": "true"}


@pytest.mark.parametrize("thread", ["x", "3 3", "٣", "3\n", "9" * 21, f"3/{TOKEN}"])
def test_a_thread_that_is_none_is_bad_configuration(discord: Watched, thread: str) -> None:
    with pytest.raises(Failure, match=r"^DISCORD_WEBHOOK_URL is not the address") as failure:
        Webhook(discord.webhook_url, thread)
    assert failure.value.exit_code == 78
    assert TOKEN not in str(failure.value)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(404, {"message": "Unknown Webhook", "code": 10015}), "does not know webhook"),
        (Answer(404, {"message": "Unknown Channel", "code": 10003}), "not with this token or thread"),
        (Answer(301, None, {"Location": "/"}), "has moved"),
    ],
)
def test_an_error_names_the_channels_setting(discord: Watched, answer: Answer, told: str) -> None:
    discord.faults = [answer]
    with pytest.raises(Refused, match=f"{told}.*the webhook of ops in channels.toml") as failure:
        Webhook(discord.webhook_url, name="the webhook of ops in channels.toml").post({"content": "x"})
    assert failure.value.exit_code == 78
    assert "DISCORD_WEBHOOK_URL" not in str(failure.value)


def test_an_edit_leaves_the_flags_out(discord: Watched) -> None:
    webhook = Webhook(discord.webhook_url)
    message = {"content": "x", "flags": 4096}
    assert webhook.edit(webhook.post(message), message)
    assert [request.json().get("flags") for request in discord.requests] == [4096, None]
    assert message["flags"] == 4096


# Discord's limits of the rate


@pytest.fixture
def hurried(discord: Watched, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Discord with its limits, all seconds a thirtieth of theirs."""
    discord.limits = ((5, 2 / 30), (30, 60 / 30))
    monkeypatch.setattr(notify_discord, "MESSAGES_SECONDS", 60 / 30)
    monkeypatch.setattr(notify_discord, "WAIT_SECONDS", 240 / 30)
    return discord


def test_100_messages_all_arrive_and_discord_need_not_limit_the_rate(hurried: Watched) -> None:
    webhook, began = Webhook(hurried.webhook_url), time.monotonic()
    ids = [webhook.post({"content": str(number)}) for number in range(100)]
    assert [message.body["content"] for message in hurried.messages] == [str(number) for number in range(100)]
    assert ids == [message.id for message in hurried.messages]
    assert len(hurried.requests) == 100  # no 429
    assert time.monotonic() - began > 3 * 60 / 30


def test_what_takes_too_long_is_left_for_the_next_try(hurried: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify_discord, "WAIT_SECONDS", 60 / 30)
    webhook = Webhook(hurried.webhook_url)
    with pytest.raises(Refused, match=r"limits the rate for another \d s.*the next try goes on") as failure:
        all(webhook.post({"content": str(number)}) for number in range(100))
    assert failure.value.exit_code == 75
    assert 30 < len(hurried.messages) <= 60
    assert len(hurried.requests) == len(hurried.messages)
    # It does.
    monkeypatch.undo()
    time.sleep(60 / 30)
    Webhook(hurried.webhook_url).post({"content": "the next"})


def test_the_webhooks_of_a_run_have_limits_of_their_own_and_share_the_waiting(
    discord: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify_discord, "MESSAGES", 2)
    monkeypatch.setattr(notify_discord, "MESSAGES_SECONDS", 0.5)
    monkeypatch.setattr(notify_discord, "WAIT_SECONDS", 0.8)
    pace = Pace()
    ops, crew = (Webhook(discord.webhook(name), pace=pace) for name in ("ops", "crew"))
    thread = Webhook(discord.webhook_url, "33", pace=pace)
    for _ in range(2):
        ops.post({"content": "x"})
        crew.post({"content": "x"})
        thread.post({"content": "x"})
    began = time.monotonic()
    ops.post({"content": "x"})  # waits for its own first
    assert time.monotonic() - began > 0.3
    time.sleep(0.3)  # by now crew's first are long ago
    crew.post({"content": "x"})
    crew.post({"content": "x"})
    with pytest.raises(Refused, match="limits the rate"):
        crew.post({"content": "x"})


def test_a_thread_shares_the_limit_of_its_webhook(discord: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify_discord, "MESSAGES", 2)
    monkeypatch.setattr(notify_discord, "WAIT_SECONDS", 0)
    pace = Pace()
    for thread in ("33", "34"):
        Webhook(discord.webhook_url, thread, pace=pace).post({"content": "x"})
    with pytest.raises(Refused, match="limits the rate"):
        Webhook(discord.webhook_url, pace=pace).post({"content": "x"})


@pytest.mark.parametrize(
    ("headers", "least"),
    [
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "0.3"}, 0.3),
        ({"X-RateLimit-Remaining": "1", "X-RateLimit-Reset-After": "0.3"}, 0),
        ({"X-RateLimit-Remaining": "0"}, 0),
        *(({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": odd}, 0) for odd in ("x", "-1", "nan", "inf")),
    ],
)
def test_what_discord_says_is_left_is_kept_to(discord: Watched, headers: dict[str, str], least: float) -> None:
    webhook = Webhook(discord.webhook_url)
    discord.faults = [Answer(200, {"id": "1"}, headers)]
    webhook.post({"content": "x"})
    began = time.monotonic()
    webhook.post({"content": "x"})
    assert least <= time.monotonic() - began < least + 0.2


def test_a_limit_that_does_not_end_is_left_for_later(discord: Watched) -> None:
    discord.faults = 99 * [Answer(429, {"retry_after": 0})]
    with pytest.raises(Refused, match="limits the rate, 5 times in a row: try again later"):
        Webhook(discord.webhook_url).post({"content": "x"})
    assert len(discord.requests) == 5
