"""The asymmetric absolute error of github.com/kyo-takano/chinchilla, and its allocation."""

from __future__ import annotations

import numpy as np

from analysis.fits.fitting import fit
from analysis.laws.frontier import optimum
from analysis.laws.named import LAWS
from analysis.replicate.checks import Picture, Replication, most, near
from analysis.replicate.data import Folder
from analysis.replicate.sources import KYO_TAKANO
from analysis.tables.table import read

PUBLISHED = {"E": 1.70024, "A": 184.69, "B": 1633.5, "alpha": 0.28901, "beta": 0.35579}
BUDGET, PARAMS, TOKENS = 1e24, 160.5e9, 1.04e12


def replicate(folder: Folder) -> Replication:
    runs = read(folder.find(KYO_TAKANO)[1]["df.csv"])
    law = fit(runs, objective="asymmetric", residual="raw", bootstrap=0)
    residual = runs.columns["loss"] - law.law.loss(
        PUBLISHED, {name: runs.columns[name] for name in law.law.inputs}
    )
    theirs = float((np.abs(residual) * np.where(residual < 0, 10, 1)).sum())
    params = float(np.exp(optimum(LAWS["chinchilla"], law.params, BUDGET)))
    checks = [near(name, value, law.params[name], 2e-4, True) for name, value in PUBLISHED.items()]
    checks += [
        most("objective, against the published constants", theirs, law.objective.value),
        near("params at 1e24 FLOPs", PARAMS, params, 2e-3, True),
        near("tokens at 1e24 FLOPs", TOKENS, BUDGET / 6 / params, 3e-3, True),
    ]
    flops = np.geomspace(1e18, 1e24, 40)
    points = {"runs": (runs.columns["flops"], runs.columns["params"])}
    lines = {"compute-optimal": (flops, np.exp(optimum(LAWS["chinchilla"], law.params, flops)))}
    return Replication(
        "kyo-takano",
        "An asymmetric fit, over-predictions weighted by ten",
        "github.com/kyo-takano/chinchilla 0.2",
        tuple(checks),
        Picture("training FLOPs", "params", points, lines),
    )
