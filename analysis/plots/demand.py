"""How tokens to be served move the best size: smaller models, trained for longer."""

from __future__ import annotations

import numpy as np

from analysis.allocations.serving import serving
from analysis.fits.results import Fit
from analysis.plots.plot import Plot, settle
from analysis.plots.style import axes, count, log_axis, look, palette, spread

# Sizes whose quality is kept, as factors of the one asked about; tokens served, as factors of its own tokens.
_SIZES, _DEMANDS = (0.1, 1.0, 10.0), np.geomspace(0.01, 100.0, 9)


def demand(fit: Fit, params: float) -> Plot:
    """The cheapest model of the quality of the compute-optimal one of `params` params (and of a tenth and ten
    times as many), against the tokens that it must serve: its size, and the FLOPs saved by it.

    Raises InputError where the law has no optimum.
    """
    import pandas

    rows = []
    for factor in _SIZES:
        free = serving(fit.law, fit.params, factor * params, 0.0)
        for times in _DEMANDS:
            found = serving(fit.law, fit.params, factor * params, times * free.naive_tokens)
            rows.append(
                {
                    "quality_of_params": found.naive_params,
                    "loss": found.loss,
                    "inference_tokens": found.inference_tokens,
                    "params": found.params,
                    "tokens": found.tokens,
                    "size_factor": found.params / found.naive_params,
                    "tokens_factor": found.tokens / found.naive_tokens,
                    "saved_percent": 100 * found.saved,
                }
            )
    data = pandas.DataFrame(rows)
    colours = palette(data["quality_of_params"])
    with look():
        figure, panels = axes(3.0, 1, 2)
        for panel, name, title in (
            (panels[0], "size_factor", "best size, times optimal"),
            (panels[1], "saved_percent", "FLOPs saved (%)"),
        ):
            for size, part in data.groupby("quality_of_params"):
                panel.plot(
                    part["inference_tokens"], part[name], color=colours(size), lw=1.8, label=count(size)
                )
            log_axis(panel, "x", "tokens", spread(data["inference_tokens"]), 4)
            panel.set_xlabel("tokens to serve")
            panel.set_title(title, fontsize=9.5)
            panel.set_ylim(0, None)
        panels[0].legend(title="quality of", fontsize=8.5, title_fontsize=8.5, loc="lower left")
        settle(figure)
    own = data[np.isclose(data["quality_of_params"], params)].iloc[-1]
    tokens = count(own["inference_tokens"])
    caption = (
        "The cheapest model, in FLOPs of training and serving together, that is as good as the "
        f"compute-optimal one of the named size, by the fitted law. Of {count(params)} quality with {tokens} "
        f"tokens to serve it has {own['size_factor']:.2f} of the params, sees {own['tokens_factor']:.2g} "
        f"times the tokens and saves {own['saved_percent']:.3g}%."
    )
    alt = (
        "Two charts against tokens to serve: the best size falls below the compute-optimal one, savings rise."
    )
    return Plot("demand", "The frontier moved by demand", caption, alt, figure, data)
