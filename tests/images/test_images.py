"""The tasks' images: how they are named, what is in them, and that they run with as little as the cluster grants."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from packaging.markers import Marker

from deploy.images import steps
from standins.discord import Discord
from standins.launch_library import LaunchLibrary

if TYPE_CHECKING:
    from tests.conftest import Database

ROOT = Path(__file__).parents[2]
TASKS = steps()
BASE = "python:3.13-slim-trixie"
# What the DAG's pods are confined to; the user is the image's own.
CONFINED = ["--rm", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "host"]
NOWHERE = {"PGHOST": "127.0.0.1", "PGPORT": "9", "PGUSER": "nobody"}  # discard: no PostgreSQL is there

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="Docker's host network is this machine's on Linux only")
each_task = pytest.mark.parametrize("task", TASKS)


def run(*command: str | Path, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, check=False)


def run_images(checkout: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `python3 -m deploy images` in a checkout."""
    return run(sys.executable, "-m", "deploy", "images", *arguments, cwd=checkout, **env)


def docker_run(image: str, *arguments: str, entrypoint: str | None = None, **env: str) -> list[str]:
    """Return the command that runs an image, confined."""
    options = [option for name, value in env.items() for option in ("--env", f"{name}={value}")]
    if entrypoint:
        options += ["--entrypoint", entrypoint]
    return ["docker", "run", *CONFINED, *options, image, *arguments]


def inside(image: str, *command: str) -> str:
    """Run another program than the task in its image, and return what it prints."""
    result = run(*docker_run(image, *command[1:], entrypoint=command[0]))
    assert result.returncode == 0, result.stderr
    return result.stdout


def references(checkout: Path, **env: str) -> dict[str, str]:
    """Return what `python3 -m deploy images` prints in a checkout, by task."""
    result = run_images(checkout, **env)
    assert result.returncode == 0, result.stderr
    lines = dict(line.split("=", 1) for line in result.stdout.splitlines())
    return {name.removeprefix("IMAGE_").lower(): reference for name, reference in lines.items()}


def sources(task: str) -> set[str]:
    """Return the files of a task's package, and those that all share."""
    tasks = ROOT / "tasks"
    others = [path for folder in ("templates", "static") for path in (tasks / task / folder).glob("*")]
    return {str(path.relative_to(tasks)) for path in [*tasks.glob("*.py"), *(tasks / task).rglob("*.py"), *others]}


def locked(task: str) -> set[tuple[str, str]]:
    """Return the names and versions of a task's requirements, those of the images' Python."""
    text = (ROOT / "tasks" / task / "requirements.txt").read_text()
    found = re.findall(r"^([\w.-]+)==(\S+)(?: ; ([^\\]+))?", text, re.MULTILINE)
    image = {"python_full_version": "3.13.0", "python_version": "3.13"}
    return {(name, version) for name, version, marker in found if not marker or Marker(marker).evaluate(image)}


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """The images by task, built if they are not there yet."""
    if not shutil.which("docker") or run("docker", "info").returncode:
        pytest.skip("no Docker here, or it does not answer")
    if run("docker", "image", "inspect", BASE).returncode and run("docker", "pull", "--quiet", BASE).returncode:
        pytest.skip(f"{BASE} cannot be pulled: k8s/offline/build python makes a stand-in")
    built = run_images(ROOT, "build", "tasks")
    assert built.returncode == 0, built.stderr
    return {name: image for name, image in references(ROOT).items() if name != "airflow"}


# What they are called


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of all that goes into the images, outside of the repository, and of what names them."""
    for folder in ("tasks", "dags", "deploy"):
        shutil.copytree(ROOT / folder, tmp_path / "copy" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "copy"


@pytest.fixture
def fake_docker(tmp_path: Path) -> Callable[[str], str]:
    """Put a script in the place of `docker`; the result is the PATH that finds it."""

    def make(body: str) -> str:
        (tmp_path / "bin").mkdir()
        program = tmp_path / "bin" / "docker"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        return f"{program.parent}:{os.environ['PATH']}"

    return make


def test_references_are_lines_for_an_environment_file(fake_docker: Callable[[str], str]) -> None:
    printed = run_images(ROOT, PATH=fake_docker("exit 1")).stdout  # they need no Docker
    lines = [rf"IMAGE_{task.upper()}=rocket-launches/{task.replace('_', '-')}:[0-9a-f]{{12}}\n" for task in TASKS]
    assert re.fullmatch("".join([*lines, r"IMAGE_AIRFLOW=rocket-launches/airflow:[0-9a-f]{12}\n"]), printed)


def test_the_same_files_have_the_same_tags_everywhere(copy: Path) -> None:
    folder = copy / "tasks" / "fetch"
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "left.cpython-311.pyc").touch()
    (folder / "notes.txt").touch()  # goes into no image
    os.utime(copy / "tasks" / "fetch" / "Dockerfile", (0, 0))
    assert references(copy) == references(ROOT)


def test_a_registry_comes_before_the_names() -> None:
    prefixed = {name: f"registry.example.org/me/{image}" for name, image in references(ROOT).items()}
    assert references(ROOT, IMAGE_REGISTRY="registry.example.org/me") == prefixed


def test_a_folder_with_a_dockerfile_is_a_step(copy: Path) -> None:
    before = references(copy)
    shutil.copytree(copy / "tasks" / "notify", copy / "tasks" / "archive")
    (copy / "tasks" / "notes").mkdir()
    after = references(copy)
    assert after.keys() - before.keys() == {"archive"}
    assert after["archive"].startswith("rocket-launches/archive:")


@pytest.mark.parametrize(
    "name", ["Dockerfile", "requirements.txt", "schema.py", "migrations/env.py", "migrations/new file.py"]
)
def test_a_changed_file_changes_its_image_alone(copy: Path, name: str) -> None:
    before = references(copy)
    with (copy / "tasks" / "init_schema" / name).open("a") as file:
        file.write("\n")
    after = references(copy)
    assert [task for task in TASKS if after[task] != before[task]] == ["init_schema"]


@pytest.mark.parametrize("name", [".dockerignore", "step.py", "page.py", "objects.py"])
def test_what_the_tasks_share_changes_all_their_images(copy: Path, name: str) -> None:
    before = references(copy)
    with (copy / "tasks" / name).open("a") as file:
        file.write("\n")
    after = references(copy)
    assert {name for name in after if after[name] != before[name]} == set(TASKS)


def test_a_renamed_file_changes_the_tag(copy: Path) -> None:
    before = references(copy)
    package = copy / "tasks" / "fetch"
    (package / "store.py").rename(package / "shop.py")
    assert references(copy)["fetch"] != before["fetch"]


def test_there_is_no_tag_where_a_part_is_missing(copy: Path) -> None:
    part = copy / "tasks" / "notify" / "requirements.txt"
    part.rename(part.with_name("elsewhere"))
    result = run_images(copy)
    assert result.returncode == 1
    assert result.stdout == ""
    assert str(part) in result.stderr


@pytest.mark.parametrize(
    ("docker", "advice"),
    [
        ("exit 1", "docker 20.10 or newer (does not answer)"),
        ('case $1 in version) echo 29.0.1 ;; *) echo "$@" >&2; exit 1; esac', "k8s/offline/build"),
    ],
)
def test_build_says_what_is_missing(fake_docker: Callable[[str], str], docker: str, advice: str) -> None:
    result = run_images(ROOT, "build", PATH=fake_docker(docker))
    assert result.returncode == 1
    assert advice in result.stderr.splitlines()[-1]


def test_what_is_there_is_not_built_again(images: dict[str, str]) -> None:
    result = run_images(ROOT, "build", "tasks")
    lines = result.stdout.splitlines()
    assert [line.split(",")[0] for line in lines] == list(images.values())
    assert all(line.endswith("MB, there") for line in lines)
    assert result.stderr == ""


# What is in them


@each_task
def test_an_image_starts_its_step_and_names_its_user_by_number(images: dict[str, str], task: str) -> None:
    [inspected] = json.loads(run("docker", "image", "inspect", images[task]).stdout)
    config = inspected["Config"]
    user, _, group = config["User"].partition(":")
    assert int(user) > 0  # a number, so that Kubernetes can check runAsNonRoot
    assert int(group) > 0
    assert config["Entrypoint"] == ["python", "-m", task]
    assert not config.get("Cmd")
    assert not config.get("ExposedPorts")
    assert {"PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"} <= set(config["Env"])
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == images[task].partition(":")[0]
    assert labels["org.opencontainers.image.description"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


@each_task
def test_the_folder_holds_the_package_and_step_and_their_bytecode_alone(images: dict[str, str], task: str) -> None:
    paths = [Path(line).relative_to("/app") for line in inside(images[task], "find", "/app", "-type", "f").splitlines()]
    bytecode = {path for path in paths if path.suffix == ".pyc"}
    assert {str(path) for path in paths if path not in bytecode} == sources(task)
    assert bytecode == {
        Path(source).parent / "__pycache__" / f"{Path(source).stem}.cpython-313.pyc"
        for source in sources(task)
        if source.endswith(".py")
    }


@each_task
def test_the_environment_holds_what_is_locked_and_no_installer(images: dict[str, str], task: str) -> None:
    found = inside(images[task], "find", "/venv", "-name", "*.dist-info").splitlines()
    installed = {tuple(Path(path).stem.replace("_", "-").rsplit("-", 1)) for path in found}
    assert installed == locked(task)
    assert "pip" not in inside(images[task], "ls", "/venv/bin")


@each_task
def test_nothing_that_runs_can_be_changed_by_the_task(images: dict[str, str], task: str) -> None:
    writable = "/app /venv ! -type l ( ! -user root -o -perm /022 )"  # whether or not the root is read-only
    assert inside(images[task], "find", *writable.split()) == ""


@each_task
def test_nothing_is_compiled_at_the_start(images: dict[str, str], task: str) -> None:
    result = run(*docker_run(images[task], "-v", "-c", f"import {task}.__main__", entrypoint="python"))
    loaded = re.findall(r"^# code object from '?([^'\n]+)", result.stderr, re.MULTILINE)
    assert any(f"/app/{task}/" in path for path in loaded)
    assert [path for path in loaded if not path.endswith(".pyc")] == []


def added(image: str, folder: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Yield each file that any of our layers adds to the base, also one that a later layer removes again."""
    assert run("docker", "save", "--output", folder / "image.tar", image).returncode == 0
    [inspected] = json.loads(run("docker", "image", "inspect", BASE).stdout)
    with tarfile.open(folder / "image.tar") as saved:

        def member(name: str) -> IO[bytes]:
            file = saved.extractfile(name)
            assert file
            return file

        [manifest] = json.loads(member("manifest.json").read())
        for name in manifest["Layers"][len(inspected["RootFS"]["Layers"]) :]:
            with tarfile.open(fileobj=member(name)) as layer:
                for file in layer:
                    content = layer.extractfile(file) if file.isfile() else None
                    yield file, content.read() if content else b""


@each_task
def test_the_layers_add_nothing_but_the_step(images: dict[str, str], task: str, tmp_path: Path) -> None:
    files = list(added(images[task], tmp_path))
    assert len(files) > 100
    # The bytecode is that of Python's own library, made once for all starts.
    ours = re.compile(r"(app|venv)(/|$)|usr/(local/)?lib/python3[^ ]*/__pycache__/[^/]+\.pyc$")
    stray = [file.name for file, _ in files if not file.isdir() and not ours.match(file.name)]
    assert stray == []
    assert [file.name for file, _ in files if file.mode & 0o6000] == []  # setuid, setgid
    names = {Path(file.name).name for file, _ in files}
    assert not {name for name in names if name.startswith((".env", ".git-", ".netrc", ".pypirc", "pip.conf", "id_"))}
    assert not names & {"pip", "uv", "gcc", "cc", "make", "git", "curl"}
    secret = rb"PRIVATE KEY-----|/api/webhooks/\d{17}"
    found = [file.name for file, content in files if re.search(secret, content)]
    # Everybody has the key in there: it is for librdkafka's own tests.
    assert [name for name in found if "/librdkafka-" not in name] == []


@each_task
def test_the_build_leaves_nothing_but_two_variables(images: dict[str, str], task: str) -> None:
    def inspect(image: str) -> tuple[set[str], list[str]]:
        [inspected] = json.loads(run("docker", "image", "inspect", image).stdout)
        history = run("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image).stdout.splitlines()
        return {variable.partition("=")[0] for variable in inspected["Config"].get("Env") or []}, history

    (base_variables, base_history), (variables, history) = inspect(BASE), inspect(images[task])
    assert variables - base_variables == {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
    own = history[: len(history) - len(base_history)]
    assert history[len(own) :] == base_history
    assert own[-1].startswith("COPY /venv")
    assert [line for line in own if re.search(r"(?i)arg |\|\d|password|token|secret|webhook|://", line)] == []


def test_the_sboms_name_every_locked_package_and_all_of_debians(images: dict[str, str]) -> None:
    if not (shutil.which("syft") or (ROOT / ".venv" / "bin" / "syft").exists()):
        pytest.skip("no syft here: make sbom makes one, in some minutes")
    made = run("make", "-C", ROOT, "-o", ".venv/installed", "sbom")
    assert made.returncode == 0, made.stderr
    for task in TASKS:
        name, _, tag = images[task].rpartition("/")[2].partition(":")
        sbom = json.loads((ROOT / "artifacts" / "sbom" / f"{name}.json").read_text())
        assert sbom["bomFormat"] == "CycloneDX"
        assert sbom["metadata"]["component"]["version"] == tag
        found: dict[str, set[tuple[str, str]]] = {"pypi": set(), "deb": set()}
        for component in sbom["components"]:
            if match := re.match("pkg:(pypi|deb)/", component.get("purl", "")):
                found[match[1]].add((component["name"], component["version"]))
        assert locked(task) <= found["pypi"]
        packages = inside(images[task], "dpkg-query", "--show", "--showformat", "${Package} ${Version}\n")
        assert found["deb"] == {tuple(line.split()) for line in packages.splitlines()}
        assert {"libc6", "openssl"} <= dict(found["deb"]).keys()


# That they run


@on_linux
def test_they_run_confined(images: dict[str, str], empty_database: "Database") -> None:
    def step(task: str, **env: str) -> tuple[int, str]:
        result = run(*docker_run(images[task], **empty_database.env(task), **env))
        assert result.stderr == ""
        return result.returncode, result.stdout.splitlines()[-1]

    code, last_line = step("init_schema")
    assert code == 0, last_line

    with LaunchLibrary() as library:
        code, last_line = step("fetch", LAUNCH_LIBRARY_URL=f"{library.upcoming_url}?mode=detailed")
        crawled = step("crawl", CRAWL_CONTACT="crawl@example.org", CRAWL_NETWORKS="127.0.0.0/8")
    assert code == 0, last_line
    assert (crawled[0], "Crawled 4 new" in crawled[1]) == (0, True), crawled[1]
    launches = len(library.launches())
    assert f"Stored {launches} launches: {launches} added" in last_line
    assert empty_database.query("SELECT count(*) FROM rocket_launches") == [(launches,)]

    code, last_line = step("notify")  # with no webhook: nothing to say
    assert code == 99, last_line
    with Discord() as discord:
        code, last_line = step("notify", DISCORD_WEBHOOK_URL=discord.webhook_url)
    assert (code, len(discord.messages)) == (0, 2), last_line  # the nearest, and one on hold that is nearer


@on_linux
@each_task
def test_sigterm_ends_them(images: dict[str, str], task: str) -> None:
    """A container's first process gets no signal that it does not ask for, and then waits for SIGKILL."""
    env = NOWHERE | {"DISCORD_WEBHOOK_URL": "http://127.0.0.1:9/api/webhooks/1/token", "CRAWL_CONTACT": "a@b"}
    env |= {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
        "SEARCH_URL": "http://127.0.0.1:9",
        "PUBLIC_URL": "https://launches.example.org",
        "OBJECT_STORE": "s3://bucket",
        "AWS_REGION": "nowhere",
    }
    with subprocess.Popen(docker_run(images[task], **env), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert "Waiting for PostgreSQL" in process.stdout.readline()
        process.terminate()  # docker passes it on
        assert "Stopped by SIGTERM" in process.stdout.read().splitlines()[-1]
    assert process.returncode == 128 + 15
