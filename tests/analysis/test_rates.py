"""Best learning rates: planted valleys and laws are found, edges are refused, intervals cover."""

import json

import numpy as np
import pytest

from analysis.errors import InputError
from analysis.plots.transfer import transfer
from analysis.rates import best_rates, by_grid
from analysis.tables.table import as_runs


def planted(exponent=-0.5, sd=0.0, seeds=(0, 1), sizes=(1e4, 2e4, 4e4, 8e4), seed=0, steep=1.0, rates=None):
    """Rows of a grid of rates by factor 2 whose valleys lie at 0.02 (N / 2e4)^exponent."""
    rng = np.random.default_rng(seed)
    rates = 0.001 * 2.0 ** np.arange(10) if rates is None else rates
    rows = []
    for size in sizes:
        best = 0.02 * (size / 2e4) ** exponent
        luck = {s: sd * rng.standard_normal() for s in seeds}  # what a seed brings to all its rates
        for rate in rates:
            x = np.log2(rate / best)
            valley = 2.5 + 0.02 * x**2 + (steep - 1) * 0.02 * np.maximum(x, 0) ** 3
            for s in seeds:
                noise = luck[s] + 0.2 * sd * rng.standard_normal()
                rows.append((size, 1e6, rate, s, valley + noise, "ok", "g"))
    names = ("params", "tokens", "learning_rate", "seed", "loss", "status", "grid")
    return {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def test_a_planted_law_is_found():
    found = best_rates(planted())
    assert [c.best for c in found.curves] == pytest.approx(
        [0.02 * 2**0.5, 0.02, 0.02 / 2**0.5, 0.01], rel=1e-6
    )
    assert found.law.params_exponent == pytest.approx(-0.5)
    assert found.law(2e4) == pytest.approx(0.02)
    assert found.law.tokens_exponent is None
    assert found.drift_octaves == pytest.approx(1.5)
    assert best_rates(planted(exponent=0.0)).drift_octaves == pytest.approx(0, abs=1e-9)


def test_the_order_of_rows_moves_no_interval():
    table = planted(sd=0.01, sizes=(1e4, 2e4))
    turned = {name: values[::-1] for name, values in table.items()}
    first, second = (best_rates(one, bootstrap=100).curves for one in (table, turned))
    assert [curve.interval for curve in first] == [curve.interval for curve in second]


def test_the_steep_side_pulls_little():
    found = best_rates(planted(steep=3.0))
    for curve, best in zip(found.curves, [0.02 * 2**0.5, 0.02, 0.02 / 2**0.5, 0.01], strict=True):
        assert abs(np.log2(curve.best / best)) < 0.5


def test_tokens_get_their_exponent_where_they_vary():
    table = planted(sizes=(1e4, 2e4, 4e4))
    longer = {k: v.copy() for k, v in table.items()}
    longer["tokens"] = longer["tokens"] * 4
    longer["learning_rate"] = longer["learning_rate"] * 4**0.25
    both = {k: np.concatenate([table[k], longer[k]]) for k in table}
    law = best_rates(both).law
    assert (law.params_exponent, law.tokens_exponent) == pytest.approx((-0.5, 0.25))


def test_a_minimum_at_the_edge_is_refused_and_named():
    found = best_rates(planted(rates=0.015 * 2.0 ** np.arange(0, 5)))
    assert [c.refusal for c in found.curves[1:]] == ["the lowest loss is at the smallest rate"] * 3
    assert found.curves[0].best == pytest.approx(0.02 * 2**0.5)
    assert found.law is None
    assert found.drift_octaves is None
    assert "a valley needs 3" in best_rates(planted(rates=np.array([0.01, 0.02]))).curves[0].refusal


def test_intervals_cover_the_planted_rate_nine_times_of_ten():
    inside = total = 0
    for seed in range(60):
        for curve in best_rates(planted(sd=0.02, exponent=0.1, seed=seed), level=0.9, bootstrap=300).curves:
            total += 1
            true = 0.02 * (curve.params / 2e4) ** 0.1
            inside += curve.interval[0] <= true <= curve.interval[1]
    assert 0.83 <= inside / total <= 0.97


def test_what_a_seed_adds_to_all_its_rates_widens_nothing():
    calm, lucky = (best_rates(planted(sd=0.02, seed=4, seeds=s)) for s in ((0, 1), (0, 1, 2, 3)))
    for found in (calm, lucky):
        low, high = found.curves[0].interval
        assert 1 < high / low < 2


def test_runs_that_are_not_ok_are_left_out_and_listed():
    table = planted()
    table["status"] = np.where(np.arange(len(table["status"])) == 3, "diverged", table["status"])
    table["loss"][3] = np.nan
    found = best_rates(table)
    assert [(e.row, e.reason) for e in found.excluded] == [(3, "status is 'diverged', not 'ok'")]
    assert found.curves[0].runs[1] == 1


def test_json_and_one_line_errors():
    found = best_rates(planted(sd=0.01))
    assert json.loads(json.dumps(found.to_dict()))["curves"][0]["best"] == found.curves[0].best
    table = planted()
    del table["learning_rate"]
    with pytest.raises(InputError, match="no column learning_rate"):
        best_rates(table)


def test_the_figure_has_a_panel_a_grid_and_marks_the_minima():
    one, two = planted(exponent=-0.5), planted(exponent=0.0)
    two["grid"] = np.array(["h"] * len(two["grid"]))
    table = {k: np.concatenate([one[k], two[k]]) for k in one}
    found = by_grid(as_runs(table))
    assert list(found) == ["g", "h"]
    plot = transfer(found)
    assert [axis.get_title(loc="left") for axis in plot.figure.axes] == ["g", "h"]
    minima = plot.data.query("kind == 'best'")
    assert len(minima) == 8
    assert minima.learning_rate.tolist()[:2] == pytest.approx([0.02 * 2**0.5, 0.02])
    assert "1.5" in plot.caption
    assert plot.caption.endswith(".")
