"""Associations and error rates as text for a terminal."""

from __future__ import annotations

from analysis.bias.groups import RATES, Counts, gaps, wilson
from analysis.bias.weat import Weat
from analysis.text import number, table


def weat_text(found: Weat) -> str:
    how = f"all {found.partitions}" if found.exact else f"{found.partitions} drawn"
    sizes = ", ".join(f"{count} in {name}" for name, count in found.sizes.items())
    return "\n".join(
        (
            f"association of X with A and of Y with B ({sizes} words)",
            f"  effect size {found.effect_size:+.3f} standard deviations",
            f"  p {number(found.p_value)}, one-sided, over {how} partitions of X and Y",
        )
    )


def groups_text(groups: tuple[Counts, ...]) -> str:
    def percent(value: float) -> str:
        return "-" if value != value else f"{100 * value:.2f}"

    rows = []
    for rate in RATES:
        cells = []
        for one in groups:
            low, high = wilson(*one.parts(rate))
            cells.append(f"{percent(one.rate(rate))} [{percent(low)}, {percent(high)}]")
        rows.append((rate.replace("_", " "), *cells))
    sizes = [str(sum(one.parts("base_rate")[1:])) for one in groups]
    rows.append(("counted", *sizes))
    apart = [
        (
            one.rate.replace("_", " "),
            " - ".join(one.groups),
            f"{100 * one.difference:+.1f}",
            f"[{100 * one.interval[0]:+.1f}, {100 * one.interval[1]:+.1f}]",
        )
        for one in gaps(groups)
    ]
    said = ["error rates by group, in percent, with intervals of 95 %"]
    said.append(table(rows, ("", *(one.name for one in groups))))
    if apart:
        said += ["differences, in points", table(apart, ("", "", "", "95 % interval"))]
    return "\n".join(said)
