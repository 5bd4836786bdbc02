"""Random numbers by key: the same bits on every machine, for any order of calls.

Only the raw 64-bit stream of Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") is
used: NumPy promises that stream, but not that the methods of `Generator` draw the same values in every
version.
"""

from __future__ import annotations

import hashlib

import numpy as np

_LOW_32 = np.uint64(0xFFFFFFFF)
_SHIFT_32 = np.uint64(32)


class Draws:
    """A stream of random integers, fully given by its key.

    Two streams with different keys are independent for every practical purpose: the 128-bit Philox key is
    the head of a SHA-256 over the parts.
    """

    def __init__(self, *key: str | int):
        digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
        self._bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))

    def raw(self, count: int) -> np.ndarray:
        """`count` uniform uint64."""
        return self._bits.random_raw(count)

    def uint32(self, *shape: int) -> np.ndarray:
        """Uniform integers in [0, 2^32) of the given shape, as uint64 so that products of two fit."""
        count = int(np.prod(shape))
        halves = self.raw((count + 1) // 2)
        both = np.stack([halves & _LOW_32, halves >> _SHIFT_32], axis=1)
        return both.reshape(-1)[:count].reshape(shape)

    def below(self, limit: int | np.ndarray, *shape: int) -> np.ndarray:
        """Integers in [0, limit), int64. The bias of multiply-and-shift is below limit / 2^32."""
        return ((self.uint32(*shape) * np.asarray(limit, np.uint64)) >> _SHIFT_32).astype(np.int64)

    def permutations(self, rows: int, size: int) -> np.ndarray:
        """`rows` independent permutations of 0..size-1, int64 of shape (rows, size)."""
        return np.argsort(self.raw(rows * size).reshape(rows, size), axis=1, kind="stable")

    def choice(self, weights: np.ndarray, count: int) -> np.ndarray:
        """`count` indices drawn in proportion to `weights` (probabilities rounded to 2^-32), int64."""
        return np.searchsorted(thresholds(weights), self.uint32(count), side="right")


def thresholds(weights: np.ndarray) -> np.ndarray:
    """Cumulative probabilities in units of 2^-32, without the last (2^32): shape (len(weights) - 1,),
    uint64.

    Index k is drawn when a uniform 32-bit integer is at or above k of these thresholds.
    """
    cumulative = np.cumsum(np.asarray(weights, np.float64))
    return np.floor(cumulative[:-1] / cumulative[-1] * 2.0**32).astype(np.uint64)
