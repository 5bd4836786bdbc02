"""`python -m benchmarks.next_study [BUDGET] [FOLDER]`: an adaptive run beside a grid of the same device time.

Three stores in FOLDER (runs/next): `chosen`, by `lab run sweeps/studies/adaptive.toml --adaptive`; `even`, an
even grid that such a run begins with, as large as what `chosen` spent pays for at the prices seen there; and
`target`, one run at ten times the largest compute of the study's grid: by how much do both miss it? All of it
goes on where it was, whatever interrupts it. Writes docs/next/study.csv.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas

import analysis as sl
from benchmarks.next_runs import ROOT, SIGMAS, TABLES
from sweeps.plan import next_runs
from sweeps.plan.next_cells import There, chosen_study, of_family
from sweeps.plan.promised_intervals import BUILT_IN
from sweeps.store import step_times
from sweeps.store.store import Store
from sweeps.study.overrides import to_toml
from sweeps.verbs.adaptive import Aim, place
from sweeps.verbs.next_runs import Asked

STUDY = ROOT / "sweeps" / "studies" / "adaptive.toml"


def run(study: Path, out: Path, *more: str) -> None:
    subprocess.run([sys.executable, "-m", "lab", "run", str(study), "--out", str(out), *more], check=True)


def of_store(out: Path, expected=BUILT_IN) -> tuple[Store, step_times.Spent, next_runs.Known]:
    store = Store(out)
    return store, step_times.spent(store, store.study_files()), next_runs.of_runs(sl.read(out), expected)


def written(folder: Path, of, name: str, cells) -> Path:
    path = folder / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_toml(chosen_study(of, name, cells)))
    return path


def even(folder: Path, of, spent: step_times.Spent, chosen: Store) -> Path:
    """The study of the even grid that what was spent pays for."""
    start = float(np.median(list(spent.beyond.values())))
    candidates = of_family(of, There(step_times.seen(chosen), new=start))
    widths, budgets = len(of.sizes), len(of.budgets)
    grids = [
        next_runs.starter(candidates, spent.total, sizes, tokens)
        for sizes in range(3, min(7, widths) + 1)
        for tokens in range(3, min(6, budgets) + 1)
    ]
    costs = next_runs.costs_of(candidates)
    best = max(grids, key=costs.of)
    return written(folder, of, "even", [candidates.cells[index] for index in best])


def target_cell(of, at: float):
    """The candidate whose compute is nearest to `at`, of those with the tokens a parameter of the middle."""
    cells = of.every.cells
    n = np.array([next_runs.params_of(cell) for cell in cells], float)
    d = np.array([cell.steps * cell.config.batch_tokens for cell in cells], float)
    far = np.abs(np.log(6 * n * d / at)) + 0.25 * np.abs(np.log(d / n / np.median(d / n)))
    return cells[int(np.argmin(far))], float(n[np.argmin(far)]), float(d[np.argmin(far)])


def judged(known: next_runs.Known, n: float, d: float) -> tuple[float, float]:
    """(log loss at the target, half the width of a new run's interval)."""
    from analysis.designs.outlook import Cells, outlook
    from analysis.designs.targets import Target
    from sweeps.plan.scatter import numbered

    have = Cells(known.params, known.tokens, numbered(known.params, known.seeds), known.log_loss)
    none = Cells(np.zeros(0), np.zeros(0), np.zeros(0, int))
    seen = outlook(known.laws, Target("loss", params=n, tokens=d), have, none, known.scatter)
    scatter = known.scatter
    own = scatter.model**2 + scatter.trunk**2 + scatter.run**2
    return seen.value, SIGMAS * float(np.sqrt(seen.variance() + own))


def main(budget: str = "12min", folder: str = "runs/next") -> None:
    out = ROOT / folder
    of = Asked(STUDY).family(STUDY)
    cell, n, d = target_cell(of, float(place(Aim("loss", "10x", 1.0), of)))
    at = f"{n:.0f},{d:.0f}"
    run(STUDY, out / "chosen", "--adaptive", "--budget", budget, "--target", "loss", "--at", at)
    store, spent, known = of_store(out / "chosen")
    grid = out / "even.toml"
    run(grid if grid.is_file() else even(out, of, spent, store), out / "even")
    run(written(out, of, "target", [cell]), out / "target")
    log_loss = float(np.log(sl.read(out / "target").columns["loss_nats"][0]))
    rows = []
    for name, (_, cost, seen) in (("chosen", (store, spent, known)), ("even", of_store(out / "even"))):
        value, half = judged(seen, n, d)
        row = {"design": name, "runs": len(seen), "shapes": len(cost.beyond), "seconds": cost.total}
        row |= {
            "beyond_steps": sum(cost.beyond.values()),
            "largest": float((6 * seen.params * seen.tokens).max()),
        }
        rows.append(row | {"target": 6 * n * d, "value": value, "half": half, "measured": log_loss})
    TABLES.mkdir(parents=True, exist_ok=True)
    pandas.DataFrame(rows).to_csv(TABLES / "study.csv", index=False, float_format="%.5g")


if __name__ == "__main__":
    main(*sys.argv[1:])
