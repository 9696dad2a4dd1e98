"""docs/asyncapi.yaml, by AsyncAPI's own parser, and against real records."""

import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # Airflow brings it, without its types
import pytest

from deploy.kafka import TOPICS
from stream.topics import CHANGES, LAUNCHES, SETTINGS
from tests.conftest import ROOT
from tests.npm import installed
from tests.unit.publish.conftest import Launches
from tests.unit.stream.conftest import NOW, Stream
from tests.unit.stream.conftest import Topics as KafkaTopics

DOCUMENT = ROOT / "docs" / "asyncapi.yaml"


@pytest.fixture(scope="session")
def parser() -> Path:
    """The folder with the parser, which npm fetches once."""
    return installed(Path(__file__).with_name("asyncapi"))


def parse(parser: Path, document: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the document, with what it refers to, and what is wrong with it."""
    command = ["node", "validate.mjs", str(document)]
    done = subprocess.run(command, cwd=parser, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout), done.stderr.splitlines()


def test_the_document_is_sound_and_every_record_as_it_says(
    parser: Path, launches: Launches, stream: Stream, topics: KafkaTopics
) -> None:
    document, wrong = parse(parser, DOCUMENT)
    assert wrong == []
    assert document
    one = launches.add()
    launches.change(one, at=NOW, name="Kestrel | Wren", status="Hold")
    assert stream(after=timedelta(minutes=1)).code == 0
    channels = {channel["address"]: channel for channel in document["channels"].values()}
    assert set(channels) == {LAUNCHES, CHANGES} == {*TOPICS}
    for topic, channel in channels.items():
        [message] = channel["messages"].values()
        headers = jsonschema.Draft7Validator(message["headers"], format_checker=jsonschema.FormatChecker())
        payload = jsonschema.Draft7Validator(message["payload"]["schema"])
        assert not headers.is_valid({})
        records = topics.read(topic)
        assert records
        for record in records:
            headers.validate(record.headers)
            payload.validate(record.value)
        told = channel["bindings"]["kafka"]["topicConfiguration"]
        assert told["cleanup.policy"] == [SETTINGS[topic]["cleanup.policy"]]
        assert str(told.get("retention.ms")) == SETTINGS[topic].get("retention.ms", "None")


def test_a_document_that_is_not_sound_is_found(parser: Path, tmp_path: Path) -> None:
    broken = tmp_path / "asyncapi.yaml"
    text = DOCUMENT.read_text(encoding="utf-8").replace("../tasks", str(ROOT / "tasks"))
    broken.write_text(text.replace("action: send", "action: shout"), encoding="utf-8")
    _, wrong = parse(parser, broken)
    assert any(line.startswith("0 ") for line in wrong)
