"""What a page or a picture says of itself. All of it is other people's text: kept short, and never run."""

import codecs
import io
import itertools
import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import imagesize  # type: ignore[import-untyped]  # it has no types
from selectolax.lexbor import LexborHTMLParser

from page import clean

# Of a page, as far as it is read: an element takes some 350 bytes of memory, and deep ones quadratic time.
CHARACTERS, TAGS = 2 * 1024 * 1024, 30_000
SHORT, LONG = 500, 20_000  # characters of a title, and of a page's text
NODES = 1000  # of JSON-LD that are looked at
SCRIPT_CHARACTERS = 256 * 1024

# By their first bytes: what a server says of a picture's type is often wrong.
PICTURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
BRANDS = {b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic", b"heix": "image/heic"}
LARGEST_SIDE = 65535  # pixels: what a JPEG can have

TITLE = ('meta[property="og:title"]', 'meta[name="twitter:title"]')
DESCRIPTION = ('meta[property="og:description"]', 'meta[name="description"]', 'meta[name="twitter:description"]')
PUBLISHED = ('meta[property="article:published_time"]', 'meta[itemprop="datePublished"]', 'meta[name="date"]')
AROUND = (
    "script, style, noscript, template, nav, header, footer, aside, form, iframe, svg, [hidden], [aria-hidden=true]"
)


@dataclass(slots=True)
class Facts:
    """What is known of a body: its type, a picture's size in pixels, and what a page says."""

    type: str | None = None
    width: int | None = None
    height: int | None = None
    title: str | None = None
    description: str | None = None
    published_at: datetime | None = None
    language: str | None = None
    text: str | None = None


def facts(body: bytes, content_type: str, content_language: str = "") -> Facts:
    """Read what a body says of itself; whatever is in it, what cannot be read is left out."""
    if picture := type_of_picture(body):
        width, height = size_of_picture(body)
        return Facts(picture, width, height)
    declared = content_type.partition(";")[0].strip().lower()
    declared = declared if re.fullmatch(r"[\w.+-]{1,60}/[\w.+-]{1,60}", declared) else ""
    if declared in ("text/html", "application/xhtml+xml") or (not declared and b"<html" in body[:1024].lower()):
        return page(beginning(decoded(body[: 4 * CHARACTERS], content_type)), content_language)
    if declared.startswith("image/") and declared != "image/svg+xml":
        return Facts("application/octet-stream")  # it is no picture that we know
    return Facts(declared or "application/octet-stream")


def type_of_picture(body: bytes) -> str | None:
    """Return a picture's type by its first bytes; None if it is none."""
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "image/webp"
    if body[4:8] == b"ftyp":
        return BRANDS.get(body[8:12])
    return next((name for start, name in PICTURES.items() if body.startswith(start)), None)


def size_of_picture(body: bytes) -> tuple[int | None, int | None]:
    """Return width and height in pixels as the head of the file has them, without decoding the picture."""
    try:
        width, height = imagesize.get(io.BytesIO(body))
    except Exception:  # noqa: BLE001  # whatever a file that is cut off or forged makes of a parser
        return None, None
    if 0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE:
        return int(width), int(height)
    return None, None


def decoded(body: bytes, content_type: str) -> str:
    """Return a page's text, by its byte order mark, the header, its own word for it, or as UTF-8."""
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if body.startswith(mark):
            return body.decode(name, "replace")
    said = re.search(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", content_type, re.IGNORECASE)
    said = said or re.search(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", body[:1024].decode("latin-1"), re.IGNORECASE)
    if said:
        try:
            return body.decode("cp1252" if said[1].lower() in ("iso-8859-1", "latin1", "ascii") else said[1], "replace")
        except (LookupError, UnicodeError):
            pass
    return body.decode("utf-8", "replace")


def beginning(html: str) -> str:
    """Cut a page where it gets too long, or has too many tags."""
    tags = itertools.islice(re.finditer("<", html[:CHARACTERS]), TAGS, None)
    last = next(tags, None)
    return html[: last.start() if last else CHARACTERS]


def page(html: str, content_language: str) -> Facts:
    """Read a page: Open Graph before JSON-LD before its own title and description."""
    tree = LexborHTMLParser(html)
    linked = json_ld(tree)
    title = tree.css_first("title")
    language = (tree.root.attributes.get("lang") if tree.root else None) or content_language.partition(",")[0]
    found = Facts(
        "text/html",
        title=first(
            SHORT, *contents(tree, TITLE), linked.get("headline"), linked.get("name"), title.text() if title else None
        ),
        description=first(SHORT, *contents(tree, DESCRIPTION), linked.get("description")),
        published_at=next(filter(None, map(moment, [*contents(tree, PUBLISHED), linked.get("datePublished")])), None),
        language=language.strip() if re.fullmatch(r"\s*[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}\s*", language) else None,
    )
    tree.strip_tags([tag for tag in AROUND.split(", ") if tag.isalpha()])
    for node in tree.css("[hidden], [aria-hidden=true]"):
        node.decompose()
    main = tree.css_first("article") or tree.css_first("main") or tree.body
    found.text = first(LONG, main.text(separator=" ") if main else None)
    return found


def contents(tree: LexborHTMLParser, selectors: tuple[str, ...]) -> Iterator[str | None]:
    """Yield the content of each meta element."""
    for selector in selectors:
        node = tree.css_first(selector)
        yield node.attributes.get("content") if node else None


def json_ld(tree: LexborHTMLParser) -> dict[str, Any]:
    """Return the first values that the page's JSON-LD has of what is asked for, however deep."""
    found: dict[str, Any] = {}
    for node in tree.css('script[type="application/ld+json"]'):
        try:
            waiting = deque([json.loads(node.text()[:SCRIPT_CHARACTERS])])
        except (ValueError, RecursionError):
            continue
        for _ in range(NODES):
            if not waiting:
                break
            one = waiting.popleft()
            if isinstance(one, dict):
                for name in ("headline", "name", "description", "datePublished"):
                    if isinstance(one.get(name), str):
                        found.setdefault(name, one[name])
            if isinstance(one, (dict, list)):
                inner = one.values() if isinstance(one, dict) else one
                waiting.extend(value for value in inner if isinstance(value, (dict, list)))
    return found


def first(most: int, *values: str | None) -> str | None:
    """Return the first text that has something in it, on one line, and cut to so many characters."""
    for value in values:
        if value and (line := " ".join(value[: 50 * most].split())):
            return str(clean(line[:most]))
    return None


def moment(value: str | None) -> datetime | None:
    """Return a time in UTC; None if it is none."""
    try:
        found = datetime.fromisoformat((value or "").strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
