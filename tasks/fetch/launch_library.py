"""The Launch Library's API: pages of upcoming launches, with its limits and its bad days.

Source: the published descriptions of 2.0.0, 2.2.0 and 2.3.0. Without a token it answers 15 requests an hour for an
address, and everybody behind that address shares them: nothing here asks twice for what an answer already said.
"""

import contextlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import requests
from urllib3.exceptions import HTTPError

from page import Page
from step import BAD_CONFIGURATION, BAD_INPUT, TRY_LATER, Failure, deadline, innermost, now

REQUESTS_AN_HOUR = 15  # without a token
LIMIT = 100  # launches a page: the most that the API gives
CONNECT_SECONDS, READ_SECONDS, ANSWER_SECONDS = 10, 30, 60
ANSWER_BYTES = 32 * 1024 * 1024  # a detailed page of 100 has about 5 MB
THROTTLE_SECONDS = 120  # the longest throttle that a pod waits out; beyond, the scheduler's retry is cheaper
UNKNOWN_THROTTLE_SECONDS = 3600

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Request:
    """A request to the Launch Library; `status` is None where no whole answer came.

    `warnings` are printable lines: what is odd about an answer that is good enough to be stored. `object_key` is where
    the answer is in the object store, and `sha256` the digest of it as it was received, as hexadecimal digits.
    """

    number: int
    requested_at: datetime
    url: str
    status: int | None = None
    error: str | None = None
    unreadable: int = 0
    warnings: list[str] = field(default_factory=list)
    object_key: str | None = None
    sha256: str | None = None


# Keeps an answer, of an HTTP status, before it is read, and returns it again.
Keep = Callable[[Request, int, Iterable[bytes]], Iterable[bytes]]


class Session(requests.Session):
    """A session that takes a redirect as an answer, and no more.

    With `allow_redirects=False` alone, requests would still read its whole body and parse its target.
    """

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Know of no target."""


class Answer:
    """An answer as it arrives, within bounds of time and size."""

    def __init__(self, session: Session, url: str) -> None:
        self.url = url
        self._ends_at = time.monotonic() + ANSWER_SECONDS
        with self._bounds():
            # A redirect could lead to another host, and would hide that the configured address is wrong.
            self.response = session.get(
                url, timeout=(CONNECT_SECONDS, READ_SECONDS), stream=True, allow_redirects=False
            )

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        with self.response:
            while chunk := self._next():
                size += len(chunk)
                if size > ANSWER_BYTES:
                    raise Failure(
                        BAD_INPUT,
                        f"The answer from {self.url} is larger than {ANSWER_BYTES >> 20} MiB, which no page is: "
                        "check LAUNCH_LIBRARY_URL.",
                    )
                yield chunk

    def _next(self) -> bytes:
        """Return what has come, or b"" at the end. `iter_content` would lose the last piece of what is cut off."""
        with self._bounds():
            piece: bytes = self.response.raw.read1(65536, decode_content=True)
            return piece

    @contextlib.contextmanager
    def _bounds(self) -> Iterator[None]:
        """Raise Failure (75) where the answer does not go on, or takes too long in all."""
        try:
            with deadline(max(self._ends_at - time.monotonic(), 0.001)):
                yield
        except (
            requests.RequestException,
            HTTPError,
            TimeoutError,
            ValueError,
        ) as error:  # http.client's ValueError: a bad chunk
            inner = innermost(error)
            reason = f"{type(inner).__name__}, {inner}".strip(", ")
            if time.monotonic() > self._ends_at:
                reason = f"not complete after {ANSWER_SECONDS:g} s"
            raise Failure(
                TRY_LATER, f"No complete answer from {self.url}: {reason}. Nothing was stored; try again later."
            ) from None


class LaunchLibrary:
    """A client for one address such as https://ll.thespacedevs.com/2.3.0/launches/upcoming/.

    `requests` lists what was asked, for the record; `budget` is how many may be, None for any number. `keep` gets each
    answer before it is read, also one that is an error or is cut off.
    """

    def __init__(self, url: str, token: str | None) -> None:
        """Take the address of the list, with any filter in its query. Raises Failure (78) if it cannot be one."""
        try:
            parts = urlsplit(quoted(url))
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise Failure(
                BAD_CONFIGURATION,
                "LAUNCH_LIBRARY_URL is not the address of a list, such as "
                "https://ll.thespacedevs.com/2.3.0/launches/upcoming/; a key belongs into LAUNCH_LIBRARY_TOKEN.",
            )
        query = parse_qsl(parts.query, keep_blank_values=True)
        if not any(name == "limit" for name, _ in query):
            query.append(("limit", str(LIMIT)))
        self._start = urlunsplit(parts._replace(query=urlencode(query), fragment=""))
        self._session = Session()
        self._session.headers["User-Agent"] = "rocket-launches/1 (fetch; one request a run)"
        self._session.headers["Accept"] = "application/json"
        if token:
            if not re.fullmatch(r"[!-~]+", token):
                raise Failure(BAD_CONFIGURATION, "LAUNCH_LIBRARY_TOKEN has a character that no token has: set it anew.")
            self._session.headers["Authorization"] = f"Token {token}"
        self.requests: list[Request] = []
        self.budget: int | None = None
        self.keep: Keep = lambda _request, _status, answer: answer

    def pages(self, most: int | None) -> Iterator[tuple[Request, Iterator[Any]]]:
        """Yield pages in the API's order (NET ascending), at most so many, or all where `most` is None.

        A page is its request and its launches as they arrive, to be read before the next page is asked for. Raises
        Failure, also while they are read: 65 for an answer that is no page, 75 for one that may come later, 78 for an
        address or a token that will not do.
        """
        url, asked = self._start, {self._start}
        while True:
            request, answer = self._get(url)
            page = Page(iter(answer))
            yield request, launches(request, page)
            if not page.following or len(asked) == most:
                return
            url = self._same_host(page.following)
            if url in asked:
                raise Failure(
                    BAD_INPUT,
                    f"The page's next link leads back to {url}: nothing was stored. Check LAUNCH_LIBRARY_URL.",
                )
            asked.add(url)

    def launch_url(self, launch_id: str) -> str | None:
        """Return the address of one launch, made from the list's; None if that is not one of the Launch Library's."""
        parts = urlsplit(self._start)
        if not (found := re.fullmatch("(.*/launch(es)?/)upcoming/?", parts.path)):
            return None
        return urlunsplit(parts._replace(path=f"{found[1]}{quote(launch_id, safe='')}/", query=""))

    def launch(self, url: str) -> Any:  # noqa: ANN401  # any JSON
        """Ask for one launch by its address; it is None if the answer is not JSON. Raises Failure as `pages` does.

        A throttle is not waited out.
        """
        request, answer = self._get(url, may_wait=False)
        body = b"".join(answer)
        request.status = 200
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return None

    def _get(self, url: str, *, may_wait: bool = True) -> tuple[Request, Iterable[bytes]]:
        """Ask once and keep the answer; wait out a short throttle and ask once more."""
        if self.budget is not None and len(self.requests) >= self.budget:
            raise Failure(
                TRY_LATER,
                f"The last hour has had its {REQUESTS_AN_HOUR} requests, which is all that the Launch Library answers "
                "without a key: nothing was stored. Try again later, or set LAUNCH_LIBRARY_TOKEN.",
            )
        request = Request(len(self.requests) + 1, now(), url)
        self.requests.append(request)
        answer = Answer(self._session, url)
        kept = self.keep(request, answer.response.status_code, answer)
        if answer.response.status_code == 200:
            return request, kept
        body = b"".join(kept)
        request.status = answer.response.status_code
        if request.status != 429:
            refuse(answer.response, body)
        seconds = self._throttled_for(answer.response, body)
        if not may_wait or seconds > THROTTLE_SECONDS:
            raise Failure(
                TRY_LATER,
                f"The Launch Library throttles us for another {seconds:.0f} s; its limit is 15 requests an hour "
                "for an address. Try again after that, or set LAUNCH_LIBRARY_TOKEN.",
            )
        request.error = f"Throttled: waiting {seconds:.0f} s, as the Launch Library asks"
        log.info("%s", request.error)
        time.sleep(seconds)
        return self._get(url, may_wait=False)

    def _throttled_for(self, response: requests.Response, body: bytes) -> float:
        """Return the seconds to wait: by the header, else the sentence, else the free /api-throttle/, else an hour."""
        if (seconds := retry_after(response.headers.get("Retry-After", ""))) is not None:
            return seconds
        if found := re.search(rb"available in (\d{1,9}) second", body):
            return float(found[1])
        if version := re.match(r"https?://[^/]+/[\d.]+/", self._start):
            with contextlib.suppress(Failure, ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
                throttle = json.loads(b"".join(Answer(self._session, f"{version[0]}api-throttle/")))
                return max(0.0, float((throttle[0] if isinstance(throttle, list) else throttle)["next_use_secs"]))
        return UNKNOWN_THROTTLE_SECONDS

    def _same_host(self, url: str) -> str:
        """Return a page's `next` on our own host; the token goes nowhere else."""
        ours = urlsplit(self._start)
        try:
            theirs = urlsplit(quoted(url))
        except ValueError:
            theirs = urlsplit("")
        if theirs.netloc.lower() != ours.netloc.lower():
            raise Failure(
                BAD_INPUT,
                f"The page's next link leads to another host ({url[:255]!r}): it was not followed and nothing "
                "was stored. Check LAUNCH_LIBRARY_URL.",
            )
        return urlunsplit(theirs._replace(scheme=ours.scheme, fragment=""))


def quoted(url: str) -> str:
    """Return an address as it is sent, in plain ASCII. Raises ValueError for what is none."""
    return requests.Request("GET", url).prepare().url or ""


def launches(request: Request, page: Page) -> Iterator[Any]:
    """Yield a page's launches as they arrive. Raises Failure (65) if that is no page."""
    try:
        yield from page
    except (ValueError, RecursionError):  # ValueError: not JSON, not UTF-8, or a number of thousands of digits
        request.status = 200
        raise Failure(
            BAD_INPUT,
            f"The answer from {request.url} is not JSON, or was cut off: {page.size} bytes were read, from "
            f"{excerpt(page.head)} to {excerpt(page.tail)}. Nothing was stored; check LAUNCH_LIBRARY_URL, or try again "
            "later.",
        ) from None
    request.status = 200
    if not page.is_list:
        raise Failure(
            BAD_INPUT,
            f"The answer from {request.url} is no page of launches, it has no list of results: {excerpt(page.head)}. "
            "Nothing was stored; check LAUNCH_LIBRARY_URL, or try again later.",
        )


def refuse(response: requests.Response, body: bytes) -> NoReturn:
    """Raise the failure that an HTTP status means."""
    said = f"{response.status_code} {response.reason or ''}".strip()
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        said += f", {json.loads(body).get('detail') or json.loads(body)}"[:200]
    if target := response.headers.get("Location"):
        said += f", moved to {target}"
    if key := response.request.headers.get("Authorization"):  # which a proxy may echo
        said = said.replace(str(key).removeprefix("Token "), "…")
    if response.status_code >= 500 or response.status_code == 408:
        raise Failure(TRY_LATER, f"The Launch Library has a problem ({said}): nothing was stored; try again later.")
    advice = {
        401: "set LAUNCH_LIBRARY_TOKEN to a valid key, or leave it empty",
        403: "set LAUNCH_LIBRARY_TOKEN to a valid key, or leave it empty",
    }.get(response.status_code, "check LAUNCH_LIBRARY_URL")
    raise Failure(BAD_CONFIGURATION, f"The Launch Library refuses {response.url} ({said}): {advice}.")


def excerpt(body: bytes) -> str:
    """Quote a piece of an answer that may be anything."""
    return repr(body.decode("utf-8", "replace").strip())


def retry_after(header: str) -> float | None:
    """Read seconds or an HTTP date, the two forms of Retry-After (RFC 9110, 10.2.3)."""
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
