"""A stand-in for Discord's webhooks: keeps messages, allows edits, and refuses what Discord refuses.

In this process: `with Discord() as discord:`, then `discord.webhook_url`, `discord.messages`, `discord.faults`;
`discord.webhook("ops")` is the address of another one. As a program: `python -m standins.discord`; `PUT /control` takes
`{"deleted": true}` besides the faults.
"""

import math
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from standins.server import Answer, Request, StandIn, serve

WEBHOOK_ID, TOKEN = "1310000000000000001", "stand-in-token"

RATE_LIMITED = Answer(
    429,
    {"message": "You are being rate limited.", "retry_after": 0.3, "global": False},
    {"Retry-After": "1", "X-RateLimit-Limit": "5", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "0.3"},
)
CLOUDFLARE = Answer(429, "<html><title>Error 1015</title>You are being rate limited</html>", {"Retry-After": "1"})
SERVER_ERROR = Answer(500, {"message": "500: Internal Server Error", "code": 0})
NOT_FOUND = Answer(404, {"message": "404: Not Found", "code": 0})
NO_ANSWER = Answer(0)  # the message is saved, and the connection closed

LIMITS = ((5, 2.0), (30, 60.0))  # requests in seconds, a webhook; only the first is in the headers
EDIT_FLAGS = 1 << 2  # SUPPRESS_EMBEDS
NEW_FLAGS = EDIT_FLAGS | 1 << 12  # and SUPPRESS_NOTIFICATIONS; IS_COMPONENTS_V2 would need components

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")


@dataclass
class Message:
    """One message: what it says now, and what it said before each edit; `thread` is the id of the one it is in."""

    id: str
    body: dict[str, Any]
    posted_at: datetime
    webhook_id: str
    thread: str | None
    edited_at: datetime | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def edits(self) -> int:
        """How many times it was edited."""
        return len(self.history)


class Discord(StandIn):
    """Webhooks and their messages, in the order of posting.

    `deleted` and `delete` are what a person does in the settings, to all webhooks or to one. With `limits`, such as
    LIMITS, there is a 429 for each request beyond them.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.messages: list[Message] = []
        self.deleted = False
        self.limits: tuple[tuple[int, float], ...] = ()
        self._tokens = {WEBHOOK_ID: TOKEN}
        self._served: defaultdict[str, list[float]] = defaultdict(list)
        super().__init__(port, host)
        self.webhook_url = f"{self.url}/api/webhooks/{WEBHOOK_ID}/{TOKEN}"

    def webhook(self, name: str) -> str:
        """Make another webhook, and return its address."""
        webhook_id = str(int(WEBHOOK_ID) + 1000 + len(self._tokens))
        self._tokens[webhook_id] = f"{TOKEN}-{name}"
        return f"{self.url}/api/webhooks/{webhook_id}/{self._tokens[webhook_id]}"

    def delete(self, url: str) -> None:
        """Delete one webhook."""
        del self._tokens[url.split("/")[-2]]

    def state(self) -> dict[str, Any]:
        """Return the requests and the messages."""
        return super().state() | {"deleted": self.deleted, "messages": [asdict(message) for message in self.messages]}

    def control(self, orders: dict[str, Any]) -> None:
        """Take `deleted` besides the faults."""
        self.deleted = orders.pop("deleted", self.deleted)
        super().control(orders)

    def answer(self, request: Request) -> Answer:
        """Answer as Discord does."""
        match request.path.removeprefix("/api/v10").removeprefix("/api").strip("/").split("/"):
            case ["webhooks", str(webhook_id), str(token), *rest]:
                refusal = self.not_let_in(webhook_id, token) or self.limit(webhook_id)
                return self.with_limits(webhook_id, refusal or self.served(request, webhook_id, token, rest))
        return NOT_FOUND

    def not_let_in(self, webhook_id: str, token: str) -> Answer | None:
        """Return the refusal of an address that is none, or none any more."""
        if self.deleted or webhook_id not in self._tokens:
            return Answer(404, {"message": "Unknown Webhook", "code": 10015})
        if token != self._tokens[webhook_id]:
            return Answer(401, {"message": "Invalid Webhook Token", "code": 50027})
        return None

    def served(self, request: Request, webhook_id: str, token: str, rest: list[str]) -> Answer:
        """Answer what a webhook is asked for."""
        if not re.fullmatch("[0-9]+", request.query.get("thread_id", "0")):
            return invalid([("thread_id", "Value is not snowflake.")])
        match request.method, rest:
            case "GET", []:
                return Answer(200, {"type": 1, "id": webhook_id, "name": "Launches", "token": token})
            case "POST", []:
                return self.post(request)
            case method, ["messages", message_id]:
                return self.message(method, message_id, request)
        return NOT_FOUND

    def limit(self, webhook_id: str) -> Answer | None:
        """Count a request, or return the 429 for one that is beyond a limit."""
        now, served = time.monotonic(), self._served[webhook_id]
        for most, seconds in self.limits:
            if len(served) >= most and (wait := served[-most] + seconds - now) > 0:
                body = {"message": "You are being rate limited.", "retry_after": round(wait, 3), "global": False}
                return Answer(429, body, {"Retry-After": str(math.ceil(wait)), "X-RateLimit-Scope": "shared"})
        if self.limits:
            served.append(now)
        return None

    def with_limits(self, webhook_id: str, answer: Answer) -> Answer:
        """Return an answer with what Discord says of its limit, where there is one."""
        if not self.limits:
            return answer
        (most, seconds), *_ = self.limits
        now = time.monotonic()
        recent = [at for at in self._served[webhook_id] if at + seconds > now]
        headers = {
            "X-RateLimit-Limit": str(most),
            "X-RateLimit-Remaining": str(most - len(recent)),
            "X-RateLimit-Reset-After": f"{recent[0] + seconds - now:.3f}" if recent else "0",
        }
        return replace(answer, headers={**answer.headers, **headers})

    def post(self, request: Request) -> Answer:
        """Save a message; only who waits is told its id."""
        body = without_components(request)
        if refusal := refuse(body):
            return refusal
        # Like Discord's: milliseconds since 2015, then a serial number.
        snowflake = (time.time_ns() // 10**6 - 1420070400000 << 22) + len(self.messages)
        thread = request.query.get("thread_id")
        message = Message(str(snowflake), body, datetime.now(UTC), webhook_of(request), thread)
        self.messages.append(message)
        waits = request.query.get("wait", "").lower() in ("true", "1")
        return Answer(200, shown(message)) if waits else Answer(204)

    def message(self, method: str, message_id: str, request: Request) -> Answer:
        """Show, edit or delete one message of the webhook, in the thread if it is in one. An edit replaces parts."""
        found = (message_id, webhook_of(request), request.query.get("thread_id"))
        message = next((one for one in self.messages if (one.id, one.webhook_id, one.thread) == found), None)
        if not message:
            return Answer(404, {"message": "Unknown Message", "code": 10008})
        if method == "DELETE":
            self.messages.remove(message)
            return Answer(204)
        if method == "PATCH":
            body = without_components(request)
            whole = message.body | {"flags": 0} | body if isinstance(body, dict) else body
            if refusal := refuse(whole, EDIT_FLAGS):
                return refusal
            message.history.append(message.body)
            message.body = message.body | body
            message.edited_at = datetime.now(UTC)
        return Answer(200, shown(message))


def webhook_of(request: Request) -> str:
    """Return the id of the webhook that is asked."""
    return request.path.split("/webhooks/")[1].split("/")[0]


def without_components(request: Request) -> Any:  # noqa: ANN401  # any JSON
    """Return what was sent, without the components, which are ignored for a webhook that does not ask for them."""
    body = request.json()
    if isinstance(body, dict) and request.query.get("with_components", "").lower() not in ("true", "1"):
        body.pop("components", None)
    return body


def shown(message: Message) -> dict[str, Any]:
    """Return a message as Discord returns it."""
    return {
        "id": message.id,
        "type": 0,
        "webhook_id": message.webhook_id,
        "channel_id": message.thread or "1310000000000000002",
        "content": message.body.get("content", ""),
        "embeds": message.body.get("embeds", []),
        "flags": message.body.get("flags", 0),
        "timestamp": message.posted_at.isoformat(),
        "edited_timestamp": message.edited_at.isoformat() if message.edited_at else None,
    }


def refuse(body: Any, flags: int = NEW_FLAGS) -> Answer | None:  # noqa: ANN401  # any JSON
    """Return the refusal of a message that Discord would not take; `flags` are those that may be set."""
    if not isinstance(body, dict):
        return Answer(400, {"message": "The request body contains invalid JSON.", "code": 50109})
    try:
        problems = list(find_problems(body, flags))
    except (AttributeError, TypeError) as error:
        problems = [("_misc", f"Not the type that belongs here: {error}")]
    if problems:
        return invalid(problems)
    if not body.get("content", "").strip() and not body.get("embeds"):
        return Answer(400, {"message": "Cannot send an empty message", "code": 50006})
    return None


def invalid(problems: list[tuple[str, str]]) -> Answer:
    """Return Discord's refusal: each problem where it is."""
    errors: dict[str, Any] = {}
    for path, problem in problems:
        node = errors
        for step in path.split("."):
            node = node.setdefault(step, {})
        node["_errors"] = [{"code": "INVALID", "message": problem}]
    return Answer(400, {"message": "Invalid Form Body", "code": 50035, "errors": errors})


def find_problems(body: dict[str, Any], flags: int = NEW_FLAGS) -> Iterator[tuple[str, str]]:
    """Yield where a limit is broken, as `embeds.0.title`, and which."""
    yield from find_mention_problems(body.get("allowed_mentions", {}))
    if body.get("flags", 0) & ~flags:  # some, Discord does not refuse but ignores
        yield "flags", "Only flags that can be set here are allowed."
    yield from text("content", body.get("content", ""), 2000)
    embeds = body.get("embeds", [])
    if len(embeds) > 10:
        yield "embeds", "Must be 10 or fewer in length."
    for number, embed in enumerate(embeds):
        yield from find_embed_problems(f"embeds.{number}", embed)
    if sum(map(length, embeds)) > 6000:
        yield "embeds", "Embed size exceeds maximum size of 6000."


def find_embed_problems(path: str, embed: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield where a limit is broken in one embed."""
    yield from text(f"{path}.title", embed.get("title", ""), 256)
    yield from text(f"{path}.description", embed.get("description", ""), 4096)
    yield from text(f"{path}.footer.text", embed.get("footer", {}).get("text", ""), 2048)
    fields = embed.get("fields", [])
    if len(fields) > 25:
        yield f"{path}.fields", "Must be 25 or fewer in length."
    for number, item in enumerate(fields):
        yield from text(f"{path}.fields.{number}.name", item.get("name", ""), 256, required=True)
        yield from text(f"{path}.fields.{number}.value", item.get("value", ""), 1024, required=True)
    for name, url in {"url": embed.get("url"), "image.url": embed.get("image", {}).get("url")}.items():
        if url is not None and not re.match(r"https?://[^\s/]+", url):
            yield f"{path}.{name}", "Not a well formed URL. Scheme must be one of ('http', 'https')."
    if "timestamp" in embed and not TIMESTAMP.fullmatch(embed["timestamp"]):
        yield f"{path}.timestamp", f"Could not parse {embed['timestamp']}. Should be ISO8601."


def find_mention_problems(allowed: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with `allowed_mentions`."""
    parse = allowed.get("parse", [])
    if not isinstance(parse, list) or not set(parse) <= {"roles", "users", "everyone"}:
        yield "allowed_mentions.parse", "Value must be a list of ('users', 'roles', 'everyone')."
    for kind in ("roles", "users"):
        ids = allowed.get(kind, [])
        if not isinstance(ids, list) or not all(re.fullmatch("[0-9]{1,20}", str(one)) for one in ids):
            yield f"allowed_mentions.{kind}", "Value is not a list of snowflakes."
        elif len(ids) > 100:
            yield f"allowed_mentions.{kind}", "Must be 100 or fewer in length."
        elif ids and kind in parse:
            yield f"allowed_mentions.{kind}", f'parse:["{kind}"] and {kind}: [ids...] are mutually exclusive.'


def text(path: str, value: str, limit: int, *, required: bool = False) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with one text."""
    if not isinstance(value, str):
        yield path, "Could not interpret the value as string."
    elif units(value) > limit:
        yield path, f"Must be {limit} or fewer in length."
    elif required and not value.strip():
        yield path, "This field is required"


def length(embed: dict[str, Any]) -> int:
    """Count what counts towards the total of a message."""
    texts = [embed.get("title", ""), embed.get("description", ""), embed.get("footer", {}).get("text", "")]
    texts += [embed.get("author", {}).get("name", "")]
    texts += [item.get(name, "") for item in embed.get("fields", []) for name in ("name", "value")]
    return sum(units(str(value)) for value in texts)


def units(value: str) -> int:
    """Count UTF-16 units, as Discord's editor does: of the two ways to count, the one that refuses more."""
    return len(value.encode("utf-16-le", "surrogatepass")) // 2


if __name__ == "__main__":
    serve(Discord, "A stand-in for Discord's webhooks")
