"""What docs/next.md says is computed as it says: compute for a width, intervals widened by other truths."""

import numpy as np
import pandas
import pytest

from benchmarks import next_figures


def rows(design: str, compute, half, truth: str = "a", error: float = 0.0) -> list[dict]:
    return [
        {"truth": truth, "seed": 0, "design": design, "compute": c, "half": h, "told": h, "error": error}
        for c, h in zip(compute, half, strict=True)
    ]


def test_compute_for_a_width_lies_between_points_and_counts_from_where_it_stays():
    grid = rows("grid", [0.5, 0.8], [0.04, 0.02])
    table = pandas.DataFrame([*grid, *rows("next", [0.1, 0.2, 0.4, 0.8], [0.01, 0.08, 0.02, 0.01])])
    assert next_figures.of_grid(table, "next") == pytest.approx(0.4 / 0.8)
    assert next_figures.needed(table, "next", 0.04) == pytest.approx(np.sqrt(0.2 * 0.4))
    assert next_figures.of_grid(table, "grid") == pytest.approx(1.0)
    assert np.isinf(next_figures.needed(table, "next", 0.005))


def test_a_truth_is_corrected_by_the_others_alone():
    table = pandas.DataFrame(
        [
            *rows("next", [0.1, 0.5, 1.0], [1.0] * 3, "easy", error=0.5),
            *rows("next", [0.1, 0.5, 1.0], [1.0] * 3, "hard", error=2.0),
            *rows("next", [0.1, 0.5, 1.0], [1.0] * 3, "harder", error=3.0),
        ]
    )
    found = next_figures.corrected(table).set_index("truth")
    assert found["intervals"].tolist() == [2, 2, 2]  # the first grid was not chosen
    assert found["factor"].tolist() == [3.0, 3.0, 2.0]
    assert found["held"].tolist() == [2, 0, 0]
    assert found["held_corrected"].tolist() == [2, 2, 0]
