"""A planted association by size: what models say of the group that leads."""

from __future__ import annotations

import numpy as np

from analysis.bias.planted import Association
from analysis.plots.plot import Plot, settle
from analysis.plots.style import LAW, MUTED, SECOND, axes, log_axis, look, spread


def association(found: Association) -> Plot:
    """Points are seeds, bars intervals over them; the dashed line is what was planted."""
    import pandas

    rows = []
    for size in found.sizes:
        for name in ("probability", "likeliest"):
            rate = getattr(size, name)
            about = {"params": size.params, "tokens": found.tokens, "what": name, "planted": found.share}
            about |= {"mean": rate.mean, "low": rate.low, "high": rate.high, "verdict": rate.verdict}
            rows += [{**about, "seed_value": value} for value in rate.seeds]
    data = pandas.DataFrame(rows)
    with look():
        figure, panel = axes(3.1)
        panel.axhline(found.share, color=MUTED, lw=1, ls=(0, (3, 2)), zorder=2)
        panel.axhline(0.5, color=MUTED, lw=0.8, ls=(0, (1, 2)), zorder=2)
        for name, colour, marker, label in (
            ("probability", SECOND, "o", "probability of the leading group"),
            ("likeliest", LAW, "s", "leading group is the likeliest answer"),
        ):
            own = data[data["what"] == name]
            panel.plot(
                own["params"], own["seed_value"], ls="", marker=marker, ms=3, mew=0, color=colour, alpha=0.5
            )
            means = own.drop_duplicates(["params", "tokens"])
            below, above = means["mean"] - means["low"], means["high"] - means["mean"]
            how = {
                "color": colour,
                "marker": marker,
                "ms": 5,
                "mew": 0,
                "lw": 1.2,
                "elinewidth": 1,
                "capsize": 2,
            }
            panel.errorbar(means["params"], means["mean"], np.array([below, above]), label=label, **how)
        log_axis(panel, "x", "params", spread(data["params"]), 6)
        panel.set_ylim(0.3, 1.02)
        panel.annotate(
            f"planted: {found.share:.0%}",
            (0.99, found.share),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=8.5,
            color=MUTED,
        )
        panel.set_title("share of the leading group", fontsize=9.5)
        panel.legend(fontsize=8.5, loc="lower right")
        settle(figure)
    caption = f"{found}. Points are seeds, bars their {found.level:.0%} intervals."
    alt = f"Share of the leading group by params, {len(found.sizes)} sizes; planted is {found.share:.0%}."
    return Plot("association", f"A planted association: {found.task}", caption, alt, figure, data)
