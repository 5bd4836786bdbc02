"""What grid finds a truth that is known: irreducible loss and exponent of tokens on the synthetic source.

``python -m benchmarks.known_entropy [TABLE]`` fits Chinchilla's law to ever larger parts of the table of
``lab run sweeps/studies/entropy.toml`` (docs/findings/entropy/runs.csv), beginning with its smallest budgets,
and prints what each says beside the truth: the source's entropy rate, the exponent of its Zipf law, and the
exponent of the ideal learner over the same budgets (`lab.data.synthetic.excess_loss`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas

import analysis as sl
from lab.data.synthetic import Source, excess_loss, source

TABLE = Path(__file__).parents[1] / "docs" / "findings" / "entropy" / "runs.csv"
CONTEXTS, ZIPF = 10_000, 1.5  # of sweeps/studies/entropy.toml


@dataclass(frozen=True)
class Part:
    """What the runs up to a budget say. Intervals are of 95 %; ideal: the best learner's exponent there."""

    tokens: float
    runs: int
    irreducible: float
    irreducible_interval: tuple[float, float]
    beta: float
    beta_interval: tuple[float, float]
    ideal: float


def ideal_exponent(law: Source, low: float, high: float) -> float:
    """The exponent by which the ideal learner's excess falls from one budget to another."""
    first, last = excess_loss(law, np.array([low, high]))
    return float(np.log(first / last) / np.log(high / low))


def parts(table: Path) -> list[Part]:
    """One for each budget from the third on."""
    frame, law = pandas.read_csv(table), source(CONTEXTS, ZIPF)
    budgets = np.sort(frame["tokens"].unique())
    said = []
    for most in budgets[2:]:
        fit = sl.fit(frame[frame["tokens"] <= most], law="chinchilla")
        ideal = ideal_exponent(law, budgets[0], most)
        e, b = (fit.intervals[name] for name in ("E", "beta"))
        said.append(
            Part(float(most), fit.points, fit.params["E"], tuple(e), fit.params["beta"], tuple(b), ideal)
        )
    return said


def main(table: Path) -> None:
    truth = source(CONTEXTS, ZIPF).entropy_rate
    print(f"entropy rate {truth:.4f} nats, exponent of tokens {1 - 1 / ZIPF:.3f}\n")
    print("| tokens up to | runs | E | 95 % | beta | 95 % | ideal learner |\n|---|---|---|---|---|---|---|")
    for part in parts(table):
        e, b = part.irreducible_interval, part.beta_interval
        print(
            f"| {part.tokens / 1e6:.1f}M | {part.runs} | {part.irreducible:.4f} | [{e[0]:.4f}, {e[1]:.4f}] "
            f"| {part.beta:.2f} | [{b[0]:.2f}, {b[1]:.2f}] | {part.ideal:.2f} |"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TABLE)
