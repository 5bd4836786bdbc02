"""`python -m benchmarks.next_prior`: how wrong a prior may be before a design by it costs more than none.

Nothing is drawn: within a law the interval of a design is a formula. A design that is best under a prior
whose exponents are off by a factor is judged by the true law, as is an even grid, which needs no prior. Kept
is the compute at which the first has the width of the second, as a part of the grid's, in
docs/next/prior.csv. The whole budget is spent by the prior, as nobody would who looks at runs on the way: the
worst case.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pandas

from analysis.designs.choice import Costs, choose
from analysis.designs.outlook import Cells, InPlay, outlook
from analysis.laws.named import find
from benchmarks import next_runs
from benchmarks.next_runs import BUDGET, TABLES, TARGET, World
from sweeps.plan.scatter import Scatter, numbered

LAW = find("chinchilla")
TRUE = {"E": 1.82, "A": 482.0, "alpha": 0.348, "B": 2085.0, "beta": 0.366}
FACTORS = (0.25, 0.4, 0.6, 1.0, 1.6, 2.5, 4.0, 6.0)
OFF = {"alpha": ("alpha",), "beta": ("beta",), "both": ("alpha", "beta")}
SHARES = np.geomspace(0.15, 3.0, 6)  # of the grid's compute
MOST = 24  # cells of a design


def off(factor: float, which: tuple[str, ...]) -> dict[str, float]:
    """The true law with exponents off by a factor, right at the middle of the cells."""
    values = dict(TRUE)
    for name, scale, middle in (("alpha", "A", 1e8), ("beta", "B", 3.5e9)):
        if name in which:
            values[name] = TRUE[name] * factor
            values[scale] = TRUE[scale] * middle ** (values[name] - TRUE[name])
    return values


def few() -> World:
    """Every other size and budget of the planted world: a choice among them is quick."""
    world = next_runs.planted("chinchilla", 0)
    keep = np.isin(world.params, next_runs.SIZES[::2]) & np.isin(world.tokens, next_runs.TOKENS[::2])
    arrays = (world.params, world.tokens, world.seeds, world.log_loss)
    return World(*(values[keep] for values in arrays), TARGET, BUDGET)


def seen(values: Mapping[str, float], world: World):
    """What the cells of the world would tell by a law."""
    trunks = numbered(world.params, world.seeds)
    nothing = Cells(np.zeros(0), np.zeros(0), np.zeros(0, int), np.zeros(0))
    ahead = Cells(world.params, world.tokens, trunks)
    return outlook([InPlay(LAW, values)], TARGET, nothing, ahead, Scatter(run=0.005))


def needed(values: Mapping[str, float], world: World, goal: float) -> float:
    """The compute, in budgets of SHARES' unit, at which the design by `values` has the true width `goal`;
    infinite beyond the largest."""
    by, true = seen(values, world), seen(TRUE, world)
    grid_cost = float(world.cost[next_runs.grid(world, BUDGET, np.random.default_rng(0))].sum())
    widths = []
    for share in SHARES:
        made = choose(by, Costs(world.cost), share * grid_cost, MOST)
        widths.append(np.sqrt(true.variance(list(made.chosen))))
    for (low, before), (high, after) in pairwise(zip(SHARES, widths, strict=True)):
        if after <= goal < before:
            part = np.log(before / goal) / np.log(before / after)
            return float(np.exp(np.log(low) * (1 - part) + np.log(high) * part))
    return float(SHARES[0]) if widths[0] <= goal else float("inf")


def rows() -> pandas.DataFrame:
    """A row for each exponent that is off and each factor: the part of the grid's compute that is needed."""
    world = few()
    even = next_runs.grid(world, BUDGET, np.random.default_rng(0))
    goal = float(np.sqrt(seen(TRUE, world).variance(even)))
    return pandas.DataFrame(
        [
            {"off": name, "factor": factor, "needed": needed(off(factor, which), world, goal)}
            for name, which in OFF.items()
            for factor in FACTORS
        ]
    )


if __name__ == "__main__":
    TABLES.mkdir(parents=True, exist_ok=True)
    rows().to_csv(TABLES / "prior.csv", index=False, float_format="%.4g")
