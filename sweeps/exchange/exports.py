"""`lab export`: the runs of a store as TensorBoard, Weights & Biases (offline) or MLflow know them.

The store stays what it is; what is written is a copy for those tools. Each needs the extra ``export``.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro

from lab.errors import InputError
from lab.files import Refused
from lab.runs import trackers
from lab.runs.folder import RunFolder
from sweeps.arguments import Json, StudyFile
from sweeps.exchange import wandb_files
from sweeps.store.store import Store


@dataclass(frozen=True)
class Exported:
    """One run as it is exported: plain values under the names of the table, series by step."""

    run_id: str
    study: str
    row: dict
    scores: dict[str, float]  # task/metric -> score
    series: list[tuple[int, dict[str, float]]]  # step -> name -> value


def export(argv: list[str]) -> int:
    def command(store: StudyFile, to: trackers.Target, out: Path, as_json: Json = False) -> int:
        """Write the runs of a store for TensorBoard, Weights & Biases (offline) or MLflow.

        For CSV, Parquet and JSON see `lab table`; one trained model for Hugging Face transformers:
        `lab export --model RUN --out DIR`.

        Args:
            store: the store.
            to: tensorboard: event files, a folder a run; wandb: offline runs for `wandb sync`; mlflow: a file
                store.
            out: folder to write to; it must be empty or not there, so that no run is there twice.
            as_json: print one JSON object.
        """
        if not (store / "runs").is_dir():
            raise InputError(f"{store}: not a store folder: it has no runs/")
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out}: is not empty; name a new folder, so that no run is there twice")
        trackers.need(to, "--to")
        count = write(to, runs(Store(store)), out)
        print(json.dumps({"to": to, "out": str(out), "runs": count}) if as_json else f"{count} runs in {out}")
        return 0

    return tyro.cli(command, args=argv, prog="lab export")


def runs(store: Store) -> Iterator[Exported]:
    """Every run that has a result or a training log; trunks are no runs of their own."""
    studies: dict[str, str] = {}
    for path in store.study_files():
        with contextlib.suppress(Refused):  # torn: its runs are there all the same
            for cell in store.study(path)["cells"]:
                studies.setdefault(cell["run_id"], path.stem)
    for run_id in sorted(store.names()):
        folder = store.run(run_id)
        result = folder.result()
        spec = folder.spec() or {}
        if result is None and (spec.get("kind") != "run" or not folder.metrics()):
            continue
        row = {"run_id": run_id, "status": "unfinished", **(result or {}).get("row", {})}
        scores = {
            f"{s['task']}/{s['metric']}": s["score"]
            for s in (result or {}).get("abilities") or ()
            if s.get("score") is not None
        }
        yield Exported(run_id, studies.get(run_id, ""), row, scores, list(_series(folder)))


def _series(folder: RunFolder) -> Iterator[tuple[int, dict[str, float]]]:
    for line in folder.metrics():
        if values := trackers.series(line):
            yield int(line["step"]), values


def write(to: trackers.Target, found: Iterator[Exported], out: Path) -> int:
    """Returns the number of runs."""
    count = 0
    for run in found:
        tracker = trackers.opened(to, out, run.run_id, run.study, run.row)
        for step, values in run.series:
            tracker.log(step, values)
        tracker.close(run.row, run.scores)
        if isinstance(tracker, trackers.Wandb):
            wandb_files.wait(tracker.file)
        count += 1
    if to == "wandb":
        import wandb

        wandb.teardown()
        for path in (out / "wandb").rglob("*"):  # its logs, and links by whole paths, tell of this machine
            if path.is_symlink() or path.suffix == ".log":
                path.unlink()
    return count
