"""`lab export`: the runs of a store as TensorBoard, Weights & Biases (offline) or MLflow know them.

The store stays what it is; what is written is a copy for those tools. Each needs the extra ``export``.
"""

import contextlib
import importlib
import json
import logging
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from lab.errors import InputError
from lab.files import Refused
from lab.runs.folder import RunFolder
from sweeps.arguments import Json, StudyFile
from sweeps.exchange import wandb_files
from sweeps.store.store import Store

Target = Literal["tensorboard", "wandb", "mlflow"]
# These clients report on their own use and errors unless told not to before they are imported.
_TELLING_NOBODY = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_MODE": "offline",
    "DO_NOT_TRACK": "true",
}
_MODULE = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}


@dataclass(frozen=True)
class Exported:
    """One run as it is exported: plain values under the names of the table, series by step."""

    run_id: str
    study: str
    row: dict
    scores: dict[str, float]  # task/metric -> score
    series: list[tuple[int, dict[str, float]]]  # step -> name -> value


def export(argv: list[str]) -> int:
    def command(store: StudyFile, to: Target, out: Path, as_json: Json = False) -> int:
        """Write the runs of a store for TensorBoard, Weights & Biases (offline) or MLflow.

        For CSV, Parquet and JSON see `lab table`.

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
        _need(to)
        write = {"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow}[to]
        count = write(runs(Store(store)), out)
        print(json.dumps({"to": to, "out": str(out), "runs": count}) if as_json else f"{count} runs in {out}")
        return 0

    return tyro.cli(command, args=argv, prog="lab export")


def _need(to: Target) -> None:
    os.environ.update(_TELLING_NOBODY)
    try:
        importlib.import_module(_MODULE[to])
    except ImportError:
        raise InputError(
            f"--to {to}: the package {_MODULE[to]} is missing; "
            "pip install --require-hashes -r requirements-dev.lock"
        ) from None


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
        prefix = "val" if line.get("kind") == "val" else "train"
        if line.get("kind") not in (None, "val") or "step" not in line:
            continue
        values = {
            f"{prefix}/{key}": float(value)
            for key, value in line.items()
            if key not in ("step", "kind") and isinstance(value, int | float) and not isinstance(value, bool)
        }
        yield int(line["step"]), values


def _numbers(row: dict) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def tensorboard(found: Iterator[Exported], out: Path) -> int:
    """An event file a run in ``out/<run id>``: series by step, results under ``result/``, the row as text."""
    from tensorboardX import SummaryWriter

    count = 0
    for run in found:
        with SummaryWriter(logdir=str(out / run.run_id), write_to_disk=True) as writer:
            for step, values in run.series:
                for name, value in values.items():
                    writer.add_scalar(name, value, step)
            last = run.series[-1][0] if run.series else 0
            for name, value in {**_numbers(run.row), **run.scores}.items():
                writer.add_scalar(f"result/{name}", value, last, display_name=name)
            writer.add_text("row", json.dumps({**run.row, "study": run.study}), last)
        for file in (out / run.run_id).glob("events.out.tfevents.*"):  # the name ends with the host's
            stamp = file.name.split(".")[3]
            file.rename(file.with_name(f"events.out.tfevents.{stamp}.{run.run_id}"))
        count += 1
    return count


def wandb(found: Iterator[Exported], out: Path) -> int:
    """Offline runs, to be sent with ``wandb sync OUT/wandb/offline-run-*``. Nothing is sent from here."""
    import wandb as client

    os.environ.setdefault("WANDB_SILENT", "true")
    out.mkdir(parents=True, exist_ok=True)
    count = 0
    for run in found:
        settings = client.Settings(
            mode="offline",
            silent=True,
            console="off",
            disable_git=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
            host=f"{platform.system()} {platform.machine()}",
            root_dir=str(out),
        )
        group = run.study or None
        with client.init(
            project=group or "store",
            id=run.run_id,
            name=run.run_id,
            group=group,
            config=run.row,
            settings=settings,
        ) as session:
            for step, values in run.series:
                session.log({**values, "step": step}, step=step)
            session.summary.update({**_numbers(run.row), **run.scores})
        wandb_files.wait(Path(session.settings.sync_file))
        count += 1
    client.teardown()
    for path in (out / "wandb").rglob("*"):  # its logs, and links by whole paths, tell of this machine
        if path.is_symlink() or path.suffix == ".log":
            path.unlink()
    return count


def mlflow(found: Iterator[Exported], out: Path) -> int:
    """A file store with an experiment a study: the row as parameters, numbers and scores as metrics."""
    # its newer versions ask for a database unless told otherwise; a folder is what can be copied and read
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    out.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=out.resolve().as_uri())
    experiments: dict[str, str] = {}
    count = 0
    for run in found:
        name = run.study or "store"
        if name not in experiments:
            experiments[name] = client.create_experiment(name, artifact_location=f"mlflow-artifacts:/{name}")
        target = client.create_run(experiments[name], run_name=run.run_id).info.run_id
        last = run.series[-1][0] if run.series else 0
        points = [(key, value, step) for step, values in run.series for key, value in values.items()]
        points += [(key, value, last) for key, value in {**_numbers(run.row), **run.scores}.items()]
        metrics = [Metric(key, value, 0, step) for key, value, step in points]
        params = [Param(key, str(value)) for key, value in run.row.items() if value is not None]
        for start in range(0, max(len(metrics), 1), 500):  # a batch holds 1000 entities, of them 100 params
            client.log_batch(target, metrics[start : start + 500])
        client.log_batch(target, params=params[:100], tags=[RunTag("run_id", run.run_id)])
        ok = run.row["status"] == "ok"
        client.set_terminated(target, "FINISHED" if ok else "FAILED", end_time=None)
        count += 1
    return count
