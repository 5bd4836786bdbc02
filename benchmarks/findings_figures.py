"""`python -m benchmarks.findings_figures FIGURE FILE`: the figures of four pages of findings.

Each is drawn from the tables that lie beside its page in docs/findings: no store is needed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

import analysis as sl
from analysis.audits import register
from analysis.plots.style import (
    INK,
    LAW,
    MUTED,
    PAPER,
    SECOND,
    axes,
    count,
    halo,
    log_axis,
    look,
    palette,
)
from benchmarks.known_entropy import CONTEXTS, ZIPF, parts
from lab.data.synthetic import source

FINDINGS = Path(__file__).parents[1] / "docs" / "findings"
WAYS = {"adamw": ("AdamW", INK), "mup": ("AdamW, muP", SECOND), "muon": ("Muon", LAW)}
# What the best known papers found: Hoffmann and others by three approaches, Kaplan and others.
HOFFMANN, KAPLAN = (0.46, 0.50), 0.73
PUBLISHED_R_D = 15.4  # arXiv 2305.16264
TIMES = (1, 2, 4, 8, 16, 32)
LADDERS = (
    ("runs.csv", "forecast.json", "AdamW, rates by a rule"),
    ("tuned.csv", "tuned_forecast.json", "AdamW, rates tuned"),
    ("muon.csv", "muon_forecast.json", "Muon"),
)


def _ticks(axis, places: list[float], labels: list[str]) -> None:
    """These ticks and no others, on one axis of a panel."""
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FixedFormatter(labels))
    axis.set_minor_locator(NullLocator())


def _beside(panel: Axes, x: float, y: float, text: str, colour, **options) -> None:
    """A label right of a point."""
    how = {
        "color": colour,
        "xytext": (5, 0),
        "textcoords": "offset points",
        "va": "center",
        "fontsize": 9,
        **options,
    }
    halo(panel.annotate(text, (x, y), **how))


def dependence():
    """Exponents of three ways to train with their intervals, and the losses of two beside those of AdamW."""
    path = FINDINGS / "dependence" / "runs.csv"
    figure, (left, right) = axes(3.1, 1, 2, width=7.4, width_ratios=[1, 1.15])
    left.axvspan(*HOFFMANN, color=MUTED, alpha=0.22, lw=0)
    left.axvline(KAPLAN, color=MUTED, lw=1.0, ls="--")
    for place, paper in ((np.mean(HOFFMANN), "Chinchilla"), (KAPLAN, "Kaplan")):
        halo(left.text(place, len(WAYS) - 0.42, paper, ha="center", color=MUTED, fontsize=8.5))
    for row, (way, (_, colour)) in enumerate(reversed(WAYS.items())):
        for shift, names, face in ((0.11, {}, colour), (-0.11, {"params": "params_total"}, PAPER)):
            found = sl.fit(sl.read(str(path), columns=names).where(grid=way), law="chinchilla").exponents
            left.plot(found.interval, [row + shift] * 2, color=colour, lw=1.8)
            marks = {"marker": "o", "ms": 6, "mfc": face, "mec": colour, "mew": 1.5}
            left.plot(found.params_exponent, row + shift, **marks)
    left.set(ylim=(-0.55, len(WAYS) - 0.2), xlim=(0.3, 1.15))
    left.set_yticks(range(len(WAYS)), [label for label, _ in reversed(WAYS.values())])
    left.grid(axis="y", visible=False)
    left.set_title("No exponent is told apart")
    left.set_xlabel("a of optimal params ∝ FLOPs^a, 95 % intervals\n● without the input table   ○ all params")

    losses = pandas.read_csv(path).pivot_table("loss_nats", ["width", "tokens"], "grid")
    right.axhline(0, color=INK, lw=1.2)
    for way in ("mup", "muon"):
        label, colour = WAYS[way]
        change = (100 * (losses[way] / losses["adamw"] - 1)).unstack()
        marks = {"color": colour, "lw": 1.2, "marker": "o", "ms": 3.2}
        right.plot(change.columns, change.T, **marks)
        last = change.iloc[:, -1]
        _beside(
            right, change.columns[-1], last.max() if way == "mup" else last.mean(), label.split()[-1], colour
        )
    first = change.iloc[:, 0].sort_values()
    near = (first.diff() > 1).cumsum()  # widths whose points lie too close for a label each
    for _, some in first.groupby(near):
        said = ", ".join(map(str, sorted(some.index)))
        _beside(right, change.columns[0], some.mean(), f"width {said}", colour, xytext=(-5, 0), ha="right")
    _beside(right, change.columns[0], 0, WAYS["adamw"][0], INK, xytext=(-12, 7), ha="right")
    log_axis(right, "x", "tokens", (change.columns[0] / 6.5, change.columns[-1] * 2.6))
    _ticks(right.xaxis, list(change.columns), [count(round(x, -5)) for x in change.columns])
    _ticks(right.yaxis, [0, -5, -10, -15], ["0 %", "−5 %", "−10 %", "−15 %"])
    right.set(ylim=(-15.5, 2), ylabel="loss beside AdamW's")
    right.set_title("Muon's lead shrinks with tokens")
    return figure


def repeated() -> pandas.DataFrame:
    """The runs of the page on repeated tokens: `times` a text was read, `ratio` of the loss to that of fresh
    text, and `worth`: as much fresh text as gives that loss at that width, by the straight line between its
    neighbours in logarithms, in lengths of the text; NaN where no two neighbours hold the loss."""
    runs = pandas.read_csv(FINDINGS / "epochs" / "runs.csv")
    runs["params"] = runs["params_total"] - runs["params_embedding"]
    runs["times"] = runs["tokens"] / runs["unique_tokens"]
    again = []
    for _, own in runs.groupby("width"):
        fresh = own[own["grid"] == "fresh"].sort_values("tokens")
        budgets, losses = fresh["tokens"].to_numpy(float), fresh["loss_nats"].to_numpy()
        more = own[own["grid"] != "fresh"].copy()
        more["ratio"] = more["loss_nats"] / more["tokens"].map(dict(zip(budgets, losses, strict=True)))
        logs = np.interp(
            *(np.log(more["loss_nats"]), np.log(losses[::-1]), np.log(budgets[::-1])),
            left=np.nan,
            right=np.nan,
        )
        more["worth"] = np.exp(logs) / more["unique_tokens"]
        again.append(more)
    return pandas.concat(again)


def epochs():
    """What repeating the shortest text costs by width, and what repeated tokens of all three are worth."""
    runs = repeated()
    fit = sl.fit(sl.read(str(FINDINGS / "epochs" / "runs.csv")), law="data-constrained")
    figure, (left, right) = axes(3.3, 1, 2, width=7.6)
    colours = palette(runs["width"])
    texts = sorted(runs["unique_tokens"].unique())
    unique = texts[0]
    times = np.geomspace(1, TIMES[-1], 80)
    left.axhline(0, color=INK, lw=1.0)
    for width, own in runs[runs["unique_tokens"] == unique].groupby("width"):
        own, size = own.sort_values("times"), own["params"].iloc[0]
        tokens = times * unique
        said = fit.predict(size, tokens, unique_tokens=unique) / fit.predict(
            size, tokens, unique_tokens=tokens
        )
        left.plot(times, 100 * (said - 1), color=colours(width), lw=1.1, ls="--", zorder=2)
        line = {"color": colours(width), "lw": 1.6, "marker": "o", "ms": 4.5, "mec": PAPER, "mew": 0.6}
        left.plot(own["times"], 100 * (own["ratio"] - 1), **line)
        last = 100 * (own["ratio"].iloc[-1] - 1)
        _beside(left, own["times"].iloc[-1], last, f"width {width}", colours(width), color=INK)
    left.text(1.1, 37, "points: runs\ndashed: the fitted law", color=MUTED, fontsize=9)
    _ticks(left.yaxis, [0, 10, 20, 30, 40, 50], ["0 %", "+10 %", "+20 %", "+30 %", "+40 %", "+50 %"])
    left.set(ylim=(-4, 56), xlabel="times read", ylabel="loss beside that of fresh text")
    left.set_title(f"The same {count(round(unique, -4))} tokens, again")

    worth = lambda half: 1 + half * -np.expm1(-(times - 1) / half)
    low, high = fit.intervals["R_D"]
    right.plot(times, times, color=INK, lw=1.0)
    right.plot(times, worth(PUBLISHED_R_D), color=MUTED, lw=1.2, ls="--")
    right.fill_between(times, worth(low), worth(high), color=LAW, alpha=0.18, lw=0)
    right.plot(times, worth(fit.params["R_D"]), color=LAW, lw=1.8)
    for text, mark in zip(texts, "osD", strict=True):
        of = runs[(runs["unique_tokens"] == text) & (runs["times"] > 1.5)]
        face = {"mfc": "none", "mec": SECOND, "mew": 1.1, "ms": 4.5, "ls": ""}
        right.plot(of["times"], of["worth"], mark, label=f"{count(round(text, -4))} tokens", **face)
    lowest = runs.loc[runs[runs["times"] > TIMES[-1] - 1]["worth"].idxmin()]
    _beside(right, lowest["times"], lowest["worth"], f"width {lowest['width']}", SECOND)
    right.set_yscale("log", base=2)
    _ticks(right.yaxis, list(TIMES), [str(one) for one in TIMES])
    ends = (("all as new", times[-1], INK), ("published", worth(PUBLISHED_R_D)[-1], MUTED))
    for label, value, colour in (*ends, ("fitted, 95 %", worth(fit.params["R_D"])[-1], LAW)):
        _beside(right, times[-1], value, label, colour)
    right.set(xlabel="times read", ylabel="worth, in lengths of the text", ylim=(0.9, 36))
    right.legend(loc="upper left", labelcolor=SECOND, handletextpad=0.1, borderpad=0.1)
    right.set_title("What reading again is worth")
    for panel in (left, right):
        panel.set_xscale("log", base=2)
        panel.set_xlim(0.9, 110)
        _ticks(panel.xaxis, list(TIMES), [str(one) for one in TIMES])
    return figure


def text():
    """Losses foretold with their intervals beside those that came, and where the first ladder's rates lay."""
    folder = FINDINGS / "text"
    figure, (left, right) = axes(3.5, 1, 2, width=7.6, width_ratios=[1.15, 1])
    left.axvline(0, color=INK, lw=1.2)
    row, places, names = 0.0, [], []
    for (table, record, name), colour in zip(LADDERS, (MUTED, SECOND, LAW), strict=True):
        sealed = register.read_record(folder / record)
        runs = sl.read(str(folder / table))
        left.text(-22.4, row + 0.05, name, color=colour, fontsize=9, weight="bold", va="center")
        for cell in register.scored(sealed, runs).cells:
            row -= 1
            said = 100 * (np.array([cell.low, cell.predicted, cell.high]) / cell.measured - 1)
            left.plot(said[[0, 2]], [row, row], color=colour, lw=2.2)
            left.plot(said[1], row, "o", ms=6, color=colour)
            places.append(row)
            names.append(f"{count(cell.params)}, {count(cell.tokens)}")
        row -= 1.25
    _ticks(left.yaxis, places, names)
    _ticks(left.xaxis, [-20, -10, 0, 10], ["−20 %", "−10 %", "0 %", "+10 %"])
    left.set(xlim=(-23, 14), ylim=(row + 0.5, 0.6), ylabel="params, training tokens")
    left.set_xlabel("loss foretold beside the loss that came, 90 % intervals")
    left.set_title("Six forecasts, four held")
    left.grid(axis="y", visible=False)

    rates = pandas.read_csv(folder / "rates.csv")
    colours = palette(rates["width"])
    for width, own in rates.groupby("width"):
        own = own.sort_values("learning_rate")
        over = 100 * (own["loss_nats"] / own["loss_nats"].min() - 1)
        right.plot(own["learning_rate"], over, color=colours(width), lw=1.5, marker="o", ms=4)
        rule = np.abs(np.log(own["learning_rate"] / (0.02 * (16 / width) ** 0.83))).argmin()
        ring = {"ms": 10, "mfc": "none", "mec": LAW, "mew": 1.8}
        right.plot(own["learning_rate"].iloc[rule], over.iloc[rule], "o", **ring)
        _beside(right, own["learning_rate"].iloc[-1], over.iloc[-1], f"{width}", INK, xytext=(9, 0))
    right.set_xscale("log")
    right.set_xlim(2.6e-4, 0.1)
    _ticks(right.xaxis, [3e-4, 1e-3, 3e-3, 1e-2, 3e-2], [".0003", ".001", ".003", ".01", ".03"])
    _ticks(right.yaxis, [0, 5, 10, 15], ["0 %", "+5 %", "+10 %", "+15 %"])
    right.set(ylim=(-1.2, 17), xlabel="learning rate", ylabel="loss beside the lowest of its width")
    right.text(2.9e-4, 15.6, "○ rate of the first study", color=LAW, fontsize=9)
    right.set_title("Why the first missed: its rates")
    return figure


def entropy():
    """What a fit says of a truth that is known, by the largest budget it was given."""
    found = parts(FINDINGS / "entropy" / "runs.csv")
    budgets = [part.tokens for part in found]
    figure, (left, right) = axes(3.0, 1, 2, width=7.4)
    for panel, fitted, intervals in (
        (left, [part.irreducible for part in found], [part.irreducible_interval for part in found]),
        (right, [part.beta for part in found], [part.beta_interval for part in found]),
    ):
        for x, interval in zip(budgets, intervals, strict=True):
            panel.plot([x, x], interval, color=LAW, lw=2.0)
        panel.plot(budgets, fitted, "o", ms=6, color=LAW)
        log_axis(panel, "x", "tokens", (budgets[0] / 1.5, budgets[-1] * 3.2))
        _ticks(panel.xaxis, budgets, [f"{x / 1e6:.1f}M" for x in budgets])
        panel.set_xlabel("largest budget among the runs (training tokens)")
        _beside(panel, budgets[-1], fitted[-1], "fitted, 95 %", LAW)
    truth = source(CONTEXTS, ZIPF).entropy_rate
    left.axhline(truth, color=INK, lw=1.2)
    _beside(left, budgets[-1], truth, "true", INK, xytext=(5, -8))
    left.set(ylabel="irreducible loss E (nats per token)")
    left.set_title("The floor that a fit finds")
    ideal = [part.ideal for part in found]
    right.plot(budgets, ideal, color=INK, lw=1.2, marker="s", ms=4)
    _beside(right, budgets[-1], ideal[-1], "ideal learner", INK)
    right.set(ylabel="exponent of tokens", ylim=(0, 1.6))
    right.set_title("The exponent that a fit finds")
    return figure


FIGURES = {"dependence": dependence, "epochs": epochs, "text": text, "entropy": entropy}


def main(which: str, file: str) -> None:
    with look():
        figure = FIGURES[which]()
        figure.dpi = 200
        FigureCanvasAgg(figure).print_png(file, metadata={"Software": None}, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main(*sys.argv[1:])
