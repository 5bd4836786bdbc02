"""Models without a network beside the runs of a store: `baselines/<data>.json`, which `lab run` writes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from analysis import files
from analysis.tables.table import Runs

FOLDER = "baselines"
_NUMBERS = ("order", "tokens", "ngrams", "bytes", "loss_nats", "cpu_seconds")


def baselines(runs: Runs) -> list[dict[str, Any]]:
    """source, order, tokens, ngrams, bytes, loss_nats, cpu_seconds of each that is whole."""
    folder = Path(runs.source) / FOLDER
    if not runs.store or folder.is_symlink():
        return []
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            one = files.read_json(path, Path(runs.source))
        except (OSError, files.Refused):
            continue
        if (
            isinstance(one, dict)
            and isinstance(one.get("source"), str)
            and all(_positive(one.get(n)) for n in _NUMBERS)
        ):
            found.append(one)
    return found


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
