"""Figures of one run, and what they are compared to."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]


@dataclass
class Measure:
    """One row of the table: a figure a round, in `unit`, or divided by the one that it is compared to in that round."""

    name: str
    against: str
    goal: str
    ours: Sequence[float]
    theirs: Sequence[float] = ()
    unit: str = ""
    figures: Sequence[float] = field(init=False)

    def __post_init__(self) -> None:
        self.figures = [a / b for a, b in zip(self.ours, self.theirs, strict=True)] if self.theirs else self.ours

    def __str__(self) -> str:
        middle, least, most = (
            f"{figure:.3g}" for figure in (median(self.figures), min(self.figures), max(self.figures))
        )
        spread = f" ({least} to {most})" if len(self.figures) > 1 else ""
        return f"{self.name:<46} {self.against:<30} {middle + self.unit + spread:<32} {self.goal}"


def interleaved(rounds: int, **what: Callable[[], float]) -> dict[str, list[float]]:
    """Call each in turn, round after round, so that a slow moment of the machine hits all; keep what they return."""
    kept: dict[str, list[float]] = {name: [] for name in what}
    for _ in range(rounds):
        for name, call in what.items():
            kept[name].append(call())
    return kept


def machine() -> dict[str, str]:
    """Return what the figures were measured on."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text(encoding="utf-8").splitlines() if cpus.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return {
        "processor": f"{len(models)} x {models[0]}" if models else platform.processor(),
        "system": platform.system(),
        "Python": platform.python_version(),
    }
