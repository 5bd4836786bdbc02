"""Runs as TensorBoard, Weights & Biases (offline) or MLflow (a folder) know them, while they train or after.

One class a tool, with ``log`` for series and ``close`` for what came out: `lab run --log` calls it between
steps, `lab export` with what a store holds. Nothing is sent anywhere. Each needs the extra ``export``.
"""

import importlib
import json
import logging
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from lab.errors import InputError

Target = Literal["tensorboard", "wandb", "mlflow"]
# These clients report on their own use and errors unless told not to before they are imported.
_TELLING_NOBODY = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_MODE": "offline",
    "DO_NOT_TRACK": "true",
}
_MODULE = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}


class Tracker(Protocol):
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step, under names as ``train/loss_nats``."""

    def close(self, row: Mapping, scores: Mapping[str, float]) -> None:
        """The row of the table and scores by task/metric; both empty for a run that goes on later."""


def need(to: Target, option: str) -> None:
    """Raises InputError, one line, where the tool's package is missing. Tells the clients to send nothing."""
    os.environ.update(_TELLING_NOBODY)
    try:
        importlib.import_module(_MODULE[to])
    except ImportError:
        raise InputError(
            f"{option} {to}: the package {_MODULE[to]} is missing; "
            "pip install --require-hashes -r requirements-dev.lock"
        ) from None


def opened(to: Target, out: Path, run_id: str, study: str, row: Mapping | None = None) -> Tracker:
    """A tracker of one run below ``out``. ``row``: what is known of the run by now."""
    made = {"tensorboard": TensorBoard, "wandb": Wandb, "mlflow": MLflow}[to]
    return made(out, run_id, study, row or {})


def numbers(values: Mapping) -> dict[str, float]:
    """Those values that are numbers."""
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def series(line: Mapping) -> dict[str, float]:
    """What a record of ``metrics.jsonl`` gives to log: ``train/...``, or ``val/...`` of a validation."""
    if line.get("kind") not in (None, "val") or "step" not in line:
        return {}
    prefix = "val" if line.get("kind") == "val" else "train"
    kept = {key: value for key, value in line.items() if key not in ("step", "kind")}
    return {f"{prefix}/{key}": value for key, value in numbers(kept).items()}


class TensorBoard:
    """An event file in ``out/<run id>``: series by step, results under ``result/``, the row as text."""

    def __init__(self, out: Path, run_id: str, study: str, row: Mapping):
        from tensorboardX import SummaryWriter

        self._folder, self._run_id, self._study, self._last = out / run_id, run_id, study, 0
        self._writer = SummaryWriter(logdir=str(self._folder), write_to_disk=True, flush_secs=5)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._last = step
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, row: Mapping, scores: Mapping[str, float]) -> None:
        for name, value in {**numbers(row), **scores}.items():
            self._writer.add_scalar(f"result/{name}", value, self._last, display_name=name)
        if row:
            self._writer.add_text("row", json.dumps({**row, "study": self._study}), self._last)
        self._writer.close()
        for file in self._folder.glob("events.out.tfevents.*"):
            if file.suffix != f".{self._run_id}":  # it ends with the host's name
                stamp, to = int(file.name.split(".")[3]), file
                while to.exists():  # a second holds one attempt
                    to = file.with_name(f"events.out.tfevents.{stamp}.{self._run_id}")
                    stamp += 1
                file.rename(to)


class Wandb:
    """An offline run below ``out/wandb``, for ``wandb sync``. Nothing is sent from here."""

    def __init__(self, out: Path, run_id: str, study: str, row: Mapping):
        import wandb

        os.environ.setdefault("WANDB_SILENT", "true")
        out.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            mode="offline",
            silent=True,
            console="off",
            disable_git=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
            host=f"{platform.system()} {platform.machine()}",
            root_dir=str(out),
            resume="allow",
            reinit="create_new",  # a worker has one run after another, and packs several at once
        )
        group = study or None
        self._run = wandb.init(
            project=group or "store", id=run_id, name=run_id, group=group, config=dict(row), settings=settings
        )
        self.file = Path(self._run.settings.sync_file)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step}, step=step)

    def close(self, row: Mapping, scores: Mapping[str, float]) -> None:
        self._run.config.update(dict(row), allow_val_change=True)
        self._run.summary.update({**numbers(row), **scores})
        self._run.finish()


class MLflow:
    """A run in a file store, in the study's experiment: the row as parameters, numbers and scores as metrics.

    A run that is there is gone on with; it is known by its tag ``run_id``.
    """

    def __init__(self, out: Path, run_id: str, study: str, row: Mapping):
        # its newer versions ask for a database unless told otherwise; a folder can be copied and read
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        out.mkdir(parents=True, exist_ok=True)
        self._client, name, self._last = (
            MlflowClient(tracking_uri=out.resolve().as_uri()),
            study or "store",
            0,
        )
        found = self._client.get_experiment_by_name(name)
        try:
            place = f"mlflow-artifacts:/{name}"
            experiment = found.experiment_id if found else self._client.create_experiment(name, place)
        except MlflowException:  # another worker made it meanwhile
            experiment = self._client.get_experiment_by_name(name).experiment_id
        before = self._client.search_runs([experiment], f"tags.run_id = '{run_id}'", max_results=1)
        if before:
            self._run = before[0].info.run_id
        else:
            made = self._client.create_run(experiment, run_name=run_id, tags={"run_id": run_id})
            self._run = made.info.run_id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._last = step
        self.log_many([(name, value, step) for name, value in values.items()])

    def log_many(self, points: list[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(name, value, 0, step) for name, value, step in points]
        for start in range(0, len(metrics), 500):  # a batch holds 1000 entities, of them 100 params
            self._client.log_batch(self._run, metrics[start : start + 500])

    def close(self, row: Mapping, scores: Mapping[str, float]) -> None:
        from mlflow.entities import Param

        self.log_many([(name, value, self._last) for name, value in {**numbers(row), **scores}.items()])
        params = [Param(key, str(value)) for key, value in row.items() if value is not None]
        self._client.log_batch(self._run, params=params[:100])
        if row:
            status = "FINISHED" if row.get("status") == "ok" else "FAILED"
            self._client.set_terminated(self._run, status, end_time=None)
