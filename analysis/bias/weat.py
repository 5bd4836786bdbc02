"""The word-embedding association test (Caliskan, Bryson and Narayanan 2017, arXiv 1608.07187)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from analysis import files
from analysis.errors import InputError

# So many partitions are all tried; of more, so many are drawn.
ALL, DRAWS = 20_000, 10_000
_BYTES = 1 << 40
_LONGEST = 1 << 20  # of a line


@dataclass(frozen=True)
class Weat:
    """Are words X nearer to attributes A, and words Y to B? effect_size: in standard deviations, within about
    -2 and 2. p_value: of partitions of X and Y into two sets of these sizes, those that part at least as
    much; `exact` when all were tried."""

    effect_size: float
    statistic: float
    p_value: float
    partitions: int
    exact: bool
    sizes: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def associations(words: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """s(w, A, B) (words,): mean cosine to A less mean cosine to B; rows are vectors."""
    words, a, b = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (words, a, b))
    return (words @ a.T).mean(axis=1) - (words @ b.T).mean(axis=1)


def weat(
    x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> Weat:
    """The test on vectors, each (words, dimensions): targets x and y, attributes a and b.

    The standard deviation of the effect size is that of a sample (ddof 1) over X and Y together. The test is
    one-sided, as published; the observed partition is one of those counted, so that p is never 0.

    Raises InputError for sets of fewer than two targets, vectors of other lengths, zero vectors, and targets
    whose associations are all equal.
    """
    _check({"X": x, "Y": y, "A": a, "B": b}, draws)
    found = associations(np.concatenate([x, y]), a, b)
    spread = float(found.std(ddof=1))
    if spread <= 1e-12:
        raise InputError("all targets have one association: there is nothing to part them by")
    size, count = len(x), len(found)
    statistic = float(found[:size].sum() - found[size:].sum())
    effect = float(found[:size].mean() - found[size:].mean()) / spread
    whole = math.comb(count, size)
    exact = whole <= ALL
    if exact:
        chosen = np.array(list(combinations(range(count), size)))
        extra = 0
    else:
        rng = np.random.default_rng(seed)
        chosen = np.argsort(rng.random((draws, count)), axis=1)[:, :size]
        extra = 1
    sums = 2 * found[chosen].sum(axis=1) - found.sum()
    more = int((sums >= statistic - 1e-12 * max(1.0, abs(statistic))).sum())
    p_value = (more + extra) / (len(chosen) + extra)
    sizes = {"X": len(x), "Y": len(y), "A": len(a), "B": len(b)}
    return Weat(effect, statistic, p_value, whole if exact else draws, exact, sizes)


def _check(sets: Mapping[str, np.ndarray], draws: int) -> None:
    problems = []
    for name, vectors in sets.items():
        least = 2 if name in "XY" else 1
        if vectors.ndim != 2 or len(vectors) < least:
            problems.append(f"{name}: needs {least} words or more")
        elif not np.isfinite(vectors).all() or not np.linalg.norm(vectors, axis=1).all():
            problems.append(f"{name}: has a vector that is zero or no number, whose direction nobody knows")
    if not problems and len({vectors.shape[1] for vectors in sets.values()}) > 1:
        problems.append("the vectors differ in length")
    if draws < 100:
        problems.append(f"--draws: should be at least 100, is {draws}")
    if problems:
        raise InputError(*problems)


def read_vectors(path: Path, words: Sequence[str]) -> dict[str, np.ndarray]:
    """The vectors of these words out of a text file: a word a line and its numbers, parted by spaces, tabs or
    commas, as GloVe and word2vec write them. Lines of other words are passed over.

    Raises InputError where a word is missing or its line is damaged.
    """
    wanted, found = set(words), {}
    with files.opened(path, limit=_BYTES) as file:
        while line := file.readline(_LONGEST):
            text = line.decode("utf-8", "replace").strip()
            parts = text.replace(",", " ").replace("\t", " ").split()
            if not parts or parts[0] not in wanted or parts[0] in found:
                continue
            try:
                vector = np.array([float(part) for part in parts[1:]])
            except ValueError:
                raise InputError(f"{path}: the line of {parts[0]!r} holds more than numbers") from None
            if len(vector) < 2:
                raise InputError(f"{path}: the line of {parts[0]!r} has no vector")
            found[parts[0]] = vector
    if missing := [word for word in dict.fromkeys(words) if word not in found]:
        shown = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
        raise InputError(f"{path}: has no vector of {shown}")
    if len({len(vector) for vector in found.values()}) > 1:
        raise InputError(f"{path}: the vectors differ in length")
    return found
