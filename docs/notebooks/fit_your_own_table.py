# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Fit your own table
#
# A CSV of runs goes in: parameters, tokens, loss. Out come a scaling law with intervals, what it is worth one
# scale earlier, the best use of a budget, and figures for a paper. Nothing is trained.
#
# The table below is made here, from a law that is planted, so that every answer can be held against the
# truth. To use your own, set `TABLE` to its path; columns are recognised by the names that papers use.

# %%
from pathlib import Path

import numpy as np

import analysis as sl
from analysis import plots

TABLE = None  # "my_runs.csv"
OUT = Path("fit_your_own_table")
OUT.mkdir(exist_ok=True)

# %% [markdown]
# ## 1. A table
#
# Seven budgets, seven sizes each, from a quarter to four times the best size; 0.4 % of noise. One run is bad.

# %%
TRUTH = {"E": 1.82, "A": 478.0, "B": 2140.0, "alpha": 0.347, "beta": 0.367}
rng = np.random.default_rng(4)  # with another seed, one interval in twenty misses
flops = np.repeat(np.geomspace(1e18, 1e21, 7), 7)
params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.25, 4, 7), 7)
tokens = flops / 6 / params
loss = TRUTH["E"] + TRUTH["A"] / params ** TRUTH["alpha"] + TRUTH["B"] / tokens ** TRUTH["beta"]
loss *= np.exp(0.004 * rng.standard_normal(49))
loss[20] *= 1.06

planted = OUT / "runs.csv"
rows = zip(params, tokens, loss, strict=True)
planted.write_text("N,D,val_loss\n" + "\n".join(f"{n:.0f},{d:.0f},{v:.5f}" for n, d, v in rows))

runs = sl.read(TABLE or planted)
for note in runs.notes:
    print(note)
print(runs)
runs.frame.head()

# %% [markdown]
# ## 2. A law, with intervals and a certificate
#
# Huber's loss on log residuals, summed; exact derivatives; many starts. The certificate says that this is an
# optimum, and which others there are. The warnings name the bad run.

# %%
law = sl.fit(runs)
print(law.formula)
for name, value in law.params.items():
    low, high = law.intervals[name]
    truth = f"   planted {TRUTH[name]:g}" if TABLE is None else ""
    print(f"  {name:6} {value:9.4g}   95 % [{low:.4g}, {high:.4g}]{truth}")
print("an optimum:", law.certificate.converged, "  other optima:", len(law.certificate.basins))
for note in law.warnings:
    print("warning", note)

# %%
if TABLE is None:
    held = [law.intervals[name][0] <= TRUTH[name] <= law.intervals[name][1] for name in TRUTH]
    print(f"{sum(held)} of {len(held)} intervals hold the planted value")
    assert sum(held) >= 4
plots.law_contour(law)

# %% [markdown]
# ## 3. What the law is worth: the audit
#
# The law is fitted to growing windows and scored on what lies beyond; it is compared with other laws; and the
# interval for ten times the compute is as wide as such forecasts have missed before.

# %%
audit = sl.audit(runs, laws=("chinchilla", "chinchilla-tied"), bootstrap=300)
for one in audit.laws:
    print(
        f"{one.law:16} mean held-out error {one.mean_abs_error_percent:.2f} %, bias {one.bias_percent:+.2f} %"
    )
ahead = audit.next_scale
low, high = ahead.interval
print(f"at {ahead.flops:.3g} FLOPs the law says {ahead.loss:.4f}, 90 % [{low:.4f}, {high:.4f}]")
if TABLE is None:
    there = (
        TRUTH["E"] + TRUTH["A"] / ahead.params ** TRUTH["alpha"] + TRUTH["B"] / ahead.tokens ** TRUTH["beta"]
    )
    print(f"the planted law says {there:.4f}")
    assert low <= there <= high
plots.rollouts(audit)

# %% [markdown]
# ## 4. Minima at equal compute
#
# A second way to the same exponent, whose known bias against the law is taken off, and a third by the
# envelope of the runs. Where they disagree by more than noise allows, a warning says so.

# %%
iso = sl.isoflop(runs, law=law)
for one in iso.approaches:
    print(f"{one.name:24} exponent of params {one.exponent:.3f}", one.interval or "")
for note in iso.warnings:
    print("warning", note)
plots.isoflop_curves(iso)

# %% [markdown]
# ## 5. Where to spend a budget
#
# Compute-optimal; then with few unique tokens, and with a model that must also be served.

# %%
budget = 1e22
best = sl.allocate(law, budget)
print(best, "params in", best.intervals["params"])
scarce = sl.plan(law, flops=budget, limits=sl.Limits(unique_tokens=2e10))
print("20 billion unique tokens:", scarce, f"{scarce.epochs:.1f} epochs")
served = sl.plan(law, loss=best.loss, limits=sl.Limits(inference_tokens=1e12))
print("the same loss, 1e12 tokens to serve:", served, f"saves {1 - served.flops / served.naive_flops:.0%}")
plots.deviation(law, budget)

# %% [markdown]
# ## 6. A forecast that is scored
#
# The largest runs are held out, predicted, and compared.

# %%
forecast = sl.forecast(runs, law="chinchilla")
print(forecast)
print(f"{forecast.score.coverage:.0%} of the held-out runs lie in their {forecast.level:.0%} interval")
plots.holdout(forecast)

# %% [markdown]
# ## 7. Figures for a paper
#
# SVG, PDF, PNG, and the numbers as CSV; the same input gives the same bytes.

# %%
figures = [
    plots.law_contour(law, forecast),
    plots.rollouts(audit),
    plots.isoflop_curves(iso),
    plots.frontier(law, iso, sl.envelope(runs)),
    plots.deviation(law, budget),
    plots.holdout(forecast),
]
for figure in figures:
    print(*(path.name for path in plots.save(figure, OUT)))
