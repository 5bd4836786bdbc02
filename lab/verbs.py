"""`lab train`, and what the other verbs of one model share with it."""

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from lab.config import RunConfig
from lab.data import DataConfig, Dataset
from lab.errors import InputError
from lab.folder import RunFolder, completed_steps
from lab.job import Job
from lab.strict import build


def load_data(config: DataConfig) -> Dataset:
    """The data set, with a line on stderr while a corpus is built for the first time."""
    from lab import data

    def progress(done: int, total: int) -> None:
        if done == total or done % 500 == 0:
            print(f"building {config.source}: {done} of {total} files", file=sys.stderr, flush=True)

    return data.load(config, progress=progress)


def train(argv: list[str]) -> int:
    def command(
        out: Path,
        config: Annotated[RunConfig, tyro.conf.arg(name="")],
        devices: int = 1,
        as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    ) -> int:
        """Train one model into a run folder; the same command goes on after an interruption.

        Args:
            out: the run folder.
            devices: spread each batch over this many devices (virtual ones on a CPU).
            as_json: print the result as one JSON object.
        """
        return _train(out, config, devices, as_json)

    return tyro.cli(command, args=argv, prog="lab train")


def _train(out: Path, config: RunConfig, count: int, as_json: bool) -> int:
    from lab import devices

    # tables check themselves; through the loader all problems come out at once
    config = build(RunConfig, asdict(config), "lab train")
    devices.configure(count)
    dataset = load_data(config.data)
    devices.enable_compilation_cache()

    from lab import provenance, run

    folder = RunFolder(out)
    run_id = config.run_id(dataset.digest)
    spec = folder.spec()
    if spec and spec["run_id"] != run_id:
        raise InputError(f"{out}: holds run {spec['run_id']} of another configuration; choose another folder")
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
    if folder.result() is None:
        hooks = run.Hooks(
            progress=_line, should_stop=lambda: bool(stopped), provenance=provenance.collect(), warn=warn
        )
        try:
            run.run([Job(config, run_id, folder)], dataset, "data" if count > 1 else "serial", hooks)
        except run.Interrupted:
            warn("interrupted; the same command goes on from here")
            return 130
    result = folder.result()
    if as_json:
        print(json.dumps(result))
    else:
        print_row(result["row"], result["abilities"])
    return 0 if result["row"]["status"] == "ok" else 1


def load_run(path: Path):
    """Configuration, parameters and data of a finished run."""
    from lab import devices

    folder = RunFolder(path)
    spec = folder.spec()
    if spec is None:
        raise InputError(f"{path}: no spec.json here; should be a run folder, such as DIR/runs/<run id>")
    steps = completed_steps(folder.final)
    if not steps:
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

    from lab import train as training
    from lab.checkpoint import Checkpoints, DamagedCheckpoint

    try:
        shapes = training.state_shapes(config, dataset.vocab_size).params
        return config, Checkpoints(folder.final).restore(steps[-1], shapes), dataset
    except DamagedCheckpoint as damage:
        raise InputError(str(damage)) from damage


def _line(progress) -> None:
    if progress.phase != "train":
        print({"compile": "compiling", "evaluate": "evaluating"}[progress.phase], file=sys.stderr, flush=True)
        return
    speed = f"{progress.tokens_per_s:,.0f} tokens/s, {progress.seconds_left:.0f} s left"
    text = f"step {progress.step}/{progress.steps}  loss {progress.loss_nats:.4f}  {speed}"
    end = "\r" if sys.stderr.isatty() and progress.step < progress.steps else "\n"
    if end == "\r" or progress.step % 200 == 0 or progress.step == progress.steps:
        print(text, end=end, file=sys.stderr, flush=True)


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
