import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

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
def lab():
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


@pytest.fixture(scope="session")
def whole(tmp_path_factory, small_study) -> Path:
    """A folder with `small.toml`, and the store of its undisturbed run on local workers in `store`.

    Made once, also where several test processes run.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "whole"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            (folder / "small.toml").write_text(small_study)
            done = run_lab("run", folder / "small.toml", "--out", folder / "store", "--json")
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["states"] == {"done": 12}
            (folder / "made").write_text("")
    return folder
