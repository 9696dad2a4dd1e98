"""A stand-in for the Launch Library: launches of our own in the shape of 2.3.0, or a recorded page, byte for byte.

`upcoming-2.3.0.json` is a detailed page as the published description has it, with two differences. What is empty in a
detailed launch alone is left out (EMPTY). And its times are ISO 8601 durations, so that there is always something
upcoming: `net`, `last_updated` and an update's `created_on` count from the start of the stand-in, the window from
`net`. `net` is then brought to its `net_precision`: a month's is the last day of the month at 00:00Z. The scenarios are
the hours of one launch. A file such as `live-2.3.0.json` says, by a launch's id, what differs from the scenario before.

`/site/` is a site that launches link to, such as `"/site/patch.png"` there.

In this process: `with LaunchLibrary() as library:`, then `library.upcoming_url`, `.scenario`, `.dropped`, `.withdrawn`,
`.page`, `.faults`. As a program: `python -m standins.launch_library`; `PUT /control` takes `{"scenario": "slipped",
"dropped": [ID, …], "withdrawn": [ID, …]}` besides faults.
"""

import contextlib
import json
import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

from standins.server import Answer, Request, StandIn, serve
from standins.site import ROBOTS, SITE

FOLDER = Path(__file__).parent
UPCOMING = {
    "2.3.0": "/2.3.0/launches/upcoming/",
    "2.2.0": "/2.2.0/launch/upcoming/",
    "2.0.0": "/2.0.0/launch/upcoming/",
}
# What `mode=list` has of a launch.
LIST = (
    *("id", "url", "name", "response_mode", "slug", "launch_designator", "status", "last_updated", "net"),
    *("net_precision", "window_end", "window_start", "image", "infographic"),
)
# What only `mode=detailed` has, where it is empty. What is within these fields and others is as `mode=normal` has it.
EMPTY: dict[str, Any] = {
    "flightclub_url": None,
    "updates": [],
    "info_urls": [],
    "vid_urls": [],
    "timeline": [],
    "pad_turnaround": None,
    "mission_patches": [],
}
SCENARIOS = ("upcoming", "slipped", "live", "flown")  # each builds on the one before
DURATION = re.compile(r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


class LaunchLibrary(StandIn):
    """The list of upcoming launches, and each by its id.

    Launches that are `dropped` are not in the list any more, those that are `withdrawn` are not known at all. `page`,
    where set, is what it answers to every version's address; a launch that was on one is known as it was on the last.
    """

    aside = ("/site/", "/robots.txt")

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.started_at = datetime.now(UTC).replace(second=0, microsecond=0)
        self.scenario = "upcoming"
        self.dropped: list[str] = []
        self.withdrawn: list[str] = []
        self.page: bytes | None = None
        self._recorded: dict[str, dict[str, Any]] = {}
        super().__init__(port, host)
        self.upcoming_url = self.url + UPCOMING["2.3.0"]

    def state(self) -> dict[str, Any]:
        """Return the requests, the scenario, and the launches that are not in the list."""
        now = {"scenario": self.scenario, "dropped": self.dropped, "withdrawn": self.withdrawn}
        return super().state() | now

    def control(self, orders: dict[str, Any]) -> None:
        """Take `scenario`, `dropped` and `withdrawn` besides the faults."""
        scenario = orders.pop("scenario", self.scenario)
        if scenario not in SCENARIOS:
            raise TypeError(f"no scenario {scenario}")
        self.scenario = scenario
        self.dropped = orders.pop("dropped", self.dropped)
        self.withdrawn = orders.pop("withdrawn", self.withdrawn)
        super().control(orders)

    def answer(self, request: Request) -> Answer:
        """Answer as the Launch Library does, or as the site that its launches link to."""
        if request.path.startswith(self.aside):
            return SITE.get(request.path) or (Answer(200, ROBOTS) if request.path == "/robots.txt" else Answer(404))
        if request.path.endswith("/api-throttle/"):
            return Answer(
                200,
                {
                    "your_request_limit": 15,
                    "limit_frequency_secs": 3600,
                    "current_use": 0,
                    "next_use_secs": 0,
                    "ident": "stand-in",
                },
            )
        if self.page is not None and request.path in UPCOMING.values():
            return self.recorded(self.page)
        if request.path != UPCOMING["2.3.0"]:
            return sited(self.one(unquote(request.path)), request)
        mode = request.query.get("mode", "normal")
        away = {*self.dropped, *self.withdrawn}
        launches = [launch for launch in self.launches() if launch["id"] not in away]
        limit, offset = min(int(request.query.get("limit", 10)), 100), int(request.query.get("offset", 0))

        def link(to: int) -> str:
            query = urlencode(request.query | {"limit": limit, "offset": to})
            return f"http://{request.headers['Host']}{request.path}?{query}"

        following, previous = offset + limit, max(offset - limit, 0)
        body = {
            "count": len(launches),
            "next": link(following) if following < len(launches) else None,
            "previous": link(previous) if offset else None,
            "results": [in_mode(launch, mode) for launch in launches[offset:following]],
        }
        return sited(Answer(200, body), request)

    def recorded(self, page: bytes) -> Answer:
        """Answer with a page, and remember its launches."""
        with contextlib.suppress(ValueError, TypeError, LookupError):  # it may be no page
            self._recorded |= {launch["id"]: launch for launch in json.loads(page)["results"]}
        return Answer(200, page)

    def one(self, path: str) -> Answer:
        """Answer with the launch of an address such as /2.3.0/launches/ID/, which is always detailed."""
        own = {launch["id"]: in_mode(launch, "detailed") for launch in self.launches()}
        known = self._recorded or {name: launch for name, launch in own.items() if name not in self.withdrawn}
        *folder, launch_id, _ = path.split("/")
        if "/".join([*folder, "upcoming/"]) not in UPCOMING.values() or launch_id not in known:
            return Answer(404, {"detail": "Not found."})
        return Answer(200, known[launch_id])

    def launches(self) -> list[dict[str, Any]]:
        """Return the launches of the scenario, the nearest first."""
        launches = json.loads((FOLDER / "upcoming-2.3.0.json").read_text())["results"]
        for scenario in SCENARIOS[1 : SCENARIOS.index(self.scenario) + 1]:
            changes = json.loads((FOLDER / f"{scenario}-2.3.0.json").read_text())
            launches = [launch | changes.get(launch["id"], {}) for launch in launches]
        return sorted((dated(launch, self.started_at) for launch in launches), key=lambda launch: str(launch["net"]))


def sited(answer: Answer, request: Request) -> Answer:
    """Return an answer whose links lead to this server, as who asks has called it."""
    if not isinstance(answer.body, dict):
        return answer
    text = json.dumps(answer.body).replace('"/site/', f'"http://{request.headers["Host"]}/site/')
    return Answer(answer.status, json.loads(text), answer.headers)


def in_mode(launch: dict[str, Any], mode: str) -> dict[str, Any]:
    """Return of a launch what an answer in this mode has."""
    if mode == "detailed":
        return EMPTY | launch
    names = LIST if mode == "list" else launch.keys() - EMPTY.keys()
    return {name: value for name, value in launch.items() if name in names} | {"response_mode": mode}


def dated(launch: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return a launch with times instead of durations."""
    net = to_precision(now + duration(launch["net"]), launch["net_precision"]["id"])
    precision = launch["net_precision"]
    if precision["abbrev"].startswith("Q"):
        quarter = (net.month - 1) // 3 + 1
        precision = {"id": 7 + quarter, "name": f"Quarter {quarter}", "abbrev": f"Q{quarter}", "description": ""}
    times = {
        "net": net,
        "window_start": net + duration(launch["window_start"]),
        "window_end": net + duration(launch["window_end"]),
        "last_updated": now + duration(launch["last_updated"]),
    }
    updates = [
        update | {"created_on": iso(now + duration(update["created_on"]))} for update in launch.get("updates", [])
    ]
    changed = {"net_precision": precision} | ({"updates": updates} if updates else {})
    return launch | changed | {name: iso(time) for name, time in times.items()}


def iso(time: datetime) -> str:
    """Write a time as the Launch Library does."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def duration(text: str) -> timedelta:
    """Read an ISO 8601 duration of days, hours, minutes and seconds."""
    sign, *numbers = DURATION.fullmatch(text).groups()  # type: ignore[union-attr]
    days, hours, minutes, seconds = (int(number or 0) for number in numbers)
    return timedelta(days, seconds, 0, 0, minutes, hours) * (-1 if sign else 1)


def to_precision(time: datetime, precision: int) -> datetime:
    """Bring a time to the Launch Library's convention for a precision."""
    if precision <= 1:
        return time
    if precision == 2:
        return time.replace(minute=0, second=0)
    if precision > 6:
        last_month = {7: time.month, 14: 12}.get(precision, (time.month + 2) // 3 * 3)  # else a quarter
        time = time.replace(month=last_month, day=monthrange(time.year, last_month)[1])
    return time.replace(hour=0, minute=0, second=0)


if __name__ == "__main__":
    serve(LaunchLibrary, "A stand-in for the Launch Library")
