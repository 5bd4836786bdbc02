"""The fifteen exponents of Porian et al. (arXiv 2406.19146): what N counts, warmup, decay, tuning."""

from __future__ import annotations

import numpy as np

from analysis.isoflops.lines import power_law
from analysis.replicate.checks import Check, Picture, Replication, near
from analysis.replicate.data import Folder
from analysis.replicate.sources import PORIAN
from analysis.tables.table import Runs, read

KEY = ("dataset", "hparams", "warmup", "decay", "param_count", "val")
WORDS = {"rw": "RefinedWeb", "owt2": "OpenWebText2"}


def replicate(folder: Folder) -> Replication:
    paths = folder.find(PORIAN)[1]
    optima, published = (
        read(paths["isoflop_optima.csv"]),
        read(paths["published_fits.csv"], {"params": "param_count"}),
    )
    labels = _labels(optima)
    checks: list[Check] = []
    points, lines = {}, {}
    for row, label in enumerate(_labels(published)):
        here = labels == label
        flops, params = (optima.columns[name][here].astype(float) for name in ("flops", "n"))
        weight = optima.columns["n_star_std"][here].astype(float) ** -2
        # Budgets without an interior minimum have no optimum.
        found = np.isfinite(params) & np.isfinite(weight)
        flops, params, weight = flops[found], params[found], weight[found]
        exponent, coefficient = power_law(flops, params, weight)
        expected = float(published.columns["bs_median_weighted.n_exponent"][row])
        checks.append(near(label, expected, exponent, 5e-6))
        if label.startswith(("RefinedWeb, base", "RefinedWeb, tuned")) and "attention" not in label:
            short = label.removeprefix("RefinedWeb, ")
            points[short] = (flops, params)
            lines[f"{short}: {exponent:.3f}"] = (flops, coefficient * flops**exponent)
    picture = Picture("training FLOPs", "params of the lowest loss", points, lines)
    return Replication(
        "porian",
        "Kaplan's and Chinchilla's exponents reconciled by experiment",
        "Porian et al. 2024, arXiv 2406.19146",
        tuple(checks),
        picture,
        ("the exponent is that of a line through the logs, weighted by the published 1/sd^2",),
    )


def _labels(runs: Runs) -> np.ndarray:
    columns = [[str(value) for value in runs.columns[name].tolist()] for name in KEY]
    return np.array(
        [
            f"{WORDS[data]}, {hparams} {warmup} warmup, {decay} decay, N as {count}, {val} loss"
            for data, hparams, warmup, decay, count, val in zip(*columns, strict=True)
        ]
    )
