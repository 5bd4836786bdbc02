"""Repeated data (Muennighoff et al., arXiv 2305.16264): the published half-lives, and lower optima."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from analysis.errors import InputError
from analysis.fits.fitting import fit
from analysis.laws.named import LAWS
from analysis.replicate.checks import Picture, Replication, most, near
from analysis.replicate.data import Folder
from analysis.replicate.sources import MUENNIGHOFF
from analysis.solve.centre import centred
from analysis.solve.estimator import minimise
from analysis.solve.objectives import objective
from analysis.tables.sample import sample
from analysis.tables.table import as_runs, read

LAW = LAWS["data-constrained-c4"]
PUBLISHED = {"R_D": 15.387756, "R_N": 5.309743}
# The bottom of the basin in which the published search stopped, and the lowest optimum that is known.
LOCAL = {"R_D": 15.37176, "R_N": 5.31513}
LOCAL_VALUE, LOWEST_VALUE = 0.0158259321, 0.015804663
# README of the source: params, tokens, loss, with 25e9 unique tokens.
EXAMPLES = ((6.34e9, 242e9, 2.2256441), (8.67e9, 178e9, 2.2269634))
UNIQUE, BUDGET = 25e9, 1e22


def replicate(folder: Folder) -> Replication:
    points = _points(folder)
    rows = sample(as_runs(points), LAW.inputs)
    rho = objective("huber", None, "log", None)
    x, target, centre = centred(rows, LAW, rho)
    local = minimise(LAW, x, target, rho, LAW.to_inner(PUBLISHED, centre)[None], direct=True)
    there = {name: float(value[0]) for name, value in LAW.to_public(local.theta, centre).items()}
    lowest = fit(points, law=LAW, bootstrap=0)
    checks = [
        near(f"optimum beside the published one: {name}", value, there[name], 1e-3, True)
        for name, value in LOCAL.items()
    ]
    checks += [
        near(f"published: {name}", value, there[name], 2e-3, True) for name, value in PUBLISHED.items()
    ]
    checks += [
        most("objective beside the published optimum", LOCAL_VALUE, float(local.value[0])),
        most("lowest objective", LOWEST_VALUE, lowest.objective.value),
        near("R2 of the published constants", 0.7722, _explained(PUBLISHED, rows), 5e-5),
    ]
    for params, tokens, loss in EXAMPLES:
        at = {"params": params, "tokens": tokens, "unique_tokens": UNIQUE}
        checks.append(
            near(f"loss at {params:.3g} params, {tokens:.3g} tokens", loss, LAW.loss(PUBLISHED, at), 1e-6)
        )
    params, loss = _best()
    checks += [
        near(
            "allocation of 1e22 FLOPs, 25e9 unique tokens: tokens", 237.21e9, BUDGET / 6 / params, 1e-4, True
        ),
        near("allocation of 1e22 FLOPs, 25e9 unique tokens: params", 7.0262e9, params, 1e-4, True),
        near("its loss", 2.2221292749, loss, 1e-8),
    ]
    found = ", ".join(f"{name} {value:.1f}" for name, value in lowest.params.items())
    remarks = (
        f"the published constants lie in a local optimum; the lowest found has {found}",
        "the data say little about R_D: its objective is flat over a factor of six",
    )
    return Replication(
        "muennighoff",
        "The worth of repeated data",
        "Muennighoff et al. 2023, arXiv 2305.16264",
        tuple(checks),
        _picture(),
        remarks,
    )


def _points(folder: Folder) -> dict[str, np.ndarray]:
    paths = folder.find(MUENNIGHOFF)[1]
    if "fit_subset_182.csv" in paths:
        runs = read(paths["fit_subset_182.csv"])
        return {name: runs.columns[name] for name in ("params", "tokens", "unique_tokens", "loss")}
    return _printed(paths["parametric_fit.ipynb"])


def _printed(path: Path) -> dict[str, np.ndarray]:
    """The last table of runs that the notebook prints: name, params, tokens, unique tokens, loss."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    tables = []
    for cell in cells:
        for output in cell.get("outputs", ()):
            lines = [line.split() for line in "".join(output.get("text", ())).splitlines()]
            rows = [line for line in lines if len(line) == 5 and all(map(_is_number, line[1:]))]
            if len(rows) > 100:
                tables.append(rows)
    if not tables:
        raise InputError(f"{path}: prints no table of runs")
    numbers = np.array([[float(value) for value in row[1:]] for row in tables[-1]])
    return dict(zip(("params", "tokens", "unique_tokens", "loss"), numbers.T, strict=True))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _explained(params, rows) -> float:
    residual = rows.loss - LAW.loss(params, rows.inputs)
    return 1 - float((residual**2).sum() / ((rows.loss - rows.loss.mean()) ** 2).sum())


def _best() -> tuple[float, float]:
    """(params, loss) of the lowest loss at the example's budget, by a refined grid."""
    low, high = np.log(1e8), np.log(1e11)
    for _ in range(8):
        grid = np.linspace(low, high, 401)
        loss = _at_budget(np.exp(grid))
        best = int(np.argmin(loss))
        low, high = grid[max(best - 2, 0)], grid[min(best + 2, 400)]
    return float(np.exp(grid[best])), float(loss[best])


def _at_budget(params: np.ndarray) -> np.ndarray:
    unique = np.full(len(params), UNIQUE)
    return LAW.loss(PUBLISHED, {"params": params, "tokens": BUDGET / 6 / params, "unique_tokens": unique})


def _picture() -> Picture:
    params = np.geomspace(1e9, 5e10, 80)
    fresh = LAW.loss(
        PUBLISHED, {"params": params, "tokens": BUDGET / 6 / params, "unique_tokens": BUDGET / 6 / params}
    )
    lines = {"25e9 unique tokens": (params, _at_budget(params)), "all tokens fresh": (params, fresh)}
    return Picture("params at 1e22 FLOPs", "loss, nats a token", {}, lines, y_log=False)
