"""Validation loss with its error, and scores of abilities, from single forward passes."""

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from lab.abilities.items import AbilitySet
from lab.config import RunConfig
from lab.data import Dataset
from lab.data.dataset import Validation
from lab.evaluation import metrics
from lab.model import decoder, layers, memory
from lab.model.rounding import Rounding
from lab.training import mesh as meshes
from lab.training import train

_STEP = 16  # lengths are rounded up to a multiple, so that a model has a few programs and little filling
_SHORT = 32  # contexts up to here are scored whole: another program takes longer than the filling


@dataclass(frozen=True)
class Loss:
    """Validation loss. ``se`` is over windows: it knows the validation set, not the seeds."""

    nats: float  # a token
    se: float
    bits_per_byte: float | None  # None: ids whose text is not known
    windows: int


@dataclass(frozen=True)
class Measured:
    """All abilities of one model: rows of the table, and what each item gave."""

    rows: list[dict]
    items: list[metrics.ItemScores]


def validate(params, config: RunConfig, dataset: Dataset, held: Validation | None = None) -> Loss:
    """Loss on the fixed validation windows (or on ``held``): summed nats over summed tokens.

    The standard error is that of a ratio, from the windows' deviations; windows are taken as independent.
    """
    held = held or dataset.validation()
    nats_WxT, _, _ = score(params, config, dataset.vocab_size, held.inputs_WxT, held.targets_WxT)
    nats_W, count_W = nats_WxT.sum(1), (held.targets_WxT >= 0).sum(1)
    mean = nats_W.sum() / count_W.sum()
    W = len(nats_W)
    se = np.sqrt(((nats_W - mean * count_W) ** 2).sum() * W / max(W - 1, 1)) / count_W.sum()
    return Loss(float(mean), float(se), held.bits_per_byte(nats_W.sum()), W)


def of_sources(params, config: RunConfig, dataset: Dataset) -> dict[str, float | None]:
    """Loss on the windows of each text of a mixture, as columns of a row; nothing where there is none."""
    columns: dict[str, float | None] = {}
    for name, held in dataset.source_validation.items():
        loss = validate(params, config, dataset, held)
        columns |= {f"loss_nats_{name}": loss.nats, f"bits_per_byte_{name}": loss.bits_per_byte}
    return columns


def abilities(params, config: RunConfig, dataset: Dataset) -> list[dict]:
    """The rows of :func:`everything`."""
    return everything(params, config, dataset).rows


def everything(params, config: RunConfig, dataset: Dataset, rounding: Rounding | None = None) -> Measured:
    """Scores on the test set of every task of the data, and the loss on its text where there is one.

    ``exact_match`` counts items whose every answer token, the end included, is the most probable one. With
    one right answer an item, that is exactly what greedy decoding until ``<end>`` would be scored, at the
    price of one forward pass. Only where an answer begins with its working is it decoded, since the working
    may differ and the answer still be right. ``token_accuracy`` counts answer symbols under teacher forcing;
    ``gold_nats`` is their mean negative log-probability: continuous where exact match is 0 of n. Neither
    counts the end. With ``rounding``, as if activations and cache were held in fewer bits.
    """
    rows, items = [], []
    for test in dataset.ability_sets().values():
        scores = measure(params, config, dataset, test, rounding)
        if test.scratch_length:
            from lab.evaluation.decode import decode

            scores = decode(params, config, dataset, test, scores, rounding)
        rows += metrics.rows(scores)
        items.append(scores)
    if dataset.text_validation is not None:
        text = validate(params, config, dataset, dataset.text_validation)
        rows.append(
            {
                "task": "text",
                "metric": "gold_nats",
                "score": text.nats,
                "correct": None,
                "items": text.windows,
            }
            | {"chance": None, "se": text.se}
        )
    return Measured(rows, items)


def measure(
    params, config: RunConfig, dataset: Dataset, test: AbilitySet, rounding: Rounding | None = None
) -> metrics.ItemScores:
    """What a model gives on each item of one test set, under teacher forcing."""
    rows = test.inputs_NxT, test.targets_NxT
    nats_NxT, right_NxT, first_NxV = score(
        params, config, dataset.vocab_size, *rows, first=bool(test.choices), rounding=rounding
    )
    scored_NxT, answer_NxT = test.targets_NxT >= 0, test.answer_NxT
    tokens_N = answer_NxT.sum(1)
    choice_NxC = gold_N = None
    if test.choices:
        restricted_NxC = first_NxV[:, list(test.choices)]
        choice_NxC = metrics.log_softmax(restricted_NxC)
        answer_N = test.targets_NxT[np.arange(len(tokens_N)), scored_NxT.argmax(1)]
        gold_N = (answer_N[:, None] == np.array(test.choices)).argmax(1)
    return metrics.ItemScores(
        task=test.task,
        chance=test.chance,
        correct_N=(right_NxT | ~scored_NxT).all(1),
        nats_N=np.where(answer_NxT, nats_NxT, 0.0).sum(1),
        tokens_right_N=(right_NxT & answer_NxT).sum(1),
        tokens_N=tokens_N,
        difficulty_N=test.difficulty_N,
        cluster_N=test.cluster_N,
        factors=test.factors,
        choice_log_NxC=choice_NxC,
        gold_choice_N=gold_N,
    )


def score(
    params,
    config: RunConfig,
    vocab: int,
    inputs_NxT,
    targets_NxT,
    first: bool = False,
    rounding: Rounding | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Nats of each target (0 where it is -1), and whether it is the most probable token: both (N, T).

    With ``first``, also the log-probabilities (N, V) at each row's first scored position. Columns behind
    the last scored target cost nothing. Parameters over a mesh are scored there, each device its own rows,
    as many as its memory holds; all processes must call it together, and each gets all scores.
    """
    N, T = targets_NxT.shape
    used = int(np.flatnonzero((targets_NxT >= 0).any(0)).max(initial=0)) + 1
    length = T if T <= _SHORT else min(T, -(-used // _STEP) * _STEP)
    mesh = meshes.of(params)
    if mesh is None:  # on their device once, not with each batch
        if layers.are_scanned(config.model):
            params = layers.stacked(params)
        params = jax.device_put(params)
    program = _program(config.model, config.precision, vocab, mesh)
    rows_B = memory.rows(config, vocab, length)
    if mesh is not None:
        parts = meshes.sharing_rows(mesh)
        rows_B = min(rows_B, -(-N // parts)) * parts
    nats_NxT, right_NxT = np.zeros((N, T)), np.zeros((N, T), bool)
    first_NxV = np.empty((N, vocab), np.float32) if first else None
    for start in range(0, N, rows_B):
        batch = [a[start : start + rows_B, :length] for a in (inputs_NxT, targets_NxT)]
        count = len(batch[0])
        filled = [  # one compiled shape; the filling is cut off again
            meshes.put_rows(np.pad(a, ((0, rows_B - count), (0, 0)), constant_values=fill), mesh)
            for a, fill in zip(batch, (0, -1), strict=True)
        ]
        nats_BxT, right_BxT, first_BxV = program(params, *filled, rounding)
        rows = slice(start, start + count)
        nats_NxT[rows, :length] = np.asarray(nats_BxT)[:count]
        right_NxT[rows, :length] = np.asarray(right_BxT)[:count]
        if first:
            first_NxV[rows] = np.asarray(first_BxV)[:count]
    return nats_NxT, right_NxT, first_NxV


@cache
def _program(model, precision, vocab, mesh=None):
    how = meshes.seen(model, precision, mesh)

    def score_batch(params, inputs_BxT, targets_BxT, rounding=None):
        shape = model, vocab, jnp.dtype(precision)
        logits_BxTxV = decoder.apply(params, inputs_BxT, *shape, rounding=rounding, **how)
        nats_BxT, _ = train.nats_of_logits(logits_BxTxV, targets_BxT)
        scored_BxT = targets_BxT >= 0
        at_B = jnp.argmax(scored_BxT, axis=1)
        first_BxV = jnp.take_along_axis(logits_BxTxV, at_B[:, None, None], axis=1)[:, 0]
        right_BxT = (jnp.argmax(logits_BxTxV, -1) == targets_BxT) & scored_BxT
        return nats_BxT, right_BxT, jax.nn.log_softmax(first_BxV)

    return meshes.over_rows(score_batch, mesh)
