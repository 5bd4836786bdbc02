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
# # What it costs
#
# What do training and serving take in energy, carbon and money? Published models first, and their numbers
# come out again; then a budget of your own; then a model that must also be served.

# %%
import matplotlib.pyplot as plt
import pandas

import analysis as sl
from analysis.costs.carbon import carbon
from analysis.costs.energy import parity
from analysis.costs.hardware import hardware
from analysis.costs.published import llama, parity_table

# %% [markdown]
# ## 1. Published models
#
# GPU-hours times watts times the overhead of the hall (PUE) give energy; grams of CO2 a kWh give carbon
# (arXiv 2302.13971, table 15). The same hours elsewhere would have been another story.

# %%
here, france = llama(), llama(carbon=carbon("FR"))
rows = [
    (row.name, row.gpu_hours, found.kwh / 1e3, found.grams / 1e6, other.grams / 1e6)
    for (row, found), (_, other) in zip(here, france, strict=True)
]
columns = ["model", "GPU-hours", "MWh", "t CO2eq", "t CO2eq in France"]
published = pandas.DataFrame(rows, columns=columns).set_index("model")
published.round(1)

# %%
axis = published[["t CO2eq", "t CO2eq in France"]].plot.barh(figsize=(5, 3), logx=True)
_ = axis.set_xlabel("tonnes of CO2eq of training")

# %% [markdown]
# ## 2. When serving overtakes training
#
# Inferences that take as much energy as making the model did (arXiv 2311.16863, table 5). Then yours.

# %%
pandas.DataFrame(parity_table().rows)

# %%
print(f"10,000 kWh of training, 0.1 Wh an answer: {parity(10_000, 0, 1e-4):,.0f} answers")

# %% [markdown]
# ## 3. What a budget buys
#
# A device by its peak and the part of it that training uses. Money, hours and energy become FLOPs, and a law
# says what these FLOPs are worth. The law is the one refitted to Chinchilla's points (arXiv 2404.10102).

# %%
card = hardware(None, peak_flops=989e12, utilisation=0.4, watts=700, pue=1.2, price=2.5, carbon=carbon(385))
SURFACE = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
grid = pandas.MultiIndex.from_product([(1e8, 1e9, 1e10, 1e11), (1e10, 1e11, 1e12, 1e13)])
table = pandas.DataFrame({"params": grid.get_level_values(0), "tokens": grid.get_level_values(1)})
table["loss"] = sl.LAWS["chinchilla"].loss(SURFACE, table)
law = sl.fit(table, law="chinchilla", bootstrap=0)

rows = []
for money in (1e3, 1e4, 1e5, 1e6):
    flops = card.flops(money=money)
    best, spent = sl.allocate(law, flops), card.cost(flops)
    rows.append((money, flops, best.params, best.tokens, best.loss, spent["kwh"], spent["co2eq_kg"]))
columns = ["money", "FLOPs", "params", "tokens", "loss", "kWh", "kg CO2eq"]
bought = pandas.DataFrame(rows, columns=columns).set_index("money")
bought.map("{:.3g}".format)

# %% [markdown]
# ## 4. A model that must be served
#
# The smallest cost over its life is not the smallest cost of training: a smaller model, trained on more text,
# costs more once and less at every answer (arXiv 2401.00448).

# %%
target = sl.allocate(law, 1e22)
rows = []
for served in (0, 1e11, 1e12, 1e13):
    limits = sl.Limits(inference_tokens=served) if served else sl.Limits()
    made = sl.plan(law, loss=target.loss, limits=limits)
    saved = 1 - made.flops / made.naive_flops if made.naive_flops else 0.0
    rows.append((served, made.params, made.tokens, made.flops, saved))
columns = ["tokens served", "params", "tokens", "FLOPs of its life", "saved"]
life = pandas.DataFrame(rows, columns=columns).set_index("tokens served")
life.map("{:.3g}".format)

# %%
figure, axis = plt.subplots(figsize=(4.5, 3))
axis.plot(range(len(life)), life["params"] / life["params"].iloc[0], "o-")
axis.set_xticks(range(len(life)), [f"{served:.0e}" if served else "none" for served in life.index])
axis.set_xlabel("tokens served")
_ = axis.set_ylabel("best size, as a part of that without serving")
