"""Published figures drawn again, from the tables that are in the user's folder; each says what it lacks.

Where the points of a figure were never published, a table with them can be put into the folder: read off the
figure, or asked of its authors. What is drawn from anything else says so in its caption.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analysis import files, plots
from analysis.errors import InputError
from analysis.fits.fitting import fit
from analysis.isoflops.minima import envelope, isoflop
from analysis.laws.named import LAWS
from analysis.plots import Plot
from analysis.plots.plot import settle
from analysis.plots.style import (
    INK,
    LAW,
    MUTED,
    SECOND,
    STYLES,
    THIRD,
    axes,
    count,
    log_axis,
    look,
    palette,
    spread,
    styled,
)
from analysis.replicate.data import Folder, MissingError
from analysis.replicate.figures import figure as agreement
from analysis.replicate.muennighoff import PUBLISHED
from analysis.replicate.sources import CHINCHILLA, MUENNIGHOFF, PORIAN, STUDIES, computed
from analysis.tables.columns import nearest
from analysis.tables.table import as_runs, read

# Kaplan et al., arXiv 2001.08361, figure 1 and equations 1.1 to 1.3: loss = (scale / x)^exponent.
KAPLAN = {
    "compute (PF-days, optimal)": (2.3e8, 0.050),
    "tokens": (5.4e13, 0.095),
    "params without embedding": (8.8e13, 0.076),
}
KAPLAN_RANGE = ((1e-8, 1e1), (2e7, 2.2e10), (1e3, 1e9))
KAPLAN_FILE = "kaplan2020_figure1.csv"
_MOST = 1 << 26
CELLS, SCALES = "pythia_term_frequency_cells.csv", "wei2022_table1_emergence_scales.csv"
WEI_FILE = "wei2022_figure2.csv"
# Muennighoff et al., figure 5, left: params and tokens of its three budgets.
BUDGETS = ((2.81e9, 55e9), (4.2465e9, 84e9), (8.67e9, 178e9))
# Porian et al., figure 1: what changes from panel to panel. (title, hparams, warmup, decay, what N counts)
STEPS = (
    ("as Kaplan et al.", "base", "long", "kaplan", "kaplan"),
    ("head counted", "base", "long", "kaplan", "standard"),
    ("shorter warmup", "base", "short", "kaplan", "standard"),
    ("cosine decay", "base", "short", "chinchilla", "standard"),
    ("tuned, no decay", "tuned", "short", "const", "standard"),
)


@dataclass(frozen=True)
class Published:
    """A figure of a publication: where it stands there, and the function that draws it from a folder."""

    title: str
    source: str
    draw: Callable[[Folder], Plot]


def draw(name: str, data: str | Path | Folder | None, style: str = "page") -> Plot:
    """The figure `name`, one of FIGURES, from the tables in the folder `data`; or `replicate-NAME`,
    one of STUDIES, published numbers beside those obtained, as `lab replicate NAME --out` draws them.

    Raises MissingError where these lack, naming the file; InputError for unknown names and styles.
    """
    study = name.removeprefix("replicate-")
    if name not in FIGURES and (study == name or study not in STUDIES):
        raise InputError(f"no figure {name!r}{nearest(name, FIGURES)}; there are {', '.join(FIGURES)}")
    if style not in STYLES:
        raise InputError(f"style: no {style!r}{nearest(style, STYLES)}; there are {', '.join(STYLES)}")
    folder = data if isinstance(data, Folder) else Folder(None if data is None else Path(data))
    if name not in FIGURES:
        with styled(style):
            return agreement(computed(study, folder))
    one = FIGURES[name]
    with styled(style):
        drawn = one.draw(folder)
    caption = f"{one.source}, drawn again. {drawn.caption}"
    return replace(drawn, name=name, title=one.title, caption=caption)


def _points(folder: Folder):
    """The 240 points of Hoffmann's figure 4 that the refits keep, as Runs."""
    everything = read(next(iter(folder.find(CHINCHILLA)[1].values())))
    loss = everything.columns["loss"]
    kept = loss < np.sort(loss)[-5]
    return as_runs({name: everything.columns[name][kept] for name in ("params", "tokens", "flops", "loss")})


def _hoffmann_2(folder: Folder) -> Plot:
    runs = _points(folder)
    drawn = plots.loss_compute(runs, None, (), envelope(runs))
    said = (
        "The curves on the way are not public: the ends of the runs, read off figure 4, and their envelope."
    )
    return replace(drawn, caption=said)


def _hoffmann_3(folder: Folder) -> Plot:
    runs = _points(folder)
    found = isoflop(runs, method="parabola", bootstrap=0)
    drawn = plots.isoflop_curves(found, palette(runs.columns["params"]))
    line = found.params_law
    said = "" if line is None else f" Their minima grow as compute to the power {line.exponent:.3f}."
    return replace(drawn, caption=f"Loss at equal compute, with a parabola through each budget.{said}")


def _hoffmann_4(folder: Folder) -> Plot:
    law = fit(_points(folder), bootstrap=0)
    drawn = plots.law_contour(law)
    power = law.exponents.params_exponent
    said = f"Contours of the law refitted to these points; the best size grows as compute to the {power:.3f}."
    return replace(drawn, caption=said)


def _kaplan_1(folder: Folder) -> Plot:
    import pandas

    given = _named(folder, KAPLAN_FILE)
    points = None if given is None else _table(given, ("axis", "x", "loss"))
    with look():
        figure, panels = axes(2.6, 1, 3, width=8.4, sharey=True)
        rows = []
        for panel, (label, (scale, power)), (low, high) in zip(
            panels, KAPLAN.items(), KAPLAN_RANGE, strict=True
        ):
            x = np.geomspace(low, high, 60)
            loss = (scale / x) ** power
            panel.plot(x, loss, color=LAW, lw=1.5, ls=(0, (4, 2)))
            if points is not None:
                some = points[points["axis"] == label.split()[0]]
                panel.scatter(some["x"], some["loss"], s=10, color=SECOND, lw=0)
            log_axis(panel, "x", "flops", (low, high), 4)
            panel.set_yscale("log")
            panel.set_ylim(2.2, 7.5)
            panel.set_yticks([2.5, 3, 4, 5, 6, 7], ["2.5", "3", "4", "5", "6", "7"])
            panel.minorticks_off()
            panel.set_xlabel(label)
            panel.set_title(f"exponent {power:.3f}", fontsize=9.5)
            rows.append(pandas.DataFrame({"axis": label, "x": x, "loss": loss, "kind": "published law"}))
        panels[0].set_ylabel("test loss (nats)")
        settle(figure)
    lacks = f"The published laws alone; the points are not public: put {KAPLAN_FILE} (columns axis, x, loss; "
    lacks += "axis is compute, tokens or params) into --data to have them drawn."
    said = lacks if points is None else f"The published laws, and the points of {KAPLAN_FILE}."
    alt = "Three panels, loss against compute, tokens and params, each a falling line on logarithmic axes."
    return Plot("kaplan-1", "", said, alt, figure, pandas.concat(rows, ignore_index=True))


def _porian_1(folder: Folder) -> Plot:
    import pandas

    paths = folder.find(PORIAN)[1]
    optima, fits = (_table(paths[f"{one}.csv"], ()) for one in ("isoflop_optima", "published_fits"))
    with look():
        figure, grid = axes(4.6, 2, 3, width=8.4, sharex=True, sharey=True)
        rows = []
        for panel, (title, *key) in zip(grid.flat, STEPS, strict=False):
            some, law = (_step(table, key) for table in (optima, fits))
            some = some[np.isfinite(some["n"])]
            power, coefficient = (
                float(law[f"bs_median_weighted.n_{what}"].iloc[0]) for what in ("exponent", "coef")
            )
            flops = np.geomspace(some["flops"].min(), some["flops"].max(), 40)
            middle = np.sqrt(flops[0] * flops[-1])
            for other, ls, colour in ((0.88, ":", MUTED), (0.50, "--", SECOND)):
                line = coefficient * middle**power * (flops / middle) ** other
                panel.plot(flops, line, color=colour, ls=ls, lw=1.2)
            panel.plot(flops, coefficient * flops**power, color=LAW, lw=1.5)
            panel.plot(some["flops"], some["n"], "o", ms=4, color=INK, mew=0)
            panel.set_title(f"{title}: {power:.3f}", fontsize=9.5)
            rows.append(some[["flops", "n"]].assign(step=title, exponent=power))
        every = pandas.concat(rows, ignore_index=True)
        for panel in grid[1]:
            log_axis(panel, "x", "flops", spread(every["flops"], 0.05), 4)
        for panel in grid[:, 0]:
            log_axis(panel, "y", "params", spread(every["n"], 0.08), 5)
        grid[0][2].tick_params(labelbottom=True)  # nothing stands below it
        last = grid.flat[-1]
        last.axis("off")
        for colour, ls, label in (
            (LAW, "-", "line through the minima"),
            (MUTED, ":", "Kaplan's slope, 0.88"),
            (SECOND, "--", "Hoffmann's slope, 0.50"),
        ):
            last.plot([], [], color=colour, ls=ls, lw=1.5, label=label)
        last.legend(loc="center", fontsize=9)
        settle(figure)
    said = "The best size against compute on RefinedWeb: what is changed from panel to panel takes the "
    said += "exponent from Kaplan's to Hoffmann's."
    alt = "Five panels of the best size against compute; the slope falls from 0.84 to 0.50."
    return Plot("porian-1", "", said, alt, figure, every)


def _step(table, key):
    hparams, warmup, decay, counted = key
    same = (table["dataset"] == "rw") & (table["hparams"] == hparams) & (table["warmup"] == warmup)
    return table[same & (table["decay"] == decay) & (table["param_count"] == counted)]


def _wei_2(folder: Folder) -> Plot:
    """Their points if there are any, else the same picture of open models."""

    given, cells = _named(folder, WEI_FILE), _named(folder, CELLS)
    if given is None and cells is None:
        raise MissingError(
            f"{'no --data folder' if folder.path is None else folder.path}: wei-2 needs {WEI_FILE} (columns "
            f"task, flops, score: its points are not public) or {CELLS} (Pythia's additions)"
        )
    if given is not None:
        table = _table(given, ("task", "flops", "score"))
        said = f"Scores of few-shot tasks against training compute, from {WEI_FILE}."
    else:
        table = _table(cells, ("op", "step", "shots", "acc", "flops_6ND_nonemb"))
        table = table[(table["op"] == "addition") & (table["step"] == table["step"].max())]
        table = table.assign(
            task=table["shots"].map(lambda n: f"{n} shots"),
            flops=table["flops_6ND_nonemb"],
            score=table["acc"],
        )
        said = "Its points are not public: the same picture of open models, additions of two numbers by the "
        said += f"seven sizes of Pythia. Put {WEI_FILE} (columns task, flops, score) into --data for theirs."
    scales = _named(folder, SCALES)
    with look():
        figure, panel = axes(3.4)
        names = list(dict.fromkeys(table["task"]))
        colours = palette([2.0**i for i in range(len(names))])
        for index, name in enumerate(names):
            some = table[table["task"] == name].sort_values("flops")
            colour = colours(2.0**index)
            panel.plot(some["flops"], some["score"], "o-", ms=4.5, lw=1.2, color=colour, mew=0, label=name)
        ends = list(table["flops"])
        if given is None and scales is not None:
            at = _table(scales, ("ability", "train_flops"))
            at = at[at["ability"].str.startswith("Addition/subtraction (3")]["train_flops"]
            for value in at:
                panel.axvline(value, color=MUTED, ls=":", lw=1.2, label="3 digits, GPT-3 (their table 1)")
            ends += list(at)
        log_axis(panel, "x", "flops", spread(ends, 0.06))
        panel.set_ylabel("accuracy")
        panel.set_ylim(-0.03, 1.0)
        panel.legend(loc="upper left", fontsize=9)
        settle(figure)
    alt = "Accuracy against training compute: near zero, then a jump within one size."
    return Plot("wei-2", "", said, alt, figure, table[["task", "flops", "score"]].reset_index(drop=True))


def _muennighoff_5(folder: Folder) -> Plot:
    import pandas

    paths = folder.find(MUENNIGHOFF)[1]
    whole = _named(folder, "data_constrained_runs.csv")
    path = whole or paths.get("fit_subset_182.csv")
    if path is None:
        raise MissingError(
            f"{folder.path}: muennighoff-5 needs data_constrained_runs.csv or fit_subset_182.csv"
        )
    runs, law = _table(path, ("params", "tokens", "unique_tokens", "val_loss")), LAWS["data-constrained-c4"]
    runs = runs.assign(epochs=runs["tokens"] / runs["unique_tokens"])
    with look():
        figure, panel = axes(3.5)
        rows = []
        for (params, tokens), colour, mark in zip(BUDGETS, (LAW, SECOND, THIRD), "osD", strict=True):
            near = np.isclose(runs["params"], params, rtol=0.01) & np.isclose(
                runs["tokens"], tokens, rtol=0.01
            )
            some = runs[near].groupby("epochs", as_index=False)["val_loss"].mean()
            epochs = np.geomspace(1, some["epochs"].max(), 60)

            def expected(times, params=params, tokens=tokens):
                times = np.asarray(times, float)
                at = {"params": np.full(times.shape, params), "tokens": np.full(times.shape, tokens)}
                return law.loss(PUBLISHED, {**at, "unique_tokens": tokens / times})

            shift = float(some["val_loss"].iloc[0] - expected([some["epochs"].iloc[0]])[0])
            panel.plot(epochs, expected(epochs) + shift, color=colour, lw=1.3, ls=(0, (4, 2)))
            label = f"{count(params)} params, {count(tokens)} tokens"
            panel.plot(some["epochs"], some["val_loss"], mark, ms=5, mew=0, color=colour, label=label)
            rows.append(some.assign(params=params, tokens=tokens, law=expected(some["epochs"]) + shift))
        panel.set_xscale("log")
        ticks = [1, 2, 4, 7, 14, 44]
        panel.set_xticks(ticks, [f"{tick}" for tick in ticks])
        panel.minorticks_off()
        panel.set_xlabel("epochs (tokens / unique tokens)")
        panel.set_ylabel("validation loss (nats per token)")
        panel.legend(loc="upper left", fontsize=9)
        settle(figure)
    said = (
        "Three budgets, their tokens repeated more and more; dashed what the published law expects, shifted "
    )
    said += "to the loss of unique tokens; means over seeds."
    said += (
        "" if whole else " Of the runs kept in the published fit; data_constrained_runs.csv has more epochs."
    )
    alt = "Loss against epochs for three budgets: level to about four epochs, then rising."
    return Plot("muennighoff-5", "", said, alt, figure, pandas.concat(rows, ignore_index=True))


def _named(folder: Folder, name: str) -> Path | None:
    return next(iter(folder.named.get(name, ())), None)


def _table(path: Path, needed: tuple[str, ...]):
    """A CSV of the folder as a DataFrame. Raises InputError where it lacks a column, or is none."""
    import pandas

    try:
        table = pandas.read_csv(io.BytesIO(files.read_bytes(path, limit=_MOST)))
    except (files.Refused, ValueError) as error:
        raise InputError(f"{path}: not a CSV table: {str(error).splitlines()[0]}") from None
    if lacking := [name for name in needed if name not in table]:
        raise InputError(f"{path}: no column {', '.join(lacking)}; it has {', '.join(map(str, table))}")
    return table


FIGURES = {
    "hoffmann-2": Published(
        "Loss against compute, and the envelope", "Hoffmann et al., arXiv 2203.15556, figure 2", _hoffmann_2
    ),
    "hoffmann-3": Published("IsoFLOP curves", "Hoffmann et al., arXiv 2203.15556, figure 3", _hoffmann_3),
    "hoffmann-4": Published(
        "Contours of the parametric law", "Hoffmann et al., arXiv 2203.15556, figure 4", _hoffmann_4
    ),
    "kaplan-1": Published(
        "Power laws of compute, tokens and params", "Kaplan et al., arXiv 2001.08361, figure 1", _kaplan_1
    ),
    "porian-1": Published(
        "From Kaplan's exponent to Hoffmann's", "Porian et al., arXiv 2406.19146, figure 1", _porian_1
    ),
    "wei-2": Published("Abilities of few-shot prompts", "Wei et al., arXiv 2206.07682, figure 2", _wei_2),
    "muennighoff-5": Published(
        "Loss of repeated tokens", "Muennighoff et al., arXiv 2305.16264, figure 5", _muennighoff_5
    ),
}
