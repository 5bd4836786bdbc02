"""Validation loss with its error, and scores of abilities, from single forward passes."""

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from lab import model as decoder
from lab import train
from lab.config import RunConfig
from lab.data import Dataset

_ROWS = 64  # sequences a call


@dataclass(frozen=True)
class Loss:
    """Validation loss. ``se`` is over windows: it knows the validation set, not the seeds."""

    nats: float  # a token
    se: float
    bits_per_byte: float
    windows: int


def validate(params, config: RunConfig, dataset: Dataset) -> Loss:
    """Loss on the fixed validation windows: summed nats over summed tokens.

    The standard error is that of a ratio, from the windows' deviations; windows are taken as independent.
    """
    held = dataset.validation()
    nats_WxT, _ = score(params, config, dataset.vocab_size, held.inputs_WxT, held.targets_WxT)
    nats_W, count_W = nats_WxT.sum(1), (held.targets_WxT >= 0).sum(1)
    mean = nats_W.sum() / count_W.sum()
    W = len(nats_W)
    se = np.sqrt(((nats_W - mean * count_W) ** 2).sum() * W / max(W - 1, 1)) / count_W.sum()
    return Loss(float(mean), float(se), float(nats_W.sum() / np.log(2) / held.bytes_W.sum()), W)


def abilities(params, config: RunConfig, dataset: Dataset) -> list[dict]:
    """One row for each task and metric: score, correct, items, chance.

    ``exact_match`` counts items whose every answer token, the end included, is the most probable one. With
    one right answer an item, that is exactly what greedy decoding until ``<end>`` would be scored, at the
    price of one forward pass. ``token_accuracy`` counts answer tokens under teacher forcing. ``gold_nats``
    is the mean negative log-probability of the answer's tokens: continuous where exact match is 0 of n.
    """
    rows = []
    for task, test in dataset.ability_sets().items():
        nats_NxT, right_NxT = score(params, config, dataset.vocab_size, test.inputs_NxT, test.targets_NxT)
        scored_NxT = test.targets_NxT >= 0
        whole_N = (right_NxT | ~scored_NxT).all(1)
        counts = {
            "exact_match": (int(whole_N.sum()), len(whole_N)),
            "token_accuracy": (int((right_NxT & scored_NxT).sum()), int(scored_NxT.sum())),
        }
        for metric, (correct, items) in counts.items():
            rows.append(
                {"task": task, "metric": metric, "score": correct / items, "correct": correct, "items": items}
            )
        nats = float(nats_NxT.sum() / scored_NxT.sum())
        rows.append(
            {"task": task, "metric": "gold_nats", "score": nats, "correct": None, "items": len(whole_N)}
        )
        for row in rows[-3:]:
            row["chance"] = test.chance.get(row["metric"])
    return rows


def score(params, config: RunConfig, vocab: int, inputs_NxT, targets_NxT) -> tuple[np.ndarray, np.ndarray]:
    """Nats of each target (0 where it is -1), and whether it is the most probable token. Both (N, T)."""
    program = _program(config.model, config.precision, vocab)
    nats, right = [], []
    for start in range(0, len(inputs_NxT), _ROWS):
        batch = [a[start : start + _ROWS] for a in (inputs_NxT, targets_NxT)]
        missing = _ROWS - len(batch[0])  # one compiled shape; the filling is cut off again
        filled = [
            np.pad(a, ((0, missing), (0, 0)), constant_values=fill)
            for a, fill in zip(batch, (0, -1), strict=True)
        ]
        nats_BxT, right_BxT = program(params, *filled)
        nats.append(np.asarray(nats_BxT, np.float64)[: len(batch[0])])
        right.append(np.asarray(right_BxT)[: len(batch[0])])
    return np.concatenate(nats), np.concatenate(right)


@cache
def _program(model, precision, vocab):
    def score_batch(params, inputs_BxT, targets_BxT):
        logits_BxTxV = decoder.apply(params, inputs_BxT, model, vocab, jnp.dtype(precision))
        nats_BxT, _ = train.nats_of_logits(logits_BxTxV, targets_BxT)
        return nats_BxT, (jnp.argmax(logits_BxTxV, -1) == targets_BxT) & (targets_BxT >= 0)

    return jax.jit(score_batch)
