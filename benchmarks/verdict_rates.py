"""`python -m benchmarks.verdict_rates [DESIGN ...]`: how often each verdict falls on designs of known truth.

Every design is drawn anew with stated seeds and judged by `detect` as a user's table would be. `called` is
the share of tables in which any series of the design is emergent: at most 5 % where the truth is smooth, and
nearly all where a break is planted. `own p` counts calls on a series whose own p-value does not carry them:
none may.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas
from scipy.special import expit

from analysis.thresholds import detect
from benchmarks import planted
from benchmarks.planted import Plan

FIRST = 1000  # of the judging seeds; what was tuned was tuned on smaller ones


@dataclass(frozen=True)
class Truth:
    """rows: draws a table; breaks: is a break planted; tables: how many are drawn; axis and draws of
    detect."""

    rows: Callable[[np.random.Generator], list[dict]]
    breaks: bool
    tables: int = 40
    axis: str = "params"
    draws: int = 99


@dataclass(frozen=True)
class Rate:
    """called: tables with any emergent series; unfounded: with one whose own p is above the level; words: of
    each (metric, verdict)."""

    tables: int
    called: int
    unfounded: int
    words: Counter


def _scores(score, plan: Plan, rng: np.random.Generator, sd=None, chance: float = 0.0) -> list[dict]:
    """Rows of a mean score (K,) with seeds of sd (K,) or a number, in logits above chance."""
    unit = np.clip((np.asarray(score) - chance) / (1 - chance), 1e-12, 1 - 1e-12)
    sd = np.broadcast_to(plan.seed_sd if sd is None else sd, unit.shape)
    eta = np.log(unit / (1 - unit))[:, None] + sd[:, None] * rng.standard_normal((unit.size, plan.seeds))
    return planted.rows("t", chance + (1 - chance) * expit(eta), plan, rng)


def powers(rng: np.random.Generator, tokens: int = 10, seeds: int = 3, sd: float = 0.15) -> list[dict]:
    """Exact match p^tokens of a probability that is straight in logits, with its nats beside it."""
    plan = Plan(seeds=seeds)
    eta = (-0.5 + 1.3 * plan.decades)[:, None] + sd * rng.standard_normal((8, seeds))
    hard = planted.rows("t", expit(eta) ** tokens, plan, rng)
    return hard + planted.nats_rows("t", -np.log(expit(eta)), plan)


def even(rng: np.random.Generator, seeds: int = 3) -> list[dict]:
    """Accuracy linear in log params at chance 0.25."""
    plan = Plan(seeds=seeds, chance=0.25)
    return _scores(0.27 + 0.19 * plan.decades, plan, rng, 0.15, 0.25)


def unequal(rng: np.random.Generator, small: float = 0.6, large: float = 0.1) -> list[dict]:
    """Straight in logits; seeds of small sizes differ by more than those of large ones."""
    plan = Plan()
    return _scores(expit(-1.8 + 1.2 * plan.decades), plan, rng, np.linspace(small, large, 8))


def last_off(rng: np.random.Generator, by: float = 1.5, seeds: int = 3) -> list[dict]:
    """Straight in logits, but for a largest size that is off."""
    plan = Plan(seeds=seeds)
    return _scores(expit(-2.5 + 1.0 * plan.decades + by * (np.arange(8) == 7)), plan, rng)


def step(rng: np.random.Generator, by: float = 3.0, seeds: int = 3) -> list[dict]:
    """A step of `by` logits in the middle of a gentle slope."""
    plan = Plan(seeds=seeds)
    return _scores(expit(-3.0 + 0.2 * plan.decades + by * (plan.decades > 1.5)), plan, rng)


def tripled(rng: np.random.Generator) -> list[dict]:
    """The slope is three times as steep beyond the middle."""
    plan = Plan(seed_sd=0.1)
    eta = -3.0 + 0.8 * plan.decades + 1.6 * np.maximum(plan.decades - 1.5, 0)
    return _scores(expit(eta), plan, rng)


def in_loss(rng: np.random.Generator, items: int = 20_000) -> list[dict]:
    """Rises evenly in the loss from 0 to .68; checkpoints that have barely begun to learn score exactly 0."""
    loss = np.array([10.8, 10.7, 10.4, 9.6, 8.4, 7.2, 6.1, 5.2, 4.5, 3.9, 3.4, 3.0, 2.7])
    score = np.where(loss > 9.5, 0.0, 0.68 * (9.6 - loss) / (9.6 - 2.7))
    plan = Plan(params=tuple(1e6 * (1 + np.arange(loss.size))), items=items, seeds=3)
    rows = _scores(np.maximum(score, 0), plan, rng, 0.08)
    for row in rows:
        row["loss_nats"] = float(loss[round(row["params"] / 1e6) - 1])
        if row["loss_nats"] > 9.5:
            row["correct"] = row["score"] = 0
    return rows


def of_kind(generator, **options):
    return lambda rng: generator(Plan(**options), rng)


SMOOTH = {
    "straight": of_kind(planted.smooth),
    "gentle": lambda rng: planted.smooth(Plan(), rng, slope=0.6),
    "ceiling": of_kind(planted.sigmoid),
    "metric alone": of_kind(planted.metric_only),
    "straight, chance .25": of_kind(planted.smooth, chance=0.25),
    "p^10": powers,
}
TWO_SEEDS = {
    "straight": of_kind(planted.smooth, seeds=2),
    "gentle": lambda rng: planted.smooth(Plan(seeds=2), rng, slope=0.6),
    "ceiling": of_kind(planted.sigmoid, seeds=2),
    "metric alone": of_kind(planted.metric_only, seeds=2),
    "straight, chance .25": of_kind(planted.smooth, chance=0.25, seeds=2),
    "p^10": lambda rng: powers(rng, seeds=2),
}


def designs() -> dict[str, Truth]:
    out = {
        "p^10 with nats": Truth(powers, False),
        "linear in log N": Truth(even, False),
        "unequal seeds": Truth(unequal, False),
        "last size off": Truth(last_off, False, 10),
        "evenly in loss": Truth(in_loss, False, axis="loss_nats"),
        "hinge": Truth(of_kind(planted.hinge), True, 50),
        "step": Truth(step, True, 50),
        "slope tripled": Truth(tripled, True, 40),
        "capacity": Truth(of_kind(planted.capacity), True, 20),
        "inverse": Truth(of_kind(planted.inverse), False, 15),
        "u-shaped": Truth(of_kind(planted.u_shaped), False, 15),
    }
    out |= {f"3 seeds, {name}": Truth(rows, False, 30) for name, rows in SMOOTH.items()}
    out |= {f"2 seeds, {name}": Truth(rows, False, 30) for name, rows in TWO_SEEDS.items()}
    return out


def measure(truth: Truth, first: int = FIRST, tables: int | None = None) -> Rate:
    """Verdicts on tables of seeds first, first + 1, ..."""
    words: Counter = Counter()
    called = unfounded = 0
    total = truth.tables if tables is None else tables
    for number in range(first, first + total):
        frame = pandas.DataFrame(truth.rows(np.random.default_rng(number)))
        found = detect(frame, axis=truth.axis, draws=truth.draws, seed=number).series
        emergent = [one for one in found if one.verdict == "emergent"]
        called += bool(emergent)
        unfounded += any(one.p_value is None or one.p_value > 0.05 for one in emergent)
        words.update((one.metric, one.verdict) for one in found)
    return Rate(total, called, unfounded, words)


def line(name: str, truth: Truth, rate: Rate) -> str:
    said = ", ".join(f"{metric} {word} {count}" for (metric, word), count in rate.words.most_common())
    kind = "break" if truth.breaks else "none"
    return f"{name:<32} {kind:<6} {rate.called:>3} of {rate.tables:<3}  own p {rate.unfounded:>2}   {said}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdict_rates", description=__doc__)
    parser.add_argument("designs", nargs="*", help="names, or the beginnings of names; none: all")
    parser.add_argument("--tables", type=int, help="tables drawn of each design")
    parser.add_argument("--first", type=int, default=FIRST, help="first seed")
    options = parser.parse_args(argv)
    print(f"{'design':<32} {'truth':<6} called     unfounded   verdicts")
    for name, truth in designs().items():
        if options.designs and not any(name.startswith(each) for each in options.designs):
            continue
        print(line(name, truth, measure(truth, options.first, options.tables)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
