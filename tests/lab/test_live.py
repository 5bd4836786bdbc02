"""Records go out while a run trains; what goes wrong there is told once, and training goes on."""

from dataclasses import replace

import pytest

from lab.config import ModelConfig, OptimizerConfig, RunConfig
from lab.machine import chips
from lab.model import accounting
from lab.runs import live, loop, trackers
from lab.runs.folder import RunFolder
from lab.runs.job import Job


@pytest.fixture
def config(synthetic):
    return RunConfig(
        tokens=40 * 8 * 32,
        model=ModelConfig(width=16, layers=2, heads=2),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_tokens=10 * 8 * 32),
        data=synthetic.config,
        batch=8,
    )


class Heard:
    def __init__(self, fails_at=None):
        self.steps, self.closed, self.fails_at = {}, [], fails_at

    def log(self, step, values):
        if step == self.fails_at:
            raise KeyError("no such project")
        self.steps[step] = values

    def close(self, row, scores):
        self.closed.append(row)


def train(config, dataset, folder, heard, **more):
    warned = []
    hooks = loop.Hooks(track=lambda job: heard, warn=warned.append, **more)
    loop.run([Job(config, "one", RunFolder(folder))], dataset, hooks=hooks)
    return warned


def test_losses_and_speeds_go_out_and_then_the_row(config, synthetic, tmp_path, monkeypatch):
    monkeypatch.setattr(chips, "of_kind", lambda kind: chips.CHIPS["h100"])
    heard, shares = Heard(), []
    warned = train(
        config, synthetic, tmp_path, heard, progress=lambda told: shares.append((told.tokens_per_s, told))
    )
    assert not warned
    records = {line["step"]: line for line in RunFolder(tmp_path).metrics()}
    assert list(heard.steps) == [20, 40]
    for step, values in heard.steps.items():
        assert values["train/loss_nats"] == records[step]["loss_nats"]
        assert "tokens_per_s" not in records[step], "a speed is no record: it differs at each attempt"
        flops = accounting.training_flops(config, synthetic.vocab_size)["flops_exact"] / config.tokens
        expected = values["tokens_per_s"] * flops / chips.CHIPS["h100"].flops_f32
        assert values["share_of_peak"] == pytest.approx(expected)
    assert [told.share_of_peak > 0 for speed, told in shares if speed] == [True, True]
    assert [row["loss_nats"] for row in heard.closed] == [RunFolder(tmp_path).result()["row"]["loss_nats"]]


def test_a_tracker_that_fails_is_told_once_and_ends_no_run(config, synthetic, tmp_path):
    heard = Heard(fails_at=20)
    warned = train(config, synthetic, tmp_path, heard)
    assert warned == ["--log: given up for this run (KeyError: 'no such project')"]
    assert RunFolder(tmp_path).result()["row"]["status"] == "ok"
    assert not heard.closed


def test_a_run_that_is_stopped_leaves_its_tracker_open_to_go_on(config, synthetic, tmp_path):
    heard, seen = Heard(), []
    with pytest.raises(loop.Interrupted):
        train(
            replace(config, tokens=80 * 256),
            synthetic,
            tmp_path,
            heard,
            progress=lambda told: seen.append(told.step),
            should_stop=lambda: max(seen, default=0) >= 20,
        )
    assert heard.closed == [{}]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5p", "v5p"),
        ("TPU v5", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("TPU v4", None),
        ("cpu", None),
    ],
)
def test_chips_are_known_by_the_names_that_jax_gives_them(kind, name):
    assert chips.of_kind(kind) is (chips.CHIPS[name] if name else None)


def test_validations_have_their_own_series():
    assert trackers.series({"step": 1, "kind": "val", "loss_nats": 2.0}) == {"val/loss_nats": 2.0}
    assert trackers.series({"step": 1, "kind": "progress", "loss_nats": 2.0}) == {}
    assert live.share_of_peak(None, 1, 1.0, "cpu", 1) is None


def test_one_process_has_several_runs_of_each_tool_and_goes_on_with_them(tmp_path):
    for to in ("tensorboard", "wandb", "mlflow"):
        try:
            trackers.need(to, "--log")
        except ValueError:
            pytest.skip(f"{to} is not installed")
        for step in (20, 40):
            both = [trackers.opened(to, tmp_path / to, name, "mine") for name in ("a", "b")]
            for tracker in both:
                tracker.log(step, {"train/loss_nats": 5.0 - step / 20})
            for tracker in both:
                tracker.close({"status": "ok", "loss_nats": 3.0} if step == 40 else {}, {})
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "mlflow").resolve().as_uri())
    found = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert sorted(run.info.run_name for run in found) == ["a", "b"]
    history = client.get_metric_history(found[0].info.run_id, "train/loss_nats")
    assert [(one.step, one.value) for one in history] == [(20, 4.0), (40, 3.0)]
    assert len(list((tmp_path / "tensorboard" / "a").iterdir())) == 2, "a file each time"
    assert len(list((tmp_path / "wandb").rglob("*.wandb"))) == 4
