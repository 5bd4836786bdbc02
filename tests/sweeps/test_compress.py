"""`lab compress` on three runs of a study that was trained once for all these tests."""

import json
import shutil

import pytest

from analysis import read
from analysis.resources.compressed import compressed
from lab.__main__ import main
from lab.compression.encoded import Method
from lab.machine import devices
from sweeps import compression
from sweeps.store.store import Store

METHODS = ("weights-4", "weights-6", "prune-2-4", "activations-8", "cache-3")


@pytest.fixture
def store(three, tmp_path):
    shutil.copytree(three / "store", tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def call(capsys, monkeypatch):
    """`lab compress` in this process, which has jax set up already: two seconds less a call."""
    monkeypatch.setattr(devices, "configure", lambda: None)
    monkeypatch.setattr(devices, "enable_compilation_cache", lambda: None)

    def run(*arguments):
        code = main(["compress", *map(str, arguments)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return run


def test_a_store_is_measured_once_and_goes_on_after_a_kill(call, store):
    code, out, err = call(store, "--methods", *METHODS, "--json", "--csv", store / "all.csv")
    assert code == 0, err
    found = json.loads(out)
    assert found["runs"] == 3
    assert [row["method"] for row in found["methods"]] == [
        "weights-6",
        "weights-4",
        "activations-8",
        "cache-3",
        "prune-2-4",
    ]
    assert "18 measurements made, 0 were there" in err
    of = {row["method"]: row for row in found["methods"]}
    rise = {name: row["loss_rise_percent"]["synthetic"] for name, row in of.items()}
    assert abs(rise["weights-6"]) < rise["weights-4"] < rise["prune-2-4"]
    assert of["weights-4"]["bytes_part"] < of["weights-6"]["bytes_part"] < of["prune-2-4"]["bytes_part"] < 1
    penalties = (store / "all.csv").read_text().splitlines()
    assert len(penalties) == 1 + 3 * 6

    # a kill in the middle of a line: that measurement is made anew, no other, and no line is lost
    path = sorted((store / compression.FOLDER).iterdir())[0]
    before = path.read_text()
    path.write_text(before[:-20])
    assert compressed(read(store)).penalties["run_id"].nunique() == 3
    code, again, err = call(store, "--methods", *METHODS, "--json")
    assert code == 0
    assert "1 measurements made, 17 were there" in err
    assert json.loads(again) == found, "the same numbers, bit for bit"
    assert path.read_text() == before[:-20] + "\n" + before.splitlines()[-1] + "\n"


def test_the_loss_of_the_whole_model_is_the_result_of_its_run(call, store):
    code, _, err = call(store, "--methods", "weights-8", "--grids", "language")
    assert code == 0, err
    for run_id in sorted(Store(store).names()):
        lines = compression.lines(Store(store), run_id)
        if result := Store(store).run(run_id).result():
            whole = next(line for line in lines if line["method"] == "none")
            assert whole["loss_nats"] == pytest.approx(result["row"]["loss_nats"], rel=1e-5)
            assert whole["penalty_nats"] == 0


def test_what_cannot_be_measured_is_named_and_the_rest_is_kept(call, store):
    finished = [name for name in sorted(Store(store).names()) if Store(store).run(name).result()]
    other, damaged = (store / "runs" / name for name in finished[:2])
    row = json.loads((other / "result.json").read_text())
    row["row"]["loss_nats"] += 0.1  # what a checkpoint of another version would look like
    (other / "result.json").write_text(json.dumps(row))
    for file in (damaged / "final").rglob("*"):
        if file.is_file() and file.stat().st_size > 200:
            file.write_bytes(b"x" * file.stat().st_size)
    code, out, err = call(store, "--methods", "weights-4", "--json")
    assert code == 1
    left = json.loads(out)["left_out"]
    assert len(left) == 2
    assert any(str(other) in one and "a checkpoint of another version" in one for one in left)
    assert any(str(damaged) in one for one in left)
    assert all(one in err for one in left)
    assert json.loads(out)["runs"] == 1


def test_an_exported_run_loads_and_generates(call, store, tmp_path, capsys):
    name = next(n for n in sorted(Store(store).names()) if Store(store).run(n).result())
    run = store / "runs" / name
    sizes = {}
    for method in ("none", "weights-8", "weights-3", "prune-2-4"):
        out = tmp_path / method
        code, said, err = call(run, "--methods", method, "--export", out, "--json")
        assert code == 0, err
        sizes[method] = json.loads(said)["bytes"]
        assert sizes[method] == (out / "packed.bin").stat().st_size
    assert sizes["weights-3"] < sizes["weights-8"] < sizes["prune-2-4"] < sizes["none"]

    def text(folder):
        assert main(["generate", str(folder), "--tokens", "40", "--temperature", "0", "--json"]) == 0
        return capsys.readouterr().out

    assert text(tmp_path / "none") == text(run)
    assert main(["eval", str(tmp_path / "weights-3"), "--json"]) == 0
    loss = json.loads(capsys.readouterr().out)["loss_nats"]
    assert call(store, "--methods", "weights-3")[0] == 0
    line = next(one for one in compression.lines(Store(store), name) if one["method"] == "weights")
    assert loss == pytest.approx(line["loss_nats"], rel=1e-5), "what was measured is what was written"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["STORE", "--methods", "weights-9", "prune-layer-2"], ["2 to 8, is 9", "below 1, is 2"]),
        (["STORE", "--windows", "1"], ["--windows: should be at least 2, is 1"]),
        (["STORE", "--grids", "langauge"], ["no grid 'langauge'; there are language"]),
        (["STORE/studies"], ["not a store folder: it has no runs/"]),
        (["STORE", "--methods", "weights-4", "--export", "STORE"], ["is not empty; name a new folder"]),
        (["STORE", "--methods", "cache-4", "--export", "NEW"], ["one method that changes what is stored"]),
        (["STORE", "--export", "NEW"], ["one method that changes what is stored"]),
        (["STORE", "--methods", "weights-4", "--export", "NEW"], ["no spec.json here"]),
    ],
)
def test_bad_input_is_a_line_each(call, store, tmp_path, arguments, why):
    filled = [one.replace("STORE", str(store)).replace("NEW", str(tmp_path / "new")) for one in arguments]
    code, _, err = call(*filled)
    assert code == 2
    assert len(err.splitlines()) == len(why)
    assert all(one in err for one in why), err


def test_an_empty_store_says_so(call, tmp_path):
    (tmp_path / "runs").mkdir()
    code, _, err = call(tmp_path)
    assert code == 2
    assert "has no finished run" in err


def test_a_key_is_of_all_that_changes_a_measurement():
    about = {"run_id": "a", "data_digest": "b", "loss": 2.0, "method": Method("weights", 4), "windows": 512}
    changed = {"run_id": "c", "data_digest": "d", "loss": 2.1, "method": Method("weights", 5), "windows": 64}
    keys = {compression.key_of(**{**about, name: value}) for name, value in changed.items()}
    assert len(keys | {compression.key_of(**about)}) == 6


def test_the_command_works_in_a_process_of_its_own(apart, store):
    """Where nothing has set up jax yet: it must be set up before whatever imports it."""
    done = apart("compress", store, "--methods", "weights-4", "--windows", "8", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"] == 3
