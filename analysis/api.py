"""What `import analysis as sl` offers, and the methods of results that need a floor above their own.

A result knows how to predict and how to become JSON; intervals of its predictions, its figure and its HTML
are made by modules that import it. They become its methods here, above all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.allocations.limits import Limits, plan
from analysis.allocations.optimum import allocate
from analysis.audits.audit import Audit, audit
from analysis.audits.forecasting import forecast
from analysis.audits.rollouts import rollout
from analysis.downstreams.downstream import fit_downstream
from analysis.errors import InputError
from analysis.fits.fitting import fit
from analysis.fits.prediction import prediction_interval
from analysis.fits.profile import profile_interval
from analysis.fits.results import Fit, inputs_of
from analysis.fits.show import fit_html
from analysis.isoflops.minima import envelope, isoflop
from analysis.isoflops.results import IsoFlop
from analysis.laws.named import (
    LAWS,
    FormulaLaw,
    Parameter,
    SumLaw,
    Term,
    coefficient,
    data_constrained,
    find_law,
    low_precision,
    mistuned,
    quantised,
)
from analysis.rates import best_rates
from analysis.tables.table import Runs, as_runs, read
from analysis.thresholds import detect
from analysis.universes.multiverse import Multiverse, multiverse

__all__ = [
    "LAWS",
    "Audit",
    "Fit",
    "FormulaLaw",
    "InputError",
    "IsoFlop",
    "Limits",
    "Multiverse",
    "Parameter",
    "Runs",
    "SumLaw",
    "Term",
    "allocate",
    "as_runs",
    "audit",
    "best_rates",
    "coefficient",
    "data_constrained",
    "detect",
    "envelope",
    "figure",
    "find_law",
    "fit",
    "fit_downstream",
    "forecast",
    "isoflop",
    "low_precision",
    "mistuned",
    "multiverse",
    "plan",
    "published",
    "quantised",
    "read",
    "rollout",
]


def figure(source: Any, name: str, style: str = "page") -> Any:
    """One figure of a store or a table, as `lab plot` draws it: a `Plot`, whose `save(folder)` writes files.

    source: a path or Runs. name: as `loss_compute`, `frontier`, `ability_copy`. style: page, paper, slides,
    notebook. Raises InputError for what there is none of.
    """
    from analysis.report import figures

    return figures.figure(source, name, style)


def published(name: str, data: Any, style: str = "page") -> Any:
    """A figure of a publication drawn again, as `lab replicate --figures` draws it: a `Plot`.

    name: as `hoffmann-2`. data: the folder with the published tables. Raises InputError where they lack.
    """
    from analysis.replicate import published as drawn

    return drawn.draw(name, data, style)


def _predict_interval(
    self: Fit,
    params: ArrayLike | None = None,
    tokens: ArrayLike | None = None,
    level: float | None = None,
    new_run: bool = True,
    noise: ArrayLike | None = None,
    **inputs: ArrayLike,
) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) arrays for the loss of a new run, or with new_run=False for the law itself. noise: the
    standard error that the new run's loss will have, in the loss's unit, where the table states that of its
    rows; without it the new run is as noisy as the typical row.

    Raises InputError when the fit was made without a bootstrap, and for noise where the table states none.
    """
    where = inputs_of(self.law, params, tokens, inputs)
    return prediction_interval(self, where, level or self.level, new_run, noise)


def _law_contour(self: Fit, **options: Any) -> Any:
    """The law's contours over params and tokens with the runs on them: a `Plot`; ax: where to draw."""
    from analysis import plots

    return plots.law_contour(self, **options)


def _isoflop_curves(self: IsoFlop, **options: Any) -> Any:
    """The curves with their minima: a `Plot`; ax: where to draw."""
    from analysis import plots

    return plots.isoflop_curves(self, **options)


def _rollouts(self: Audit, **options: Any) -> Any:
    """Errors against distance for each axis."""
    from analysis import plots

    return plots.rollouts(self, **options)


def _specification(self: Multiverse, **options: Any) -> Any:
    """The specification curve."""
    from analysis import plots

    return plots.specification(self, **options)


# matplotlib is imported when a figure is asked for, not with the package: hence the imports in functions.
_METHODS: dict[type, dict[str, Callable[..., Any]]] = {
    Fit: {
        "predict_interval": _predict_interval,
        "profile_interval": profile_interval,
        "plot": _law_contour,
        "_repr_html_": fit_html,
    },
    IsoFlop: {"plot": _isoflop_curves},
    Audit: {"plot": _rollouts},
    Multiverse: {"plot": _specification},
}
for _result, _bodies in _METHODS.items():
    for _name, _body in _bodies.items():
        setattr(_result, _name, _body)
