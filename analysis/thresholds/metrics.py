"""Which measures there are, which way is up, and on what scale each may be straight.

A detector that takes an edit distance for an accuracy calls every ability inverse. So every metric is
declared here, and one that is not is refused by name.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

RESOLUTION = 2.0**-25  # nats; single precision rounds a log-probability nearer to 0 than that to 0
_SMALLEST = 1e-4  # of a measure that can be exactly 0, where its items are not known
_BOUNDED = 1e-3  # nearest to 0 and 1 that a share without known items is taken


@dataclass(frozen=True)
class Metric:
    """kind: `count` (whole items right), `share` (mean of a measure in [0, 1] of each item), `bounded`
    (either, with unknown items: fitted in logits), `positive` (no upper end: fitted on its logarithm) or
    `perplexity` (at least 1: its logarithm is in nats). lower: less is better. zero: may be exactly 0.
    percent: published on 0 to 100 as often as on 0 to 1. rank: the lowest serves as the continuous companion
    of a thresholded score of the same task; None for one that is none."""

    kind: str
    lower: bool = False
    zero: bool = False
    percent: bool = False
    rank: int | None = None

    @property
    def proportion(self) -> bool:
        """Bounded by 0 and 1, so that items bound its error: p (1 - p) / items at most."""
        return self.kind in ("count", "share")

    @property
    def nats(self) -> bool:
        """A loss, whose exponential is a probability."""
        return self.kind == "perplexity" or (self.kind == "positive" and self.lower and not self.zero)

    @property
    def unit(self) -> str:
        """Of `value`, and so of the seed sd."""
        return (
            "log nats" if self.nats else "logits" if self.kind in ("count", "share", "bounded") else "its log"
        )

    def value(self, score: np.ndarray, items: np.ndarray) -> np.ndarray:
        """The score on the scale of fits, where up is better (of counted proportions: see `likelihood`)."""
        if self.kind == "perplexity":
            return -np.log(np.log(score))
        if self.kind == "bounded":
            inside = np.clip(score, _BOUNDED, 1 - _BOUNDED)
            return np.log(inside / (1 - inside))
        known = np.nan_to_num(items)
        least = np.where(known > 0, 0.5 / np.maximum(known, 1.0), _SMALLEST) if self.zero else 0.0
        return (-1.0 if self.lower else 1.0) * np.log(np.maximum(score, least))

    def score(self, value: np.ndarray) -> np.ndarray:
        """Inverse of `value`."""
        if self.kind == "perplexity":
            return np.exp(np.exp(-value))
        if self.kind == "bounded":
            return expit(value)
        return np.exp(-value if self.lower else value)

    def error(self, score: np.ndarray, error: np.ndarray) -> np.ndarray:
        """Standard error of `value` from that of the score."""
        if self.kind == "perplexity":
            return error / (score * np.log(score))
        if self.kind == "bounded":
            inside = np.clip(score, _BOUNDED, 1 - _BOUNDED)
            return error / (inside * (1 - inside))
        return error / np.maximum(score, _SMALLEST)


_COUNT = Metric("count")
_LOSS = Metric("positive", lower=True, rank=2)
_LESS = Metric("positive", lower=True, zero=True, rank=6)
_TEXT = Metric("share", percent=True, rank=7)

_NAMES: tuple[tuple[Metric, str], ...] = (
    (_COUNT, "exact_match em acc accuracy acc_norm len_norm acc_bytes acc_mutual_info choice_accuracy"),
    (_COUNT, "acc_raw acc_per_token acc_per_char acc_per_byte acc_uncond"),  # of OLMES
    (_COUNT, "choice_accuracy_norm multiple_choice_grade exact_str_match mc1 pass_at_1 pass@1"),
    (Metric("positive", lower=True, rank=0), "gold_nats"),
    (Metric("positive", lower=True, rank=1), "choice_nats"),
    (_LOSS, "bits_per_byte bpb bits_per_token nll loss cross_entropy"),
    (Metric("perplexity", lower=True, rank=3), "perplexity ppl word_perplexity byte_perplexity"),
    (Metric("share", rank=4), "gold_probability choice_probability soft prob likelihood mc2"),
    (Metric("share", rank=5), "token_accuracy"),
    (_LESS, "brier brier_score edit_distance cer wer ter"),
    (_TEXT, "bleu chrf rouge rouge1 rouge2 rougel meteor f1 f1_score"),
    (Metric("positive"), "knowledge_bits bits_per_param"),
)
KNOWN: dict[str, Metric] = {name: metric for metric, names in _NAMES for name in names.split()}
# Nothing, or next to nothing, is right by chance, so that its level needs no telling.
NO_CHANCE = ("exact_match", "em", "exact_str_match", "pass_at_1", "pass@1")
_ENDINGS = {"nats": _LOSS, "accuracy": _COUNT, "acc": _COUNT, "exact_match": _COUNT}


def plain(name: str) -> str:
    """`Exact-Match,strict` as exact_match: harnesses put the filter behind a comma."""
    return name.split(",")[0].strip().lower().replace("-", "_").replace(" ", "_")


def find(name: str) -> Metric | None:
    """The declared metric of that name, or of its ending (val_accuracy, answer_nats); None for any other."""
    name = plain(name)
    if name in KNOWN:
        return KNOWN[name]
    return next((metric for end, metric in _ENDINGS.items() if name.endswith("_" + end) or name == end), None)


def unknown(names) -> list[str]:
    """A line for each name that is no declared metric."""
    problems = []
    for name in dict.fromkeys(names):
        if find(name) is not None:
            continue
        close = difflib.get_close_matches(plain(name), KNOWN, n=1, cutoff=0.5)
        near = f"; nearest: {close[0]!r}" if close else ""
        problems.append(
            f"metric {name!r} is not known, nor which way is better{near}; known are {', '.join(KNOWN)}, and "
            f"names that end in _{', _'.join(_ENDINGS)}"
        )
    return problems
