"""A launch as the index has it: what mapping.py names."""

import json
from datetime import datetime
from typing import Any

from index.store import Row
from wording import STATUSES, facets, find, known, period


def facts(name: str, details: Any) -> dict[str, Any]:  # noqa: ANN401  # a launch as received
    """Return what a launch's details say, by the names of the index; what they do not is left out."""
    words = facets(name, details)
    found: dict[str, Any] = {
        "mission": known(find(details, "mission.name", "mission")),
        "kind": known(find(details, "mission.type", "mission_type")),
        "orbit": texts(find(details, "mission.orbit.name", "orbit"), find(details, "mission.orbit.abbrev")),
        "description": known(find(details, "mission.description")),
        "program": texts(*(find(one, "name") for one in listed(details, "program"))),
        "provider": texts(words["provider"], find(details, "launch_service_provider.abbrev")),
        "customer": texts(
            *(find(one, part) for one in listed(details, "mission", "agencies") for part in ("name", "abbrev"))
        ),
        "rocket": texts(
            words["rocket"],
            find(details, "rocket.configuration.family", "rocket.configuration.families.0.name"),
        ),
        "pad": known(words["pad"]),
        "location": known(words["location"]),
        "point": point(find(details, "pad.latitude"), find(details, "pad.longitude")),
    }
    return {key: value for key, value in found.items() if value}


def listed(value: Any, *keys: str) -> list[Any]:  # noqa: ANN401  # a launch as received
    """Return the first five of a list that is behind these keys; nothing where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value[:5] if isinstance(value, list) else []


def texts(*found: str | None) -> list[str]:
    """Return the texts that say something, each once."""
    return list(dict.fromkeys(filter(None, map(known, found))))


def point(latitude: str | None, longitude: str | None) -> dict[str, float] | None:
    """Return where a pad is; None where that is no place on Earth."""
    try:
        lat, lon = float(latitude or ""), float(longitude or "")
    except ValueError:
        return None
    return {"lat": lat, "lon": lon} if -90 <= lat <= 90 and -180 <= lon <= 180 else None


def document(row: Row, known: dict[str, Any]) -> dict[str, Any]:
    """Return a launch's document; `known` is what its details say, as `facts` returns it."""
    found = {
        "launch_id": row.launch_id,
        "name": row.name,
        **known,
        "pages": row.pages,
        "status": row.status,
        "state": row.status and [row.status, STATUSES.get(row.status, "")],
        "net": row.net and written(row.net),
        "net_precision": row.net_precision,
        "when": when(row),
        "slips": row.slips,
        "image_url": row.image_url,
        "withdrawn_at": row.withdrawn_at and written(row.withdrawn_at),
        "digest_high": row.digest >> 31,
        "digest_low": row.digest & (1 << 31) - 1,
    }
    return {key: value for key, value in found.items() if value is not None}


def when(row: Row) -> dict[str, str] | None:
    """Return the time in which a launch can be: all of December, where it is known to its month."""
    if not row.net:
        return None
    start, end = period(row)
    return {"gte": written(start), "lt" if end > start else "lte": written(end)}


def written(time: datetime) -> str:
    """Return a time as ISO 8601 has it."""
    return time.isoformat(timespec="milliseconds")


def write(index: str, version: int, row: Row, known: dict[str, Any]) -> bytes:
    """Return the two lines by which `_bulk` takes a document, unless it has a newer one."""
    action = {"index": {"_index": index, "_id": row.launch_id, "version": version, "version_type": "external_gte"}}
    return f"{json.dumps(action)}\n{json.dumps(document(row, known))}\n".encode()


def erase(index: str, version: int, launch_id: str) -> bytes:
    """Return the line by which `_bulk` deletes a document, unless it has a newer one."""
    action = {"delete": {"_index": index, "_id": launch_id, "version": version, "version_type": "external_gte"}}
    return f"{json.dumps(action)}\n".encode()
