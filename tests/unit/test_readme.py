"""What the documents name must exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [path for pattern in ("*.md", "docs/*.md", "k8s/**/*.md") for path in sorted(ROOT.glob(pattern))]

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@each_document
def test_a_document_names_only_make_targets_that_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^\$ |`)make ([a-z][a-z0-9-]*)", document.read_text(), re.MULTILINE))
    assert named <= targets


def test_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE))
    described = set(re.findall(r"^([a-z0-9-]+):.*## ", makefile, re.MULTILINE))
    assert phony == described


def anchors(document: Path) -> set[str]:
    """Return a document's headings as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_a_document_links_only_to_files_and_headings_that_exist(document: Path) -> None:
    links = re.findall(r'(?:\]\(|src=")(?!https?://)([^)#"]*)#?([^)"]*)', document.read_text())
    targets = [((document.parent / path) if path else document, heading) for path, heading in links]
    assert [str(path) for path, _ in targets if not path.exists()] == []
    assert [heading for path, heading in targets if heading and heading not in anchors(path)] == []


def test_the_readme_has_every_setting() -> None:
    section = (ROOT / "README.md").read_text().partition("## Configure it")[2].partition("\n## ")[0]
    listed = [name for row in re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE) for name in re.findall(r"\w+", row)]
    assert sorted(listed) == sorted(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


def test_each_fault_names_a_test_that_exists() -> None:
    table = (ROOT / "docs" / "faults.md").read_text()
    named = re.findall(r"`([\w/]+\.py)`", table)
    assert named
    assert [path for path in named if not (ROOT / "tests" / path).exists()] == []
