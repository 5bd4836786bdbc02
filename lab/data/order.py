"""The one order of a study: which row each sequence is. No state, so a resume needs only the step.

Sequences are numbered 0, 1, 2, ... without end. Step s of batch size B covers [s*B, (s+1)*B), so runs of
every batch size see the same stream.
"""

from __future__ import annotations

import numpy as np

from lab.draws import Draws


class Order:
    """Rows in the order of training: an endless stream as it comes, finite data permuted anew every epoch."""

    def __init__(self, seed: int, unique: int | None):
        self.seed = seed
        self.unique = unique
        self._last: tuple[int, np.ndarray] | None = (
            None  # a memo of a pure function: drop it and nothing changes
        )

    def rows(self, first: int, count: int) -> np.ndarray:
        """Row numbers of the sequences first, ..., first + count - 1, int64."""
        sequences = np.arange(first, first + count, dtype=np.int64)
        if self.unique is None:
            return sequences
        epoch = first // self.unique
        start = first - epoch * self.unique
        if start + count <= self.unique:
            return self._permutation(epoch)[start : start + count]
        epochs, places = np.divmod(sequences, self.unique)
        return np.concatenate([self._permutation(int(e))[places[epochs == e]] for e in np.unique(epochs)])

    def _permutation(self, epoch: int) -> np.ndarray:
        last = self._last
        if last is None or last[0] != epoch:
            last = (epoch, Draws("epoch", self.seed, epoch).permutations(1, self.unique)[0])
            self._last = last
        return last[1]
