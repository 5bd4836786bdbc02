"""`python -m benchmarks.next_runs [planted | text] [TABLES]`: what a chosen design saves.

Six planted truths (`benchmarks.planted_losses`) and the real text study, whose cells are "run" by revealing
them. Five designs spend the same compute: chosen one batch at a time as `lab next` does, a grid, IsoFLOP
levels, random cells, a ladder of compute-optimal runs. Told are the width of the interval for the target (the
loss at ten times the largest compute a run may have), how often it holds the truth, and the compute at which
each design reaches the width that the grid has at the end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas

import analysis as sl
from analysis.designs.outlook import Cells, outlook
from analysis.designs.targets import Target
from benchmarks.planted_losses import OWN, TRUNK, TRUTHS
from sweeps.plan.next_cells import Candidates, starter
from sweeps.plan.next_runs import Known, of_runs, proposed, untrained
from sweeps.plan.promised_intervals import BUILT_IN, Expected
from sweeps.plan.scatter import Scatter, numbered

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "docs" / "next"
DESIGNS = ("next", "grid", "isoflop", "random", "ladder")
# Cells of the planted world: sizes by budgets, none of more compute than CAP; the target is beyond all.
SIZES, TOKENS, CAP = np.geomspace(1e7, 1e9, 13), np.geomspace(2e8, 6e10, 13), 6e18
TARGET = Target("loss", params=3.2e8, tokens=3.2e10)  # 6e19 FLOPs
PARTS = (0.25, 0.5, 1.0)  # of the budget at which all designs are judged
BUDGET = 6 * CAP
START = 0.06  # of the budget: the first grid of a design that is chosen
SIGMAS = 1.959963984540054
# A first law for what nobody has trained yet: Chinchilla's published constants.
PRIOR = Expected(
    "chinchilla",
    {"E": 1.69, "A": 406.4, "alpha": 0.34, "B": 410.7, "beta": 0.28},
    Scatter(run=OWN),
    "published",
)


@dataclass(frozen=True, eq=False)
class World:
    """Cells (n,) with their log losses as they come out in one table, what they cost, the target's true log
    loss (None: not known), and the compute that there is."""

    params: np.ndarray
    tokens: np.ndarray
    seeds: np.ndarray
    log_loss: np.ndarray
    target: Target
    truth: float | None
    budget: float

    @property
    def cost(self) -> np.ndarray:
        return 6 * self.params * self.tokens

    def runs(self, chosen: list[int]):
        some = np.array(chosen)
        return sl.as_runs(
            {
                "params": self.params[some],
                "tokens": self.tokens[some],
                "seed": self.seeds[some],
                "loss": np.exp(self.log_loss[some]),
            }
        )

    def candidates(self) -> Candidates:
        nothing = np.zeros(len(self.params))
        return Candidates(
            self.params, self.tokens, self.seeds, self.cost, nothing.astype(int) - 1, nothing, "FLOPs"
        )


def planted(truth: str, seed: int) -> World:
    """One table of a truth: two seeds a cell, noise of runs, in one truth of trunks too."""
    rng = np.random.default_rng(seed)
    n, d, s = (one.ravel() for one in np.meshgrid(SIZES, TOKENS, np.arange(2), indexing="ij"))
    keep = 6 * n * d <= CAP * 1.001
    n, d, s = n[keep], d[keep], s[keep]
    noise = OWN * rng.standard_normal(len(n))
    if truth == "trunks":
        trunks = numbered(n, s)
        noise = noise / 2 + TRUNK * rng.standard_normal(trunks.max() + 1)[trunks]
    surface = TRUTHS[truth]
    far = float(np.log(surface(np.array(TARGET.params), np.array(TARGET.tokens))))
    return World(n, d, s, np.log(surface(n, d)) + noise, TARGET, far, BUDGET)


def text_study() -> World:
    """The 40 runs of docs/findings/text; the target is the larger run that was foretold."""
    runs = sl.read(ROOT / "docs" / "findings" / "text" / "runs.csv")
    n, d, loss = (np.asarray(runs.columns[name], float) for name in ("params", "tokens", "loss"))
    seeds = np.asarray(runs.columns["seed"], int)
    target = Target("loss", params=1263136, tokens=7916544)
    return World(n, d, seeds, np.log(loss), target, None, float((6 * n * d).sum()))


def _spent(world: World, order: list[int], budget: float) -> list[int]:
    """The first of `order` that the budget pays for; what is too dear for the rest of it is passed over."""
    chosen, left = [], budget
    for index in order:
        if world.cost[index] <= left * (1 + 1e-9):
            chosen.append(index)
            left -= world.cost[index]
    return chosen


def _spread(values: np.ndarray, count: int) -> np.ndarray:
    own = np.unique(values)
    return own[np.linspace(0, len(own) - 1, min(count, len(own))).round().astype(int)]


def grid(world: World, budget: float, rng: np.random.Generator) -> list[int]:
    """The largest of even grids (sizes by budgets of one seed, none above a cap) that the budget pays for."""
    best: list[int] = []
    for cap, side in product(np.geomspace(world.cost.max(), world.cost.max() / 100, 9), (4, 5, 6, 7, 9)):
        sizes, tokens = _spread(world.params, side), _spread(world.tokens, side)
        inside = np.isin(world.params, sizes) & np.isin(world.tokens, tokens) & (world.seeds == 0)
        these = np.flatnonzero(inside & (world.cost <= cap * 1.001))
        if world.cost[these].sum() <= budget and world.cost[these].sum() > world.cost[best].sum():
            best = these.tolist()
    return best


def isoflop(world: World, budget: float, rng: np.random.Generator) -> list[int]:
    """Levels of equal compute a factor apart, five sizes on each, the highest that can be paid downwards."""
    order: list[int] = []
    top = min(world.cost.max(), budget / 7)
    for level in top / 3.0 ** np.arange(6):
        near = np.flatnonzero((np.abs(np.log(world.cost / level)) < 0.35) & (world.seeds == 0))
        sizes = near[np.argsort(world.params[near])]
        order += (
            sizes[np.unique(np.linspace(0, len(sizes) - 1, 5).round().astype(int))].tolist()
            if len(sizes)
            else []
        )
    return _spent(world, order, budget)


def random(world: World, budget: float, rng: np.random.Generator) -> list[int]:
    return _spent(world, rng.permutation(len(world.params)).tolist(), budget)


def ladder(world: World, budget: float, rng: np.random.Generator) -> list[int]:
    """Each size at half, one, two and four times twenty tokens a parameter (arXiv 2203.15556)."""
    order = []
    for size in np.unique(world.params):
        of = np.flatnonzero((world.params == size) & (world.seeds == 0))
        for ratio in (10, 20, 40, 80):
            nearest = of[np.argmin(np.abs(np.log(world.tokens[of] / (ratio * size))))]
            order.append(int(nearest))
    order = list(dict.fromkeys(order))
    return _spent(world, sorted(order, key=lambda one: world.cost[one]), budget)


STATIC: dict[str, Callable] = {"grid": grid, "isoflop": isoflop, "random": random, "ladder": ladder}


def judged(world: World, known: Known) -> tuple[float, float]:
    """(half-width, error) of the target's log loss, by the laws in play."""
    trunks = numbered(known.params, known.seeds)
    have = Cells(known.params, known.tokens, trunks, known.log_loss)
    one = Cells(
        np.array([world.target.params]), np.array([world.target.tokens]), np.array([trunks.max() + 1])
    )
    seen = outlook(known.laws, world.target, have, one, known.scatter)
    half = SIGMAS * float(np.sqrt(seen.variance()))
    return half, float("nan") if world.truth is None else seen.value - world.truth


def chosen(world: World, expected: Expected, rounds: int = 5) -> list[tuple[float, Known]]:
    """What is known after each round: a first design from the prior, then batches as `lab next` chooses."""
    spent = starter(world.candidates(), START * world.budget)
    found = []
    for index in range(rounds):
        known = of_runs(world.runs(spent), expected)
        used = float(world.cost[spent].sum())
        found.append((used, known))
        limit = world.budget * (index + 1.0) / rounds - used
        every = world.candidates()
        left = untrained(known, every)
        if limit < left.own.min():
            continue
        made = proposed(known, world.target, left, limit, 8)
        places = {
            (n, d, s): i
            for i, (n, d, s) in enumerate(zip(every.params, every.tokens, every.seeds, strict=True))
        }
        spent += [places[left.params[i], left.tokens[i], left.seeds[i]] for i in made.indices]
    known = of_runs(world.runs(spent), expected)
    return [*found, (float(world.cost[spent].sum()), known)]


def one(world: World, seed: int, designs=DESIGNS, expected: Expected = PRIOR) -> list[dict]:
    """Rows of (design, compute, half, error) of one table."""
    rng = np.random.default_rng(seed)
    rows = []

    def row(design: str, spent: float, known: Known) -> None:
        half, error = judged(world, known)
        rows.append({"design": design, "compute": spent / world.budget, "half": half, "error": error})

    for design in designs:
        if design == "next":
            for spent, known in chosen(world, expected):
                row("next", spent, known)
            continue
        for part in PARTS:
            these = STATIC[design](world, part * world.budget, rng)
            try:
                row(design, float(world.cost[these].sum()), of_runs(world.runs(these), expected))
            except sl.InputError:
                continue
    return rows


def planted_rows(tables: int, say: Callable[[str], None]) -> list[dict]:
    """`one` of every truth, table by table: seeds 0, 1, ..."""
    rows = []
    for seed in range(tables):
        for truth in TRUTHS:
            made = one(planted(truth, seed), seed)
            rows += [{"truth": truth, "seed": seed, **row} for row in made]
            say(json.dumps(made[len(made) - 1]))
            _write(rows, "planted.csv")
    return rows


def _write(rows: list[dict], name: str) -> None:
    TABLES.mkdir(parents=True, exist_ok=True)
    pandas.DataFrame(rows).to_csv(TABLES / name, index=False, float_format="%.6g")


def text_rows() -> list[dict]:
    """The real study, replayed: of the same 40 runs each design reveals its own."""
    rows = []
    for seed in range(3):
        designs = DESIGNS if seed == 0 else ("random",)
        rows += [{"truth": "text", "seed": seed, **row} for row in one(text_study(), seed, designs, BUILT_IN)]
    return rows


def needed(rows: pandas.DataFrame, design: str, half: float) -> float:
    """The part of the budget at which a design's median half-width falls to `half`, between its points in
    logs; infinite where it never does."""
    of = rows[rows["design"] == design].groupby("compute_part")[["compute", "half"]].median()
    for (_, before), (_, after) in pairwise(of.sort_values("compute").iterrows()):
        if after["half"] <= half < before["half"]:
            share = np.log(before["half"] / half) / np.log(before["half"] / after["half"])
            return float(np.exp(np.log(before["compute"]) * (1 - share) + np.log(after["compute"]) * share))
    first = of.sort_values("compute").iloc[0]
    return float(first["compute"]) if first["half"] <= half else float("inf")


def told(rows: pandas.DataFrame) -> str:
    """A line a design: half-width with the whole budget, compute for the grid's last width, coverage."""
    rows = rows.assign(compute_part=(rows["compute"] * 4).round() / 4)
    last = rows[rows["compute_part"] == 1.0]
    goal = float(last[last["design"] == "grid"]["half"].median())
    lines = [
        "| design | half-width, whole budget | compute for the grid's width | holds the truth |",
        "|---|---|---|---|",
    ]
    for design in DESIGNS:
        of = rows[rows["design"] == design]
        at = needed(rows, design, goal * 1.0001)
        held = of["error"].abs() <= of["half"]
        known = "" if of["error"].isna().all() else f"{held.mean():.0%} of {len(of)}"
        half = last[last["design"] == design]["half"].median()
        lines.append(f"| {design} | {half:.2%} | {'never' if np.isinf(at) else f'{at:.0%}'} | {known} |")
    return "\n".join(lines)


def main(what: str = "planted", tables: str = "2") -> None:
    if what == "planted":
        planted_rows(int(tables), lambda text: print(text, file=sys.stderr, flush=True))
    elif what == "text":
        _write(text_rows(), "text.csv")
    else:
        raise SystemExit(f"{what!r} is neither planted nor text")
    for name in ("planted.csv", "text.csv"):
        if (TABLES / name).is_file():
            print(f"{name}\n{told(pandas.read_csv(TABLES / name))}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
