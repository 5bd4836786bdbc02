"""From what a model gave on each item to scores with their errors. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class ItemScores:
    """N items of one task, one model.

    ``nats_N`` sums over the answer's ``tokens_N`` tokens. ``correct_N`` is the exact match. With choices,
    ``choice_log_NxC`` are log-probabilities among them (-inf where an item has fewer) and ``gold_choice_N``
    says which is right. What was decoded is there if it was: ``texts``, whether an answer could be read
    from each (``parsed_N``), and the edits between it and the right one (``edits_N``).
    """

    task: str
    chance: Mapping[str, float | None]
    correct_N: np.ndarray
    nats_N: np.ndarray
    tokens_right_N: np.ndarray
    tokens_N: np.ndarray
    difficulty_N: np.ndarray
    cluster_N: np.ndarray
    factors: Mapping[str, np.ndarray] = field(default_factory=dict)
    choice_log_NxC: np.ndarray | None = None
    gold_choice_N: np.ndarray | None = None
    choice_bytes_NxC: np.ndarray | None = None  # lengths, where choices are texts of several tokens
    texts: list[str] | None = None
    parsed_N: np.ndarray | None = None
    edits_N: np.ndarray | None = None
    remarks: tuple[tuple[str, str], ...] = ()  # (code, sentence) of what a reader should know of these scores

    def __len__(self) -> int:
        return len(self.correct_N)


def rows(scores: ItemScores) -> list[dict]:
    """The rows of the table: exact_match, token_accuracy and gold_nats, each with its clustered error "
    "``se``."""
    N, tokens = len(scores), int(scores.tokens_N.sum())
    exact, right = int(scores.correct_N.sum()), int(scores.tokens_right_N.sum())
    return [
        _row(scores, "exact_match", exact / N, exact, N, scores.correct_N, np.ones(N)),
        _row(scores, "token_accuracy", right / tokens, right, tokens, scores.tokens_right_N, scores.tokens_N),
        _row(scores, "gold_nats", scores.nats_N.sum() / tokens, None, N, scores.nats_N, scores.tokens_N),
    ]


def more_rows(scores: ItemScores) -> list[dict]:
    """What else can be said: of choices, and of decoded answers.

    choice_accuracy: the right choice is the likeliest; choice_accuracy_norm: by log-probability a byte;
    choice_nats: its negative log-probability among the choices; brier: squared distance of the
    probabilities from the right choice, summed over choices (0 to 2, less is better). edit_distance:
    Levenshtein's, over the length of the right answer (less is better); parse_rate: decoded texts that an
    answer could be read from.
    """
    N = len(scores)
    ones = np.ones(N)
    found = []
    if scores.choice_log_NxC is not None:
        log_NxC, gold_N = log_softmax(scores.choice_log_NxC), scores.gold_choice_N
        right_N = log_NxC.argmax(1) == gold_N
        nats_N = -log_NxC[np.arange(N), gold_N]
        found.append(_row(scores, "choice_accuracy", right_N.mean(), int(right_N.sum()), N, right_N, ones))
        if scores.choice_bytes_NxC is not None:
            norm_N = (scores.choice_log_NxC / np.maximum(scores.choice_bytes_NxC, 1)).argmax(1) == gold_N
            correct = int(norm_N.sum())
            found.append(_row(scores, "choice_accuracy_norm", norm_N.mean(), correct, N, norm_N, ones))
        brier_N = brier(np.exp(log_NxC), gold_N)
        found.append(_row(scores, "choice_nats", nats_N.mean(), None, N, nats_N, ones))
        found.append(_row(scores, "brier", brier_N.mean(), None, N, brier_N, ones))
    if scores.edits_N is not None:
        share_N = scores.edits_N / np.maximum(scores.tokens_N, 1)
        found.append(_row(scores, "edit_distance", share_N.mean(), None, N, share_N, ones))
    if scores.parsed_N is not None:
        parsed = int(scores.parsed_N.sum())
        found.append(_row(scores, "parse_rate", parsed / N, parsed, N, scores.parsed_N, ones))
    return found


def by_factor(scores: ItemScores, names: tuple[str, ...]) -> list[dict]:
    """Exact match and mean gold nats of each combination of the named factors: a needle's map, "
    "carries, ..."""
    columns = [np.asarray(scores.factors[name]) for name in names]
    keys, group_N = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    group_N = group_N.reshape(-1)
    counts = np.bincount(group_N)
    correct = np.bincount(group_N, scores.correct_N)
    nats = np.bincount(group_N, scores.nats_N) / np.bincount(group_N, scores.tokens_N)
    return [
        {
            **dict(zip(names, map(int, key), strict=True)),
            "items": int(n),
            "exact_match": float(c / n),
            "gold_nats": float(v),
        }
        for key, n, c, v in zip(keys, counts, correct, nats, strict=True)
    ]


def clustered_error(values_N: np.ndarray, weights_N: np.ndarray, cluster_N: np.ndarray) -> float:
    """Standard error of sum(values) / sum(weights), where items of one cluster may agree.

    Deviations are summed within clusters before they are squared (Miller 2024, 2411.00640),
    with the correction C / (C - 1) for C clusters. NaN with one cluster.
    """
    mean = values_N.sum() / weights_N.sum()
    sums = np.bincount(np.unique(cluster_N, return_inverse=True)[1], values_N - mean * weights_N)
    if len(sums) < 2:
        return float("nan")
    return float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / weights_N.sum())


def brier(probabilities_NxC: np.ndarray, gold_N: np.ndarray) -> np.ndarray:
    """Sum over choices of (probability - 1[right])^2, (N,): Brier 1950."""
    target = np.arange(probabilities_NxC.shape[1]) == gold_N[:, None]
    return ((probabilities_NxC - target) ** 2).sum(1)


def log_softmax(log_NxC: np.ndarray) -> np.ndarray:
    """Normalised over the last axis; -inf stays."""
    top = log_NxC.max(axis=-1, keepdims=True)
    return log_NxC - top - np.log(np.exp(log_NxC - top).sum(axis=-1, keepdims=True))


def edit_distance(one, other) -> int:
    """Levenshtein's: insertions, deletions and substitutions that turn one sequence into the other."""
    one, other = np.asarray(one), np.asarray(other)
    ahead = np.arange(len(other) + 1)
    row = ahead.copy()
    for i, symbol in enumerate(one, 1):
        below = np.minimum(row[1:] + 1, row[:-1] + (other != symbol))
        # an insertion costs one a place, so the best over all of them is a running minimum
        row = np.minimum.accumulate(np.concatenate([[i], below]) - ahead) + ahead
    return int(row[-1])


def _row(scores, metric, score, correct, items, values_N, weights_N) -> dict:
    se = clustered_error(np.asarray(values_N, float), np.asarray(weights_N, float), scores.cluster_N)
    return {
        "task": scores.task,
        "metric": metric,
        "score": float(score),
        "correct": correct,
        "items": items,
        "chance": scores.chance.get(metric),
        "se": se if np.isfinite(se) else None,
    }
