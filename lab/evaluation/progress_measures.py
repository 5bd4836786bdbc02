"""Progress measures: what a model has of an ability before its score shows it, logged while it trains.

Of every task: exact match, gold nats, and the accuracy of each place of the answer (digits of a sum).
`attention`: where the answer stands in the prompt (induction, needle, recall), the weight that the best
head puts on it from where it must be written; for induction this is the prefix-matching score of Olsson et
al. 2022 (2209.11895). `depth_P`: needle accuracy where P per cent of the hay lie before it. `fourier_mass`:
see below. Of a text, `repeat_nats`: by how much a random sequence is predicted better the second time.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from lab.abilities import find
from lab.abilities.items import PLUS, AbilitySet, Items
from lab.abilities.sets import lay_out, tokens_of_symbols
from lab.config import ModelConfig, RunConfig
from lab.data import Dataset
from lab.draws import Draws
from lab.evaluation import evaluate, metrics
from lab.model import decoder, layers, parametrization
from lab.training import mesh as meshes

ITEMS = 128  # of each test set
REPEATED = 32  # random sequences


def steps(points: int, every: int, end: int) -> frozenset[int]:
    """Steps at which progress is measured: `points` a decade, from `every` on, and the end. Empty for 0
    points.

    All but the end are multiples of `every` and do not depend on the end, so that runs of any budget share
    them.
    """
    if not points:
        return frozenset()
    decades = max(np.log10(end / every), 0)
    grid = every * np.rint(10 ** (np.arange(int(decades * points) + 1) / points)).astype(int)
    return frozenset(int(step) for step in grid if step < end) | {end}


def measure(params, config: RunConfig, dataset: Dataset) -> list[dict]:
    """One `{task, measure, value}` for each measure of each task of the data."""
    found = []

    def add(task, **values):
        found.extend({"task": task, "measure": name, "value": float(value)} for name, value in values.items())

    for name, whole in dataset.ability_sets().items():
        test = head(whole, ITEMS)
        scores = evaluate.measure(params, config, dataset, test)
        add(name, exact_match=scores.correct_N.mean(), gold_nats=scores.nats_N.sum() / scores.tokens_N.sum())
        if test.answer_length > 1:
            places = place_accuracy(params, config, dataset, test)
            add(name, **{f"place_{i}": value for i, value in enumerate(places)})
        if "source" in test.factors:
            add(name, attention=source_attention(params, config, dataset, test))
        if "depth" in test.factors:
            rows = metrics.by_factor(scores, ("depth",))
            add(name, **{f"depth_{row['depth']}": row["exact_match"] for row in rows})
        if name == "modular":
            add(name, fourier_mass=fourier_mass(modular_logits(params, config, dataset)))
    if dataset.text_validation is not None or not dataset.ability_sets():
        add("text", repeat_nats=repeat_nats(params, config, dataset))
    return found


def head(test: AbilitySet, items: int) -> AbilitySet:
    """The first items of a test set."""
    names = ("inputs_NxT", "targets_NxT", "difficulty_N", "cluster_N")
    cut = {name: getattr(test, name)[:items] for name in names}
    return replace(test, **cut, factors={name: values[:items] for name, values in test.factors.items()})


def place_accuracy(params, config: RunConfig, dataset: Dataset, test: AbilitySet) -> np.ndarray:
    """Share of items right at each place of the answer, the end not counted; teacher-forced. (A,)"""
    _, right_NxT, _ = evaluate.score(params, config, dataset.vocab_size, test.inputs_NxT, test.targets_NxT)
    place_NxT = np.cumsum(test.answer_NxT, axis=1)[test.answer_NxT] - 1
    return np.bincount(place_NxT, right_NxT[test.answer_NxT]) / np.bincount(place_NxT)


def source_attention(params, config: RunConfig, dataset: Dataset, test: AbilitySet) -> float:
    """Mean attention from where the answer must be written to where it stands: of the best head there is."""
    writes_N = (test.targets_NxT >= 0).argmax(1)
    source_N = 1 + len(find(test.task).tag) + np.asarray(test.factors["source"])
    tokens_NxT = test.inputs_NxT[:, : int(writes_N.max()) + 1]
    weights_LxNxHxTxT = np.asarray(attention(params, tokens_NxT, config.model, dataset.vocab_size))
    # two index arrays apart from each other: NumPy puts their axis first
    weights_NxLxH = weights_LxNxHxTxT[:, np.arange(len(writes_N)), :, writes_N, source_N]
    return float(weights_NxLxH.mean(axis=0).max())


def attention(params, tokens_BxT, config: ModelConfig, vocab: int) -> jax.Array:
    """Attention weights of all layers and heads, (L, B, H, T, T), computed from the model's streams."""
    mesh = meshes.of(params)
    tokens_BxT = tokens_BxT if mesh is None else meshes.put_same(tokens_BxT, mesh)
    return _attention(config, vocab, mesh)(params, tokens_BxT)


@cache
def _attention(c: ModelConfig, vocab: int, mesh):
    def rms(x, scale):
        return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6) * scale

    def weights(params, tokens_BxT):
        B, T = tokens_BxT.shape
        params = layers.apart(params)
        streams = decoder.activations(params, tokens_BxT, c, vocab)
        inputs = [streams["embedding"], *(streams[f"block_{i}"] for i in range(c.layers - 1))]
        found = []
        for layer, x_NxM in enumerate(inputs):
            own = params[f"attention_{layer}"]
            qkv = rms(x_NxM, params[f"norm_a_{layer}"]["scale"]) @ own["qkv"]["kernel"]
            q, k, _ = (part.reshape(B, T, c.heads, c.head_width) for part in jnp.split(qkv, 3, axis=-1))
            if c.qk_norm:
                q, k = rms(q, own["norm_q"]["scale"]), rms(k, own["norm_k"]["scale"])
            q, k = (decoder.rotate(part, jnp.arange(T)) for part in (q, k))
            q = q * parametrization.multipliers(c).attention * c.head_width**-0.5
            scores = jnp.einsum("bthk,bshk->bhts", q, k)
            found.append(jax.nn.softmax(jnp.where(jnp.tril(jnp.ones((T, T), bool)), scores, -1e30)))
        return jnp.stack(found)

    return meshes.over_rows(weights, mesh)


def modular_logits(params, config: RunConfig, dataset: Dataset) -> np.ndarray:
    """Log-probabilities of each answer c for each pair: (p, p, p) over (a, b, c)."""
    task = find("modular")
    p = len(task.choices)
    a, b = (grid.ravel() for grid in np.divmod(np.arange(p * p), p))
    prompts = np.stack([a, np.full(p * p, PLUS), b], axis=1).astype("uint8")
    pairs = Items(prompts, ((a + b) % p)[:, None].astype("uint8"), a, a.astype(np.uint64))
    rows = lay_out(task, pairs, task.row_length, dataset.tokenizer)
    _, _, first_NxV = evaluate.score(params, config, dataset.vocab_size, *rows, first=True)
    answers = tokens_of_symbols(dataset.tokenizer)[list(task.choices)]
    return first_NxV[:, answers].reshape(p, p, p)


def fourier_mass(logits_AxBxC: np.ndarray) -> float:
    """Share of the logits' variance that lies in waves cos and sin of w (a + b - c), over all frequencies w.

    Those waves span the functions of (a + b - c) mod p, so the share is the variance of the means over that
    difference by the variance of all. Near 0 at the start, 1 for a network that computes with them and
    nothing else: the mass of the key frequencies of Nanda et al. 2023 (2301.05217), without having to
    choose them.
    """
    p = logits_AxBxC.shape[0]
    centred = logits_AxBxC - logits_AxBxC.mean(axis=2, keepdims=True)
    a, b, c = np.ogrid[:p, :p, :p]
    means = np.bincount(((a + b - c) % p).ravel(), centred.ravel()) / p**2
    total = (centred**2).mean()
    return float((means**2).mean() / total) if total > 0 else 0.0


def repeat_nats(params, config: RunConfig, dataset: Dataset) -> float:
    """Nats a token by which random text is predicted better when it comes again: a score of induction.

    Half of the context random tokens, then the same again (Olsson et al. 2022, 2209.11895).
    """
    half = dataset.context // 2
    ordinary = dataset.vocab_size - 2
    drawn = Draws("repeated sequences").below(ordinary, REPEATED, half).astype(np.int32)
    targets = np.concatenate([drawn, drawn], axis=1)
    inputs = np.concatenate([np.full((REPEATED, 1), dataset.tokenizer.start), targets[:, :-1]], axis=1)
    nats, _, _ = evaluate.score(params, config, dataset.vocab_size, inputs.astype(np.int32), targets)
    return float(nats[:, :half].mean() - nats[:, half:].mean())
