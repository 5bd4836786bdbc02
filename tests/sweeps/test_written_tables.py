"""Tables as programs and people of other languages write them, read without a loss that is silent."""

import numpy as np
import pytest

import analysis as sl
from analysis.errors import InputError
from analysis.tables.files import columns_of
from analysis.tables.markup import of_html, plain
from analysis.tables.sample import sample
from analysis.verbs.thresholds import thresholds
from tests.sweeps.foreign import write

N, D = (one.ravel() for one in np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(2e8, 2e10, 4)))
LOSS = 1.7 + 400 / N**0.34 + 410 / D**0.28


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_sheets_saved_as_unicode_text_are_read(tmp_path, encoding):
    text = "\r\n".join(
        ["N\tD\tloss", *(f'"{n:,.0f}"\t{d:.0f}\t{v:.4f}' for n, d, v in zip(N, D, LOSS, strict=True))]
    )
    mark = "" if encoding == "utf-16" else "\ufeff"
    (tmp_path / "a.tsv").write_bytes((mark + text).encode(encoding))
    found = sl.read(tmp_path / "a.tsv").columns
    assert np.allclose(found["params"], np.round(N))
    assert np.allclose(found["loss"], LOSS, atol=1e-4)


def test_points_part_thousands_where_commas_are_the_point(tmp_path):
    rows = ["1.000.000;35.000;6,7805;v1.234", "20.000;1.234.567,5;3,21;x"]
    raw = columns_of(write(tmp_path / "a.csv", "\n".join(["params;tokens;loss;note", *rows])))
    assert raw["params"].tolist() == [1e6, 20000]
    assert raw["tokens"].tolist() == [35000, 1234567.5]
    assert raw["loss"].tolist() == [6.7805, 3.21]
    assert raw["note"].tolist() == ["v1.234", "x"]
    raw = columns_of(write(tmp_path / "c.csv", "params;tokens;loss\n7,5M;1,2 B;3,21\n15M;1,200M;3,05\n"))
    assert raw["params"].tolist() == ["7.5M", "15M"]
    assert raw["tokens"].tolist() == ["1.2 B", "1,200M"]
    # Nothing says which of both is meant: neither is touched, and no row is read wrongly in silence.
    raw = columns_of(write(tmp_path / "b.csv", "params;loss\n1.234;2,345\n2.345;3,456\n"))
    assert raw["loss"].tolist() == ["2,345", "3,456"]


def test_footnotes_are_no_powers():
    assert [plain(t) for t in ("4.18<sup>2</sup>", "26.5¹", "3.1²", "12<sup>1</sup>")] == [
        "4.18",
        "26.5",
        "3.1",
        "12",
    ]
    assert [plain(t) for t in ("10<sup>-3</sup>", "10⁻³", "2⁻⁹", "6×10<sup>18</sup>", "6x10¹⁸")] == [
        "10^-3",
        "10^-3",
        "2^-9",
        "6×10^18",
        "6x10^18",
    ]
    page = "<table><tr><th>a<th>b<tr><td>3.12<sup>1</sup><td>6×10<sup>18</sup></table>"
    assert next(iter(of_html(page)))[1] == [["3.12", "6×10^18"]]


def test_heads_of_two_rows_are_one(tmp_path):
    head = (
        "<tr><th rowspan=2>Model<th colspan=2>Size<th colspan=2>Loss<tr><th>Params<th>Tokens<th>train<th>val"
    )
    rows = "".join(f"<tr><td>m<td>{n}<td>{d}<td>9<td>{v}" for n, d, v in zip(N, D, LOSS, strict=True))
    raw = columns_of(write(tmp_path / "a.html", f"<table>{head}{rows}</table>"))
    assert list(raw) == ["Model", "Params", "Tokens", "Loss train", "Loss val"]
    assert np.allclose(raw["Loss val"], LOSS)
    runs = sl.read(tmp_path / "a.html", {"loss": "Loss val"})
    assert np.allclose(runs.columns["params"], N)


WIDE = """| Model | Params | HellaSwag (10-shot) | ARC-c | MMLU (5-shot) | HumanEval | PIQA |
|---|---|---|---|---|---|---|
| a-7M | 7M | 29.5 ± 0.5 | 24.5% | 26.5¹ | 0.1 | 55 |
| a-20M | 20M | 34.9 ± 0.4 | 29.9% | 31.9 | 0.4 | <50 |
| a-50M | 50M | 42.7 ± 0.3 | 37.7% | 39.7 | 0.6 | 61 |
"""


def test_wide_scores_keep_errors_percents_and_footnotes(tmp_path, import_):
    rows, said, _ = import_(write(tmp_path / "wide.md", WIDE))
    pairs = list(zip(rows["model"], rows["task"], strict=True))
    score, stderr = (dict(zip(pairs, rows[name], strict=True)) for name in ("score", "stderr"))
    assert len(score) == len(pairs) == 14
    assert stderr["a-7M", "HellaSwag (10-shot)"] == pytest.approx(0.005)
    assert score["a-7M", "ARC-c"] == pytest.approx(0.245)
    assert score["a-7M", "MMLU (5-shot)"] == pytest.approx(0.265)
    assert score["a-50M", "HumanEval"] == pytest.approx(0.006)
    assert "HumanEval" in said["small_percent"]
    assert "PIQA '<50'" in said["no_score"]


def test_losses_that_may_be_perplexities_are_told():
    table = {"N": N, "D": D, "loss": np.exp(LOSS)}
    said = {note.code: note.text for note in sample(sl.as_runs(table)).notes}
    assert "log(loss)" in said["perplexity"]
    assert "perplexity" not in {note.code for note in sample(sl.as_runs({**table, "loss": LOSS})).notes}


def test_a_training_loss_beside_held_out_perplexity_is_told():
    runs = sl.as_runs({"N": N, "D": D, "val_ppl": np.exp(LOSS), "train_loss": LOSS - 0.1})
    said = {note.code: note.text for note in runs.notes}
    assert "log(val_ppl)" in said["training_loss"]
    alone = sl.as_runs({"N": N, "D": D, "train_loss": LOSS - 0.1})
    assert "training_loss" not in {note.code for note in alone.notes}


def test_percentages_of_long_tables_are_divided_by_a_formula(tmp_path, capsys):
    rows = [
        f"{n:.0f},arc_easy,accuracy,{s},{100 * 0.01},1000"
        for n, s in zip(N[:4] * 4.0 ** np.arange(4), (26, 30, 40, 55), strict=True)
    ]
    path = str(write(tmp_path / "a.csv", "\n".join(["params,task,metric,score,stderr,items", *rows])))
    quick = ["--chance", "known", "--draws", "99", "--no-calibrate"]
    with pytest.raises(InputError, match=r"--columns score=score/100,stderr=stderr/100"):
        thresholds([path, *quick])
    assert thresholds([path, *quick, "--columns", "score=score/100,stderr=stderr/100"]) == 0
    assert "arc_easy" in capsys.readouterr().out
    with pytest.raises(InputError, match="no column 'scor/100' for score; nearest: 'score'"):
        thresholds([path, *quick, "--columns", "score=scor/100"])


def test_perplexities_of_benchmarks_are_no_scores(tmp_path, import_):
    text = "model,params,LAMBADA ppl,LAMBADA acc,PIQA\n"
    text += "a,70M,140,18.2,59.8\nb,160M,33,32.8,62.3\nc,1B,7.9,56.1,70.7\n"
    rows, said, _ = import_(write(tmp_path / "a.csv", text))
    assert set(rows["task"]) == {"LAMBADA acc", "PIQA"}
    assert "LAMBADA ppl" in said["columns_left"]


def test_unique_tokens_and_tokens_that_are_swapped_are_told():
    table = {"params": N, "tokens": D, "unique_tokens": np.minimum(D, 2e9), "loss": LOSS}
    inputs = ("params", "tokens", "unique_tokens")
    assert "no_repeats" not in {note.code for note in sample(sl.as_runs(table), inputs).notes}
    table |= {"tokens": table["unique_tokens"], "unique_tokens": D}
    told = {note.code: note.text for note in sample(sl.as_runs(table), inputs).notes}
    assert "are the two swapped?" in told["no_repeats"]


def test_the_best_of_a_sweep_is_no_crashed_run_and_diverged_ones_are_told(tmp_path):
    rows = [
        f"{n:.0f},{d:.0f},{rate},{v + 0.01 * k:.4f},finished"
        for n, d, v in zip(N, D, LOSS, strict=True)
        for k, rate in enumerate((3e-4, 1e-3))
    ]
    rows.append(f"{N[0]:.0f},{D[0]:.0f},3e-3,0.5,crashed")
    rows.append(f"{N[1]:.0f},{D[1]:.0f},3e-3,nan,finished")
    path = write(tmp_path / "sweep.csv", "\n".join(["N,D,lr,loss,State", *rows]))
    found = sample(sl.read(path).lowest())
    assert found.loss[np.argsort(found.rows)] == pytest.approx(np.round(LOSS, 4))
    assert [one.reason for one in found.excluded] == [
        "status is 'crashed', not 'ok'",
        "loss is missing or not a number",
    ]


def test_a_formula_that_is_proposed_can_be_used(tmp_path):
    rows = [
        f'{{"hparams": {{"model_size": "{n / 1e6:g}M", "token_param_ratio": 20}}, "loss": {v}}}'
        for n, v in zip(N, LOSS, strict=True)
    ]
    path = write(tmp_path / "sweep.jsonl", "\n".join(rows))
    with pytest.raises(InputError, match="perhaps --columns") as told:
        sample(sl.read(path))
    formula = str(told.value).split('perhaps --columns "tokens=')[1].split('"')[0]
    found = sl.read(path, {"tokens": formula})
    assert found.columns["tokens"] == pytest.approx(20 * N, rel=1e-5)
    two = write(tmp_path / "m.csv", "Params (M),tokens_per_param,loss\n70,20,3.1\n160,20,2.9\n")
    with pytest.raises(InputError, match="perhaps --columns") as told:
        sample(sl.read(two))
    formula = str(told.value).split('perhaps --columns "tokens=')[1].split('"')[0]
    assert sl.read(two, {"tokens": formula}).columns["tokens"] == pytest.approx([1.4e9, 3.2e9])


def test_known_levels_of_a_table_without_tasks_are_a_message(tmp_path):
    path = write(tmp_path / "t.csv", "model_size,dataset,n_correct,n_total\n1B,mmlu,40,100\n2B,mmlu,50,100\n")
    with pytest.raises(InputError, match="no column 'task'"):
        thresholds([str(path), "--chance", "known"])


CELLS = [(n, d) for n in (1e7, 3e7, 1e8) for d in (1e9, 4e9, 1.6e10)]


@pytest.mark.parametrize(("last", "left_out"), [("Average", 1), ("Mittelwert:", 1), ("run-mean", 0)])
def test_a_last_row_that_sums_up_the_others_is_no_run(tmp_path, last, left_out):
    rows = [
        f"run-{i},{n:g},{d:g},{1.7 + 400 / n**0.34 + 400 / d**0.28:.4f}" for i, (n, d) in enumerate(CELLS)
    ]
    path = write(
        tmp_path / "t.csv", "\n".join(["run,params,tokens,loss", *rows, f"{last},3e7,4e9,2.9"]) + "\n"
    )
    found = sample(sl.read(path))
    assert len(found) == len(CELLS) + 1 - left_out
    assert [one.reason for one in found.excluded] == left_out * [
        f"run is {last!r}: a summary of the rows above, no run"
    ]
