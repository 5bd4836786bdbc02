"""Learning curves out of the run folders of a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis import files
from analysis.tables import contents
from analysis.tables.table import Runs

_BINS = 28
_LOG_BYTES = 1 << 30
_BIN_WIDTH = 0.1


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Loss of one run on the way, averaged in bins even in log tokens: tokens, loss (n,); params a number.

    trunk: the run has no result of its own, its branches have. validated: the loss is that of validation, of
    runs that were validated while they trained; else of training.
    """

    run_id: str
    params: float
    tokens: np.ndarray
    loss: np.ndarray
    trunk: bool
    validated: bool = False


def learning_curves(runs: Runs, most: int = 120) -> tuple[LearningCurve, ...]:
    """The curves of the table's runs and of their trunks; of more than `most`, every k-th by params.

    Empty for tables that are no store. Lines that are torn, or without a finite positive loss, are left out.
    """
    folder = Path(runs.source) / "runs"
    if not runs.store or "run_id" not in runs.columns or not folder.is_dir():
        return ()
    wanted: dict[str, tuple[float, bool]] = {}
    trunks = runs.columns.get("trunk", [None] * len(runs))
    for run_id, trunk, params in zip(runs.columns["run_id"], trunks, runs.columns["params"], strict=True):
        wanted[str(run_id)] = float(params), False
        if isinstance(trunk, str) and trunk:
            wanted.setdefault(trunk, (float(params), True))
    order = sorted((name for name in wanted if np.isfinite(wanted[name][0])), key=lambda n: (wanted[n][0], n))
    order = order[:: -(-len(order) // most)] if order else []
    found = (_curve(folder, name, *wanted[name]) for name in order if contents.is_name(name))
    return tuple(curve for curve in found if curve is not None)


def _curve(runs: Path, run_id: str, params: float, trunk: bool) -> LearningCurve | None:
    try:
        content = files.read_bytes(runs / run_id / "metrics.jsonl", runs.parent, _LOG_BYTES)
    except (OSError, files.Refused):
        return None
    lines = [line for line in contents.log_lines(content)[0] if "tokens" in line and "loss_nats" in line]
    values = _points(lines, "val")
    if not (validated := len(values) >= 2):
        values = _points(lines, "train")
    if len(values) < 2:
        return None
    tokens, loss = values[np.argsort(values[:, 0], kind="stable")].T
    # A cooldown spans little of log tokens: as many bins as a trunk has would only show its noise.
    bins = int(np.clip(np.log(tokens[-1] / tokens[0]) / _BIN_WIDTH, 3, _BINS))
    edges = np.geomspace(tokens[0], tokens[-1] * (1 + 1e-12), bins + 1)
    place = np.clip(np.searchsorted(edges, tokens, side="right") - 1, 0, bins - 1)
    number = np.bincount(place, minlength=bins)
    full = number > 0
    mean_tokens = np.exp(np.bincount(place, np.log(tokens), bins)[full] / number[full])
    mean_loss = np.bincount(place, loss, bins)[full] / number[full]
    return LearningCurve(run_id, params, mean_tokens, mean_loss, trunk, validated)


def _points(lines: list[dict], kind: str) -> np.ndarray:
    """Tokens and finite positive losses (n, 2) of the lines of a kind; of training they name none."""
    points = [(line["tokens"], line["loss_nats"]) for line in lines if line.get("kind", "train") == kind]
    values = np.array(points, float).reshape(-1, 2)
    return values[np.isfinite(values).all(axis=1) & (values > 0).all(axis=1)]
