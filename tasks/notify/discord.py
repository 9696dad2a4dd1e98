"""A Discord webhook: post a message and edit it.

Source: Discord's documentation of webhooks, rate limits and error codes. There is no idempotency key: whether a
message whose answer was lost has arrived, nobody can find out.
"""

import contextlib
import json
import re
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError, SSLError

from step import BAD_CONFIGURATION, BAD_INPUT, TRY_LATER, Failure, deadline, innermost

CONNECT_SECONDS, READ_SECONDS, ANSWER_SECONDS = 10, 30, 60
THROTTLE_SECONDS = 60  # all waiting for rate limits in one run

UNKNOWN_MESSAGE, UNKNOWN_WEBHOOK, INVALID_TOKEN = 10008, 10015, 50027  # Discord's error codes


class Refused(Failure):
    """Discord did not take the message, for certain."""


class Unanswered(Failure):
    """The message was sent, and what became of it is not known."""


class Webhook:
    """One webhook. Its address is a secret, since whoever has it can post: no error here names more than its `id`."""

    def __init__(self, url: str) -> None:
        """Take an address such as https://discord.com/api/webhooks/ID/TOKEN, with ?thread_id=… for a thread.

        Raises Failure (78) for anything else.
        """
        parts, found = urlsplit(""), None
        with contextlib.suppress(ValueError):  # of all three: no such port, an empty part of a name, …
            requests.Request("POST", url).prepare()
            parts = urlsplit(url)
            (parts.hostname or "").encode("idna")
            found = re.fullmatch(r"(?:/[\w.-]+)*/webhooks/(\d+)/([\w-]+)/?", parts.path)
        if parts.scheme not in ("http", "https") or not parts.hostname or not found:
            raise Failure(
                BAD_CONFIGURATION,
                "DISCORD_WEBHOOK_URL is not the address of a webhook, such as "
                "https://discord.com/api/webhooks/ID/TOKEN: copy it from the channel's settings, under Integrations.",
            )
        self.id, self._token = found[1], found[2]
        self._url = urlunsplit(parts._replace(path=parts.path.rstrip("/"), query="", fragment=""))
        self._thread = {key: value for key, value in parse_qsl(parts.query) if key == "thread_id"}
        self._waited = 0.0
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "DiscordBot (rocket-launches, 1)"

    def post(self, message: dict[str, Any]) -> str:
        """Post and return the message's id. Raises Refused, or Unanswered where it may have been posted."""
        # Without `wait`, Discord answers before it has saved the message, and gives no id.
        response = self._send("POST", self._url, {"wait": "true"} | self._thread, message)
        message_id = content(response).get("id")
        if isinstance(message_id, str) and re.fullmatch("[0-9]{1,20}", message_id):  # it becomes part of an address
            return message_id
        raise Unanswered(
            TRY_LATER, "Discord took the message and answered without its id. The next run sends it again."
        )

    def edit(self, message_id: str, message: dict[str, Any]) -> bool:
        """Edit a message; return False where it is no longer there. Raises Refused or Unanswered."""
        url = f"{self._url}/messages/{message_id}"
        return self._send("PATCH", url, self._thread, message).status_code != 404

    def _send(self, method: str, url: str, query: dict[str, str], message: dict[str, Any]) -> requests.Response:
        """Send, and send again after a rate limit, as Discord asks."""
        while True:
            response = self._exchange(method, url, query, message)
            if response.status_code != 429:
                break
            seconds = retry_after(response)
            if self._waited + seconds > THROTTLE_SECONDS:
                raise Refused(TRY_LATER, f"Discord limits the rate for another {seconds:.0f} s: try again after that.")
            self._waited += max(seconds, 1)  # "0 seconds" must not be asked about for ever
            time.sleep(seconds)
        if response.status_code >= 300:
            self._judge(response)
        return response

    def _exchange(self, method: str, url: str, query: dict[str, str], message: dict[str, Any]) -> requests.Response:
        try:
            with deadline(ANSWER_SECONDS):
                return self._session.request(
                    method,
                    url,
                    params=query,
                    json=message,
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                    allow_redirects=False,  # the address is a secret
                )
        except (requests.RequestException, TimeoutError) as error:
            # Never the error's own text: requests puts the address into it.
            what = type(innermost(error)).__name__
            reason = getattr(error.args[0] if error.args else None, "reason", None)
            if isinstance(reason, NewConnectionError | ConnectTimeoutError | ProxyError | SSLError):
                raise Refused(TRY_LATER, f"Discord cannot be reached ({what}): try again later.") from None
            raise Unanswered(
                TRY_LATER,
                f"Discord did not answer after the message was sent ({what}): it is not known if it was saved. "
                "The next run sends it again.",
            ) from None

    def _judge(self, response: requests.Response) -> None:
        """Raise what an error means; return for a message that is no longer there."""
        body, said = content(response), response.reason or ""
        if body:
            with contextlib.suppress(RecursionError):
                said = json.dumps(body)
        said = said.replace(self._token, "…")[:300]
        status, code = response.status_code, body.get("code")
        if status == 404 and code == UNKNOWN_MESSAGE:
            return
        if status >= 500:
            raise Unanswered(
                TRY_LATER,
                f"Discord has a problem (HTTP {status}): it is not known if the message was saved. Try again later.",
            )
        if code in (UNKNOWN_WEBHOOK, INVALID_TOKEN) or status in (401, 403, 404):
            raise Refused(
                BAD_CONFIGURATION,
                f"Discord does not know webhook {self.id} any more, or not with this token (HTTP {status}, {said}): "
                "make a new one in the channel's settings and set DISCORD_WEBHOOK_URL.",
            )
        if status in (301, 302, 307, 308):
            raise Refused(BAD_CONFIGURATION, "The webhook has moved: copy DISCORD_WEBHOOK_URL from Discord anew.")
        raise Refused(BAD_INPUT, f"Discord refuses the message (HTTP {status}, {said}): please report this.")


def content(response: requests.Response) -> dict[str, Any]:
    """Return the object in an answer; an empty one where there is none."""
    with contextlib.suppress(ValueError, RecursionError):  # ValueError: no JSON, or a number of thousands of digits
        body = response.json()
        return body if isinstance(body, dict) else {}
    return {}


def retry_after(response: requests.Response) -> float:
    """Return the seconds to wait: by the body, else the header. Cloudflare's 429 is HTML and may have neither."""
    seconds = -1.0
    with contextlib.suppress(ValueError):
        seconds = float(response.headers.get("Retry-After", ""))
    with contextlib.suppress(ArithmeticError, LookupError, TypeError, ValueError):
        seconds = float(content(response)["retry_after"])
    return seconds if seconds >= 0 else THROTTLE_SECONDS + 1  # also of NaN
