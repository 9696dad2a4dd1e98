"""Packages of npm, which some tests need: they are fetched once, by their lock file."""

import hashlib
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.programs import CACHE


def installed(folder: Path) -> Path:
    """Return a copy of the folder, with the packages that it locks. Skips the test where there is no npm."""
    if not shutil.which("npm"):
        pytest.skip("no npm here: apt-get install npm")
    locked = b"".join((folder / name).read_bytes() for name in ("package.json", "package-lock.json", "validate.mjs"))
    there = CACHE / f"{folder.name}-{hashlib.sha256(locked).hexdigest()[:12]}"
    if not there.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as place:
            new = Path(place) / folder.name
            shutil.copytree(folder, new)
            npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(npm, cwd=new, capture_output=True, text=True, check=False, timeout=300)
            assert not done.returncode, done.stderr
            with suppress(OSError):  # another test was faster
                new.rename(there)
    return there
