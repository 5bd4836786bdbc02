"""One law speaks for a table, whoever asks; far outside the table it is refused, or said first."""

import json

import numpy as np
import pytest

import analysis as sl
from analysis.audits.leading import leading_fit, undetermined
from analysis.report.study import gather
from analysis.verbs import fit as verbs
from analysis.verbs.table import table as table_verb


def said(capsys, verb, *words):
    assert verb([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def ladder(sizes=6, budgets=5, noise=0.004, seed=0):
    """A table under Kaplan's joint law, which a sum of two terms cannot follow."""
    rng = np.random.default_rng(seed)
    n, d = np.meshgrid(np.geomspace(1e4, 1e6, sizes), np.geomspace(1e6, 1e8, budgets))
    n, d = n.ravel(), d.ravel()
    loss = ((4e5 / n) ** (0.2 / 0.18) + 2.7e7 / d) ** 0.18
    return {"params": n, "tokens": d, "loss": loss * np.exp(noise * rng.standard_normal(len(n)))}


@pytest.fixture(scope="module")
def forecast():
    return sl.forecast(ladder(), at=[(2e6, 2e8)], bootstrap=60)


def test_fit_forecast_allocate_report_and_the_written_table_agree(planted_store, tmp_path, capsys):
    written = tmp_path / "t.csv"
    assert table_verb([str(planted_store), "--out", str(written)]) == 0
    fitted = said(capsys, verbs.fit, planted_store, "--bootstrap", "0")
    again = said(capsys, verbs.fit, written, "--bootstrap", "0")
    ahead = said(capsys, verbs.forecast, planted_store, "--bootstrap", "0")
    split = said(capsys, verbs.allocate, planted_store, "--bootstrap", "0", "--flops", "3e12")
    page = gather(planted_store, draws=0, abilities=False).law
    laws = {fitted["law"], again["law"], ahead["law"], split["law"], page.fit.law.name}
    assert laws == {fitted["leading"]["law"]}
    for other in (again["params"], ahead["fit"]["params"], dict(page.fit.params)):
        assert other == fitted["params"]
    reasons = {fitted["leading"]["reason"], ahead["leading"]["reason"], split["why"]}
    assert len(reasons) == 1


def test_a_law_that_is_named_is_fitted_and_nothing_is_said_of_others():
    made = sl.fit(ladder(), law="chinchilla", bootstrap=0)
    assert made.leading is None
    found = leading_fit(ladder(), bootstrap=0)
    assert found.law.name == found.leading.law == found.leading.rivals[0].law != "chinchilla"
    assert f"{found.law.name} leads because" in found.leading.reason


def test_held_out_losses_play_no_part_in_the_choice():
    table = ladder()
    held = 6 * table["params"] * table["tokens"] > 1e14
    other = np.where(held, 1.7 * table["loss"], table["loss"])
    reasons = {
        leading_fit({**table, "loss": loss, "held_out": held}, bootstrap=0).leading.reason
        for loss in (table["loss"], other)
    }
    assert len(reasons) == 1


def test_exponents_that_the_runs_do_not_determine_are_named():
    values = {"alpha": 0.5, "beta": 0.4}
    assert undetermined(values, {"alpha": (0.4, 0.6), "beta": (0.3, 0.5)}) == {}
    assert set(undetermined(values, {"alpha": (0.4, 0.66), "beta": (0.3, 0.5)})) == {"alpha"}
    few = leading_fit(ladder(sizes=3, budgets=3, noise=0.03), bootstrap=40)
    assert few.leading.undetermined
    assert "do not determine Chinchilla's" in few.leading.reason


def test_many_points_are_predicted_by_the_blend_without_a_fit(forecast, monkeypatch):
    from analysis.solve import search

    def never(*arguments, **options):
        raise AssertionError("a fit was made")

    monkeypatch.setattr(search, "search", never)
    monkeypatch.setattr("analysis.fits.fitting.search", never)
    (cell,) = forecast.cells
    found = forecast.predict(np.array([[2e6], [5e5]]), np.array([2e8, 3e8, 1e7]))
    assert found.loss.shape == found.low.shape == found.high.shape == (2, 3)
    assert found.loss[0, 0] == pytest.approx(cell.predicted, rel=1e-12)
    # Ends of few rows are looked for, all at once: to rounding of the search.
    assert (found.low[0, 0], found.high[0, 0]) == pytest.approx((cell.low, cell.high), rel=1e-6)
    assert (found.low < found.loss).all() and (found.loss < found.high).all()  # noqa: PT018
    # The leading law alone is narrower: the blend knows that laws part.
    low, high = forecast.fit.predict_interval(2e6, 2e8, level=0.9)
    assert cell.high / cell.low >= high / low
    with pytest.raises(sl.InputError, match="tokens: must be positive"):
        forecast.predict(1e6, [1e7, -1.0])


def test_repeated_tokens_are_worth_less_in_a_forecast(forecast):
    fresh, same, few = (forecast.predict(1e6, 1e8, unique_tokens=u).loss for u in (None, 1e8, 1e6))
    assert same == pytest.approx(float(fresh), rel=1e-12)
    assert few > fresh * 1.02


def test_lists_and_files_of_points(tmp_path, capsys):
    table = tmp_path / "runs.csv"
    columns = ladder()
    rows = zip(*columns.values(), strict=True)
    table.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]))
    points = tmp_path / "points.csv"
    points.write_text("N,D\n2M,2e8\n4M,2e8\n")
    call = (table, "--law", "kaplan", "--bootstrap", "0")
    listed = said(capsys, verbs.forecast, *call, "--params", "2e6", "4e6", "--tokens", "2e8")["cells"]
    assert said(capsys, verbs.forecast, *call, "--points", points)["cells"] == listed
    assert [(cell["params"], cell["tokens"]) for cell in listed] == [(2e6, 2e8), (4e6, 2e8)]
    repeated = said(
        capsys, verbs.forecast, *call, "--params", "2e6", "--tokens", "2e8", "--unique-tokens", "1e6"
    )
    assert repeated["cells"][0]["predicted"] > 1.02 * listed[0]["predicted"]
    assert "repetition_assumed" in {note["code"] for note in repeated["warnings"]}
    with pytest.raises(sl.InputError, match="go together"):
        verbs.forecast([*map(str, call), "--params", "1e6", "2e6", "3e6", "--tokens", "1e8", "2e8"])


def test_far_outside_the_table_is_refused_or_said_first(tmp_path, capsys):
    table = tmp_path / "runs.csv"
    columns = ladder()
    rows = zip(*columns.values(), strict=True)
    table.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]))
    call = [str(table), "--law", "kaplan", "--bootstrap", "0"]
    for verb, asked in (
        (verbs.allocate, ["--flops", "1e23"]),
        (verbs.allocate, ["--flops", "1e23", "--inference-tokens", "1e9"]),
        (verbs.forecast, ["--params", "1e9", "--tokens", "1e9"]),
        (verbs.forecast, ["--params", "1e6", "--tokens", "1e11"]),
    ):
        with pytest.raises(sl.InputError, match="--far"):
            verb([*call, *asked])
        assert verb([*call, *asked, "--far"]) == 0
        assert capsys.readouterr().out.startswith("BEYOND THE RUNS: ")
        codes = {note["code"] for note in said(capsys, verb, *call, *asked, "--far")["warnings"]}
        assert "far_extrapolation" in codes
    assert verbs.allocate([*call, "--flops", "3e16"]) == 0
    assert capsys.readouterr().out.startswith("BEYOND THE RUNS: ")
    assert verbs.allocate([*call, "--flops", "1e14"]) == 0
    assert "BEYOND" not in capsys.readouterr().out


def test_a_forecast_that_nothing_earlier_scored_says_so():
    n, d = (axis.ravel() for axis in np.meshgrid(1e4 * 1.3 ** np.arange(3), 1e6 * 1.3 ** np.arange(3)))
    n, d = np.append(n, 4e4), np.append(d, 4e6)
    loss = (50.0 / n + 2.7e7 / d) ** 0.18 * np.exp(0.002 * np.random.default_rng(0).standard_normal(10))
    table = {"params": n, "tokens": d, "loss": loss, "held_out": np.arange(10) == 9}
    few = sl.forecast(table, bootstrap=30)
    codes = {note.code for note in few.warnings}
    assert {"laws_unscored", "forecast_unscored"} <= codes
    assert not few.fit.leading.scored
    assert "too few to score" in few.fit.leading.reason
