"""The channels: which there are, and what each of them is told.

`DISCORD_WEBHOOK_URL` alone is one channel with the defaults. `CHANNELS`, the text of channels.toml, names several
instead; channels.example.toml explains each line. An error names the line and repeats nothing of it: whatever is wrong
could be a webhook's address, which is a secret.
"""

import logging
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from notify.discord import Pace, Webhook
from step import BAD_CONFIGURATION, Failure

KINDS = ("announced", "reminder", "slipped", "live", "outcome", "board")
DEFAULT_KINDS = frozenset(KINDS) - {"board"}
FILTERS = ("provider", "rocket", "pad", "location", "name")
MINUTES = {"d": 24 * 60, "h": 60, "m": 1}

log = logging.getLogger("notify")


@dataclass(frozen=True)
class Rules:
    """When something is told, as far as no channel says otherwise; `reminders` are minutes before T-0."""

    announce: timedelta
    reminders: tuple[int, ...]
    slip: timedelta


@dataclass(frozen=True)
class Channel:
    """A webhook, or a thread of it, and what it is told; `ping` is the id of a role."""

    name: str
    webhook: Webhook
    kinds: frozenset[str]
    reminders: tuple[int, ...]
    ping: str | None = None
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    excluded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unless_failure: bool = False

    @property
    def key(self) -> str:
        """What the database knows it by: "WEBHOOK_ID" or "WEBHOOK_ID/THREAD_ID"."""
        return self.webhook.key

    def takes(self, launch: Mapping[str, str], *, failed: bool) -> bool:
        """Tell whether a launch, of which the FILTERS' texts are given, is for this channel."""

        def has(key: str, words: tuple[str, ...]) -> bool:
            return any(word.casefold() in launch.get(key, "").casefold() for word in words)

        if not all(has(key, words) for key, words in self.only.items()):
            return False
        return (failed and self.unless_failure) or not any(has(key, words) for key, words in self.excluded.items())


def read(environment: Mapping[str, str]) -> tuple[Rules, list[Channel]]:
    """Return the rules and the channels, none where there is no webhook. Raises Failure (78)."""
    rules = Rules(
        announce=timedelta(hours=number(environment, "ANNOUNCE_HOURS", "24", least=0)),
        reminders=default_reminders(environment),
        slip=timedelta(minutes=number(environment, "SLIP_MINUTES", "60", least=1)),
    )
    url, text = environment.get("DISCORD_WEBHOOK_URL"), environment.get("CHANNELS", "")
    if text.strip():
        if url:
            log.info("channels.toml names the channels: DISCORD_WEBHOOK_URL is not used")
        return rules, parse(text, rules)
    if url:
        return rules, [Channel("DISCORD_WEBHOOK_URL", Webhook(url), DEFAULT_KINDS, rules.reminders)]
    return rules, []


def number(environment: Mapping[str, str], name: str, default: str, least: int) -> int:
    """Return a variable's number."""
    value = environment.get(name) or default
    if not re.fullmatch("[0-9]{1,4}", value) or int(value) < least:
        raise Failure(BAD_CONFIGURATION, f"{name} is {value!r}: give a number from {least} to 9999.")
    return int(value)


def default_reminders(environment: Mapping[str, str]) -> tuple[int, ...]:
    """Return the minutes in REMINDERS."""
    value = environment.get("REMINDERS") or "1h"
    try:
        return minutes([part.strip() for part in value.split(",")])
    except ValueError:
        raise Failure(
            BAD_CONFIGURATION, f"REMINDERS is {value!r}: give times before a launch, such as 24h,1h,10m."
        ) from None


def parse(text: str, rules: Rules) -> list[Channel]:
    """Return the channels of a file. Raises Failure (78) with the line and what is wrong with it."""
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise no_toml(text, str(error)) from None
    tables = content.pop("channel", None)
    for key in content:
        raise refusal(line_of(text, key), "only tables that begin with [[channel]] belong into this file.")
    if not tables or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise refusal(line_of(text, "channel"), "there is no channel: each begins with the line [[channel]].")
    channels: list[Channel] = []
    pace = Pace()
    for place, table in enumerate(tables, 1):

        def wrong(key: str, what: str, place: int = place) -> Failure:
            return refusal(line_of(text, key, place), what)

        channel = one(table, rules, pace, wrong)
        if channel.name in {other.name for other in channels}:
            raise wrong("name", "another channel has this name.")
        if channel.key in {other.key for other in channels}:
            raise wrong("webhook", "another channel has this webhook and thread.")
        channels.append(channel)
    return channels


def one(table: dict[str, Any], rules: Rules, pace: Pace, wrong: Callable[[str, str], Failure]) -> Channel:
    """Return the channel of one table; `wrong` makes the Failure of a key and a sentence."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in KEYS:
            raise wrong(key, f"a channel has no such key; it may have {', '.join(KEYS)}.")
        convert, takes = KEYS[key]
        try:
            values[key] = convert(value)
        except ValueError:
            raise wrong(key, f"{key} takes {takes}.") from None
    for key in ("name", "webhook"):
        if key not in values:
            raise wrong("channel", f"this channel has no {key}.")
    name = values["name"]
    try:
        webhook = Webhook(values["webhook"], values.get("thread"), f"the webhook of {name} in channels.toml", pace)
    except Failure:
        raise wrong("webhook", f"webhook takes {KEYS['webhook'][1]}.") from None
    excluded, unless_failure = values.get("except", ({}, False))
    return Channel(
        name,
        webhook,
        values.get("kinds", DEFAULT_KINDS),
        values.get("reminders", rules.reminders),
        values.get("ping"),
        values.get("only", {}),
        excluded,
        unless_failure,
    )


# What a channel's keys take. Each raises ValueError for anything else.


def texts(value: object) -> list[str]:
    """Take a list of texts, none of them empty."""
    if not isinstance(value, list) or not all(isinstance(part, str) and part for part in value):
        raise ValueError
    return value


def matching(pattern: str) -> Callable[[object], str]:
    """Take a text that matches."""

    def convert(value: object) -> str:
        if not isinstance(value, str) or not value.isprintable() or not re.fullmatch(pattern, value):
            raise ValueError
        return value

    return convert


def kinds(value: object) -> frozenset[str]:
    """Take a list of kinds."""
    found = frozenset(texts(value))
    if not found or not found <= set(KINDS):
        raise ValueError
    return found


def minutes(value: object) -> tuple[int, ...]:
    """Take a list of times such as 24h; return their minutes, the longest first."""
    found = [re.fullmatch("([1-9][0-9]{0,3})([dhm])", part) for part in texts(value)]
    if None in found:
        raise ValueError
    return tuple(sorted({int(match[1]) * MINUTES[match[2]] for match in found if match}, reverse=True))


def filters(value: object) -> dict[str, tuple[str, ...]]:
    """Take a table of words by filter."""
    if not isinstance(value, dict) or not value.keys() <= set(FILTERS) or not all(value.values()):
        raise ValueError
    return {key: tuple(texts(words)) for key, words in value.items()}


def exceptions(value: object) -> tuple[dict[str, tuple[str, ...]], bool]:
    """Take the same, and whether failures are told all the same."""
    if not isinstance(value, dict) or not isinstance(unless := value.get("unless_failure", False), bool):
        raise ValueError  # noqa: TRY004  # as the others do
    return filters({key: words for key, words in value.items() if key != "unless_failure"}), unless


KEYS: dict[str, tuple[Callable[[object], Any], str]] = {
    "name": (matching("[^/]{1,100}"), "a text of at most 100 characters without a slash"),
    "webhook": (matching(".+"), "the address of a webhook, such as https://discord.com/api/webhooks/ID/TOKEN"),
    "thread": (matching("[0-9]{1,20}"), "a thread's id: digits, in quotes"),
    "kinds": (kinds, f"a list with one or more of {', '.join(KINDS)}"),
    "reminders": (minutes, 'a list of times before a launch, such as ["24h", "1h", "10m"]'),
    "ping": (matching("[0-9]{1,20}"), "a role's id: digits, in quotes"),
    "only": (filters, f'lists of words by {", ".join(FILTERS)}, such as {{ provider = ["SpaceX"] }}'),
    "except": (exceptions, "what only takes, and unless_failure = true or false"),
}


# Errors and their lines


def refusal(line: int | None, what: str) -> Failure:
    """Return the Failure for a line."""
    return Failure(BAD_CONFIGURATION, f"channels.toml{'' if line is None else f', line {line}'}: {what}")


def no_toml(text: str, said: str) -> Failure:
    """Return the Failure for what tomllib says; its words go no further than where it repeats a part of the file."""
    line = re.search(r"\(at line (\d+), column \d+\)$", said)
    why = re.match(r"(?:[\w /,-]|'.')*", said)
    return refusal(
        int(line[1]) if line else len(text.split("\n")) if said.endswith("(at end of document)") else None,
        f"this is not TOML ({why[0].strip() if why else ''}).",
    )


def line_of(text: str, key: str, channel: int = 0) -> int:
    """Return the line of a key of the channel with that number, or of any; else the first one of the channel."""
    lines = text.split("\n")
    begins = [number for number, line in enumerate(lines) if re.match(r"\s*\[\[\s*[\"']?channel[\"']?\s*\]\]", line)]
    first, last = 0, len(lines)
    if 0 < channel <= len(begins):
        first, last = begins[channel - 1], [*begins, len(lines)][channel]
    is_it = re.compile(rf"\s*(\[+\s*)?(channel\s*\.\s*)?[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
    return next((number for number in range(first, last) if is_it.match(lines[number])), first) + 1
