"""What compression does to a model: its loss, abilities, bytes, beside the whole one."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lab.compression import packed
from lab.compression.encoded import Method, decode, encode
from lab.config import RunConfig
from lab.data import Dataset
from lab.evaluation import evaluate, metrics
from lab.model.rounding import Rounding, levels

METHODS = (
    *(Method("weights", bits) for bits in (8, 7, 6, 5, 4, 3, 2)),
    *(Method("activations", bits) for bits in (8, 6, 4, 3)),
    *(Method("cache", bits) for bits in (8, 4, 3, 2)),
    *(Method("prune_global", part) for part in (0.25, 0.5, 0.75)),
    *(Method("prune_layer", part) for part in (0.25, 0.5, 0.75)),
    Method("prune_2_4"),
    *(Method("low_rank", part) for part in (0.75, 0.5, 0.25)),
)


@dataclass(frozen=True)
class Whole:
    """A trained model as it is, and what it gives on each validation window."""

    params: dict
    config: RunConfig
    dataset: Dataset
    windows: int  # of the validation set, at most

    @cached_property
    def held(self):
        held = self.dataset.validation()
        return held.inputs_WxT[: self.windows], held.targets_WxT[: self.windows]

    @cached_property
    def nats_W(self) -> np.ndarray:
        return self.window_nats(self.params, None)

    def window_nats(self, params: dict, rounding: Rounding | None) -> np.ndarray:
        """Nats of each window, summed over its tokens, (W,)."""
        return evaluate.score(params, self.config, self.dataset.vocab_size, *self.held, rounding=rounding)[
            0
        ].sum(1)


def row(whole: Whole, method: Method) -> dict:
    """Plain values: loss, its penalty over the whole model with a paired standard error, bytes on disk, and
    abilities (task, metric, score, correct, items, chance, se)."""
    kept = encode(whole.params, method)
    params = decode(kept)
    rounding = None
    if method.kind in ("activations", "cache"):
        top = np.float32(levels(int(method.amount)))  # of one type, so that both kinds share a program
        none = np.float32(0)
        rounding = Rounding(top, none) if method.kind == "activations" else Rounding(none, top)
    nats_W = whole.nats_W if method.kind == "none" else whole.window_nats(params, rounding)
    count_W = (whole.held[1] >= 0).sum(1)
    penalty, se = paired(nats_W - whole.nats_W, count_W)
    abilities = []
    for test in whole.dataset.ability_sets().values():
        scores = evaluate.measure(params, whole.config, whole.dataset, test, rounding)
        if test.scratch_length:
            from lab.evaluation.decode import decode as decoded

            scores = decoded(params, whole.config, whole.dataset, test, scores, rounding)
        abilities += metrics.rows(scores)
    return {
        "method": method.kind,
        "amount": method.amount,
        "loss_nats": float(nats_W.sum() / count_W.sum()),
        "penalty_nats": penalty,
        "penalty_se": se,
        "bytes": packed.size(kept, method),
        "windows": len(nats_W),
        "abilities": abilities,
    }


def paired(difference_W: np.ndarray, count_W: np.ndarray) -> tuple[float, float]:
    """Mean difference a token, and its standard error over windows: that of a ratio, as of the loss."""
    mean = float(difference_W.sum() / count_W.sum())
    W = len(difference_W)
    squares = ((difference_W - mean * count_W) ** 2).sum() * W / max(W - 1, 1)
    return mean, float(np.sqrt(squares) / count_W.sum())
