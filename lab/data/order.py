"""The one order of a study: which row each sequence is. No state, so a resume needs only the step.

Sequences are numbered 0, 1, 2, ... without end. Step s of batch size B covers [s*B, (s+1)*B), so runs of
every batch size see the same stream.
"""

from __future__ import annotations

import numpy as np

from lab.draws import Draws

# Up to so many rows the permutation of an epoch is drawn and kept (32 MB); beyond, it is computed row by row.
MOST_KEPT = 1 << 22
_ROUNDS = 6


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
        return self.of(sequences)

    def of(self, sequences_N: np.ndarray) -> np.ndarray:
        """Row numbers of any sequences of finite data, int64."""
        epochs, places = np.divmod(sequences_N, self.unique)
        numbers = np.unique(epochs)
        if len(numbers) == 1:
            return self._permuted(int(numbers[0]), places)
        rows = np.empty(len(sequences_N), np.int64)
        for epoch in numbers:
            rows[epochs == epoch] = self._permuted(int(epoch), places[epochs == epoch])
        return rows

    def _permuted(self, epoch: int, places: np.ndarray) -> np.ndarray:
        if self.unique > MOST_KEPT:
            return feistel(places, self.unique, Draws("feistel", self.seed, epoch).raw(_ROUNDS))
        last = self._last
        if last is None or last[0] != epoch:
            last = (epoch, Draws("epoch", self.seed, epoch).permutations(1, self.unique)[0])
            self._last = last
        return last[1][places]


def feistel(places_N: np.ndarray, size: int, keys: np.ndarray) -> np.ndarray:
    """A permutation of 0 .. size - 1 at the places asked for, by a key a round, without memory.

    A balanced Feistel network (Luby and Rackoff 1988) permutes the numbers of an even number of bits; one
    that it sends beyond `size` is sent on until it lies below (Black and Rogaway 2002), three times more in
    the worst mean.
    """
    half = np.uint64((max(int(size - 1).bit_length(), 2) + 1) // 2)
    low = np.uint64((1 << int(half)) - 1)
    found = np.asarray(places_N).astype(np.uint64)
    todo = np.arange(len(found))
    while len(todo):
        left, right = found[todo] >> half, found[todo] & low
        for key in keys:
            left, right = right, left ^ (_mixed(right + key) & low)
        found[todo] = (left << half) | right
        todo = todo[found[todo] >= size]
    return found.astype(np.int64)


def _mixed(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014); whole numbers modulo 2^64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
