"""Over-training (Gadre et al., arXiv 2403.08540): large runs predicted from five small ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from analysis.fits.fitting import fit
from analysis.laws import jets
from analysis.laws.named import FormulaLaw, Parameter, coefficient
from analysis.replicate.checks import Picture, Replication, near
from analysis.replicate.data import Folder
from analysis.replicate.sources import GADRE
from analysis.tables.table import read

SMALL = (
    "d=96_l=8_h=4-1.0",
    "d=512_l=8_h=4-1.0",
    "d=576_l=24_h=8-1.0",
    "d=1024_l=24_h=8-1.0",
    "d=96_l=8_h=4-16.0",
)
# Section 3.4 there: the error's law has one more run.
ERROR_RUN = "open_lm_1b-1.0"
# run -> (words, relative error of the predicted loss and of the predicted error, percent).
TARGETS = {
    "open_lm_1b-32.0": ("1.4B params, 640 tokens a param", 0.7103, 3.6365),
    "open_lm_7b-1.0": ("6.9B params, 20 tokens a param", 0.7320, 0.0464),
}
SUBSET = [
    "bigbench_operators",
    "pubmed_qa_labeled",
    "hellaswag_zeroshot",
    "boolq",
    "arc_easy",
    "coqa",
    "bigbench_dyck_languages",
    "lambada_openai",
    "bigbench_novel_concepts",
    "winograd",
    "bigbench_cs_algorithms",
    "commonsense_qa",
    "bigbench_qa_wikidata",
    "hellaswag",
    "copa",
    "squad",
    "piqa",
]
ERROR_LAW = FormulaLaw(
    "error-of-loss",
    lambda p, x: p["eps"] - p["k"] * jets.exp(-p["gamma"] * x["loss_c4"]),
    ("loss_c4",),
    (
        coefficient("eps", {"loss": 1}),
        coefficient("k", {"loss": 1}),
        Parameter("gamma", high=20.0, start=(0.1, 3.0)),
    ),
    "error = eps - k exp(-gamma loss)",
    "Gadre et al. 2024, arXiv 2403.08540, equation 5",
    absolute=True,
)


def replicate(folder: Folder) -> Replication:
    runs = _runs(folder)
    small = [runs[name] for name in SMALL]
    table = {key: np.array([run[key] for run in small]) for key in ("params", "tokens", "loss")}
    law = fit(table, law="overtraining", objective="squared", residual="raw", bootstrap=0)
    both = [*small, runs[ERROR_RUN]]
    errors = {
        "loss_c4": np.array([run["loss"] for run in both]),
        "loss": np.array([run["error"] for run in both]),
    }
    link = fit(errors, law=ERROR_LAW, objective="squared", residual="raw", bootstrap=0)
    checks = []
    predicted_at, measured = [], []
    for name, (words, loss_percent, error_percent) in TARGETS.items():
        run = runs[name]
        loss = float(law.predict(params=run["params"], tokens=run["tokens"]))
        error = float(link.law.loss(link.params, {"loss_c4": loss}))
        checks.append(near(f"{words}: loss missed by, %", loss_percent, _miss(loss, run["loss"]), 5e-3))
        checks.append(
            near(f"{words}: 17-task error missed by, %", error_percent, _miss(error, run["error"]), 5e-3)
        )
        predicted_at.append((run["params"] * run["tokens"] * 6, loss))
        measured.append((run["params"] * run["tokens"] * 6, run["loss"]))
    flops = 6 * table["params"] * table["tokens"]
    points = {"fitted": (flops, table["loss"]), "measured later": tuple(np.array(measured).T)}
    points["predicted"] = tuple(np.array(predicted_at).T)
    return Replication(
        "gadre",
        "Over-trained and large models predicted from small ones",
        "Gadre et al. 2024, arXiv 2403.08540",
        tuple(checks),
        Picture("training FLOPs", "C4 loss, nats a token", points, {}, y_log=False),
        ("the law has four parameters and five runs: it has no residuals to judge it by",),
    )


def _miss(predicted: float, measured: float) -> float:
    return 100 * abs(predicted - measured) / measured


def _runs(folder: Folder) -> dict[str, dict[str, float]]:
    """Name -> params, tokens, loss (C4), error (mean of 17 tasks), of the runs on RedPajama."""
    paths = folder.find(GADRE)[1]
    wanted = (*SMALL, ERROR_RUN, *TARGETS)
    if "models_104.csv" not in paths:
        return {
            name: _from_json(paths[f"rpj-{name}.json"], paths[f"evaluation_rpj-{name}_heavy.json"])
            for name in wanted
        }
    table = read(paths["models_104.csv"], {"loss": "loss_c4_val", "params": "params"}).columns
    rows = {f"rpj-{name}": name for name in wanted}
    return {
        rows[label]: {
            "params": float(table["params"][row]),
            "tokens": float(table["tokens"][row]),
            "loss": float(table["loss_c4_val"][row]),
            "error": float(table["err_avg17"][row]),
        }
        for row, label in enumerate(table["name"].tolist())
        if label in rows
    }


def _from_json(model: Path, evaluation: Path) -> dict[str, float]:
    said = json.loads(model.read_text(encoding="utf-8"))
    loss = next(one["loss"] for one in said["results"] if "/c4_val/" in one["val_data"][0])
    scores = json.loads(evaluation.read_text(encoding="utf-8"))["eval_metrics"]["icl"]
    error = float(np.mean([1.0 - scores[task] for task in SUBSET]))
    shape = said["hyperparameters"]
    return {
        "params": float(shape["params"]),
        "tokens": float(shape["tokens"]),
        "loss": float(loss),
        "error": error,
    }
