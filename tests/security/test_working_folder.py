"""The folder in which a verb is called executes nothing: a study or a store of somebody else's lies there."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab import python
from lab.machine import devices

ROOT = Path(__file__).parents[2]
STARTERS = {"lab/python.py", "analysis/second_python.py"}
LAB = Path(sys.executable).with_name("lab")  # the console script, which does not look into the working folder
TRAP = "import os, sys\nopen({marker!r}, 'a').write(__name__ + ' ')\nsys.exit('executed')\n"
STUDY = """
name = "small"
batch = 8
model = { layers = 1, heads = 1 }
data = { source = "synthetic", context = 32, val_windows = 64 }

[[grids]]
name = "one"
tokens = [4_000]
sizes = [{ width = 8, learning_rate = 0.02 }]
"""


@pytest.fixture
def trapped(tmp_path):
    """Python files with names that we, and what we use, import; and where each says that it ran."""
    folder, marker = tmp_path / "foreign", tmp_path / "executed"
    folder.mkdir()
    trap = TRAP.format(marker=str(marker))
    for name in ("sweeps", "tomllib", "numpy", "json", "subprocess", "typing_extensions", "cloudpickle"):
        (folder / f"{name}.py").write_text(trap)
    for name in ("lab", "analysis", "jax", "matplotlib"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(trap)
    return folder, marker


def call(folder, *words, **environment):
    if not LAB.exists():
        pytest.skip("the console script `lab` is not installed")
    done = subprocess.run(
        [LAB, *map(str, words)], cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_a_study_runs_in_a_folder_full_of_such_names(trapped):
    """Before: the probe and the workers imported, and so executed, the folder's files; the workers died."""
    folder, marker = trapped
    (folder / "small.toml").write_text(STUDY)
    done = call(folder, "plan", "small.toml", "--probe", "always")
    assert not marker.exists(), f"{marker.read_text()} ran in the probe"
    assert done.returncode == 0, done.stderr
    assert "the probe ended" not in done.stderr + done.stdout
    done = call(folder, "run", "small.toml", "--out", "store")
    assert not marker.exists(), f"{marker.read_text()} ran in a worker"
    assert done.returncode == 0, done.stderr
    assert "1 of 1 runs done" in done.stdout


def test_an_empty_entry_of_the_path_is_dropped(tmp_path, monkeypatch):
    """Before: an inherited PYTHONPATH such as `:/mine` put the working folder on the path of every worker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", "here", str(tmp_path / "mine")]))
    told = "import sys; print(*sys.path, sep='\\n')"
    for starter in (python, pytest.importorskip("analysis.second_python")):
        command, environment = starter.command("-c", told), starter.environment()
        path = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        assert str(tmp_path / "mine") in path.splitlines()
        assert not {"", ".", "here", str(tmp_path), str(tmp_path / "here")} & set(path.splitlines())


def test_the_second_process_of_a_report_finds_its_own_package(trapped, monkeypatch):
    """Before: `lab report` in a store with `analysis/__init__.py` executed that file."""
    from analysis import second_process

    folder, marker = trapped
    monkeypatch.chdir(folder)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with second_process.Second() as second:
        found = second.call(os.getpid)()
    assert not marker.exists(), f"{marker.read_text()} ran beside the report"
    assert found != os.getpid(), "it was computed by a second process"


def test_the_check_of_the_compilation_cache_starts_jax(trapped, monkeypatch):
    """Before: `lab doctor` executed the folder's `lab/` and `jax/`."""
    folder, marker = trapped
    monkeypatch.chdir(folder)
    assert devices.cache_works() in (True, False)
    assert not marker.exists()


def test_tasks_of_slurm_start_without_the_working_folder(trapped, tmp_path, monkeypatch):
    """Before: the batch script ran `python -m submitit.core._submit` in the folder of the submission."""
    pytest.importorskip("submitit", reason="submitit is not installed: the extra `slurm`")
    from submitit.slurm.slurm import _make_sbatch_string

    from sweeps.work.engines import slurm
    from sweeps.work.engines.launch import Launch

    folder, marker = trapped
    launch = Launch(tmp_path / "small.toml", tmp_path / "store", "id")
    for program in ("srun", "sbatch"):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    executor = slurm._executor(launch, slurm.SlurmOptions(), 1)
    script = _make_sbatch_string(executor._submitit_command_str, tmp_path, **executor.parameters)
    command = next(line for line in script.splitlines() if "submitit.core._submit" in line)
    command = command[command.index(sys.executable) :]
    assert "export PYTHONSAFEPATH=1" in script
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    done = subprocess.run(
        ["bash", "-c", f"{command} --help"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not marker.exists()


def test_nothing_else_starts_our_python():
    """Whoever starts a Python does it through one of two modules: a reader of sys.executable would not."""
    found = []
    for package in ("lab", "sweeps", "analysis"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if not re.search("executable|multiprocessing|ProcessPoolExecutor", text):
                continue  # most files: to parse them all takes two seconds
            tree = ast.parse(text)
            uses = [
                node.lineno
                for node in ast.walk(tree)
                if (isinstance(node, ast.Attribute) and node.attr in ("executable", "_base_executable"))
                or (isinstance(node, ast.alias) and node.name in ("multiprocessing", "ProcessPoolExecutor"))
                or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("multiprocessing"))
            ]
            if str(path.relative_to(ROOT)) not in STARTERS:
                found += [f"{path.relative_to(ROOT)}:{line}" for line in uses]
    assert not found, f"start another Python by lab.python or analysis.second_python: {found}"
