"""The object store: every answer of the Launch Library as it was received, compressed, and never overwritten.

`OBJECT_STORE` names it: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///folder`. The
keys and the endpoint are in the variables that AWS, Google and Azure have named (`AWS_ENDPOINT_URL`,
`AWS_ACCESS_KEY_ID`, …). Empty, there is none, and PostgreSQL keeps what there is to keep.

This file is copied into each image, beside step.py.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import obstore
import obstore.exceptions
import obstore.store

try:
    from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # Python 3.14 has it
except ImportError:
    from backports import zstd

import step
from page import Page, clean
from step import BAD_CONFIGURATION, BAD_INPUT, TRY_LATER, Failure

log = logging.getLogger("objects")

ZstdError = zstd.ZstdError
LEVEL = 6  # a tenth of a detailed page; level 10 saves 3 % more for 20 MB of memory
REQUEST, PATIENCE, RETRIES = timedelta(seconds=10), timedelta(seconds=20), 5  # PATIENCE: of all tries together
CHUNK = 65536
BESIDE = ".meta"  # a folder's files have no metadata: a second file holds it

# How people and programs read S3's error codes.
REFUSALS = {
    "RequestTimeTooSkewed": "this node's clock and the store's differ by more than 15 minutes: set the clocks right",
    "NoSuchBucket": "there is no such bucket: make it, or correct OBJECT_STORE",
    "InvalidAccessKeyId": "it does not know the access key: check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY",
    "AccessDenied": "the key has not the right to do this: docs/object-store.md says which it needs",
}
REFUSED = (PermissionError, obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError)
FULL = ("QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "No space left", "507 ")


class Missing(Exception):  # noqa: N818  # of the object
    """There is no object of this name."""


class Objects:
    """A store of objects by key, such as `launch-library/2.3.0/2026/11/24/20261124T201943Z-0123456789ab.json.zst`.

    Each method raises Failure where the store does not do its work: 75 if it is away or full, 78 if it refuses us.
    """

    def __init__(self, url: str) -> None:
        """Take the address of the store. Raises Failure (78) if there can be none."""
        self.url = url
        self._folder: Path | None = None
        try:
            if urlsplit(url).scheme == "file":
                self._folder = Path(unquote(urlsplit(url).path))
                self._folder.mkdir(parents=True, exist_ok=True)
                self._store: Any = obstore.store.LocalStore(self._folder)
            else:
                self._store = obstore.store.from_url(
                    url,
                    client_options={
                        "allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"),
                        "timeout": REQUEST,
                        "connect_timeout": timedelta(seconds=5),
                    },
                    retry_config={"max_retries": RETRIES, "retry_timeout": PATIENCE},
                )
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise Failure(
                BAD_CONFIGURATION,
                f"OBJECT_STORE is {url!r}, which cannot be used ({first_line(error)}): give an address such as "
                "s3://bucket/prefix, and the keys that belong to it.",
            ) from None

    def check(self, prefix: str) -> None:
        """See that the store answers and knows us, before a request is spent on what could not be kept."""
        with self._explained("list its objects"):
            # Nothing comes after this, so that the answer is short.
            next(iter(self._store.list(prefix, offset=f"{prefix}~")), None)

    def put(self, key: str, body: bytes, metadata: dict[str, str]) -> None:
        """Write an object under a new key.

        A key has the digest of what is in it, so one that is there already is this same object.
        """
        with self._explained("keep an object"):
            attributes: dict[str, str] | None = metadata
            if self._folder:
                beside = f"{key}{BESIDE}"
                self._store.put(beside, json.dumps(metadata, indent=1).encode())
                attributes = None
            with contextlib.suppress(obstore.exceptions.AlreadyExistsError):
                self._store.put(key, body, mode="create", attributes=attributes, use_multipart=False)

    def write(self, key: str, body: bytes, media: str, cache: str) -> str:
        """Write an object in the place of the one that may be there, with the headers Content-Type and Cache-Control.

        Return its ETag. A folder has neither header.
        """
        with self._explained("keep an object"):
            attributes = None if self._folder else {"Content-Type": media, "Cache-Control": cache}
            written = self._store.put(key, body, attributes=attributes, use_multipart=False)
        return written["e_tag"] or ""

    def etags(self, prefix: str) -> dict[str, str]:
        """Return the ETags of the objects below a prefix that ends with a slash, by their keys."""
        with self._explained("list its objects"):
            return {
                one["path"]: one["e_tag"] or "" for some in self._store.list(prefix, chunk_size=1000) for one in some
            }

    def get(self, key: str) -> tuple[bytes, dict[str, str]]:
        """Return an object's bytes and its metadata. Raises Missing."""
        with self._explained("give an object"):
            found = self._store.get(key)
            body = bytes(found.bytes())
            if self._folder:
                return body, json.loads(bytes(self._store.get(f"{key}{BESIDE}").bytes()))
            return body, {name.lower(): value for name, value in found.attributes.items()}

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys below a prefix that ends with a slash, in no order; listed a thousand at a time."""
        with self._explained("list its objects"):
            for some in self._store.list(prefix, chunk_size=1000):
                yield from (one["path"] for one in some if not one["path"].endswith(BESIDE))

    def delete(self, keys: list[str]) -> None:
        """Delete objects; those that are gone already count as deleted."""
        with self._explained("delete objects"):
            if not self._folder:
                self._store.delete(keys)
                return
            for key in keys:
                for path in (key, f"{key}{BESIDE}"):
                    with contextlib.suppress(FileNotFoundError):
                        self._store.delete(path)

    def _explained(self, what: str) -> "Explained":
        return Explained(self.url, what)


class Explained:
    """Turns the store's errors into Missing, or into a Failure with what happened and what to do."""

    def __init__(self, url: str, what: str) -> None:
        self._url, self._what = url, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if not isinstance(error, (obstore.exceptions.BaseError, OSError, NotImplementedError)):
            return
        said = str(error)
        where = f"The object store {self._url} does not {self._what}"
        for code, meaning in REFUSALS.items():
            if code in said:
                raise Failure(BAD_CONFIGURATION, f"{where} ({code}): {meaning}.") from None
        if any(word in said for word in FULL):
            raise Failure(TRY_LATER, f"{where}: it is full. Make room, and the next try ends well.") from None
        if isinstance(error, FileNotFoundError):
            raise Missing(first_line(error)) from None
        if isinstance(error, REFUSED):
            raise Failure(
                BAD_CONFIGURATION, f"{where}: {first_line(error)}. Check OBJECT_STORE and the keys that belong to it."
            ) from None
        raise Failure(
            TRY_LATER, f"{where}: {first_line(error)}. Check that it runs; the next try starts from the beginning."
        ) from None


def run(arguments: argparse.Namespace) -> None:
    """Put the files of a folder below a prefix, or get an object into a file."""
    if not (store := from_environment()):
        raise Failure(BAD_CONFIGURATION, "There is no object store: OBJECT_STORE is not set, or is none.")
    if arguments.what == "put":
        for path in sorted(arguments.file.iterdir()):
            store.put(f"{arguments.key}{path.name}", path.read_bytes(), {"size": str(path.stat().st_size)})
            log.info("Put %s%s, %d bytes, into %s", arguments.key, path.name, path.stat().st_size, store.url)
        return
    try:
        body, _ = store.get(arguments.key)
    except Missing:
        raise Failure(
            BAD_INPUT, f"{arguments.key} is not in {store.url}, which has {', '.join(sorted(store.keys('backups/')))}."
        ) from None
    arguments.file.write_bytes(body)
    log.info("Got %s, %d bytes", arguments.key, len(body))


def main() -> int:
    """Do what the backup needs, and return the exit code."""
    parser = argparse.ArgumentParser(prog="objects", description=run.__doc__)
    parser.add_argument("what", choices=("put", "get"))
    parser.add_argument("file", type=Path, help="put: a folder; get: the file to write")
    parser.add_argument("key", help="put: a prefix such as backups/; get: a key below it")
    return step.main(partial(run, parser.parse_args()))


def from_environment() -> Objects | None:
    """Return the store that OBJECT_STORE names; None if it is empty or `none`. Raises Failure (78) for what is none."""
    url = os.environ.get("OBJECT_STORE")
    return Objects(url) if url and url != "none" else None


def first_line(error: Exception) -> str:
    """Return an error's own words without the store's inner state, and without how often it was tried.

    Of S3's answer, which is XML, that is the code alone.
    """
    said = str(error).partition("\n")[0] or type(error).__name__
    said = re.sub(r" in [\d.]+\w*s, after .* retry_timeout: \w+ +- ", ": ", said)
    said, is_answer, _ = said.partition(": <?xml")
    code = re.search(r"<Code>(\w+)</Code>", str(error)) if is_answer else None
    return said[:300].strip().rstrip(".") + (f" ({code[1]})" if code else "")


def compressor(target: BinaryIO) -> Any:  # noqa: ANN401  # a ZstdFile, of one module or the other
    """Return a file that writes compressed to another."""
    return zstd.ZstdFile(target, "wb", level=LEVEL)


def decompressed(body: bytes) -> BinaryIO:
    """Return a file that reads what was compressed. While it is read, ZstdError or EOFError say that it is damaged."""
    reader: BinaryIO = zstd.ZstdFile(io.BytesIO(body))
    return reader


def pieces(body: bytes) -> Iterator[bytes]:
    """Yield what was compressed, a piece at a time: a page has ten times the size of its object."""
    with decompressed(body) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def places(body: bytes, positions: Collection[int | None]) -> Iterator[tuple[int | None, Any]]:
    """Yield the launches that an answer has in these places of its results; None is the answer itself.

    Raises ZstdError, EOFError, ValueError or RecursionError where it cannot be read.
    """
    if None in positions:
        yield None, clean(json.loads(b"".join(pieces(body))))
    else:
        yield from ((at, clean(one)) for at, one in enumerate(Page(pieces(body))) if at in positions)


def details(where: Iterable[tuple[str | None, int | None]]) -> dict[tuple[str | None, int | None], Any]:
    """Return the details of launches by where they are, as `each_of_details` yields them."""
    return dict(each_of_details(where))


def each_of_details(
    where: Iterable[tuple[str | None, int | None]],
) -> Iterator[tuple[tuple[str | None, int | None], Any]]:
    """Yield where a launch's details are, an object's key and a place, and the details; usually, one has those of all.

    What is missing or damaged is left out, and the log says so. Raises Failure, if the store is away (75), or is not
    named or will not have us (78).
    """
    wanted: dict[str, list[int | None]] = defaultdict(list)
    for key, position in where:
        if key:
            wanted[key].append(position)
    if not wanted:
        return
    if not (kept_in := from_environment()):
        raise Failure(
            BAD_CONFIGURATION,
            "The details of launches are in an object store, and OBJECT_STORE does not say which: set it, as "
            "fetch_and_store_data has it.",
        )
    for key, positions in wanted.items():
        try:
            for position, one in places(kept_in.get(key)[0], positions):
                yield (key, position), one
        except (Missing, ValueError, RecursionError, EOFError, ZstdError) as error:
            log.warning("What %s says is left out, as it cannot be read: %s", key, error)


if __name__ == "__main__":
    sys.exit(main())
