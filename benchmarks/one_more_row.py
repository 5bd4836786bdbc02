"""`python -m benchmarks.one_more_row [TABLES [NOISE]]`: what one more row does at ten rows a parameter.

Below ten rows a parameter Huber's corner is that of the noise and intervals are profiles; from there on the
corner is 1e-3 and intervals are drawn (docs/fitting.md). Printed for Chinchilla's law on 47, 48, ... of 52
runs anywhere: how far alpha and E move with one more row, in standard errors, and what their intervals'
widths change by; medians over tables. Where nothing jumps, every line says the same.
"""

from __future__ import annotations

import sys

import numpy as np

import analysis as sl
from benchmarks.interval_coverage import LAW, TRUTH, made

ROWS = range(48, 53)
NAMES = ("alpha", "E")


def table(rng: np.random.Generator, noise: float) -> dict[str, np.ndarray]:
    columns = {"params": 10 ** rng.uniform(7, 9, ROWS[-1]), "tokens": 10 ** rng.uniform(8.3, 10.3, ROWS[-1])}
    return made(TRUTH, columns, noise, rng).columns


def moves(seed: int, noise: float, draws: int = 200) -> np.ndarray:
    """(rows - 1, quantities, 2): how far each moves with one more row, over the width's quarter, and the
    width over that before."""
    columns = table(np.random.default_rng(seed), noise)
    fits = [
        sl.fit({name: each[:rows] for name, each in columns.items()}, law=LAW, bootstrap=draws, seed=seed)
        for rows in ROWS
    ]
    value = np.array([[fit.params[name] for name in NAMES] for fit in fits])
    width = np.array([[np.ptp(fit.intervals[name]) for name in NAMES] for fit in fits])
    return np.stack([np.abs(np.diff(value, axis=0)) / (width[:-1] / 4), width[1:] / width[:-1]], axis=-1)


def main(tables: int = 20, noise: float = 0.02) -> None:
    found = np.median([moves(seed, noise) for seed in range(tables)], axis=0)
    for rows, line in zip(ROWS[1:], found, strict=True):
        said = "".join(
            f"  {name} moves {step:.2f} errors, width x {wide:.2f}"
            for name, (step, wide) in zip(NAMES, line, strict=True)
        )
        print(f"{rows - 1} to {rows} rows{said}", flush=True)


if __name__ == "__main__":
    given = sys.argv[1:3]
    main(*(kind(each) for kind, each in zip((int, float), given, strict=False)))
