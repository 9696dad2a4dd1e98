"""stub"""

from dataclasses import dataclass
from datetime import timedelta
from collections.abc import Mapping
from notify.discord import Webhook
from urllib.parse import urlsplit, parse_qsl

KINDS = ("announced", "reminder", "slipped", "live", "outcome", "board")


@dataclass(frozen=True)
class Channel:
    name: str
    webhook: Webhook
    kinds: frozenset[str]
    reminders: tuple[int, ...]
    ping: str | None
    key: str

    def takes(self, launch: Mapping[str, str], *, failed: bool) -> bool:
        return True


@dataclass(frozen=True)
class Rules:
    announce: timedelta
    reminders: tuple[int, ...]
    slip: timedelta


def read(environment: Mapping[str, str]) -> tuple[Rules, list[Channel]]:
    url = environment.get("DISCORD_WEBHOOK_URL")
    rules = Rules(timedelta(hours=24), (60,), timedelta(hours=1))
    if not url:
        return rules, []
    webhook = Webhook(url)
    thread = webhook._thread.get("thread_id")
    return rules, [
        Channel(
            "DISCORD_WEBHOOK_URL",
            webhook,
            frozenset(KINDS[:-1]),
            (60,),
            None,
            webhook.id + (f"/{thread}" if thread else ""),
        )
    ]
