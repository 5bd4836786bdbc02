"""Held-out errors of every published table by law, as one table: `python tests/analysis/published.py [NAME]`.

`python tests/analysis/published.py rules [NAME]` compares the blend of laws with the law that leads it.

For each table the runs of most compute are held out as `lab forecast` does it, and every law is also rolled
over growing windows of compute. Printed are each law's weight (by earlier errors, on fitted runs alone), the
median size of its errors by factor of distance, its error on the held-out runs, and its rank there; then the
blend, what lies inside its interval, and whether the earlier windows would have chosen the law that won.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import analysis as sl

LAWS = ("chinchilla", "chinchilla-tied", "kaplan", "coupled")
BINS = ((1.0, 3.0), (3.0, 10.0), (10.0, np.inf))


def folder() -> Path:
    root = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("SCALING_LAB_ORACLES", root.parent / "shared" / "oracles"))


def _read(file: Path, columns=None, **where) -> sl.Runs:
    runs = sl.read(file, columns)
    return runs.where(**where) if where else runs


def _one_epoch(file: Path) -> sl.Runs:
    frame = sl.read(file).frame
    return sl.as_runs(frame[frame["tokens"] <= 1.01 * frame["unique_tokens"]])


def _ladder(file: Path, task: str) -> sl.Runs:
    """Final runs of the ladder of arXiv 2412.04403, the loss of one task; its large runs held out."""
    frame = sl.read(file, {"params": "N", "loss": f"eval/downstream_bpb/{task}_rc_5shot_bpb"}).frame
    last = frame.dropna(subset=["loss"]).sort_values("_step").groupby("run").tail(1)
    return sl.as_runs(last.assign(held_out=last["mode"] == "eval"))


def tables(where: Path) -> Iterator[tuple[str, Callable[[], sl.Runs]]]:
    """(name, how to read it) of every published table with params, tokens and a loss."""
    yield "epoch_chinchilla", lambda: _read(where / "epoch_chinchilla/svg_extracted_data.csv")
    yield "kyo_takano", lambda: _read(where / "kyo_takano/df.csv")
    yield "datablations, one epoch", lambda: _one_epoch(where / "datablations/fit_subset_182.csv")
    for source in ("c4_original", "rpj", "rw_original"):
        file, loss = where / "gadre2024/models_104.csv", {"loss": "loss_c4_val"}
        yield f"gadre {source}", lambda s=source, f=file, c=loss: _read(f, c, train_dataset=s)
    isoflop, columns = where / "porian2024/isoflop_points.csv", {"params": "n", "tokens": "t"}
    for data, tuned in (("rw", "tuned"), ("rw", "base"), ("owt2", "tuned"), ("owt2", "base")):
        rows = {"dataset": data, "hparams": tuned, "param_count": "standard", "val": "val"}
        yield f"porian {data} {tuned}", lambda r=rows: _read(isoflop, columns, **r)
    for task in ("hellaswag_val", "arc_challenge_test", "csqa_val"):
        yield f"olmo ladder {task}", lambda t=task: _ladder(where / "olmo_ladder/ladder_runs_rc.csv", t)


def _medians(runs: sl.Runs, law: str) -> list[str]:
    """Median size of the errors in percent, by distance beyond the windows of compute."""
    try:
        made = sl.rollout(runs, "flops", law=law).misses
    except sl.InputError:
        return ["-"] * len(BINS)
    error = np.array([abs(miss.error_percent) for miss in made])
    far = np.array([miss.distance for miss in made])
    parts = [error[(far > low) & (far <= high)] for low, high in BINS]
    return [f"{np.median(part):.2f}" if len(part) else "-" for part in parts]


def scored(name: str, runs: sl.Runs, level: float = 0.9):
    """(lines, leading law's rank, leading law's error, the best law's, the blend's, inside, log width)."""
    found = sl.forecast(runs, bootstrap=200, level=level)
    held = runs if not runs.columns.get("held_out", np.zeros(1, bool)).any() else _fitted(runs)
    tried = [one for one in found.rivals if one.held_out_error_percent is not None]
    order = sorted(tried, key=lambda one: one.held_out_error_percent)
    lines = []
    for one in tried:
        earlier = "-" if one.earlier_error_percent is None else f"{one.earlier_error_percent:.2f}"
        cells = [f"{one.weight:.2f}", earlier, *_medians(held, one.law), f"{one.held_out_error_percent:.2f}"]
        lines.append((name, one.law, *cells, str(1 + order.index(one))))
    score = found.score
    width = float(np.mean([np.log(cell.high / cell.low) for cell in found.cells]))
    summary = ["", "", "", "", "", f"{score.mean_abs_error_percent:.2f}", f"{100 * score.coverage:.0f} % in"]
    lines.append((name, f"blend, {score.cells} runs", *summary))
    best = order[0].held_out_error_percent
    lead = tried[0].held_out_error_percent
    rank = 1 + order.index(tried[0])
    return lines, rank, lead, best, score.mean_abs_error_percent, score.coverage, width


def cuts(runs: sl.Runs) -> Iterator[sl.Runs]:
    """The table, and what it was when its largest run had a fifth or a twenty-fifth of the compute."""
    runs = _fitted(runs) if "held_out" in runs.columns else runs
    flops = runs.columns["flops"]
    for share in (1.0, 0.2, 0.04):
        rows = flops <= share * np.nanmax(flops) * 1.001
        if rows.sum() >= 12:
            yield sl.as_runs({name: values[rows] for name, values in runs.columns.items()})


def rules(where: Path, only: str = "") -> None:
    """Hits, median width and error of forecasts ten times beyond, a line a table as it is done, and of all:
    the blend beside its leading law alone."""
    every: dict[str, list] = {"leading law alone": [], "blend": []}
    for name, read in tables(where):
        if only not in name:
            continue
        before = len(every["blend"])
        for cut in cuts(read()):
            try:
                blend = sl.forecast(cut, bootstrap=60)
                alone = sl.forecast(cut, law=blend.fit.law.name, bootstrap=60)
            except sl.InputError:
                continue
            for rule, one in zip(every, (alone, blend), strict=True):
                with np.errstate(divide="ignore"):  # an interval may reach down to nothing
                    width = np.median([np.log(cell.high) - np.log(cell.low) for cell in one.cells])
                every[rule].append((one.score.coverage, np.log(width), one.score.mean_abs_error_percent))
        for rule, values in every.items():
            print(f"{name:32}{rule:20}{summed(values[before:])}", flush=True)
    for rule, values in every.items():
        print(f"{'all':32}{rule:20}{summed(values)}")


def summed(values: list[tuple[float, float, float]]) -> str:
    """Of cuts (coverage, log width, error in percent): what they come to."""
    if not values:
        return "no forecast"
    inside, width, error = np.mean(values, axis=0)
    return f"{len(values)} cuts: {inside:.1%} inside 90 %, width {np.exp(width):.3f}, error {error:.2f} %"


def _fitted(runs: sl.Runs) -> sl.Runs:
    frame = runs.frame
    return sl.as_runs(frame[~frame["held_out"]].drop(columns="held_out"))


def show(where: Path, only: str = "") -> None:
    """Prints the table and its summary."""
    head = ("table", "law", "weight", "earlier", "to 3 x", "to 10 x", "beyond", "held out", "rank")
    form = "{:32}{:18}{:>8}{:>9}{:>8}{:>9}{:>8}{:>10}{:>9}"
    print("median size of errors in percent by distance; mean size on held-out runs")
    print(form.format(*head))
    totals = []
    for name, read in tables(where):
        if only not in name:
            continue
        try:
            lines, *numbers = scored(name, read())
        except sl.InputError as error:
            print(f"{name:32}{error.problems[0]}")
            continue
        for line in lines:
            print(form.format(*line), flush=True)
        totals.append(numbers)
    if not totals:
        return
    rank, lead, best, blend, inside, width = (np.array(column) for column in zip(*totals, strict=True))
    print(
        f"\n{len(totals)} tables: earlier windows lead to the law that won in {np.mean(rank == 1):.0%}, ",
        end="",
    )
    print(f"to one of the two best in {np.mean(rank <= 2):.0%}")
    print(f"mean error: best law in hindsight {best.mean():.2f} %, law led to {lead.mean():.2f} %, ", end="")
    print(f"blend {blend.mean():.2f} %")
    print(f"inside 90 %: {inside.mean():.1%} of the runs of a table; mean log width {width.mean():.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["rules"]:
        rules(folder(), *sys.argv[2:3])
    else:
        show(folder(), *sys.argv[1:2])
