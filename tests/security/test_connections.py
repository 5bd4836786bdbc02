"""Verbs and exports contact nobody: attempted connections and look-ups of names are counted, and are none."""

import json
import os
import subprocess

import pytest

from lab import python

# In every Python that is started, also by libraries: what leaves this machine is written down, and refused.
HOOK = """
import os, sys

def here(address):
    return isinstance(address, (str, bytes)) or address[0] in ("127.0.0.1", "::1", "localhost")

def watch(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = (arguments[0],)
        if address[0] in (None, "", b"", "0.0.0.0", "::"):
            return
    elif event == "subprocess.Popen" and "wandb-core" in str(arguments[0]) + str(arguments[1]):
        if "--no-observability" in map(str, arguments[1]):
            return
        address = ("wandb-core, which is no Python, without --no-observability",)
    else:
        return
    if not here(address):
        with open(os.environ["CONNECTIONS"], "a") as file:
            file.write(f"{sys.argv[:3]} {event} {address}\\n")
        raise OSError("no network")

sys.addaudithook(watch)
"""
STUDY = """
name = "small"
model = { layers = 1, heads = 1 }
batch = 8
data = { source = "synthetic", context = 32, val_windows = 64 }
[[grids]]
name = "one"
tokens = [4_000]
sizes = [{ width = 8, learning_rate = 0.02 }]
"""
RUN = """
import json, sys
from lab.__main__ import main
from lab.machine import devices
devices.configure()
devices.configure = lambda *_, **__: None  # each verb's own would come too late: jax is there after the first
codes = {}
for words in json.loads(sys.argv[1]):
    try:
        codes[" ".join(words)] = main(words)
    except SystemExit as end:
        codes[" ".join(words)] = end.code
print(json.dumps(codes), file=open("codes.json", "w"))
"""


def attempted(folder, *calls: list[str]) -> tuple[dict[str, int], list[str]]:
    """Exit codes, and every attempt, of verbs called one after the other in one process."""
    hook, log = folder / "hook", folder / "connections"
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(HOOK)
    # mlflow reports on itself unless it sees that it is tested
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "CI", "WANDB", "MLFLOW"))}
    environment = python.environment({**ours, "PYTHONPATH": str(hook), "CONNECTIONS": str(log)})
    command = python.command("-c", RUN, json.dumps([[str(word) for word in call] for call in calls]))
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    codes = json.loads((folder / "codes.json").read_text())
    return codes, log.read_text().splitlines() if log.exists() else []


def test_verbs_and_exports_contact_nobody(tmp_path):
    """Before: `lab export` looked up the hosts of mlflow's telemetry and of wandb's error reports."""
    for package in ("tensorboardX", "wandb", "mlflow"):
        pytest.importorskip(package, reason=f"{package} is not installed: the extra `export`")
    (tmp_path / "small.toml").write_text(STUDY)
    (tmp_path / "runs.csv").write_text("params,tokens,loss\n" + "1e6,1e8,3\n2e6,2e8,2.9\n4e6,4e8,2.8\n")
    one = ["--model.layers", "1", "--model.width", "8", "--model.heads", "1", "--batch", "8"]
    one += ["--data.context", "32", "--data.val-windows", "64", "--tokens", "4000"]
    codes, seen = attempted(
        tmp_path,
        ["train", "--data.source", "synthetic", *one, "--out", "alone"],
        ["eval", "alone"],
        ["generate", "alone", "--tokens", "2"],
        ["doctor"],
        ["init", "example.toml"],
        ["plan", "small.toml", "--probe", "never"],
        ["run", "small.toml", "--out", "store"],
        ["status", "store"],
        ["table", "store"],
        ["export", "store", "--to", "tensorboard", "--out", "t"],
        ["export", "store", "--to", "mlflow", "--out", "m"],
        ["export", "store", "--to", "wandb", "--out", "w"],
        ["import", "w", "--out", "back.csv"],
        ["merge", "other", "store"],
        ["report", "store"],
        ["fit", "runs.csv", "--bootstrap", "0"],
        ["thresholds", "runs.csv"],
        ["isoflop", "runs.csv"],
        ["allocate", "runs.csv"],
        ["audit", "runs.csv"],
        ["forecast", "runs.csv"],
        ["downstream", "runs.csv"],
        ["plot", "store", "loss_compute", "--out", "figures"],
        ["laws"],
        ["replicate"],
        ["data", "inspect", "synthetic"],
    )
    print(f"{len(seen)} attempted connections of {len(codes)} verbs")
    assert seen == []
    # few rows say little; the doctor may find this machine wanting
    few = ("fit", "isoflop", "allocate", "audit", "forecast", "downstream", "thresholds", "doctor")
    wrong = {call: code for call, code in codes.items() if code and not call.startswith(few)}
    assert wrong == {}


def test_the_count_counts(tmp_path):
    """A connection that is attempted in a process started by a verb's process is seen."""
    hook, log = tmp_path / "hook", tmp_path / "connections"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    environment = python.environment({**os.environ, "PYTHONPATH": str(hook), "CONNECTIONS": str(log)})
    code = "import socket; socket.create_connection(('example.invalid', 443))"
    done = subprocess.run(python.command("-c", code), env=environment, capture_output=True, text=True)
    assert "no network" in done.stderr
    assert "example.invalid" in log.read_text()
