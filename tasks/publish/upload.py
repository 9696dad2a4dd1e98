"""Brings the site into the object store: nothing that has not changed, and what is named before what names it."""

import hashlib
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from objects import Missing, Objects
from publish.site import FOREVER, File, picture_path
from publish.store import Picture, Store

PREFIX = "public/"
LEFT = timedelta(days=1)  # for so long a file stays that nothing names any more
AT_ONCE = 8  # objects are written beside each other

log = logging.getLogger("publish")


class Upload:
    """One version's way into the store; `written`, `unchanged`, `removed` count files."""

    def __init__(self, store: Store, kept_in: Objects, now: datetime) -> None:
        self._store, self._kept_in, self._now = store, kept_in, now
        self._rows = store.files()
        there = kept_in.etags(PREFIX)
        self._there = {key.removeprefix(PREFIX): etag for key, etag in there.items()}
        self._named: set[str] = set()
        self._written: set[str] = set()
        self.unchanged = self.removed = 0

    @property
    def is_new(self) -> bool:
        """Tell whether there is no site yet."""
        return "index.html" not in self._there

    @property
    def written(self) -> int:
        """Return how many files were written."""
        return len(self._written)

    def pictures(self, pictures: Iterable[Picture]) -> dict[str, str]:
        """Copy pictures, and return their paths by their digests, without those that the store has lost."""
        paths = {}
        for picture in {picture.sha256: picture for picture in pictures}.values():
            path = picture_path(picture)
            if path in self._there:
                self._named.add(path)
                self.unchanged += 1
            else:
                try:
                    body, _ = self._kept_in.get(picture.object_key)
                except Missing:
                    log.warning("A picture is left out, as %s is not in the store", picture.object_key)
                    continue
                self.put([File(path, body, picture.type, FOREVER)])
            paths[picture.sha256] = path
        return paths

    def put(self, files: list[File]) -> None:
        """Write those files that have changed. They must name only what is there already."""
        digests = {file.path: hashlib.sha256(file.body).hexdigest() for file in files}
        changed = [file for file in files if not self._is_there(file.path, digests[file.path])]
        self._named.update(digests)
        self.unchanged += len(files) - len(changed)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            etags = list(pool.map(self._write, changed))
        rows = [
            {"path": file.path, "launch_id": file.launch_id, "sha256": digests[file.path], "etag": etag}
            for file, etag in zip(changed, etags, strict=True)
        ]
        if rows:
            self._store.keep_files(rows, self._now)
        self._written.update(file.path for file in changed)

    def finish(self) -> None:
        """Delete what nothing has named for a day."""
        unnamed = (self._there.keys() | self._rows.keys()) - self._named
        new = [path for path in unnamed if path not in self._rows or not self._rows[path].unnamed_since]
        if new:
            self._store.unnamed(sorted(new), self._now)
        if again := [path for path in self._named & self._rows.keys() if self._rows[path].unnamed_since]:
            self._store.named(again)
        over = [
            path
            for path in unnamed & self._rows.keys()
            if (since := self._rows[path].unnamed_since) and since <= self._now - LEFT
        ]
        if over:
            self._kept_in.delete([PREFIX + path for path in over])
            self._store.forget(over)
        self.removed = len(over)

    def _is_there(self, path: str, sha256: str) -> bool:
        row = self._rows.get(path)
        return row is not None and (row.sha256, row.etag) == (sha256, self._there.get(path))

    def _write(self, file: File) -> str:
        return self._kept_in.write(PREFIX + file.path, file.body, file.media, file.cache)
