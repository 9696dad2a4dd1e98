"""Stopped in the middle, and PostgreSQL's bad days."""

import contextlib
import signal
import subprocess

import pytest

from standins.postgres import Postgres
from standins.server import Answer
from tests.conftest import Database, assert_stops
from tests.unit.notify.conftest import (
    SOON,
    TWICE,
    Watched,
    add,
    attempted,
    run,
    running,
)

# Stopped in the middle


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_stopped_between_sending_and_the_answer_the_next_run_is_honest(
    database: Database, discord: Watched, number: signal.Signals, code: int
) -> None:
    add(database, "soon", SOON)
    with running(database, discord.webhook_url) as process:

        def stop() -> None:
            process.send_signal(number)
            process.wait(10)

        discord.when_saved = stop
        output, _ = process.communicate(timeout=20)
    assert process.returncode == code
    assert output.endswith("Stopped by SIGTERM: what was not committed is undone. Run the step again.\n") or not output
    assert attempted(database) == [True]
    assert TWICE in run(database, discord.webhook_url).lines[0]
    assert discord.titles() == ["soon", "soon"]


def test_stopped_while_it_waits_for_a_rate_limit_it_ends_at_once(database: Database, discord: Watched) -> None:
    add(database, "soon", SOON)
    discord.faults = [Answer(429, {"retry_after": 50})]
    with running(database, discord.webhook_url) as process:
        while not discord.requests:
            assert process.poll() is None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)  # until it sleeps
        process.terminate()
        assert_stops(process)
    assert discord.messages == []


def test_postgresql_gone_before_the_message_is_kept(own_server: Postgres, discord: Watched) -> None:
    database = Database(own_server, "launches")
    add(database, "soon", SOON)
    discord.when_saved = lambda: own_server.stop("immediate")
    result = run(database, discord.webhook_url)
    own_server.start()
    assert result.code == 75
    assert discord.titles() == ["soon"]
    assert attempted(database) == [True]
    assert TWICE in run(database, discord.webhook_url).lines[0]
    assert discord.titles() == ["soon", "soon"]


# PostgreSQL's bad days


def test_without_rights_it_names_the_step_that_grants_them(database: Database, discord: Watched) -> None:
    result = run(database, discord.webhook_url, **database.env("fetch"))
    assert result.code == 78
    assert result.last.endswith("Run initialize_schema, which makes and grants it.")
