"""Coordinate check: how activations and their first changes depend on the size (2203.03466, appendix D.1).

For each parametrisation, models of several widths, or of several depths, take a few optimiser steps from the
same base hyperparameters; on one fixed batch, the root mean square (RMS) of each activation and of its change
since initialisation is measured. Where hyperparameters transfer, the changes neither grow nor vanish with the
size. Logits of an untrained model do fall with width under muP, by definition; so changes are what is judged.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import log

import jax
import numpy as np

from lab.config import ModelConfig, OptimizerConfig, RunConfig
from lab.data import DataConfig, Dataset, load
from lab.model import decoder
from lab.training import optimizer, train

PARAMETRIZATIONS = ("standard", "mup", "completep")
TOLERANCE = 0.2  # of the slope d log(change) / d log(size): 8 times the size, a factor of at most 1.5
_HEADS, _BATCH = 4, 8


def coordinates(
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    layers: Sequence[int] = (2,),
    parametrizations: Sequence[str] = PARAMETRIZATIONS,
    steps: int = 5,
    seeds: int = 2,
    learning_rate: float = 1e-2,
    algorithm: str = "adamw",
    tied: bool = False,
    dataset: Dataset | None = None,
) -> dict:
    """The check as plain JSON values.

    Over ``widths`` at ``layers[0]``, or, where several are given, over ``layers`` at ``widths[0]``; the first
    is the base. Heads are as many at all widths, so that the head width grows too. Without weight decay and
    warmup, as only the updates are looked at.

    Returns:
        ``{axis: width | layers, sizes, steps, seeds, learning_rate, algorithm, tied, tolerance,
        flat: {parametrization: bool}, rows: [{parametrization, activation, step, rms: [a number a size],
        change: [...], slope, flat}]}`` with step from 0 (untrained, where change, slope and flat are null) to
        ``steps``; RMS over batch, positions and channels, root mean square over seeds. ``flat`` of a
        parametrisation: of all its rows of the last step. Over layers, of the blocks only the last.
    """
    dataset = dataset or load(DataConfig(source="synthetic", context=64))
    deep = len(layers) > 1
    shapes = [(widths[0], depth) for depth in layers] if deep else [(width, layers[0]) for width in widths]
    sizes = [shape[deep] for shape in shapes]
    rows = []
    for name in parametrizations:
        found = []
        for width, depth in shapes:
            model = ModelConfig(
                width=width,
                layers=depth,
                heads=_HEADS,
                tied=tied,
                parametrization=name,
                base_width=widths[0],
                base_layers=layers[0],
                base_head_width=widths[0] // _HEADS,
            )
            config = _config(model, dataset, learning_rate, algorithm)
            measured = _measure(config, seeds, steps, dataset)
            found.append(_ends(measured, depth) if deep else measured)
        for activation in found[0]:
            for step in range(steps + 1):
                rms, change = (
                    [float(one[activation][kind][step]) for one in found] for kind in ("rms", "change")
                )
                slope = _slope(sizes, change) if step else None
                rows.append(
                    {
                        "parametrization": name,
                        "activation": activation,
                        "step": step,
                        "rms": rms,
                        "change": change if step else None,
                        "slope": slope,
                        "flat": abs(slope) <= TOLERANCE if step else None,
                    }
                )
    last = [row for row in rows if row["step"] == steps]
    return {
        "axis": "layers" if deep else "width",
        "sizes": sizes,
        "steps": steps,
        "seeds": seeds,
        "learning_rate": learning_rate,
        "algorithm": algorithm,
        "tied": tied,
        "tolerance": TOLERANCE,
        "flat": {
            name: all(row["flat"] for row in last if row["parametrization"] == name)
            for name in parametrizations
        },
        "rows": rows,
    }


def _ends(measured: dict, depth: int) -> dict:
    """What models of all depths have. A single block moves by 1 / L under CompleteP, all of them by 1."""
    names = {"embedding": "embedding", f"block_{depth - 1}": "last block", "logits": "logits"}
    return {new: measured[old] for old, new in names.items()}


def render(check: dict) -> str:
    """The last step of a check as a table: the change of each activation by size, and its slope."""
    columns = "".join(f"{check['axis'] + ' ' + str(size):>11}" for size in check["sizes"])
    head = f"{'':<12}{'change of':<12}{columns}{'slope':>8}"
    lines = [
        f"RMS change of activations after {check['steps']} steps of {check['algorithm']}, learning rate "
        f"{check['learning_rate']:g}, {check['seeds']} seeds{', tied head' if check['tied'] else ''}",
        head,
    ]
    for row in check["rows"]:
        if row["step"] == check["steps"]:
            values = "".join(f"{value:>11.4f}" for value in row["change"])
            verdict = "" if row["flat"] else "  not flat"
            lines.append(
                f"{row['parametrization']:<12}{row['activation']:<12}{values}{row['slope']:>+8.2f}{verdict}"
            )
    for name, flat in check["flat"].items():
        words = "flat" if flat else "not flat"
        lines.append(f"{name}: {words} (slopes within +-{check['tolerance']:g})")
    return "\n".join(lines)


def _config(model: ModelConfig, dataset: Dataset, learning_rate: float, algorithm: str) -> RunConfig:
    how = OptimizerConfig(
        algorithm=algorithm, learning_rate=learning_rate, warmup_tokens=0, cooldown=0.0, weight_decay=0.0
    )
    tokens = 1000 * _BATCH * dataset.context
    return RunConfig(tokens, model, how, dataset.config, _BATCH)


def _measure(config: RunConfig, seeds: int, steps: int, dataset: Dataset) -> dict:
    """{activation: {rms, change: arrays (steps + 1,)}}, root mean squares over seeds."""
    vocab, hyper = dataset.vocab_size, optimizer.hyper(config)
    inputs_KxBxT, targets_KxBxT = dataset.batches(0, steps, config.batch)
    watched_BxT = inputs_KxBxT[0]
    look = jax.jit(lambda params: decoder.activations(params, watched_BxT, config.model, vocab))

    @jax.jit
    def step(state, inputs_BxT, targets_BxT):
        return train.chunk(
            state,
            inputs_BxT[None],
            targets_BxT[None],
            1,
            hyper,
            model=config.model,
            precision=config.precision,
            vocab=vocab,
        )[0]

    squares: dict = {}
    for seed in range(seeds):
        state = train.initial_state(replace(config, seed=seed), vocab)
        before = now = {name: np.asarray(a, np.float64) for name, a in look(state.params).items()}
        for k in range(steps + 1):
            if k:
                state = step(state, inputs_KxBxT[k - 1], targets_KxBxT[k - 1])
                now = {name: np.asarray(a, np.float64) for name, a in look(state.params).items()}
            for name, a in now.items():
                kept = squares.setdefault(name, {"rms": np.zeros(steps + 1), "change": np.zeros(steps + 1)})
                kept["rms"][k] += (a**2).mean() / seeds
                kept["change"][k] += ((a - before[name]) ** 2).mean() / seeds
    return {name: {kind: np.sqrt(sums) for kind, sums in kept.items()} for name, kept in squares.items()}


def _slope(sizes, values) -> float:
    if min(values) <= 0:
        return 0.0 if max(values) <= 0 else float("inf")
    return float(np.polyfit([log(size) for size in sizes], np.log(values), 1)[0])
