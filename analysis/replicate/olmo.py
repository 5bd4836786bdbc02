"""The OLMo ladder (Bhagia et al., arXiv 2412.04403): loss of a task from N and D, then accuracy from loss."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from analysis.fits.fitting import fit
from analysis.laws import jets
from analysis.laws.named import FormulaLaw, Parameter
from analysis.replicate.checks import Check, Picture, Replication, near
from analysis.replicate.data import Folder
from analysis.replicate.sources import OLMO

# task -> (words, name in the files); MMLU is a mean over four groups.
TASKS = {
    "mmlu_avg_test_5shot": ("MMLU", ""),
    "hellaswag_val_5shot": ("HellaSwag", "hellaswag_val"),
    "arc_challenge_test_5shot": ("ARC-Challenge", "arc_challenge_test"),
    "arc_easy_test_5shot": ("ARC-Easy", "arc_easy_test"),
    "piqa_val_5shot": ("PIQA", "piqa_val"),
    "csqa_val_5shot": ("CommonsenseQA", "csqa_val"),
    "socialiqa_val_5shot": ("Social IQa", "socialiqa_val"),
    "openbookqa_test_5shot": ("OpenBookQA", "openbookqa_test"),
}
MMLU = {"stem": 0.215, "humanities": 0.335, "social_sciences": 0.219, "other": 0.231}
SIZES = {"190M": 190354176, "370M": 371262464, "760M": 758220288, "1B": 1279395840}
LENGTHS = ("1xC", "2xC", "5xC", "10xC")
TARGET, TARGET_PARAMS, TARGET_TOKENS = "peteish13_eval_final", 13202396160, 5000088518656
# The last evaluations are averaged; the first tenth of a run's is not used for the second step.
AVERAGED, SKIPPED = 5, 0.1
LINK = FormulaLaw(
    "accuracy-of-loss",
    lambda p, x: p["top"] - p["range"] / (1.0 + jets.exp(p["steepness"] * (p["middle"] - x["bits"]))),
    ("bits",),
    (
        Parameter("top", high=1.0, start=(0.6, 1.0)),
        Parameter("range", high=1.0, start=(0.3, 1.0)),
        Parameter("steepness", high=100.0, start=(0.5, 10.0)),
        Parameter("middle", high=20.0, start=(0.1, 2.5)),
    ),
    "accuracy = top - range / (1 + exp(steepness (middle - bits)))",
    "Bhagia et al. 2024, arXiv 2412.04403, equation 3",
    absolute=True,
)


def replicate(folder: Folder) -> Replication:
    paths = folder.find(OLMO)[1]
    runs = _runs(paths)
    with open(paths["chained_main.csv"], newline="", encoding="utf-8") as file:
        published = {row["Task"]: float(row["Pred"]) for row in csv.DictReader(file)}
    checks: list[Check] = []
    points, lines = {}, {}
    for task, (words, name) in TASKS.items():
        bits, accuracy = _predict(runs, name)
        checks.append(near(f"{words}: accuracy predicted for 13B", published[task], accuracy[0], 5e-5))
        if words in ("MMLU", "HellaSwag"):
            points[f"{words}, checkpoints"], lines[words] = accuracy[1], accuracy[2]
            points[f"{words}, 13B predicted"] = (np.array([bits]), np.array([accuracy[0]]))
    return Replication(
        "olmo",
        "Task accuracy in two steps",
        "Bhagia et al. 2024, arXiv 2412.04403",
        tuple(checks),
        Picture("bits a byte of the right answer", "accuracy", points, lines, x_log=False, y_log=False),
    )


def _predict(runs: Mapping[str, Mapping[str, np.ndarray]], name: str):
    """(bits predicted for the target, (accuracy predicted, the checkpoints, the link's curve))."""
    table = {"params": [], "tokens": [], "loss": []}
    bits, accuracy = [], []
    for run, columns in runs.items():
        if run == TARGET or not run.endswith(LENGTHS):
            continue
        x, y = (_task(columns, name, kind) for kind in ("bits", "accuracy"))
        table["params"].append(SIZES[run.split("-")[0]])
        table["tokens"].append(columns["tokens"][-1])
        table["loss"].append(x[-AVERAGED:].mean())
        first = int(np.ceil(SKIPPED * len(x)))
        bits.append(_smoothed(x[first:]))
        accuracy.append(_smoothed(y[first:]))
    law = fit({key: np.array(values, float) for key, values in table.items()}, delta=1e-3, bootstrap=0)
    loss = float(law.predict(params=TARGET_PARAMS, tokens=TARGET_TOKENS))
    x, y = np.concatenate(bits), np.concatenate(accuracy)
    # The source adds the point of no loss and full accuracy.
    ideal = {"bits": np.append(x, 1e-12), "loss": np.append(y, 1.0)}
    link = fit(ideal, law=LINK, objective="squared", residual="raw", bootstrap=0)
    grid = np.linspace(x.min() / 2, x.max(), 100)
    return loss, (
        float(LINK.loss(link.params, {"bits": loss})),
        (x, y),
        (grid, LINK.loss(link.params, {"bits": grid})),
    )


def _smoothed(values: np.ndarray) -> np.ndarray:
    """A trailing mean over five evaluations, over fewer at the start."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    begin = np.maximum(end - AVERAGED, 0)
    return (total[end] - total[begin]) / (end - begin)


def _task(columns: Mapping[str, np.ndarray], name: str, kind: str) -> np.ndarray:
    def column(task: str) -> np.ndarray:
        if kind == "bits":
            return columns[f"eval/downstream_bpb/{task}_rc_5shot_bpb"]
        return columns[f"eval/downstream/{task}_rc_5shot_len_norm"]

    if name:
        return column(name)
    return sum(weight * column(f"mmlu_{group}_test") for group, weight in MMLU.items())


def _runs(paths: Mapping[str, Path]) -> dict[str, dict[str, np.ndarray]]:
    """run -> column -> values, in the order of training; tokens seen is a column."""
    runs: dict[str, list[Mapping[str, str]]] = {}
    if "ladder_runs_rc.csv" in paths:
        with open(paths["ladder_runs_rc.csv"], newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                runs.setdefault(row["run"], []).append(row)
    else:
        for name, path in paths.items():
            if name != "chained_main.csv":
                with open(path, newline="", encoding="utf-8") as file:
                    runs[path.stem] = list(csv.DictReader(file))
    return {run: _columns(rows) for run, rows in runs.items()}


def _columns(rows: list[Mapping[str, str]]) -> dict[str, np.ndarray]:
    names = [name for name in rows[0] if name.startswith("eval/downstream")]
    out = {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}
    for name in ("tokens", "throughput/total_tokens"):
        if name in rows[0]:
            return out | {"tokens": np.array([float(row[name]) for row in rows])}
    steps, batch = ([float(row[name]) for row in rows] for name in ("_step", "batch_size_in_tokens"))
    return out | {"tokens": np.array(steps) * np.array(batch)}
