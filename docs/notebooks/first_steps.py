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
# # First steps
#
# What does a finished study say? This notebook reads the runs of the quick start as they stand in the
# documentation, so nothing has to be trained. After `make quickstart` set `STORE` to `"runs/quickstart"`
# to read your own.

# %%
from pathlib import Path

import pandas

import analysis as sl
from analysis import plots

STORE = None  # "runs/quickstart"
TABLES = Path(sl.__file__).parents[1] / "docs" / "quickstart"

study = sl.read(STORE or TABLES / "runs.csv")
runs = study.where(grid="language")
shown = ["width", "params_total", "tokens", "loss_nats", "held_out"]
runs.frame[shown].sort_values("loss_nats").head(8)

# %% [markdown]
# ## 1. What was trained
#
# Each point is a model at the end of its training. More compute (to the right) gives a lower loss. The open
# circles were set aside before any law was fitted.

# %%
plots.loss_compute(runs, envelope=sl.envelope(runs))

# %% [markdown]
# ## 2. Which law
#
# The loss falls towards a floor `E` that no size and no text would pass, and the rest shrinks with a power of
# the size and of the text. Each number has an interval: it says how far it could be off.

# %%
forecast = sl.forecast(runs)
law = forecast.fit
print(law.formula)
for name, value in law.params.items():
    low, high = law.intervals[name]
    print(f"{name:6} {value:9.3g}   {law.level:.0%} [{low:.3g}, {high:.3g}]")

# %% [markdown]
# ## 3. Was it right?
#
# The runs of most compute were predicted by a law that had not seen them. Zero means that the law was exactly
# right.

# %%
score = forecast.score
print(f"{score.cells} runs at up to {score.compute_ratio:.2g} times the compute that was fitted:")
print(f"off by {score.mean_abs_error_percent:.2f} % on average, {score.coverage:.0%} inside their interval")
plots.holdout(forecast)

# %% [markdown]
# ## 4. What ten times as much would give
#
# The same law spends a budget best: how large a model, on how much text.

# %%
most = max(law.data["flops"])
for factor in (1, 10):
    best = sl.allocate(law, factor * most)
    ahead = forecast.predict(best.params, best.tokens)
    print(
        f"{factor:2} x the compute: {best.params:9.3g} params, {best.tokens:8.3g} tokens, "
        f"loss {float(ahead.loss):.3f} [{float(ahead.low):.3f}, {float(ahead.high):.3f}]"
    )

# %% [markdown]
# ## 5. Which abilities appeared
#
# Three tasks were trained beside the text: lists to go on with (induction, which takes two layers of
# attention), facts to be remembered, and a coin that nobody can foretell. An ability is called emergent only
# where a smooth rise is ruled out.

# %%
scores = pandas.read_csv(TABLES / "abilities.csv") if STORE is None else study.abilities
found = sl.detect(scores, draws=199)
for one in found.series:
    if one.metric == "exact_match":
        print(f"{one.task:12} {one.verdict:10} p {one.p_value:.2g}")
induction = [one for one in found.series if one.task == "induction-8"]
plots.ability(induction)
