"""The multiverse as text for a terminal."""

from __future__ import annotations

import numpy as np

from analysis.text import pair, remarks, table
from analysis.universes.multiverse import Multiverse


def multiverse_text(result: Multiverse) -> str:
    """The range of the exponent over all choices beside its interval, and which choice moves it most."""
    values = result.exponents
    baseline = result.baseline
    low, middle, high = np.percentile(values, [5, 50, 95])
    rows = []
    for choice in result.choices:
        rows.append((choice.dimension, "", "", f"{100 * choice.share:.0f} %", f"{choice.moves:.3f}"))
        for option, mean in sorted(choice.means.items(), key=lambda item: item[1]):
            count = sum(
                one.choices.get(choice.dimension) == option and one.exponent is not None
                for one in result.universes
            )
            rows.append((f"  {option}", str(count), f"{mean:.4f}", "", ""))
    if len(result.choices) > 1:
        rows.append(("choices together, beyond their sum", "", "", f"{100 * result.interactions:.0f} %", ""))
    plain = baseline.exponents
    noise = "none" if plain is None else f"{plain.params_exponent:.4f} {pair(plain.interval)}".rstrip()
    parts = [
        f"exponent of compute-optimal params under {len(values)} analyses of {baseline.points} runs of "
        f"{result.source}",
        f"  plain fit   {noise}  {100 * baseline.level:g} % interval, noise alone"
        if plain is not None and plain.interval is not None
        else f"  plain fit   {noise}",
        f"  choices     {values.min():.4f} to {values.max():.4f}, 90 % of them in "
        f"[{low:.4f}, {high:.4f}], median {middle:.4f}" + _beside(result),
        "",
        table(rows, ("choice", "analyses", "mean", "of variance", "moves")) if rows else "",
        "",
        remarks(result.warnings, result.baseline.excluded),
    ]
    return "\n".join(parts).rstrip()


def _beside(result: Multiverse) -> str:
    """The range over choices in units of the interval that noise alone gives."""
    if result.interval is None or not (width := result.interval[1] - result.interval[0]) > 0:
        return ""
    times = float(np.ptp(result.exponents)) / width
    return f"; {times:.2g} times as wide as the interval" if times < 100 else ""
