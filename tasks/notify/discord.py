"""A Discord webhook: post a message and edit it.

Source: Discord's documentation of webhooks, rate limits and error codes. There is no idempotency key: whether a
message whose answer was lost has arrived, nobody can find out. The documentation names no numbers for rate limits; a
channel's, 30 messages a minute, is from Discord's answer in discord/discord-api-docs#367, and is not in the headers.
"""

import contextlib
import json
import re
import time
from collections import defaultdict, deque
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError, SSLError

from step import BAD_CONFIGURATION, BAD_INPUT, TRY_LATER, Failure, deadline, innermost

CONNECT_SECONDS, READ_SECONDS, ANSWER_SECONDS = 10, 30, 60
MESSAGES, MESSAGES_SECONDS = 30, 60.0  # so many requests of a webhook in so many seconds
WAIT_SECONDS = 240  # all waiting for rate limits in one run, of which the pod has 600
THROTTLED_TIMES = 5  # in a row, for one message

UNKNOWN_MESSAGE, UNKNOWN_WEBHOOK, INVALID_TOKEN = 10008, 10015, 50027  # Discord's error codes


class Refused(Failure):
    """Discord did not take the message, for certain."""


class Unanswered(Failure):
    """The message was sent, and what became of it is not known."""


class Pace:
    """Discord's rate limits, as all webhooks of one run keep them; they share the time that a run may wait."""

    def __init__(self) -> None:
        self._waited = 0.0
        self._sent: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MESSAGES))
        self._free_at: defaultdict[str, float] = defaultdict(float)

    def before(self, webhook_id: str) -> None:
        """Wait until the webhook may send. Raises Refused where that takes too long."""
        sent, now = self._sent[webhook_id], time.monotonic()
        free_at = max(self._free_at[webhook_id], sent[0] + MESSAGES_SECONDS if len(sent) == MESSAGES else 0)
        if free_at > now:
            self.wait(free_at - now)
        sent.append(time.monotonic())

    def after(self, webhook_id: str, response: requests.Response) -> None:
        """Keep when Discord had the request at the latest, and when it takes the next one after the last of several."""
        self._sent[webhook_id][-1] = time.monotonic()
        if response.headers.get("X-RateLimit-Remaining") == "0":
            seconds = number(response.headers.get("X-RateLimit-Reset-After"))
            if 0 <= seconds <= WAIT_SECONDS:  # else the next request finds out
                self._free_at[webhook_id] = time.monotonic() + seconds

    def wait(self, seconds: float) -> None:
        """Wait. Raises Refused where all waiting of this run would be too long."""
        if self._waited + seconds > WAIT_SECONDS:
            raise Refused(
                TRY_LATER,
                f"Discord limits the rate for another {seconds:.0f} s, and this run has waited {self._waited:.0f} s: "
                "try again after that; the next try goes on with what is left.",
            )
        self._waited += seconds
        time.sleep(seconds)


class Webhook:
    """One webhook. Its address is a secret, since whoever has it can post: no error here names more than its `id`."""

    def __init__(
        self, url: str, thread: str | None = None, name: str = "DISCORD_WEBHOOK_URL", pace: Pace | None = None
    ) -> None:
        """Take an address such as https://discord.com/api/webhooks/ID/TOKEN, and a thread's id if it is for one.

        The thread may also be in the address, as ?thread_id=…; `name` is what errors call the setting.
        Raises Failure (78) for anything else.
        """
        parts, found = urlsplit(""), None
        with contextlib.suppress(ValueError):  # of all three: no such port, an empty part of a name, …
            requests.Request("POST", url).prepare()
            parts = urlsplit(url)
            (parts.hostname or "").encode("idna")
            found = re.fullmatch(r"(?:/[\w.-]+)*/webhooks/([0-9]+)/([\w-]+)/?", parts.path)
        thread = thread or dict(parse_qsl(parts.query)).get("thread_id")
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or not found
            or not re.fullmatch("[0-9]{1,20}", thread or "0")
        ):
            raise Failure(
                BAD_CONFIGURATION,
                f"{name} is not the address of a webhook, such as https://discord.com/api/webhooks/ID/TOKEN, with "
                "?thread_id=ID for a thread: copy it from the channel's settings, under Integrations.",
            )
        self.id, self._token = found[1], found[2]
        self.thread, self._name, self._pace = thread, name, pace or Pace()
        self._url = urlunsplit(parts._replace(path=parts.path.rstrip("/"), query="", fragment=""))
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "DiscordBot (rocket-launches, 1)"

    @property
    def key(self) -> str:
        """What tells this channel from others, and is no secret: the webhook's id, with the thread's if it has one."""
        return f"{self.id}/{self.thread}" if self.thread else self.id

    def post(self, message: dict[str, Any]) -> str:
        """Post and return the message's id. Raises Refused, or Unanswered where it may have been posted."""
        # Without `wait`, Discord answers before it has saved the message, and gives no id.
        response = self._send("POST", self._url, {"wait": "true"}, message)
        message_id = content(response).get("id")
        if isinstance(message_id, str) and re.fullmatch("[0-9]{1,20}", message_id):  # it becomes part of an address
            return message_id
        raise Unanswered(
            TRY_LATER, "Discord took the message and answered without its id. The next run sends it again."
        )

    def edit(self, message_id: str, message: dict[str, Any]) -> bool:
        """Edit a message; return False where it is no longer there. Raises Refused or Unanswered."""
        url = f"{self._url}/messages/{message_id}"
        # Of the flags, an edit takes none that a new message can have here (SUPPRESS_NOTIFICATIONS).
        changed = {key: value for key, value in message.items() if key != "flags"}
        return self._send("PATCH", url, {}, changed).status_code != 404

    def _send(self, method: str, url: str, query: dict[str, str], message: dict[str, Any]) -> requests.Response:
        """Send at Discord's pace, and send again after a rate limit, as Discord asks."""
        query |= {"thread_id": self.thread} if self.thread else {}
        seconds = 0.0
        for _ in range(THROTTLED_TIMES):
            self._pace.wait(seconds)
            self._pace.before(self.id)
            response = self._exchange(method, url, query, message)
            self._pace.after(self.id, response)
            if response.status_code != 429:
                if response.status_code >= 300:
                    self._judge(response)
                return response
            seconds = retry_after(response)
        raise Refused(TRY_LATER, f"Discord limits the rate, {THROTTLED_TIMES} times in a row: try again later.")

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
                f"Discord does not know webhook {self.id} any more, or not with this token or thread (HTTP {status}, "
                f"{said}): make a new one in the channel's settings and set {self._name}.",
            )
        if status in (301, 302, 307, 308):
            raise Refused(BAD_CONFIGURATION, f"The webhook has moved: copy {self._name} from Discord again.")
        raise Refused(BAD_INPUT, f"Discord refuses the message (HTTP {status}, {said}): please report this.")


def content(response: requests.Response) -> dict[str, Any]:
    """Return the object in an answer; an empty one where there is none."""
    with contextlib.suppress(ValueError, RecursionError):  # ValueError: no JSON, or a number of thousands of digits
        body = response.json()
        return body if isinstance(body, dict) else {}
    return {}


def retry_after(response: requests.Response) -> float:
    """Return the seconds to wait: by the body, else the header. Cloudflare's 429 is HTML and may have neither."""
    said = (content(response).get("retry_after"), response.headers.get("Retry-After"))
    return next((seconds for seconds in map(number, said) if seconds >= 0), WAIT_SECONDS + 1)


def number(said: object) -> float:
    """Return a number of seconds, -1 for anything else."""
    with contextlib.suppress(ArithmeticError, TypeError, ValueError):
        seconds = float(said)  # type: ignore[arg-type]  # that is what is found out
        return seconds if seconds >= 0 else -1.0  # also of NaN
    return -1.0
