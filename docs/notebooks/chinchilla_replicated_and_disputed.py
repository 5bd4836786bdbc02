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
# # Chinchilla, replicated and disputed
#
# The plots of Hoffmann et al. (arXiv 2203.15556) drawn again from the points that Besiroglu et al. (arXiv
# 2404.10102) read off its figure 4, and the dispute about the exponent: which objective was minimised, what a
# parabola does to it, and what counts as a parameter (Porian et al., arXiv 2406.19146).
#
# The published tables are not part of this project. Set the environment variable `SCALING_LAB_DATA` to a
# folder that has them (`lab replicate --download --data FOLDER` fetches those that can be fetched from their
# public sources). Parts whose table is missing say so and are left out.

# %%
import os
from pathlib import Path

import numpy as np

import analysis as sl
from analysis import plots

FOLDER = Path(os.environ.get("SCALING_LAB_DATA", "published_tables"))
OUT = Path("chinchilla_replicated_and_disputed")


def published(name):
    """The path of a published table below FOLDER, or None with a line that says what is left out."""
    found = sorted(FOLDER.rglob(name)) if FOLDER.is_dir() else []
    if not found:
        print(f"{name} is not in {FOLDER}: this part is left out; set SCALING_LAB_DATA")
    return found[0] if found else None


# %% [markdown]
# ## 1. The parametric law
#
# Without the five highest losses, as in arXiv 2404.10102, 240 points are left. Two answers circulate under
# one name. The published one is the minimum of the absolute residuals (Huber's corner had shrunk to nothing);
# the minimum of Huber's loss with corner 1e-3, which the method describes, lies beside it.

# %%
path = published("svg_extracted_data.csv")
points = huber = l1 = None
if path is not None:
    everything = sl.read(path)
    loss = everything.columns["loss"]
    points = sl.as_runs(everything.frame[loss < np.sort(loss)[-5]])
    huber, l1 = sl.fit(points), sl.fit(points, objective="l1", bootstrap=0)
    print(f"{'':12}{'A':>9}{'B':>10}{'E':>9}{'alpha':>9}{'beta':>9}{'a':>9}")
    shown = {"published": (482.01, 2085.43, 1.8169, 0.3478, 0.3659, 0.513)}
    for name, fit in (("l1", l1), ("huber 1e-3", huber)):
        shown[name] = (*(fit.params[key] for key in ("A", "B", "E", "alpha", "beta")),)
        shown[name] += (fit.exponents.params_exponent,)
    for name, values in shown.items():
        print(
            f"{name:12}{values[0]:9.2f}{values[1]:10.2f}" + "".join(f"{value:9.4f}" for value in values[2:])
        )
    print(f"objective {huber.objective.value:.11f}; anything above 0.0010183 has stopped too early")

# %%
plots.law_contour(huber) if huber is not None else None

# %% [markdown]
# ## 2. IsoFLOP curves
#
# Most of the digitised points lie on curves of equal compute. Each curve's bottom is a best size; through
# these goes approach 2.

# %%
iso = None
if points is not None:
    iso = sl.isoflop(points, law=huber)
    for one in iso.approaches:
        print(f"{one.name:26} exponent of params {one.exponent:.3f}", one.interval or "")
    for note in iso.warnings:
        print("warning", note)

# %%
plots.isoflop_curves(iso) if iso is not None else None

# %%
plots.frontier(huber, iso, sl.envelope(points)) if iso is not None else None

# %% [markdown]
# ## 3. What a parabola does without any noise
#
# On the very surface of the paper, grids of equal compute and a parabola through each. The wider the grid,
# the more tokens are lost at 1e24 FLOPs; the bias follows from the law and is taken off exactly.

# %%
SURFACE = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
ratio = SURFACE["alpha"] * SURFACE["A"] / (SURFACE["beta"] * SURFACE["B"])
total = SURFACE["alpha"] + SURFACE["beta"]


def best_size(flops):
    return ratio ** (1 / total) * (flops / 6) ** (SURFACE["beta"] / total)


for width in (2, 4, 8, 16):
    flops = np.repeat(np.geomspace(1e17, 1e21, 5), 15)
    table = {"params": best_size(flops) * np.tile(np.geomspace(1 / width, width, 15), 5)}
    table["tokens"] = flops / 6 / table["params"]
    table["loss"] = sl.LAWS["chinchilla"].loss(SURFACE, table)
    result = sl.isoflop(table, method="parabola", law=sl.fit(table, bootstrap=0), bootstrap=0)
    bias = [
        100 * (best_size(1e24) / fitted(1e24) - 1) for fitted in (result.params_law, result.corrected_law)
    ]
    print(
        f"grids of +-{width:2} x: tokens at 1e24 FLOPs off by {bias[0]:+.3f} %, "
        f"with the bias taken off {bias[1]:+.4f} %"
    )

# %% [markdown]
# ## 4. One table, many exponents
#
# Every combination of approach, law, objective and outlier rule on the digitised points. The plain interval
# knows of noise alone; the choices move the exponent further.

# %%
many = None
if path is not None:
    many = sl.multiverse(everything, laws=("chinchilla", "coupled"), bootstrap=300)
    low, high = many.exponents.min(), many.exponents.max()
    print(
        f"{len(many.exponents)} analyses: exponents from {low:.3f} to {high:.3f}; noise alone {many.interval}"
    )
    for choice in many.choices:
        print(
            f"  {choice.dimension:10} {choice.share:4.0%} of the variance, "
            f"moves the mean by {choice.moves:.3f}"
        )

# %%
plots.specification(many) if many is not None else None

# %% [markdown]
# ## 5. What counts as a parameter
#
# Porian et al. go from Kaplan's exponent to Chinchilla's in steps: count the head, shorten the warmup, match
# the decay, tune the small models. Their published minima, and power laws through them.

# %%
path = published("isoflop_optima.csv")
if path is not None:
    from analysis.isoflops.lines import power_law

    frame = sl.read(path).frame
    keys = ["hparams", "warmup", "decay", "param_count", "val"]
    for dataset in ("rw", "owt2"):
        for key, same in frame[frame["dataset"] == dataset].groupby(keys):
            same = same.dropna(subset=["n", "n_star_std"])
            exponent, _ = power_law(same["flops"], same["n"], 1 / same["n_star_std"] ** 2)
            print(f"{dataset:5} {', '.join(key):48} {exponent:.3f}")

# %%
drawn = [
    plots.law_contour(huber) if huber is not None else None,
    plots.isoflop_curves(iso) if iso is not None else None,
    plots.frontier(huber, iso, sl.envelope(points)) if iso is not None else None,
    plots.specification(many) if many is not None else None,
]
for figure in filter(None, drawn):
    print(*(file.name for file in plots.save(figure, OUT)))
