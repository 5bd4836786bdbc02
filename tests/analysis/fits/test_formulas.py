"""Formulas over columns: a grammar of their own, held against Python on random ones; and what is refused."""

import numpy as np
import pytest

import analysis as sl
from analysis.tables.formulas import DEEPEST, FormulaError, evaluate, parse
from analysis.universes.multiverse import counts

COLUMNS = {
    "batch": np.array([256.0, 512.0]),
    "step": np.array([1000.0, 2000.0]),
    "context": np.array([128.0, 128.0]),
    "L": np.array([4.0, 8.0]),
    "d": np.array([64.0, 128.0]),
    "d_model": np.array([1.0, 2.0]),
    "mmlu": np.array([0.25, 0.5]),
    "val-loss": np.array([3.0, 2.5]),
    "val": np.array([9.0, 9.0]),
    "Params (M)": np.array([70.0, 160.0]),
    "eval/loss": np.array([3.5, 3.25]),
    "2": np.array([5.0, 6.0]),
    "text": np.array(["7B", "1.2T"], object),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("batch*step*context", [256 * 1000 * 128, 512 * 2000 * 128]),
        ("1-mmlu", [0.75, 0.5]),
        ("12*L*d**2", [12 * 4 * 64**2, 12 * 8 * 128**2]),
        ("12*L*d^2", [12 * 4 * 64**2, 12 * 8 * 128**2]),
        ("-d**2", [-(64**2), -(128**2)]),
        ("2**-L", [2.0**-4, 2.0**-8]),
        ("2**3**2*L/L", [512.0, 512.0]),
        ("8-4-2+0*L", [2.0, 2.0]),
        ("8/4/2*L", [4.0, 8.0]),
        ("2*(L+d)", [136.0, 272.0]),
        ("log(eval/loss)", np.log([3.5, 3.25])),
        ("sqrt(d) * log10(step)", np.sqrt([64, 128]) * np.log10([1000, 2000])),
        ("val-loss", [3.0, 2.5]),
        ("val - mmlu", [8.75, 8.5]),
        ("1e6*Params (M)", [7e7, 1.6e8]),
        ("1e6 * 'Params (M)' + d_model", [7e7 + 1, 1.6e8 + 2]),
        ("2", [5.0, 6.0]),
        ("2*L", [8.0, 16.0]),
        ("text*2", [1.4e10, 2.4e12]),
    ],
)
def test_values(text, expected):
    assert evaluate(text, COLUMNS).tolist() == pytest.approx(list(expected))


def test_random_formulas_agree_with_python():
    rng = np.random.default_rng(0)
    names = ("batch", "step", "L", "d")

    def made(depth):
        kind = rng.integers(4) if depth else 3
        if kind == 3:
            return str(rng.choice([*names, "2", "0.5", "3e-1"]))
        if kind == 2:
            return f"-{made(depth - 1)}" if rng.random() < 0.3 else f"({made(depth - 1)})"
        sign = rng.choice(["+", "-", "*", "/"])
        return f"{made(depth - 1)}{sign}{made(depth - 1)}"

    columns = {name: COLUMNS[name] for name in names}
    tried = 0
    for _ in range(400):
        text = f"L*({made(4)})"
        if "--" in text or "+-" in text:
            continue
        with np.errstate(all="ignore"):
            wanted = eval(text, {"__builtins__": {}}, columns)
        np.testing.assert_allclose(evaluate(text, columns), wanted, rtol=1e-12)
        tried += 1
    assert tried > 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("L*", "missing at the end"),
        ("(L+d", "bracket is not closed"),
        ("L d", "no operator"),
        ("L)", "no operator"),
        ("*L", "missing before '\\*'"),
        ("3*4", "uses no column"),
        ("__import__('os')", "no such column"),
        ("L.__class__", "no operator"),
        ("abs(L)", "no such column"),
        ("(" * (DEEPEST + 2) + "L" + ")" * (DEEPEST + 2), "in more than"),
        ("-" * (DEEPEST + 2) + "L", "in more than"),
        ("L+" * 600 + "L", "may have 1000 characters"),
    ],
)
def test_what_is_no_formula_says_why(text, said):
    with pytest.raises(FormulaError, match=said):
        parse(text, COLUMNS)


def test_a_table_is_fitted_by_formulas_alone(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("layers,width,batch,steps,ctx,acc\n4,64,32,1000,128,.25\n8,128,32,2000,128,.5\n")
    columns = {"params": "12*layers*width**2", "tokens": "batch*steps*ctx", "loss": "1-acc"}
    runs = sl.read(path, columns)
    assert runs.columns["params"].tolist() == [12 * 4 * 64**2, 12 * 8 * 128**2]
    assert runs.columns["tokens"].tolist() == [32 * 1000 * 128, 32 * 2000 * 128]
    assert runs.columns["loss"].tolist() == [0.75, 0.5]
    with pytest.raises(
        sl.InputError, match=r"params=12\*layers\*widht\*\*2: no column 'widht'; nearest: 'width'"
    ):
        sl.read(path, {**columns, "params": "12*layers*widht**2"})
    with pytest.raises(sl.InputError, match=r"tokens=batch\*: 'batch\*': a column or a number is missing"):
        sl.read(path, {**columns, "tokens": "batch*"})


# Two counts of one model's parameters, as published tables name them.
PAIRS = [
    ("Params", "params_total"),
    ("N", "N_total"),
    ("n_params", "n_non_embedding"),
    ("params", "non_embedding_params"),
    ("Model Size (M)", "Total Params (M)"),
    ("model_size", "active_params"),
    ("parameters", "parameters_no_emb"),
    ("N", "params_active"),
    ("num_params", "num_params_nonemb"),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_columns_that_could_be_params_are_told(tmp_path, first, second):
    unit = 1.0 if "(M)" in first else 1e6
    path = tmp_path / "t.csv"
    rows = [f"{124 * unit},{162.201636 * unit},1e9,3.2", f"{350 * unit},{400 * unit},2e9,3.0"]
    path.write_text("\n".join([f"{first},{second},D,loss", *rows]))
    runs = sl.read(path)
    (note,) = [note for note in runs.notes if note.code == "two_params"]
    assert second in note.text or first in note.text
    assert "1.31 times" in note.text or "0.764" in note.text


def test_counts_of_something_else_are_no_second_params(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("N,embedding_params,N_copy,D,loss\n1e8,9e3,1e8,1e9,3.2\n2e8,9e3,2e8,2e9,3.0\n")
    assert not [note for note in sl.read(path).notes if note.code == "two_params"]


def test_irreducible_loss_is_not_the_loss(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("N,D,Irreducible loss,Final loss\n1e8,1e9,1.7,3.2\n2e8,2e9,1.7,3.0\n")
    assert sl.read(path).roles["loss"] == "Final loss"


@pytest.mark.parametrize(
    ("head", "row", "said"),
    [
        # sizes in millions: by the FLOPs, though 70 looks like billions as well
        ("N,D,flops,loss", "70,1e9,4.2e17,3.2", "params=1e6*N"),
        ("N,D,flops,loss", "7,1e9,4.2e19,3.2", "params=1e9*N"),
        ("N,D,flops,loss", "0.07,1.4,5.88e17,3.2", "params=1e9*N"),
        ("N,D,loss", "70,1e9,3.2", "params=1e9*N or --columns params=1e6*N"),
    ],
)
def test_the_tables_own_flops_decide_the_unit(tmp_path, head, row, said):
    path = tmp_path / "t.csv"
    path.write_text(f"{head}\n{row}\n")
    notes = sl.read(path).notes
    assert any(said in note.text for note in notes if note.code == "small_counts"), notes


def test_flops_that_refute_a_unit_are_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("N,D,GFLOPs,loss\n7e7,1e9,4.2e17,3.2\n1.6e8,1e9,9.6e17,3.1\n")
    (note,) = [note for note in sl.read(path).notes if note.code == "units_disagree"]
    assert "flops is about 1e+09 times 6 params tokens" in note.text
    assert "flops is 1e9*GFLOPs" in note.text


def test_sizes_of_published_models_have_units_in_names_and_texts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("Model,Model Size (B),Pretraining Data Size (T),FLOPs (1E21),loss\na,7,1.2,50.4,2.0\n")
    runs = sl.read(path)
    assert [runs.columns[role][0] for role in ("params", "tokens", "flops")] == [7e9, 1.2e12, 50.4e21]


def test_the_multiverse_counts_params_in_every_way_that_the_table_has():
    n = np.geomspace(1e7, 1e9, 4)
    table = {
        "N": n,
        "N_total": 1.3 * n,
        "n_active": 0.5 * n,
        "layers": n / 1e6,
        "D": 20 * n,
        "loss": 3 - 0 * n,
    }
    found = counts(sl.as_runs(table))
    assert {name: values[0] / n[0] for name, values in found.items()} == pytest.approx(
        {"N": 1.0, "N_total": 1.3, "n_active": 0.5}
    )
