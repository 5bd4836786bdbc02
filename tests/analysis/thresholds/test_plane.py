"""Loss collapse and the frontier in (params, tokens) on grids whose truth is planted.

`python -m tests.analysis.thresholds.test_plane` prints rates over many grids.
"""

import sys

import numpy as np
import pandas
import pytest

from analysis.thresholds import collapse, frontier, over_plane
from analysis.thresholds.params_tokens import planes
from benchmarks import planted
from benchmarks.planted import Grid


def plane(rows, **options):
    return planes(pandas.DataFrame(rows), **options)[0]


def of_loss(number, size=0.0, **more):
    return plane(planted.of_loss(Grid(**more), np.random.default_rng(number), size))


def rates(size, draws, seed=0, **more):
    """Shares of grids whose p-value of (size, residual) is at most 5 %: each grid is tested against one table
    drawn from its own curve of the loss, all of them together (the warp-speed bootstrap)."""
    rng = np.random.default_rng(seed)
    grid = Grid(**more)
    one = plane(planted.of_loss(grid, rng, size))
    n, _, loss = grid.cells
    order = [
        int(np.flatnonzero((n == p) & np.isclose(loss, v))[0])
        for p, v in zip(one.params, one.loss, strict=True)
    ]
    eta = -4.0 + (loss.max() - loss) + 18.0 * np.maximum(1.75 - loss, 0) + size * (np.log10(n) - 5.0)
    fitted = []
    again = []
    for _ in range(-(-draws // 100)):
        tables = _drawn(one, eta[order], grid.seed_sd, rng, 100)
        observed = collapse.weigh(one, tables)
        sd = _sds(one, tables)
        curves = np.concatenate([_drawn(one, e, s, rng, 1) for e, s in zip(observed.eta, sd, strict=True)])
        fitted.append(observed)
        again.append(collapse.weigh(one, curves))
    out = []
    for name in ("size", "residual"):
        mine = np.concatenate([getattr(f, name) for f in fitted])
        reference = np.concatenate([getattr(f, name) for f in again])
        p = ((reference[None] >= mine[:, None] - 1e-6).sum(1) + 1) / (reference.size + 1)
        out.append(float((p <= 0.05).mean()))
    return out


def _drawn(one, eta, sd, rng, draws):
    from analysis.thresholds import null

    return null.simulate(one.design, one.scale, eta, sd, rng, draws)


def _sds(one, tables):
    from analysis.thresholds import null

    return null.seed_sd_of(one.design, tables)


def test_a_curve_of_the_loss_collapses_and_its_elbow_is_placed():
    rows = planted.of_loss(Grid(), np.random.default_rng(0))
    found = collapse.test(plane(rows), 0.05, 199, np.random.default_rng(0))
    assert (found.verdict, found.cells, found.sizes) == ("collapses", 20, 5)
    low, high = found.size_effect.interval
    assert low < 0 < high
    placed = collapse.with_threshold(found, pandas.DataFrame(rows), None, None)
    low, high = placed.threshold.elbow.interval
    assert low < 1.75 < high
    assert high - low < 0.1


def test_size_at_equal_loss_is_seen_and_measured():
    for size in (0.5, -0.5):
        found = collapse.test(of_loss(1, size), 0.05, 199, np.random.default_rng(0))
        assert found.verdict == "does_not_collapse"
        assert found.p_size <= 0.025
        assert found.size_effect.value == pytest.approx(size, abs=0.2)


def test_collapse_keeps_its_level_and_has_power():
    """200 grids each: standard error 1.5 %. An effect of half a logit a decade is small: 1 of 9 logits."""
    size, residual = rates(0.0, 200)
    assert size <= 0.09
    assert residual <= 0.09
    assert rates(0.5, 100)[0] >= 0.9


def test_scatter_that_neither_loss_nor_size_explains_is_no_collapse():
    grid = Grid()
    _, d, loss = grid.cells
    eta = 12 * (loss.max() - loss) - 4 + 1.2 * np.where(np.isin(d, grid.tokens[::2]), 1, -1)
    found = collapse.test(
        plane(planted.grid_rows("t", eta, grid, np.random.default_rng(3))),
        0.05,
        199,
        np.random.default_rng(0),
    )
    assert found.verdict == "does_not_collapse"
    assert found.p_residual <= 0.025


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tokens": (1e7,)}, "one token budget"),
        ({"params": (1e4, 1e6)}, "2 sizes with two token budgets"),
        ({"seeds": 1}, "no seed replicates"),
    ],
)
def test_what_cannot_be_told_says_why(more, said):
    one = of_loss(0, **more)
    assert said in collapse.test(one, 0.05, 99, np.random.default_rng(0)).text
    found = frontier.locate(one, 0.05, 99, np.random.default_rng(0))
    assert (found.kind, found.points) == ("none", ())
    assert said in found.text


def test_losses_in_the_order_of_the_sizes_cannot_tell_size_from_loss():
    """A loss that only size decides: at equal loss there is nothing to compare."""
    rows = [
        {**row, "loss_nats": 3.0 - 0.3 * np.log10(row["params"])}
        for row in planted.of_loss(Grid(), np.random.default_rng(0))
    ]
    found = collapse.test(plane(rows), 0.05, 99, np.random.default_rng(0))
    assert found.verdict == "cannot_tell"
    assert "one order" in found.text


def test_the_frontier_is_recovered_with_its_interval():
    found = frontier.locate(
        plane(planted.of_both(Grid(), np.random.default_rng(0))), 0.05, 99, np.random.default_rng(0)
    )
    assert found.kind == "elbow"
    low, high = found.exponent.interval
    assert low < -0.7 < high
    assert high - low < 0.3
    for point in found.points:
        if point.tokens.value is not None:
            truth = 6e6 * (point.params / 1e5) ** -0.7
            assert point.tokens.value == pytest.approx(truth, rel=0.4)
            assert 1e6 <= point.tokens.value <= 6.4e7
    assert len([p for p in found.points if p.tokens.value is not None]) >= 4


def test_without_an_elbow_it_is_the_line_of_half():
    grid = Grid()
    n, d, _ = grid.cells
    eta = -1.5 + 2.0 * (np.log10(d) - 6.5) + 1.0 * (np.log10(n) - 5)
    found = frontier.locate(
        plane(planted.grid_rows("t", eta, grid, np.random.default_rng(5))), 0.05, 99, np.random.default_rng(0)
    )
    assert found.kind == "half"
    assert found.exponent.value == pytest.approx(-0.5, abs=0.1)
    assert found.tokens.value == pytest.approx(10**7.25, rel=0.3)
    assert found.p_value > 0.05


def test_runs_that_no_study_lists_are_cells_too():
    rows = [{**row, "grid": None} for row in planted.of_loss(Grid(), np.random.default_rng(0))]
    assert plane(rows).params.size == 20


def test_a_given_seed_sd_serves_where_there_is_one_seed():
    rows = planted.of_both(Grid(seeds=1), np.random.default_rng(0))
    found = frontier.locate(plane(rows, seed_sd=0.2), 0.05, 99, np.random.default_rng(0))
    assert found.kind == "elbow"
    assert found.exponent.value == pytest.approx(-0.7, abs=0.2)


def test_series_over_the_plane_share_the_level(monkeypatch):
    """Of two tasks each is called at half of the level, by as many more tables as that asks for."""
    asked = []

    def tested(one, alpha, draws, rng):
        asked.append((alpha, draws))
        return collapse.Collapse(one.cells.task, "exact_match", "does_not_collapse", "", 20, 5)

    def located(one, alpha, draws, rng):
        asked.append((alpha, draws))
        return frontier.Frontier(one.cells.task, "exact_match", "elbow", "", p_value=0.01)

    monkeypatch.setattr(collapse, "test", tested)
    monkeypatch.setattr(frontier, "locate", located)
    rows = planted.of_loss(Grid(), np.random.default_rng(0))
    both = pandas.DataFrame(rows + [row | {"task": "again"} for row in rows])
    over_plane.over_plane(both, draws=99)
    assert asked == 4 * [(0.05, 99), (0.025, 160)]
    asked.clear()
    over_plane.over_plane(pandas.DataFrame(rows), draws=99)
    assert asked == 2 * [(0.05, 99)]


def table(draws):
    """Lines of rates: size effect in logits a decade, seed sd, calls by size and by residual."""
    yield f"{'size effect':>12} {'seed sd':>8} {'called: size':>13} {'called: residual':>17}"
    for effect in (0.0, 0.25, 0.5, 1.0):
        for sd in (0.1, 0.2, 0.4):
            size, residual = rates(effect, draws, seed_sd=sd)
            yield f"{effect:12.2f} {sd:8.1f} {size:13.1%} {residual:17.1%}"


if __name__ == "__main__":
    for line in table(int(sys.argv[1]) if len(sys.argv) > 1 else 1000):
        print(line, flush=True)
