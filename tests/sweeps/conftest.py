import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import read
from lab.data import load
from sweeps.exchange import imports
from sweeps.plan.cells import make
from sweeps.store.store import Store
from sweeps.study.loader import load as load_study

STUDY = """
name = "small"
batch = 8
model = { layers = 1, heads = 1 }
optimizer = { warmup_tokens = 2_000 }
data = { source = "synthetic", context = 32, val_windows = 64 }

[[grids]]
name = "language"
tokens = [10_000, 20_000, 40_000]
seeds = [0, 1]
held_out = 1
sizes = [{ width = 8, learning_rate = 0.02 }, { width = 16, learning_rate = 0.01 }]
"""


def run_lab(*args, timeout=300) -> subprocess.CompletedProcess:
    """The `lab` command as a user gives it; a traceback is always a failure."""
    command = [sys.executable, "-m", "lab", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="session")
def apart():
    """:func:`run_lab`, for what is about the process; other tests give the same to the fixture `here`."""
    return run_lab


@pytest.fixture(scope="session")
def small_study() -> str:
    """A study of 12 runs that takes a few seconds."""
    return STUDY


@pytest.fixture
def study_file(tmp_path, small_study):
    path = tmp_path / "small.toml"
    path.write_text(small_study)
    return path


@pytest.fixture
def one_size(tmp_path, small_study):
    """A file of the four shorter runs of the small study that share a shape, which is compiled once."""
    path = tmp_path / "part.toml"
    path.write_text(
        small_study.replace("{ width = 8, learning_rate = 0.02 }, ", "").replace(", 40_000]", "]")
    )
    return path


@pytest.fixture
def study_of_one_place(tmp_path):
    """Of which an adaptive run has three candidates, seeds of one size and budget: a round each."""
    kept = STUDY.replace(", { width = 16, learning_rate = 0.01 }", "").replace(
        "held_out = 1", "max_flops = 8.5e7"
    )
    path = tmp_path / "one.toml"
    path.write_text(kept.replace("[10_000, 20_000, 40_000]", "[10_000]").replace("[0, 1]", "[0]"))
    return path


@pytest.fixture(scope="session")
def whole(made_once, small_study, here) -> Path:
    """A folder with `small.toml`, and the store of its undisturbed run on one worker in `store`."""

    def train(folder):
        (folder / "small.toml").write_text(small_study)
        with pytest.MonkeyPatch.context() as patch:
            _work_here(patch)
            done = here("run", folder / "small.toml", "--out", folder / "store", "--workers", "1", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["states"] == {"done": 12}

    return made_once("whole", train)


@pytest.fixture
def worker_here(monkeypatch):
    """The one local worker of `lab run` works in this process, where the test is not of processes."""
    _work_here(monkeypatch)


def _work_here(patch: pytest.MonkeyPatch) -> None:
    from lab.machine import devices
    from sweeps.verbs import training
    from sweeps.work.engines.options import EngineOptions
    from sweeps.work.worker import Worker

    def work(self, launch, pack, watch, tell, cells=None) -> int:
        devices.enable_compilation_cache()
        worker = Worker(training.plan_of(launch.study), Store(launch.out), lambda event: None)
        return 1 if worker.work() else 0

    patch.setattr(EngineOptions, "run", work)


@pytest.fixture(scope="session")
def three(made_once, whole, small_study) -> Path:
    """The same for three of the runs, of one size and seed, and the trunk that they share."""

    def take(folder):
        of_one = small_study.replace(", { width = 16, learning_rate = 0.01 }", "").replace("[0, 1]", "[0]")
        (folder / "small.toml").write_text(of_one)
        plan, store = make(load_study(folder / "small.toml"), load), Store(folder / "store")
        for run in (*plan.cells, *plan.trunks):
            shutil.copytree(whole / "store" / "runs" / run.run_id, store.run(run.run_id).path)
        (store.root / "store.json").write_text('{"schema": 1, "id": "one"}')
        store.write_study(plan, of_one)
        assert (len(plan.cells), len(plan.trunks)) == (3, 1)

    return made_once("three", take)


@pytest.fixture
def import_(tmp_path, capsys):
    """(rows as dicts of columns, code -> text of remarks, columns) of `lab import`."""

    def run(*arguments):
        out = tmp_path / "out.csv"
        assert imports.import_([*map(str, arguments), "--out", str(out), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        said = {}
        for one in told["remarks"]:
            said[one["code"]] = f"{said.get(one['code'], '')}{one['text']}"
        assert imports.import_([*map(str, arguments), "--out", str(out)]) == 0
        text = capsys.readouterr().out
        assert all(one["text"] in text for one in told["remarks"]), "what is in JSON is in the text"
        return read(out, {}).columns, said, told

    return run


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
