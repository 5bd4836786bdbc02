"""lab train, eval and generate as a user calls them."""

import json
import subprocess
import sys

import pytest

TRAIN = ["--tokens", "20_000", "--batch", "8", "--model.width", "16", "--model.heads", "2"]
TRAIN += ["--data.source", "synthetic", "--data.context", "42", "--optimizer.learning-rate", "0.01"]


def lab(*args, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "lab", *map(str, args)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verbs") / "run"
    done = lab("train", "--out", folder, *TRAIN, "--json")
    return folder, json.loads(done.stdout)


def test_train_says_what_came_of_it_and_trains_once(trained):
    folder, result = trained
    row = result["row"]
    assert row["status"] == "ok"
    assert row["entropy_rate_nats"] < row["loss_nats"] < 4.2
    again = lab("train", "--out", folder, *TRAIN, "--json")
    assert json.loads(again.stdout) == result
    assert "step" not in again.stderr


def test_another_configuration_does_not_go_into_the_same_folder(trained):
    done = lab("train", "--out", trained[0], *TRAIN, "--seed", "1", code=2)
    assert "of another configuration" in done.stderr


def test_two_devices_give_the_loss_of_one(trained, tmp_path):
    done = lab("train", "--out", tmp_path / "two", *TRAIN, "--devices", "2", "--json")
    row = json.loads(done.stdout)["row"]
    assert row["pack"] == "data"
    assert row["loss_nats"] == pytest.approx(trained[1]["row"]["loss_nats"], abs=1e-3)


def test_eval_finds_the_loss_again(trained):
    folder, result = trained
    found = json.loads(lab("eval", folder, "--json").stdout)
    assert found["loss_nats"] == pytest.approx(result["row"]["loss_nats"], abs=1e-6)


def test_generate_continues_each_prompt(trained):
    samples = json.loads(lab("generate", trained[0], "--prompt", "0", "1", "--tokens", "9", "--json").stdout)
    assert [s["prompt"] for s in samples["samples"]] == ["0", "1"]
    assert all(len(s["text"]) <= 9 for s in samples["samples"])
    assert any(s["text"] for s in samples["samples"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["generate", "{run}", "--temperature", "-1"], "--temperature: should not be negative"),
        (["generate", "{run}", "--tokens", "0", "--top-p", "2"], "--tokens: should be at least 1"),
        (["generate", "{run}", "--prompt", "a!b"], "'!' cannot be written in these symbols"),
        (["eval", "{run}/checkpoints"], "should be a run folder"),
        (
            ["train", "--out", "{run}x", "--tokens", "9", "--model.width", "9"],
            "model.heads: should divide width 9",
        ),
    ],
)
def test_bad_input_is_a_line_and_exit_code_2(trained, call, words):
    done = lab(*(word.replace("{run}", str(trained[0])) for word in call), code=2)
    assert words in done.stderr
