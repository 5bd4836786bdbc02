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
# # Plan a study
#
# What should I train, and what will it tell me? A study is planned here before anything is trained: what it
# costs on this machine, how wide its intervals will be, and whether seeds, sizes or budgets should be added.

# %%
from pathlib import Path

import pandas

import sweeps
from sweeps import Grid, Size, Study


def study(name, widths, tokens, seeds=1):
    """Sizes of one family by budgets of tokens, on a made-up source: planning one of text is the same."""
    return Study(
        name=name,
        data={"source": "synthetic", "context": 126},
        model={"layers": 2, "heads": 2},
        grids=(
            Grid(
                name="language",
                sizes=tuple(Size(width=width, learning_rate=0.3 / width) for width in widths),
                tokens=tuple(tokens),
                seeds=tuple(range(seeds)),
            ),
        ),
    )


# %% [markdown]
# ## 1. A first design
#
# Four sizes by three budgets. What is doubtful about it is said.

# %%
first = sweeps.price(study("first", (16, 32, 64, 128), (1_000_000, 4_000_000, 16_000_000)))
totals = first.totals()
print(f"{totals['cells']} runs, {totals['flops']:.2g} FLOPs; trunks save {totals['saved']:.0%} of them")
print(f"largest run: about {totals['memory_bytes'] / 1e6:.0f} MB")
for warning in first.warnings:
    print("warning", warning)

# %%
pandas.DataFrame(first.rows())[["width", "params_total", "tokens", "flops_exact", "trunk"]].head(12)

# %% [markdown]
# ## 2. What it would tell
#
# Studies like this one are simulated under a law and a scatter that were seen before, and fitted. Half
# of them would print intervals at least as wide as these.

# %%
promise = first.promises[0]
for name, (low, high) in promise.ranges.items():
    print(f"{name:6} {low:9.3g} to {high:9.3g}")
print(f"the loss at ten times the compute: within {100 * promise.forecast:.2g} %")

# %% [markdown]
# ## 3. What would help most
#
# Designs of one family, each with what it costs beside the first and what it gives: the width of the interval
# of the exponent, and how far the forecast of ten times the compute may be off.

# %%
designs = {
    "first": first,
    "three seeds": sweeps.price(
        study("seeds", (16, 32, 64, 128), (1_000_000, 4_000_000, 16_000_000), seeds=3)
    ),
    "more sizes": sweeps.price(
        study("sizes", (16, 24, 32, 48, 64, 96, 128), (1_000_000, 4_000_000, 16_000_000))
    ),
    "more budgets": sweeps.price(
        study(
            "budgets", (16, 32, 64, 128), (1_000_000, 2_000_000, 4_000_000, 8_000_000, 16_000_000, 32_000_000)
        )
    ),
}
rows = []
for name, priced in designs.items():
    made = priced.promises[0]
    low, high = made.ranges["alpha"]
    spent = priced.totals()["flops"] / totals["flops"]
    rows.append((name, priced.totals()["cells"], spent, high - low, 100 * made.forecast))
columns = ["design", "runs", "cost", "width of alpha", "error at 10 x, %"]
compared = pandas.DataFrame(rows, columns=columns).set_index("design")
compared.round(2)

# %%
axis = compared.plot.scatter("cost", "error at 10 x, %", figsize=(4.5, 3))
for name, row in compared.iterrows():
    axis.annotate(name, (row["cost"], row["error at 10 x, %"]), xytext=(5, 4), textcoords="offset points")

# %% [markdown]
# ## 4. Keep it
#
# `sweeps.save` writes the study for the command line: `lab plan best.toml`, then
# `lab run best.toml --out runs/best`. `sweeps.run(study, "runs/best")` trains it from here.

# %%
best = min(designs, key=lambda name: compared.loc[name, "error at 10 x, %"])
sweeps.save(designs[best].plan.study, "best.toml")
print("best:", best)
print(Path("best.toml").read_text())
