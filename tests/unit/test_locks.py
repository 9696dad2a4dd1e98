"""The locked requirements are those of `make lock`: alike in every folder, and for every system."""

import re

import pytest

from deploy.images import steps
from tests.conftest import ROOT


def pins(folder: str) -> set[tuple[str, str]]:
    """Return the names and versions that a folder locks."""
    text = (ROOT / folder / "requirements.txt").read_text(encoding="utf-8")
    return set(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("task", steps())
def test_a_task_is_tested_with_what_its_image_has(task: str) -> None:
    assert pins(f"tasks/{task}") - pins(".") == set()


@pytest.mark.parametrize("folder", [".", "k8s/offline/airflow"])
def test_a_lock_is_for_every_system(folder: str) -> None:
    text = (ROOT / folder / "requirements.txt").read_text(encoding="utf-8")
    assert re.search(r"^\S+==\S+ ; .*\b(sys_platform|platform_system|os_name)\b", text, re.MULTILINE)
