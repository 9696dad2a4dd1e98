"""A small site that the stand-in's launches link to: a press kit, pictures and a patch of our own."""

import struct
import zlib
from pathlib import Path

from standins.server import Answer

ROBOTS = "User-agent: *\nDisallow: /site/private/\n"

PRESS_KIT = """<!doctype html>
<html lang="en">
<head>
<title>Starlink 17-42 | Press kit</title>
<meta property="og:title" content="Starlink Group 17-42: press kit">
<meta name="description" content="Two dozen satellites, and what happens when.">
<meta property="article:published_time" content="2026-11-20T09:00:00Z">
</head>
<body>
<nav>Home</nav>
<main>
<h1>Starlink Group 17-42</h1>
<p>A Falcon 9 brings 24 satellites into a polar orbit. Its first stage lands on a ship.</p>
</main>
</body>
</html>
"""


def png(width: int, height: int, colour: bytes) -> bytes:
    """Return a picture of one colour, three bytes of RGB."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + width * colour) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def picture(name: str) -> Answer:
    """Answer with a picture that lies beside this file."""
    return Answer(200, (Path(__file__).parent / name).read_bytes(), {"Content-Type": "image/jpeg"})


SITE = {
    "/site/falcon-9-at-dusk.jpg": picture("falcon-9-at-dusk.jpg"),
    "/site/vega-c-in-its-gantry.jpg": picture("vega-c-in-its-gantry.jpg"),
    "/site/starlink-17-42": Answer(200, PRESS_KIT, {"ETag": '"1"'}),
    "/site/patch.png": Answer(200, png(480, 480, b"\x20\x30\x60"), {"Content-Type": "image/png"}),
}
