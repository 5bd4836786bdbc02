"""lab train, eval and generate as a user calls them."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from lab.runs import claims
from lab.runs.folder import RunFolder

TRAIN = ["--tokens", "20_000", "--batch", "8", "--model.width", "16", "--model.heads", "2"]
TRAIN += ["--data.source", "synthetic", "--data.context", "42", "--optimizer.learning-rate", "0.01"]


def lab(*args, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "lab", *map(str, args)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def told(here):
    """As :func:`lab`, without a process of its own, where the test is not of the process."""

    def call(*args, code=0):
        done = here(*args)
        assert done.returncode == code, done.stderr
        return done

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory, here):
    folder = tmp_path_factory.mktemp("verbs") / "run"
    done = here("train", "--out", folder, *TRAIN, "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_train_says_what_came_of_it_and_trains_once(told, trained):
    folder, result = trained
    row = result["row"]
    assert row["status"] == "ok"
    assert row["entropy_rate_nats"] < row["loss_nats"] < 4.2
    again = told("train", "--out", folder, *TRAIN, "--json")
    assert json.loads(again.stdout) == result
    assert "step" not in again.stderr


def test_another_configuration_does_not_go_into_the_same_folder(told, trained):
    done = told("train", "--out", trained[0], *TRAIN, "--seed", "1", code=2)
    assert "of another configuration, seed 0 there, 1 here; choose another folder" in done.stderr


@pytest.mark.parametrize("left", ["result", "checkpoints"])
def test_what_lies_in_a_folder_without_its_specification_is_not_taken_for_this_run(
    told, trained, tmp_path, left
):
    """Before: the result of another run was shown as this one's, and its checkpoints were trained on."""
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    (folder / "spec.json").unlink()
    if left == "checkpoints":
        (folder / "result.json").unlink()
        (folder / "checkpoints" / "20").mkdir(parents=True)
    done = told("train", "--out", folder, *TRAIN, "--seed", "1", code=2)
    said = "holds the result of run" if left == "result" else "no readable spec.json says of which run"
    assert said in done.stderr


def test_two_devices_give_the_loss_of_one(told, trained, tmp_path):
    done = told("train", "--out", tmp_path / "two", *TRAIN, "--mesh", "data=2", "--json")
    row = json.loads(done.stdout)["row"]
    assert row["pack"] == "mesh"
    assert row["loss_nats"] == pytest.approx(trained[1]["row"]["loss_nats"], abs=1e-3)


def test_eval_finds_the_loss_again(told, trained):
    folder, result = trained
    found = json.loads(told("eval", folder, "--json").stdout)
    assert found["loss_nats"] == pytest.approx(result["row"]["loss_nats"], abs=1e-6)


def test_generate_continues_each_prompt(trained):
    samples = json.loads(lab("generate", trained[0], "--prompt", "0", "1", "--tokens", "9", "--json").stdout)
    assert [s["prompt"] for s in samples["samples"]] == ["0", "1"]
    assert all(len(s["text"]) <= 9 for s in samples["samples"])
    assert any(s["text"] for s in samples["samples"])
    row = trained[1]["row"]
    assert row["cpu_seconds"] > 0
    assert (row["energy_joules"] is None) == (row["energy_source"] == "none") == (row["energy_coverage"] == 0)


def test_generate_measures_what_a_token_takes(told, trained):
    done = told("generate", trained[0], "--prompt", "0", "1", "--tokens", "9", "--measure", "--json")
    spent = json.loads(done.stdout)["spent"]
    assert spent["prompts"] == 2
    assert 0 < spent["tokens"] <= 18
    assert spent["cpu_seconds"] > 0
    assert (spent["energy_joules"] is None) == (spent["energy_source"] == "none")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["generate", "{run}", "--temperature", "-1"], "--temperature: should be at least 0"),
        (["generate", "{run}", "--tokens", "0", "--top-p", "2"], "--tokens: should be at least 1"),
        (["generate", "{run}", "--prompt", "a!b"], "'!' cannot be written in these symbols"),
        (["eval", "{run}/checkpoints"], "should be a run folder"),
        (
            ["train", "--out", "{run}x", "--tokens", "9", "--model.width", "9"],
            "model.heads: should divide width 9",
        ),
    ],
)
def test_bad_input_is_a_line_and_exit_code_2(told, trained, call, words):
    done = told(*(word.replace("{run}", str(trained[0])) for word in call), code=2)
    assert words in done.stderr


def test_two_at_once_in_one_folder_are_one_run_and_one_refusal(tmp_path):
    command = [sys.executable, "-m", "lab", "train", "--out", str(tmp_path / "run"), *TRAIN, "--json"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"
    ]
    said = [process.communicate(timeout=300) for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes
    for code, (out, err) in zip(codes, said, strict=True):
        assert "Traceback" not in err
        if code:  # one that came late finds the result instead
            assert code == 2
            assert "is training here; wait for it, or choose another folder" in err.splitlines()[-1]
        else:
            assert json.loads(out)["row"]["status"] == "ok"
    steps = [line["step"] for line in RunFolder(tmp_path / "run").metrics()]
    assert steps == sorted(set(steps)), "one writer"
    assert not (tmp_path / "run" / "claim").exists()


def test_a_run_that_somebody_trains_is_refused_until_he_falls_silent(told, tmp_path, trained):
    held = claims.take(tmp_path / "run" / "claim", replace(claims.Owner.me(), host="elsewhere", pid=123))
    done = told("train", "--out", tmp_path / "run", *TRAIN, code=2)
    assert "process 123 on elsewhere is training here" in done.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["claim"], "nothing is written"
    os.utime(held.path, (0, 0))
    again = json.loads(told("train", "--out", tmp_path / "run", *TRAIN, "--json").stdout)
    assert again["row"]["loss_nats"] == trained[1]["row"]["loss_nats"]
    assert not held.path.exists()


def test_a_trained_model_is_written_with_a_card(told, trained, tmp_path):
    folder, result = trained
    out = tmp_path / "model"
    said = json.loads(told("export", "--model", folder, "--out", out, "--json").stdout)
    assert said["files"] == sorted(path.name for path in out.iterdir())
    row = result["row"]
    assert said["params"] == row["params_total"]
    card = (out / "README.md").read_text()
    for words in (row["run_id"], f"{row['loss_nats']:.4f}", "not measured", "Limits", row["source"]):
        assert words in card
    done = told("export", "--model", folder, "--out", out, code=2)
    assert "is not empty; name a new folder" in done.stderr


def test_a_model_that_has_no_words_for_a_needle_says_so(told, trained):
    done = told("needle", trained[0], "--contexts", "8", code=2)
    assert "a needle can be hidden from models of text and of tasks" in done.stderr
    done = told("needle", trained[0], "--depths", "120", code=2)
    assert "--depths 120: should lie between 0 and 100" in done.stderr
