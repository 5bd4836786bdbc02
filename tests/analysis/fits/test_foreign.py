"""Tables as others write them: names, units, layouts and orders met in public repositories, planted small."""

import json

import numpy as np
import pytest

import analysis as sl

LAW = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
ROWS = [(7e7, 1.4e9, 3.21), (1.6e8, 3.2e9, 2.95), (4.1e8, 3.2e9, 2.82)]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def planted(params, tokens, noise=0.002, seed=0):
    loss = sl.LAWS["chinchilla"].loss(LAW, {"params": params, "tokens": tokens})
    return loss * np.exp(noise * np.random.default_rng(seed).standard_normal(len(loss)))


def codes(result):
    return {note.code for note in (*result.warnings, *result.notes)}


@pytest.mark.parametrize(
    ("head", "factor"),
    [
        ("Compute (PF-days)", 8.64e19),
        ("train_compute_PF_days", 8.64e19),
        ("Training Compute (EFLOPs)", 1e18),
        ("Compute (ZettaFLOPs)", 1e21),
        ("totalGFLOPs", 1e9),
        ("compute_flops", 1.0),
        ("pretrain_flops", 1.0),
    ],
)
def test_units_of_compute(tmp_path, head, factor):
    """`compute_flops` are no exaflops of `comput`, nor `pretrain_flops` teraflops."""
    runs = sl.read(write(tmp_path / "a.csv", f"N,{head},loss\n7e7,3.5,3\n"))
    assert runs.columns["flops"][0] == pytest.approx(3.5 * factor)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "N;D;loss\n70000000;1400000000;3,21\n1,6e8;3,2e9;2,95\n4,1e8;3,2e9;2,82\n"),
        (
            "a.csv",
            'N,D,Pile test xent\n"70,000,000","1,400,000,000",3.21\n1.6e8,3.2e9,2.95\n4.1e8,3.2e9,2.82\n',
        ),
        ("a.txt", "# params tokens loss\n7e7 1.4e9 3.21\n1.6e8 3.2e9 2.95\n4.1e8   3.2e9  2.82\n"),
        ("a.txt", "# from the appendix\nN D loss\n70M 1.4B 3.21\n160M 3.2B 2.95\n410M 3.2B 2.82\n"),
        (
            "a.json",
            json.dumps(
                {
                    "a": dict(zip(("N", "D", "loss"), ROWS[0], strict=True)),
                    "b": {"N": 1.6e8, "D": 3.2e9, "loss": 2.95},
                    "c": {"N": 4.1e8, "D": 3.2e9, "loss": 2.82},
                }
            ),
        ),
        (
            "a.json",
            json.dumps(
                {k: {str(i): row[j] for i, row in enumerate(ROWS)} for j, k in enumerate(("N", "D", "loss"))}
            ),
        ),
        ("a.json", json.dumps({"columns": ["N", "D", "loss"], "index": [0, 1, 2], "data": ROWS})),
        ("a.json", "\n".join(json.dumps(dict(zip(("N", "D", "loss"), row, strict=True))) for row in ROWS)),
    ],
)
def test_layouts(tmp_path, name, text):
    """Decimal commas, thousands, spaces, heads in comments, and what pandas writes as JSON."""
    runs = sl.read(write(tmp_path / name, text))
    for role, values in zip(("params", "tokens", "loss"), zip(*ROWS, strict=True), strict=True):
        assert runs.columns[role].tolist() == pytest.approx(list(values)), role


def test_a_comma_that_parts_no_thousands_is_no_number(tmp_path):
    """3,21 in a table parted by commas is never 321."""
    path = write(tmp_path / "a.csv", 'N,D,loss\n7e7,1.4e9,"3,21"\n1e8,2e9,3.1\n')
    losses = sl.read(path).columns["loss"]
    assert np.isnan(losses[0])
    assert losses[1] == 3.1


def test_many_losses_are_a_wide_table(tmp_path):
    head = ",".join(f"run{i} - val/loss" for i in range(7))
    path = write(tmp_path / "a.csv", f"Step,{head}\n" + "1," + ",".join("3456789") + "\n")
    with pytest.raises(sl.InputError, match=r"and 3 more could all be loss.*one row a run"):
        sl.read(path)


def test_what_is_lacking_is_told_without_what_was_made(tmp_path):
    path = write(tmp_path / "a.csv", "model,num_params,ppl\na,7e7,20\n")
    with pytest.raises(sl.InputError) as error:
        sl.fit(path)
    assert error.value.problems[-1].endswith("its columns are model, num_params, ppl")


def test_checkpoints_of_an_unsorted_file_are_one_run_each():
    """A file sorted by the names of its checkpoints: step 10, 100, 20, ... of each model."""
    sizes = np.repeat(np.geomspace(5e7, 2e9, 6), 10)
    steps = np.tile(np.arange(1, 11), 6)
    order = np.lexsort((steps.astype(str), sizes))
    table = {
        "model": np.array([f"w{size:.0f}" for size in sizes], object)[order],
        "step": steps[order] * 1000.0,
        "params": sizes[order],
        "tokens": (steps * 2e9)[order],
    }
    table["loss"] = planted(table["params"], table["tokens"])
    fitted = sl.fit(table, bootstrap=0)
    assert fitted.rows.clusters.max() + 1 == 6
    assert len({(c, p) for c, p in zip(fitted.rows.clusters, table["params"], strict=True)}) == 6
    assert "checkpoints" in codes(fitted)


def test_two_seeds_of_a_size_stay_two_runs_of_checkpoints():
    """Their tokens repeat: they cannot be one run, whatever the order."""
    sizes = np.repeat(np.geomspace(5e7, 2e9, 5), 20)
    tokens = np.tile(np.arange(1, 11) * 2e9, 10)
    table = {"params": sizes, "tokens": tokens, "loss": planted(sizes, tokens)}
    assert sl.fit(table, bootstrap=0).rows.clusters.max() + 1 == 10


def test_named_runs_with_many_checkpoints_are_said_to_be_unfinished():
    sizes = np.repeat(np.geomspace(5e7, 2e9, 6), 10)
    tokens = np.tile(np.geomspace(1e9, 4e10, 10), 6)
    table = {"run_name": np.array([f"r{s:.0f}" for s in sizes], object), "params": sizes, "tokens": tokens}
    fitted = sl.fit({**table, "loss": planted(sizes, tokens)}, bootstrap=0)
    assert fitted.rows.clustered_by == "rows of one 'run_name'"
    assert any("before a schedule's end" in note.text for note in fitted.notes)


def test_a_ladder_of_twenty_tokens_a_param_is_refused():
    """Published as 111M on 2.2B, 256M on 5.1B, ...: rounding is no second dimension."""
    params = np.array([1.11e8, 2.56e8, 5.9e8, 1.3e9, 2.7e9, 6.7e9, 1.3e10])
    tokens = np.array([2.2e9, 5.1e9, 1.18e10, 2.63e10, 5.3e10, 1.33e11, 2.57e11])
    table = {"params": params, "tokens": tokens, "loss": planted(params, tokens)}
    with pytest.raises(sl.InputError, match=r"rise together within .* % .*power-flops-offset"):
        sl.fit(table)
    assert sl.fit(table, "power-flops", bootstrap=0).points == 7
    assert sl.fit({**table, "tokens": tokens * np.tile([0.5, 1, 2], 3)[:7]}, bootstrap=0).points == 7


def grid():
    n, d = np.meshgrid(np.geomspace(1e7, 3e9, 6), np.geomspace(2e8, 6e10, 6), indexing="ij")
    return n.ravel(), d.ravel()


def test_a_score_taken_for_a_loss_is_said():
    n, d = grid()
    fitted = sl.fit({"N": n, "D": d, "loss": 1 / planted(n, d)}, bootstrap=0)
    assert "loss_rises" in codes(fitted)
    assert not {"loss_rises", "poor_fit"} & codes(
        sl.fit({"N": n, "D": d, "loss": planted(n, d)}, bootstrap=0)
    )


def test_a_law_that_explains_little_says_so():
    """A sweep of rates scatters the losses by far more than size and tokens do."""
    n, d = grid()
    assert "poor_fit" in codes(sl.fit({"N": n, "D": d, "loss": planted(n, d, noise=0.3)}, bootstrap=0))


def test_losses_rounded_to_seven_digits_have_no_outliers():
    n, d = grid()
    loss = np.float32(sl.LAWS["chinchilla"].loss(LAW, {"params": n, "tokens": d})).astype(float)
    found = codes(sl.fit({"N": n, "D": d, "loss": loss}, bootstrap=0))
    assert "noise_free" in found
    assert "outliers" not in found
