"""Laws on a benchmark of their discovery: R^2 on what its splits hold out, beside its human forms.

    python -m benchmarks.discovery DIR

DIR holds the tables of Lin et al. 2025 (arXiv 2507.21184) as its repository once had them, a folder a task:
data_constrained, domain_mixture, lr, moe, rectified, vocab, each `..._scaling_law/`; those that are not there
are left out and said so (parallel streams and the U-shaped task were never in it). Splits are the
publication's. Laws and settings are those of `lab laws` and `lab fit` as they stand; nothing was chosen by
what is held out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import pandas

import analysis as sl
from analysis.laws.axes import power_law
from analysis.laws.varied import experts, vocabulary

# R^2 of the human forms on extrapolation, table 2 there.
HUMAN = {
    "parallel": 1.000,
    "vocab": 0.966,
    "rectified": 0.957,
    "domain_mixture": 0.671,
    "moe": 0.703,
    "data_constrained": 0.911,
    "lr": -0.076,
    "u_shaped": -1.0,
}


# Huber's is what `lab fit` minimises; R^2 counts squares. Both are shown, neither was chosen.
OBJECTIVE: ContextVar[str] = ContextVar("objective", default="huber")


def r_squared(found: np.ndarray, truth: np.ndarray) -> float:
    return float(1 - ((found - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def fitted(law, table: dict, rows: np.ndarray, **how):
    """(the fit on these rows, its predictions on the others)."""
    how = {"objective": OBJECTIVE.get(), "bootstrap": 0, **how}
    fit = sl.fit({name: values[rows] for name, values in table.items()}, law=law, **how)
    inputs = {name: values[~rows] for name, values in table.items() if name != "loss"}
    inputs |= {f"exp_{name}": np.exp(np.clip(values, -200, 200)) for name, values in inputs.items()}
    return fit, fit.law.loss(fit.params, {name: inputs[name] for name in fit.law.inputs})


def data_constrained(folder: Path) -> float:
    """Its `tokens` are the unique ones and its `unique_tokens` all that were seen: it has no row with more of
    the first."""
    frame = pandas.read_csv(folder / "data.csv")
    unique, sizes = (np.unique(frame[name])[-2] for name in ("unique_tokens", "params"))
    rows = ((frame["unique_tokens"] < unique) & (frame["params"] < sizes)).to_numpy()
    names = {"params": "params", "tokens": "unique_tokens", "unique_tokens": "tokens", "loss": "loss"}
    table = {name: frame[column].to_numpy(float) for name, column in names.items()}
    _, found = fitted("data-constrained", table, rows)
    return r_squared(found, table["loss"][~rows])


def domain_mixture(folder: Path) -> float:
    """Each size and domain by itself; R^2 of each domain over all sizes, and their mean."""
    groups = {
        size: one
        for size, one in json.loads((folder / "all_models_data.json").read_text()).items()
        if size != "1B"
    }
    found: dict[int, list] = {}
    for one in groups.values():
        points = [*one["train"], *one["eval"]]
        rows = np.arange(len(points)) < len(one["train"])
        shares = np.array([point["proportions"] for point in points])
        loss = np.array([point["loss"] for point in points])
        for domain in range(loss.shape[1]):
            table = {f"share_{i + 1}": shares[:, i] for i in range(shares.shape[1] - 1)} | {
                "loss": loss[:, domain]
            }
            _, there = fitted(f"mixture-{shares.shape[1]}", table, rows)
            found.setdefault(domain, []).append((there, loss[~rows, domain]))
    return float(
        np.mean([r_squared(*map(np.concatenate, zip(*parts, strict=True))) for parts in found.values()])
    )


def lr(folder: Path) -> float:
    frame = pandas.read_csv(folder / "dense_lr_bs_loss.csv")
    frame = frame[frame["smooth loss"] <= 4.0]
    names = {"params": "N", "tokens": "D", "learning_rate": "lr", "batch_tokens": "bs", "loss": "smooth loss"}
    table = {name: frame[column].to_numpy(float) for name, column in names.items()}
    rows = ~((table["tokens"] == table["tokens"].max()) & (table["params"] == table["params"].max()))
    _, found = fitted("chinchilla+rate+batch", table, rows)
    return r_squared(found, table["loss"][~rows])


def moe(folder: Path) -> float:
    frame = pandas.read_csv(folder / "data.csv")
    frame = frame[frame["step"] == 249000]
    names = {"params": "dense_parameter_count", "experts": "num_experts", "loss": "loss_validation"}
    table = {name: frame[column].to_numpy(float) for name, column in names.items()}
    rows = table["params"] < table["params"].max()
    _, found = fitted(experts(power_law("params", offset=True)), table, rows)
    return r_squared(found, table["loss"][~rows])


def rectified(folder: Path) -> float:
    """Each model and data set by itself; the largest size is held out, and 0 has no logarithm."""
    found, truth = [], []
    for file in sorted(folder.glob("*.csv")):
        frame = pandas.read_csv(file)
        sizes = np.array([int(name) for name in frame.columns if str(name).isdigit()])
        for _, row in frame.iterrows():
            loss = pandas.to_numeric(row[[str(size) for size in sizes]], errors="coerce").to_numpy(float)
            good = (loss > 0) & (sizes > 0)
            table = {"tokens": sizes[good].astype(float), "loss": loss[good]}
            rows = table["tokens"] < 819200
            if rows.all() or rows.sum() < 4:
                continue
            found.append(fitted("rectified", table, rows)[1])
            truth.append(table["loss"][~rows])
    return r_squared(np.concatenate(found), np.concatenate(truth))


# Its losses are below that of the unigrams and so negative; a constant on all of them changes no R^2.
ABOVE = 10.0


def vocab(folder: Path) -> float:
    frame = pandas.read_csv(folder / "data.csv")
    names = {"params": "Non_vocab_parameters", "tokens": "num_characters", "vocab_params": "vocab_size"}
    table = {name: frame[column].to_numpy(float) for name, column in names.items()}
    table["loss"] = frame["Lossu"].to_numpy(float) + ABOVE
    rows = table["vocab_params"] < table["vocab_params"].max()
    # With the constant on it a loss is no ratio, so that residuals are those of the loss itself.
    _, found = fitted(vocabulary(sl.LAWS["chinchilla"]), table, rows, residual="raw")
    return r_squared(found, table["loss"][~rows])


TASKS: dict[str, Callable[[Path], float]] = {
    one.__name__: one for one in (data_constrained, domain_mixture, lr, moe, rectified, vocab)
}


def main(folder: Path) -> None:
    print(f"{'task':<18} {'human form':>10} {'huber':>8} {'squared':>8}")
    for task, human in HUMAN.items():
        place = folder / f"{task}_scaling_law"
        here = ["no data"]
        if task in TASKS and place.is_dir():
            here = []
            for objective in ("huber", "squared"):
                OBJECTIVE.set(objective)
                here.append(f"{TASKS[task](place):.3f}")
        print(f"{task:<18} {human:>10.3f}", *(f"{text:>8}" for text in here), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python -m benchmarks.discovery DIR")
    main(Path(sys.argv[1]))
