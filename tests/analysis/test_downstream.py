"""Scores from params and tokens: a planted link is recovered, the choice sees no held-out run."""

import json

import numpy as np
import pytest

import analysis as sl
from analysis.downstreams.fitting import fit_way, losses_of
from analysis.downstreams.mixing import weights_of
from analysis.downstreams.score_column import scored
from analysis.verbs.downstream import downstream as verb

LINKED = ("sigmoid", "logit", "exponential")
LAW = {"E": 0.5, "A": 40.0, "B": 300.0, "alpha": 0.25, "beta": 0.28}


def score_at(params, tokens, ceiling=0.95):
    loss = sl.LAWS["chinchilla"].loss(LAW, {"params": params, "tokens": tokens})
    return 0.25 + (ceiling - 0.25) / (1 + np.exp(6 * (loss - 1.0)))


def ladder(seed=0, noise=0.006):
    """25 small runs, and two held out at 40 times their compute: the shape of arXiv 2412.04403's ladder."""
    rng = np.random.default_rng(seed)
    n, d = np.meshgrid(np.geomspace(1e8, 1e9, 5), np.geomspace(2e9, 4e10, 5), indexing="ij")
    n, d = np.append(n.ravel(), [4e9, 7e9]), np.append(d.ravel(), [1e11, 1.5e11])
    loss = sl.LAWS["chinchilla"].loss(LAW, {"params": n, "tokens": d})
    score = np.clip(score_at(n, d) + noise * rng.standard_normal(27), 0, 1)
    losses = loss * np.exp(0.003 * rng.standard_normal(27))
    return {"params": n, "tokens": d, "loss": losses, "accuracy": score, "held_out": n > 2e9}


@pytest.fixture(scope="module")
def result():
    return sl.fit_downstream(ladder(), "accuracy", chance=0.25, ways=LINKED, bootstrap=60)


def test_the_planted_score_is_predicted_beyond_the_runs(result):
    """At 40 times the compute, where a score of 0.6 has become one of 0.7."""
    assert len(result.cells) == 2
    for cell in result.cells:
        assert cell.low <= score_at(cell.params, cell.tokens) <= cell.high
        assert cell.high - cell.low < 0.4
        assert abs(cell.error) < 0.06
    assert result.coverage == 1.0
    assert result.ways[-1].name == "exponential"
    assert sum(way.weight for way in result.ways) == pytest.approx(1)
    assert {"E", "alpha", "beta", "steepness", "middle"} <= result.params.keys()


def test_the_choice_and_the_fit_see_no_held_out_run(result):
    table = ladder()
    table["accuracy"] = np.where(table["held_out"], 0.3, table["accuracy"])
    table["loss"] = np.where(table["held_out"], 3.0, table["loss"])
    other = sl.fit_downstream(table, "accuracy", chance=0.25, ways=LINKED, bootstrap=60)
    assert [way.name for way in other.ways] == [way.name for way in result.ways]
    assert [cell.predicted for cell in other.cells] == [cell.predicted for cell in result.cells]


def test_noise_free_runs_give_the_planted_values():
    rows, score = scored(sl.as_runs(ladder(noise=1e-9)), "accuracy")
    losses = sl.LAWS["chinchilla"].loss(LAW, rows.inputs)
    exact = sl.as_runs({**rows.inputs, "loss": losses, "accuracy": score})
    rows, score = scored(exact, "accuracy")
    found = fit_way("sigmoid", rows, score, None, "", losses_of(rows, ""))
    assert found.params["ceiling"] == pytest.approx(0.95, abs=0.01)
    assert found.params["floor"] == pytest.approx(0.25, abs=0.01)
    predicted = found.scores(found.params, 7e9, 1.5e11)
    assert predicted == pytest.approx(score_at(7e9, 1.5e11), abs=2e-3)


def test_the_shared_fit_hears_what_both_quantities_say():
    """Exact losses beside noisy scores: the loss law must follow the losses."""
    table = ladder(seed=1, noise=0.03)
    table["loss"] = sl.LAWS["chinchilla"].loss(LAW, table)
    rows, score = scored(sl.as_runs(table), "accuracy")
    rows, score = rows.where(~rows.held_out), score[~rows.held_out]
    found = fit_way("sigmoid", rows, score, 0.25, "", losses_of(rows, ""))
    assert found.params["alpha"] == pytest.approx(LAW["alpha"], abs=0.01)
    assert found.params["beta"] == pytest.approx(LAW["beta"], abs=0.01)


def test_a_ceiling_is_believed_where_runs_lie_at_it_and_doubted_elsewhere(result):
    """The same law with a ceiling of 0.7: on the plateau the fitted ceiling must carry the prediction."""
    table = ladder(seed=3)
    n, d = table["params"], table["tokens"]
    loss = sl.LAWS["chinchilla"].loss(LAW, {"params": n, "tokens": d})
    score = 0.25 + 0.45 / (1 + np.exp(14 * (loss - 1.3)))
    table["accuracy"] = score + 0.003 * np.random.default_rng(0).standard_normal(27)
    found = sl.fit_downstream(table, "accuracy", chance=0.25, ways=("sigmoid",), bootstrap=0)
    assert found.ways[0].name == "sigmoid"
    assert found.params["ceiling"] == pytest.approx(0.7, abs=0.02)
    assert max(abs(cell.error) for cell in found.cells) < 0.05
    early = {way.name: way.earlier_error for way in result.ways if way.name.startswith("sigmoid")}
    assert weights_of(early)["sigmoid to 1"] > 0.3


def test_runs_of_a_direct_law_make_it_the_heaviest():
    """A score that no function of the loss gives: params count for it twice as much as for the loss."""
    table = ladder(seed=2)
    n, d = table["params"], table["tokens"]
    score = 0.25 + 0.7 * np.exp(-(60 / n**0.22 + 8 / d**0.14))
    table["accuracy"] = score + 0.002 * np.random.default_rng(0).standard_normal(27)
    found = sl.fit_downstream(table, "accuracy", chance=0.25, ways=("sigmoid", "direct"), bootstrap=0)
    assert found.ways[0].name.startswith("direct")
    assert max(abs(cell.error) for cell in found.cells) < 0.03


def test_weights_follow_earlier_errors_and_forgive_luck():
    assert weights_of({"a": 0.01, "b": 0.02}) == pytest.approx({"a": 0.022 / 0.034, "b": 0.012 / 0.034})
    assert weights_of({"a": 0.0, "b": 1e-5})["b"] == pytest.approx(0.5, abs=0.01)
    assert weights_of({"a": None, "b": None}) == {"a": 0.5, "b": 0.5}
    assert weights_of({"a": None, "b": 0.01, "c": 0.02})["a"] == pytest.approx(
        weights_of({"b": 0.01, "c": 0.02, "a": 0.02})["c"]
    )
    assert "b" not in weights_of({"a": 0.0, "b": 0.9})


def test_bad_scores_are_named():
    table = ladder()
    with pytest.raises(sl.InputError, match="nearest: 'accuracy'"):
        sl.fit_downstream(table, "acuracy")
    with pytest.raises(sl.InputError, match="as percent do"):
        sl.fit_downstream({**table, "accuracy": 100 * table["accuracy"]}, "accuracy")
    odd = np.where(np.arange(27) == 4, -0.01, table["accuracy"])
    with pytest.raises(sl.InputError, match=r"row 4 has -0\.01"):
        sl.fit_downstream({**table, "accuracy": odd}, "accuracy")
    with pytest.raises(sl.InputError, match=r"25 % is 0\.25"):
        sl.fit_downstream(table, "accuracy", chance=25)
    with pytest.raises(sl.InputError, match="above chance"):
        sl.fit_downstream(table, "accuracy", chance=0.9)
    with pytest.raises(sl.InputError, match="none is left to fit"):
        sl.fit_downstream({**table, "held_out": np.ones(27, bool)}, "accuracy")
    with pytest.raises(sl.InputError, match="nothing to fit"):
        sl.fit_downstream({**table, "accuracy": np.full(27, 0.3)}, "accuracy")
    with pytest.raises(sl.InputError, match="nearest: 'sigmoid'"):
        sl.fit_downstream(table, "accuracy", ways=("sigmod",))


def test_errors_and_percent_are_scores_by_a_formula():
    table = ladder()
    runs = sl.as_runs({**table, "error": 1 - table["accuracy"], "percent": 100 * table["accuracy"]})
    for formula in ("1-error", "0.01*percent"):
        assert scored(runs, formula)[1] == pytest.approx(table["accuracy"])


def test_a_store_names_scores_by_task_and_metric(planted_store):
    runs = sl.read(planted_store).where(grid="abilities")
    with pytest.raises(sl.InputError, match="copy/exact_match"):
        sl.fit_downstream(runs, "copy/exact_mach")


def test_the_verb(tmp_path, capsys):
    path = tmp_path / "ladder.json"
    path.write_text(json.dumps({name: values.tolist() for name, values in ladder().items()}))
    options = [str(path), "--score", "accuracy", "--ways", "sigmoid", "--bootstrap", "30"]
    assert verb([*options, "--json"]) == 0
    out = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert out["way"] in ("sigmoid", "sigmoid to 1")
    assert len(out["cells"]) == 2
    assert verb([*options, "--params", "1e10", "--tokens", "2e11"]) == 0
    assert "asked" in capsys.readouterr().out
    with pytest.raises(sl.InputError, match="--score"):
        verb([str(path)])


def ladder_of(oracles, task):
    """Final losses and accuracies of the published ladder; 7B and 13B held out (arXiv 2412.04403)."""
    frame = sl.read(oracles / "olmo_ladder/ladder_runs_rc.csv").frame
    bpb, accuracy = f"eval/downstream_bpb/{task}_bpb", f"eval/downstream/{task}_len_norm"
    last = frame.sort_values("_step").groupby("run").tail(5)
    mean = last.groupby("run").agg(
        {bpb: "mean", accuracy: "mean", "N": "first", "tokens": "max", "mode": "first"}
    )
    return {
        "params": mean["N"].to_numpy(),
        "tokens": mean["tokens"].to_numpy(),
        "loss": mean[bpb].to_numpy(),
        "accuracy": mean[accuracy].to_numpy(),
        "held_out": (mean["mode"] != "train").to_numpy(),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "task", [pytest.param("hellaswag_val", marks=pytest.mark.weekly), "arc_challenge_test"]
)
def test_the_published_ladder_holds_its_large_runs(oracles, task):
    """What the published chain missed by 0.02 and 0.11 lies inside the interval, and that is no empty one."""
    found = sl.fit_downstream(ladder_of(oracles, f"{task}_rc_5shot"), "accuracy", chance=0.25, bootstrap=60)
    assert found.coverage == 1.0
    assert all(cell.high - cell.low < 0.75 for cell in found.cells)
    assert found.held_out_error < 0.15


def scoreboard(folder):
    """(task, cut, result) of the published ladder, for its large runs and for cuts within it."""
    tasks = {"hellaswag_val": 0.25, "arc_easy_test": 0.25, "arc_challenge_test": 0.25, "piqa_val": 0.5}
    tasks |= {"csqa_val": 0.2, "socialiqa_val": 1 / 3, "openbookqa_test": 0.25, "mmlu_other_test": 0.25}
    for task, chance in tasks.items():
        every = ladder_of(folder, f"{task}_rc_5shot")
        small = {name: values[every["params"] < 2e9] for name, values in every.items()}
        yield task, "7B, 13B", sl.fit_downstream(every, "accuracy", chance, bootstrap=200)
        for factor in (3.0, 10.0):
            cut = sl.fit_downstream(small, "accuracy", chance, bootstrap=200, holdout_factor=factor)
            yield task, f"{factor:g} x", cut


if __name__ == "__main__":
    import os
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("SCALING_LAB_ORACLES", root.parent / "shared" / "oracles"))
    print(f"{'task':20}{'held out':10}{'mean error':>12}{'inside 90 %':>13}{'width':>8}  error of each way")
    for task, cut, found in scoreboard(folder):
        width = np.mean([cell.high - cell.low for cell in found.cells])
        ways = ", ".join(f"{way.name} {way.held_out_error:.3f}" for way in found.ways if way.weight)
        print(
            f"{task:20}{cut:10}{found.held_out_error:12.4f}{found.coverage:13.2f}{width:8.3f}  {ways}",
            flush=True,
        )
