"""Rows as a solver sees them: centred logarithms."""

from __future__ import annotations

import numpy as np

from analysis.laws.law import Law
from analysis.solve.objectives import Rho
from analysis.tables.sample import Sample


def centred(rows: Sample, law: Law, rho: Rho) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Centred log inputs (inputs, n), log loss (n,), and the centre that leads back to the table's units.

    For raw residuals the loss keeps its unit, because Huber's corner is stated in it.
    """
    logs = np.log(np.stack([rows.inputs[name] for name in law.inputs]))
    middle = logs.mean(axis=1) * (not law.absolute)
    for name, other in law.alike.items():
        middle[law.inputs.index(name)] = middle[law.inputs.index(other)]
    for name in law.unscaled:
        middle[law.inputs.index(name)] = 0.0
    target = np.log(rows.loss)
    level = 0.0 if rho.raw or law.absolute else float(target.mean())
    centre = dict(zip(law.inputs, middle.tolist(), strict=True)) | {"loss": level}
    return logs - middle[:, None], target - level, centre
