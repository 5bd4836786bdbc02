"""What is exported is read back from the other tool's files; what is imported, by the reader of `lab fit`."""

import json
import logging
import struct

import numpy as np
import pytest

from analysis import fit, read
from lab.errors import InputError
from lab.runs import trackers
from sweeps.exchange import event_files, exports, imports, wandb_files
from sweeps.store.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    made = Store(root)
    for i, loss in enumerate((3.25, 3.0)):
        run_id = f"{i:012x}"
        folder = made.run(run_id)
        folder.path.mkdir(parents=True)
        (folder.path / "spec.json").write_text(json.dumps({"kind": "run", "run_id": run_id}))
        folder.append_metrics(
            [{"step": s, "tokens": s * 8, "loss_nats": 5.0 - s / 10, "grad_norm": 1.0} for s in (20, 40)]
        )
        folder.append_metrics([{"step": 40, "kind": "branch", "seconds": 3.0}])
        row = {
            "run_id": run_id,
            "status": "ok",
            "params_total": 1000 * (i + 1),
            "tokens": 320,
            "loss_nats": loss,
        }
        scores = [{"task": "copy", "metric": "exact_match", "score": 0.25 * i}]
        folder.commit({"schema": 1, "row": {**row, "source": "synthetic"}, "abilities": scores})
    trunk = made.run("ffffffffffff")
    trunk.path.mkdir()
    (trunk.path / "spec.json").write_text(json.dumps({"kind": "trunk"}))
    trunk.append_metrics([{"step": 20, "loss_nats": 4.0}])
    (root / "studies").mkdir()
    cells = [{"run_id": f"{i:012x}"} for i in range(2)]
    (root / "studies" / "mine.json").write_text(json.dumps({"study": "mine", "cells": cells}))
    return root


def export(store, to, out) -> dict:
    assert exports.export([str(store), "--to", to, "--out", str(out)]) == 0
    return out


def tensorboard_scalars(file) -> dict:
    from tensorboardX.proto.event_pb2 import Event

    data, at, found = file.read_bytes(), 0, {}
    while at < len(data):  # records: length, its CRC, content, its CRC
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        at += 16 + length
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                found[value.tag, event.step] = value.simple_value
    return found


def test_tensorboard_files_hold_every_series_and_result(store, tmp_path):
    out = export(store, "tensorboard", tmp_path / "tb")
    assert sorted(p.name for p in out.iterdir()) == ["000000000000", "000000000001"], "a trunk is no run"
    (file,) = (out / "000000000001").iterdir()
    found = tensorboard_scalars(file)
    assert found["train/loss_nats", 20] == pytest.approx(4.8 - 1.8)
    assert found["train/loss_nats", 40] == pytest.approx(1.0)
    assert found["result/loss_nats", 40] == pytest.approx(3.0)
    assert found["result/copy/exact_match", 40] == pytest.approx(0.25)
    row = next(row for row in event_files.read(out).rows if row["name"] == "000000000001")
    assert (row["result/loss_nats"], row["train/loss_nats"], row["step"]) == (3.0, 1.0, 40)


def test_wandb_runs_are_offline_and_read_back_without_its_server(store, tmp_path):
    out = export(store, "wandb", tmp_path / "wb")
    rows = {row["name"]: row for row in wandb_files.read(out)}
    assert set(rows) == {"000000000000", "000000000001"}
    row = rows["000000000001"]
    assert (row["loss_nats"], row["params_total"], row["source"]) == (3.0, 2000, "synthetic")
    assert (row["train/loss_nats"], row["copy/exact_match"]) == (1.0, 0.25)
    history = [r for f in out.rglob("*.wandb") for r in wandb_files.records(f)]
    assert len(history) > 8
    torn = next(out.rglob("*.wandb"))
    torn.write_bytes(torn.read_bytes()[:-9])
    assert len(wandb_files.read(out)) == 2, "a torn end is tolerated"
    table = tmp_path / "t.csv"
    assert (
        imports.import_([str(out), "--out", str(table), "--columns", "params=params_total,loss=loss_nats"])
        == 0
    )
    assert sorted(read(table).columns["loss"]) == [3.0, 3.25]


def test_mlflow_keeps_params_metrics_and_history(store, tmp_path):
    out = export(store, "mlflow", tmp_path / "ml")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=out.resolve().as_uri())
    experiment = client.get_experiment_by_name("mine")
    found = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    assert set(found) == {"000000000000", "000000000001"}
    run = found["000000000001"]
    assert run.data.params["params_total"] == "2000"
    assert run.data.metrics["loss_nats"] == 3.0
    assert run.data.metrics["copy/exact_match"] == 0.25
    history = client.get_metric_history(run.info.run_id, "train/loss_nats")
    assert [(m.step, m.value) for m in history] == [(20, 3.0), (40, 1.0)]
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("to", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_extra_is_one_line(store, tmp_path, monkeypatch, to):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(trackers.importlib, "import_module", missing)
    with pytest.raises(InputError, match=r"is missing; pip install --require-hashes"):
        exports.export([str(store), "--to", to, "--out", str(tmp_path / "x")])
    assert not (tmp_path / "x").exists()


def test_an_export_never_writes_over_something(store, tmp_path):
    (tmp_path / "there").write_text("x")
    with pytest.raises(InputError, match="is not empty"):
        exports.export([str(store), "--to", "tensorboard", "--out", str(tmp_path)])
    with pytest.raises(InputError, match="it has no runs/"):
        exports.export([str(tmp_path), "--to", "tensorboard", "--out", str(tmp_path / "y")])


def law(n, d):
    return 1.7 + 400 / n**0.34 + 410 / d**0.28


def test_a_foreign_table_is_mapped_and_fits(tmp_path):
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    lines = [f"{i},{x},{y},{law(x, y)},{9.9}" for i, (x, y) in enumerate(zip(n, d, strict=True))]
    # as a runs table of wandb is exported: its own names, another column that is called loss
    (tmp_path / "wandb.csv").write_text("\n".join(["Name,model.N,train.D,val/loss,loss", *lines]))
    for out in (tmp_path / "t.csv", tmp_path / "t.parquet"):
        map_ = "params=model.N,tokens=train.D,loss=val/loss,name=Name"
        assert imports.import_([str(tmp_path / "wandb.csv"), "--out", str(out), "--columns", map_]) == 0
        found = fit(read(out), bootstrap=0)
        assert found.params["alpha"] == pytest.approx(0.34, abs=1e-3)
        assert "loss_original" in read(out).columns
    with pytest.raises(InputError) as caught:
        imports.import_(
            [str(tmp_path / "wandb.csv"), "--out", str(tmp_path / "u.csv"), "--columns", "params=model.M"]
        )
    assert "no column 'model.M'; did you mean model.N?" in caught.value.problems[0]
    with pytest.raises(InputError, match=r"no such role 'parms'; did you mean params\?"):
        imports.import_([str(tmp_path / "wandb.csv"), "--out", "u.csv", "--columns", "parms=model.N"])


NANOGPT = """tokens per iteration will be: 16,384
number of parameters: 10.65M
num decayed parameter tensors: 26, with 10,740,096 parameters
step 0: train loss 4.2874, val loss 4.2823
iter 0: loss 4.2653, time 29893.42ms, mfu -100.00%
step 250: train loss 1.9650, val loss 2.0661
step 500: train loss 1.5286, val loss 1.7274
"""
NANOCHAT = """Parameter counts:
wte                     : 25,165,824
lm_head                 : 25,165,824
transformer_matrices    : 84,934,656
total                   : 135,266,304
Estimated FLOPs per token: 7.5e+08
Auto-computed optimal batch size: 524,288 tokens
Calculated number of iterations from target FLOPs: 2,000
Total number of training tokens: 1,048,576,000
Step 00000 | Validation bpb: 3.100000
step 00000/02000 (0.00%) | loss: 10.397 | lrm: 0.02 | dt: 300.00ms | tok/sec: 1,700,000
Step 01000 | Validation bpb: 1.050000
Step 02000 | Validation bpb: 0.951234
Step 02000 | CORE metric: 0.1234
"""


def test_logs_of_nanogpt_and_nanochat_become_rows(tmp_path):
    (tmp_path / "a.log").write_text(NANOGPT)
    (tmp_path / "b.log").write_text(NANOCHAT)
    out = tmp_path / "t.csv"
    assert imports.import_([str(tmp_path / "a.log"), str(tmp_path / "b.log"), "--out", str(out)]) == 0
    table = read(out).columns
    assert table["params"].tolist() == [10.65e6, 84_934_656 + 25_165_824]
    assert table["tokens"].tolist() == [500 * 16_384, 2000 * 524_288]
    assert table["loss"].tolist() == [1.7274, 0.951234]
    assert table["core_metric"].tolist()[1] == 0.1234
    args = [str(tmp_path / "a.log"), "--out", str(out), "--all-evaluations"]
    assert imports.import_(args) == 0
    assert read(out).columns["tokens"].tolist() == [250 * 16_384, 500 * 16_384]


@pytest.mark.parametrize(
    ("text", "args", "words"),
    [
        ("hello", [], "neither a table"),
        (NANOGPT.replace("number of parameters: 10.65M", ""), [], "give --params"),
        (NANOGPT.replace("tokens per iteration will be: 16,384", ""), [], "give --tokens-per-step"),
        (NANOCHAT, ["--format", "nanogpt"], "is it a log of nanoGPT"),
        (NANOGPT, ["--format", "wandb"], "does not begin with :W&B"),
    ],
)
def test_a_log_that_lacks_something_says_what(tmp_path, text, args, words):
    (tmp_path / "a.log").write_text(text)
    with pytest.raises(InputError, match=words):
        imports.import_([str(tmp_path / "a.log"), "--out", str(tmp_path / "t.csv"), *args])
    given = ["--params", "5e6", "--tokens-per-step", "100"]
    if "give" in words:
        assert imports.import_([str(tmp_path / "a.log"), "--out", str(tmp_path / "t.csv"), *given]) == 0


def test_nothing_to_write_and_no_such_format(tmp_path):
    (tmp_path / "t.csv").write_text("N,D,loss\n1,2,3\n")
    with pytest.raises(InputError, match=r"should end in \.csv or \.parquet"):
        imports.import_([str(tmp_path / "t.csv"), "--out", str(tmp_path / "t.xlsx")])
    with pytest.raises(InputError, match="no such file"):
        imports.import_([str(tmp_path / "u.csv"), "--out", str(tmp_path / "t.parquet")])
    logging.getLogger("mlflow").setLevel(logging.WARNING)
