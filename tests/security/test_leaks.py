"""A store and what is exported of it tell no paths, hosts or users of the machines that made them."""

import getpass
import json
import os
import platform

import pytest

from lab.machine.provenance import collect, without_folders
from lab.runs import trackers
from sweeps.exchange import exports

ROW = {"run_id": "c0ffee", "status": "ok", "loss_nats": 2.5, "width": 8}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lab run /home/me/secret/s.toml --out /data/me/runs", "lab run s.toml --out runs"),
        ("--out=/home/me/runs ~/x/y.toml ~me/z", "--out=runs y.toml z"),
        ("--set data.source=/home/me/corpus.txt,a", "--set data.source=corpus.txt,a"),
        ("runs/quickstart --set model.width=64 1/2", "runs/quickstart --set model.width=64 1/2"),
        ("--part 1/2 --law own.py:f --xla_dump_to=/tmp/me/x", "--part 1/2 --law own.py:f --xla_dump_to=x"),
    ],
)
def test_commands_hold_names_of_files_alone(text, told):
    assert without_folders(text) == told


def test_the_spec_of_a_run(monkeypatch, tmp_path):
    """Before: the whole command, and with it home folders, stood in each spec and in the report."""
    monkeypatch.setattr("sys.argv", ["/opt/me/bin/lab", "run", f"{tmp_path}/s.toml", "--out", str(tmp_path)])
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", "") + f" --xla_dump_to={tmp_path}")
    short, full = json.dumps(collect()), json.dumps(collect("full"))
    assert str(tmp_path.parent) not in short
    assert f"lab run s.toml --out {tmp_path.name}" in short
    assert str(tmp_path) in full
    assert platform.node() in full


@pytest.mark.parametrize("to", ["tensorboard", "wandb", "mlflow"])
def test_exports(to, tmp_path, monkeypatch):
    """Before: names of event files ended with the host's; mlflow's files and wandb's logs held paths."""
    pytest.importorskip({"tensorboard": "tensorboardX"}.get(to, to), reason="the extra `export`")
    trackers.need(to, "--to")
    monkeypatch.setattr("socket.gethostname", lambda: "secret-host")
    out = tmp_path / "out"
    run = exports.Exported("c0ffee", "small", ROW, {"copy/exact_match": 0.5}, [(1, {"train/loss": 3.0})])
    assert exports.write(to, iter([run]), out) == 1
    files = [path for path in out.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in out.rglob("*") if path.is_symlink()]
    secrets = ["secret-host", str(tmp_path.parent)]
    secrets += [text for text in (platform.node(), getpass.getuser()) if len(text) > 4]
    for path in files:
        content = path.read_bytes()
        for secret in secrets:
            assert secret not in str(path.relative_to(out)), path
            assert secret.encode() not in content, f"{path} holds {secret}"
