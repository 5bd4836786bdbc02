"""Tables become rows of runs; what was lost, renamed or doubted is told by a code."""

import json

import numpy as np
import pytest

from analysis import InputError as AnalysisError
from analysis import read
from analysis.verbs.fit import fit
from lab.errors import InputError
from sweeps.exchange import imports
from tests.sweeps.foreign import harness, write

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


def test_fit_says_what_it_left_out_and_both_exponents(tmp_path, capsys):
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    loss = 1.7 + 400 / n**0.34 + 410 / d**0.28
    lines = [f"{x},{x + 50 * x**0.6},{y},{z}" for x, y, z in zip(n, d, loss, strict=True)]
    lines[3] = lines[3].rsplit(",", 1)[0] + ",nan"
    path = write(tmp_path / "t.csv", "\n".join(["N,N_total,D,loss", *lines]))
    assert fit([str(path), "--law", "chinchilla", "--bootstrap", "0"]) == 0
    out = capsys.readouterr().out
    assert "excluded  1 row: loss is missing or not a number (row 3)" in out
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


def test_a_torn_last_line_of_a_table_is_left_out_and_told(tmp_path):
    row = '{"N": 1, "D": 2, "loss": 3}\n'
    runs = read(write(tmp_path / "t.jsonl", f'{row}{row}{{"N'))
    assert len(runs) == 2
    assert "line 3, the last, is torn off" in {note.code: note.text for note in runs.notes}["torn"]
    with pytest.raises(AnalysisError, match="line 2: Unterminated string"):
        read(write(tmp_path / "t.jsonl", f'{row}{{"N\n{row}'))
    with pytest.raises(AnalysisError, match="line 2: Unterminated string"):
        read(write(tmp_path / "t.jsonl", f'{row}{{"N\n'))


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
        ("fit", "--law", "chinchilla"),
        pytest.param(("fit", "--multiverse"), marks=pytest.mark.weekly),
        ("isoflop", "--law", ""),
        ("allocate", "--flops", "1e20", "--law", "chinchilla"),
        ("forecast", "--params", "2e9", "--tokens", "1e11", "--law", "chinchilla"),
        ("audit", "--laws", "chinchilla"),
        pytest.param(("downstream", "--score", "score"), marks=pytest.mark.weekly),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_every_verb_names_the_rows_it_left_out(tmp_path, capsys, arguments):
    from importlib import import_module

    from lab.__main__ import VERBS

    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 4)))
    loss = (1.7 + 400 / n**0.34 + 410 / d**0.28) * np.exp(
        0.002 * np.random.default_rng(0).standard_normal(20)
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


ROWS = [(2e7, 1e9, 3.5214), (4e7, 2e9, 3.2141), (8e7, 4e9, 2.9876)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("quoted.csv", 'N,D,loss\n{n:.0f},{d:.0f},"{comma}"'),
        ("tabs.tsv", "N\tD\tloss\n{n:.0f}\t{d:.0f}\t{comma}"),
        ("spaces.txt", "N  D  loss\n{n:.0f}  {d:.0f}  {comma}"),
        ("bars.csv", "N|D|loss\n{n:.0f}|{d:.0f}|{loss}"),
        ("sep.csv", "sep=;\nN;D;loss\n{n:.0f};{d:.0f};{comma}"),
        ("title.csv", "Runs of 2024,,\n,,\nN,D,loss\n{n:.0f},{d:.0f},{loss}"),
        ("swiss.csv", "N;D;loss\n{swiss};{d:.0f};{loss}"),
        ("empty.csv", "N,D,loss,,\n{n:.0f},{d:.0f},{loss},,\n,,,,"),
        ("drawn.txt", "+---+---+---+\n| N | D | loss |\n+===+===+===+\n| {n:.0f} | {d:.0f} | {loss} |"),
        ("wide.txt", "N       D     Val loss\n{n:.0f}  {d:.0f}  {loss}"),
        ("below.csv", "N,D,loss\n(M),(B),(nats)\n{millions},{billions},{loss}"),
        ("units.csv", "N [M],D (billions),Eval loss (nats/token)\n{millions},{billions},{loss}"),
    ],
)
def test_tables_of_other_places_and_programs_are_the_same_table(tmp_path, name, text):
    head, _, row = (
        text.rpartition("\n") if not text.endswith(",,,,") else text.rpartition("\n")[0].rpartition("\n")
    )
    rows = [
        row.format(
            n=n,
            d=d,
            loss=loss,
            comma=str(loss).replace(".", ","),
            swiss=f"{n:,.0f}".replace(",", "'"),
            millions=n / 1e6,
            billions=d / 1e9,
        )
        for n, d, loss in ROWS
    ]
    end = ["", ",,,,"] if text.endswith(",,,,") else []
    runs = read(write(tmp_path / name, "\n".join([head, *rows, *end])))
    for role, wanted in zip(("params", "tokens", "loss"), zip(*ROWS, strict=True), strict=True):
        assert runs.columns[role].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_losses_of_three_digits_are_no_thousands(tmp_path, sign):
    runs = read(write(tmp_path / "t.csv", "N,D,loss\n2e7,1e9,4.260\n20000000,1e9,3.142\n".replace(",", sign)))
    assert runs.columns["loss"].tolist() == [4.26, 3.142]


def test_counts_of_parameters_under_longer_names(tmp_path):
    head = "Parameters (non-embedding),Parameters (total),Tokens processed,Test loss"
    runs = read(write(tmp_path / "t.csv", f"{head}\n1e7,1.2e7,1e9,3.5\n2e7,2.3e7,2e9,3.3\n"))
    assert runs.roles["params"] == "Parameters (non-embedding)"
    assert runs.columns["tokens"].tolist() == [1e9, 2e9]
    assert "'Parameters (total)' could be it too" in {n.code: n.text for n in runs.notes}["two_params"]


def test_commas_that_could_be_either_part_thousands_and_say_so(tmp_path):
    runs = read(write(tmp_path / "a.tsv", "N\tD\tloss\n10000000\t1,234\t3\n"))
    assert runs.columns["tokens"].tolist() == [1234]
    assert "'1,234' is read as 1234" in {note.code: note.text for note in runs.notes}["commas"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1e7,1e9,3.5\n2e7,1e9,3.3\n", "a table begins with the names of its columns"),
        ("|x|70M|160M|\n|-|-|-|\n|Tokens|1B|2B|\n|Loss|3.5|3.3|\n", "turn it round"),
        ("Params,1e7,2e7\nTokens,1e9,1e9\nLoss,3.5,3.3\n", "turn it round"),
        ("N,D,loss\n10000000,1000000000,3,5\n20000000,1000000000,3,3\n", "3,21 too"),
        ("N,D,loss,loss\n1e7,1e9,3.5,3.5\n", "the column 'loss' occurs twice; rename one"),
    ],
)
def test_what_is_no_table_of_a_row_a_run_is_refused(tmp_path, text, said):
    with pytest.raises(AnalysisError) as caught:
        read(write(tmp_path / ("t.md" if text.startswith("|") else "t.csv"), text))
    assert said in "\n".join(caught.value.problems)


def test_an_import_says_what_a_fit_will_leave_out_or_lack(tmp_path, import_):
    rows = '1e7,1e9,3.5\n2e7,1e9,"3,3"\n4e7,1e9,3.1\nmean,,3.3\n'
    rows, said, _ = import_(write(tmp_path / "t.csv", f"N,D,loss\n{rows}"))
    assert len(rows["loss"]) == 4
    assert "will leave out 2 rows" in said["not_fitted"]
    assert "'3,3', not a number (row 1)" in said["not_fitted"]
    for head, formula in {
        "N,steps,batch_size,seq_len,loss": '"tokens=steps*batch_size*seq_len"',
        "N,tokens_per_param,a,b,loss": '"tokens=N*tokens_per_param"',
        "n_layer,d_model,D,b,loss": '"params=12*n_layer*d_model**2"',
        "log10(N),D,a,b,loss": '"params=10**log10(N)"',
        "N,D,a,b,accuracy": "loss=1-accuracy",
    }.items():
        _, said, _ = import_(write(tmp_path / "t.csv", f"{head}\n7,8,9,10,.5\n6,7,8,9,.6\n"))
        assert f"perhaps --columns {formula}" in said["roles_missing"]
    _, said, _ = import_(write(tmp_path / "t.csv", "N,D,loss\n70M,1e9,3.5\n0.16,1e9,3.3\n"))
    assert "params are 0.16 in 1 rows, up to 7e+07 elsewhere" in said["mixed_units"]
    _, said, _ = import_(write(tmp_path / "t.csv", "N,1B,2B,4B\n7e7,3.5,3.4,3.3\n"))
    assert "write a row a run" in said["numeric_heads"]


def test_results_of_single_runs_and_files_that_are_no_tables(tmp_path, import_):
    for name, size, loss in (("a", 1e7, 3.5), ("b", 2e7, 3.3), ("c", 4e7, 3.1)):
        content = {"args": {"lr": 1e-3}, "n_params": size, "tokens": 1e9, "final_val_loss": loss}
        write(tmp_path / "runs" / name / "metrics.json", content)
    rows, said, _ = import_(tmp_path / "runs")
    assert rows["name"].tolist() == ["a", "b", "c"]
    assert rows["final_val_loss"].tolist() == [3.5, 3.3, 3.1]
    assert rows["lr"].tolist() == [1e-3] * 3
    assert "the same of 2 more: b, c" in said["result"], "what is said of every file is said once"
    for name, what in (("runs.xlsx", "a spreadsheet: save it as CSV"), ("runs.yaml", "save it as CSV, JSON")):
        with pytest.raises(InputError, match=what):
            imports.import_([str(write(tmp_path / name, "loss: 3")), "--out", str(tmp_path / "t.csv")])


def test_runs_of_objects_under_their_names_are_a_row_each(tmp_path, import_):
    runs = {
        f"r{i}": {
            "config": {"model": {"n_params": n}, "tokens": 2e9},
            "metrics": {"val": {"loss": 3.5 - i / 10}},
        }
        for i, n in enumerate((1e7, 2e7, 4e7))
    }
    rows, said, _ = import_(write(tmp_path / "runs.json", runs))
    assert rows["name"].tolist() == ["r0", "r1", "r2"]
    assert rows["config.model.n_params"].tolist() == [1e7, 2e7, 4e7]
    assert rows["metrics.val.loss"].tolist() == [3.5, 3.4, 3.3]
    assert not said.keys() & {"roles_missing", "not_fitted"}


def test_numbers_of_rows_without_a_head_are_no_column_too_many(tmp_path):
    for text in (
        '"N","D","loss"\n"1",2e7,1e9,3.5\n"2",4e7,1e9,3.3\n',
        "  N D loss\n0 2e7 1e9 3.5\n1 4e7 1e9 3.3\n",
    ):
        runs = read(write(tmp_path / "t.txt", text))
        assert runs.columns["loss"].tolist() == [3.5, 3.3]
        assert runs.columns["params"].tolist() == [2e7, 4e7]


def test_json_with_a_mark_and_of_no_known_shape(tmp_path, import_):
    path = tmp_path / "t.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([{"N": 1e7, "D": 1e9, "loss": 3.5}] * 2).encode())
    assert len(read(path)) == 2
    assert len(import_(path)[0]["loss"]) == 2
    for data in ({"70M": 3.5, "160M": 3.3}, [[1e7, 1e9, 3.5], [2e7, 2e9, 3.3]]):
        with pytest.raises(InputError) as caught:
            imports.import_([str(write(path, data)), "--out", str(tmp_path / "o.csv")])
        assert "of one run, {n_params, tokens, val_loss}" in str(caught.value)
        assert "lab import" not in str(caught.value), "what was asked for is no advice"


def test_runs_that_a_column_calls_diverged_are_left_out_by_name(tmp_path, import_):
    text = "N,D,loss,diverged,finished\n1e7,1e9,3.5,False,yes\n2e7,1e9,9.3,True,yes\n"
    text += "4e7,1e9,3.1,,no\n8e7,1e9,3,0,1\n"
    _, said, _ = import_(write(tmp_path / "t.csv", text))
    assert "will leave out 2 rows: diverged is True (row 1); finished is no (row 2)" in said["not_fitted"]
    runs = read(write(tmp_path / "e.csv", "N,D,loss\n1e7,1e9,3.5 ± 0.01\n2e7,1e9,3.3±.02\n"))
    assert runs.columns["loss"].tolist() == [3.5, 3.3]
    assert runs.columns["loss_stderr"].tolist() == [0.01, 0.02]
    _, said, _ = import_(write(tmp_path / "t.csv", "N,step,loss\n1e7,100,3.5\n2e7,100,3.3\n"))
    assert "tokens=step*N, N the tokens of a step" in said["roles_missing"]
