"""`python -m analysis.thresholds.scorecard`: planted truths against verdicts and rivals, and the rates.

Two tables. The first draws each planted truth anew and counts what this detector and the rivals call it; the
rivals see the means over seeds, as they do in papers. The second measures false positives and power of the
break test on a standard design, 8 sizes over three decades.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas

from analysis.thresholds import calibration, detect, planted, rivals
from analysis.thresholds.likelihood import count_scale
from analysis.thresholds.null import Design


@dataclass(frozen=True)
class Score:
    """right: share of draws with the expected verdict; broken: share each detector calls a break."""

    truth: str
    expected: str
    right: float
    verdicts: dict[str, int]
    broken: dict[str, float]


def planted_scores(draws: int, seed_sd: float, chance: float = 0.0) -> list[Score]:
    """One row for each planted truth (those with a chance level only, where it is not 0)."""
    out = []
    for generator, expected in planted.EXPECTED:
        if chance > 0 and generator in (planted.metric_only, planted.capacity, planted.floor_limited):
            continue
        seeds = 8 if generator is planted.seed_mixture else 3
        plan = planted.Plan(seeds=seeds, seed_sd=seed_sd, chance=chance)
        verdicts: Counter[str] = Counter()
        broken: Counter[str] = Counter()
        for number in range(draws):
            table = pandas.DataFrame(generator(plan, np.random.default_rng(number)))
            word = detect(table, draws=199, seed=number)[0].verdict
            verdicts[word] += 1
            broken["this detector"] += word == "emergent"
            sums = table[table["metric"] == "exact_match"].groupby("params")[["correct", "items"]].sum()
            correct, items = sums["correct"].to_numpy(float), sums["items"].to_numpy(float)
            called = rivals.calls(correct, items, np.log10(plan.params), chance)
            broken.update({name: int(yes) for name, yes in called.items()})
        shares = {name: count / draws for name, count in broken.items()}
        out.append(Score(generator.__name__, expected, verdicts[expected] / draws, dict(verdicts), shares))
    return out


def level_and_power(draws: int, seeds: int = 3, items: int = 1000) -> list[tuple[float, float, float, float]]:
    """(seed sd, chance, false-positive rate, power) at 5 %, for a straight curve of 1.2 logits a decade and a
    strong break of 0.2 then 3.2."""
    x = np.linspace(4, 7, 8)
    size = np.repeat(np.arange(8), seeds)
    rows = []
    for chance in (0.0, 0.25):
        design = Design(x, size, np.full(size.size, float(items)), None, chance)
        scale = count_scale("logit", chance)
        for sd in (0.1, 0.2, 0.3, 0.4):
            rng = np.random.default_rng([int(100 * sd), int(100 * chance)])
            false = calibration.rejected(design, scale, -3 + 1.2 * (x - 4), sd, 0.05, rng, draws)
            strong = calibration.strong_break(design)
            power = calibration.rejected(design, scale, strong, sd, 0.05, rng, max(draws // 4, 50))
            rows.append((sd, chance, false, power))
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m analysis.thresholds.scorecard", description=__doc__)
    parser.add_argument("--draws", type=int, default=20, help="tables drawn of each planted truth")
    parser.add_argument("--level-draws", type=int, default=2000, help="tables drawn for each rate")
    parser.add_argument(
        "--seed-sd", type=float, default=0.2, help="logits between seeds of the planted truths"
    )
    options = parser.parse_args(argv)
    print(f"{'seed sd':>8} {'chance':>7} {'false positives':>16} {'power':>7}")
    for sd, chance, false, power in level_and_power(options.level_draws):
        print(f"{sd:8.1f} {chance:7.2f} {false:16.1%} {power:7.0%}")
    for chance in (0.0, 0.25):
        print(
            f"\nplanted truths, chance {chance:g}, seed sd {options.seed_sd:g}: right, and called a break by"
        )
        for score in planted_scores(options.draws, options.seed_sd, chance):
            shares = "  ".join(f"{name} {share:.0%}" for name, share in score.broken.items())
            print(f"{score.truth:>14} -> {score.expected:<16} {score.right:4.0%}   {shares}")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
