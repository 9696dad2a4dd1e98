"""Chooses between the real services and the stand-ins."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import requests

from standins.discord import Discord
from standins.launch_library import LaunchLibrary

PROBE_SECONDS = 3


@dataclass
class Services:
    """The addresses that the steps are given; `real_library` and `real_webhook` tell whether they are the real ones."""

    upcoming_url: str
    token: str
    webhook_url: str
    real_library: bool
    real_webhook: bool
    summary: str


def choose(settings: Mapping[str, str], library: LaunchLibrary, discord: Discord, *, replay: bool) -> Services:
    """Use the real services where they are named and answer, and say which and why in one line, the `summary`."""
    url, token = settings.get("LAUNCH_LIBRARY_URL", ""), settings.get("LAUNCH_LIBRARY_TOKEN", "")
    webhook_url = settings.get("DISCORD_WEBHOOK_URL", "")
    no_library = "which replays recorded pages" if replay else why_no_library(url, token)
    no_webhook = why_no_webhook(webhook_url, no_library)
    library_is = f"a stand-in, {no_library}" if no_library else url.partition("?")[0]
    webhook_is = f"a stand-in, {no_webhook}" if no_webhook else "the webhook of DISCORD_WEBHOOK_URL"
    return Services(
        upcoming_url=f"{library.upcoming_url}?mode=detailed" if no_library else url,
        token="stand-in-key" if no_library else token,  # it answers any number of requests
        webhook_url=discord.webhook_url if no_webhook else webhook_url,
        real_library=not no_library,
        real_webhook=not no_webhook,
        summary=f"Launch Library: {library_is}. Discord: {webhook_is}.",
    )


def why_no_library(url: str, token: str) -> str:
    """Return why the real Launch Library is not used, or nothing; the question does not count towards its limit."""
    if not url:
        return "as LAUNCH_LIBRARY_URL is not set"
    if not (version := re.match(r"https?://[^?#]*/\d+\.\d+\.\d+/", url)):
        return "as LAUNCH_LIBRARY_URL names no version such as /2.3.0/"
    return why_no_answer(f"{version[0]}api-throttle/", {"Authorization": f"Token {token}"} if token else {})


def why_no_webhook(url: str, no_library: str) -> str:
    """Return why the real webhook is not used, or nothing."""
    if not url:
        return "as DISCORD_WEBHOOK_URL is not set"
    if no_library:
        return "as invented or old launches must not look like news in a real channel"
    return why_no_answer(url, {})


def why_no_answer(url: str, headers: dict[str, str]) -> str:
    """Return what is wrong with an answer, or nothing; never the error's own text, which has the address in it."""
    try:
        answer = requests.get(url, headers=headers, timeout=PROBE_SECONDS)
    except (requests.RequestException, ValueError) as error:
        return f"as the real one does not answer ({type(error).__name__})"
    return "" if answer.ok else f"as the real one answers {answer.status_code}"
