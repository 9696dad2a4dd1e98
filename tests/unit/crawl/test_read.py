"""What a page or a picture says of itself, and what becomes of one that is odd or means no good."""

import struct
import time
import zlib
from datetime import UTC, datetime

import pytest

from crawl.read import Facts, facts

HTML = "text/html"


def read(html: str | bytes, media: str = HTML) -> Facts:
    return facts(html.encode() if isinstance(html, str) else html, media)


def png(width: int, height: int) -> bytes:
    data = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + data + struct.pack(">I", zlib.crc32(data))


JPEG = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    b"\xff\xc0\x00\x11\x08\x02\xd0\x05\x00\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xd9"
)
GIF = b"GIF89a" + struct.pack("<HH", 320, 200) + b"\0\0\0;"
WEBP = (
    b"RIFF\x24\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (639).to_bytes(3, "little") + (479).to_bytes(3, "little") + b"\0" * 8
)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (png(1280, 720), ("image/png", 1280, 720)),
        (JPEG, ("image/jpeg", 1280, 720)),
        (GIF, ("image/gif", 320, 200)),
        (WEBP, ("image/webp", 640, 480)),
        # It says that it is one, and no more; or something that cannot be.
        (b"\x89PNG\r\n\x1a\n", ("image/png", None, None)),
        (b"\xff\xd8\xff", ("image/jpeg", None, None)),
        (b"\xff\xd8\xff\xe0" + b"\xff" * 10_000, ("image/jpeg", None, None)),
        (png(0, 720), ("image/png", None, None)),
        (png(2**31, 2**31), ("image/png", None, None)),
        (b"GIF89a", ("image/gif", None, None)),
        (b"RIFF\0\0\0\0WEBP", ("image/webp", None, None)),
        (b"\0\0\0\x20ftypavif" + b"\0" * 16, ("image/avif", None, None)),
    ],
)
def test_a_picture_by_its_head(body: bytes, wanted: tuple[str, int | None, int | None]) -> None:
    found = facts(body, "text/html")  # whatever the server says
    assert (found.type, found.width, found.height) == wanted


@pytest.mark.parametrize(
    ("body", "declared", "wanted"),
    [
        (b"<html>", "image/png", "application/octet-stream"),
        (b"", "image/jpeg", "application/octet-stream"),
        (b"%PDF-1.7", "application/pdf", "application/pdf"),
        (b"%PDF-1.7", "Application/PDF; x=y", "application/pdf"),
        (b"x", "", "application/octet-stream"),
        (b"x", "nonsense", "application/octet-stream"),
        (b"x", "text/" + "a" * 500, "application/octet-stream"),
        (b"<!doctype html><html>", "", "text/html"),
        (b"<svg onload='alert(1)'/>", "image/svg+xml", "image/svg+xml"),
        (b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><x>&a;</x>", "text/xml", "text/xml"),
    ],
)
def test_another_type(body: bytes, declared: str, wanted: str) -> None:
    assert facts(body, declared) == Facts(wanted)


@pytest.mark.parametrize(
    ("head", "title"),
    [
        ("<title> A \n title </title>", "A title"),
        ("<title>x</title><meta property=og:title content='Open &lt;Graph&gt;'>", "Open <Graph>"),
        ("<meta property=og:title content=''><title>x</title>", "x"),
        ('<script type="application/ld+json">{"@graph": [[{"headline": "Deep"}]]}</script><title>x</title>', "Deep"),
        ('<script type="application/ld+json">{"headline": 7, "name": "Name"}</script>', "Name"),
        ('<script type="application/ld+json">not JSON</script><title>x</title>', "x"),
        ('<script type="application/ld+json">' + '{"a":' * 1000 + "1" + "}" * 1000 + "</script><title>x</title>", "x"),
        ('<script type="application/ld+json">' + "[" * 100_000 + "</script><title>x</title>", "x"),
        ("<title>" + "x" * 10_000 + "</title>", "x" * 500),
        ("<title>a\0b\ud800</title>".replace("\ud800", "&#xD800;"), "a\ufffdb\ufffd"),
        ("", None),
    ],
)
def test_the_title(head: str, title: str | None) -> None:
    assert read(f"<html><head>{head}</head><body></body></html>").title == title


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2030-12-24T10:00:00+02:00", datetime(2030, 12, 24, 8, tzinfo=UTC)),
        ("2030-12-24", datetime(2030, 12, 24, tzinfo=UTC)),
        ("yesterday", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("9999-12-31T23:59:59-23:00", None),
        ("", None),
    ],
)
def test_when_it_was_published(written: str, time: datetime | None) -> None:
    assert read(f"<meta property=article:published_time content='{written}'>").published_at == time
    assert read(f'<script type="application/ld+json">{{"datePublished": "{written}"}}</script>').published_at == time


@pytest.mark.parametrize(
    ("body", "media", "title"),
    [
        ("<title>Σ ü</title>".encode(), HTML, "Σ ü"),
        ("<title>Σ</title>".encode("iso-8859-7"), f"{HTML}; charset=ISO-8859-7", "Σ"),
        (b"<meta charset=windows-1252><title>\x80</title>", HTML, "€"),
        (b"<title>\xe9</title>", f"{HTML}; charset=latin1", "é"),
        ("<title>Σ</title>".encode("utf-16"), HTML, "Σ"),
        (b"\xef\xbb\xbf<title>\xce\xa3</title>", f"{HTML}; charset=ascii", "Σ"),
        (b"<title>\xff</title>", HTML, "\ufffd"),
        (b"<title>x</title>", f"{HTML}; charset=nonsense", "x"),
        (b"<title>x</title>", f"{HTML}; charset=zip", "x"),  # Python's, and none for text
        (b"<title>x</title>", f"{HTML}; charset=idna", "x"),
        ("<title>日本</title>".encode("shift_jis"), f"{HTML}; charset=Shift_JIS", "日本"),
    ],
)
def test_the_encoding(body: bytes, media: str, title: str) -> None:
    assert facts(body, media).title == title


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<nav>Menu</nav><main><p>It</p><p>flies</p></main><footer>x</footer>", "It flies"),
        ("<article>One</article><article>Two</article>", "One"),
        ("<p>All <b>of</b> it<script>evil()</script><style>p{}</style><p hidden>hidden", "All of it"),
        ("<p>" + "word " * 100_000, "word " * 4000),
        ("", None),
    ],
)
def test_the_main_text(html: str, text: str | None) -> None:
    assert read(html).text == text


def test_the_language() -> None:
    assert read("<html lang=fr-CA>").language == "fr-CA"
    assert read("<html lang='\"><script>'>").language is None
    assert facts(b"<html>", HTML, "de, en").language == "de"


@pytest.mark.parametrize(
    "html",
    ["<div>" * 600_000, "<b>" * 600_000, "<a href='" * 200_000, "<!--" * 500_000, "&amp;" * 500_000, "<" * 500_000],
)
def test_no_page_takes_long(html: str) -> None:
    began = time.monotonic()
    read(html)
    assert time.monotonic() - began < 10
