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
# # Is it emergent?
#
# Scores of a task at several sizes sit at chance and then shoot up. Does an ability appear at a size, or does
# the metric make it look so? Three tasks are planted here, so that the answer is known; then come three that
# were really trained.

# %%
from pathlib import Path

import numpy as np
import pandas

import analysis as sl
from analysis import plots

SIZES, SEEDS, ITEMS = np.geomspace(1e5, 1e8, 10), range(4), 500
rng = np.random.default_rng(1)

# %% [markdown]
# ## 1. Three planted truths
#
# - `smooth`: the answer gets better evenly at every size.
# - `break`: nothing happens until a million parameters, then it rises.
# - `metric`: each of the answer's eight tokens gets better evenly, but only a wholly right answer counts.


# %%
def logistic(x):
    return 1 / (1 + np.exp(-x))


decades = np.log10(SIZES / 1e6)
right = {
    "smooth": logistic(1.2 * decades),
    "break": logistic(-3.0 + 3.0 * np.maximum(decades, 0)),
    "metric": np.exp(-8 * np.exp(-1.4 * (decades + 0.4))),
}
rows = []
for task, chances in right.items():
    for size, chance_right in zip(SIZES, chances, strict=True):
        for seed in SEEDS:
            luck = logistic(np.log(chance_right / (1 - chance_right)) + 0.15 * rng.standard_normal())
            correct = rng.binomial(ITEMS, luck)
            rows.append((task, "exact_match", size, seed, correct / ITEMS, correct, ITEMS, 0.0))
            if task == "metric":  # what the answer itself costs, which the metric hides
                nats = -np.log(chance_right) / 8 * np.exp(0.03 * rng.standard_normal())
                rows.append((task, "gold_nats", size, seed, nats, None, ITEMS, None))
columns = ["task", "metric", "params", "seed", "score", "correct", "items", "chance"]
scores = pandas.DataFrame(rows, columns=columns)
scores.pivot_table(index="params", columns=["task", "metric"], values="score").round(3)

# %% [markdown]
# By eye, `break` and `metric` look alike: both stay near zero and then shoot up.

# %%
found = sl.detect(scores, draws=199)
for one in found.series:
    elbow = one.thresholds.elbow.value
    print(
        f"{one.task:8} {one.metric:12} {one.verdict:16} p {one.p_value:.3f}",
        f"elbow {elbow:.2g}" if elbow else "",
    )

# %% [markdown]
# ## 2. What the test saw
#
# A break is a kink that the best smooth curve does not explain, given how much seeds differ. The curve of
# `metric` is smooth in nats, and pushing it through exact match gives the same jump: the metric made it.

# %%
plots.ability([one for one in found.series if one.task == "break"])

# %%
plots.ability([one for one in found.series if one.task == "metric"])

# %% [markdown]
# ## 3. With one seed
#
# Most published curves have one model a size. Then nothing says how much luck does, and the honest answer is
# that it cannot be told.

# %%
alone = sl.detect(scores[(scores["seed"] == 0) & (scores["task"] == "break")], draws=199)
for one in alone.series:
    print(one.task, one.verdict)
    for note in one.warnings:
        print(" ", note)

# %% [markdown]
# ## 4. Three tasks that were trained
#
# Eight sizes by three seeds of the quick start. The coin is a control: it must not be called emergent.

# %%
table = Path(sl.__file__).parents[1] / "docs" / "quickstart" / "abilities.csv"
trained = sl.detect(pandas.read_csv(table), draws=199)
summary = pandas.DataFrame(
    [(one.task, one.metric, one.verdict, round(one.p_value, 3)) for one in trained.series],
    columns=["task", "metric", "verdict", "p"],
)
summary

# %%
plots.ability([one for one in trained.series if one.task == "induction-8"])
