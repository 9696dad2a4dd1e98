"""Which channels there are, and what is for which."""

import itertools
import logging
import re
from datetime import timedelta

import pytest

from notify import channels
from notify.channels import KINDS, Channel, read
from step import Failure
from tests.conftest import ROOT

TOKEN = "hush-hush_T0ken"
URL = f"https://discord.com/api/webhooks/1/{TOKEN}"
OTHER = f"https://discord.com/api/webhooks/2/{TOKEN}"
LAUNCH = {
    "provider": "SpaceX",
    "rocket": "Falcon 9 Block 5",
    "pad": "Space Launch Complex 40",
    "location": "Cape Canaveral SFS, FL, USA",
    "name": "Falcon 9 Block 5 | Starlink Group 17-42",
}


def of(text: str, **environment: str) -> list[Channel]:
    return read({"CHANNELS": text} | environment)[1]


def one(lines: str) -> Channel:
    (channel,) = of(f'[[channel]]\nname = "a"\nwebhook = "{URL}"\n{lines}')
    return channel


def test_without_a_webhook_there_is_no_channel() -> None:
    assert read({})[1] == read({"DISCORD_WEBHOOK_URL": "", "CHANNELS": " \n"})[1] == []


def test_a_webhook_alone_is_one_channel_with_the_defaults() -> None:
    rules, (channel,) = read({"DISCORD_WEBHOOK_URL": URL, "REMINDERS": "10m,1d, 1h,24h"})
    assert (channel.name, channel.key, channel.ping) == ("DISCORD_WEBHOOK_URL", "1", None)
    assert channel.kinds == set(KINDS) - {"board"}
    assert channel.reminders == rules.reminders == (1440, 60, 10)
    assert channel.takes(LAUNCH, failed=False)


def test_the_rules_and_their_defaults() -> None:
    rules, _ = read({"ANNOUNCE_HOURS": "", "REMINDERS": "", "SLIP_MINUTES": ""})
    assert (rules.announce, rules.reminders, rules.slip) == (timedelta(hours=24), (60,), timedelta(minutes=60))
    rules, _ = read({"ANNOUNCE_HOURS": "0", "REMINDERS": "2d", "SLIP_MINUTES": "15"})
    assert (rules.announce, rules.reminders, rules.slip) == (timedelta(0), (2880,), timedelta(minutes=15))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("ANNOUNCE_HOURS", value) for value in ("-1", "1.5", "24h", "10000", "٢٤", "1\n")),
        *(("SLIP_MINUTES", value) for value in ("0", "an hour")),
        *(("REMINDERS", value) for value in ("1", "h", "0h", "1h,", ",", "1h;2h", "1w", "10000h", "1h 2h")),
    ],
)
def test_a_wrong_rule_is_bad_configuration(name: str, value: str) -> None:
    with pytest.raises(Failure, match=f"^{name} is ") as failure:
        read({name: value})
    assert failure.value.exit_code == 78


def test_a_file_names_the_channels_instead_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    text = f'[[channel]]\nname = "a"\nwebhook = "{OTHER}"\n'
    (channel,) = of(text, DISCORD_WEBHOOK_URL=URL)
    assert channel.key == "2"
    assert caplog.messages == ["channels.toml names the channels: DISCORD_WEBHOOK_URL is not used"]
    caplog.clear()
    of(text)
    assert caplog.messages == []


def test_a_channel_has_the_defaults_and_what_its_table_says() -> None:
    first, second = of(
        f"""
        [[channel]]
        name = "launches"
        webhook = "{URL}"

        [[channel]]
        name = "🚀 crew"
        webhook = "{URL}"
        thread = "33"
        kinds = ["reminder", "board"]
        reminders = ["10m", "24h", "1h", "60m"]
        ping = "44"
        """,
        REMINDERS="2h",
    )
    assert (first.name, first.key, first.ping, first.reminders) == ("launches", "1", None, (120,))
    assert first.kinds == set(KINDS) - {"board"}
    assert (second.name, second.key, second.ping, second.reminders) == ("🚀 crew", "1/33", "44", (1440, 60, 10))
    assert second.kinds == {"reminder", "board"}
    assert second.webhook.thread == "33"


def test_no_reminders_can_be_wanted() -> None:
    assert one("reminders = []").reminders == ()


@pytest.mark.parametrize(
    ("lines", "takes", "takes_failed"),
    [
        ("", True, True),
        ('only = { provider = ["spacex"] }', True, True),
        ('only = { provider = ["Rocket Lab", "SPACEX"] }', True, True),
        ('only = { provider = ["Rocket Lab"] }', False, False),
        ('only = { provider = ["SpaceX"], location = ["Cape"] }', True, True),
        ('only = { provider = ["SpaceX"], location = ["Kourou"] }', False, False),
        ('only = { rocket = ["Falcon"], pad = ["40"] }', True, True),
        ('except = { name = ["starlink"] }', False, False),
        ('except = { name = ["Kuiper"], provider = ["SpaceX"] }', False, False),
        ('except = { name = ["Kuiper"] }', True, True),
        ('except = { name = ["Starlink"], unless_failure = true }', False, True),
        ('except = { name = ["Starlink"], unless_failure = false }', False, False),
        ("except = { unless_failure = true }", True, True),
        ('only = { provider = ["SpaceX"] }\nexcept = { name = ["Starlink"] }', False, False),
        # What is left out by `only` is not told of even when it fails.
        ('only = { provider = ["ESA"] }\nexcept = { name = ["Starlink"], unless_failure = true }', False, False),
        ('[channel.only]\nprovider = ["SpaceX"]', True, True),
    ],
)
def test_filters(lines: str, *, takes: bool, takes_failed: bool) -> None:
    channel = one(lines)
    assert channel.takes(LAUNCH, failed=False) is takes
    assert channel.takes(LAUNCH, failed=True) is takes_failed


def test_a_launch_of_which_a_text_is_not_known_matches_no_word() -> None:
    assert not one('only = { pad = ["40"] }').takes({"name": "Kestrel"}, failed=False)


CHANNEL = f'[[channel]]\nname = "a"\nwebhook = "{URL}"\n'
WRONG = {
    # text: (line, what it says)
    "no channel": ("# only a comment\n", 1, "there is no channel"),
    "an empty list": ("\nchannel = []\n", 2, "there is no channel"),
    "a table": (f'[channel]\nname = "a"\nwebhook = "{URL}"\n', 1, "there is no channel"),
    "channels that are numbers": ("channel = [1]", 1, "there is no channel"),
    "a key above": (f'x = "{URL}"\n{CHANNEL}', 1, "only tables that begin with [[channel]]"),
    "another table": (f'{CHANNEL}[{TOKEN}]\nname = "b"\n', 4, "only tables that begin with [[channel]]"),
    "other tables": (f'\n[[channels]]\nname = "b"\nwebhook = "{URL}"\n', 2, "only tables that begin with"),
    "an unknown key": (f"{CHANNEL}\nkind = 1\n", 5, "no such key; it may have name, webhook, thread, kinds"),
    "an address as a key": (f'{CHANNEL}"{URL}" = 1\n', 4, "no such key"),
    "no name": (f'{CHANNEL}\n[[channel]]\nwebhook = "{OTHER}"\nonly = {{ name = ["x"] }}\n', 5, "has no name"),
    "no webhook": ('[[channel]]\nname = "a"\n', 1, "has no webhook"),
    "an address as the name": (f'[[channel]]\nname = "{URL}"\nwebhook = "a"\n', 2, "name takes a text"),
    "a name of two lines": (f'[[channel]]\nname = "a\\nb"\nwebhook = "{URL}"\n', 2, "name takes a text"),
    "an empty name": (f'[[channel]]\nname = ""\nwebhook = "{URL}"\n', 2, "name takes a text"),
    "a long name": (f'[[channel]]\nname = "{101 * "a"}"\nwebhook = "{URL}"\n', 2, "name takes a text"),
    "a number as the name": ("[[channel]]\n\nname = 1\n", 3, "name takes a text"),
    "a webhook that is none": (f'[[channel]]\nname = "a"\nwebhook = "{TOKEN}"\n', 3, "webhook takes the address"),
    "a webhook's list": (f'[[channel]]\nname = "a"\nwebhook = ["{URL}"]\n', 3, "webhook takes the address"),
    "a webhook's bad thread": (
        f'[[channel]]\nname = "a"\nwebhook = "{URL}?thread_id=x"\n',
        3,
        "webhook takes the address",
    ),
    "a number as the thread": (f"{CHANNEL}thread = 33\n", 4, "thread takes a thread's id: digits, in quotes"),
    "a thread's name": (f'{CHANNEL}thread = "crew"\n', 4, "thread takes"),
    "one kind": (f'{CHANNEL}kinds = "reminder"\n', 4, "kinds takes a list with one or more of announced, reminder,"),
    "no kinds": (f"{CHANNEL}kinds = []\n", 4, "kinds takes"),
    "an unknown kind": (f'{CHANNEL}kinds = [\n  "live",\n  "{TOKEN}",\n]\n', 4, "kinds takes"),
    "kinds in a list": (f'{CHANNEL}kinds = [["live"]]\n', 4, "kinds takes"),
    "a bad reminder": (f'{CHANNEL}# remind\nreminders = ["1 hour"]\n', 5, "reminders takes a list of times"),
    "a reminder of no time": (f'{CHANNEL}reminders = ["0m"]\n', 4, "reminders takes"),
    "a number as a reminder": (f"{CHANNEL}reminders = [60]\n", 4, "reminders takes"),
    "a date as a reminder": (f"{CHANNEL}reminders = 2026-11-24\n", 4, "reminders takes"),
    "a role's name": (f'{CHANNEL}ping = "@everyone"\n', 4, "ping takes a role's id: digits, in quotes"),
    "only a word": (f'{CHANNEL}only = "SpaceX"\n', 4, "only takes lists of words by provider,"),
    "only by an unknown key": (f'{CHANNEL}only = {{ orbit = ["LEO"] }}\n', 4, "only takes"),
    "only by a word": (f'{CHANNEL}only = {{ provider = "SpaceX" }}\n', 4, "only takes"),
    "only by no words": (f"{CHANNEL}only = {{ provider = [] }}\n", 4, "only takes"),
    "only by an empty word": (f'{CHANNEL}only = {{ provider = [""] }}\n', 4, "only takes"),
    "only by a number": (f"{CHANNEL}[channel.only]\nprovider = 0\n", 4, "only takes"),
    "only, unless": (f"{CHANNEL}only = {{ unless_failure = true }}\n", 4, "only takes"),
    "except a number": (f"{CHANNEL}except = {{ name = [1] }}\n", 4, "except takes"),
    "unless 1": (f"{CHANNEL}except = {{ unless_failure = 1 }}\n", 4, "except takes"),
    "unless a word": (f'{CHANNEL}except = {{ unless_failure = "yes" }}\n', 4, "except takes"),
    "one name twice": (f'{CHANNEL}[[channel]]\nwebhook = "{OTHER}"\nname = "a"\n', 6, "another channel has this name"),
    "one webhook twice": (f'{CHANNEL}[[channel]]\nname = "b"\nwebhook = "{URL}/"\n', 6, "this webhook and thread"),
    "one thread twice": (
        f'{CHANNEL}thread = "3"\n[[channel]]\nname = "b"\nwebhook = "{URL}?thread_id=3"',
        7,
        "this webhook",
    ),
    "the second's": (f'{CHANNEL}\n[[channel]]\nname = "b"\nwebhook = "{OTHER}"\nping = 1', 8, "ping takes"),
    # Not TOML.
    "no quotes": (f"[[channel]]\nname = a\nwebhook = {URL}\n", 2, "this is not TOML (Invalid value)"),
    "an address without quotes": (f'[[channel]]\nname = "a"\nwebhook = {URL}\n', 3, "this is not TOML (Invalid value)"),
    "no key": (f"[[channel]]\n{URL}\n", 2, "this is not TOML (Expected '=' after a key in a key/value pair)"),
    "no end": (f'[[channel]]\nname = "a"\nwebhook = """{URL}', 3, "this is not TOML ("),
    "a key twice": (f'{CHANNEL}webhook = "{URL}"\n', 4, "this is not TOML (Cannot overwrite a value)"),
    "a table twice": (f'{CHANNEL}["{URL}"]\n["{URL}"]\n', 5, "this is not TOML (Cannot declare)"),
    "a table in a table": (f'{CHANNEL}only = {{ "{URL}" = 1, "{URL}" = 2 }}\n', 4, "this is not TOML (Duplicate"),
    "a control character": (f'[[channel]]\nname = "\x1b[2J"\nwebhook = "{URL}"\n', 2, "this is not TOML (Illegal"),
}


@pytest.mark.parametrize(("text", "line", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_with_its_line_and_without_its_secrets(text: str, line: int, says: str) -> None:
    with pytest.raises(Failure) as failure:
        of(text)
    said = str(failure.value)
    assert failure.value.exit_code == 78
    assert said.startswith(f"channels.toml, line {line}: ")
    assert says in said
    assert TOKEN not in said
    assert "discord.com/api/webhooks/1" not in said
    assert said.isprintable()
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__ or failure.value.__context__ is None


@pytest.mark.parametrize("text", ["x = " + 100_000 * "[", "x = " + 5000 * "1"], ids=["nested", "a long number"])
def test_what_python_cannot_read_is_refused_without_a_line(text: str) -> None:
    with pytest.raises(Failure, match=r"^channels.toml: this is not TOML \(") as failure:
        of(f"[[channel]]\n{text}")
    assert failure.value.exit_code == 78


def test_the_example_can_be_copied_and_filled_in() -> None:
    text = (ROOT / "channels.example.toml").read_text(encoding="utf-8")
    with pytest.raises(Failure, match=r"^channels.toml, line \d+: webhook takes the address"):
        of(text)
    numbers = itertools.count()
    filled = re.sub("ID/TOKEN", lambda _: f"{next(numbers)}/x", text)
    found = of(filled)
    assert len(found) > 1
    # It shows every key, also those that are comments; these can be used, too.
    assert [key for key in channels.KEYS if not re.search(rf"^#? ?{key} = ", text, re.MULTILINE)] == []
    assert of(re.sub(r"^# (?=\w+ = )", "", filled, flags=re.MULTILINE))
