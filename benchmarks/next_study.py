"""`python -m benchmarks.next_study [FOLDER]`: an adaptive run beside a grid of the same device time.

Three stores in FOLDER (runs/next): `grid`, sweeps/studies/adaptive.toml as it stands; `chosen`, the same
study by `lab run --adaptive` with the device time that the grid took; and `target`, one run of the largest
size at ten times the largest compute that either may give a run: by how much do both miss it? Each begins
with nothing compiled and no speed known, as on a machine of its own. All of it goes on where it was, whatever
interrupts it. Writes docs/next/study.csv.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas

import analysis as sl
from benchmarks.next_runs import ROOT, SIGMAS, TABLES
from lab.data import load
from sweeps.plan import cells as planned
from sweeps.plan import next_runs
from sweeps.plan.promised_intervals import BUILT_IN
from sweeps.store import step_times
from sweeps.store.store import Store
from sweeps.study import loader
from sweeps.study.overrides import to_toml
from sweeps.verbs.adaptive import Aim, place
from sweeps.verbs.next_runs import Asked

STUDY = ROOT / "sweeps" / "studies" / "adaptive.toml"


def run(study: Path, out: Path, *more: str) -> None:
    """`lab run` of the study into the store, with caches of its own beside it."""
    call = [sys.executable, "-m", "lab", "run", str(study), "--out", str(out), *more]
    caches = out.with_name(f"cache-{out.name}")
    subprocess.run(call, check=True, env={**os.environ, "XDG_CACHE_HOME": str(caches)})


def of_store(out: Path) -> tuple[step_times.Spent, next_runs.Known]:
    store = Store(out)
    return step_times.spent(store, store.study_files()), next_runs.of_runs(sl.read(out), BUILT_IN)


def target(folder: Path) -> Path:
    """The study of the one run that is foretold."""
    of = Asked(STUDY).family(STUDY)
    raw = tomllib.loads(STUDY.read_text())
    (grid,) = raw["grids"]
    kept = {key: value for key, value in grid.items() if key not in ("tokens", "max_flops", "sizes")}
    at = float(place(Aim("loss", "10x", 1.0), of))
    grid = kept | {"sizes": grid["sizes"][-1:], "flops": [at]}
    path = folder / "target.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_toml({**raw, "name": "target", "grids": [grid]}))
    return path


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


def main(folder: str = "runs/next") -> None:
    out = ROOT / folder
    foretold = target(out)
    (cell,) = planned.make(loader.load(foretold), load).cells
    n, d = next_runs.params_of(cell), cell.steps * cell.config.batch_tokens
    run(STUDY, out / "grid")
    spent, _ = of_store(out / "grid")
    aim = ["--budget", f"{spent.total:.0f}s", "--target", "loss", "--at", f"{n},{d}"]
    run(STUDY, out / "chosen", "--adaptive", *aim)
    run(foretold, out / "target")
    measured = float(np.log(sl.read(out / "target").columns["loss_nats"][0]))
    rows = []
    for name in ("chosen", "grid"):
        cost, seen = of_store(out / name)
        value, half = judged(seen, n, d)
        flops = 6 * seen.params * seen.tokens
        row = {"design": name, "runs": len(seen), "shapes": len(cost.beyond), "seconds": cost.total}
        row |= {"beyond_steps": sum(cost.beyond.values()), "largest": float(flops.max())}
        row |= {"target": 6 * n * d, "value": value, "half": half, "measured": measured}
        rows.append(row)
    TABLES.mkdir(parents=True, exist_ok=True)
    pandas.DataFrame(rows).to_csv(TABLES / "study.csv", index=False, float_format="%.5g")


if __name__ == "__main__":
    main(*sys.argv[1:])
