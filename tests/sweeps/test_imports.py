"""Foreign files in the shapes that people have, made here, become rows; what was lost is told by a code."""

import contextlib
import json
import struct

import numpy as np
import pytest

from analysis import InputError as AnalysisError
from analysis import read
from analysis.verbs.fit import fit
from analysis.verbs.thresholds import thresholds
from lab.errors import InputError
from sweeps.exchange import event_files, imports
from sweeps.exchange.found import size_in


@pytest.fixture
def import_(tmp_path, capsys):
    """(rows as dicts of columns, code -> text of remarks, columns) of `lab import`."""

    def run(*arguments):
        out = tmp_path / "out.csv"
        assert imports.import_([*map(str, arguments), "--out", str(out), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        said = {}
        for one in told["remarks"]:
            said[one["code"]] = f"{said.get(one['code'], '')}{one['text']}"
        assert imports.import_([*map(str, arguments), "--out", str(out)]) == 0
        text = capsys.readouterr().out
        assert all(one["text"] in text for one in told["remarks"]), "what is in JSON is in the text"
        return read(out, {}).columns, said, told

    return run


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


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


# --- evaluations ---


def harness(model, params=None, scores=None, **more):
    """A results file of lm-evaluation-harness, version 0.4."""
    scores = scores or {"arc_easy": (0.4, 0.01), "lambada_openai": (0.2, 0.006)}
    results = {
        task: {"alias": task, "acc,none": acc, "acc_stderr,none": err, "acc_norm,none": acc + 0.01}
        | {"acc_norm_stderr,none": err}
        for task, (acc, err) in scores.items()
    }
    config = {"model": "hf", "model_args": f"pretrained={model},dtype=float", "limit": None}
    if params:
        config["model_num_parameters"] = params
    found = {"results": results, "config": config, "n-shot": dict.fromkeys(scores, 0)}
    return found | {"n-samples": {task: {"original": 2376, "effective": 2376} for task in scores}} | more


def test_results_of_lm_evaluation_harness(tmp_path, import_):
    a = write(tmp_path / "a" / "results_2024.json", harness("EleutherAI/pythia-70m", 70426624))
    b = write(tmp_path / "b" / "results_2024.json", harness("EleutherAI/pythia-160m"))
    rows, said, told = import_(a, b)
    assert len(rows["task"]) == 8
    assert sorted(set(rows["params"])) == [70426624, 160e6]
    assert set(rows["metric"]) == {"acc", "acc_norm"}
    assert set(rows["items"]) == {2376}
    assert set(rows["stderr"]) == {0.01, 0.006}
    assert "160m" in said["params_from_name"]
    assert "70m" not in said["params_from_name"]
    assert "arc_easy 0.25" in said["chance_known"]
    assert told["next"].startswith("lab thresholds")


def test_a_folder_of_results_is_one_family(tmp_path, import_):
    for size in ("70m", "160m", "410m"):
        write(tmp_path / "res" / f"EleutherAI__pythia-{size}" / "results_x.json", harness(f"p/pythia-{size}"))
    rows, _, _ = import_(tmp_path / "res")
    assert sorted(set(rows["params"])) == [70e6, 160e6, 410e6]


def test_what_a_harness_could_not_compute_is_told(tmp_path, import_):
    data = harness("p/gpt-70m")
    data["results"]["arc_easy"]["acc_stderr,none"] = "N/A"
    data["results"]["arc_easy"]["acc_norm,none"] = "N/A"
    data["results"]["piqa"] = {"acc,none": -100, "acc_stderr,none": "N/A"}
    data["results"]["odd"] = {"sentiment_swing,none": 0.4, "acc,none": 0.5, "acc_stderr,none": "N/A"}
    rows, said, _ = import_(write(tmp_path / "r.json", data))
    assert len(rows["task"]) == 4
    assert "arc_easy/acc_norm,none is 'N/A'" in said["no_score"]
    assert "piqa/acc,none is '-100'" in said["no_score"]
    assert "odd/acc" in said["no_stderr"]
    assert "arc_easy" not in said["no_stderr"], "its items are known, and with them the error"
    assert "sentiment_swing" in said["metric_unknown"]
    assert "odd=LEVEL" in said["chance_unknown"]


def test_groups_count_once(tmp_path, import_):
    scores = {"mmlu": (0.26, 0.003), "mmlu_anatomy": (0.25, 0.03), "mmlu_virology": (0.27, 0.03)}
    data = harness("p/gpt-70m", scores=scores)
    data["group_subtasks"] = {"mmlu": ["mmlu_anatomy", "mmlu_virology"]}
    data["n-samples"].pop("mmlu")
    path = write(tmp_path / "r.json", data)
    rows, said, _ = import_(path)
    assert set(rows["task"]) == {"mmlu"}
    assert set(rows["items"]) == {2 * 2376}
    assert "mmlu_anatomy, mmlu_virology" in said["groups"]
    rows, said, _ = import_(path, "--subtasks")
    assert set(rows["task"]) == {"mmlu_anatomy", "mmlu_virology"}
    assert "mmlu" in said["groups"]


def test_scores_that_stand_twice_are_told(tmp_path, import_):
    a = write(tmp_path / "a.json", harness("p/gpt-70m", scores={"piqa": (0.5, 0.01)}))
    b = write(tmp_path / "b.json", harness("p/gpt-70m", scores={"piqa": (0.5, 0.01)}))
    c = write(tmp_path / "c.json", harness("p/gpt-70m", scores={"piqa": (0.6, 0.01)}))
    rows, said, _ = import_(a, b)
    assert len(rows["task"]) == 2
    assert "count once" in said["copies"]
    rows, said, _ = import_(a, c)
    assert len(rows["task"]) == 4
    assert "0.5 and 0.6" in said["doubled_scores"]


def test_shots_that_differ_are_tasks_of_their_own(tmp_path, import_):
    a = write(tmp_path / "a.json", harness("p/gpt-70m", scores={"piqa": (0.5, 0.01)}))
    b = write(
        tmp_path / "b.json", harness("p/gpt-160m", scores={"piqa": (0.6, 0.01)}, **{"n-shot": {"piqa": 5}})
    )
    rows, said, _ = import_(a, b)
    assert set(rows["task"]) == {"piqa/0-shot", "piqa/5-shot"}
    assert "piqa" in said["shots_differ"]


def test_older_results_lighteval_helm_bigbench_and_samples(tmp_path, import_):
    old = {
        "results": {"piqa": {"acc": 0.6, "acc_stderr": 0.01}},
        "config": {"model_args": "pretrained=a/gpt-70m"},
    }
    rows, _, _ = import_(write(tmp_path / "old.json", old))
    assert (rows["metric"][0], rows["score"][0], rows["params"][0]) == ("acc", 0.6, 70e6)
    light = {
        "config_general": {"model_name": "a/gpt-70m"},
        "results": {"leaderboard|arc:challenge|25": {"acc": 0.3, "acc_stderr": 0.01}, "all": {"acc": 0.3}},
    }
    rows, _, _ = import_(write(tmp_path / "light.json", light))
    assert (rows["task"].tolist(), rows["shots"].tolist()) == (["arc:challenge"], [25])
    big = {
        "model": {
            "model_family": "BIG-G",
            "model_name": "2m",
            "non_embedding_params": 2.1e6,
            "total_params": 1e7,
        },
        "task": {"task_name": "mod_arith"},
        "scores": [
            {"score_dict": {"exact_str_match": 0.1}, "preferred_score": "exact_str_match", "low_score": 0.0}
            | {"number_of_shots": 0, "subtask_description": "mod_arith"}
        ],
    }
    rows, said, _ = import_(write(tmp_path / "big.json", big))
    assert (rows["params"][0], rows["chance"][0], rows["task"][0]) == (2.1e6, 0, "mod_arith")
    assert "total_params" in said["two_params"]
    helm = [
        {"name": {"name": "exact_match", "split": "test"}, "count": 1, "sum": 0.4, "mean": 0.4},
        {
            "name": {"name": "exact_match", "split": "test", "perturbation": {"name": "typos"}},
            "count": 1,
            "mean": 0.3,
        },
        {"name": {"name": "num_instances", "split": "test"}, "count": 1, "mean": 100},
    ]
    folder = tmp_path / "mmlu:subject=anatomy,method=joint,model=together_gpt-6.7b"
    rows, said, _ = import_(write(folder / "stats.json", helm))
    assert (rows["task"].tolist(), rows["score"].tolist()) == (["mmlu/anatomy"], [0.4])
    assert (rows["params"][0], rows["items"][0]) == (6.7e9, 100)
    assert "typos" in said["no_score"]
    lines = [
        {"doc_id": i, "doc": {}, "resps": [], "filtered_resps": [], "acc": float(i < 3)} for i in range(4)
    ]
    path = tmp_path / "a__gpt-70m" / "samples_piqa_2024-01-01T10-00-00.json"
    path = write(path.with_suffix(".jsonl"), "\n".join(map(json.dumps, [*lines, lines[0]])))
    rows, said, _ = import_(path)
    assert (rows["task"][0], rows["correct"][0], rows["items"][0], rows["params"][0]) == ("piqa", 4, 5, 70e6)
    assert "1 items stand in it twice" in said["doubled_items"]


def test_models_gives_sizes_and_says_what_it_lacks(tmp_path, import_):
    path = write(tmp_path / "r.json", harness("org/large"))
    with pytest.raises(InputError, match=r"say --models 'org/large=SIZE'"):
        imports.import_([str(path), "--out", str(tmp_path / "t.csv")])
    rows, _, _ = import_(path, "--models", "large=1.3B")
    assert set(rows["params"]) == {1.3e9}
    table = write(tmp_path / "models.csv", "model,params,tokens\norg/large,1.3e9,3e11\n")
    rows, _, _ = import_(path, "--models", table)
    assert set(rows["tokens"]) == {3e11}
    with pytest.raises(InputError, match="'small' fits none of org/large"):
        imports.import_([str(path), "--out", str(tmp_path / "t.csv"), "--models", "small=1e6"])
    with pytest.raises(InputError, match="has no size"):
        imports.import_([str(path), "--out", str(tmp_path / "t.csv"), "--models", "large=big"])


def test_wide_tables_of_scores_are_melted(tmp_path, import_):
    text = "model,params,hellaswag,arc_easy,MMLU\na,7e7,27.1,40.0,-100\nb,1.6e8,30.0,,25.0\n"
    rows, said, _ = import_(write(tmp_path / "w.csv", text))
    found = dict(zip(zip(rows["model"], rows["task"], strict=True), rows["score"], strict=True))
    assert found == {
        ("a", "hellaswag"): pytest.approx(0.271),
        ("b", "hellaswag"): pytest.approx(0.3),
        ("a", "arc_easy"): pytest.approx(0.4),
        ("b", "MMLU"): pytest.approx(0.25),
    }
    assert "MMLU (1)" in said["not_measured"]
    assert "1 cells hold no number" in said["no_score"]
    assert "divided by 100" in said["percent"]
    assert "3 columns are tasks" in said["melted"]
    own = write(tmp_path / "o.csv", "model,params,mine,yours\na,7e7,.2,.3\nb,1.6e8,.4,.5\n")
    rows, said, _ = import_(own, "--tasks", "mine,yours")
    assert len(rows["task"]) == 4
    assert "mine=LEVEL" in said["chance_unknown"]


# --- charts ---


def chart(lines, axis="Step"):
    """The CSV of a chart: name -> {step: (value, low, high)}."""
    head = [axis]
    for name, _ in lines:
        head += [name, f"{name}__MIN", f"{name}__MAX"]
    steps = sorted({step for _, points in lines for step in points})
    out = [",".join(f'"{cell}"' for cell in head)]
    for step in steps:
        cells = [str(step)]
        for _, points in lines:
            cells += [f'"{cell}"' for cell in points.get(step, ("", "", ""))]
        out.append(",".join(cells))
    return "\n".join(out) + "\n"


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
MODDED = """s = 1
step:0/1390 val_loss:10.8258 train_time:0ms step_avg:nanms
step:125/1390 val_loss:4.7 train_time:18000ms step_avg:147.03ms
step:1390/1390 train_time:202890ms step_avg:147.03ms
step:1390/1390 val_loss:3.2782 train_time:202898ms step_avg:147.03ms
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


def event(step, **values):
    """A record of an event file."""

    def field(number, kind, data):
        return bytes([number << 3 | kind]) + data

    def sized(number, data):
        return field(number, 2, bytes([len(data)]) + data)

    summary = b""
    for tag, value in values.items():
        tag = tag.encode()
        if isinstance(value, np.ndarray):  # as TensorFlow 2 writes scalars
            tensor = field(1, 0, bytes([1])) + sized(4, value.astype("<f4").tobytes())
            summary += sized(1, sized(1, tag) + sized(8, tensor))
        else:
            summary += sized(1, sized(1, tag) + field(2, 5, struct.pack("<f", value)))
    data = field(1, 1, struct.pack("<d", 1e9)) + field(2, 0, bytes([step])) + sized(5, summary)
    return struct.pack("<Q", len(data)) + b"crc_" + data + b"crc_"


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


# --- tables ---

MARKDOWN = """# Results

| model | note |
|---|---|
| a | b |

| Params | Tokens | Val loss |
|:--|--:|:-:|
| 70M | 1.4B | 3.52 |
| 160M | 3.2B | **3.36** |
| 410M | 3.2B | 3.30 (partial) |
| 1B | 3.2B | — |
| 1.4B | ~~2^31~~ | 3.1 ± 0.02 |
"""
HTML = """<html><body><table><tr><th>Params</th><th>Tokens</th><th>Loss</th></tr>
<tr><td rowspan="2">70M</td><td>10<sup>9</sup></td><td><b>3.5</b></td></tr>
<tr><td>2&times;10<sup>9</sup></td><td>3.4</td></tr><tr><td>160M</td><td>1e9</td><td>&mdash;</td></tr></table></body>"""


def test_markdown_and_html_tables(tmp_path):
    runs = read(write(tmp_path / "t.md", MARKDOWN))
    assert runs.columns["params"].tolist() == [70e6, 160e6, 410e6, 1e9, 1.4e9]
    np.testing.assert_array_equal(runs.columns["loss"], [3.52, 3.36, np.nan, np.nan, 3.1])
    assert np.isnan(runs.columns["tokens"][4]), "what is struck out is no number"
    assert runs.written["loss"][2] == "3.30 (partial)"
    codes = {note.code: note.text for note in runs.notes}
    assert "of its 2 tables" in codes["table_chosen"]
    assert "errors" in codes["errors_split"]
    runs = read(write(tmp_path / "t.html", HTML))
    assert runs.columns["params"].tolist() == [70e6, 70e6, 160e6]
    assert runs.columns["tokens"].tolist() == [1e9, 2e9, 1e9]
    np.testing.assert_array_equal(runs.columns["loss"], [3.5, 3.4, np.nan])


def test_nested_json(tmp_path):
    rows = [{"N": 7e7, "D": 1e9, "loss": 3.2}, {"N": 1.6e8, "D": 1e9, "loss": 3.1}]
    runs = read(write(tmp_path / "a.json", {"meta": {"by": "x"}, "results": {"sweep": {"runs": rows}}}))
    assert runs.columns["loss"].tolist() == [3.2, 3.1]
    assert any(note.code == "nested" and "results.sweep.runs" in note.text for note in runs.notes)
    deep = {
        "70M": {"1B": {"loss": 3.2}, "2B": {"loss": 3.1}},
        "160M": {"1B": {"loss": 3.0}, "2B": {"loss": 2.9}},
    }
    runs = read(write(tmp_path / "b.json", deep), {"params": "level_1", "tokens": "level_2"})
    assert runs.columns["params"].tolist() == [7e7, 7e7, 1.6e8, 1.6e8]
    assert runs.columns["tokens"].tolist() == [1e9, 2e9, 1e9, 2e9]


def test_formulas_make_columns(tmp_path, import_):
    text = "layers,width,batch,steps,ctx,val/loss\n4,64,32,1000,128,3.5\n8,128,32,2000,128,3.25\n"
    map_ = "params=12*layers*width**2,tokens=batch*steps*ctx,loss=val/loss"
    rows, _, _ = import_(write(tmp_path / "t.csv", text), "--columns", map_)
    assert rows["params"].tolist() == [196_608, 1_572_864]
    assert rows["tokens"].tolist() == [4_096_000, 8_192_000]
    assert rows["loss"].tolist() == [3.5, 3.25]
    with pytest.raises(InputError, match=r"no column 'widht'; did you mean width\?"):
        imports.import_(
            [str(tmp_path / "t.csv"), "--out", str(tmp_path / "o.csv"), "--columns", "params=widht**2"]
        )


# --- from a file to a verdict or a law, by commands alone ---


def test_from_results_of_four_sizes_to_verdicts_and_figures(tmp_path, capsys):
    files = []
    for size, acc in (("70m", 0.26), ("160m", 0.29), ("410m", 0.38), ("1.4b", 0.55)):
        scores = {"arc_easy": (acc, 0.01), "mine": (acc + 0.2, 0.01)}
        files.append(write(tmp_path / f"{size}.json", harness(f"EleutherAI/pythia-{size}", scores=scores)))
    table = tmp_path / "scores.csv"
    assert imports.import_([*map(str, files), "--out", str(table)]) == 0
    assert f"lab thresholds {table}" in capsys.readouterr().out
    fast = ["--draws", "99", "--no-calibrate", "--no-grid"]
    with pytest.raises(AnalysisError) as caught:
        thresholds([str(table), *fast])
    problems = "\n".join(caught.value.problems)
    assert "no chance level for mine; add a column chance, or --chance mine=LEVEL" in problems
    assert "--chance known takes arc_easy 0.25" in problems
    args = [
        str(table),
        *fast,
        "--chance",
        "known",
        "--chance",
        "mine=0.25",
        "--out",
        str(tmp_path / "figures"),
    ]
    assert thresholds(args) == 0
    out = capsys.readouterr().out
    assert "arc_easy 0.25 (four answers" in out
    assert "arc_easy / acc:" in out
    assert (tmp_path / "figures").is_dir()
    figures = sorted(file.name for file in (tmp_path / "figures").iterdir() if file.suffix == ".svg")
    assert len(figures) == 2, figures
    wide = write(
        tmp_path / "w.csv", "model,params,arc_easy,piqa\na,7e7,26.0,-100\nb,1.6e8,29,55\nc,4e8,38,60\n"
    )
    assert thresholds([str(wide), *fast, "--chance", "known", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["task"] for one in told["series"]} == {"arc_easy", "piqa"}
    assert {"melted", "percent", "not_measured", "chance_known"} <= {note["code"] for note in told["notes"]}


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


def test_fit_says_what_it_left_out_and_both_exponents(tmp_path, capsys):
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    loss = 1.7 + 400 / n**0.34 + 410 / d**0.28
    lines = [f"{x},{x + 50 * x**0.6},{y},{z}" for x, y, z in zip(n, d, loss, strict=True)]
    lines[3] = lines[3].rsplit(",", 1)[0] + ",nan"
    path = write(tmp_path / "t.csv", "\n".join(["N,N_total,D,loss", *lines]))
    assert fit([str(path), "--law", "chinchilla", "--bootstrap", "0"]) == 0
    out = capsys.readouterr().out
    assert "excluded  1 rows: loss is missing or not a number (row 3)" in out
    assert "'N_total' could be it too" in out
    assert "by 'N_total' as params alpha 0.34 becomes" in out


def test_repeated_data_are_told_by_a_fit(tmp_path, capsys):
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    loss = 1.7 + 400 / n**0.34 + 410 / d**0.28
    for head, more in (("unique_tokens", np.full(len(d), 4.7e9)), ("epochs", d / 4.7e9)):
        lines = [f"{a},{b},{c},{e}" for a, b, c, e in zip(n, d, loss, more, strict=True)]
        path = write(tmp_path / "t.csv", "\n".join([f"N,D,loss,{head}", *lines]))
        assert fit([str(path), "--law", "chinchilla", "--bootstrap", "0"]) == 0
        out = capsys.readouterr().out
        assert "15 of 25 rows repeat their data, up to 21.3 epochs" in out


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


def test_what_is_in_doubt_is_told_and_perplexities_ask_for_no_chance(tmp_path, import_, capsys):
    path = write(tmp_path / "t.csv", "N,D,val_loss,eval_loss\n1e7,1e9,3,3.5\n2e7,1e9,2.9,3.4\n")
    assert imports.import_([str(path), "--out", str(tmp_path / "o.csv")]) == 0
    assert "ambiguous: " in (out := capsys.readouterr().out)
    assert "could both be loss" in out
    rows, said, _ = import_(path, "--columns", "loss=val_loss")
    assert "ambiguous" not in said
    assert "eval_loss_original" in said["renamed"]
    assert rows["loss"].tolist() == [3.0, 2.9]
    data = harness("p/gpt-70m", scores={"piqa": (0.5, 0.01)})
    data["results"]["wikitext"] = {"word_perplexity,none": 30.0, "word_perplexity_stderr,none": "N/A"}
    _, said, _ = import_(write(tmp_path / "r.json", data))
    assert "chance_unknown" not in said
    _, said, _ = import_(
        write(tmp_path / "w.csv", "model,params,piqa,arc_easy,Avg\na,7e7,50,26,38\nb,2e8,55,29,42\n")
    )
    assert "not taken for tasks: Avg" in said["columns_left"]
    with pytest.raises(AnalysisError, match="line 2: Unterminated string"):
        read(write(tmp_path / "t.jsonl", '{"N": 1, "D": 2, "loss": 3}\n{"N'))


def test_shapes_that_eyes_found(tmp_path, import_):
    """Each of these was once a table of nothing, or of something else, without a word."""
    runs = {"a-10M": {"params": 1e7, "tokens": [1e8, 2e8], "loss": [4, 3.8]}}
    runs["b-20M"] = {"params": 2e7, "tokens": [1e8, 2e8], "loss": [3.9, 3.7]}
    found = read(write(tmp_path / "series.json", {"runs": runs}))
    assert found.columns["params"].tolist() == [1e7, 1e7, 2e7, 2e7]
    assert found.columns["loss"].tolist() == [4, 3.8, 3.9, 3.7]
    assert {"levels", "series"} <= {note.code for note in found.notes}
    cells = 'Name,config,summary\nr1,"{""n_params"": 1e7}","{\'loss\': 3.5, \'tokens\': 1e9, \'x\': [1]}"\n'
    rows, said, _ = import_(
        write(tmp_path / "cells.csv", cells + cells.split("\n")[1].replace("r1", "r2") + "\n")
    )
    assert (rows["n_params"].tolist(), rows["loss"].tolist()) == ([1e7, 1e7], [3.5, 3.5])
    assert "config, summary" in said["objects"]
    shown = (
        "|Tasks|Version|Filter|n-shot|Metric|  |Value|  |Stderr|\n|--|--|--|--:|--|--|--:|--|--:|\n"
        "|arc_easy|1|none|0|acc|↑|0.4394|±|0.0102|\n| | |none|0|acc_norm|↑|0.3986|±|0.01|\n"
        "|piqa|1|none|0|acc|↑|N/A|±|N/A|\n"
    )
    rows, said, _ = import_(write(tmp_path / "gpt-70m.md", shown))
    assert rows["task"].tolist() == ["arc_easy", "arc_easy"]
    assert (rows["params"][0], rows["stderr"][0]) == (7e7, 0.0102)
    assert "piqa/acc" in said["no_score"]
    steps = [{"step": s, "params": 1e7, "tokens": s * 1000, "loss": 5 - s / 100} for s in (100, 200, 300)]
    rows, said, _ = import_(write(tmp_path / "r1.jsonl", "\n".join(map(json.dumps, steps))))
    assert (rows["loss"].tolist(), rows["tokens"].tolist()) == ([2.0], [300_000])
    assert "3 steps of one run" in said["last_step"]
    _, said, _ = import_(write(tmp_path / "odd.csv", "Modell,Verlust\na,3.5\nb,3.1\n"))
    assert "params and tokens and loss" in said["roles_missing"]
    path = write(tmp_path / "t.csv", 'size,toks,Final loss (val)\n7B,"1 000 000",2.1\n8x7B,2e6,1.9\n')
    columns = read(path).columns
    assert columns["tokens"].tolist() == [1e6, 2e6]
    assert columns["loss"].tolist() == [2.1, 1.9]
    assert np.isnan(columns["params"][1])


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit",),
        ("fit", "--multiverse"),
        ("isoflop",),
        ("allocate", "--flops", "1e20"),
        ("forecast", "--params", "2e9", "--tokens", "1e11"),
        ("audit",),
        ("downstream", "--score", "score"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_every_verb_names_the_rows_it_left_out(tmp_path, capsys, arguments):
    from importlib import import_module

    from lab.__main__ import VERBS

    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6)))
    loss = (1.7 + 400 / n**0.34 + 410 / d**0.28) * np.exp(
        0.002 * np.random.default_rng(0).standard_normal(36)
    )
    lines = [f"{a},{b},{c},{1 / c}" for a, b, c in zip(n, d, loss, strict=True)]
    lines[3] = f"{n[3]},{d[3]},nan,.3"
    path = write(tmp_path / "t.csv", "\n".join(["N,D,loss,score", *lines]))
    verb, *options = arguments
    fast = ["--bootstrap", "0"]
    verbs = {name: entry[0] for group in VERBS.values() for name, entry in group.items()}
    module, function = verbs[verb].split(":")
    assert not getattr(import_module(module), function)([str(path), *options, *fast])
    assert "loss is missing or not a number (row 3)" in capsys.readouterr().out
