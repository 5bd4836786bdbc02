"""Reading tables: roles, derived columns, formats, stores in any state."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import analysis as sl
from analysis.tables.sample import sample
from analysis.verbs.table import table as table_verb

CSV = "N,D,val_loss\n1e7,2e8,3.5\n1e8,2e9,2.9\n1e9,2e10,2.4\n"


def write(path, text):
    path.write_text(text)
    return path


def test_known_names_and_flops(tmp_path):
    runs = sl.read(write(tmp_path / "a.csv", CSV))
    assert runs.columns["params"].tolist() == [1e7, 1e8, 1e9]
    assert runs.columns["flops"].tolist() == [6 * 1e7 * 2e8, 6 * 1e8 * 2e9, 6 * 1e9 * 2e10]
    assert "flops_6nd" in {note.code for note in runs.notes}
    assert "'val_loss'" in " ".join(note.text for note in runs.notes)


@pytest.mark.parametrize(
    "header", ["Model Size,Training FLOP,loss", "params,C,L", "num_params,compute,final loss"]
)
def test_tokens_from_compute(tmp_path, header):
    runs = sl.read(write(tmp_path / "a.csv", f"{header}\n1e7,1.2e16,3\n"))
    assert runs.columns["tokens"][0] == pytest.approx(2e8)
    assert "tokens_from_flops" in {note.code for note in runs.notes}


def test_forward_only_flops_are_noticed(tmp_path):
    runs = sl.read(write(tmp_path / "a.csv", "N,D,C,loss\n1e7,2e8,4e15,3\n1e8,2e8,4e16,3\n"))
    assert "0.333" in next(note.text for note in runs.notes if note.code == "flops_not_6nd")


def test_two_candidates_are_refused_by_name(tmp_path):
    path = write(tmp_path / "a.csv", "N,params,D,loss\n1,2,3,4\n")
    with pytest.raises(sl.InputError, match=r"'params' and 'N' could both be params"):
        sl.read(path)
    assert sl.read(path, {"params": "N"}).columns["params"][0] == 1


def test_equal_candidates_are_one(tmp_path):
    assert sl.read(write(tmp_path / "a.csv", "N,params,D,loss\n2,2,3,4\n")).columns["params"][0] == 2


def test_map_errors_come_together_with_the_nearest_name(tmp_path):
    path = write(tmp_path / "a.csv", "size_of_model,D,loss\n1,2,3\n")
    with pytest.raises(sl.InputError) as caught:
        sl.read(path, {"params": "size_of_modle", "lss": "loss"})
    assert len(caught.value.problems) == 2
    assert "'size_of_model'" in caught.value.problems[0]
    assert "'loss'" in caught.value.problems[1]


def test_sums_and_differences_of_columns(tmp_path):
    path = write(tmp_path / "a.csv", "all,emb,head,D,loss\n10,3,2,5,1\n")
    assert sl.read(path, {"params": "all-emb+head"}).columns["params"][0] == 9


def test_suffixes_and_semicolons(tmp_path):
    runs = sl.read(write(tmp_path / "a.csv", "params;tokens;loss\n70M;1.4B;3\n1,000;2e9;x\n"))
    assert runs.columns["params"].tolist() == [7e7, 1000]
    assert runs.columns["tokens"].tolist() == [1.4e9, 2e9]
    assert np.isnan(runs.columns["loss"][1])


@pytest.mark.parametrize("name", ["a.tsv", "a.json", "a.jsonl", "a.parquet", "b.json"])
def test_formats_agree(tmp_path, name):
    rows = [{"params": 1e7 * k, "tokens": 2e8, "loss": 3.0 / k, "name": f"r{k}"} for k in (1, 2, 3)]
    path = tmp_path / name
    if name == "a.tsv":
        lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines))
    elif name == "a.json":
        path.write_text(json.dumps({"columns": list(rows[0]), "rows": rows}))
    elif name == "b.json":
        path.write_text(json.dumps({key: [row[key] for row in rows] for key in rows[0]}))
    elif name == "a.jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        import pandas

        pandas.DataFrame(rows).to_parquet(path)
    runs = sl.read(path)
    assert runs.columns["loss"].tolist() == [3.0, 1.5, 1.0]
    assert runs.columns["name"].tolist() == ["r1", "r2", "r3"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "", "empty"),
        ("a.csv", "N,D,loss\n", "no rows"),
        ("a.csv", "N,N,loss\n1,2,3\n", "twice"),
        ("a.csv", "N,D,loss\n1,2,3,4\n", "row 0"),
        ("a.xyz", "N", "unknown format"),
        ("a.json", "{", "a.json"),
        ("a.json", "[1]", "a table is"),
        ("a.parquet", "PAR1", "not a Parquet"),
    ],
)
def test_unreadable_files(tmp_path, name, text, said):
    with pytest.raises(sl.InputError, match=said):
        sl.read(write(tmp_path / name, text))


def test_where(tmp_path):
    runs = sl.read(write(tmp_path / "a.csv", "set,seed,N,D,loss\nc4,0,1,2,3\nrpj,1,4,5,6\nc4,1,7,8,9\n"))
    assert runs.where(set="c4").columns["params"].tolist() == [1, 7]
    assert runs.where(set="c4", seed="1").columns["params"].tolist() == [7]
    with pytest.raises(sl.InputError, match="'c4'"):
        runs.where(set="C4")


def cell(run_id, **more):
    return {"run_id": run_id, "grid": "language", "seed": 0, "params_total": 100, "tokens": 5, **more}


def make_store(path):
    runs, studies = path / "runs", path / "studies"
    studies.mkdir(parents=True)
    cells = [cell("a", held_out=True), cell("b"), cell("c"), cell("d")]
    (studies / "first.json").write_text(json.dumps({"schema": 1, "study": "first", "cells": cells}))
    (studies / "second.json").write_text(json.dumps({"schema": 1, "study": "second", "cells": [cell("b")]}))
    (studies / "torn.json").write_text('{"schema": 1, "ce')
    row = {"status": "ok", "width": 4, "layers": 1, "seed": 0, "params_total": 100, "params_embedding": 30}
    row |= {"params_head": 30, "tokens": 5, "loss_nats": 2.0, "source": "python-docs"}
    score = {"task": "copy", "metric": "exact_match", "score": 0.5, "params": 100}
    for name, extra in (("a", {}), ("b", {"params_head": 0})):
        (runs / name).mkdir(parents=True)
        result = {"schema": 1, "row": {"run_id": name, **row, **extra}, "abilities": [score]}
        (runs / name / "result.json").write_text(json.dumps(result))
    (runs / "c").mkdir()
    (runs / "c" / "failure.json").write_text('{"schema": 1, "error": "out of luck"}')
    (runs / "stranger").mkdir()
    (runs / "e").mkdir()
    (runs / "e" / "result.json").write_text('{"schema": 1, "row": {"run')
    return path


def test_a_store_in_every_state(tmp_path):
    runs = sl.read(make_store(tmp_path))
    frame = runs.frame.set_index("run_id")
    assert frame["status"].to_dict() == {"a": "ok", "b": "ok", "c": "failed", "d": "unfinished"}
    assert frame.loc["b", "study"] == "first+second"
    assert bool(frame.loc["a", "held_out"]) is True
    assert "e/result.json" in next(note.text for note in runs.notes if note.code == "unreadable_files")
    # Untied: the input table is a look-up; tied (no head of its own): it is the head as well.
    assert frame.loc["a", "params"] == 70
    assert frame.loc["b", "params"] == 100
    assert sl.read(tmp_path, {"params": "params_total"}).frame["params"].tolist() == [100, 100, 100, 100]
    assert runs.abilities["run_id"].tolist() == ["a", "b"]
    assert runs.abilities["study"].tolist() == ["first", "first+second"]


def test_an_empty_folder_is_no_store(tmp_path):
    with pytest.raises(sl.InputError, match="not a store"):
        sl.read(tmp_path)


def test_the_table_verb_round_trips(tmp_path, capsys):
    store = make_store(tmp_path / "store")
    assert table_verb([str(store), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["columns"][0] == "run_id"
    assert printed["rows"][0]["loss"] == 2.0
    assert printed["rows"][3]["loss"] is None
    for name in ("a.csv", "a.parquet"):
        out = tmp_path / name
        assert table_verb([str(store), "--format", name[2:], "--out", str(out)]) == 0
        again = sl.read(out)
        assert again.columns["params"][:2].tolist() == [70, 100]
        assert again.roles["status"] == "status"
    assert table_verb([str(store), "--abilities"]) == 0
    assert capsys.readouterr().out.startswith("run_id,study,grid")


def test_a_law_of_repeated_data_takes_all_grids_of_a_source(planted_store):
    """Grids differ by how much of one text they train on; a law without that takes the largest grid alone."""
    runs = sl.read(planted_store)
    grids = runs.columns["grid"].tolist()
    repeated = replace(runs, columns={**runs.columns, "unique_tokens": np.full(len(runs), 1e5)})
    inputs = ("params", "tokens", "unique_tokens")
    for columns, count in (
        ({"source": np.array(["one text"] * len(runs), object)}, len(set(grids))),
        ({"source": np.array(grids, object)}, 1),
    ):
        taken = sample(replace(repeated, columns={**repeated.columns, **columns}), inputs)
        assert len({grids[row] for row in taken.rows}) == count
    assert len({grids[row] for row in sample(repeated).rows}) == 1


def test_a_written_table_is_read_as_its_store_is(planted_store, tmp_path):
    """Grids are kept apart, held-out rows held out, clusters clusters: the same rows under the same law."""
    whole = sample(sl.read(planted_store))
    assert whole.held_out.any()
    assert any("another grid" in one.reason for one in whole.excluded)
    read_again = [sl.read(planted_store).frame]
    for form in ("csv", "parquet", "json"):
        read_again.append(tmp_path / f"t.{form}")
        assert table_verb([str(planted_store), "--format", form, "--out", str(read_again[-1])]) == 0
    for written in read_again:
        again = sample(sl.read(written))
        for name in ("params", "tokens", "flops"):
            assert again.inputs[name].tolist() == whole.inputs[name].tolist()
        for name in ("loss", "rows", "held_out", "clusters"):
            assert getattr(again, name).tolist() == getattr(whole, name).tolist(), (written, name)
        assert again.excluded == whole.excluded
        assert again.clustered_by == whole.clustered_by


def test_a_frame_is_read_with_a_column_map():
    frame = pd.DataFrame({"N": [1e6, 2e6], "D": [1e8, 2e8], "l": [3.0, 2.5]})
    runs = sl.read(frame, columns={"params": "N", "tokens": "D", "loss": "l"})
    assert runs.columns["loss"].tolist() == [3.0, 2.5]


@pytest.mark.parametrize(
    ("header", "row", "params", "tokens", "loss"),
    [
        (
            "Name,parameter_count,throughput/total_tokens,eval/paloma/macro_loss",
            "a,7e7,1.4e9,3.2",
            7e7,
            1.4e9,
            3.2,
        ),
        ("Params (M),tokens (B),C4 Eval Loss,Avg Train Loss", "70,1.4,3.2,3.0", 7e7, 1.4e9, 3.2),
        ("params_b,tokens_b,val_ppl", "0.07,1.4,24.5325", 7e7, 1.4e9, 3.2),
        ("N,D,val_bpb", "70M,1.4 billion tokens,3.2", 7e7, 1.4e9, 3.2),
        ("N,tokens,train/loss,eval/loss", "7x10^7,1.4B,9,3.2", 7e7, 1.4e9, 3.2),
        ("Params (M),D,loss", "70M,1.4e9,3.2", 7e7, 1.4e9, 3.2),
    ],
)
def test_names_and_units_of_foreign_tables(tmp_path, header, row, params, tokens, loss):
    runs = sl.read(write(tmp_path / "a.csv", f"{header}\n{row}\n"))
    assert runs.columns["params"][0] == pytest.approx(params)
    assert runs.columns["tokens"][0] == pytest.approx(tokens)
    assert runs.columns["loss"][0] == pytest.approx(loss, rel=1e-4)


def test_gigaflops_are_flops_and_formulas_say_so(tmp_path):
    path = write(tmp_path / "a.csv", "N,D,run/total_gflops,loss\n1e7,2e8,1.2e7,3\n1e8,2e8,1.2e8,3\n")
    runs = sl.read(path)
    assert runs.columns["flops"].tolist() == pytest.approx([1.2e16, 1.2e17])
    assert runs.roles["flops"] == "1e9*run/total_gflops"
    again = sl.read(path, {"flops": "1e9*run/total_gflops", "loss": "log(loss)"})
    assert again.columns["loss"][0] == pytest.approx(np.log(3))
    with pytest.raises(sl.InputError, match="nearest: 'run/total_gflops'"):
        sl.read(path, {"flops": "1e9*run/total_gflop"})


def test_losses_that_differ_are_not_chosen_among(tmp_path):
    path = write(tmp_path / "a.csv", "N,D,C4 Eval Loss,Wiki Eval Loss\n1e7,2e8,3,4\n")
    with pytest.raises(sl.InputError, match='choose with --columns "loss=C4 Eval Loss"'):
        sl.read(path)


def test_a_missing_role_names_what_might_be_it(tmp_path):
    path = write(tmp_path / "a.csv", "N,my tokens seen so far,loss\n1e7,2e8,3\n")
    with pytest.raises(sl.InputError, match='perhaps --columns "tokens=my tokens seen so far"'):
        sl.fit(path)


def test_sizes_in_billions_are_asked_about(tmp_path):
    runs = sl.read(write(tmp_path / "a.csv", "N,D,loss\n0.07,1.4e9,3\n7,1.4e11,2\n"))
    assert "1e9*N" in next(note.text for note in runs.notes if note.code == "small_counts")


def test_nested_objects_become_columns(tmp_path):
    row = {"arch": {"params": 1e7, "width": 64}, "train": {"tokens": 2e8, "lr": 0.1}, "val_loss": 3.0}
    runs = sl.read(write(tmp_path / "a.json", json.dumps({"runs": [row, row], "about": "x"})))
    assert runs.columns["params"].tolist() == [1e7, 1e7]
    assert runs.columns["train.lr"].tolist() == [0.1, 0.1]


def swept(rates=(1e-3, 2e-3, 8e-3), checkpoints=0):
    """4 x 4 pairs of params and tokens at three rates; or 4 x 3 runs with even checkpoints."""
    tokens = np.linspace(1e9, 1e10, checkpoints) if checkpoints else np.geomspace(1e9, 1e11, 4)
    n, r, d = np.meshgrid(np.geomspace(1e7, 1e9, 4), rates, tokens, indexing="ij")
    table = {"N": n.ravel(), "D": d.ravel(), "peak_lr": r.ravel()}
    bad = 0.01 * np.log(table["peak_lr"] / 2e-3) ** 2
    law = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
    loss = sl.LAWS["chinchilla"].loss(law, {"params": table["N"], "tokens": table["D"]})
    return {**table, "loss": loss * np.exp(bad)}, loss


def test_sweeps_are_noticed_and_their_best_runs_kept():
    table, best = swept()
    runs = sl.as_runs(table)
    assert "swept" in {note.code for note in sample(runs).notes}
    kept = runs.lowest()
    assert kept.columns["peak_lr"].tolist() == [2e-3] * 16
    assert kept.columns["loss"] == pytest.approx(best[table["peak_lr"] == 2e-3])
    assert "swept" not in {note.code for note in sample(kept).notes}


def test_checkpoints_are_clusters_whatever_runs_share_a_size():
    rows = sample(sl.as_runs(swept(checkpoints=10)[0]))
    assert "checkpoints" in {note.code for note in rows.notes}
    assert np.bincount(rows.clusters).tolist() == [10] * 12
    assert sample(sl.as_runs(swept()[0])).clustered_by == ""


def test_copies_of_a_record_are_one_and_studies_are_no_runs():
    table, _ = swept(rates=(1e-3,))
    rows = sample(sl.as_runs({name: np.tile(values, 2) for name, values in table.items()}))
    assert rows.clusters.max() + 1 == 16
    table["experiment"] = np.repeat(["first", "second"], 8).astype(object)
    assert sample(sl.as_runs(table)).clustered_by == ""
    table["experiment"] = np.repeat(["a", "b", "c", "d"], 4).astype(object)
    assert "experiment" in sample(sl.as_runs(table)).clustered_by


def test_runs_that_ended_well_by_other_words_are_used(tmp_path):
    lines = "N,D,loss,State\n1e7,2e8,3,finished\n1e8,2e9,2.9,crashed\n1e9,2e10,2.4,finished\n"
    rows = sample(sl.read(write(tmp_path / "a.csv", lines)))
    assert rows.rows.tolist() == [0, 2]
    assert "crashed" in rows.excluded[0].reason


def test_compressed_tables_are_read(tmp_path):
    import gzip

    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write(CSV)
    assert sl.read(tmp_path / "a.csv.gz").columns["params"].tolist() == [1e7, 1e8, 1e9]


def test_messages_about_a_table_in_memory_speak_python():
    with pytest.raises(sl.InputError) as caught:
        sample(sl.read(pd.DataFrame({"size_in_m": [1.0, 2.0], "D": [1e8, 2e8], "loss": [3.0, 2.0]})))
    said = "\n".join(caught.value.problems)
    assert 'columns={"params": "..."}' in said
    assert "--" not in said
    small = sl.read(pd.DataFrame({"N": [70.0, 140.0], "D": [1e8, 2e8], "loss": [3.0, 2.0]}))
    (note,) = [note for note in small.notes if note.code == "small_counts"]
    assert 'columns={"params": "1e9*N"}' in note.text


def test_runs_that_learned_nothing_are_named():
    table = {"N": [1e6, 2e6, 4e6], "D": [1e3, 1e8, 2e8], "loss": [5.54, 3.0, 2.5], "vocab": [256, 256, 256]}
    notes = [note for note in sample(sl.as_runs(table)).notes if note.code == "untrained"]
    assert [note.text for note in notes] == [
        "1 rows have the loss of guessing, ln V, and are hardly trained: row 0"
    ]


def test_rows_lost_to_a_covariate_of_zero_are_counted():
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(13, 18, 40)), np.exp(rng.uniform(18, 22, 40))
    share = np.where(np.arange(40) < 12, 0.0, rng.uniform(0.1, 1, 40))
    loss = 1.5 + 300 / n**0.35 + 900 / d**0.35 + 0.1 * np.maximum(share, 0.1) ** -0.5
    terms = (sl.Term("E"), sl.Term("A", {"params": "alpha"}), sl.Term("B", {"tokens": "beta"}))
    law = sl.SumLaw("mixed", (*terms, sl.Term("C", {"mixture": "kappa"})), "planted")
    fitted = sl.fit({"params": n, "tokens": d, "loss": loss, "mixture": share}, law=law, bootstrap=0)
    (note,) = [note for note in fitted.warnings if note.code == "covariate_not_positive"]
    assert note.text.startswith("12 of 40 rows are left out because their mixture is zero or negative")
