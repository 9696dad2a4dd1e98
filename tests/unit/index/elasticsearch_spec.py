"""What Elasticsearch's published specification says of requests; its server is not ours to run."""

import json
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.npm import installed


@dataclass
class Request:
    """A request; its body is what the JSON says, or a list with that of each line where it is NDJSON."""

    method: str
    path: str
    body: object = None
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def sent(cls, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> Self:
        """Read a request as it was sent."""
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        types = [value for name, value in headers.items() if name.lower() == "content-type"]
        content: object = None
        if body and types and types[0].startswith("application/x-ndjson"):
            *lines, end = body.split(b"\n")
            assert not end, "NDJSON ends with a line's end"
            content = [json.loads(line) for line in lines]
        elif body:
            content = json.loads(body)
        return cls(method, unquote(url.path), content, query, headers)


def violations(requests: list[Request]) -> list[list[str]]:
    """Return what is wrong with each request, a line for each fault and version.

    Skips the test where there is no npm.
    """
    folder = installed(Path(__file__).with_name("elasticsearch"))
    asked = json.dumps([asdict(request) for request in requests])
    command = ["node", "validate.mjs"]
    done = subprocess.run(command, cwd=folder, input=asked, capture_output=True, text=True, check=False, timeout=60)
    assert not done.returncode, done.stderr
    answers: list[list[str]] = json.loads(done.stdout)
    return answers
