"""How the rows of a table say that a run ended well, or did not, or that they are no run at all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.tables.columns import normal

FINISHED = frozenset(["ok", "finished", "complete", "completed", "done", "success", "succeeded"])

# Columns of yes and no that say how a run ended, and which of both is bad.
_FLAGS = dict.fromkeys(
    ("diverged", "isdiverged", "crashed", "failed", "killed", "oom", "isnan", "hasnan"), True
)
_FLAGS |= dict.fromkeys(("finished", "completed", "isfinished", "iscompleted"), False)


# What the last row of a spreadsheet is called that sums up those above it.
_SUMMARIES = frozenset(
    [
        "average",
        "averages",
        "avg",
        "mean",
        "median",
        "total",
        "sum",
        "std",
        "mittelwert",
        "durchschnitt",
        "summe",
        "gesamt",
        "moyenne",
        "somme",
        "promedio",
        "suma",
        "media",
    ]
)


def unfinished(columns: Mapping[str, np.ndarray], roles: Mapping[str, str], store: bool) -> np.ndarray:
    """For each row why its run did not end well, as its status or a flag says, or that it is none: a last row
    that sums up the others. An empty text where nothing is said.

    store: whether the table is a store's, whose status says all.
    """
    rows = max((len(values) for values in columns.values()), default=0)
    reasons = np.full(rows, "", object)
    status = columns.get(roles.get("status", ""))
    if status is not None:
        for row, value in enumerate(status.tolist()):
            if str(value).strip().lower() not in FINISHED:
                reasons[row] = f"status is {value!r}, not 'ok'"
    for name, values in columns.items():
        bad = _FLAGS.get(normal(name))
        if bad is None or name in roles.values() or store:
            continue
        for row in np.flatnonzero((truth(values) == bad) & (reasons == "") & _said(values)):
            reasons[row] = f"{name} is {values[row]}"
    for name, values in columns.items():
        last = values[-1] if rows and not store else None
        if isinstance(last, str) and last.strip().lower().rstrip(":.") in _SUMMARIES and not reasons[-1]:
            reasons[-1] = f"{name} is {last!r}: a summary of the rows above, no run"
    return reasons


def truth(values: np.ndarray) -> np.ndarray:
    """Booleans, 0 and 1, or the words true and yes."""
    words = {"true", "yes", "1", "1.0", "t", "y"}
    return np.array([str(value).strip().lower() in words for value in values.tolist()], bool)


def _said(values: np.ndarray) -> np.ndarray:
    """Where a cell says yes or no at all."""
    words = {"true", "false", "yes", "no", "1", "0", "1.0", "0.0", "t", "f", "y", "n"}
    return np.array([str(value).strip().lower() in words for value in values.tolist()], bool)
