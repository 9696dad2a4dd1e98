"""HTTP requests to public addresses alone, whatever a link, a redirect or DNS says.

The addresses that a name has are looked up once for each connection, and judged before one of them is connected to:
what is judged is what is asked. Public ones are asked by https on port 443, as the cluster's network policies have it.
"""

import contextlib
import http.cookiejar
import ipaddress
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from step import BAD_CONFIGURATION, Failure, deadline, innermost

CONNECT_SECONDS, READ_SECONDS, ANSWER_SECONDS = 10, 20, 60
CHUNK = 65536
LONGEST_ADDRESS = 2048  # characters

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Unanswered(Exception):  # noqa: N818  # by a site, which is no failure of ours
    """There is no answer; the sentence says why."""


@dataclass(slots=True)
class Answer:
    """An answer, not followed if it is a redirect; `body` is decoded, and `is_cut` tells if it was longer."""

    status: int
    headers: Any  # without regard to case
    body: bytes
    is_cut: bool


class Web:
    """Asks sites, with `contact` for whoever has one; `own` are networks that may be asked although private."""

    def __init__(self, contact: str, own: Iterable[Network] = ()) -> None:
        self._own = tuple(own)
        self._ours: dict[str, bool] = {}  # by name
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc
        self._session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        adapter = PublicAdapter(self._own)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)
        self._session.headers["User-Agent"] = f"rocket-launches/1 (+{contact})"

    def get(self, url: str, limit: int, headers: dict[str, str] | None = None) -> Answer:
        """Ask once, and read at most `limit` bytes of what comes. Raises Unanswered."""
        try:
            with (
                deadline(ANSWER_SECONDS),
                self._session.get(
                    url,
                    headers=headers,
                    stream=True,
                    allow_redirects=False,
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                ) as response,
            ):
                pieces, is_cut = up_to(limit, response.iter_content(CHUNK))
                return Answer(response.status_code, response.headers, b"".join(pieces), is_cut)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            reason = innermost(error)
            raise Unanswered(f"{type(reason).__name__}: {reason}"[:300]) from None

    def address(self, url: str) -> str:
        """Return an address as it is asked for. Raises Unanswered for what is none, or is not for a stranger to ask.

        A public http:// is asked for by https://.
        """
        try:
            prepared = requests.Request("GET", url.strip()).prepare().url or ""
            parts = urlsplit(prepared)
            port = parts.port
        except (ValueError, UnicodeError) as error:  # ValueError: also those of requests
            raise Unanswered(f"This is no address: {error}"[:300]) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Unanswered(f"{parts.scheme[:20] or 'Nothing'}: is not for the web")
        if parts.username is not None or parts.password is not None:
            raise Unanswered("The address has a login in it")
        if len(prepared) > LONGEST_ADDRESS:
            raise Unanswered(f"The address has more than {LONGEST_ADDRESS} characters")
        parts = parts._replace(fragment="", path=parts.path or "/")
        if self._is_ours(parts.hostname):
            return urlunsplit(parts)
        if port not in (None, 80 if parts.scheme == "http" else 443):
            raise Unanswered(f"Port {port} is not the web's")
        return urlunsplit(
            parts._replace(scheme="https", netloc=parts.netloc.rpartition("@")[2].removesuffix(f":{port}"))
        )

    def peers(self, url: str) -> list[str]:
        """Return the addresses that a name has now; none where it is not known."""
        try:
            return sorted({str(address) for address, _ in addresses(urlsplit(url).hostname or "", 0)})
        except (OSError, UnicodeError):
            return []

    def _is_ours(self, host: str | None) -> bool:
        """Tell whether a name leads to networks of one's own alone; looked up again, it is judged again."""
        if not self._own or not host:
            return False
        if host not in self._ours:
            try:
                found = addresses(host, 0)
            except (OSError, UnicodeError):
                found = []
            inside = [any(one in network for network in self._own) for one, _ in found]
            self._ours[host] = bool(inside) and all(inside)
        return self._ours[host]


def redirect(base: str, answer: Answer) -> str | None:
    """Return where an answer leads; None if it is no redirect."""
    to: str = answer.headers.get("Location", "")
    if answer.status not in (301, 302, 303, 307, 308) or not to:
        return None
    with contextlib.suppress(UnicodeError):
        to = to.encode("latin-1").decode("utf-8")  # as most send what is not ASCII
    try:
        return str(urljoin(base, to))
    except ValueError:
        return to


def up_to(limit: int, chunks: Iterator[bytes]) -> tuple[list[bytes], bool]:
    """Read pieces until there are `limit` bytes; return them, and whether there were more."""
    pieces: list[bytes] = []
    left = limit
    for chunk in chunks:
        pieces.append(chunk[:left])
        left -= len(chunk)
        if left < 0:
            return pieces, True
    return pieces, False


def addresses(host: str, port: int) -> list[tuple[Address, Any]]:
    """Return the addresses of a name, each with what a socket takes. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(ipaddress.ip_address(str(info[4][0]).partition("%")[0]), info) for info in found]


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the internet's, also where another is hidden in it."""
    if isinstance(address, ipaddress.IPv6Address):
        hidden = [address.ipv4_mapped, address.sixtofour, address.teredo[1] if address.teredo else None]
        if address in NAT64:
            hidden.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if any(hidden):
            return all(is_public(one) for one in hidden if one) and not address.teredo
    return address.is_global and not address.is_multicast


def connect(host: str, port: int, seconds: Any, own: tuple[Network, ...]) -> socket.socket:  # noqa: ANN401  # urllib3's
    """Connect to a name, if all that it leads to may be asked. Raises OSError."""
    found = addresses(host, port)
    for address, _ in found:
        if not is_public(address) and not any(address in network for network in own):
            raise PermissionError(f"{host} leads to {address}, which is not public")
    reason: OSError | None = None
    for _, (family, kind, protocol, _, where) in found:
        one = socket.socket(family, kind, protocol)
        try:
            one.settimeout(seconds if isinstance(seconds, (int, float)) else CONNECT_SECONDS)
            one.connect(where)
        except OSError as error:
            one.close()
            reason = reason or error
        else:
            return one
    raise reason or OSError(f"{host} has no address")


class PublicAdapter(HTTPAdapter):
    """Connects as `connect` does."""

    def __init__(self, own: tuple[Network, ...]) -> None:
        self._own = own
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_: Any) -> None:  # noqa: ANN401, FBT001, FBT002  # requests'
        """Make pools of such connections."""
        own = self._own

        class Http(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return connect(self._dns_host, self.port, self.timeout, own)

        class Https(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return connect(self._dns_host, self.port, self.timeout, own)

        class HttpPool(HTTPConnectionPool):
            ConnectionCls = Http

        class HttpsPool(HTTPSConnectionPool):
            ConnectionCls = Https

        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block)
        self.poolmanager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}


def networks(setting: str) -> list[Network]:
    """Return the networks that CRAWL_NETWORKS names. Raises Failure (78) where a word is none."""
    try:
        return [ipaddress.ip_network(word) for word in setting.split()]
    except ValueError as error:
        raise Failure(
            BAD_CONFIGURATION, f"CRAWL_NETWORKS takes networks such as 10.0.0.0/8, with spaces between: {error}."
        ) from None
