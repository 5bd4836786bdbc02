"""The quick start again with other seeds: which of its statements hold every time, and which were luck.

``python -m benchmarks.repetitions FOLDER --repetitions 10`` trains repetition k with the seeds moved by
k times their number (a store each; an interrupted one goes on where it was), then prints a row a repetition,
from the JSON of ``lab fit``, ``lab forecast`` and ``lab thresholds``, and counts; FOLDER/repetitions.csv has
the runs of all (docs/quickstart/repetitions.csv). Ten take about 110 CPU minutes.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas

STUDY = Path(__file__).parents[1] / "sweeps" / "studies" / "quickstart.toml"
# What the first page promises: induction appears with the second layer by either metric; neither facts nor a
# coin is called emergent by exact match.
WANTED = {
    ("induction-8", "exact_match"): {"emergent"},
    ("induction-8", "gold_nats"): {"emergent"},
    ("facts", "exact_match"): {"smooth", "undecided", "metric_artifact"},
    ("coin", "exact_match"): {"flat", "undecided"},
}

TOGETHER = (
    *("run_id", "grid", "status", "seed", "held_out", "source", "width", "layers", "heads", "params_total"),
    *("params_embedding", "params_head", "params_matrices", "params_vectors", "cluster", "tokens"),
    *("batch_tokens", "learning_rate", "flops_6nd", "loss_nats"),
)


def moved(study: str, k: int) -> str:
    """The study's text with every list of seeds moved by k times its length, so repetitions share none."""

    def other(found: re.Match[str]) -> str:
        seeds = [int(word) for word in found[1].split(",")]
        return f"seeds = {[seed + k * len(seeds) for seed in seeds]}"

    return re.sub(r"^seeds = \[([\d, ]+)\]", other, study, flags=re.MULTILINE)


def lab(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", *words], stdout=subprocess.PIPE, text=True, check=True
    )


def read(verb: str, store: Path, *words: str) -> dict[str, Any]:
    return json.loads(lab(verb, str(store), *words, "--json").stdout)


def relative(fit: dict[str, Any], name: str) -> float:
    """Half an interval's width in units of its value."""
    low, high = fit["intervals"][name]
    return (high - low) / 2 / abs(fit["params"][name])


def read_all(store: Path) -> dict[str, Any]:
    """What one repetition says."""
    fit, forecast = read("fit", store), read("forecast", store)
    series = {
        (s["task"], s["metric"]): s for s in read("thresholds", store)["series"] if s["axis"] == "params"
    }
    return {
        "fit": fit,
        "chinchilla": fit if fit["law"] == "chinchilla" else read("fit", store, "--law", "chinchilla"),
        "error": forecast["score"]["mean_abs_error_percent"],
        "inside": [cell["inside"] for cell in forecast["cells"]],
        "verdicts": {key: series[key]["verdict"] for key in WANTED},
    }


def with_interval(fit: dict[str, Any], name: str) -> str:
    if name not in fit["params"]:
        return "none"
    low, high = fit["intervals"][name]
    return f"{fit['params'][name]:.2f} [{low:.2f}, {high:.2f}]"


def line(k: int, said: dict[str, Any]) -> str:
    fit, inside = said["fit"], said["inside"]
    cells = [str(k), fit["law"], *(with_interval(fit, name) for name in ("E", "alpha", "beta"))]
    cells += [f"{said['error']:.2f} %", f"{sum(inside)} of {len(inside)}", *said["verdicts"].values()]
    return f"| {' | '.join(cells)} |"


def counts(repetitions: list[dict[str, Any]]) -> list[str]:
    """One line a promise: in how many repetitions it holds."""
    n = len(repetitions)
    fits, forms = [said["fit"] for said in repetitions], [said["chinchilla"] for said in repetitions]
    laws = [fit["law"] for fit in fits]
    inside = [cell for said in repetitions for cell in said["inside"]]
    lines = [f"leads: {law}, {laws.count(law)} of {n}" for law in sorted(set(laws))]
    floors = sum("E" in fit["params"] and fit["intervals"]["E"][0] > 0 for fit in fits)
    lines.append(f"E's 95 % interval excludes 0: {floors} of {n}")
    for name in ("alpha", "beta"):
        narrow = sum(relative(form, name) <= 0.3 for form in forms)
        lines.append(f"chinchilla's {name} within 30 % (95 %): {narrow} of {n}")
    lines.append(f"held-out error at most 1 %: {sum(said['error'] <= 1 for said in repetitions)} of {n}")
    lines.append(f"held-out runs inside their 90 %: {sum(inside)} of {len(inside)}")
    for (task, metric), wanted in WANTED.items():
        right = sum(said["verdicts"][task, metric] in wanted for said in repetitions)
        lines.append(f"{task} by {metric}, {' or '.join(sorted(wanted))}: {right} of {n}")
    return lines


def together(stores: list[Path]) -> pandas.DataFrame:
    """The runs on text of all repetitions, a cluster for each shape and seed."""
    tables = []
    for k, store in enumerate(stores):
        path = store / "table.csv"
        lab("table", str(store), "--out", str(path))
        table = pandas.read_csv(path)
        path.unlink()
        tables.append(
            table[table["grid"] == "language"].assign(cluster=lambda t, k=k: f"{k}." + t["cluster"])
        )
    rows = pandas.concat(tables)[list(TOGETHER)].round({"loss_nats": 6})
    return rows.sort_values(["seed", "width", "tokens"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a store a repetition is made below it")
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--study", type=Path, default=STUDY)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    titles = ["repetition", "law", "E", "alpha", "beta", "held-out error", "inside 90 %"]
    titles += [f"{task} {metric}" for task, metric in WANTED]
    print("| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|", flush=True)
    said, stores = [], [args.folder / f"repetition{k}" for k in range(args.repetitions)]
    for k, store in enumerate(stores):
        study = args.folder / f"repetition{k}.toml"
        study.write_text(moved(args.study.read_text(), k))
        lab("run", str(study), "--out", str(store))
        said.append(read_all(store))
        print(line(k, said[-1]), flush=True)
    print("\n" + "\n".join(counts(said)))
    together(stores).to_csv(args.folder / "repetitions.csv", index=False)


if __name__ == "__main__":
    main()
