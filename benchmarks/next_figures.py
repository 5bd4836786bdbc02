"""`python -m benchmarks.next_figures designs | prior FILE`: the figures of docs/next.md, and what it says.

All of it is computed from the tables of `benchmarks.next_runs` and `benchmarks.next_prior` in docs/next.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy.stats import beta

from analysis.plots.style import INK, LAW, MUTED, SECOND, THIRD, axes, look
from benchmarks.next_runs import DESIGNS, TABLES

COLOURS = dict(zip(DESIGNS, (LAW, INK, SECOND, THIRD, MUTED), strict=True))
LEVEL = 0.95


def tables(folder: Path = TABLES) -> dict[str, pandas.DataFrame]:
    return {path.stem: pandas.read_csv(path) for path in sorted(folder.glob("*.csv"))}


def worlds(rows: pandas.DataFrame) -> list[tuple[str, pandas.DataFrame]]:
    return [(f"{truth} {seed}", of) for (truth, seed), of in rows.groupby(["truth", "seed"], sort=False)]


def needed(of: pandas.DataFrame, design: str, goal: float) -> float:
    """The compute of a table from which on a design stays at half-width `goal` or below, between its points
    in logs; infinite where its last is wider."""
    points = of[of["design"] == design].sort_values("compute")
    half, compute = points["half"].to_numpy(), points["compute"].to_numpy()
    if half[-1] > goal * (1 + 1e-9):
        return float("inf")
    first = int(np.flatnonzero(half > goal * (1 + 1e-9)).max(initial=-1)) + 1
    if first == 0:
        return float(compute[0])
    share = np.log(half[first - 1] / goal) / np.log(half[first - 1] / half[first])
    return float(compute[first - 1] ** (1 - share) * compute[first] ** share)


def of_grid(of: pandas.DataFrame, design: str) -> float:
    """What a design needs for the last width of the grid, as a part of what the grid spent."""
    last = of[of["design"] == "grid"].sort_values("compute").iloc[-1]
    return needed(of, design, float(last["half"])) / float(last["compute"])


def held(rows: pandas.DataFrame, factor: float = 1.0) -> pandas.Series:
    """Whether intervals made `factor` times as wide hold the new run."""
    return rows["error"].abs() <= factor * rows["told"]


def after_choice(rows: pandas.DataFrame) -> pandas.DataFrame:
    """Of the chosen design, all but the first grid, which was not chosen."""
    mine = rows[rows["design"] == "next"]
    return mine[mine["compute"] > mine.groupby(["truth", "seed"])["compute"].transform("min")]


def surely(hits: int, count: int) -> float:
    """The one-sided 95 % bound of a rate from below (Clopper and Pearson)."""
    return float(beta.ppf(0.05, hits, count - hits + 1)) if hits else 0.0


def inflation(rows: pandas.DataFrame) -> float:
    """The factor by which intervals have to be wider to hold LEVEL of these new runs, at least 1."""
    ratio = (rows["error"].abs() / rows["told"]).sort_values().to_numpy()
    place = min(int(np.ceil(LEVEL * (len(ratio) + 1))), len(ratio)) - 1
    return max(1.0, float(ratio[place]))


def corrected(rows: pandas.DataFrame) -> pandas.DataFrame:
    """Of each truth: how often intervals after a choice hold, and how often they do when widened by the
    factor that the other truths ask for."""
    mine = after_choice(rows)
    found = []
    for truth, of in mine.groupby("truth", sort=False):
        factor = inflation(mine[mine["truth"] != truth])
        found.append(
            {
                "truth": truth,
                "intervals": len(of),
                "held": int(held(of).sum()),
                "factor": factor,
                "held_corrected": int(held(of, factor).sum()),
            }
        )
    return pandas.DataFrame(found)


def told(found: dict[str, pandas.DataFrame]) -> str:
    """The block of docs/next.md."""
    planted = found["planted"]
    every = worlds(planted)
    lines = [
        "| design | tables | half-width at the whole budget | compute for the grid's width | last interval "
        "holds a new run |",
        "|---|---|---|---|---|",
    ]
    for design in DESIGNS:
        own = [of for _, of in every if (of["design"] == design).any()]
        last = pandas.concat([of[of["design"] == design].sort_values("compute").tail(1) for of in own])
        parts = np.array([of_grid(of, design) for of in own])
        middle = float(np.median(parts))
        said = f"{middle:.0%} of the grid's" if np.isfinite(middle) else "more than there is"
        if len(parts) > 2:
            low, high = parts.min(), parts.max()
            said += f" ({low:.0%} to {f'{high:.0%}' if np.isfinite(high) else 'never'})"
        lines.append(
            f"| {design} | {len(own)} | {last['half'].median():.2%} | {said} "
            f"| {int(held(last).sum())} of {len(last)} |"
        )
    table = corrected(planted)
    total, count = int(table["held"].sum()), int(table["intervals"].sum())
    again = int(table["held_corrected"].sum())
    grids = planted[planted["design"] == "grid"]
    factors = table["factor"]
    lines += [
        "",
        f"- **Coverage after a choice**: {total} of {count} intervals hold a new run at the target "
        f"({total / count:.0%}, at least {surely(total, count):.0%} with 95 % confidence were they "
        f"independent; nominal {LEVEL:.0%}); of the grids {int(held(grids).sum())} of {len(grids)}. "
        f"By truth: {', '.join(f'{r.truth} {r.held} of {r.intervals}' for r in table.itertuples())}.",
        f"- **Corrected** by the factor that the other truths ask for ({factors.min():.2f} to "
        f"{factors.max():.2f}): {again} of {count} ({again / count:.0%})."
        + (" No correction is made." if factors.max() == 1 else ""),
    ]
    for name, text in found["text"].groupby("truth", sort=False) if "text" in found else ():
        last = text.sort_values("compute").groupby("design", sort=False).tail(1).set_index("design")
        parts = ", ".join(
            f"{one} {last.loc[one, 'told']:.1%} (missed by {abs(last.loc[one, 'error']):.1%})"
            for one in DESIGNS
            if one in last.index
        )
        share = of_grid(text, "next")
        reach = f"reach its width with {share:.0%} of its compute" if np.isfinite(share) else "stay wider"
        lines.append(
            f"- **The {name} study, replayed** with half of its compute, told of the smaller run that was "
            f"foretold there, by half-width: {parts}. Beside the grid the chosen runs {reach}."
        )
    if "study" in found:
        parts = ", ".join(
            f"{one.design} {one.runs} runs of {one.shapes} shapes in {one.seconds:.0f} device-seconds "
            f"({one.beyond_steps / one.seconds:.0%} of them compiling): "
            f"{one.half:.1%}, missed by {abs(one.value - one.measured):.1%}"
            for one in found["study"].itertuples()
        )
        lines.append(
            f"- **A real run**: half-widths of the loss at ten times the compute of any of them: {parts}."
        )
    if "prior" in found:
        prior = found["prior"]
        for name in prior["off"].unique():
            of = prior[prior["off"] == name]
            bad = of[of["needed"] > 1]["factor"]
            exact = float(of[of["factor"] == 1.0]["needed"].iloc[0])
            what = "both exponents" if name == "both" else name
            tried = f"{of['factor'].min():g} to {of['factor'].max():g} times the truth"
            more = f"at {', '.join(f'{one:g}' for one in bad)} times" if len(bad) else "nowhere"
            lines.append(
                f"- **A prior with {what} off**, {tried}: a design by it costs more than the even grid "
                f"{more}; where it is right, the width takes {exact:.0%} of the grid's compute."
            )
    return "\n".join(lines) + "\n"


def designs(found: dict[str, pandas.DataFrame]):
    """Half-width of the target's log loss against compute: a panel a table of which all is told."""
    whole = [(name, of) for name, of in worlds(found["planted"]) if of["design"].nunique() == len(DESIGNS)]
    if "text" in found:
        whole += [(f"{name} study", of) for name, of in found["text"].groupby("truth", sort=False)]
    figure, panels = axes(2.9, 1, len(whole), width=3.0 * len(whole), sharey=False)
    for panel, (name, of) in zip(np.atleast_1d(panels), whole, strict=True):
        for design in DESIGNS:
            points = of[of["design"] == design].sort_values("compute")
            wide = 2.2 if design == "next" else 1.2
            marks = {"color": COLOURS[design], "lw": wide, "marker": "o", "ms": 3.5}
            panel.plot(points["compute"], 100 * points["half"], label=design, **marks)
        panel.set(xscale="log", yscale="log", title=name.removesuffix(" 0"), xlabel="part of the budget")
        panel.set_xticks([0.1, 0.25, 0.5, 1.0], ["10 %", "25 %", "50 %", "100 %"], minor=False)
        panel.set_xticks([], minor=True)
        ticks = [one for one in (0.5, 1, 2, 5, 10, 20) if _inside(one, 100 * of["half"])]
        panel.set_yticks(ticks, [f"{one:g} %" for one in ticks], minor=False)
        panel.set_yticks([], minor=True)
    first = np.atleast_1d(panels)[0]
    first.set_ylabel("half-width of the interval")
    first.legend()
    return figure


def _inside(value: float, of: pandas.Series) -> bool:
    return bool(of.min() * 0.8 <= value <= of.max() * 1.25)


def prior(found: dict[str, pandas.DataFrame]):
    """Compute for the width of an even grid, against the factor by which exponents of the prior are off."""
    table = found["prior"]
    figure, panel = axes(2.9)
    highest = 4.0
    for name, colour in zip(table["off"].unique(), (LAW, SECOND, THIRD), strict=False):
        of = table[table["off"] == name]
        label = "both exponents" if name == "both" else name
        panel.plot(of["factor"], np.minimum(of["needed"], highest), "o-", color=colour, ms=3.5, label=label)
    panel.axhline(1.0, color=INK, lw=1.0, ls="--")
    panel.set(xscale="log", yscale="log", xlabel="exponent of the prior, in those of the truth")
    panel.set_ylabel("compute for the grid's width")
    factors = sorted(set(table["factor"]))
    panel.set_xticks(factors, [f"{one:g}" for one in factors], minor=False)
    panel.set_xticks([], minor=True)
    panel.set_yticks([0.25, 0.5, 1, 2, highest], ["25 %", "50 %", "100 %", "200 %", "never"], minor=False)
    panel.set_yticks([], minor=True)
    panel.legend()
    return figure


FIGURES = {"designs": designs, "prior": prior}


def main(which: str, file: str) -> None:
    with look():
        figure = FIGURES[which](tables())
        FigureCanvasAgg(figure).print_png(file, metadata={"Software": None}, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main(*sys.argv[1:])
