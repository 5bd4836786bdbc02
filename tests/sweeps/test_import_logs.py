"""Charts and training logs become a row a run; what was lost is told by a code."""

import contextlib
import json

import numpy as np
import pytest

from analysis.verbs.fit import fit
from lab.errors import InputError
from sweeps.exchange import event_files, imports
from sweeps.exchange.found import size_in
from tests.sweeps.foreign import MODDED, chart, event, write


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("EleutherAI/pythia-1.4b-deduped", 1.4e9),
        ("gpt_125m_lr3e-4", 125e6),
        ("OPT 6.7B", 6.7e9),
        ("Llama-2-7B", 7e9),
        ("d512", None),
        ("mixtral-8x7B", None),
        ("ablation-v2b", None),
        ("llama-13b-4bit", 13e9),
        ("tiny-1_4b", None),
        ("llama-1.1b-3T-tokens", 1.1e9),
        ("70m-vs-160m", None),
        ("step143000", None),
    ],
)
def test_sizes_in_names(name, size):
    assert size_in(name) == size


# --- charts ---


def test_a_chart_is_melted_and_fitted(tmp_path, import_):
    lines = []
    for n in (7e7, 1.6e8, 4.1e8):
        for d in (1e9, 4e9, 1.6e10):
            loss = 1.7 + 400 / n**0.34 + 410 / d**0.28
            lines.append(
                (f"N={n:.2e} D={d:.2e} - eval/loss", {100: (9.0, 9.0, 9.0), 1000: (loss, loss, loss)})
            )
    rows, said, told = import_(write(tmp_path / "wandb_export_2024.csv", chart(lines)))
    assert len(rows["loss"]) == 9
    assert set(rows["N"]) == {7e7, 1.6e8, 4.1e8}
    assert told["next"].startswith("lab fit")
    assert not said.keys() & {"averaged", "doubled_names"}


def test_lines_of_a_chart_that_cannot_be_taken_as_they_are(tmp_path, import_):
    lines = [
        ("gpt-70m - val/loss", {100: (3.5, 3.5, 3.5), 200: (3.25, 3.0, 3.5)}),
        ("gpt-70m - val/loss", {100: (3.6, 3.6, 3.6), 200: (9.99, 9.99, 9.99)}),
        ("gpt-160m - val/loss", {100: (3.4, 3.4, 3.4), 200: ("NaN", "NaN", "NaN")}),
        ("gpt-410m - val/loss", {100: (3.3, 3.3, 3.3)}),
        ("gpt-1b - val/loss", {}),
        ("gpt-70m - _step", {100: (100, 100, 100)}),
    ]
    rows, said, _ = import_(write(tmp_path / "c.csv", chart(lines)), "--tokens-per-step", "1000")
    assert rows["name"].tolist() == ["gpt-70m", "gpt-70m (2)", "gpt-160m", "gpt-410m"]
    assert rows["tokens"].tolist() == [200_000, 200_000, 200_000, 100_000]
    assert rows["status"].tolist() == ["ok", "ok", "diverged", "ok"]
    assert rows["loss_min"].tolist()[0] == 3.0
    assert "gpt-70m" in said["doubled_names"]
    assert "gpt-70m" in said["averaged"]
    assert "gpt-160m" in said["diverged"]
    assert "gpt-1b" in said["no_values"]
    assert "gpt-410m at 100" in said["ends_early"]
    assert "_step" in said["columns_left"]
    assert "gpt-410m" in said["params_from_name"]
    _, said, _ = import_(tmp_path / "c.csv")
    assert "--tokens-per-step" in said["no_tokens"]


def test_a_chart_of_two_losses_is_refused(tmp_path):
    lines = [("a - val/loss", {1: (3, 3, 3)}), ("a - train/loss", {1: (3, 3, 3)})]
    with pytest.raises(InputError, match="the chart has 2 losses"):
        imports.import_([str(write(tmp_path / "c.csv", chart(lines))), "--out", str(tmp_path / "t.csv")])


def test_a_runs_table_tells_runs_that_did_not_end_well_and_doubled_names(tmp_path, import_):
    text = (
        "Name,State,N,D,loss\na,finished,7e7,1e9,2.30\na,finished,7e7,1e9,9.99\n"
        "b,crashed,1.6e8,1e9,3.0\nc,running,1.6e8,2e9,3.1\nd,killed,4e8,2e9,NaN\n"
    )
    rows, said, _ = import_(write(tmp_path / "runs.csv", text))
    assert len(rows["loss"]) == 5, "nothing is averaged, nothing is lost"
    assert "1 runs are crashed and will not be fitted: b" in said["not_finished"]
    assert "running" in said["not_finished"]
    assert "'a' with losses 2.3 and 9.99" in said["doubled_names"]


def test_from_a_chart_to_a_law(tmp_path, capsys):
    rng = np.random.default_rng(0)
    lines = []
    for n in np.geomspace(1e7, 1e9, 5):
        for d in np.geomspace(1e9, 1e11, 5):
            loss = (1.7 + 400 / n**0.34 + 410 / d**0.28) * np.exp(0.002 * rng.standard_normal())
            lines.append(
                (f"N={n:.3e}_D={d:.3e} - eval/loss", {100: (9.0, 9.0, 9.0), 1000: (loss, loss, loss)})
            )
    path = write(tmp_path / "chart.csv", chart(lines))
    table = tmp_path / "runs.csv"
    assert imports.import_([str(path), "--out", str(table)]) == 0
    assert f"lab fit {table}" in capsys.readouterr().out
    assert fit([str(table), "--law", "chinchilla", "--bootstrap", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["params"]["alpha"] == pytest.approx(0.34, abs=0.05)
    assert found["points"] == 25


def test_charts_without_ranges_and_logs_of_several_runs(tmp_path, import_):
    text = "Step,run-70M - val/loss,run-160M - val/loss\n100,4,3.9\n200,3.5,3.3\n"
    rows, said, _ = import_(write(tmp_path / "c.csv", text), "--tokens-per-step", "1000")
    assert rows["loss"].tolist() == [3.5, 3.3]
    assert "run-70M" in said["params_from_name"]
    head = "tokens per iteration will be: 1,000\nnumber of parameters: 10.65M\n"
    log = f"{head}step 500: train loss 3, val loss 3.1\n"
    path = write(tmp_path / "two.log", log + log.replace("10.65", "20.65"))
    with pytest.raises(InputError, match=r"several runs \(10.65 and 20.65 parameters\)"):
        imports.import_([str(path), "--out", str(tmp_path / "t.csv")])
    again = log + "step 250: train loss 3.5, val loss 3.6\nstep 600: train loss nan, val loss nan\n"
    rows, said, _ = import_(write(tmp_path / "again.log", again))
    assert (rows["tokens"][0], rows["status"][0]) == (600_000, "diverged")
    assert "go back 1 times" in said["logged_twice"]
    assert "NaN" in said["diverged"]


# --- logs of single runs ---


def test_trainer_state_of_hugging_face(tmp_path, import_):
    state = {
        "global_step": 100,
        "max_steps": 100,
        "num_input_tokens_seen": 0,
        "log_history": [
            {"loss": 3.5, "step": 50, "epoch": 1.0},
            {"eval_loss": 3.4, "step": 50, "epoch": 1.0},
            {"eval_loss": 3.2, "step": 100, "epoch": 2.0},
            {"train_loss": 3.4, "step": 100, "epoch": 2.0, "total_flos": 1e15},
        ],
    }
    path = write(tmp_path / "gpt-70m" / "checkpoint-100" / "trainer_state.json", state)
    rows, said, _ = import_(path, "--tokens-per-step", "1000")
    assert (rows["name"][0], rows["params"][0], rows["loss"][0], rows["tokens"][0]) == (
        "gpt-70m",
        7e7,
        3.2,
        1e5,
    )
    assert rows["unique_tokens"][0] == 5e4
    assert "2 epochs" in said["repeated_data"]
    rows, said, _ = import_(path, "--all-evaluations", "--tokens-per-step", "1000")
    assert rows["loss"].tolist() == [3.4, 3.2]
    write(path, state | {"global_step": 60, "log_history": state["log_history"][:1]})
    rows, said, _ = import_(path)
    assert rows["status"].tolist() == ["unfinished"]
    assert "at step 60 of 100" in said["unfinished"]
    assert "no eval_loss" in said["train_loss"]
    assert "--tokens-per-step" in said["no_tokens"]


def test_logs_of_config_and_losses(tmp_path, import_):
    log = {"config": {"n_params": 7e7, "model": {"width": 64}}, "losses": [[10, 4.0], [20, 3.5], [30, 3.25]]}
    a = write(tmp_path / "a.json", log)
    b = write(tmp_path / "b.json", log | {"losses": [[10, 4.0], [20, float("nan")], [30, float("nan")]]})
    rows, said, _ = import_(a, b, "--columns", "tokens=step*1000")
    assert rows["name"].tolist() == ["a", "b"]
    assert (rows["loss"][0], rows["tokens"].tolist()) == (3.25, [30_000, 30_000])
    assert rows["status"].tolist() == ["ok", "diverged"]
    assert rows["model.width"].tolist() == [64, 64]
    assert "3 steps of one run" in said["last_step"]
    assert "b: its loss ends in" in said["diverged"]
    assert "may be that of training" in said["train_loss"]
    both = write(tmp_path / "both.json", [log, log | {"name": "other"}])
    assert import_(both)[0]["name"].tolist() == ["both", "other"]


def test_lines_of_steps_are_one_run(tmp_path, import_):
    lines = [{"step": s, "train_loss": 5 - s / 100, "val_loss": 5.1 - s / 100} for s in (100, 200, 300)]
    path = write(tmp_path / "gpt-70m" / "metrics.jsonl", "\n".join(map(json.dumps, lines)) + '\n{"step": 4')
    rows, said, _ = import_(path, "--tokens-per-step", "1000")
    assert (rows["name"][0], rows["loss"][0], rows["tokens"][0]) == ("gpt-70m", pytest.approx(2.1), 3e5)
    assert "'val_loss'" in said["losses"]


LLMC = """| micro batch size B    | 16                                                 |
| total batch size      | 524288                                             |
| num_parameters        | 124475904                                          |
val loss 11.0
step    1/100 | loss 11.0 (+nanz)| norm 15.3 (+nanz)| lr 8.57e-07 | 1 ms | 30% bf16 MFU | 1000 tok/s
step  100/100 | loss 6.1 (+0.1z)| norm 1.3 (+0.2z)| lr 6.0e-04 | 1 ms | 30% bf16 MFU | 1000 tok/s
val loss 6.05
"""


def test_logs_of_llmc_and_modded_nanogpt(tmp_path, import_):
    rows, _, _ = import_(write(tmp_path / "a.log", LLMC))
    assert (rows["params"][0], rows["tokens"][0], rows["loss"][0]) == (124475904, 100 * 524288, 6.05)
    main = "s:0 tel:11.0\ns:1 trl:10.9 lr:0.0001 norm:1.1\ns:250 tel:6.5\ns:250 eval:0.25\ns:500 tel:nan\n"
    given = ("--params", "1e8", "--tokens-per-step", "1000")
    rows, said, _ = import_(write(tmp_path / "main.log", main), *given)
    assert rows["status"].tolist() == ["diverged"]
    assert "NaN" in said["diverged"]
    rows, _, _ = import_(write(tmp_path / "b.log", MODDED), *given)
    assert (rows["loss"][0], rows["tokens"][0]) == (3.2782, 1390 * 1000)
    with pytest.raises(InputError, match="give --params"):
        imports.import_([str(tmp_path / "b.log"), "--out", str(tmp_path / "t.csv")])


def test_event_files_of_tensorboard(tmp_path, import_):
    for name, records in {
        "gpt-70m": [event(10, val_loss=4.0), event(100, val_loss=3.5, lr=np.array(0.25))],
        "gpt-160m": [event(10, val_loss=4.0), event(100, val_loss=float("nan"))],
        "gpt-410m": [event(10, val_loss=4.0), event(10, val_loss=4.5), event(90, val_loss=3.0)[:-6]],
    }.items():
        folder = tmp_path / "tb" / name
        folder.mkdir(parents=True)
        (folder / "events.out.tfevents.1.host").write_bytes(b"".join(records))
    rows, said, _ = import_(tmp_path / "tb", "--columns", "loss=val_loss,tokens=step*1000")
    found = dict(
        zip(rows["name"], zip(rows["loss"], rows["tokens"], rows["status"], strict=True), strict=True)
    )
    assert found["gpt-70m"] == (3.5, 100_000, "ok")
    assert found["gpt-160m"][2] == "diverged"
    assert found["gpt-410m"][:2] == (4.5, 10_000)
    assert "torn off" in said["torn"]
    assert "val_loss at step 10" in said["logged_twice"]
    assert set(said) >= {"diverged", "params_from_name"}
    bad = tmp_path / "events.out.tfevents.2"
    bad.write_bytes(b"not an event file at all, but longer than a header")
    with pytest.raises(InputError, match="is no event file"):
        list(event_files.scalars(bad))
    rng = np.random.default_rng(0)
    whole = b"".join(event(s, val_loss=4.0) for s in range(5))
    for _ in range(200):  # whatever is in it: rows, or one line of an error
        data = bytearray(whole)
        for at in rng.integers(len(data), size=3):
            data[at] = rng.integers(256)
        bad.write_bytes(bytes(data))
        with contextlib.suppress(InputError):
            list(event_files.scalars(bad))


def test_summaries_of_wandb_runs_without_their_log(tmp_path, import_):
    folder = tmp_path / "wandb" / "run-1-abc" / "files"
    write(folder / "wandb-summary.json", {"val/loss": 3.2, "_step": 100, "_wandb": {"runtime": 1}})
    write(folder / "config.yaml", "wandb_version: 1\n\nn_params:\n    desc: null\n    value: 70000000\n")
    rows, said, _ = import_(tmp_path / "wandb")
    assert (rows["name"][0], rows["n_params"][0], rows["val/loss"][0]) == ("run-1-abc", 7e7, 3.2)
    assert "summaries" in said


def run_of(found):
    rows, said, _ = found
    return {name: values[-1] for name, values in rows.items()}, said


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        (
            "hf-70m.log",
            "{'loss': 4.2, 'learning_rate': 1e-4, 'epoch': 0.5}\n 50%|5    | 5/10 [00:10<01:20]\n"
            "{'eval_loss': 3.3, 'eval_runtime': 2.1, 'epoch': 0.5}\n{'loss': 3.0, 'epoch': 1.0}\n"
            "{'eval_loss': 3.1, 'epoch': 1.0}\n{'train_runtime': 9.1, 'train_loss': 3.6, 'epoch': 1.0}\n",
            {"loss": 3.1, "epoch": 1.0, "params": 7e7},
        ),
        ("nan.log", "{'loss': 4.2, 'epoch': 0.5}\n{'loss': nan, 'epoch': 1.0}\n", {"status": "diverged"}),
        (
            "kv-70m.log",
            "10:00:01 INFO start\nstep=100 | loss=4.31 | tokens=1,000,000 | lr=1e-3\n"
            "step=200 | loss=3.31 | tokens=2,000,000 | lr=1e-3 | 3.5s\n",
            {"loss": 3.31, "tokens": 2e6, "step": 200, "params": 7e7},
        ),
        (
            "both.out",
            "[INFO] step: 100, train_loss: 4.3\n[INFO] step: 100, val_loss: 4.4\n"
            "[INFO] step: 200, train_loss: 3.3\n[INFO] step: 200, val_loss: 3.4\n",
            {"loss": 3.4, "step": 200, "train_loss": 3.3},
        ),
        (
            "megatron.log",
            " iteration      100/    1000 | consumed tokens:     52428800 | lm loss: 4.123456E+00 | "
            "loss scale: 1.0 | number of skipped iterations:   0 |\n"
            " validation loss at iteration 100 | lm loss value: 4.2E+00 | lm loss PPL: 6.6E+01 |\n"
            " iteration 200/ 1000 | consumed tokens: 104857600 | lm loss: 3.5E+00 | loss scale: 1.0 |\n"
            " validation loss at iteration 200 | lm loss value: 3.6E+00 | lm loss PPL: 3.6E+01 |\n",
            {"loss": 3.6, "consumed tokens": 104857600, "step": 200},
        ),
        (
            "olmo.log",
            "[step=100/1000,epoch=0]\n    train/CrossEntropyLoss=4.10\n    throughput/total_tokens=1000\n"
            "[step=200/1000,epoch=0]\n    train/CrossEntropyLoss=3.10\n    throughput/total_tokens=2000\n",
            {"loss": 3.1, "throughput/total_tokens": 2000},
        ),
        (
            "metrics.csv",
            "epoch,step,train_loss,val_loss,lr\n0,99,4.1,,0.1\n0,199,3.9,,0.1\n0,199,,3.95,\n1,299,3.5,,0.1\n"
            "1,299,,3.55,\n",
            {"loss": 3.55, "step": 299},
        ),
        (
            "run-gpt_70M-tag-val_loss.csv",
            "Wall time,Step,Value\n1700000000.1,100,4.0\n1700000100.1,200,3.5\n1700000200.1,300,3.2\n",
            {"loss": 3.2, "step": 300},
        ),
        (
            "losses.json",
            [[1.7e9, 100, 4.0], [1.7e9, 200, 3.5], [1.7e9, 300, 3.2]],
            {"loss": 3.2, "step": 300},
        ),
        (
            "iterations.log",
            "tokens per iteration will be: 1,000\nnumber of parameters: 10.65M\niter 0: loss 10.9, time 1ms\n"
            "iter 10: loss 6.1, time 1ms, mfu -100%\niter 20: loss 5.1, time 1ms, mfu 30%\n",
            {"loss": 5.1, "params": 10.65e6, "tokens": 20_000},
        ),
        (
            "bars.log",
            "Epoch 0: 20%|#  | 20/100 [00:02<00:10, 9.0it/s, v_num=0, train_loss=3.90]\n"
            "Epoch 1: 100%|##| 100/100 [00:02<00:10, 9.0it/s, v_num=0, train_loss=3.10, val_loss=3.2]\n",
            {"loss": 3.2, "epoch": 1},
        ),
        (
            "short.json",
            {"config": {"n_params": 7e7}, "losses": [[10, 4.0], [20, 3.5]]},
            {"loss": 3.5, "step": 20},
        ),
        ("bare.json", {"config": {"n_params": 7e7}, "losses": [4.0, 3.5]}, {"loss": 3.5, "entry": 2}),
        (
            "keras.json",
            {"loss": [4, 3.5, 3.3], "val_loss": [4.1, 3.6, 3.4], "epoch": [1, 2, 3]},
            {"loss": 3.4, "epoch": 3},
        ),
        (
            "ppl.jsonl",
            "\n".join(f'{{"step": {s}, "ppl": {np.exp(5 - s / 100)}}}' for s in (100, 200, 300)),
            {"loss": 2.0},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[:30] and "\n" not in value else "",
)
def test_logs_as_scripts_write_them(tmp_path, import_, name, text, wanted):
    row, said = run_of(import_(write(tmp_path / name, text)))
    found = {key: row[key] for key in wanted}
    assert found == {key: v if isinstance(v, str) else pytest.approx(v) for key, v in wanted.items()}
    assert "last_step" in said
    whole = {"params", "tokens"} <= row.keys()
    assert whole or {"roles_missing", "not_fitted"} & said.keys(), "what a law lacks of the row is told"
    if name.startswith("ppl"):
        assert "the loss is their logarithm" in said["perplexity"]


def test_a_log_of_no_loss_and_a_sweep_are_no_log_of_a_run(tmp_path, import_):
    path = write(tmp_path / "run-a-tag-lr.csv", "Wall time,Step,Value\n1,100,4.0\n2,200,3.5\n3,300,3.2\n")
    with pytest.raises(InputError, match="the series 'lr' of TensorBoard and no loss"):
        imports.import_([str(path), "--out", str(tmp_path / "t.csv")])
    with pytest.raises(InputError, match="lines say a step and a loss"):
        imports.import_([str(write(tmp_path / "a.log", "hello\n")), "--out", str(tmp_path / "t.csv")])
    for head in ("name", "N", "width", "seed"):
        text = f"{head},step,loss\n" + "".join(f"{i},{100 * i},{4 - i / 10}\n" for i in range(1, 5))
        assert len(import_(write(tmp_path / "sweep.csv", text))[0]["loss"]) == 4, "each row is a run"


def test_charts_of_one_line_of_steps_and_of_perplexities(tmp_path, import_):
    text = "Step,gpt-70M - _step,gpt-70M - val/ppl,gpt-160M - _step,gpt-160M - val/ppl\n"
    text += f"100,100,{np.exp(4)},100,{np.exp(3.9)}\n200,200,{np.exp(3.5)},200,{np.exp(3.25)}\n"
    rows, said, _ = import_(write(tmp_path / "c.csv", text), "--tokens-per-step", "1000")
    assert rows["loss"].tolist() == pytest.approx([3.5, 3.25])
    assert rows["params"].tolist() == [7e7, 1.6e8]
    assert "the loss is their logarithm" in said["perplexity"]
    rows, said, _ = import_(write(tmp_path / "one.csv", '"Step","gpt-70M - val/loss"\n1,4\n2,3.5\n'))
    assert (rows["loss"].tolist(), rows["params"].tolist()) == ([3.5], [7e7])
    _, said, _ = import_(write(tmp_path / "t.csv", '"Relative Time","gpt-70M - val/loss"\n1,4\n2,3.5\n'))
    assert "export the chart by step" in said["no_tokens"]


def test_logs_that_are_all_called_alike_are_named_by_their_folders(tmp_path, import_):
    for size in ("70m", "160m"):
        write(tmp_path / "llmc" / size / "main.log", "s:0 tel:11.0\ns:250 tel:6.5\ns:500 tel:3.9\n")
    given = (tmp_path / "llmc", "--tokens-per-step", "1000")
    with pytest.raises(InputError, match="give --params, or --models"):
        imports.import_([*map(str, given), "--out", str(tmp_path / "t.csv")])
    rows, _, _ = import_(*given, "--models", "70m=70e6,160m=160e6")
    assert dict(zip(rows["name"], rows["params"], strict=True)) == {"70m": 70e6, "160m": 160e6}
    _, said, _ = import_(*given, "--models", "70m=70e6")
    assert "params is missing or not a number (row 0)" in said["not_fitted"]
    _, said, _ = import_(*given, "--params", "1e8")
    assert "taken for all 2 runs" in said["params_for_all"]
    text = "tokens per iteration will be: 1,000\nnumber of parameters: 10.65M\n"
    text += "step 9: train loss 3, val loss 3.1\n"
    write(tmp_path / "texts" / "a.txt", text)
    write(tmp_path / "texts" / "README.txt", "what this is")
    assert import_(tmp_path / "texts")[0]["loss"].tolist() == [3.1]


def test_curves_of_several_runs_in_one_object(tmp_path, import_):
    curves = {"70M": [[100, 4.0], [200, 3.5]], "160M": [[100, 3.9], [200, 3.25]]}
    rows, _, _ = import_(write(tmp_path / "a.json", curves), "--tokens-per-step", "1000")
    assert rows["loss"].tolist() == [3.5, 3.25]
    assert rows["params"].tolist() == [7e7, 1.6e8]
    assert rows["tokens"].tolist() == [2e5, 2e5]
    long = {name: [[0, 9.0], [50, 5.0], *points] for name, points in curves.items()}
    assert import_(write(tmp_path / "a.json", long))[0]["loss"].tolist() == [3.5, 3.25]
    parts = {"train": long["70M"], "val": long["160M"]}
    assert import_(write(tmp_path / "parts.json", parts))[0]["loss"].tolist() == [3.25], (
        "two series of one run"
    )
    rows, said, _ = import_(write(tmp_path / "b.json", {"70M": [4, 3.5, 3.4], "160M": [3.9, 3.3, 3.2]}))
    assert rows["loss"].tolist() == [3.4, 3.2]
    assert "no steps" in said["no_steps"]
    text = "Step;run-70M - val/loss;run-160M - val/loss\n1;4,1;4,0\n2;3,9;3,8\n"
    assert import_(write(tmp_path / "c.csv", text))[0]["loss"].tolist() == [3.9, 3.8]
