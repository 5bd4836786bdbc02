"""Draw the figures of README and docs from the stores of their studies, and record what they were drawn from.

    python -m benchmarks.figures [STUDY ...]        (or: make figures)

docs/figures.toml says which command draws which figure. A study whose store is not there is left alone. For a
study with a store and `tables`, what its sentences need is written there as CSV; one without a store has a
`program` that draws from the tables. Where a study `says` something, the block of its `page` between the
study's marks is written anew from the tables: `said` is what a test holds the page to.
"""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas

import analysis
from analysis.fits.show import tidy_formula
from analysis.resources.compressed import Compressed, compressed
from analysis.resources.compressed import sentences as told
from analysis.resources.penalty import PUBLISHED, penalty_law
from analysis.tables.table import Runs
from analysis.thresholds import detect
from benchmarks import next_figures

ROOT = Path(__file__).parents[1]
MANIFEST, RECORD = ROOT / "docs" / "figures.toml", ROOT / "docs" / "figures.json"
# What README's sentences and a fit need of a run; names of machines and folders are nobody's business.
RUNS = (
    *("run_id", "study", "grid", "status", "seed", "held_out", "source", "width", "layers", "heads"),
    *("params_total", "params_embedding", "params_head", "params_matrices", "params_vectors", "cluster"),
    *("tokens", "unique_tokens", "batch_tokens", "learning_rate", "flops_6nd", "flops_exact"),
    *("loss_nats", "loss_se", "bits_per_byte"),
)
SCORES = ("run_id", "task", "metric", "params", "seed", "score", "correct", "items", "chance", "se")
# What the law of the penalty of rounding needs.
WEIGHTS = (
    "run_id",
    "source",
    "params",
    "tokens",
    "cluster",
    "method",
    "amount",
    "penalty_nats",
    "penalty_se",
)
EXPONENTS = ("E", "alpha", "beta", "alpha_N", "alpha_D", "gamma")
SHOWN = {"exact_match": "exact match", "gold_nats": "nats"}


def manifest() -> dict[str, Any]:
    """docs/figures.toml."""
    return tomllib.loads(MANIFEST.read_text())


def main(wanted: list[str]) -> int:
    told = manifest()
    unknown = sorted(set(wanted) - set(told["studies"]))
    if unknown:
        print(f"no study {unknown[0]!r}; there are {', '.join(told['studies'])}", file=sys.stderr)
        return 2
    record = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
    for name, study in told["studies"].items():
        # One without a store has a program that draws from the tables, which lie there already.
        store = ROOT / study["store"] if "store" in study else None
        if wanted and name not in wanted:
            continue
        if store is not None and not store.is_dir():
            print(f"{name}: no {study['store']}; lab run {study['study']} --out {study['store']} makes it")
            continue
        try:
            tables = _tables(store, study)
        except analysis.InputError as error:  # a store that lacks what the study's page is drawn from
            print(f"{name}: {error}")
            continue
        for one in told["figures"]:
            if one["study"] == name:
                if store is None:
                    command = [study["program"], one["figure"], one["file"]]
                    subprocess.run([sys.executable, "-m", *command], check=True, cwd=ROOT)
                else:
                    command = ["lab", "plot", study["store"], one["figure"]]
                    _draw(command, one)
                record[one["file"]] = {
                    "sha256": digest(ROOT / one["file"]),
                    "command": " ".join(command),
                    "tables": tables,
                }
                print(one["file"])
        if "says" in study:
            _write_block(ROOT / study["page"], name, said(name, study))
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    return 0


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _draw(command: list[str], one: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", *command, "--out", folder], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
        )
        made = Path(folder) / f"{one.get('drawn', one['figure'])}.png"
        (ROOT / one["file"]).write_bytes(made.read_bytes())


def _tables(store: Path | None, study: dict[str, str]) -> dict[str, str]:
    """The tables that figures are drawn from, written where the study says, and their digests."""
    if "tables" not in study:
        return {}
    folder = ROOT / study["tables"]
    if store is None:
        found = sorted(path for end in ("csv", "json") for path in folder.glob(f"*.{end}"))
        return {f"{study['tables']}/{path.name}": digest(path) for path in found}
    folder.mkdir(parents=True, exist_ok=True)
    runs = analysis.read(store)
    if study["says"] == "compression":
        found = compressed(runs)
        frames = {"weights.csv": found.weights[list(WEIGHTS)], "medians.csv": found.medians}
        frames["methods.csv"] = _methods(found)
    else:
        frames = {"runs.csv": runs.frame, "abilities.csv": runs.abilities}
        for name, columns in (("runs.csv", RUNS), ("abilities.csv", SCORES)):
            frames[name] = frames[name][[column for column in columns if column in frames[name]]]
    for name, frame in frames.items():
        frame.to_csv(folder / name, index=False)
    return {f"{study['tables']}/{name}": digest(folder / name) for name in frames}


def _methods(found: Compressed) -> pandas.DataFrame:
    """Of each method the part of the bytes, the rise of the loss in per cent on each source, and the part of
    each ability that is left: medians over runs."""
    rows = []
    for one in found.by_method:
        rises = {f"loss +% {name}": value for name, value in one["loss_rise_percent"].items()}
        kept = {f"{name} left": value for name, value in one["kept"].items()}
        rows.append({"method": one["method"], "bytes": one["bytes_part"], **rises, **kept})
    return pandas.DataFrame(rows)


def said(name: str, study: dict[str, str]) -> str:
    """The block of a page, from the tables of a study alone."""
    folder = ROOT / study["tables"]
    if study["says"] == "next":
        return next_figures.told(next_figures.tables(folder))
    return compression(folder) if study["says"] == "compression" else sentences(folder)


def compression(folder: Path) -> str:
    """What docs/findings/compression.md says, from its tables."""
    weights, medians = (pandas.read_csv(folder / name) for name in ("weights.csv", "medians.csv"))
    law = penalty_law(weights)
    lines = [f"- {one}" for one in told(law, "", weights, medians)]
    names = {"tokens_exponent": "gD", "params_exponent": "gN", "bits_scale": "g"}
    values = ", ".join(
        f"{short} {getattr(law, name):.2f} [{low:.2f}, {high:.2f}], published {PUBLISHED[name]:.2f}"
        for name, short in names.items()
        for low, high in (law.intervals[name],)
    )
    lines.append(f"- Kumar's law, penalty = C tokens^gD / params^gN exp(-bits / g): {values}.")
    frame = pandas.read_csv(folder / "methods.csv")
    head = list(frame.columns)

    def cell(name: str, value: float | str) -> str:
        if name == "method":
            return str(value)
        if name == "bytes":
            return f"{value:.0%}"
        if name.endswith("left"):
            return f"{value:.2f}".replace("-0.00", "0.00")
        return f"{value:.2g}" if value < 100 else f"{value:.0f}"

    rows = [[cell(str(name), value) for name, value in row.items()] for row in frame.to_dict("records")]
    table = [head, ["---"] * len(head), *rows]
    return "\n".join([*lines, "", *(f"| {' | '.join(row)} |" for row in table)]) + "\n"


def tables(folder: Path) -> tuple[Runs, pandas.DataFrame]:
    """The runs of the language grid, and all ability scores, of a folder that `main` wrote."""
    runs = analysis.read(folder / "runs.csv").where(grid="language")
    return runs, pandas.read_csv(folder / "abilities.csv")


def exponents(fit: analysis.Fit) -> str:
    return ", ".join(
        f"{name} {fit.params[name]:.3g} [{low:.3g}, {high:.3g}]"
        for name, (low, high) in fit.intervals.items()
        if name in EXPONENTS
    )


def sentences(folder: Path) -> str:
    """What README says of the quick start, from its tables alone."""
    runs, scores = tables(folder)
    foretold = analysis.forecast(runs)
    fit, score = foretold.fit, foretold.score
    size = math.expm1(float(np.median(np.abs(fit.data["residual"]))))
    lines = [
        f"- **A law**, {fit.law.name}: `{tidy_formula(fit.law, fit.params)}`, fitted to {fit.points} "
        f"runs; half of them lie within {size:.1%} of it. {exponents(fit)} ({fit.level:.0%} intervals).",
        f"- **A forecast** of {score.cells} runs at up to {score.compute_ratio:.2g} times the fitted "
        f"compute: mean error {score.mean_abs_error_percent:.2g} %, {score.coverage:.0%} inside their "
        f"{foretold.level:.0%} interval.",
    ]
    many = analysis.fit(analysis.read(folder / "repetitions.csv"), level=fit.level)
    lines.append(
        f"- **Over ten seeds** ([runs](docs/quickstart/repetitions.csv)), fitted together: {exponents(many)}."
    )
    found = detect(scores)
    for task in dict.fromkeys(one.task for one in found.series):
        own = [one for one in found.series if one.task == task and one.metric in SHOWN]
        words = ", ".join(
            f"by {SHOWN[one.metric]} {one.verdict.upper()} (p {one.p_value:.2g})" for one in own
        )
        lines.append(f"- **`{task}`**: {words}.")
    return "\n".join(lines) + "\n"


def block(text: str, name: str) -> str:
    """What stands between a study's marks in a page."""
    begin, end = marks(name)
    return text.split(begin, 1)[1].split(end, 1)[0]


def marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: written by make figures -->\n", f"<!-- end of {name} -->"


def _write_block(page: Path, name: str, said: str) -> None:
    text = page.read_text()
    begin, end = marks(name)
    page.write_text(text.replace(begin + block(text, name) + end, begin + said + end))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
