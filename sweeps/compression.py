"""The runs of a store compressed, without training: `compressed/<run id>.jsonl`, a line for each method.

A line's key is a hash of all that changes it: the run, its result, its data, the method, the windows. What is
there is not measured again, and a kill loses the measurement it interrupts. What the lines say together is
:mod:`analysis.resources.compressed`.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab import files
from lab.compression.encoded import Method
from lab.config import RunConfig, digest
from lab.data import DataConfig, Dataset
from lab.errors import InputError
from lab.runs.folder import RunFolder, completed_steps
from lab.strict import build
from sweeps.quantities import duration
from sweeps.store.store import Store

FOLDER = "compressed"
VERSION = 1  # raised whenever a line would come out otherwise
_TOLERANCE = 1e-3  # of the loss: another kind of device rounds otherwise, by far less
_EVERY = 10.0  # seconds between two lines of progress


@dataclass(frozen=True)
class Task:
    """A finished run, the methods that are yet to be measured on it, and their keys."""

    folder: RunFolder
    spec: dict
    loss: float
    methods: tuple[tuple[str, Method], ...]


@dataclass
class Done:
    """How far it got: measurements made now, those that were there, and a line for each run left out."""

    measured: int = 0
    known: int = 0
    left_out: list[str] = field(default_factory=list)


def key_of(run_id: str, data_digest: str, loss: float, method: Method, windows: int) -> str:
    """Of a measurement, 12 hex digits."""
    about = [VERSION, run_id, data_digest, loss, method.kind, method.amount, windows]
    return digest(about)


def lines(store: Store, run_id: str) -> list[dict]:
    """The whole lines of a run; a torn one is none."""
    try:
        content = files.read_bytes(store.root / FOLDER / f"{run_id}.jsonl", store.root, 1 << 28)
    except FileNotFoundError:
        return []
    found = []
    for text in content.split(b"\n"):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("key"), str):
            found.append(line)
    return found


def tasks(
    store: Store, methods: Sequence[Method], windows: int, grids: Sequence[str], done: Done
) -> list[Task]:
    """What is to be measured, the runs of one data set together.

    Raises InputError where no run of the store is finished, or a grid has none.
    """
    wanted = _of_grids(store, grids)
    found = []
    for run_id in sorted(store.names()):
        if wanted is not None and run_id not in wanted:
            continue
        folder = store.run(run_id)
        result = folder.result()
        if result is None or result["row"].get("status", "ok") != "ok":
            continue
        spec = folder.spec()
        if spec is None or not completed_steps(folder.final):
            done.left_out.append(
                f"{folder.path}: has a result, and no {'spec.json' if spec is None else 'final/'}"
            )
            continue
        loss = result["row"]["loss_nats"]
        keys = {key_of(run_id, spec["data_digest"], loss, one, windows): one for one in methods}
        known = {line["key"] for line in lines(store, run_id)}
        done.known += len(known & keys.keys())
        missing = tuple((key, one) for key, one in keys.items() if key not in known)
        found.append(Task(folder, spec, loss, missing))
    if not found:
        where = f" of {', '.join(grids)}" if grids else ""
        raise InputError(
            f"{store.root}: has no finished run{where}; `lab status {store.root}` says what there is"
        )
    found = [task for task in found if task.methods]
    return sorted(found, key=lambda task: (task.spec["data_digest"], task.folder.path.name))


def _of_grids(store: Store, grids: Sequence[str]) -> set[str] | None:
    if not grids:
        return None
    cells = [cell for path in store.study_files() for cell in store.study(path)["cells"]]
    if unknown := sorted(set(grids) - {cell["grid"] for cell in cells}):
        there = ", ".join(sorted({cell["grid"] for cell in cells})) or "none"
        raise InputError(f"--grids: {store.root} has no grid {unknown[0]!r}; there are {there}")
    return {cell["run_id"] for cell in cells if cell["grid"] in grids}


def measure(
    store: Store,
    todo: Sequence[Task],
    windows: int,
    load: Callable[[DataConfig], Dataset],
    tell: Callable[[str], None],
    done: Done,
) -> None:
    """Measure and append, run after run. Runs that cannot be are left out, with a line each in ``done``."""
    total, started, said = sum(len(task.methods) for task in todo), time.monotonic(), 0.0
    datasets: dict[str, Dataset] = {}
    passed = 0
    for task in todo:
        try:
            made = _rows(task, windows, datasets, load)
            for key, row in made:
                line = {"key": key, "run_id": task.folder.path.name, **row}
                path = store.root / FOLDER / f"{task.folder.path.name}.jsonl"
                text = json.dumps(line, allow_nan=False)
                # a torn last line, of a kill, must not take this one with it
                files.append(path, f"{_newline(path)}{text}\n".encode(), store.root)
                done.measured += 1
                now = time.monotonic()
                if now - max(said, started) > _EVERY:
                    said = now
                    left = (now - started) * (total - passed - 1) / (passed + 1)
                    tell(f"{passed + 1} of {total} measurements, about {duration(left)} left")
                passed += 1
        except InputError as error:
            done.left_out += error.problems
            total -= len(task.methods)


def _newline(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(-1, 2)
            return "" if file.read(1) == b"\n" else "\n"
    except OSError:
        return ""


def _rows(task: Task, windows: int, datasets: dict, load) -> Iterator[tuple[str, dict]]:
    from lab.compression import scores
    from lab.evaluation import evaluate
    from lab.runs.checkpoint import Checkpoints, DamagedCheckpoint, UnreadCheckpoint
    from lab.training import train as training

    where = task.folder.path
    config = build(RunConfig, task.spec["config"], str(where / "spec.json"))
    if task.spec["data_digest"] not in datasets:
        datasets.clear()  # one at a time: texts are large
        datasets[task.spec["data_digest"]] = load(config.data)
    dataset = datasets[task.spec["data_digest"]]
    if dataset.digest != task.spec["data_digest"]:
        raise InputError(f"{where}: its data have changed since training, and its loss is of others")
    try:
        shapes = training.state_shapes(config, dataset.vocab_size).params
        params = Checkpoints(task.folder.final).restore(completed_steps(task.folder.final)[-1], shapes)
    except (DamagedCheckpoint, UnreadCheckpoint) as damage:
        raise InputError(str(damage)) from damage
    loss = evaluate.validate(params, config, dataset).nats
    if not abs(loss - task.loss) <= _TOLERANCE * task.loss:
        raise InputError(
            f"{where}: gives a loss of {loss:.5f}, its result says {task.loss:.5f}: a checkpoint of another "
            "version of this program, or of other data"
        )
    whole = scores.Whole(params, config, dataset, windows)
    for key, method in task.methods:
        yield key, scores.row(whole, method)


def judged(root: Path):
    """What the measurements of a store come to (:class:`analysis.resources.compressed.Compressed`)."""
    from analysis import read
    from analysis.resources.compressed import compressed

    return compressed(read(root))
