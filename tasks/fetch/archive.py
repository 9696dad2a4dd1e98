"""Each answer into the object store, before it is read: whatever is made of it, it can be read again."""

import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from datetime import datetime

from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

import objects
from fetch import store
from fetch.launch_library import Request
from objects import Objects
from step import Failure

PREFIX = "launch-library/"
CHUNK = 65536


class Archive:
    """Keeps the answers of one run; without an object store, only until they are read."""

    def __init__(self, target: Objects | None, connection: Connection, run_at: datetime) -> None:
        self._objects, self._connection, self._run_at = target, connection, run_at

    def keep(self, request: Request, status: int, answer: Iterable[bytes]) -> Iterable[bytes]:
        """Write an answer under the key that its time and its content give, and return it.

        The same answer to the same request is one object. Of an answer that is cut off, what has come is kept. Raises
        the Failure of the answer or of the store.
        """
        body, digest, size, cut = io.BytesIO(), hashlib.sha256(), 0, None
        with objects.compressor(body) as file:
            try:
                for chunk in answer:
                    digest.update(chunk)
                    size += file.write(chunk)
            except Failure as failure:
                cut = failure
        if size and self._objects:
            request.sha256 = digest.hexdigest()
            request.object_key = store.key_of_same(self._connection, request)
            if not request.object_key:
                self._put(self._objects, request, status, body.getvalue(), cut)
        if cut:
            raise cut
        return pieces(body.getvalue()) if size else ()

    def _put(self, target: Objects, request: Request, status: int, body: bytes, cut: Failure | None) -> None:
        key = object_key(request)
        metadata = {
            "url": request.url,
            "status": str(status),
            "requested": request.requested_at.isoformat(),
            "run": self._run_at.isoformat(),
            "cut": "yes" if cut else "no",
        }
        try:
            target.put(key, body, metadata)
        except Failure as failure:
            request.sha256 = None
            raise Failure(
                failure.exit_code,
                f"The answer from {request.url} could not be kept, so nothing of it was stored, and the request has to "
                f"be repeated. {failure}",
            ) from None
        request.object_key = key


def object_key(request: Request) -> str:
    """Return an answer's key, such as launch-library/2.3.0/2026/11/24/20261124T201943Z-0123456789ab.json.zst."""
    version = re.match(r"https?://[^/]+/(\d[\d.]*)/", request.url)
    at = request.requested_at
    return (
        f"{PREFIX}{version[1] if version else 'other'}/{at:%Y/%m/%d}/"
        f"{at:%Y%m%dT%H%M%SZ}-{(request.sha256 or '')[:12]}.json.zst"
    )


def pieces(body: bytes) -> Iterator[bytes]:
    """Yield what was compressed, a piece at a time: a page has ten times the size of its object."""
    with objects.decompressed(body) as file:
        while chunk := file.read(CHUNK):
            yield chunk
