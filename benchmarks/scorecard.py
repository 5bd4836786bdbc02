"""`python -m benchmarks.scorecard`: planted truths against verdicts and rivals, and the rates.

Three tables. False positives, power and the elbow's factor of the break test on a standard design, 8 sizes
over three decades, under seed noise. Planted truth against verdict, each truth drawn anew many times. And
which detectors call a break where one was planted and only there; the rivals see the means over seeds, as
they do in papers.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas

from analysis.thresholds import calibration, detect
from analysis.thresholds.likelihood import count_scale
from analysis.thresholds.null import Design
from benchmarks import planted, rivals

OURS = "this one"
NAMES = (OURS, "breakthroughness", "ten_points", "bic_hinge", "sigmoid", "bnsl")
_HEADS = (OURS, "B > 5", "+10 points", "BIC hinge", "sigmoid", "BNSL")


@dataclass(frozen=True)
class Score:
    """One truth: verdicts by count, and of each detector how often it called a break, of how many tries."""

    truth: str
    expected: str
    broken: bool
    verdicts: dict[str, int]
    calls: dict[str, tuple[int, int]]

    def right(self, name: str) -> float:
        """Share of right calls: a break where there is one, none elsewhere; NaN where it never could call."""
        called, tried = self.calls.get(name, (0, 0))
        if not tried:
            return float("nan")
        return called / tried if self.broken else 1 - called / tried


def score(truth: str, expected: str, broken: bool, tries) -> Score:
    """tries: (verdict or None, calls of the rivals) of each table."""
    verdicts: Counter[str] = Counter()
    called: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for verdict, calls in tries:
        verdicts[verdict] += 1
        for name, yes in {OURS: verdict == "emergent", **calls}.items():
            if yes is not None:
                called[name] += bool(yes)
                tried[name] += 1
    counts = {name: (called[name], tried[name]) for name in tried}
    return Score(truth, expected, broken, dict(verdicts.most_common()), counts)


def rivals_of(table: pandas.DataFrame, axis: str = "params", chance: float = 0.0) -> dict[str, bool | None]:
    """Calls of the rivals on rows of one thresholded metric with correct and items, over the means of
    seeds."""
    sums = table.groupby(axis)[["correct", "items"]].sum()
    correct, items = sums["correct"].to_numpy(float), sums["items"].to_numpy(float)
    return rivals.calls(correct, items, np.log10(sums.index.to_numpy(float)), chance)


def planted_scores(draws: int, seed_sd: float, chance: float = 0.0) -> Iterator[Score]:
    """One row for each planted truth (with a chance level those only that can have one)."""
    for generator, expected in planted.EXPECTED:
        if chance > 0 and generator in (planted.metric_only, planted.capacity, planted.floor_limited):
            continue
        seeds = 8 if generator is planted.seed_mixture else 3
        plan = planted.Plan(seeds=seeds, seed_sd=seed_sd, chance=chance)
        tries = []
        for number in range(draws):
            table = pandas.DataFrame(generator(plan, np.random.default_rng(number)))
            metric = planted.JUDGED_BY.get(generator.__name__, "exact_match")
            verdict = detect(table, draws=199, seed=number)[generator.__name__, metric].verdict
            tries.append((verdict, rivals_of(table[table["metric"] == "exact_match"], chance=chance)))
        yield score(generator.__name__, expected, expected == "emergent", tries)


@dataclass(frozen=True)
class Rate:
    """At 5 %: a straight curve of 1.2 logits a decade called broken, a strong break (0.2, then 3.2) called,
    and the factor by which its elbow is missed (root mean square in logs)."""

    seed_sd: float
    chance: float
    false_positives: float
    power: float
    elbow_factor: float


def rates(draws: int, seeds: int = 3, items: int = 1000) -> Iterator[Rate]:
    """Over seed noise and chance, on 8 sizes over three decades."""
    x = np.linspace(4, 7, 8)
    size = np.repeat(np.arange(8), seeds)
    for chance in (0.0, 0.25):
        design = Design(x, size, np.full(size.size, float(items)), None, chance)
        scale = count_scale("logit", chance)
        for sd in (0.1, 0.2, 0.3, 0.4):
            rng = np.random.default_rng([int(100 * sd), int(100 * chance)])
            false = calibration.rejected(design, scale, -3 + 1.2 * (x - 4), sd, 0.05, rng, draws)
            few = max(draws // 4, 50)
            power, factor = calibration.power_and_factor(design, scale, sd, 0.05, rng, few)
            yield Rate(sd, chance, false, power, factor)


def rate_lines(found) -> Iterator[str]:
    yield f"{'seed sd':>8} {'chance':>7} {'false positives':>16} {'power':>7} {'elbow within':>13}"
    for one in found:
        yield (
            f"{one.seed_sd:8.1f} {one.chance:7.2f} {one.false_positives:16.1%} {one.power:7.0%}"
            f" {one.elbow_factor:12.2f}x"
        )


def verdict_lines(scores: list[Score]) -> Iterator[str]:
    for one in scores:
        total = sum(one.verdicts.values())
        listed = ", ".join(f"{word} {count}" for word, count in one.verdicts.items())
        right = f"{one.verdicts.get(one.expected, 0)} of {total}"
        yield f"{one.truth:>28} -> {one.expected:<16} {right:>9}   {listed}"


def rival_lines(scores: list[Score]) -> Iterator[str]:
    """Shares of right calls, a row for each truth, and their mean."""
    yield f"{'':>28}  {'a break?':>8} " + " ".join(f"{head:>10}" for head in _HEADS)
    for one in scores:
        cells = " ".join(_share(one.right(name)) for name in NAMES)
        yield f"{one.truth:>28}  {'yes' if one.broken else 'no':>8} {cells}"
    with_all = [[one.right(name) for one in scores] for name in NAMES]
    mean = [float(np.nanmean(row)) if np.isfinite(row).any() else float("nan") for row in with_all]
    yield f"{'mean of the rows':>28}  {'':>8} " + " ".join(_share(value) for value in mean)


def _share(value: float) -> str:
    return f"{value:10.0%}" if np.isfinite(value) else f"{'-':>10}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scorecard", description=__doc__)
    parser.add_argument("--draws", type=int, default=20, help="tables drawn of each planted truth")
    parser.add_argument("--level-draws", type=int, default=2000, help="tables drawn for each rate")
    parser.add_argument(
        "--seed-sd", type=float, default=0.2, help="logits between seeds of the planted truths"
    )
    options = parser.parse_args(argv)
    print("Rates of the break test: 8 sizes x 3 seeds x 1,000 items, nominal 5 %")
    for line in rate_lines(rates(options.level_draws)):
        print(line, flush=True)
    for chance in (0.0, 0.25):
        scores = list(planted_scores(options.draws, options.seed_sd, chance))
        said = f"chance {chance:g}, seed sd {options.seed_sd:g}, {options.draws} tables each"
        print(f"\nPlanted truth -> verdict, {said}")
        print("\n".join(verdict_lines(scores)))
        print(f"\nShare of right calls: a break where one is planted and nowhere else, {said}")
        print("\n".join(rival_lines(scores)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
