"""`make audit` against a stand-in for OSV: what it asks about, and what becomes of the answers."""

import json
import re
import subprocess
from itertools import chain
from pathlib import Path

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.conftest import ROOT

WHERE = ("requirements.txt", "dags/requirements.txt", "tasks/*/requirements.txt", "k8s/offline/*/requirements.txt")


def audit(url: str) -> tuple[int, list[str]]:
    """Run it, and return the exit code and all lines; no virtual environment is made anew under running tests."""
    command = ["make", "--no-print-directory", "-o", ".venv/installed", "audit", f"OSV={url}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    said = (done.stdout + done.stderr).splitlines()
    return done.returncode, [line for line in said if not re.match(r"make(\[\d+\])?: \*\*\*", line)]


def test_everything_pinned_is_asked_about(httpserver: HTTPServer) -> None:
    asked = set()

    def nothing_known(request: Request) -> Response:
        query = json.loads(request.data)
        asked.add((query["package"]["name"], query["version"]))
        return Response("{}")

    httpserver.expect_request("/v1/query").respond_with_handler(nothing_known)
    code, said = audit(httpserver.url_for("/v1/query"))
    assert code == 0, said
    files = list(chain.from_iterable(map(ROOT.glob, WHERE)))
    assert len(files) == 10
    assert set(said) == {f"{path.relative_to(ROOT)}: No known vulnerabilities found" for path in files}
    pinned = {
        pin for text in map(Path.read_text, files) for pin in re.findall(r"^([\w.-]+)==(\S+) \\", text, re.MULTILINE)
    }
    assert len(pinned) > 100
    assert pinned <= asked  # those with a marker only where it applies


def test_a_known_vulnerability_is_named_and_fails(httpserver: HTTPServer) -> None:
    known = {
        "id": "PYSEC-2026-1",
        "summary": "bad",
        "affected": [{"package": {"name": "urllib3", "ecosystem": "PyPI"}}],
    }

    def one_known(request: Request) -> Response:
        bad = json.loads(request.data)["package"]["name"] == "urllib3"
        return Response(json.dumps({"vulns": [known]} if bad else {}))

    httpserver.expect_request("/v1/query").respond_with_handler(one_known)
    code, said = audit(httpserver.url_for("/v1/query"))
    assert code != 0
    assert sum(line.endswith("Found 1 known vulnerability in 1 package") for line in said) == 6
    assert sum(line.split()[::2] == ["urllib3", "PYSEC-2026-1"] for line in said) == 6


def test_what_cannot_be_asked_has_not_passed(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/v1/query").respond_with_data("down for maintenance", 503)
    for url in ("http://127.0.0.1:9/", httpserver.url_for("/v1/query")):  # nobody listens; nobody answers
        code, said = audit(url)
        assert code != 0
        assert len(said) == 1
        assert said[0].startswith("requirements.txt could not be audited: ")
