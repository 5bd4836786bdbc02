"""What a run cost is the sum over its attempts, and what a pack cost is shared among its runs."""

from dataclasses import replace

import pytest

from lab.runs import loop, spent
from lab.runs.folder import RunFolder
from lab.runs.job import Job


@pytest.fixture
def clock(monkeypatch):
    """Each look at the clock is a second later."""
    seconds = iter(range(10**6))
    monkeypatch.setattr(spent.time, "monotonic", lambda: float(next(seconds)))


def test_costs_are_summed_over_attempts(tiny, synthetic, tmp_path, clock):
    job = Job(tiny, "run", RunFolder(tmp_path / "run"))
    for _ in range(2):
        calls = iter(range(100))
        with pytest.raises(loop.Interrupted):
            loop.run([job], synthetic, hooks=loop.Hooks(should_stop=lambda c=calls: next(c) >= 0))
    with open(tmp_path / "run" / "costs.jsonl", "a") as file:
        file.write('{"attempt": "torn')
    before = spent.total(job.folder.costs(), "device_seconds")
    loop.run([job], synthetic)
    lines, row = job.folder.costs(), job.folder.result()["row"]
    assert len({line["attempt"] for line in lines}) == 3
    assert {line["phase"] for line in lines} == {"train", "evaluate"}
    assert row["device_seconds"] == spent.total(lines, "device_seconds") > before > 0
    assert row["compile_seconds"] == spent.total(lines, "compile_seconds") > 0


def test_what_an_attempt_cost_that_failed_is_counted(tiny, synthetic, tmp_path, monkeypatch):
    job = Job(tiny, "run", RunFolder(tmp_path / "run"))

    def fail(*_):
        raise OSError("no more")

    with monkeypatch.context() as patched:
        patched.setattr(loop.evaluate, "validate", fail)
        with pytest.raises(OSError, match="no more"):
            loop.run([job], synthetic)
    failed = job.folder.costs()
    assert spent.total(failed, "device_seconds") > 0
    loop.run([job], synthetic)
    assert job.folder.costs()[: len(failed)] == failed


def test_the_time_of_a_pack_is_shared_among_its_runs(tmp_path, tiny, clock):
    class Device:
        device_kind = "card"

    jobs = [Job(replace(tiny, seed=s), str(s), RunFolder(tmp_path / str(s))) for s in range(4)]
    booked = spent.Clock(jobs, (Device(), Device()))
    booked.book(20, range(4))
    booked.book(40, [0, 3])  # the others diverged
    booked.book(40, [0], compiled=True)
    found = [spent.total(job.folder.costs(), "device_seconds") for job in jobs]
    assert found == [1.5, 0.5, 0.5, 1.5], "a second of two devices for four, then a second for two"
    assert sum(found) == 2 * booked.seconds
    assert spent.total(jobs[0].folder.costs(), "compile_seconds") == 1


def test_a_branch_counts_the_part_of_the_trunk_that_it_was_the_first_to_need(tmp_path, tiny):
    trunk = RunFolder(tmp_path / "trunk")
    trunk.path.mkdir()
    trunk.append_metrics([{"step": 30, "kind": "branch"}, {"step": tiny.hold_steps, "kind": "branch"}])
    for step, seconds in ((20, 1.0), (30, 2.0), (40, 4.0), (tiny.hold_steps, 8.0), (60, 16.0)):
        trunk.append_costs({"step": step, "device_seconds": seconds, "energy_joules": 3 * seconds})
    assert tiny.hold_steps == 48
    job = Job(tiny, "run", RunFolder(tmp_path / "run"), trunk=trunk)
    assert spent.total(spent.of_trunk(job), "device_seconds") == 12.0
    job.folder.path.mkdir()
    job.folder.append_costs({"step": 50, "device_seconds": 3.0, "compile_seconds": 1.0})
    found = spent.columns(job)
    assert (found["device_seconds"], found["compile_seconds"], found["energy_joules"]) == (15.0, 1.0, 36.0)
    assert found["energy_coverage"] == 12.0 / 16.0
    assert found["cpu_seconds"] is None, "older lines do not have it"
