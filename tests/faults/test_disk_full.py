"""A PostgreSQL whose small volume is full: nothing is half-written, and room is all that it takes to go on."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from standins.launch_library import LaunchLibrary
from standins.postgres import Postgres
from tests.conftest import Database


@pytest.fixture
def volume(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A volume of 128 MiB, where temporary folders are made, PostgreSQL's among them."""
    folder = Path(tempfile.mkdtemp())
    mount = ["mount", "-t", "tmpfs", "-o", "size=128m,mode=1777", "tmpfs", str(folder)]
    try:
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small volume takes root")
        try:
            with monkeypatch.context() as patch:
                patch.setattr(tempfile, "tempdir", str(folder))
                yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    finally:
        shutil.rmtree(folder)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1024 * 1024, 1024):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


def test_a_full_disk(volume: Path) -> None:
    with Postgres() as server, LaunchLibrary() as library:
        database = Database(server, "launches")
        assert database.run("init_schema").code == 0
        assert database.run("fetch", LAUNCH_LIBRARY_URL=library.upcoming_url).code == 0
        before = database.tables()

        [launch, *_] = library.launches()
        many = [launch | {"id": f"many-{number}"} for number in range(1500)]
        library.page = json.dumps({"count": len(many), "next": None, "previous": None, "results": many}).encode()
        fill(volume / "full")
        result = database.run("fetch", LAUNCH_LIBRARY_URL=library.upcoming_url)
        assert result.code == 75, result.lines
        assert "No space left on device" in result.last
        assert "the next try starts from the beginning" in result.last

        (volume / "full").unlink()
        assert database.tables() | {"fetches": []} == before | {"fetches": []}
        assert database.run("fetch", LAUNCH_LIBRARY_URL=library.upcoming_url).code == 0
        assert len(database.tables()["rocket_launches"]) == len(before["rocket_launches"]) + len(many)
