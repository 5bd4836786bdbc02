"""Compute-optimal params and tokens against compute, by each approach."""

from __future__ import annotations

import numpy as np

from analysis.fits.results import Fit
from analysis.isoflops.results import Envelope, IsoFlop
from analysis.plots.frontier_band import frontier_band
from analysis.plots.plot import Plot, settle
from analysis.plots.style import LAW, MUTED, PAPER, SECOND, THIRD, axes, halo, log_axis, look, spread

_BEYOND = 10.0


def frontier(fit: Fit | None = None, iso: IsoFlop | None = None, envelope: Envelope | None = None) -> Plot:
    """Best params and tokens for each budget: the law, the IsoFLOP minima and the envelope of the runs.

    (Approaches 3, 2 and 1 of arXiv 2203.15556.) Lines go on to ten times the data's compute. Raises
    ValueError when none of the three is given.
    """
    import pandas

    reach = [
        np.asarray(values, float)
        for values in (
            fit.data["flops"] if fit is not None else [],
            [curve.flops for curve in iso.curves] if iso is not None else [],
            envelope.flops if envelope is not None else [],
        )
    ]
    measured = np.concatenate(reach)
    if not len(measured):
        raise ValueError("the frontier needs a law, IsoFLOP curves or an envelope")
    low, high = float(measured.min()), float(measured.max())
    flops = np.geomspace(low, high * _BEYOND, 60)
    rows, shown, texts = [], {"params": [], "tokens": []}, []
    with look():
        figure, panels = axes(4.7, 2, 1, sharex=True)
        both = dict(zip(("params", "tokens"), panels, strict=True))
        for axis in panels:
            axis.axvspan(high, high * _BEYOND * 3, color="#f3f4f7", lw=0, zorder=0)
        if fit is not None:
            _law(both, fit, flops, rows, shown, texts)
        if iso is not None:
            _isoflop(both, iso, flops, rows, shown, texts)
        if envelope is not None:
            _envelope(both, envelope, flops, rows, shown, texts)
        for kind, axis in both.items():
            log_axis(
                axis, "y", kind, spread(np.concatenate(shown[kind]) if shown[kind] else [1.0], 0.08, 2), 5
            )
            axis.set_ylabel("best " + ("parameters" if kind == "params" else "tokens"))
            log_axis(axis, "x", "flops", (low / 1.3, high * _BEYOND))
        panels[0].set_xlabel("")
        said = panels[1].annotate(
            "beyond the runs",
            (1, 0),
            xycoords="axes fraction",
            xytext=(-4, 6),
            textcoords="offset points",
            ha="right",
            color=MUTED,
            fontsize=8.5,
        )
        halo(said)
        panels[0].legend(
            loc="lower left", bbox_to_anchor=(-0.01, 1.0), fontsize=9, handlelength=1.6, borderpad=0
        )
        settle(figure)
    caption = "How the best size and number of tokens grow with compute. Exponents are those of the size: "
    caption += (
        "; ".join(texts) + ". Where the approaches disagree by more than the band, the split is not settled."
    )
    alt = "Two stacked log-log charts of compute-optimal parameters and tokens against compute: " + "; ".join(
        texts
    )
    data = pandas.concat(rows, ignore_index=True)
    return Plot("frontier", "Compute-optimal size and tokens", caption, alt + ".", figure, data)


def _exponent(value: float, interval) -> str:
    if interval is None:
        return f"{value:.2f}"
    if interval[0] == interval[1]:  # a law of one exponent: no run could say otherwise
        return f"{value:.2f} by assumption"
    return f"{value:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"


def _law(both, fit: Fit, flops, rows, shown, texts) -> None:
    import pandas

    best = frontier_band(fit, flops)
    if best is None:
        return
    name = "fitted law"
    if fit.exponents is not None:
        text = _exponent(fit.exponents.params_exponent, fit.exponents.interval)
        name = f"fitted law, exponent {text}"
    texts.append(name)
    for kind, line, band in (
        ("params", best.params, best.params_band),
        ("tokens", best.tokens, best.tokens_band),
    ):
        if band is not None:
            both[kind].fill_between(flops, *band, color=LAW, alpha=0.13, lw=0, zorder=1)
        both[kind].plot(flops, line, color=LAW, lw=1.9, zorder=4, label=name if kind == "params" else None)
        shown[kind].append(line)
    part = {"approach": "law", "flops": flops, "params": best.params, "tokens": best.tokens}
    if best.params_band is not None:
        part |= {"params_low": best.params_band[0], "params_high": best.params_band[1]}
        part |= {"tokens_low": best.tokens_band[0], "tokens_high": best.tokens_band[1]}
    rows.append(pandas.DataFrame(part))


def _isoflop(both, iso: IsoFlop, flops, rows, shown, texts) -> None:
    import pandas

    found = [curve for curve in iso.curves if curve.minimum is not None]
    name = f"IsoFLOP minima ({len(found)})"
    if iso.params_law is not None:
        name += f", exponent {_exponent(iso.params_law.exponent, iso.params_law.interval)}"
    if not found:
        return
    texts.append(name)
    for kind, law in (("params", iso.params_law), ("tokens", iso.tokens_law)):
        x = [curve.flops for curve in found]
        y = [getattr(curve.minimum, kind) for curve in found]
        if law is not None:
            both[kind].plot(flops, law(flops), color=SECOND, lw=1.3, ls=(0, (4, 2)), zorder=3)
        label = name if kind == "params" else None
        both[kind].plot(x, y, "D", ms=6, color=SECOND, mec=PAPER, mew=0.8, zorder=5, label=label)
        shown[kind].append(np.asarray(y, float))
    for curve in found:
        if curve.minimum.params_interval is not None:
            both["params"].plot(
                [curve.flops] * 2, curve.minimum.params_interval, color=SECOND, lw=1.6, alpha=0.6
            )
    part = [("IsoFLOP minimum", c.flops, c.minimum.params, c.minimum.tokens) for c in found]
    rows.append(pandas.DataFrame(part, columns=["approach", "flops", "params", "tokens"]))


def _envelope(both, envelope: Envelope, flops, rows, shown, texts) -> None:
    import pandas

    if len(envelope.flops) < 2:
        return
    name = f"envelope of the runs ({len(envelope.flops)})"
    if envelope.params_law is not None:
        name += f", exponent {_exponent(envelope.params_law.exponent, envelope.params_law.interval)}"
    texts.append(name)
    for kind, law in (("params", envelope.params_law), ("tokens", envelope.tokens_law)):
        if law is not None:
            both[kind].plot(flops, law(flops), color=THIRD, lw=1.1, ls=(0, (1, 1.6)), zorder=2)
        values = np.asarray(getattr(envelope, kind), float)
        label = name if kind == "params" else None
        both[kind].plot(
            envelope.flops, values, "o", ms=4, mfc=PAPER, mec=THIRD, mew=1.1, zorder=3, label=label
        )
        shown[kind].append(values)
    part = {
        "approach": "envelope",
        "flops": envelope.flops,
        "params": envelope.params,
        "tokens": envelope.tokens,
    }
    rows.append(pandas.DataFrame(part))
