"""`import sweeps`: the same studies, ids, runs and tables as the command line's."""

import re
import runpy
import shutil
import subprocess
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import sweeps
from lab import python
from sweeps.plan import cells
from sweeps.study import loader, overrides
from sweeps.work.engines import local
from sweeps.work.engines.launch import DONE, Launch

EXAMPLE = Path(sweeps.__file__).parent / "examples" / "python_api.py"
GRID = sweeps.Grid(
    name="language",
    tokens=(10_000, 20_000, 40_000),
    seeds=(0, 1),
    held_out=1,
    sizes=(sweeps.Size(width=8, learning_rate=0.02), sweeps.Size(width=16, learning_rate=0.01)),
)
SMALL = {
    "name": "small",
    "batch": 8,
    "model": {"layers": 1, "heads": 1},
    "optimizer": {"warmup_tokens": 2_000},
    "data": {"source": "synthetic", "context": 32, "val_windows": 64},
    "grids": (GRID,),
}


@pytest.fixture
def trained(whole, tmp_path):
    """A copy of the store that the command line trained."""
    return Path(shutil.copytree(whole / "store", tmp_path / "store"))


def test_importing_it_loads_nothing_heavy():
    """Nor does a study, from a file or by hand."""
    code = (
        "import sys, sweeps; assert 'sweeps.api' not in sys.modules; sweeps.Grid(name='a', tokens=(1000,));"
        "s = sweeps.Study('s', (sweeps.Grid(name='a', tokens=(1000,)),), data={'source': 'synthetic'});"
        "sweeps.load(sys.argv[1]); print({'jax', 'pandas', 'scipy'} & set(sys.modules))"
    )
    study = EXAMPLE.parents[1] / "studies" / "example.toml"
    done = subprocess.run(
        python.command("-c", code, study), capture_output=True, text=True, env=python.environment()
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_every_name_is_there():
    assert dir(sweeps) == sorted(sweeps.api.__all__)
    assert all(getattr(sweeps, name) is not None for name in dir(sweeps))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sweeps.nothing


def test_dataclasses_and_the_file_are_one_study(study_file, tmp_path):
    by_hand, read = sweeps.Study(**SMALL), sweeps.load(study_file)
    assert by_hand == read
    assert [cell.run_id for cell in sweeps.make_plan(by_hand).cells] == [
        cell.run_id for cell in sweeps.make_plan(read).cells
    ]
    sweeps.save(by_hand, tmp_path / "again.toml")
    assert sweeps.load(tmp_path / "again.toml") == read
    with pytest.raises(sweeps.InputError, match="is there already"):
        sweeps.save(by_hand, tmp_path / "again.toml")


@pytest.mark.parametrize(
    "file", sorted((EXAMPLE.parents[1] / "studies").glob("*.toml")), ids=lambda file: file.stem
)
def test_every_study_is_itself_after_it_was_plain_data(file):
    def parse(data):
        return loader.parse(data, file.name, vocab=lambda _: 257)

    study = parse(overrides.read(file))
    assert parse(tomllib.loads(overrides.to_toml(loader.plain(study)))) == study


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": {"d_model": 64}}, "study: model.d_model: no such key; did you mean width?"),
        ({"batch": 0}, "study: batch: should be at least 1, is 0"),
        ({"data": {"source": "synthetik"}}, "synthetic"),
        ({"grids": ()}, "study: grids: should not be empty"),
        ({"name": "a/b"}, "study: name: should be letters"),
    ],
)
def test_what_is_wrong_is_said_as_of_a_file(change, said):
    with pytest.raises(sweeps.InputError, match=re.escape(said)):
        sweeps.make_plan(sweeps.Study(**{**SMALL, **change}))


def test_what_the_command_line_trained_is_not_trained_again(trained, capfd):
    study = sweeps.Study(**SMALL)
    priced = sweeps.price(study, trained)
    assert priced.totals()["states"] == {"done": 12}
    assert priced.totals()["device_seconds_left"] == 0
    before = {path: path.stat().st_mtime_ns for path in trained.glob("runs/*/result.json")}
    done = sweeps.run(study, trained, quiet=True)
    assert (set(done.states.values()), done.failed, done.exit_code) == ({"done"}, (), 0)
    assert {path: path.stat().st_mtime_ns for path in trained.glob("runs/*/result.json")} == before
    assert capfd.readouterr() == ("", "")
    assert len(sweeps.table(trained).frame) == 12
    assert str(done) == f"study small in {trained}: 12 done"


def test_options_are_checked_before_anything_is_read(tmp_path):
    with pytest.raises(sweeps.InputError, match="--partition: is for --engine slurm"):
        sweeps.run(sweeps.Study(**SMALL), tmp_path / "s", sweeps.EngineOptions(partition="gpu"))
    assert not (tmp_path / "s").exists()


def test_workers_are_watched_from_any_thread(tmp_path):
    """Of a server, say: only the main one may set what signals do."""
    launch = Launch(tmp_path / "study.toml", tmp_path, "id")
    with ThreadPoolExecutor() as pool:
        assert pool.submit(local.run, launch, [], print).result() == DONE


@pytest.mark.slow
def test_the_example_runs(worker_here, trained, tmp_path, capsys):
    """In a store that has the runs of its smallest size from another study."""
    module = runpy.run_path(str(EXAMPLE))
    assert module["main"](tmp_path / "store") == 0
    said = capsys.readouterr()
    assert "9 runs" in said.out
    assert "9 done" in said.out
    assert "alpha" in said.out
    assert isinstance(sweeps.make_plan(module["study"]()), cells.Plan)
    assert "6 of 9 runs to train" in said.err
    again = sweeps.run(module["study"](), tmp_path / "store", sweeps.EngineOptions(workers=1))
    assert "0 of 9 runs to train" in capsys.readouterr().err, "the same call goes on: nothing is left"
    assert str(again).endswith("9 done")


def test_the_example_says_how_it_is_called():
    done = subprocess.run(python.command(EXAMPLE), capture_output=True, text=True, env=python.environment())
    assert done.returncode == 1
    assert done.stderr.strip() == "usage: python_api.py STORE"
