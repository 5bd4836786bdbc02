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
