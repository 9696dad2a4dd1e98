"""A further step, added to a copy as docs/adding-a-step.md says: it is found, and what is left out is noticed."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

STEP = '''"""Count the launches."""

import sys

import step


def run() -> None:
    with step.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM rocket_launches")
        step.log.info("Launches to archive: %d", *cursor.fetchone())


sys.exit(step.main(run))
'''
OPERATOR = """    archive_launches = step("archive", "archive_launches", doc="Archives the launches.", egress="web")
    fetch_and_store_data >> archive_launches
"""
GRANT = """    "launch_archive": ("GRANT SELECT ON rocket_launches TO launch_archive",),
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository, without what git ignores."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git clone: the files are taken from its list")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            target = tmp_path / "copy" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    return tmp_path / "copy"


def folder(copy: Path) -> None:
    """Begin tasks/archive as a copy of tasks/notify."""
    archive, notify = copy / "tasks" / "archive", copy / "tasks" / "notify"
    archive.mkdir()
    (archive / "__init__.py").write_text('"""The step archive_launches."""\n')
    (archive / "__main__.py").write_text(STEP)
    (archive / "Dockerfile").write_text((notify / "Dockerfile").read_text().replace("notify", "archive"))
    (archive / "requirements.in").write_text((notify / "requirements.in").read_text())


def lock(copy: Path) -> None:
    """Do what `make lock` would: the requirements are those of notify."""
    notify = copy / "tasks" / "notify" / "requirements.txt"
    (copy / "tasks" / "archive" / "requirements.txt").write_text(notify.read_text())


def operator(copy: Path) -> None:
    path = copy / "dags" / "download_rocket_launches.py"
    path.write_text(path.read_text() + OPERATOR)


def grants(copy: Path) -> None:
    path = copy / "tasks" / "init_schema" / "schema.py"
    path.write_text(path.read_text().replace("GRANTS = {\n", "GRANTS = {\n" + GRANT))


def row(copy: Path) -> None:
    """Say in the table of the DAG's tests what the step's pod should be."""
    path = copy / "tests" / "dag" / "test_dag.py"
    text = path.read_text().replace('next={"notify_discord"}', 'next={"notify_discord", "archive_launches"}')
    fields = (
        'variable="IMAGE_ARCHIVE", image="rocket-launches/archive:0123456789ab", next=set(), plain={},'
        'database="database-archive", settings=set(), egress="web", objects=None, not_retried=(78,), skipped_by=()'
    )
    path.write_text(text.replace("STEPS = {\n", f'STEPS = {{\n    "archive_launches": Step({fields}),\n'))


EDITS: tuple[Callable[[Path], None], ...] = (folder, lock, operator, grants, row)


def run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    others = ("AIRFLOW", "PYTEST", "RECORDED_PAGES")  # what is about the tests that run this
    environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)


def failures(copy: Path, only: str = "") -> set[str]:
    """Return which tests of the DAG and of the steps fail, of all or of those of a name."""
    tests = ("tests/dag/test_dag.py", "tests/dag/test_steps.py")
    said = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, "-k", only).stdout
    assert re.search(r"\d+ (passed|failed|error)", said), said
    return set(re.findall(r"^(?:FAILED|ERROR) \S+::(\w+)", said, re.MULTILINE))


def test_everything_finds_a_further_step(copy: Path) -> None:
    for edit in EDITS:
        edit(copy)
    assert failures(copy) == set()
    assert "\nIMAGE_AIRFLOW=" in (said := run(copy, "-m", "deploy", "images").stdout)
    assert said.startswith("IMAGE_ARCHIVE=rocket-launches/archive:")
    roles = run(copy, "-c", "from deploy.settings import roles; print(roles())").stdout
    assert "'database-archive': 'launch_archive'" in roles
    # The demo makes the role, and runs the pod beside the others.
    said = run(copy, "-m", "demo").stdout
    assert re.search(r"INFO Launches to archive: 12\n  archive_launches +success +exit code 0", said), said


@pytest.mark.parametrize(
    ("left_out", "noticed"),
    [
        (lock, "test_a_steps_requirements_are_locked"),
        (operator, "test_each_image_is_in_a_dag_and_no_other_is"),
        (grants, "test_a_steps_role_has_its_rights"),
        (row, "test_the_dag_has_the_promised_shape"),
    ],
)
def test_what_is_left_out_is_noticed(copy: Path, left_out: Callable[[Path], None], noticed: str) -> None:
    for edit in EDITS:
        if edit is not left_out:
            edit(copy)
    assert noticed in failures(copy, noticed)


def test_a_way_out_without_a_policy_is_noticed(copy: Path) -> None:
    for edit in EDITS:
        edit(copy)
    path = copy / "dags" / "download_rocket_launches.py"
    path.write_text(path.read_text().replace(OPERATOR, OPERATOR.replace("web", "s3")))
    noticed = "test_each_way_out_has_a_policy_and_each_policy_a_pod"
    assert noticed in failures(copy, noticed)
