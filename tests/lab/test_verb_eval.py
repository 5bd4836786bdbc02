"""`lab eval` on a run of tasks: other tasks and forms, files of one's own, n-grams, progress, items."""

import io
import json

import pandas
import pytest

from lab.config import ModelConfig, OptimizerConfig, RunConfig
from lab.data import DataConfig, load
from lab.errors import InputError
from lab.runs.folder import RunFolder
from lab.runs.job import Job
from lab.runs.loop import run
from lab.verbs.evaluate import evaluate
from lab.verbs.generate import generate


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    tasks = {"addition": 1.0, "addition/scratchpad": 1.0, "biographies-20": 1.0, "modular": 1.0}
    data = load(DataConfig(source="abilities", tasks=tasks, eval_items=50, val_windows=40, progress=2))
    config = RunConfig(
        tokens=100 * 16 * data.context,
        model=ModelConfig(width=8, layers=1, heads=1),
        optimizer=OptimizerConfig(learning_rate=0.02, warmup_tokens=10 * 16 * data.context),
        data=data.config,
        batch=16,
    )
    folder = RunFolder(tmp_path_factory.mktemp("eval") / "run")
    run([Job(config, config.run_id(data.digest), folder)], data)
    return folder


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """The verbs settle devices before jax starts; here it has."""
    monkeypatch.setattr("lab.machine.devices.configure", lambda *args: None)
    monkeypatch.setattr("lab.machine.devices.enable_compilation_cache", lambda: None)


def scored(capsys, *argv):
    assert evaluate([*map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_run_keeps_its_items_and_its_progress(trained):
    rows = trained.result()["abilities"]
    frame = pandas.read_parquet(trained.path / "items.parquet")
    assert set(frame["task"]) == {row["task"] for row in rows}
    assert len(frame) >= 3 * 40
    for row in rows:
        own = frame[frame["task"] == row["task"]]
        if row["metric"] == "exact_match":
            assert own["correct"].sum() == row["correct"]
        if row["metric"] == "gold_nats":
            assert own["gold_nats"].sum() / own["tokens"].sum() == pytest.approx(row["score"], rel=1e-4)
    lines = [line for line in trained.metrics() if line.get("kind") == "progress"]
    assert sorted({line["step"] for line in lines}) == [20, 60, 100]
    assert {"exact_match", "gold_nats", "place_0", "fourier_mass"} <= {line["measure"] for line in lines}
    last = {(li["task"], li["measure"]): li["value"] for li in lines if li["step"] == 100}
    gold = {row["task"]: row["score"] for row in rows if row["metric"] == "gold_nats"}
    assert last["addition", "gold_nats"] == pytest.approx(gold["addition"], rel=1e-3)


def test_scores_come_out_again_with_all_that_is_known(trained, capsys, tmp_path):
    found = scored(
        capsys,
        trained.path,
        "--limit",
        50,
        "--progress",
        "--by",
        "carries",
        "--items",
        tmp_path / "i.parquet",
    )
    again = {(row["task"], row["metric"]): row for row in found["abilities"]}
    for row in trained.result()["abilities"]:
        assert again[row["task"], row["metric"]]["score"] == pytest.approx(row["score"], abs=1e-6)
    assert again["modular", "brier"]["score"] > 0
    bits = again["biographies-20", "knowledge_bits"]["score"]
    assert 0 <= bits <= 800
    assert {group["task"] for group in found["by"]} == {"addition", "addition/scratchpad"}
    assert any(lead["measure"] == "fourier_mass" for lead in found["progress"])
    assert len(pandas.read_parquet(tmp_path / "i.parquet")) > 100


def test_other_tasks_forms_and_a_file_without_code(trained, capsys, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(f'{{"prompt": "{n}+1=", "answer": "{(n + 1) % 10}"}}\n' for n in range(5)))
    found = scored(
        capsys, trained.path, "--tasks", "addition-2", path, "--shots", 2, "--limit", 20, "--generate"
    )
    rows = {(row["task"], row["metric"]): row for row in found["abilities"]}
    assert rows["addition-2/2-shot", "exact_match"]["items"] == 20
    assert rows["mine/2-shot", "exact_match"]["items"] == 5
    assert rows["mine/2-shot", "gold_nats"]["score"] > 0
    assert rows["addition-2/2-shot", "edit_distance"]["score"] > 0
    thoughts = scored(capsys, trained.path, "--tasks", "addition", "--thoughts", "--limit", 10)
    assert "parse_rate" in {row["metric"] for row in thoughts["abilities"]}


def test_ngrams_beside_the_model(trained, capsys):
    found = scored(capsys, trained.path, "--tasks", "modular", "--ngram", 3)
    assert found["ngram"]["order"] == 3
    assert 0 < found["ngram"]["bits_per_byte"] < 12


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--tasks", "adition"], "did you mean addition"),
        (["--tasks", "none.jsonl"], "no such file"),
        (["--tasks", "modular", "--thoughts"], "no working"),
        (["--shots", "-1"], "--shots: should be at least 0"),
        (["--by", "colour"], "known: "),
    ],
)
def test_mistakes_are_lines(trained, argv, told):
    with pytest.raises(InputError, match=told):
        evaluate([str(trained.path), *argv])


def test_prompts_from_standard_input(trained, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a12\nm3+4=\n"))
    assert (
        generate([str(trained.path), "--prompts", "-", "--tokens", "4", "--temperature", "0", "--json"]) == 0
    )
    samples = json.loads(capsys.readouterr().out)["samples"]
    assert [s["prompt"] for s in samples] == ["a12", "m3+4="]
    with pytest.raises(InputError, match="not both"):
        generate([str(trained.path), "--prompts", "-", "--prompt", "x"])
