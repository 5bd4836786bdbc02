"""One order of a table's rows, by what they hold.

Bootstrap draws, simulated tables, starts and folds are dealt out row by row, and sums round by their order:
in the table's own order a sorted file would give other intervals. Rows are put into this order before
anything is computed of them; what is told of single rows names their places in the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.tables.units import labelled

# The name of a run, where there is one, says which row is which, whatever was measured of it.
KEY = "run_id"


def ordered(
    columns: Mapping[str, np.ndarray], rows: np.ndarray, keys: Sequence[np.ndarray], named: bool
) -> np.ndarray:
    """`rows` (n,) of a table, reordered: by the name of the run where the table is `named` by them, then by
    the numbers in `keys`, each (n,), the first one first, then by the texts of all columns.

    Rows that this leaves in doubt are equal in every column.
    """
    if named and KEY in columns:
        keys = [labelled(columns[KEY][rows].tolist())[1], *keys]
    order = np.lexsort(list(reversed(keys)))
    same = np.ones(max(len(rows) - 1, 0), bool)
    for key in keys:
        values = key[order]
        both = (values[1:] == values[:-1]) | ((values[1:] != values[1:]) & (values[:-1] != values[:-1]))
        same &= both
    names = sorted(columns)
    for stretch in np.split(np.arange(len(rows)), np.flatnonzero(~same) + 1):
        if len(stretch) > 1:
            alike = order[stretch].tolist()
            texts = {i: [str(columns[name][rows[i]]) for name in names] for i in alike}
            order[stretch] = sorted(alike, key=texts.__getitem__)
    return rows[order]


def numbered(labels: np.ndarray) -> np.ndarray:
    """Labels (n,) as numbers in order of appearance."""
    _, first, index = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[index]
