"""What an ability study planted beside what was called."""

import json
import math

import numpy as np
import pytest

from analysis.thresholds import Places, SeedSd, Series, Threshold
from analysis.thresholds.result import Gates
from sweeps import findings


def series(task, verdict, score=(0.0,), x=(1000.0,), metric="exact_match", half=None):
    empty = np.zeros(0)
    return Series(
        *(task, metric, "params", verdict, None, SeedSd(0.2, "estimated"), 0.01, 0.02),
        Places(half=half or Threshold()),
        *(
            (),
            None,
            Gates(),
            (),
            0.0,
            np.array(x),
            np.array(score),
            np.arange(len(x)),
            np.full(len(x), 1000.0),
        ),
        *(empty, empty, empty),
    )


def test_a_control_is_right_only_with_the_verdict_its_task_plants():
    found = [series("coin", "flat"), series("facts@controls", "emergent"), series("copy", "emergent")]
    rows = findings.controls(found)
    assert [(row["task"], row["planted"], row["right"]) for row in rows] == [
        ("coin", "flat", True),
        ("facts@controls", "smooth", False),
    ]
    assert (
        findings.controls([series("coin", "smooth", metric="token_accuracy")]) == []
    )  # nothing is planted there


def test_seeds_are_counted_at_each_size_of_tasks_that_have_five():
    x = [100.0] * 5 + [200.0] * 5
    rows = findings.seeds([series("addition", "seed_bimodal", [0.1, 0.9, 0.2, 1, 0.49, 1, 1, 1, 1, 0.5], x)])
    assert [(row["params"], row["succeed"], row["of"]) for row in rows] == [(100, 2, 5), (200, 5, 5)]
    assert rows[0]["scores"] == "0.10 0.20 0.49 0.90 1.00"
    assert findings.seeds([series("copy", "smooth", [0.1, 1.0], [1.0, 1.0])]) == []


def test_a_form_moves_a_threshold_only_when_the_interval_of_the_ratio_says_so():
    far = Threshold(4000.0, (2000.0, 8000.0))  # a factor of two each way
    near = Threshold(1000.0, (500.0, 2000.0))
    (row,) = findings.forms(
        [series("addition", "smooth", half=near), series("addition/plain", "smooth", half=far)]
    )
    width = math.exp(math.sqrt(2) * math.log(2))
    assert float(row["ratio of half-way points"]) == 4
    assert float(row["low"]) == pytest.approx(4 / width, abs=0.01)
    assert float(row["high"]) == pytest.approx(4 * width, abs=0.01)
    assert row["moved"] == "yes"
    (row,) = findings.forms(
        [series("addition", "smooth", half=near), series("addition/plain", "smooth", half=near)]
    )
    assert row["moved"] == "cannot tell"
    assert findings.forms([series("addition", "smooth", half=near), series("copy", "smooth", half=far)]) == []


def test_leads_are_counted_over_runs(tmp_path):
    for number, measure in enumerate([(0, 1, 1, 1), (0, 0, 0, 1)]):
        folder = tmp_path / "runs" / str(number)
        folder.mkdir(parents=True)
        paths = {"fourier_mass": measure, "exact_match": (0, 0, 1, 1)}
        lines = [
            {"kind": "progress", "task": "modular", "measure": name, "step": 20 * (i + 1), "value": value}
            for name, values in paths.items()
            for i, value in enumerate(values)
        ]
        text = "\n".join(map(json.dumps, lines))
        (folder / "metrics.jsonl").write_text(text + '\n{"kind": "progr')  # a torn last line
    (row,) = findings.leads(tmp_path)
    assert (row["runs"], row["before"], row["with"], row["after"]) == (2, 1, 0, 1)


def test_a_table_in_markdown_marks_what_is_wrong():
    text = findings.markdown([{"task": "coin", "right": True}, {"task": "tree", "right": False}])
    assert text.splitlines() == ["| task | right |", "| --- | --- |", "| coin | yes |", "| tree | **no** |"]
