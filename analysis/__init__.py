"""Tables of runs in; scaling laws, allocations, forecasts and thresholds out.

    import analysis as sl
    runs = sl.read("runs/quickstart")
    law = sl.fit(runs)
    law.predict(params=1e9, tokens=2e10)

Names load on first use, so that importing the package costs nothing. A module never has the name of a public
function: importing it would put the module in the function's place.
"""

from importlib import import_module

_HOME = {
    "read": "analysis.tables.table",
    "as_runs": "analysis.tables.table",
    "Runs": "analysis.tables.table",
    "fit": "analysis.fits.fitting",
    "Fit": "analysis.fits.results",
    "isoflop": "analysis.isoflops.minima",
    "envelope": "analysis.isoflops.minima",
    "allocate": "analysis.allocations.optimum",
    "plan": "analysis.allocations.limits",
    "Limits": "analysis.allocations.limits",
    "forecast": "analysis.audits.forecasting",
    "rollout": "analysis.audits.rollouts",
    "audit": "analysis.audits.audit",
    "multiverse": "analysis.universes.multiverse",
    "fit_downstream": "analysis.downstreams.downstream",
    "detect": "analysis.thresholds",
    "LAWS": "analysis.laws.named",
    "find_law": "analysis.laws.named",
    "best_rates": "analysis.rates",
    "mistuned": "analysis.laws.named",
    "low_precision": "analysis.laws.named",
    "quantised": "analysis.laws.named",
    "SumLaw": "analysis.laws.named",
    "FormulaLaw": "analysis.laws.named",
    "Term": "analysis.laws.named",
    "Parameter": "analysis.laws.named",
    "coefficient": "analysis.laws.named",
    "data_constrained": "analysis.laws.named",
    "InputError": "analysis.errors",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
