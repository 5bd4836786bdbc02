"""Results of evaluations become rows of scores; what was lost is told by a code."""

import json

import pytest

from analysis import InputError as AnalysisError
from analysis.tables.benchmarks import find
from analysis.verbs.thresholds import thresholds
from lab.errors import InputError
from sweeps.exchange import imports
from tests.sweeps.foreign import harness, write


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
    assert told["next"].endswith(" --chance known"), "without it the table is refused"


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


def test_a_harness_that_could_compute_nothing_says_what(tmp_path):
    data = harness("p/gpt-70m") | {"results": {"piqa": {"acc,none": "N/A", "acc_stderr,none": "N/A"}}}
    with pytest.raises(InputError, match="none of its results holds a score: piqa/acc,none is 'N/A'"):
        imports.import_([str(write(tmp_path / "r.json", data)), "--out", str(tmp_path / "t.csv")])


def test_what_is_said_of_every_file_is_said_once(tmp_path, import_):
    files = [write(tmp_path / f"{n}m.json", harness(f"p/gpt-{n}m")) for n in (70, 160, 410)]
    _, said, told = import_(*files)
    assert [one["code"] for one in told["remarks"]].count("params_from_name") == 1
    assert "the same of 2 more: p/gpt-160m 1.6e+08, p/gpt-410m 4.1e+08" in said["params_from_name"]


SIZES = {"m-70m": 7e7, "m-160m": 1.6e8}
RISING = dict(zip(SIZES, (0.3, 0.4), strict=True))


@pytest.mark.parametrize(
    ("name", "head", "row", "wanted"),
    [
        ("value.csv", "model,n_params,task,metric,value", "{m},{n},piqa,acc,{s}", {"metric": "acc"}),
        ("benchmark.csv", "model,params,benchmark,accuracy,n", "{m},{n},piqa,{s},500", {"items": 500}),
        (
            "correct.csv",
            "Model,params,Task,correct,total",
            "{m},{n},piqa,{c},500",
            {"correct": 150, "items": 500},
        ),
        (
            "measures.csv",
            "model,params,task,acc,acc_stderr,acc_norm,acc_norm_stderr",
            "{m},{n},piqa,{s},.01,{s},.02",
            {"metric": "acc", "stderr": 0.01},
        ),
    ],
)
def test_long_tables_of_scores_under_other_names(tmp_path, import_, name, head, row, wanted):
    rows = [row.format(m=m, n=n, s=RISING[m], c=500 * RISING[m]) for m, n in SIZES.items()]
    rows, said, told = import_(write(tmp_path / name, "\n".join([head, *rows])))
    assert rows["score"][0] == 0.3
    assert set(rows["score"]) == {0.3, 0.4}
    assert rows["task"][0] == "piqa"
    assert {key: rows[key][0] for key in wanted} == wanted
    assert "a table of scores" in said["scores"]
    assert told["next"].startswith("lab thresholds")
    assert told["next"].endswith(" --chance known"), "without it the table is refused"


def test_scores_of_models_in_one_object_ask_for_sizes(tmp_path, import_):
    data = {m: {"piqa": {"acc": s, "acc_stderr": 0.01}, "arc_easy": {"acc": s}} for m, s in RISING.items()}
    data = {m.replace("m-", "p-").replace("70m", "x").replace("160m", "y"): v for m, v in data.items()}
    path = write(tmp_path / "all.json", data)
    with pytest.raises(InputError, match="--models: the size of 2 models is not known"):
        imports.import_([str(path), "--out", str(tmp_path / "t.csv")])
    rows, _, _ = import_(path, "--models", "p-x=7e7,p-y=1.6e8")
    assert len(rows["score"]) == 4
    assert set(rows["params"]) == {7e7, 1.6e8}
    wide = write(tmp_path / "wide.csv", "name,piqa,arc_easy\na,.5,.3\nb,.6,.4\n")
    with pytest.raises(InputError, match="--models: the size of 2 models is not known"):
        imports.import_([str(wide), "--out", str(tmp_path / "t.csv")])


def test_checkpoints_of_one_score_are_no_copies(tmp_path, import_):
    text = "model,params,tokens,task,score\na,7e7,1e9,piqa,0.5\na,7e7,2e9,piqa,0.5\na,7e7,4e9,piqa,0.6\n"
    rows, said, _ = import_(write(tmp_path / "t.csv", text))
    assert rows["tokens"].tolist() == [1e9, 2e9, 4e9]
    assert not {"copies", "doubled_scores"} & said.keys()


def test_levels_of_variants_in_which_the_letter_is_written():
    assert find("gpqa_main_cot_zeroshot").chance == 0.25
    assert "who writes none is below" in find("gpqa_diamond_generative_n_shot").said
    assert "who writes none" not in find("gpqa_main_zeroshot").said
    assert find("gsm8k_cot").said == "a number is written"
    assert find("natural_questions").source == "TACL 2019"


def test_percentages_of_a_long_table_are_told_and_divided(tmp_path, import_):
    text = "model,params,task,metric,score,stderr\na,7e7,piqa,acc,55,1\nb,1.6e8,piqa,acc,60,1\n"
    path = write(tmp_path / "t.csv", text)
    _, said, _ = import_(path)
    assert "--columns score=score/100,stderr=stderr/100" in said["percentages"]
    rows, said, _ = import_(path, "--columns", "score=score/100,stderr=stderr/100")
    assert (rows["score"].tolist(), rows["stderr"].tolist()) == ([0.55, 0.6], [0.01, 0.01])
    assert "percentages" not in said


def olmes(task, model, score, **more):
    """What OLMES writes of a task."""
    config = {"task_name": task, "num_shots": 5, "primary_metric": "acc_per_char"}
    config["metadata"] = {"alias": f"{task}:rc::olmes"}
    found = {"task_name": task, "task_hash": "0", "model_config": {"model": model}, "task_config": config}
    metrics = {"acc_raw": score - 0.1, "acc_per_char": score, "primary_score": score}
    return found | {"num_instances": 1000, "metrics": metrics, "task_idx": 0} | more


def test_results_of_olmes_in_each_of_its_files(tmp_path, import_):
    tasks = [olmes("arc_easy", "allenai/OLMo-2-190M", 0.45), olmes("piqa", "allenai/OLMo-2-190M", 0.6)]
    mean = olmes("mmlu", "allenai/OLMo-2-190M", 0.3)
    mean["task_config"] = mean["task_config"] | {"primary_metric": "macro"}
    empty = olmes("boolq", "allenai/OLMo-2-190M", 0.5, metrics={"acc_raw": 0.5})
    lines = "\n".join(json.dumps(one) for one in [*tasks, mean, empty])
    files = [
        write(tmp_path / "a" / "metrics-all.jsonl", lines),
        write(tmp_path / "b" / "metrics.json", {"metrics": [*tasks, mean, empty]}),
    ]
    for file in files:
        rows, said, _ = import_(file)
        assert list(rows["task"]) == ["arc_easy:rc::olmes", "piqa:rc::olmes"]
        assert set(rows["metric"]) == {"acc_per_char"}
        assert list(rows["score"]) == [0.45, 0.6], "not acc_raw"
        assert set(rows["items"]) == {1000}
        assert set(rows["params"]) == {190e6}
        assert "mmlu:rc::olmes is a mean over tasks" in said["no_score"]
        assert "boolq:rc::olmes has no primary_score" in said["no_score"]
    one = write(tmp_path / "c" / "task-000-arc_easy-metrics.json", tasks[0])
    assert list(import_(one)[0]["score"]) == [0.45]


def test_a_name_that_is_nearly_that_of_a_file_is_asked_for(tmp_path):
    write(tmp_path / "scores.json", {})
    with pytest.raises(InputError, match=r"did you mean .*scores\.json\?"):
        imports.read(tmp_path / "scors.json", "auto", {}, 1, None, (), False)
