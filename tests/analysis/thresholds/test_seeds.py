"""Seeds that fall into two kinds, and real tables in which they decide everything."""

import numpy as np
import pandas
import pytest
from scipy.special import expit

from analysis.thresholds import detect, seeds
from analysis.thresholds.likelihood import count_scale
from benchmarks import planted
from benchmarks.planted import Plan

# Exact match of four seeds by params: reversed 3-digit addition, and copying 12 symbols.
ADDITION = {
    1792: (0.77, 0.09, 0.09, 0.12),
    3840: (0.01, 0.12, 0.09, 0.01),
    6656: (0.11, 1.0, 0.09, 0.09),
    14592: (0.73, 0.09, 0.06, 0.01),
    25600: (0.01, 0.84, 0.04, 0.01),
    50176: (1.0, 1.0, 0.13, 1.0),
    112128: (0.16, 1.0, 0.01, 1.0),
    198656: (1.0, 1.0, 1.0, 1.0),
}
COPY = {1408: (0, 0, 0, 0), 2176: (0.01, 0.41, 0.57, 0.62)}
COPY |= dict.fromkeys((4352, 9000, 18000, 40000), (1, 1, 1, 1))


def table(task, scores):
    return pandas.DataFrame(
        {
            "task": task,
            "metric": "exact_match",
            "params": size,
            "seed": j,
            "correct": round(1000 * s),
            "items": 1000,
        }
        for size, row in scores.items()
        for j, s in enumerate(row)
    ).assign(chance=0.0)


def test_a_lottery_over_four_seeds_is_no_threshold():
    one = detect(table("addition", ADDITION), draws=99)[0]
    assert (one.verdict, one.leading) == ("undecided", "seed_mixture")
    assert one.seed_sd.value > 1.5
    assert one.warnings[0].code == "seeds_differ"


@pytest.mark.parametrize("seeds_kept", [2, 3])
def test_nor_is_it_with_fewer_seeds(seeds_kept):
    for first in range(5 - seeds_kept):
        part = {size: row[first : first + seeds_kept] for size, row in ADDITION.items()}
        assert detect(table("addition", part), draws=99)[0].verdict in ("undecided", "seed_bimodal")


def test_one_seed_draws_any_curve_and_none_is_believed():
    for seed in range(4):
        part = {size: row[seed : seed + 1] for size, row in ADDITION.items()}
        assert detect(table("addition", part), draws=99)[0].verdict == "undecided"


def test_saturation_within_two_sizes_cannot_be_told_from_a_steep_curve():
    one = detect(table("copy", COPY), draws=99)[0]
    assert one.verdict == "undecided"
    assert "2176" in " ".join(note.text for note in one.warnings)


def test_saturation_with_a_break_in_the_loss_is_emergent_in_the_loss():
    """Nats at the guess of 32 symbols below, falling by orders of magnitude beyond: the loss decides."""
    nats = {400: 3.46, 800: 3.44, 1408: 3.3, 2176: 0.6, 4352: 0.02, 9000: 0.003, 18000: 0.001, 40000: 0.0005}
    hard = {400: (0, 0, 0), 800: (0, 0, 0), **{size: row[1:] for size, row in COPY.items()}}
    rng = np.random.default_rng(0)
    soft = pandas.DataFrame(
        {
            "task": "copy",
            "metric": "gold_nats",
            "params": size,
            "seed": j,
            "score": n * np.exp(0.1 * rng.normal()),
        }
        for size, n in nats.items()
        for j in range(3)
    )
    found = detect(pandas.concat([table("copy", hard), soft]), draws=99)
    one, nats = found["copy", "exact_match"], found["copy", "gold_nats"]
    assert (one.verdict, nats.verdict) == ("undecided", "emergent")
    assert (one.gates.continuous_break, one.breaks_in) == (True, "gold_nats")
    assert one.warnings[0].text.startswith("emergent in gold_nats (p = 0.0")
    assert "exact_match itself shows no break (p = " in one.warnings[0].text
    low, high = nats.thresholds.elbow.interval
    assert low <= 2176
    assert high >= 1408


@pytest.mark.parametrize("sd", [0.3, 1.0])
def test_normal_seeds_are_rarely_called_two_modes(sd):
    rng = np.random.default_rng(1)
    size, items = np.repeat(np.arange(8), 5), np.full(40, 1000.0)
    eta = np.linspace(-3, 3, 8)[size]
    false = [
        bool(
            seeds.two_modes(rng.binomial(1000, expit(eta + sd * rng.standard_normal(40))) * 1.0, items, size)
        )
        for _ in range(60)
    ]
    assert sum(false) <= 3


def test_two_modes_are_seen_with_five_seeds():
    found = 0
    for number in range(20):
        rows = planted.seed_mixture(Plan(seeds=5), np.random.default_rng(number))
        frame = pandas.DataFrame(rows)
        size = np.repeat(np.arange(8), 5)
        found += bool(seeds.two_modes(frame["correct"].to_numpy(float), np.full(40, 1000.0), size))
    assert found >= 17


def test_mixture_recovers_its_modes_and_odds():
    rows = pandas.DataFrame(planted.seed_mixture(Plan(seeds=12), np.random.default_rng(3)))
    x, size = np.linspace(4, 7, 8), np.repeat(np.arange(8), 12)
    mixture = seeds.fit_mixture(
        count_scale("logit", 0.0), rows["correct"].to_numpy(float), rows["items"].to_numpy(float), x, size
    )
    assert expit(mixture.modes) == pytest.approx([0.02, 0.95], abs=0.02)
    assert mixture.success(np.array([5.5]))[0] == pytest.approx(0.5, abs=0.15)
    assert mixture.odds[1] == pytest.approx(2.0, abs=0.8)


def test_no_size_beats_chance_is_flat_even_when_small_models_fall_below():
    """Tiny models that cannot even answer score below chance; rising to chance is no ability."""
    score = {496: (0.08, 0.1, 0.0), 1376: (0.04, 0.1, 0.23), 2640: (0.1, 0.24, 0.25)}
    score |= dict.fromkeys((4288, 8736, 14720), (0.24, 0.25, 0.24))
    one = detect(table("coin", score).assign(chance=0.25), draws=99)[0]
    assert one.verdict == "flat"
    assert one.thresholds.detectable.value is None


def test_smooth_is_not_said_where_a_break_could_not_be_seen():
    rows = planted.smooth(Plan(seeds=5, seed_sd=3.0), np.random.default_rng(2), slope=3.0)
    one = detect(pandas.DataFrame(rows), draws=99)[0]
    assert one.verdict in ("undecided", "seed_bimodal")
