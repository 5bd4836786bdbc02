"""`python -m benchmarks.next_runs [planted | text] [TABLES] [FOLDER]`: what a chosen design saves.

Six planted truths (`benchmarks.planted_losses`) and the real text study, whose cells are "run" by revealing
them. Five designs spend the same compute: chosen one batch at a time as `lab next` does, a grid, IsoFLOP
levels, random cells, a ladder of compute-optimal runs. Kept is what each says of the target (the loss at ten
times the largest compute a run may have), and by how much it misses; `benchmarks.next_figures` tells of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas

import analysis as sl
from analysis.designs.outlook import Cells, outlook
from analysis.designs.targets import Target
from analysis.tables.sample import sample
from benchmarks.planted_losses import OWN, TRUNK, TRUTHS
from sweeps.plan.next_cells import Candidates
from sweeps.plan.next_runs import Known, of_runs, proposed, starter, untrained
from sweeps.plan.promised_intervals import BUILT_IN, Expected
from sweeps.plan.scatter import Scatter, numbered

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "docs" / "next"
DESIGNS = ("next", "grid", "isoflop", "random", "ladder")
WHOLE = (("chinchilla", 0), ("joint", 0))  # tables of which all is told; of others what coverage needs
# Cells of the planted world: sizes by budgets, none of more compute than CAP; the target is beyond all.
SIZES, TOKENS, CAP = np.geomspace(1e7, 1e9, 13), np.geomspace(2e8, 6e10, 13), 6e18
TARGET = Target("loss", params=3.2e8, tokens=3.2e10)  # 6e19 FLOPs
PARTS = (0.5, 1.0)  # of the budget at which designs are judged
ROUNDS, MOST = 4, 32  # of a design that is chosen: after the first grid, and cells in all of them at most
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
TEXTS = {"text": "runs.csv", "tuned": "tuned.csv"}
FEWER = {"designs": ("next", "grid"), "parts": (1.0,), "rounds": 2}


@dataclass(frozen=True, eq=False)
class World:
    """Cells (n,) with their log losses as they come out in one table, the compute that there is, and at the
    target the true log loss and that of a new run; NaN where nobody knows them."""

    params: np.ndarray
    tokens: np.ndarray
    seeds: np.ndarray
    log_loss: np.ndarray
    target: Target
    budget: float
    truth: float = float("nan")
    new_run: float = float("nan")

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
        return Candidates.straight(self.params, self.tokens, self.seeds, self.cost, "FLOPs")


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
    new_run = far + OWN * rng.standard_normal() * (0.5 if truth == "trunks" else 1.0)
    new_run += TRUNK * rng.standard_normal() if truth == "trunks" else 0.0
    return World(n, d, s, np.log(surface(n, d)) + noise, TARGET, BUDGET, far, new_run)


def text_study(table: str) -> World:
    """The 40 runs of a table of docs/findings/text; the target is the smaller of the two runs that were
    foretold. The budget is half of what all cost: with the whole of it there is nothing to choose."""
    runs = sl.read(ROOT / "docs" / "findings" / "text" / table)
    every = sample(runs, ("params", "tokens"))
    seeds = np.asarray(runs.columns["seed"], int)[every.rows]
    n, d, log_loss = every.inputs["params"], every.inputs["tokens"], np.log(every.loss)
    held = every.held_out
    new = int(np.flatnonzero(held)[np.argmin(n[held])])
    target = Target("loss", params=float(n[new]), tokens=float(d[new]))
    n, d, seeds = n[~held], d[~held], seeds[~held]
    budget = float((6 * n * d).sum()) / 2
    return World(n, d, seeds, log_loss[~held], target, budget, new_run=float(log_loss[new]))


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


def judged(world: World, known: Known) -> dict[str, float]:
    """What is said of the target, in log loss. half: half the width of the law's own interval there; told:
    that of the interval of a new run, which `lab next` prints; miss: of the true surface; error: of the new
    run; both NaN where the truth is not known."""
    trunks = numbered(known.params, known.seeds)
    have = Cells(known.params, known.tokens, trunks, known.log_loss)
    there = np.array([trunks.max() + 1])
    one = Cells(np.array([world.target.params]), np.array([world.target.tokens]), there)
    seen = outlook(known.laws, world.target, have, one, known.scatter)
    scatter = known.scatter
    told = seen.variance() + scatter.model**2 + scatter.trunk**2 + scatter.run**2
    found = {"half": SIGMAS * np.sqrt(seen.variance()), "told": SIGMAS * np.sqrt(told)}
    found |= {"miss": seen.value - world.truth, "error": seen.value - world.new_run}
    return {name: float(value) for name, value in found.items()}


def chosen(world: World, expected: Expected, rounds: int = ROUNDS) -> list[tuple[list[int], Known]]:
    """What is known after each round: a first grid, then batches as `lab next` chooses."""
    every = world.candidates()
    keys = zip(every.params, every.tokens, every.seeds, strict=True)
    places = {key: index for index, key in enumerate(keys)}
    spent = starter(every, START * world.budget)
    found = []
    for number in range(1, rounds + 1):
        known = of_runs(world.runs(spent), expected)
        found.append((list(spent), known))
        left = untrained(known, every)
        limit = world.budget * number / rounds - float(world.cost[spent].sum())
        if len(left) and limit >= left.own.min():
            made = proposed(known, world.target, left, limit, MOST // rounds)
            spent += [places[left.params[i], left.tokens[i], left.seeds[i]] for i in made.indices]
    return [*found, (spent, of_runs(world.runs(spent), expected))]


def one(
    world: World,
    seed: int,
    designs=DESIGNS,
    expected: Expected = PRIOR,
    parts: tuple[float, ...] = PARTS,
    rounds: int = ROUNDS,
) -> list[dict]:
    """Rows of one table: design, part (of the budget that it might spend), compute (that it spent, in
    budgets), cells, and what is `judged`."""
    rng = np.random.default_rng(seed)
    rows = []

    def row(design: str, part: float, spent: list[int], known: Known) -> None:
        about = {"design": design, "part": part, "compute": float(world.cost[spent].sum()) / world.budget}
        rows.append(about | {"cells": len(spent)} | judged(world, known))

    for design in designs:
        if design == "next":
            for number, (spent, known) in enumerate(chosen(world, expected, rounds)):
                row("next", number / rounds if number else START, spent, known)
            continue
        for part in parts:
            these = STATIC[design](world, part * world.budget, rng)
            try:
                row(design, part, these, of_runs(world.runs(these), expected))
            except sl.InputError:
                continue
    return rows


def planted_rows(tables: int, folder: Path, say: Callable[[str], None]) -> None:
    """`one` of every truth, table by table (seeds 0, 1, ...), written after each: what the file has already
    is not made again."""
    path = folder / "planted.csv"
    rows = pandas.read_csv(path).to_dict("records") if path.is_file() else []
    there = {(row["truth"], row["seed"]) for row in rows}
    for seed, truth in product(range(tables), TRUTHS):
        if (truth, seed) not in there:
            fewer = {} if (truth, seed) in WHOLE else FEWER
            rows += [
                {"truth": truth, "seed": seed, **row} for row in one(planted(truth, seed), seed, **fewer)
            ]
            _write(rows, path)
            say(f"{truth} {seed}")


def text_rows(folder: Path) -> None:
    """The real study, replayed: of the same 40 runs each design reveals its own; and again with rates that
    were tuned at the larger sizes too. What the file has already is not made again."""
    path = folder / "text.csv"
    rows = pandas.read_csv(path).to_dict("records") if path.is_file() else []
    there = {row["truth"] for row in rows}
    for name, table in TEXTS.items():
        if name not in there:
            made = one(text_study(table), 0, expected=BUILT_IN, parts=(1.0,), rounds=2)
            rows += [{"truth": name, "seed": 0, **row} for row in made]
            _write(rows, path)


def _write(rows: list[dict], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pandas.DataFrame(rows).to_csv(path, index=False, float_format="%.5g")


def main(what: str = "planted", tables: str = "4", folder: str = str(TABLES)) -> None:
    if what == "planted":
        planted_rows(int(tables), Path(folder), lambda text: print(text, file=sys.stderr, flush=True))
    elif what == "text":
        text_rows(Path(folder))
    else:
        raise SystemExit(f"{what!r} is neither planted nor text")


if __name__ == "__main__":
    main(*sys.argv[1:])
