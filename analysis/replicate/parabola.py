"""The bias of IsoFLOP parabolas on noise-free Chinchilla surfaces; no data are needed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.laws.frontier import optimum
from analysis.laws.named import LAWS
from analysis.replicate.checks import Picture, Replication, near

SURFACE = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
ASYMMETRIC = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.465, "beta": 0.155}
WIDTHS = (2.0, 4.0, 8.0, 16.0)
# Percent by which tokens at 1e24 FLOPs are missed by parabolas through 5 budgets of 15 sizes.
PUBLISHED = {"chinchilla": (-0.327, -1.301, -2.903, -5.100), "asymmetric": (-1.675, -6.498, -13.910, -23.116)}


def miss(law: Mapping[str, float], width: float, target: float = 1e24) -> float:
    """Percent error of tokens at `target` FLOPs by parabolas over sizes within width^+-1."""
    flops = np.geomspace(1e17, 1e21, 5)
    best = optimum(LAWS["chinchilla"], law, flops)
    around = np.linspace(-np.log(width), np.log(width), 15)
    minima = []
    for budget, middle in zip(flops, best, strict=True):
        params = np.exp(middle + around)
        loss = LAWS["chinchilla"].loss(law, {"params": params, "tokens": budget / 6 / params})
        curve = np.polyfit(around, loss, 2)
        minima.append(middle - curve[1] / (2 * curve[0]))
    slope, level = np.polyfit(np.log(flops), np.log(flops / 6) - np.array(minima), 1)
    tokens = level + slope * np.log(target)
    true = np.log(target / 6) - float(optimum(LAWS["chinchilla"], law, target))
    return 100 * float(np.expm1(tokens - true))


def replicate() -> Replication:
    surfaces = {"chinchilla": SURFACE, "asymmetric": ASYMMETRIC}
    checks = []
    lines = {}
    for name, law in surfaces.items():
        got = [miss(law, width) for width in WIDTHS]
        for width, published, obtained in zip(WIDTHS, PUBLISHED[name], got, strict=True):
            checks.append(near(f"{name} surface, sizes within x{width:g}, %", published, obtained, 1e-3))
        lines[f"{name} surface"] = (np.array(WIDTHS), np.array(got))
    picture = Picture("width of the grid of sizes (factor)", "error of tokens, %", {}, lines, y_log=False)
    return Replication(
        "parabola",
        "IsoFLOP parabolas are biased without any noise",
        "Open-Athena/scaling-law-analysis 2026",
        tuple(checks),
        picture,
    )
