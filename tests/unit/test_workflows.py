"""What GitHub is told to do: workflows that actionlint accepts, with actions that nobody can move, and Dependabot."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.programs import CACHE
from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_actionlint_accepts_them() -> None:
    # It asks shellcheck about what they run.
    folders = (str(CACHE / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])
    path = os.pathsep.join(folders)
    if not shutil.which("actionlint", path=path):
        pytest.skip("no actionlint here: k8s/offline/build programs makes it")
    command = ["actionlint", *map(str, WORKFLOWS)]
    done = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_action_is_pinned_by_its_commit() -> None:
    used = [use for path in WORKFLOWS for use in re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))]
    assert used
    assert [use for use in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []


def test_their_token_can_only_read() -> None:
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {"contents": "read"}
        assert not any("permissions" in job for job in workflow["jobs"].values())


@pytest.mark.parametrize(
    ("ecosystem", "name", "everywhere"),
    [
        ("docker", "Dockerfile", ("dags", "tasks/*")),
        ("pip", "requirements.txt", (".", "tasks/*", "k8s/offline/*")),
        ("npm", "package.json", ("tests/unit/*/*",)),
    ],
)
def test_dependabot_looks_everywhere(ecosystem: str, name: str, everywhere: tuple[str, ...]) -> None:
    config = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))
    [update] = [update for update in config["updates"] if update["package-ecosystem"] == ecosystem]
    seen = {path for folder in update["directories"] for path in ROOT.glob(f".{folder}/{name}")}
    assert seen == {path for folder in everywhere for path in ROOT.glob(f"{folder}/{name}")}
    assert seen
