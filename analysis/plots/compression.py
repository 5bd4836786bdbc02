"""What compression costs: the penalty of rounding against tokens per param, all methods against their bytes,
and what is left of abilities against the rise of the loss."""

from __future__ import annotations

import numpy as np

from analysis.plots.plot import Plot, settle
from analysis.plots.style import INK, LAW, MUTED, SECOND, THIRD, axes, log_axis, look, palette, spread
from analysis.resources.compressed import Compressed

_FAMILIES = (  # label, kinds, colour, marker
    ("weights rounded", ("weights",), SECOND, "o"),
    ("activations rounded", ("activations",), THIRD, "v"),
    ("cache rounded", ("cache",), MUTED, "^"),
    ("pruned", ("prune_global", "prune_layer", "prune_2_4"), LAW, "s"),
    ("low rank", ("low_rank",), INK, "D"),
)
_LEAST = 1e-4  # nats: what is below is drawn there


def compression(found: Compressed) -> Plot:
    """Two panels, and a third where runs have abilities."""
    law = found.law
    has_abilities = bool(len(found.abilities))
    panels_wanted = 3 if has_abilities else 2
    with look():
        figure, panels = axes(2.7 * panels_wanted, panels_wanted, 1)
        _rounding(panels[0], found.weights)
        _bytes(panels[1], found)
        if has_abilities:
            _abilities(panels[2], found)
        settle(figure)
    said = " ".join(found.sentences())
    caption = (
        f"{said} Above: the penalty of weights rounded to so many bits, lines join runs of one size; "
        "below it every method, medians over the same runs"
        + ("; and what is left of abilities, medians over the runs that have them." if has_abilities else ".")
    )
    runs = found.penalties["run_id"].nunique()
    power = "no law" if law is None else f"growing as tokens per param to the {law.ratio:.2f}"
    alt = f"Penalties of compression for {runs} runs: rounding weights, {power}; all methods against bytes."
    columns = [name for name in found.penalties.columns if name != "method"]
    return Plot("compression", "What compression costs", caption, alt, figure, found.penalties[columns])


def _rounding(panel, of) -> None:
    ratio = of["tokens"] / of["params"]
    shown = of.assign(ratio=ratio)[of["penalty_nats"] > _LEAST]
    colours = palette(range(2, 9))
    for bits, part in shown.groupby("amount"):
        for _, own in part.groupby("cluster"):
            own = own.sort_values("ratio")
            panel.plot(
                own["ratio"], own["penalty_nats"], color=colours(bits), lw=0.8, marker="o", ms=3.5, mew=0
            )
        last = part.sort_values("ratio").iloc[-1]
        how = {
            "xytext": (4, 0),
            "textcoords": "offset points",
            "fontsize": 8.5,
            "color": MUTED,
            "va": "center",
        }
        at = last["ratio"], last["penalty_nats"]
        panel.annotate(f"{bits:g} bits", at, annotation_clip=False, **how)
    low, high = spread(shown["ratio"])
    log_axis(panel, "x", "params", (low, high * 1.45), 6)
    log_axis(panel, "y", "loss", spread(shown["penalty_nats"]), 5)
    panel.set_xlabel("training tokens per param")
    panel.set_ylabel("")
    panel.set_title("penalty of rounding weights (nats)", fontsize=9.5)


def _bytes(panel, found: Compressed) -> None:
    rows = [row for row in found.by_method if found.source in row["loss_rise_percent"]]
    for label, kinds, colour, marker in _FAMILIES:
        if label.endswith(("activations rounded", "cache rounded")):
            continue  # they take no bytes of the model away
        own = [row for row in rows if row["kind"] in kinds]
        x = [100 * row["bytes_part"] for row in own]
        y = [max(row["loss_rise_percent"][found.source], 0.01) for row in own]
        panel.plot(x, y, ls="", marker=marker, ms=5, mew=0, color=colour, label=label)
    rises = [row["loss_rise_percent"][found.source] for row in rows]
    log_axis(panel, "y", "loss", spread([max(rise, 0.01) for rise in rises]), 5)
    panel.set_ylabel("")
    panel.set_xlim(0, 100)
    panel.set_xlabel("bytes on disk, % of the whole model")
    panel.set_title("rise of the loss (%)", fontsize=9.5)
    panel.legend(fontsize=8.5)


def _abilities(panel, found: Compressed) -> None:
    medians = found.abilities.groupby(["kind", "amount", "task"])[["loss_rise_percent", "kept"]].median()
    medians = medians.reset_index()
    for label, kinds, colour, marker in _FAMILIES:
        own = medians[medians["kind"].isin(kinds)]
        x = np.maximum(own["loss_rise_percent"], 0.05)
        panel.plot(x, 100 * own["kept"], ls="", marker=marker, ms=4.5, mew=0, color=colour, label=label)
    panel.axvline(5, color=MUTED, lw=0.8, ls=(0, (2, 2)))
    log_axis(panel, "x", "loss", spread(np.maximum(medians["loss_rise_percent"], 0.05)), 5)
    panel.set_ylim(-5, 115)
    panel.set_xlabel("rise of the loss of the same models (%)")
    tasks = ", ".join(sorted(found.abilities["task"].unique()))
    panel.set_title(f"ability left, % of what is above chance: {tasks}", fontsize=9.5)
    panel.legend(fontsize=8.5)
