"""What `make bench` measures without Docker, with little of everything: that it measures, not what."""

import pytest

from bench import steps, store


def test_the_store_step_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LAUNCHES", 300)
    monkeypatch.setattr(store, "ONE_BY_ONE", 100)
    monkeypatch.setattr(store, "STORED", (200, 400))
    measures = list(store.measures(1))
    assert [str(measure).split("  ")[0] for measure in measures] == [
        "store 300 launches, new",
        "store 300 launches, none changed",
        "store 300 launches, all changed",
        "tuples written for an unchanged launch",
        "store 300 launches, new",
        "… COPY itself",
        "a page of 100 into 400 launches",
    ]
    assert all(figure > 0 for measure in measures for figure in measure.figures)
    assert measures[3].figures == [1.0], "an unchanged launch gets nothing but a new last_seen_at"


def test_the_steps_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MANY", 200)
    measures = list(steps.measures(1))
    assert len(measures) == 15
    assert all(figure > 0 for measure in measures for figure in measure.figures)
