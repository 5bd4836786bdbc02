"""What a fit loses without the walks across kinks (`analysis/solve/kinks.py`, `interior.py`).

    python -m benchmarks.kinks_left_out [OBJECTIVE [LAW [TABLES [DRAWS]]]]      huber chinchilla 24 200

Random tables of 10 to 48 rows are fitted as they are and with Newton's method through falling corners in the
place of the walks. Printed: median, ninth decile and largest of the objective's relative excess, of how far
an estimate moved and how far an end of an interval moved, both as shares of the interval.
"""

import sys

import numpy as np

import analysis as sl
from analysis.fits import certify
from analysis.solve import kinks, search
from analysis.solve.estimator import minimise


def newton(law, x, target, rho, theta, steps=60):
    return minimise(law, x, target, rho, theta)


def table(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    count = int(rng.choice([10, 16, 24, 48]))
    params = 10 ** rng.uniform(6, 9.5, count)
    tokens = params * 10 ** rng.uniform(0.3, 2.5, count)
    if rng.random() < 0.5:
        grid = np.meshgrid(np.geomspace(1e6, 1e9, 4), np.geomspace(1e8, 1e11, max(3, count // 4)))
        params, tokens = (part.ravel() for part in grid)
    loss = 1.7 + 400 / params ** rng.uniform(0.28, 0.42) + 1500 / tokens ** rng.uniform(0.28, 0.42)
    noise = rng.standard_normal(len(params)) * rng.choice([0.002, 0.005, 0.02])
    noise[rng.random(len(params)) < rng.choice([0, 0.1])] *= 8
    return {"params": params, "tokens": tokens, "loss": loss * np.exp(noise)}


def compared(seed: int, law: str, objective: str, draws: int) -> tuple[float, float, float]:
    fits = []
    for walk in (kinks.cross, newton):
        search.cross = certify.cross = walk
        search._again.cache_clear()
        fits.append(sl.fit(table(seed), law=law, objective=objective, bootstrap=draws))
    ours, plain = fits
    moved, ends = [0.0], [0.0]
    for name, pair in ours.intervals.items():
        width = pair[1] - pair[0]
        if np.isfinite(width) and width > 0:
            moved.append(abs(ours.params[name] - plain.params[name]) / width)
            ends += (np.abs(np.subtract(pair, plain.intervals[name])) / width).tolist()
    return plain.objective.value / ours.objective.value - 1, max(moved), max(ends)


def main(objective="huber", law="chinchilla", tables="24", draws="200") -> None:
    found = np.array([compared(seed, law, objective, int(draws)) for seed in range(int(tables))])
    for name, column in zip(("objective above", "estimate moved", "end moved"), found.T, strict=True):
        print(f"{name:16}", "  ".join(f"{value:.2g}" for value in np.quantile(column, [0.5, 0.9, 1.0])))


if __name__ == "__main__":
    main(*sys.argv[1:])
