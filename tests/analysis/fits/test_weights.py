"""Rows that state their noise count by it everywhere; very many rows of few clusters are few clusters."""

import numpy as np
import pytest

import analysis as sl
from analysis.fits.calibration import simulated_noise
from analysis.intervals import bootstrap
from analysis.intervals.resample import variance_of
from analysis.solve.objectives import Rho

LAW = sl.LAWS["chinchilla"]
TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.366}


def long_runs(runs: int, each: int) -> dict[str, np.ndarray]:
    """Runs of even checkpoints: 1 % of noise is the run's, 0.5 % a checkpoint's."""
    rng = np.random.default_rng(1)
    n, d = np.meshgrid(np.geomspace(1e7, 3e9, runs), np.linspace(2e8, 2e10, each), indexing="ij")
    table = {"params": n.ravel(), "tokens": d.ravel()}
    noise = np.repeat(0.01 * rng.standard_normal(runs), each) + 0.005 * rng.standard_normal(n.size)
    return {**table, "loss": LAW.loss(TRUTH, table) * np.exp(noise)}


def test_many_rows_of_few_runs_are_few_runs(monkeypatch):
    """Beyond the limit nothing is fitted again; intervals stay those of eight runs, by t."""
    refitted = sl.fit(long_runs(8, 40), bootstrap=60)
    monkeypatch.setattr(bootstrap, "HUGE", 100)
    straight = sl.fit(long_runs(8, 40), bootstrap=400)
    assert straight.resampled.startswith("nothing: draws from the covariance of 8 clusters")
    for name in ("alpha", "beta"):
        before, after = (np.diff(fit.intervals[name])[0] for fit in (refitted, straight))
        assert 0.6 * before < after < 1.6 * before
        assert straight.intervals[name][0] < TRUTH[name] < straight.intervals[name][1]
    # By rows the same table would give a normal interval several times too narrow for what runs share.
    rows = sl.fit(long_runs(8, 40), bootstrap=400, method="rows")
    assert np.diff(rows.intervals["alpha"])[0] < 0.6 * np.diff(straight.intervals["alpha"])[0]


def test_fewer_runs_than_parameters_are_told():
    codes = {note.code: note.text for note in sl.fit(long_runs(4, 20), bootstrap=0).warnings}
    assert codes["few_clusters"].startswith("4 clusters")
    assert "few_clusters" not in {note.code for note in sl.fit(long_runs(8, 20), bootstrap=0).warnings}


def test_what_a_small_corner_costs():
    """Under normal noise the median's variance is pi / 2 times that of the mean."""
    assert variance_of(0.0) / variance_of(8.0) == pytest.approx(np.pi / 2, rel=1e-3)
    assert variance_of(1.345) == 1.0
    assert 1 / variance_of(8.0) == pytest.approx(1 / 0.95, rel=1e-2)


def stated(seed: int) -> dict[str, np.ndarray]:
    """60 runs whose relative noise is known and ranges over a factor of ten."""
    rng = np.random.default_rng(seed)
    table = {"params": 10 ** rng.uniform(7, 9.5, 60), "tokens": 10 ** rng.uniform(8.3, 10.8, 60)}
    relative = rng.permutation(np.geomspace(0.003, 0.03, 60))
    table["loss"] = LAW.loss(TRUTH, table) * np.exp(relative * rng.standard_normal(60))
    return {**table, "error": relative * table["loss"]}


def test_a_new_run_is_as_noisy_as_it_says():
    """Quiet runs and loud ones lie in intervals that are as wide as their own noise asks for."""
    hits, widths = [], []
    for seed in range(6):
        fit = sl.fit(stated(seed), bootstrap=100, noise="error")
        rng = np.random.default_rng(100 + seed)
        n, d = 10 ** rng.uniform(8, 9.5, 20), 10 ** rng.uniform(9, 10.8, 20)
        truth = LAW.loss(TRUTH, {"params": n, "tokens": d})
        for relative in (0.003, 0.03):
            run = truth * np.exp(relative * rng.standard_normal(20))
            low, high = fit.predict_interval(n, d, noise=relative * truth)
            hits.append(np.mean((low <= run) & (run <= high)))
            widths.append(np.median(np.log(high / low)) / (2 * 1.96 * relative))
    quiet, loud = np.mean(hits[::2]), np.mean(hits[1::2])
    assert min(quiet, loud) >= 0.88, (quiet, loud)  # 120 runs, a few points a table in common
    assert np.median(widths[1::2]) < 1.3, widths
    assert np.median(widths[::2]) < 2.5, widths  # the law's own part is in it
    with pytest.raises(sl.InputError, match="states none"):
        sl.fit({k: v for k, v in stated(0).items() if k != "error"}, bootstrap=20).predict_interval(
            1e9, 1e10, noise=0.01
        )


def test_simulated_noise_keeps_to_the_row_it_is_of():
    """A quiet row never gets a loud one's residual."""
    rows = sl.fit(stated(0), bootstrap=0).rows
    quiet = np.arange(60) % 2 == 0
    size = np.where(quiet, 0.001, 0.1)
    residual = size * np.where(np.arange(60) % 4 < 2, 1.0, -1.0)
    drawn = simulated_noise(
        residual, rows, Rho("huber", 1e-3, False, scale=1 / size), 5, 50, np.random.default_rng(0)
    )
    assert np.abs(drawn[:, quiet]).max() < 0.0025
    assert np.abs(drawn[:, ~quiet]).min() > 0.05
