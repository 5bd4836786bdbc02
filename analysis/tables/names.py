"""Names of runs that stand for several: told, because a mean over them, or one of them, would be silent."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from analysis.tables.columns import normal

_CALLED = re.compile(r"^(run)?(name|id)$|^(run|experiment|exp|model|display)(name|id)?$")
_LOSSES = ("loss", "valloss", "evalloss", "finalloss", "lossnats")
# What differs among records of one run without making them other runs.
_CIRCUMSTANCE = re.compile(r"loss|time|date|state|status|created")
_SHOWN = 3


def doubled_names(columns: Mapping[str, np.ndarray]) -> str:
    """What to say where a name stands for several runs that differ in nothing but their loss; else nothing.

    A seed, a step or any other input that differs makes them repetitions or checkpoints of one run.
    """
    names = [name for name in columns if _CALLED.match(normal(name))]
    losses = [name for name in columns if normal(name) in _LOSSES]
    if not names or not losses:
        return ""
    loss = columns[losses[0]].tolist()
    inputs = [name for name in columns if name not in names and not _CIRCUMSTANCE.search(normal(name))]
    others = [columns[name].tolist() for name in inputs]
    for name in names:
        rows: dict[str, list[int]] = {}
        for row, value in enumerate(columns[name].tolist()):
            if value is not None and str(value).strip() not in ("", "nan", "None"):
                rows.setdefault(str(value), []).append(row)
        said = []
        for value, found in rows.items():
            different = sorted({_shown(loss[row]) for row in found})
            same = all(len({str(other[row]) for row in found}) == 1 for other in others)
            if len(different) > 1 and same:
                said.append(f"{value!r} with losses {' and '.join(different[:_SHOWN])}")
        if said:
            more = f" and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
            text = f"{len(said)} names stand for runs that differ in their loss alone, and all are kept: "
            return f"{text}{'; '.join(said[:_SHOWN])}{more}"
    return ""


def _shown(value) -> str:
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):
        return str(value)
