"""Does the measure move before the metric? On curves whose order is known."""

import numpy as np
import pytest

from lab.evaluation.precedence import leads, moved
from lab.evaluation.progress_measures import fourier_mass, steps


def lines(**series):
    grid = [20, 40, 80, 160, 320, 640, 1280]
    for measure, values in series.items():
        for step, value in zip(grid, values, strict=True):
            yield {"kind": "progress", "task": "t", "measure": measure, "step": step, "value": value}
    yield {"step": 20, "loss_nats": 3.0}


def test_the_order_of_planted_curves_is_found():
    found = {
        lead.measure: lead
        for lead in leads(
            lines(
                exact_match=[0, 0, 0, 0, 0.02, 0.9, 1.0],
                early=[0, 0.1, 0.5, 0.8, 0.9, 0.9, 0.9],
                late=[1, 1, 1, 1, 1, 1, 0.2],
                same=[3, 3, 3, 3, 3, 1, 0.1],
                still=[0.5, 0.52, 0.48, 0.5, 0.5, 0.51, 0.5],
            )
        )
    }
    assert {name: lead.said for name, lead in found.items()} == {
        "early": "before",
        "late": "after",
        "same": "with",
        "still": "the measure did not move",
    }
    assert found["early"].measure_step == 80
    assert found["early"].factor == pytest.approx(640 / 80)


def test_a_metric_that_never_moves_is_said():
    (lead,) = leads(lines(exact_match=[0] * 7, early=[0, 0, 0, 1, 1, 1, 1]))
    assert (lead.said, lead.metric_step, lead.factor) == ("only the measure moved", None, None)


def test_a_start_that_is_undone_does_not_count():
    assert moved({1: 0.0, 2: 0.9, 3: 0.0, 4: 0.0, 5: 1.0}) == 5


def test_steps_are_log_spaced_and_shared_by_all_budgets():
    long, short = steps(4, 20, 20_000), steps(4, 20, 1_010)
    assert max(short) == 1_010
    assert short - {1_010} == {s for s in long if s < 1_010}
    assert all(s % 20 == 0 for s in short - {1_010})
    assert 10 <= len(long) <= 14
    assert steps(0, 20, 500) == frozenset()
    assert steps(3, 20, 7) == {7}


def test_fourier_mass_is_one_for_waves_of_the_sum_and_small_for_noise():
    p = 31
    a, b, c = np.ogrid[:p, :p, :p]
    waves = sum(np.cos(2 * np.pi * k * (a + b - c) / p + k) for k in (2, 5, 11))
    assert fourier_mass(waves) == pytest.approx(1)
    noise = np.random.default_rng(0).normal(size=(p, p, p))
    assert fourier_mass(noise) == pytest.approx(1 / p**2, rel=0.6)
    assert fourier_mass(waves + 3 * noise) == pytest.approx(1.5 / (1.5 + 9), rel=0.1)
    memorised = np.cos(2 * np.pi * (3 * a + 5 * b - c) / p)  # a rule, but not the sum
    assert fourier_mass(memorised) < 0.01
    assert fourier_mass(np.zeros((p, p, p))) == 0
