"""The rule of divergence on records, and on runs that are driven off the road."""

from dataclasses import replace

import numpy as np
import pytest

from lab.runs import divergence, loop
from lab.runs.folder import RunFolder
from lab.runs.job import Job

V = 260
HIGH, LOW = divergence.limit(V) + 0.1, divergence.limit(V) - 0.1


def fate(losses, every=20):
    """Step at which records of these mean losses end a run, or None."""
    fine = 0
    for i, loss in enumerate(losses, 1):
        fine = max(fine, divergence.last_fine([{"step": i * every, "loss_nats": loss}], V))
        if divergence.blown_up(i * every, fine):
            return i * every
    return None


def test_sixty_steps_above_end_a_run_and_a_spike_does_not():
    assert fate([HIGH, HIGH, LOW] * 5) is None, "twice forty steps are not eighty"
    assert fate([LOW, HIGH, HIGH, HIGH, LOW]) == 80
    assert fate([HIGH] * 9) == 60
    assert fate([LOW] * 9) is None


def test_the_limit_is_the_untrained_loss_and_a_margin():
    assert divergence.limit(V) == pytest.approx(np.log(V) + 1.0)
    assert divergence.ends_above(np.log(V), V) is None
    assert "validation loss 8" in divergence.ends_above(8.0, V)
    assert divergence.ends_above(float("nan"), V)


def test_the_count_goes_on_over_a_resume():
    lines = [{"step": 20, "loss_nats": LOW}, {"step": 30, "kind": "branch"}, {"step": 40, "loss_nats": HIGH}]
    assert divergence.last_fine(lines, V) == 20


@pytest.mark.parametrize("tokens", [100, 30], ids=["blown up on the way", "ends above"])
def test_an_absurd_rate_is_recorded_with_its_step_and_the_pack_goes_on(tokens, tiny, synthetic, tmp_path):
    tiny = replace(tiny, tokens=tokens * tiny.batch_tokens)
    # finite all the way: Adam's steps are bounded by the rate, and normalisation bounds what weights can do
    wild = replace(tiny, optimizer=replace(tiny.optimizer, learning_rate=300.0, weight_decay=0.0))
    jobs = [Job(c, name, RunFolder(tmp_path / name)) for c, name in ((tiny, "good"), (wild, "wild"))]
    loop.run(jobs, synthetic, "devices")
    good, bad = (job.folder.result()["row"] for job in jobs)
    assert good["status"] == "ok"
    assert bad["status"] == "diverged"
    assert bad["loss_nats"] is None
    assert bad["diverged_step"] == min(tokens, 60)
    assert "nats above ln V" in bad["reason"]
    last = jobs[1].folder.metrics()[-1]
    assert last["step"] == min(tokens, 60)
    assert last["loss_nats"] > divergence.limit(synthetic.vocab_size)


def test_metrics_hold_the_health_of_a_run(tiny, synthetic, tmp_path):
    job = Job(tiny, "run", RunFolder(tmp_path / "run"))
    loop.run([job], synthetic)
    lines = job.folder.metrics()
    assert len(lines) == 3
    for line in lines:
        assert 1e-4 < line["update_ratio"] < 0.3
        assert 0.01 < line["max_logit"] < 100
    assert lines[-1]["update_ratio"] < lines[0]["update_ratio"], "the cooldown makes updates small"
