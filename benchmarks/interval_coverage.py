"""How often 95 % intervals hold the truth, how wide they are beside the ideal, and what is said of clean
tables.

`python -m benchmarks.interval_coverage [CELL ...] [--tables 100] [--draws 200] [--first 0]` prints a line a
cell. Table number i of a cell is made from seed i alone. CELLS: `rows-9` ... `rows-25` (grids of 3 x 3 ... 5
x 5, noise 2 %), with `+outlier` one run in each, at random, 10 % too high; `offset-0` ... `offset-1.7` (5 x
5, noise 1 %, planted E); `trunks-5`, `trunks-7` (so many sizes of four branches each, 1 % of noise the
trunk's); `staircase` (14 runs of five trunks, a quick start of old); `long-19000`, `long-24000` (8 runs of so
many checkpoints in all); `few-runs` (4 such runs); `stated` and `stated-clusters` (each row's noise
known, ten-fold range).

Every line: share of intervals that hold the truth; below it their median width over the ideal one's, which is
that of the law linearised at the truth under the true covariance of the noise. `refused`: the share of tables
without an interval. `outliers`: the share of tables on which outliers are warned of. `noise`: the median
noise printed over the true one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

import analysis as sl
from analysis.intervals import freedom

LAW = sl.LAWS["chinchilla"]
TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.366}
# Of params and tokens: where the law is asked, beyond the table's largest.
BEYOND = 3.0
# `loss` is the law's, `run` a new run's there; `quiet` and `noisy` new runs whose noise is stated, in the
# table.
NAMES = ("E", "alpha", "beta", "exponent", "loss", "run")


@dataclass(frozen=True)
class Table:
    """One simulated table: columns, its truth, and the covariance of its log noise as a shared and a single
    part."""

    truth: dict[str, float]
    columns: dict[str, np.ndarray]
    single: np.ndarray
    shared: np.ndarray
    clusters: np.ndarray
    noise: str = ""
    outlier: bool = field(default=False)


def made(truth, columns, single, rng, shared=0.0, clusters=None, noise: str = "") -> Table:
    count = len(columns["params"])
    clusters = np.arange(count) if clusters is None else clusters
    single = np.broadcast_to(np.asarray(single, float), (count,))
    shared = np.broadcast_to(np.asarray(shared, float), (int(clusters.max()) + 1,))
    drawn = single * rng.standard_normal(count) + (shared * rng.standard_normal(len(shared)))[clusters]
    columns = {**columns, "loss": LAW.loss(truth, columns) * np.exp(drawn)}
    return Table(truth, columns, single, shared, clusters, noise)


def crossed(sizes, tokens) -> dict[str, np.ndarray]:
    n, d = np.meshgrid(sizes, tokens, indexing="ij")
    return {"params": n.ravel(), "tokens": d.ravel()}


GRIDS = {9: (3, 3), 12: (3, 4), 16: (4, 4), 25: (5, 5)}


def rows(count: int, outlier: bool, rng: np.random.Generator) -> Table:
    """A grid over two decades of either axis, noise 2 %; the outlier is 10 % too high."""
    sizes, budgets = GRIDS[count]
    columns = crossed(np.geomspace(1e7, 1e9, sizes), np.geomspace(2e8, 2e10, budgets))
    table = made(TRUTH, columns, 0.02, rng)
    if outlier:
        table.columns["loss"][rng.integers(count)] *= np.exp(0.10)
    return table


def offset(value: float, rng: np.random.Generator) -> Table:
    """A 5 x 5 grid with 1 % of noise and a planted E."""
    columns = crossed(np.geomspace(1e7, 1e9, 5), np.geomspace(2e8, 2e10, 5))
    return made({**TRUTH, "E": value}, columns, 0.01, rng)


def long(runs: int, total: int, rng: np.random.Generator) -> Table:
    """Runs of many checkpoints: 1 % of noise is the run's, 0.5 % a checkpoint's."""
    each = total // runs
    columns = crossed(np.geomspace(1e7, 3e9, runs), np.linspace(2e8, 2e10, each))
    return made(TRUTH, columns, 0.005, rng, 0.01, np.repeat(np.arange(runs), each))


def trunks(count: int, rng: np.random.Generator) -> Table:
    """So many trunks of four branches: 1 % of noise is the trunk's, 0.3 % a branch's."""
    columns = crossed(np.geomspace(2e6, 2e8, count), 2e8 * 4.0 ** np.arange(4))
    run = np.repeat(np.arange(count), 4)
    table = made(TRUTH, columns, 0.003, rng, 0.01, run)
    table.columns["cluster"] = run.astype(str).astype(object)
    return table


def staircase(rng: np.random.Generator) -> Table:
    """The fitted runs of a former quick start: five sizes over a factor of four, a trunk each, four budgets
    of which the six runs of most compute are left out. Noise 0.5 % of the trunk, 0.3 % of a run, as ten
    seeds of it have."""
    columns = crossed([26_180, 32_992, 48_920, 67_920, 115_136], 600_000 * 2.0 ** np.arange(4))
    kept = np.sort(np.argsort(columns["params"] * columns["tokens"], kind="stable")[:14])
    columns = {name: values[kept].astype(float) for name, values in columns.items()}
    run = np.unique(columns["params"], return_inverse=True)[1]
    truth = {"E": 1.2, "A": 62.0, "B": 4600.0, "alpha": 0.5, "beta": 0.7}
    table = made(truth, columns, 0.003, rng, 0.005, run)
    table.columns["cluster"] = run.astype(str).astype(object)
    return table


def stated(rng: np.random.Generator) -> Table:
    """40 runs anywhere, their relative noise stated, from 0.3 to 3 % evenly in logs."""
    columns = {"params": 10 ** rng.uniform(7, 9.5, 40), "tokens": 10 ** rng.uniform(8.3, 10.8, 40)}
    relative = rng.permutation(np.geomspace(0.003, 0.03, 40))
    table = made(TRUTH, columns, relative, rng, noise="error")
    table.columns["error"] = relative * table.columns["loss"]
    return table


def stated_clusters(rng: np.random.Generator) -> Table:
    """12 runs of 6 branches, relative noise 0.3 to 3 %, of runs and their branches alike: what is stated is
    all."""
    columns = crossed(np.geomspace(1e7, 3e9, 12), np.geomspace(4e8, 4e10, 6))
    run = np.repeat(np.arange(12), 6)
    total = rng.permutation(np.geomspace(0.003, 0.03, 12))
    table = made(TRUTH, columns, np.sqrt(0.5) * total[run], rng, np.sqrt(0.5) * total, run, "error")
    table.columns["error"] = total[run] * table.columns["loss"]
    table.columns["cluster"] = run.astype(str).astype(object)
    return table


CELLS: dict[str, Callable[[np.random.Generator], Table]] = {
    **{
        f"rows-{count}{'+outlier' * bad}": partial(rows, count, bad)
        for count in GRIDS
        for bad in (False, True)
    },
    **{f"offset-{value:g}": partial(offset, value) for value in (0.0, 0.3, 1.0, 1.7)},
    "trunks-5": partial(trunks, 5),
    "trunks-7": partial(trunks, 7),
    "staircase": staircase,
    "long-19000": partial(long, 8, 19_000),
    "long-24000": partial(long, 8, 24_000),
    "few-runs": partial(long, 4, 24_000),
    "stated": stated,
    "stated-clusters": stated_clusters,
}


def truths(table: Table, noise: dict[str, float], rng) -> dict[str, tuple[float, float]]:
    """Name -> (truth, ideal width of its interval at 95 %)."""
    names = list(LAW.names)
    far = {axis: np.array([BEYOND * table.columns[axis].max()]) for axis in ("params", "tokens")}

    def quantities(values) -> np.ndarray:
        at = dict(zip(names, values, strict=True))
        here = [at["E"], at["alpha"], at["beta"], at["beta"] / (at["alpha"] + at["beta"])]
        return np.array([*here, float(logs(values, far)[0])])

    def logs(values, at=table.columns) -> np.ndarray:
        # Written out: a law takes no E below 0, not even by a step of a difference.
        e, a, b, alpha, beta = (values[names.index(name)] for name in ("E", "A", "B", "alpha", "beta"))
        return np.log(e + a / at["params"] ** alpha + b / at["tokens"] ** beta)

    middle = np.array([table.truth[name] for name in names])
    steps = 1e-5 * np.maximum(np.abs(middle), 1e-3)
    moves = np.diag(steps)
    slopes = np.stack(
        [(logs(middle + m) - logs(middle - m)) / (2 * s) for m, s in zip(moves, steps, strict=True)]
    )
    turns = np.stack(
        [
            (quantities(middle + m) - quantities(middle - m)) / (2 * s)
            for m, s in zip(moves, steps, strict=True)
        ]
    )
    # (J' S^-1 J) with S = single^2 + shared^2 a cluster, by Woodbury, so that long tables fit.
    light = 1 / table.single**2
    inner = (slopes * light) @ slopes.T
    count = len(table.shared)
    sums = np.stack([np.bincount(table.clusters, row * light, count) for row in slopes])
    weight = np.bincount(table.clusters, light, count)
    pull = table.shared**2 / (1 + table.shared**2 * weight)
    inner = inner - (sums * pull) @ sums.T
    scale = np.sqrt(np.diag(inner))
    covariance = np.linalg.inv(inner / np.outer(scale, scale)) / np.outer(scale, scale)
    variance = np.einsum("pq,pr,rq->q", turns, covariance, turns)
    width = 2 * 1.959964 * np.sqrt(variance)
    out = dict(zip(NAMES[:5], zip(quantities(middle), width, strict=True), strict=True))
    for name, spread in noise.items():
        value = out["loss"][0] + spread * rng.standard_normal()
        out[name] = (value, 2 * 1.959964 * float(np.sqrt(variance[4] + spread**2)))
    return out


def one(cell: str, draws: int, seed: int, **how) -> dict[str, tuple[float, float]]:
    """Name -> (whether the interval of this table holds the truth, its width over the ideal; NaN if refused).
    Also `outliers` and `noise`, see above, and `empty`: an interval of E that is a point."""
    rng = np.random.default_rng(seed)
    table = CELLS[cell](rng)
    total = np.sqrt(table.single**2 + table.shared[table.clusters] ** 2)
    spread = float(np.median(total))
    spreads = (
        {"run": spread} if not table.noise else {"quiet": float(total.min()), "noisy": float(total.max())}
    )
    true = truths(table, spreads, rng)
    fit = sl.fit(table.columns, law=LAW, bootstrap=draws, seed=seed, noise=table.noise, **how)
    given = dict(fit.intervals)
    if fit.exponents is not None and fit.exponents.interval is not None:
        given["exponent"] = fit.exponents.interval
    far = {axis: BEYOND * table.columns[axis].max() for axis in ("params", "tokens")}
    if fit.draws:
        given["loss"] = tuple(np.log(fit.predict_interval(**far, new_run=False)))
        for name, size in spreads.items():
            stated_error = {"noise": size * fit.predict(**far)} if table.noise else {}
            given[name] = tuple(np.log(fit.predict_interval(**far, **stated_error)))
    out = {}
    for name, (value, width) in true.items():
        if name not in given:
            out[name] = (np.nan, np.nan)
            continue
        low, high = (float(end) for end in given[name])
        out[name] = (float(low <= value <= high), (high - low) / width)
    codes = {note.code for note in fit.warnings}
    printed = getattr(fit, "scatter", None)
    if printed is None:
        printed = np.exp(sorted(abs(fit.data["residual"]))[fit.points // 2]) - 1
    out["outliers"] = (float("outliers" in codes), np.nan)
    out["noise"] = (float(printed) / spread, np.nan)
    low, high = given.get("E", (0.0, 1.0))
    out["empty"] = (float(high <= low), np.nan)
    return out


def measured(cell: str, tables: range, draws: int, **how) -> tuple[dict, dict, dict]:
    """(coverage, median width over the ideal, share refused) by name, over tables of so many seeds."""
    found = [one(cell, draws, seed, **how) for seed in tables]
    held, width, refused = {}, {}, {}
    for name in found[0]:
        hits = np.array([each[name][0] for each in found])
        wide = np.array([each[name][1] for each in found])
        refused[name] = float(np.isnan(hits).mean())
        if name == "noise":
            held[name] = float(np.median(hits))
        else:
            held[name] = float(np.nanmean(hits)) if (~np.isnan(hits)).any() else np.nan
        width[name] = float(np.nanmedian(wide)) if (~np.isnan(wide)).any() else np.nan
    return held, width, refused


def lines(cell: str, tables: range, draws: int, **how) -> Iterator[str]:
    held, width, refused = measured(cell, tables, draws, **how)
    yield f"{cell:18}" + "".join(f" {name} {share:.2f}" for name, share in held.items())
    yield f"{'  width / ideal':18}" + "".join(f" {n} {w:.2f}" for n, w in width.items() if np.isfinite(w))
    if any(refused.values()):
        yield f"{'  refused':18}" + "".join(
            f" {name} {share:.2f}" for name, share in refused.items() if share
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", nargs="*", default=list(CELLS))
    parser.add_argument("--tables", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--objective", default="huber")
    parser.add_argument("--set", default="", help="a constant of analysis.intervals.freedom: NAME=VALUE")
    options = parser.parse_args()
    if options.set:
        name, _, value = options.set.partition("=")
        if not hasattr(freedom, name):
            parser.error(f"--set: analysis.intervals.freedom has no {name}")
        setattr(freedom, name, float(value))
    for cell in options.cells:
        started = time.process_time()
        seeds = range(options.first, options.first + options.tables)
        how = {"method": options.method, "objective": options.objective}
        print(*lines(cell, seeds, options.draws, **how), sep="\n", flush=True)
        print(f"  {time.process_time() - started:.0f} CPU s")


if __name__ == "__main__":
    main()
