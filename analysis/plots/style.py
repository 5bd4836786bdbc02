"""One look for all figures: sizes, colours, ticks that people read.

Colours: one sequential map, keyed by log params and the same in every figure; vermilion for what a law says.
Both hold for the common colour deficiencies (the map is viridis without its pale end, the accent is from
Okabe and Ito's set), and no meaning hangs on colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

INK, MUTED, RULE, PAPER = "#1d2433", "#667085", "#e7e9ee", "#ffffff"
LAW, SECOND, THIRD = "#c8401f", "#0a6fb0", "#7a5195"
# Narrow, so that 9 pt type stays legible when a phone shows the figure 310 px wide.
WIDTH = 4.6

RC = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.edgecolor": "#c3c8d2",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": "#c3c8d2",
    "ytick.color": "#c3c8d2",
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "text.color": INK,
    "lines.solid_capstyle": "round",
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "scaling-law-lab",
    "pdf.fonttype": 42,
    "path.simplify": True,
    # Names come from tables: a task called `e $\frac{$` is that text.
    "text.parse_math": False,
    "text.usetex": False,
}

_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


@contextmanager
def look():
    """Matplotlib's settings of this module, for the time of the block.

    They stand on its own defaults: a `matplotlibrc` in the working folder may be anybody's, and says nothing.
    """
    kept = ("backend", "backend_fallback", "interactive", "toolbar", "timezone", "webagg")
    default = {name: value for name, value in rcParamsDefault.items() if not name.startswith(kept)}
    with rc_context({**default, **RC}):
        yield


@dataclass(frozen=True)
class Style:
    """For what a figure is drawn. Sizes in inches as it will lie there, `least` in points there.

    scale: the drawing is laid out as for the page of a report and then made larger or smaller as a whole, so
    that lines, marks and texts keep their proportions. wide: the width of figures of many panels. height:
    that of every figure. dpi: of a PNG.
    """

    name: str
    width: float = WIDTH
    wide: float | None = None
    scale: float = 1.0
    least: float = 0.0
    height: float | None = None
    dpi: int = 200

    def size(self, width: float, height: float, columns: int) -> tuple[float, float, float]:
        """(width, height, scale) to lay out one of `columns` panels side by side that wants the first two."""
        scale = self.scale
        if self.height is not None:
            scale = min(scale, self.height / (0.9 * height))
            return self.width / scale, self.height / scale, scale
        if self.wide is None:
            return width, height, scale
        many = columns > 2 or width > 1.2 * WIDTH
        return (self.wide if many else self.width) / scale, height, scale


# One column of a paper is 3.25 to 3.5 inches in most templates, a page of two 6.75 to 7; seven points is the
# least that journals print. Slides are 16:9, and are read from the last row.
STYLES = {
    style.name: style
    for style in (
        Style("page"),
        Style("paper", 3.35, 6.9, 0.74, 7.0, dpi=300),
        Style("slides", 10.0, None, 1.7, 12.0, 5.625, dpi=150),
        Style("notebook", 6.4, 9.6, 1.25, 9.0, dpi=110),
    )
}
_CHOSEN: ContextVar[Style] = ContextVar("style", default=STYLES["page"])


@contextmanager
def styled(name: str):
    """Figures that are made in the block are made for `name`, one of STYLES."""
    before = _CHOSEN.set(STYLES[name])
    try:
        yield
    finally:
        _CHOSEN.reset(before)


class Sheet(Figure):
    """A figure laid out for a style: as files it is `scale` times as large as it is laid out."""

    style: Style = STYLES["page"]
    scale: float = 1.0


def axes(
    height: float = 3.5,
    rows: int = 1,
    columns: int = 1,
    width: float = WIDTH,
    ax: Axes | None = None,
    **options: Any,
) -> tuple[Figure, Any]:
    """A Figure with its Axes (one, or an array), laid out when drawn. Sizes in inches, of the style `page`.

    ax: draw there instead, in a figure whose layout is somebody else's.
    """
    if ax is not None:
        return ax.get_figure(root=True), ax
    style = _CHOSEN.get()
    width, height, scale = style.size(width, height, columns)
    figure = Sheet(figsize=(width, height), layout="constrained")
    figure.style, figure.scale = style, scale
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06, wspace=0.06, hspace=0.06)
    return figure, figure.subplots(rows, columns, **options)


def readable(figure: Figure) -> None:
    """No text of the figure smaller than its style allows."""
    least = figure.style.least / figure.scale if isinstance(figure, Sheet) else 0.0
    for text in figure.findobj(Text):
        if text.get_text() and text.get_fontsize() < least:
            text.set_fontsize(least)
    for panel in figure.axes if least else ():
        for axis in (panel.xaxis, panel.yaxis):
            size = max([least, *(label.get_fontsize() for label in axis.get_ticklabels())])
            axis.set_tick_params(labelsize=size)


def count(value: float) -> str:
    """950, 12k, 3.4M, 1.2B: params and tokens as people say them."""
    if not np.isfinite(value):
        return "–"
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def power(value: float) -> str:
    """10¹², or 3×10¹²."""
    if not np.isfinite(value) or value <= 0:
        return "–"
    exponent = int(np.floor(np.log10(value) + 1e-9))
    digits = f"{value / 10**exponent:.2g}"
    if float(digits) == 10:
        digits, exponent = "1", exponent + 1
    ten = "10" + str(exponent).translate(_SUPERSCRIPT)
    return ten if digits == "1" else f"{digits}×{ten}"


def plain(value: float) -> str:
    """1.234, and 3×10⁻⁶ where few people would read 3e-06."""
    return power(value) if 0 < value < 1e-4 else f"{value:.4g}"


FORMATS = {"params": count, "tokens": count, "flops": power, "loss_nats": plain, "loss": plain}
LABELS = {
    "params": "parameters",
    "tokens": "training tokens",
    "flops": "training compute (FLOPs)",
    "loss_nats": "loss (nats per token)",
    "loss": "loss",
}


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round places between low and high (both positive): powers of ten, or finer within few decades."""
    if not (0 < low < high < np.inf):
        return [low]
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    sets = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(np.arange(10, 100) / 10))
    best: list[float] = []
    for mantissas in sets:
        ticks = [float(f"{m}e{e}") for e in range(first, last + 1) for m in mantissas]
        ticks = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(ticks) > most:
            if len(best) >= 2 or mantissas == (1,):
                step = -(-len(ticks) // most)
                return best if len(best) >= 3 else ticks[::step]
            step = -(-len(ticks) // most)
            return ticks[::step]
        if len(ticks) > len(best):
            best = ticks
        if len(best) >= max(3, most - 1):
            break
    return best


def log_axis(axis: Axes, which: str, kind: str, limits: tuple[float, float], most: int = 6) -> None:
    """Make x or y logarithmic from limits[0] to limits[1], with ticks and label of `kind`."""
    one = getattr(axis, f"{which}axis")
    getattr(axis, f"set_{which}scale")("log")
    getattr(axis, f"set_{which}lim")(*limits)
    ticks = log_ticks(min(limits), max(limits), most)
    one.set_major_locator(FixedLocator(ticks))
    one.set_minor_locator(NullLocator())
    one.set_major_formatter(FixedFormatter([FORMATS[kind](tick) for tick in ticks]))
    getattr(axis, f"set_{which}label")(LABELS.get(kind, kind))


def spread(values: Iterable[float], margin: float = 0.06, least: float = 1.15) -> tuple[float, float]:
    """Limits of a log axis round the positive finite values: margin as a share of the log range."""
    found = np.asarray([v for v in values if np.isfinite(v) and v > 0], float)
    if not len(found):
        return 1.0, 10.0
    low, high = np.log(found.min()), np.log(found.max())
    room = max(margin * (high - low), 0.5 * np.log(least))
    return float(np.exp(low - room)), float(np.exp(high + room))


def few(rows: int, most: int = 600) -> np.ndarray:
    """Indices of at most `most` rows, evenly through the order: more points would be a blot and megabytes."""
    return np.arange(rows) if rows <= most else np.unique(np.linspace(0, rows - 1, most).astype(int))


def named(rows: Mapping[str, Sequence], ids: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """gid -> the rows of its marks, as the ids of their runs; none where the runs have no ids."""
    if not len(ids):
        return {}
    known = lambda row: "" if row is None or row != row else str(ids[int(row)])
    return {gid: [known(row) for row in some] for gid, some in rows.items()}


def hinted(hints: Mapping[str, Sequence[str]], most: int = 900) -> Mapping[str, Sequence[str]]:
    """The hints, or none where they are so many that all would load them and nobody would read them."""
    return hints if sum(len(lines) for lines in hints.values()) <= most else {}


@dataclass(frozen=True)
class Palette:
    """Colours by params; the same for all figures that are made with one palette."""

    low: float
    high: float

    def __call__(self, params: float):
        if not (np.isfinite(params) and params > 0) or self.high <= self.low:
            place = 0.5
        else:
            place = np.log(params / self.low) / np.log(self.high / self.low)
        return colormaps["viridis"](0.04 + 0.78 * float(np.clip(place, 0.0, 1.0)))


def palette(params: Iterable[float]) -> Palette:
    found = [float(v) for v in params if np.isfinite(v) and v > 0]
    return Palette(min(found, default=1.0), max(found, default=1.0))


def size_key(figure: Figure, sizes: Iterable[float], colours: Palette, title: str = "params") -> None:
    """A row of dots above the axes that names the sizes; of many sizes, a few."""
    sizes = sorted({float(f"{size:.3g}") for size in sizes})
    if len(sizes) > 7:
        sizes = [sizes[i] for i in np.unique(np.linspace(0, len(sizes) - 1, 6).round().astype(int))]
    handles = [Line2D([], [], ls="", label=title)]
    for size in sizes:
        handles.append(
            Line2D([], [], ls="", marker="o", ms=5.5, mew=0, color=colours(size), label=count(size))
        )
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=len(handles),
        handlelength=0.7,
        handletextpad=0.3,
        columnspacing=0.8,
        borderpad=0,
        borderaxespad=0.2,
        fontsize=9,
        labelcolor=MUTED,
    )


def draw_runs(axis, x, y, params, colours: Palette, held: bool, size: float, rim: float, gid: str) -> None:
    """Runs as points, those that were held out hollow."""
    colour = [colours(value) for value in params]
    axis.scatter(
        x,
        y,
        s=size,
        facecolors=PAPER if held else colour,
        edgecolors=colour if held else PAPER,
        linewidths=1.4 if held else rim,
        zorder=5,
        gid=gid,
    )


def halo(text) -> None:
    """A rim of paper round a label that lies on lines."""
    from matplotlib.patheffects import withStroke

    text.set_path_effects([withStroke(linewidth=2.6, foreground=PAPER)])
