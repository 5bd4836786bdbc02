"""The one command for an accelerator runs whole on a CPU, at toy sizes."""

import json
import subprocess
import sys

import pytest

from benchmarks import accelerator
from lab.machine import devices

WITHOUT = """
import runpy, sys
for name in ("matplotlib", "pyarrow", "tyro", "submitit", "ray"):
    sys.modules[name] = None  # importing it fails, as where it is not installed
sys.argv = ["accelerator", "--toy"]
runpy.run_module("benchmarks.accelerator", run_name="__main__")
"""


def in_this_process(capsys, monkeypatch, own_devices) -> tuple[int, str]:
    monkeypatch.setattr(devices, "configure", lambda: None)  # which is too late where jax is there
    code = accelerator.main(toy=True, seconds=480.0)
    return code, capsys.readouterr().out


def without_what_it_does_not_need(capsys, monkeypatch, own_devices) -> tuple[int, str]:
    call = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(call, capture_output=True, text=True, timeout=600, env=own_devices)
    return done.returncode, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "run", [in_this_process, pytest.param(without_what_it_does_not_need, marks=pytest.mark.weekly)]
)
def test_every_part_runs_on_a_cpu_and_every_check_holds(run, capsys, monkeypatch, own_devices):
    code, out = run(capsys, monkeypatch, own_devices)
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0, out[-2000:]
    checks = {line["check"]: line["holds"] for line in lines if "check" in line}
    assert len(checks) == 6
    assert all(checks.values())
    assert [line["pack"] for line in lines if "pack" in line] == [1, 2]
    (shape,) = (line for line in lines if "speed" in line and "peer" not in line)
    assert shape["share_of_gemm_peak"] > 0
    (beside,) = (line for line in lines if "peer" in line)
    assert beside.get("tokens_per_s", 1) > 0
    assert lines[-1]["all_checks_hold"]


def test_what_finds_no_time_is_named(capsys):
    clock = accelerator.Clock(0.0)
    accelerator.packs(accelerator.TOY, clock)
    accelerator.shapes(accelerator.TOY, clock, 1e12)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == len(accelerator.TOY.packs) + 2
    assert all(line["left_out"] == "no time left" for line in lines)
