"""The best learning rate of a size as a target: planted valleys, and runs chosen for it."""

from itertools import combinations

import numpy as np
import pytest

from analysis.designs.choice import Costs, choose
from analysis.designs.rate import RateRuns, best_rate, rate_outlook, usual_tokens
from analysis.errors import InputError

SIZES, TOKENS, POWER, BEND = np.array([1e4, 3e4, 1e5, 3e5]), 1e6, -0.5, 0.03
SCATTER = 0.004


def truth(size) -> np.ndarray:
    """The planted log of the best rate."""
    return np.log(0.01) + POWER * np.log(np.asarray(size, float) / 1e5)


def runs(size, rate, rng=None, seed=None, luck=0.0) -> RateRuns:
    """Runs of planted valleys; luck: what a seed adds to all its rates at a size."""
    size, rate = np.broadcast_arrays(np.asarray(size, float), np.asarray(rate, float))
    seed = np.zeros(len(size)) if seed is None else seed
    loss = 1 - 0.1 * np.log(size) + BEND * np.square(np.log(rate) - truth(size))
    if rng is not None:
        which = np.unique(np.stack([size, seed]), axis=1, return_inverse=True)[1].ravel()
        loss += SCATTER * rng.standard_normal(len(size)) + luck * rng.standard_normal(which.max() + 1)[which]
    return RateRuns(size, np.full(len(size), TOKENS), rate, seed, loss, [f"{one:.3g}" for one in size])


def grid(sizes, octaves, off=0.1) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and rates: each size at rates so many octaves off a tuning that misses a little."""
    s, k = (one.ravel() for one in np.meshgrid(sizes, octaves, indexing="ij"))
    return s, np.exp(truth(s) + off - 0.05 * np.log(s / 1e5) + k * np.log(2))


def test_without_scatter_the_planted_rate_is_found():
    size, rate = grid(SIZES, [-1, 0, 1])
    for at in (*SIZES, 1e6):
        found = best_rate(runs(size, rate), (at, TOKENS))
        assert found.value == pytest.approx(truth(at))
        assert found.power == pytest.approx(POWER)
        assert found.curvature == pytest.approx(BEND)
        assert found.tokens_power is None
    assert found.said == ("no run is of this size: its best rate is by the power of size alone",)


def test_tokens_have_a_power_where_they_vary():
    size, rate = grid(SIZES, [-1, 0, 1])
    short = runs(size, rate)
    both = RateRuns(
        *(np.concatenate([a, b]) for a, b in (
            (short.size, short.size), (short.tokens, 8 * short.tokens), (short.rate, short.rate * 8**-0.2),
            (short.seed, short.seed), (short.log_loss, short.log_loss - 0.1),
        )),
        [*short.names, *short.names],
    )  # fmt: skip
    found = best_rate(both, (1e5, 8 * TOKENS))
    assert found.tokens_power == pytest.approx(-0.2)
    assert found.value == pytest.approx(truth(1e5) - 0.2 * np.log(8))


@pytest.mark.parametrize("seeds", [1, 2])
def test_intervals_hold_the_planted_rate_at_their_rate(seeds):
    """At a size that was run and at one beyond, five rates each; two seeds differ by luck. The standard error
    of a share of 400 at 95 % is 1.1 %."""
    rng = np.random.default_rng(seeds)
    size, rate = (np.tile(one, seeds) for one in grid(SIZES, [-1.5, -0.75, 0, 0.75, 1.5]))
    seed = np.repeat(np.arange(float(seeds)), len(size) // seeds)
    held = []
    for _ in range(200):
        drawn = runs(size, rate, rng, seed, luck=0.01)
        for at in (SIZES[-1], 1e6):
            low, high = best_rate(drawn, (at, TOKENS)).interval
            held.append(low <= truth(at) <= high)
    assert 0.92 <= np.mean(held) <= 0.98


def test_chosen_runs_miss_the_best_rate_less_than_an_even_grid_of_the_same_cost():
    """The best rate of the largest size, whose runs are the dearest; what is there is three rates a size."""
    rng = np.random.default_rng(0)
    have = grid(SIZES, [-1.5, 0, 1.5])
    even = grid(SIZES, [-0.75, 0.75])
    budget = even[0].sum()
    found = best_rate(runs(*have, rng), (SIZES[-1], TOKENS))
    octaves = np.linspace(-1, 1, 7) * found.reach / np.log(2)
    size = np.repeat(SIZES, len(octaves))
    ahead = runs(size, np.exp(found.of(size, TOKENS) + np.tile(octaves, len(SIZES)) * np.log(2)))
    chosen = list(
        choose(rate_outlook(found, ahead), Costs(ahead.size), budget, 8, found.valleys(ahead)).chosen
    )
    assert ahead.size[chosen].sum() <= budget * (1 + 1e-9)
    mine = ahead.size[chosen], ahead.rate[chosen]

    def missed(more) -> float:
        places = [np.concatenate(both) for both in zip(have, more, strict=True)]
        off = [best_rate(runs(*places, rng), (SIZES[-1], TOKENS)).value for _ in range(300)]
        return float(np.sqrt(np.mean(np.square(np.array(off) - truth(SIZES[-1])))))

    # The standard error of a ratio of two spreads over 300 draws each is about 6 %.
    assert missed(mine) < 0.82 * missed(even)


@pytest.mark.parametrize("at", [3e5, 1e6])
def test_a_choice_is_near_the_best_of_all_where_a_new_size_needs_two_runs_at_once(at):
    """One run of a size without any tells of its level alone; every set of up to three runs is tried."""
    found = best_rate(runs(*grid(SIZES[:3], [-1.5, 0, 1.5]), np.random.default_rng(0)), (at, TOKENS))
    size = np.repeat([1e4, 1e5, 3e5], 5)
    off = np.tile(np.linspace(-1, 1, 5) * found.reach, 3)
    ahead = runs(size, np.exp(found.of(size, TOKENS) + off))
    look, budget = rate_outlook(found, ahead), 7.2e5
    every = [some for count in (1, 2, 3) for some in combinations(range(len(size)), count)]
    best = min(look.variance(some) for some in every if size[list(some)].sum() <= budget)
    chosen = choose(look, Costs(size), budget, 3, found.valleys(ahead)).chosen
    assert look.variance(chosen) <= 1.1 * best
    assert np.count_nonzero(size[list(chosen)] == 3e5) == 2


def test_the_interval_now_is_that_of_the_fit_and_more_runs_narrow_it():
    found = best_rate(runs(*grid(SIZES, [-1, 0, 1]), np.random.default_rng(1)), (SIZES[-1], TOKENS))
    ahead = runs(*grid(SIZES[-1:], [-1.2, 1.2], off=0))
    look = rate_outlook(found, ahead)
    half = 1.959963984540054 * np.sqrt(look.variance())
    assert 2 * half == pytest.approx(np.ptp(found.interval))
    both, one = look.variance([0, 1]), look.variance([0])
    assert both < one < look.variance()


def test_budgets_that_follow_sizes_say_nothing_of_others():
    """A ladder of 20 tokens a param: its power of size is that of both, and tokens go with a size."""
    size, rate = grid(SIZES, [-1, 0, 1])
    flat = runs(size, rate)
    ladder = RateRuns(size, 20 * size, rate, flat.seed, flat.log_loss, flat.names)
    usual, off = usual_tokens(ladder)
    assert off < 1e-6
    assert usual(np.array([2e4, 1e6])) == pytest.approx([4e5, 2e7])
    assert set(usual(SIZES)) == set(ladder.tokens)  # to the bit: runs of one budget share a valley
    assert set(usual_tokens(flat)[0](SIZES)) == {TOKENS}
    found = best_rate(ladder, (1e6, 2e7))
    assert found.value == pytest.approx(truth(1e6))
    assert found.tokens_power is None
    for tokens in (6e6, 1e9):  # the most of any run is no budget of this size
        with pytest.raises(InputError, match=r"do not vary apart from their sizes.*theirs .* are 2e\+07"):
            best_rate(ladder, (1e6, tokens))
    assert best_rate(flat, (1e5, TOKENS * 1.05)).value == pytest.approx(truth(1e5))
    with pytest.raises(InputError, match="do not vary apart from their sizes"):
        best_rate(flat, (1e5, 2 * TOKENS))


@pytest.mark.parametrize(
    ("sizes", "octaves", "at", "words"),
    [
        (SIZES, [0, 1], 1e5, "no size has three learning rates, which a valley needs; the most is 2"),
        (
            SIZES[:1],
            [-1, 0, 1, 1.5],
            1e5,
            "of one size, 1e+04, which says nothing of the best rate of another",
        ),
        (SIZES[:1], [-1, 0, 1], 1e4, "no degree of freedom"),
    ],
)
def test_where_no_best_rate_can_be_stated_one_line_says_so(sizes, octaves, at, words):
    with pytest.raises(InputError) as caught:
        best_rate(runs(*grid(sizes, octaves), np.random.default_rng(0)), (at, TOKENS))
    assert len(caught.value.problems) == 1
    assert words in str(caught.value)


def test_a_parabola_that_opens_downward_or_is_lost_in_scatter_states_none():
    size, rate = grid(SIZES, [-1, 0, 1])
    flat = runs(size, rate)
    downward = RateRuns(
        size, flat.tokens, rate, flat.seed, 1 - 0.01 * np.square(np.log(rate) - truth(size)), flat.names
    )
    with pytest.raises(InputError, match="open downward"):
        best_rate(downward, (1e5, TOKENS))
    rng = np.random.default_rng(0)
    noise = RateRuns(
        size, flat.tokens, rate, flat.seed, flat.log_loss + 0.05 * rng.standard_normal(12), flat.names
    )
    with pytest.raises(InputError, match=r"flatter than a scatter|open downward"):
        best_rate(noise, (1e5, TOKENS))


def test_what_stands_against_a_best_rate_is_said():
    size, rate = grid(SIZES, [-1, 0, 1])
    two = (size == SIZES[0]) & (rate == rate[size == SIZES[0]].max())
    low = runs(size[~two], rate[~two])
    assert best_rate(low, (1e5, TOKENS)).said == ("1e+04: 2 rates, a valley of its own needs 3",)
    octaves = np.where(size == SIZES[-1], 3, 0)  # all far above its best
    found = best_rate(runs(size, rate * 2.0**octaves), (SIZES[-1], TOKENS))
    assert "3e+05: the lowest loss is at the smallest rate" in found.said
    assert found.said[-1].startswith("3e+05: the best rate lies below all that were tried, ")
    # a best rate that falls no further at the largest size
    bent = runs(*grid(SIZES, [-1.5, -0.75, 0, 0.75, 1.5]), np.random.default_rng(0))
    stops = np.square(np.log(bent.rate) - truth(np.minimum(bent.size, 1e5)))
    loss = bent.log_loss + BEND * (stops - np.square(np.log(bent.rate) - truth(bent.size)))
    parted = RateRuns(bent.size, bent.tokens, bent.rate, bent.seed, loss, bent.names)
    assert any("part from a power of size" in one for one in best_rate(parted, (1e5, TOKENS)).said)
