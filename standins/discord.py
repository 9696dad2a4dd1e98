"""A stand-in for a Discord webhook: keeps messages, allows edits, and refuses what Discord refuses.

In this process: `with Discord() as discord:`, then `discord.webhook_url`, `discord.messages`, `discord.faults`. As a
program: `python -m standins.discord`; `PUT /control` takes `{"deleted": true}` besides the faults.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
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
NO_ANSWER = Answer(0)  # the message is saved, and the connection closed

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")


@dataclass
class Message:
    """One message: what it says now, and what it said before each edit."""

    id: str
    body: dict[str, Any]
    posted_at: datetime
    edited_at: datetime | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def edits(self) -> int:
        """How many times it was edited."""
        return len(self.history)


class Discord(StandIn):
    """One webhook and its messages, in the order of posting. `deleted` is what a person does in the settings."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.messages: list[Message] = []
        self.deleted = False
        super().__init__(port, host)
        self.webhook_url = f"{self.url}/api/webhooks/{WEBHOOK_ID}/{TOKEN}"

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
            case ["webhooks", str(webhook), str(token), *rest]:
                if self.deleted or webhook != WEBHOOK_ID:
                    return Answer(404, {"message": "Unknown Webhook", "code": 10015})
                if token != TOKEN:
                    return Answer(401, {"message": "Invalid Webhook Token", "code": 50027})
                match request.method, rest:
                    case "GET", []:
                        return Answer(200, {"type": 1, "id": WEBHOOK_ID, "name": "Launches", "token": TOKEN})
                    case "POST", []:
                        return self.post(request)
                    case method, ["messages", message_id]:
                        return self.message(method, message_id, request)
        return Answer(404, {"message": "404: Not Found", "code": 0})

    def post(self, request: Request) -> Answer:
        """Save a message; only who waits is told its id."""
        body = request.json()
        if refusal := refuse(body):
            return refusal
        # Like Discord's: milliseconds since 2015, then a serial number.
        snowflake = (time.time_ns() // 10**6 - 1420070400000 << 22) + len(self.messages)
        message = Message(str(snowflake), body, datetime.now(UTC))
        self.messages.append(message)
        waits = request.query.get("wait", "").lower() in ("true", "1")
        return Answer(200, shown(message)) if waits else Answer(204)

    def message(self, method: str, message_id: str, request: Request) -> Answer:
        """Show, edit or delete one message. An edit replaces the parts it names."""
        message = next((message for message in self.messages if message.id == message_id), None)
        if not message:
            return Answer(404, {"message": "Unknown Message", "code": 10008})
        if method == "DELETE":
            self.messages.remove(message)
            return Answer(204)
        if method == "PATCH":
            body = request.json()
            if refusal := refuse(message.body | body if isinstance(body, dict) else body):
                return refusal
            message.history.append(message.body)
            message.body = message.body | body
            message.edited_at = datetime.now(UTC)
        return Answer(200, shown(message))


def shown(message: Message) -> dict[str, Any]:
    """Return a message as Discord returns it."""
    return {
        "id": message.id,
        "type": 0,
        "webhook_id": WEBHOOK_ID,
        "channel_id": "1310000000000000002",
        "content": message.body.get("content", ""),
        "embeds": message.body.get("embeds", []),
        "timestamp": message.posted_at.isoformat(),
        "edited_timestamp": message.edited_at.isoformat() if message.edited_at else None,
    }


def refuse(body: Any) -> Answer | None:  # noqa: ANN401  # any JSON
    """Return the refusal of a message that Discord would not take."""
    if not isinstance(body, dict):
        return Answer(400, {"message": "The request body contains invalid JSON.", "code": 50109})
    try:
        problems = list(find_problems(body))
    except (AttributeError, TypeError) as error:
        problems = [("_misc", f"Not the type that belongs here: {error}")]
    if problems:
        errors: dict[str, Any] = {}
        for path, problem in problems:
            node = errors
            for step in path.split("."):
                node = node.setdefault(step, {})
            node["_errors"] = [{"code": "INVALID", "message": problem}]
        return Answer(400, {"message": "Invalid Form Body", "code": 50035, "errors": errors})
    if not body.get("content", "").strip() and not body.get("embeds"):
        return Answer(400, {"message": "Cannot send an empty message", "code": 50006})
    return None


def find_problems(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield where a limit is broken, as `embeds.0.title`, and which."""
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
    serve(Discord, "A stand-in for a Discord webhook")
