"""Weeks of real pages, with a clock of ten minutes: what is sent, compared with what the pages say should be."""

import itertools
import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from demo.recorded import Page, recorded_pages
from demo.replay import STEP, Replayed, replay
from tests.conftest import Database

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
OUTCOMES = {
    "Success": "Launch successful",
    "Failure": "Launch failed",
    "Partial Failure": "Launch was a partial failure",
}
OVER = {*OUTCOMES, "In Flight", "Payload Deployed"}


class Seen(NamedTuple):
    """What a page says of a launch."""

    net: datetime
    precision: str
    status: str

    @property
    def is_exact(self) -> bool:
        return self.precision in ("Second", "Minute", "Hour")


@pytest.fixture(scope="module")
def replayed(new_database: Callable[..., Database], recorded: Path) -> Replayed:
    """Ten days of January 2026."""
    database = new_database()
    pages = recorded_pages(recorded / "2.2.0" / "detailed-2026q1.tar.xz")
    first = next(pages)
    some = itertools.takewhile(lambda page: page.at < first.at + 10 * DAY, pages)
    logging.disable(logging.CRITICAL)
    done = replay([Page(*first), *some], database.server, database.name)
    logging.disable(logging.NOTSET)
    return done


@pytest.fixture(scope="module")
def known(replayed: Replayed) -> list[tuple[datetime, dict[str, Seen]]]:
    """What was known at each step: the page that was read last, by the launches' ids."""
    pages = {read.at: {one["id"]: seen(one) for one in read.launches} for read in replayed.reads}
    found: list[tuple[datetime, dict[str, Seen]]] = []
    for step in replayed.steps:
        found.append((step, pages.get(step) or (found[-1][1] if found else {})))
    return found


def seen(launch: dict[str, Any]) -> Seen:
    return Seen(datetime.fromisoformat(launch["net"]), launch["net_precision"]["name"], launch["status"]["abbrev"])


def sent(replayed: Replayed, kind: str, launch_id: str) -> list[Any]:
    return [one for one in replayed.messages if (one.kind, one.launch_id) == (kind, launch_id)]


def test_the_pages_hold_what_this_is_about(replayed: Replayed) -> None:
    kinds = Counter(message.kind for message in replayed.messages)
    assert kinds["announced"] > 10
    assert kinds["reminder"] > 8
    assert kinds["outcome"] > 8
    assert kinds["slipped"] > 2


def test_who_was_on_a_page_a_day_before_flying_was_announced_before(
    replayed: Replayed, known: list[tuple[datetime, dict[str, Seen]]]
) -> None:
    last = {launch_id: one for _, page in known for launch_id, one in page.items()}
    flown = {launch_id: one.net for launch_id, one in last.items() if one.status in OVER}
    a_day_before = {
        launch_id for step, page in known for launch_id in page.keys() & flown.keys() if step <= flown[launch_id] - DAY
    }
    assert len(a_day_before) > 8
    for launch_id in a_day_before:
        assert min(one.posted_at for one in sent(replayed, "announced", launch_id)) < flown[launch_id]


def test_each_launch_is_reminded_of_in_time_and_none_on_hold(
    replayed: Replayed, known: list[tuple[datetime, dict[str, Seen]]]
) -> None:
    def is_due(step: datetime, one: Seen | None) -> bool:
        return one is not None and one.is_exact and step < one.net <= step + HOUR and one.status not in {*OVER, "Hold"}

    pages = dict(known)
    for step, page in known:
        for launch_id, one in page.items():
            if is_due(step, one):
                reminders = sent(replayed, "reminder", launch_id)
                assert any(r.posted_at <= step and abs(r.net - one.net) < HOUR for r in reminders), (step, launch_id)
    reminders = [message for message in replayed.messages if message.kind == "reminder"]
    for message in reminders:
        assert is_due(message.posted_at, pages[message.posted_at].get(message.launch_id))
        late = message.posted_at - (message.net - HOUR)
        was_due = is_due(message.posted_at - STEP, pages.get(message.posted_at - STEP, {}).get(message.launch_id))
        assert late <= STEP or not was_due, "it could have been sent earlier"
    assert sum(message.posted_at - (message.net - HOUR) <= STEP for message in reminders) > 5


def test_each_slip_of_the_last_day_is_told(replayed: Replayed, known: list[tuple[datetime, dict[str, Seen]]]) -> None:
    slips = 0
    for (_, before), (step, page) in itertools.pairwise(known):
        for launch_id in before.keys() & page.keys():
            old, new = before[launch_id], page[launch_id]
            is_near = old.is_exact and abs(old.net - step) <= DAY and step < new.net and new.status not in OVER
            if is_near and abs(new.net - old.net) >= HOUR and any(
                one.posted_at < step for one in sent(replayed, "announced", launch_id)
            ):  # fmt: skip
                slips += 1
                assert any(one.posted_at == step for one in sent(replayed, "slipped", launch_id)), (step, launch_id)
    assert slips > 2


def test_each_launch_that_was_told_of_ends_with_its_outcome(
    replayed: Replayed, known: list[tuple[datetime, dict[str, Seen]]]
) -> None:
    announced = {message.launch_id for message in replayed.messages if message.kind == "announced"}
    ended = {launch_id: one.status for _, page in known for launch_id, one in page.items() if one.status in OUTCOMES}
    assert len(announced & ended.keys()) > 8
    for launch_id in announced & ended.keys():
        for message in sent(replayed, "announced", launch_id):
            assert OUTCOMES[ended[launch_id]] in str(message.body)
        assert len(sent(replayed, "outcome", launch_id)) == 1
    for message in replayed.messages:
        assert message.kind != "outcome" or message.launch_id in announced


def test_nothing_is_sent_twice(replayed: Replayed) -> None:
    keys = Counter((one.kind, one.launch_id, one.attempt, one.minutes_before) for one in replayed.messages)
    assert max(keys.values()) == 1
    assert replayed.posted == len(replayed.messages)


def test_no_hour_has_more_requests_than_the_launch_library_allows(replayed: Replayed) -> None:
    busiest = max(sum(at - HOUR < other <= at for other in replayed.requests) for at in replayed.requests)
    assert busiest == replayed.busiest_hour <= 15
    assert len(replayed.requests) < len(replayed.steps) / 2
