"""What the two stand-ins share: a web server in a thread, faults to order, and a route to control it from outside.

`GET /control` tells what happened, `PUT /control` with JSON changes what happens next; `{"faults": [{"status": 429,
"headers": {…}, "body": …}, …]}` decides one request each. They need a Python and nothing else, so that the same
files run in a bare Python image: `python -m standins.discord --host 0.0.0.0 --port 8000`.
"""

import argparse
import contextlib
import json
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Answer:
    """What to answer: `bytes` as they are, `str` as a web page, None as no body, anything else as JSON.

    As a fault, status 0 means: do what is asked, then close the connection without an answer.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> tuple[bytes, str]:
        """Return the body and its content type."""
        match self.body:
            case None:
                return b"", "text/plain"
            case bytes():
                return self.body, "application/json"
            case str():
                return self.body.encode(), "text/html; charset=utf-8"
        return json.dumps(self.body, default=str).encode(), "application/json"


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401  # any JSON
        """Return the body's JSON, or None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class StandIn:
    """A web server on the given port, or a free one, from the construction until `stop` or the end of the context.

    What is `aside` is neither counted nor meets a fault.
    """

    aside: tuple[str, ...] = ()

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.faults: list[Answer] = []
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer((host, port), partial(_Handler, self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://{host}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: Request) -> Answer:
        """Answer as the service does."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return what `GET /control` tells."""
        return {"requests": [f"{request.method} {request.path}" for request in self.requests]}

    def control(self, orders: dict[str, Any]) -> None:
        """Do what `PUT /control` orders; raises TypeError for what is no order."""
        self.faults = [Answer(**fault) for fault in orders.pop("faults", [])]
        if orders:
            raise TypeError(f"unknown: {', '.join(orders)}")

    def handle(self, request: Request) -> Answer:
        """Answer one request after the other, a fault first."""
        with self._lock:
            if request.path == "/control":
                try:
                    if request.method == "PUT":
                        self.control(request.json())
                except (AttributeError, KeyError, TypeError) as error:
                    return Answer(400, {"message": f"{type(error).__name__}: {error}"})
                return Answer(200, self.state())
            if request.path.startswith(self.aside):
                return self.answer(request)
            self.requests.append(request)
            if not self.faults:
                return self.answer(request)
            if not (fault := self.faults.pop(0)).status:
                self.answer(request)
            return fault


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, standin: StandIn, *arguments: Any) -> None:  # noqa: ANN401  # socketserver's own
        self.standin = standin
        super().__init__(*arguments)

    def handle(self) -> None:
        """Take it that whoever asks can be gone before the answer."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Say nothing: `GET /control` tells all."""

    def handle_request(self) -> None:
        address = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, address.path, dict(parse_qsl(address.query)), dict(self.headers.items()), body)
        answer = self.standin.handle(request)
        if not answer.status:
            return
        content, content_type = answer.encoded()
        self.send_response(answer.status)
        headers = {"Content-Type": content_type, "Content-Length": str(len(content))} if answer.status != 204 else {}
        for name, value in {**headers, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request  # noqa: N815  # the names that http.server calls


def serve(standin: type[StandIn], description: str) -> None:
    """Run a stand-in as a program, until it is stopped."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; in a pod 0.0.0.0")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the first process of a pod it would ignore it
    try:
        server = standin(arguments.port, arguments.host)
    except OSError as error:
        parser.exit(
            1, f"Cannot listen on {arguments.host}:{arguments.port} ({error.strerror}): --port names another.\n"
        )
    with contextlib.suppress(KeyboardInterrupt), server:
        print(f"Listening on {server.url}", flush=True)  # noqa: T201  # a program's own output
        signal.pause()
