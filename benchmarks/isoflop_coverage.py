"""`python -m benchmarks.isoflop_coverage [TABLES [FIRST] | lines]`: how often 95 % intervals of the exponent
of compute-optimal params hold the planted one.

Designs: levels as they should be; minima that scatter from level to level more than the runs tell, since each
level is tuned and stopped for itself; sizes that share one trunk over all levels; grids of uneven sizes that
lie off the optimum. Seeds are FIRST, FIRST + 1, ... for each design. `lines` compares ways to join the noise
within levels and the scatter of the levels, on lines alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import stdtrit

import analysis as sl
from analysis.fits.fitting import Settings, fit_window
from analysis.tables.sample import sample

LAW = {"E": 1.817218, "A": 477.826, "B": 2143.42, "alpha": 0.347311, "beta": 0.367172}
TRUE = LAW["beta"] / (LAW["alpha"] + LAW["beta"])
DESIGNS = ("clean", "level scatter", "shared trunks", "uneven grids")
OWN, TRUNK, SHIFT = 0.002, 0.002, 0.15


def best(flops: np.ndarray) -> np.ndarray:
    """Compute-optimal params of LAW."""
    ratio = LAW["alpha"] * LAW["A"] / (LAW["beta"] * LAW["B"])
    return ratio ** (1 / (LAW["alpha"] + LAW["beta"])) * (flops / 6) ** TRUE


def table(design: str, seed: int, levels: int = 6, sizes: int = 9) -> dict[str, np.ndarray]:
    """Runs of one design at `levels` levels over three decades of compute."""
    rng = np.random.default_rng(seed)
    budgets = np.geomspace(1e18, 1e21, levels)
    if design == "shared trunks":
        params = np.geomspace(best(budgets[:1])[0] / 5, best(budgets[-1:])[0] * 5, 16)
        near = np.abs(np.log(params / best(budgets)[:, None])) < np.log(7)
        level, size = np.nonzero(near)
        n, flops = params[size], budgets[level]
    else:
        steps = [np.linspace(-1, 1, sizes)] * levels
        if design == "uneven grids":
            counts = rng.integers(6, sizes + 1, levels)
            steps = [np.sort(np.append(rng.uniform(-1, 1, k - 2), (-1, 1))) for k in counts]
            steps = [one + rng.uniform(-0.35, 0.35) for one in steps]
        n = np.concatenate([best(c) * 5.0**one for c, one in zip(budgets, steps, strict=True)])
        level = np.repeat(np.arange(levels), [len(one) for one in steps])
        flops = budgets[level]
    moved = SHIFT * rng.standard_normal(levels)[level] if design == "level scatter" else 0.0
    columns = {"params": n, "tokens": flops / 6 / n, "flops": flops}
    seen = {"params": n * np.exp(moved), "tokens": flops / 6 / n * np.exp(-moved)}
    noise = OWN * rng.standard_normal(len(n))
    if design == "shared trunks":
        noise = OWN / 2 * rng.standard_normal(len(n)) + TRUNK * rng.standard_normal(len(params))[size]
        columns["cluster"] = np.array([f"trunk {one}" for one in size], object)
    return {**columns, "loss": sl.LAWS["chinchilla"].loss(LAW, seen) * np.exp(noise)}


@dataclass(frozen=True)
class Rate:
    """Of one way to the exponent: tables with an interval, the share that hold the truth, the geometric mean
    of their widths, and the standard deviation of the exponents."""

    tables: int
    held: float
    width: float
    sd: float


def rates(design: str, seeds: range, draws: int = 200) -> Mapping[str, Rate]:
    """By the minima themselves, and with the law's bias taken off."""
    found: dict[str, list[tuple[float, float, float]]] = {"minima": [], "bias off": []}
    for seed in seeds:
        runs = sl.as_runs(table(design, seed))
        law = fit_window(sample(runs), sl.LAWS["chinchilla"], "planted", Settings(bootstrap=80))
        result = sl.isoflop(runs, law=law, bootstrap=draws, seed=seed)
        for name, line in (("minima", result.params_law), ("bias off", result.corrected_law)):
            if line is not None and line.interval is not None:
                found[name].append((line.exponent, *line.interval))
    out = {}
    for name, rows in found.items():
        value, low, high = np.array(rows).T
        held = float(np.mean((low <= TRUE) & (high >= TRUE)))
        out[name] = Rate(len(rows), held, float(np.exp(np.log(high - low).mean())), float(value.std()))
    return out


def lines(lines_drawn: int = 20_000, freedom: int = 30, seed: int = 0) -> None:
    """Shares of 95 % intervals that hold a slope, and their width over that of a known variance, for levels
    whose scatter is `ratio` times the noise within them."""
    rng = np.random.default_rng(seed)
    print(f"{'levels':8}{'ratio':>6}  within       variances    wider of two")
    for levels, ratio in product((3, 4, 6, 8, 12), (0, 0.5, 1, 2, 5)):
        x = np.linspace(-1, 1, levels)
        total, free = float((x**2).sum()), levels - 2
        own = rng.chisquare(freedom, lines_drawn) / freedom
        y = rng.standard_normal((lines_drawn, levels)) * np.sqrt(1 + ratio**2)
        slope = y @ x / total
        off = ((y - y.mean(axis=1, keepdims=True) - slope[:, None] * x) ** 2).sum(axis=1) / free
        more = np.maximum(off - own, 0)
        degrees = (own + more) ** 2 / (own**2 / freedom + more**2 / free)
        within = stdtrit(freedom, 0.975) * np.sqrt(own / total)
        added = stdtrit(np.maximum(degrees, 1), 0.975) * np.sqrt((own + more) / total)
        wider = np.maximum(within, stdtrit(free, 0.975) * np.sqrt(off / total))
        ideal = 1.96 * np.sqrt((1 + ratio**2) / total)
        said = [
            f"{np.mean(np.abs(slope) <= half):.3f} ({np.exp(np.log(half / ideal).mean()):.2f})"
            for half in (within, added, wider)
        ]
        print(f"{levels:6}{ratio:8g}  {'  '.join(said)}")


def main(tables: int = 60, first: int = 0) -> None:
    print(f"{'design':16}{'way':10}{'tables':>7}{'held':>7}{'width':>8}{'width/ideal':>13}")
    for design in DESIGNS:
        for way, rate in rates(design, range(first, first + tables)).items():
            ideal = rate.width / (2 * 1.96 * rate.sd)
            print(
                f"{design:16}{way:10}{rate.tables:7}{rate.held:7.3f}{rate.width:8.3f}{ideal:13.2f}",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:] == ["lines"]:
        lines()
    else:
        main(*(int(one) for one in sys.argv[1:3]))
