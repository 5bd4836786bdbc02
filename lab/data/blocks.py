"""Sequences that are computed, a block at a time, instead of stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache

import numpy as np

BLOCK = 1024  # sequences
KEPT = 8  # blocks remembered: runs of one process may stand at different steps


class Blocks:
    """Training rows made by a pure function of the block number.

    `make(j)` gives inputs and targets (BLOCK, T) of block j in a small integer type. Endless when `unique` is
    None; otherwise the first `unique` rows are made once and kept.
    """

    def __init__(self, make: Callable[[int], tuple[np.ndarray, np.ndarray]], unique: int | None):
        self.unique = unique
        self._make = lru_cache(maxsize=KEPT)(make)
        self._all: tuple[np.ndarray, np.ndarray] | None = None
        if unique is not None:
            blocks = [make(j) for j in range(-(-unique // BLOCK))]
            inputs, targets = (np.concatenate(part)[:unique] for part in zip(*blocks, strict=True))
            self._all = (inputs, targets)

    def take(self, rows_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets (N, T), int32. Rows of an endless stream are asked for in a run of numbers."""
        if self._all is not None:
            inputs, targets = self._all
            return inputs[rows_N].astype(np.int32), targets[rows_N].astype(np.int32)
        parts = []
        row, beyond = int(rows_N[0]), int(rows_N[-1]) + 1
        while row < beyond:
            j, place = divmod(row, BLOCK)
            inputs, targets = self._make(j)
            run = slice(place, min(place + beyond - row, BLOCK))
            parts.append((inputs[run], targets[run]))
            row += run.stop - run.start
        inputs, targets = (np.concatenate(part, dtype=np.int32) for part in zip(*parts, strict=True))
        return inputs, targets


def fingerprint(*arrays: np.ndarray) -> str:
    """SHA-256 (hex) of arrays of whole numbers: it changes with the code that made them."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(str(array.shape).encode())
        total.update(np.ascontiguousarray(array, "<i8"))
    return total.hexdigest()
