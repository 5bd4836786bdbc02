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
    "read": "analysis.table",
    "as_runs": "analysis.table",
    "Runs": "analysis.table",
    "fit": "analysis.fitting",
    "Fit": "analysis.results",
    "isoflop": "analysis.isoflops",
    "envelope": "analysis.isoflops",
    "allocate": "analysis.allocation",
    "plan": "analysis.constraints",
    "Limits": "analysis.constraints",
    "forecast": "analysis.forecasting",
    "rollout": "analysis.rollouts",
    "audit": "analysis.auditing",
    "multiverse": "analysis.universes",
    "fit_downstream": "analysis.downstream",
    "detect": "analysis.thresholds",
    "LAWS": "analysis.laws",
    "find_law": "analysis.laws",
    "best_rates": "analysis.rates",
    "mistuned": "analysis.laws",
    "low_precision": "analysis.laws",
    "quantised": "analysis.laws",
    "SumLaw": "analysis.laws",
    "FormulaLaw": "analysis.laws",
    "Term": "analysis.laws",
    "Parameter": "analysis.laws",
    "coefficient": "analysis.laws",
    "data_constrained": "analysis.laws",
    "InputError": "analysis.errors",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
