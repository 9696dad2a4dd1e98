"""Each answer into the object store, before it is read: whatever is made of it, it can be read again."""

import hashlib
import io
import logging
import re
from collections.abc import Iterable
from datetime import datetime

from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

import objects
from fetch import store
from fetch.launch_library import Request
from objects import Objects
from step import Failure

PREFIX = "launch-library/"
DETAILS = f"{PREFIX}details/"  # what PostgreSQL had before there was a store
START, END = '{"results": [', b"\n]}"

log = logging.getLogger(__name__)


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
        return objects.pieces(body.getvalue()) if size else ()

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


def move_details(connection: Connection, target: Objects, now: datetime) -> None:
    """Move the details that PostgreSQL has into one object, a page like any other; without any, do nothing."""
    body, digest = io.BytesIO(), hashlib.sha256()
    launch_ids: list[str] = []
    with connection:
        with objects.compressor(body) as file:
            for launch_id, details in store.details(connection):
                piece = f"{',' if launch_ids else START}\n{details}".encode()
                digest.update(piece)
                file.write(piece)
                launch_ids.append(launch_id)
            digest.update(END)
            file.write(END)
        if not launch_ids:
            return
        key = f"{DETAILS}{now:%Y%m%dT%H%M%SZ}-{digest.hexdigest()[:12]}.json.zst"
        metadata = {"url": "rocket_launches.details", "status": "200", "requested": now.isoformat()}
        target.put(key, body.getvalue(), metadata | {"run": now.isoformat(), "cut": "no"})
        store.point(connection, key, launch_ids)
    log.info("Moved the details of %d launches from PostgreSQL into the object store", len(launch_ids))


def bring_details_back(connection: Connection, source: Objects) -> None:
    """Fill in the details in PostgreSQL, so that it can do without the store. Stopped, it goes on the next time."""
    launches = 0
    for key, places in store.places(connection):
        found = dict(objects.places(source.get(key)[0], list(places.values())))
        store.fill(connection, {launch_id: found.get(position, {}) for launch_id, position in places.items()})
        launches += len(places)
    log.info("The details of %d launches are in PostgreSQL again; OBJECT_STORE=none leaves them there", launches)
