"""What a launch links to, in the shapes of 2.0.0, 2.2.0 and 2.3.0."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from crawl.public import LONGEST_ADDRESS

MOST = 50  # links of a launch; real ones have up to seven

KINDS = {"info": ("info_urls", "infoURLs"), "video": ("vid_urls", "vidURLs")}


class Link(NamedTuple):
    """An address that a launch has, as it is written there; `kind` is image, patch, info or video."""

    launch_id: str
    kind: str
    url: str
    label: str | None


def links(launch_id: str, details: Any) -> list[Link]:  # noqa: ANN401  # a launch as received
    """Return what a launch links to, at most MOST, each address once for each kind."""
    found: dict[tuple[str, str], Link] = {}
    for kind, url, label in addresses(details):
        if isinstance(url, str) and url.startswith(("http://", "https://")) and len(url) <= LONGEST_ADDRESS:
            address = url.partition("#")[0]
            found.setdefault((kind, address), Link(launch_id, kind, address, label[:200] if label else None))
    return list(found.values())[:MOST]


def addresses(details: Any) -> Iterator[tuple[str, Any, str | None]]:  # noqa: ANN401  # the same
    """Yield kind, address and label as they are there, which may be anything."""
    if not isinstance(details, dict):
        return
    image = details.get("image")
    yield "image", image.get("image_url") if isinstance(image, dict) else image, None
    for patch in objects(details, "mission_patches"):
        yield "patch", patch.get("image_url"), text(patch.get("name"))
    for place in (details, details.get("mission")):
        for kind, names in KINDS.items():
            for name in names:
                for one in objects(place, name):
                    of_type = one.get("type")
                    label = of_type.get("name") if isinstance(of_type, dict) else None
                    yield kind, one.get("url"), text(label) or text(one.get("title"))
    for name in KINDS["info"] + KINDS["video"]:  # of 2.0.0, which has plain addresses
        for url in strings(details, name):
            yield "info" if name in KINDS["info"] else "video", url, None


def objects(place: Any, name: str) -> Iterator[dict[str, Any]]:  # noqa: ANN401  # the same
    """Yield the objects of a list."""
    value = place.get(name) if isinstance(place, dict) else None
    yield from (one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()


def strings(place: dict[str, Any], name: str) -> Iterator[str]:
    """Yield the strings of a list."""
    value = place.get(name)
    yield from (one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def text(value: Any) -> str | None:  # noqa: ANN401  # the same
    """Return a value if it is a text with something in it."""
    return value if isinstance(value, str) and value.strip() else None
