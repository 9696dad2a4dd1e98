"""The words for status and precision are the database's: its comments name them, and the steps keep to them."""

import re
from datetime import UTC, datetime

from fetch import launch
from notify import message
from notify.store import LAUNCHES, Launch
from tests.conftest import Database
from wording import STATUSES


def words(database: Database, column: str) -> set[str]:
    """Return the words in a column's comment: those before ", or the Launch Library's own word"."""
    [(comment,)] = database.query(
        "SELECT col_description(attrelid, attnum) FROM pg_attribute"
        " WHERE attrelid = 'rocket_launches'::regclass AND attname = %s",
        column,
    )
    known, separator, _ = comment.partition(", or the Launch Library's own word")
    assert separator
    return set(known.split(", "))


def test_fetch_writes_the_databases_words(database: Database) -> None:
    assert set(launch.STATUSES.values()) == words(database, "status")
    own = {"morning", "afternoon"}  # the Launch Library's words are these already
    assert set(launch.PRECISIONS.values()) | own == words(database, "net_precision")


def test_a_message_has_a_text_for_each_of_the_databases_words(database: Database) -> None:
    assert message.COLORS.keys() == STATUSES.keys() == words(database, "status")
    net = datetime(2026, 11, 24, 12, tzinfo=UTC)
    for precision in words(database, "net_precision"):
        one = Launch("1", "Kestrel", net, precision, "Go", None, {})
        assert f"({precision})" not in message.when(one)  # as a word is shown that is not known


def test_which_launch_is_next_depends_on_the_databases_words_alone(database: Database) -> None:
    used = set(re.findall(r"'([A-Za-z][\w ]*)%*'", LAUNCHES)) - {
        "announced",
        "info",
        "net",
    }  # but for intervals, such as '1 month'
    known = words(database, "status") | words(database, "net_precision")
    assert {word for word in used if not any(one.startswith(word) for one in known)} == {"status"}  # a field
    assert {"Payload Deployed", "afternoon", "quarter"} < used
