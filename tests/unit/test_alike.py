"""The tasks share no code, so what they repeat must not drift apart."""

import ast
from pathlib import Path

import pytest

TASKS = Path(__file__).parents[2] / "tasks"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("database.py", "Failure"),
        ("database.py", "first_line"),
        ("database.py", "is_permanent"),
        ("database.py", "connect"),
        ("__main__.py", "OneLine"),
        ("__main__.py", "stop"),
    ],
)
def test_what_the_tasks_repeat_is_the_same(module: str, name: str) -> None:
    sources = [(TASKS / task / task / module).read_text() for task in ("init_schema", "fetch", "notify")]
    definitions = [
        ast.get_source_segment(source, node)
        for source in sources
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name
    ]
    assert len(definitions) == 3
    assert len(set(definitions)) == 1
