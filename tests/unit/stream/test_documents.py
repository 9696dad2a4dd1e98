"""docs/streaming.md says what the step needs and makes."""

import re

import yaml

from deploy.kafka import RIGHTS
from stream.topics import SETTINGS
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "streaming.md").read_text(encoding="utf-8")


def test_strimzis_resources_are_what_the_step_needs() -> None:
    block = TEXT.partition("```yaml\n")[2].partition("```")[0]
    *topics, user = yaml.safe_load_all(block)
    made = {
        topic["metadata"]["name"]: {name: str(value) for name, value in topic["spec"]["config"].items()}
        for topic in topics
    }
    assert made == SETTINGS
    assert all(topic["spec"]["partitions"] == 1 for topic in topics)
    kinds = {"transactionalId": "transactional-id"}
    given = {
        (kinds.get(acl["resource"]["type"], acl["resource"]["type"]), acl["resource"]["name"]): {*acl["operations"]}
        for acl in user["spec"]["authorization"]["acls"]
    }
    # The topics are there already; Describe comes with the others.
    needed = {resource: {*operations} - {"Create"} for resource, operations in RIGHTS["stream"].items()}
    assert {resource: operations - {"Describe"} for resource, operations in given.items()} == needed


def test_the_topics_settings_are_listed() -> None:
    listed = {
        name: dict(re.findall(r"`([\w.]+)=(-?\w+)`", settings))
        for name, settings in re.findall(r"^\| `(rocket-\S+)` \| (`\S+=.+) \|$", TEXT, re.MULTILINE)
    }
    assert listed == SETTINGS
