"""A page of launches, read launch by launch as it arrives, from the Launch Library or from the object store.

A detailed page of 100 launches has 5 MB, which would take 60 MB of memory as one object. Python's own parser reads the
launches, one after another, each as it was received: ijson writes a lone surrogate as "?", refuses a
whole page for a NaN in it, and reads numbers either as decimals or only up to 64 bits.
"""

import codecs
import json
import math
import re
from collections.abc import Iterator
from typing import Any

VALUE_CHARACTERS = 2 * 1024 * 1024  # of one launch; a detailed one has 50 thousand

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
DELIMITERS = tuple(" \t\n\r,:]}")
WHITE_SPACE = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()


class Page:
    """A page such as `{"count": 364, "next": "https://…" or null, "previous": …, "results": [launch, …]}`.

    The original project's example has `results` only. Iterating gives the launches; after that, `following` is the
    page's next link, and `is_list` tells if there were results at all.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.following: str | None = None
        self.is_list = False
        self.size, self.head, self.tail = 0, b"", b""  # what has arrived, for the sentence of a failure
        self._chunks = chunks
        # As json.loads takes bytes.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogatepass")
        self._text, self._at = "", 0  # what is not read yet begins at this place

    def __iter__(self) -> Iterator[Any]:
        """Yield each element of `results`. Raises ValueError or RecursionError where the text is not JSON."""
        if self._next() != "{":
            self._value()
        else:
            yield from self._members()
        if self._next():
            raise ValueError("there is more after the page's end")

    def _members(self) -> Iterator[Any]:
        self._take("{")
        while self._next() != "}":
            name = self._value()
            if not isinstance(name, str):
                raise ValueError("a name is no string")  # noqa: TRY004  # of the text
            self._take(":")
            if name == "results":
                self.is_list = self._next() == "["
            if name == "results" and self.is_list:
                yield from self._elements()
            else:
                value = self._value()
                if name == "next":
                    self.following = value if isinstance(value, str) else None
            if self._next() != "}":
                self._take(",")
                if self._next() == "}":
                    raise ValueError("a comma is not followed by a name")
        self._take("}")

    def _elements(self) -> Iterator[Any]:
        self._take("[")
        if self._next() != "]":
            yield self._value()
        while self._next() != "]":
            self._take(",")
            yield self._value()
        self._take("]")

    def _next(self) -> str:
        """Return the next character that is no white space; '' at the end."""
        while True:
            self._at = WHITE_SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # it always matches
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read():
                return ""

    def _take(self, character: str) -> None:
        if self._next() != character:
            raise ValueError(f"{character} is not there")
        self._at += 1

    def _value(self) -> Any:  # noqa: ANN401  # any JSON
        """Return the next value. It is complete where something else follows it, since a number could go on."""
        self._next()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if not self._read():
                    raise
                continue
            if self._text[end : end + 1] in DELIMITERS or not self._read():
                self._at = end
                return value

    def _read(self) -> bool:
        """Read on, and tell if there was more: as much again as is waiting, so that few tries find a value's end."""
        waiting = len(self._text) - self._at
        if waiting > VALUE_CHARACTERS:
            raise ValueError("a value is longer than any launch")
        parts, length = [self._text[self._at :]], waiting
        while length <= 2 * waiting:
            chunk = next(self._chunks, b"")
            self.size += len(chunk)
            self.head = self.head or chunk[:60]
            self.tail = (self.tail + chunk)[-20:]
            parts.append(self._decoder.decode(chunk, final=not chunk))
            length += len(parts[-1])
            if not chunk:
                break
        self._text, self._at = "".join(parts), 0
        return length > waiting


def clean(value: Any) -> Any:  # noqa: ANN401  # any JSON
    """Replace what PostgreSQL's text and jsonb do not take, NUL and lone surrogates, by U+FFFD, all the way down.

    Raises ValueError for a number that is infinite or none, and RecursionError for what is nested too deeply.
    """
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it has a number that is infinite or none")
    return value
