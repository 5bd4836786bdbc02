"""What the verbs of one model share: data, a trained run, how a row is printed."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lab.config import RunConfig
from lab.data import DataConfig, Dataset
from lab.errors import InputError
from lab.runs.folder import RunFolder, completed_steps
from lab.strict import build


def load_data(config: DataConfig) -> Dataset:
    """The data set, with lines on stderr while a corpus is built for the first time."""
    from lab import data

    dataset = data.load(config, progress=Progress(config.label))
    if told := dataset.facts.get("preparation"):
        print(told, file=sys.stderr, flush=True)
    return dataset


@dataclass
class Progress:
    """A line on stderr every few seconds, and one at the end; bytes are said in millions."""

    name: str
    every: float = 5.0
    _last: float = 0.0

    def __call__(self, done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if done < total and now - self._last < self.every:
            return
        self._last = now
        scale, unit = (1e6, "MB") if what == "bytes" else (1, what)
        said = f"building {self.name}: {done / scale:,.0f} of {total / scale:,.0f} {unit}"
        print(said, file=sys.stderr, flush=True)


def load_run(path: Path):
    """Configuration, parameters and data of a finished run, or of one that `lab compress --export` wrote."""
    from lab.compression import packed
    from lab.machine import devices

    folder = RunFolder(path)
    spec = folder.spec()
    if spec is None:
        raise InputError(f"{path}: no spec.json here; should be a run folder, such as DIR/runs/<run id>")
    steps, is_packed = completed_steps(folder.final), (path / packed.NAME).is_file()
    if not steps and not is_packed:
        raise InputError(f"{path}: run {spec['run_id']} has no trained parameters (yet)")
    config = build(RunConfig, spec["config"], str(path / "spec.json"))
    devices.configure()
    dataset = load_data(config.data)
    if dataset.digest != spec["data_digest"]:
        warn(
            f"{path}: the data have changed since training: digest {dataset.digest[:12]}, "
            f"was {spec['data_digest'][:12]}"
        )
    devices.enable_compilation_cache()

    from lab.runs.checkpoint import Checkpoints, DamagedCheckpoint, UnreadCheckpoint
    from lab.training import train as training

    try:
        shapes = training.state_shapes(config, dataset.vocab_size).params
        if is_packed:
            return config, packed.params(path / packed.NAME, shapes), dataset
        return config, Checkpoints(folder.final).restore(steps[-1], shapes), dataset
    except (DamagedCheckpoint, UnreadCheckpoint) as damage:
        raise InputError(str(damage)) from damage


def warn(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def print_row(row: dict, scores: list[dict]) -> None:
    keys = (
        "run_id",
        "status",
        "params_total",
        "tokens",
        "flops_exact",
        "loss_nats",
        "loss_se",
        "bits_per_byte",
        "reason",
    )
    for key in keys:
        if row.get(key) is not None:
            value = row[key]
            print(f"{key:<14} {value:.6g}" if isinstance(value, float) else f"{key:<14} {value}")
    for score in scores:
        chance = "" if score.get("chance") is None else f"  chance {score['chance']:.4g}"
        error = "" if score.get("se") is None else f" ± {score['se']:.4f}"
        print(f"{score['task']:<24} {score['metric']:<20} {score['score']:.4f}{error}{chance}")
