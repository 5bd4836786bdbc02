"""The baseline without a network: interpolated modified Kneser-Ney over the tokens a model is trained on.

Chen and Goodman (1998, TR-10-98), with a discount for counts of one, two, and three or more at each order;
orders below the highest count the distinct tokens seen to the left. A context never reaches beyond its
window: positions before it hold a mark of their own, and what starts with that mark keeps its plain count,
as KenLM does for the start of a sentence (Heafield et al. 2013).

An n-gram is one whole number, its tokens the digits, the oldest first: counting is sorting, and a context is
its n-gram without the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lab.data.dataset import UNSCORED, Dataset
from lab.errors import InputError


@dataclass(frozen=True)
class Level:
    """The n-grams of one order, in rising order of their numbers, and their contexts."""

    grams_G: np.ndarray  # int64
    kept_G: np.ndarray  # (count - discount) / count of the context
    contexts_C: np.ndarray  # int64
    backoff_C: np.ndarray  # probability that is left to the order below
    discounts: tuple[float, float, float]


@dataclass(frozen=True)
class NGram:
    """Probabilities of the next token given up to order - 1 tokens before it."""

    vocab: int
    levels: tuple[Level, ...]  # orders 1, 2, ...

    @property
    def order(self) -> int:
        return len(self.levels)

    def nats(self, inputs_NxT: np.ndarray, targets_NxT: np.ndarray) -> np.ndarray:
        """Negative log-probability of each target, 0 where it is -1. Shape (N, T), float64."""
        scored_NxT = targets_NxT != UNSCORED
        codes_K = _codes(inputs_NxT, targets_NxT, self.order, self.vocab)[scored_NxT]
        nats_NxT = np.zeros(targets_NxT.shape)
        nats_NxT[scored_NxT] = -np.log(self.probability(codes_K))
        return nats_NxT

    def probability(self, codes_K: np.ndarray) -> np.ndarray:
        """p(last digit | digits before it) of n-grams of the highest order, shape (K,)."""
        base = self.vocab + 1
        p_K = np.full(len(codes_K), 1 / self.vocab)
        for order, level in enumerate(self.levels, 1):
            grams_K = codes_K % base**order
            place_K, known_K = _find(level.contexts_C, grams_K // base)
            p_K *= np.where(known_K, level.backoff_C[place_K], 1.0)
            place_K, known_K = _find(level.grams_G, grams_K)
            p_K += np.where(known_K, level.kept_G[place_K], 0.0)
        return p_K


def train(inputs_NxT: np.ndarray, targets_NxT: np.ndarray, order: int, vocab: int) -> NGram:
    """The model of windows; targets of -1 are not counted.

    Raises InputError if the order is below 1, too high for 63-bit numbers, or nothing is scored.
    """
    most = int(63 / np.log2(vocab + 1))
    if not 1 <= order <= most:
        raise InputError(f"--order: should lie between 1 and {most} for {vocab} tokens, is {order}")
    codes = _codes(inputs_NxT, targets_NxT, order, vocab)[targets_NxT != UNSCORED]
    if not len(codes):
        raise InputError("an n-gram model needs at least one scored token")
    base = vocab + 1
    grams_G, counts_G = np.unique(codes, return_counts=True)
    levels = []
    for n in range(order, 0, -1):
        levels.append(_level(grams_G, counts_G, base))
        if n > 1:
            grams_G, counts_G = _lower(grams_G, counts_G, base, n)
    return NGram(vocab, tuple(reversed(levels)))


def baseline(dataset: Dataset, order: int, tokens: int | None = None) -> dict:
    """The n-gram model of a data set's training split, scored on its fixed validation windows.

    Args:
        tokens: training tokens used, in the study's order; None: one epoch. An endless source needs a number.

    Returns:
        plain values: order, tokens, ngrams, discounts, loss_nats, bits_per_byte, windows.
    """
    whole = dataset.unique_tokens
    if tokens is None and whole is None:
        raise InputError(
            f"--max-tokens: source {dataset.config.label!r} has no end; say how many tokens to count"
        )
    used = whole if tokens is None else tokens if whole is None else min(tokens, whole)
    rows = max(1, used // dataset.context)
    inputs, targets = dataset.batches(0, 1, rows)
    model = train(inputs[0], targets[0], order, dataset.vocab_size)
    held = dataset.validation()
    nats = model.nats(held.inputs_WxT, held.targets_WxT).sum()
    return {
        "order": order,
        "tokens": rows * dataset.context,
        "ngrams": sum(len(level.grams_G) for level in model.levels),
        "discounts": [list(level.discounts) for level in model.levels],
        "loss_nats": float(nats / held.scored),
        "bits_per_byte": held.bits_per_byte(nats),
        "windows": len(held.bytes_W),
    }


def discounts(counts_G: np.ndarray) -> tuple[float, float, float]:
    """D1, D2, D3+ from the numbers of n-grams seen once to four times (Chen and Goodman 1998).

    Where one of those numbers is zero the estimate does not exist; then the discount is what absolute
    discounting takes from every count, Y, or 1/2 where that does not exist either. At least 1/100 is taken,
    so that no token is impossible.
    """
    n = [0, *(int((counts_G == c).sum()) for c in (1, 2, 3, 4))]
    y = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else 0.5
    found = [c - (c + 1) * y * n[c + 1] / n[c] if n[c] and n[c + 1] else y for c in (1, 2, 3)]
    return tuple(float(np.clip(d, 0.01, c)) for c, d in zip((1, 2, 3), found, strict=True))


def _level(grams_G: np.ndarray, counts_G: np.ndarray, base: int) -> Level:
    found = discounts(counts_G)
    taken_G = np.array([0.0, *found])[np.minimum(counts_G, 3)]
    contexts_C, first_C = np.unique(grams_G // base, return_index=True)
    total_C = np.add.reduceat(counts_G, first_C).astype(np.float64)
    size_C = np.diff(np.append(first_C, len(grams_G)))
    return Level(
        grams_G=grams_G,
        kept_G=(counts_G - taken_G) / np.repeat(total_C, size_C),
        contexts_C=contexts_C,
        backoff_C=np.add.reduceat(taken_G, first_C) / total_C,
        discounts=found,
    )


def _lower(grams_G, counts_G, base: int, n: int):
    """n-grams of order n - 1 and what they count: distinct tokens to the left, or occurrences at a "
    "window's start."""
    shorter_G = grams_G % base ** (n - 1)
    at_start_G = shorter_G // base ** (n - 2) == base - 1 if n > 2 else np.zeros(len(grams_G), bool)
    weights_G = np.where(at_start_G, counts_G, 1)
    order_G = np.argsort(shorter_G, kind="stable")
    grams, first = np.unique(shorter_G[order_G], return_index=True)
    return grams, np.add.reduceat(weights_G[order_G], first)


def _codes(inputs_NxT, targets_NxT, order: int, vocab: int) -> np.ndarray:
    """Each position's n-gram as one number, (N, T) int64; the mark before a window is the digit `vocab`."""
    base = vocab + 1
    codes_NxT = np.asarray(targets_NxT, np.int64).copy()
    T = codes_NxT.shape[1]
    for back in range(order - 1):
        digit_NxT = np.full(codes_NxT.shape, vocab, np.int64)
        digit_NxT[:, back:] = inputs_NxT[:, : max(T - back, 0)]
        codes_NxT += digit_NxT * base ** (back + 1)
    return codes_NxT


def _find(sorted_G: np.ndarray, wanted_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    place_K = np.minimum(np.searchsorted(sorted_G, wanted_K), len(sorted_G) - 1)
    return place_K, sorted_G[place_K] == wanted_K
