"""IsoFLOP sets with the faults of published ones: outliers, copies, digitised points, edges, drift.

Ground truth is a planted surface. `python tests/analysis/fits/test_isoflop_faults.py [SIMULATIONS [FAULTS]]`
prints for each surface and fault how often the 95 % intervals of the exponent hold it, and how far off it is.
"""

import sys
import time

import numpy as np

import analysis as sl
from analysis.isoflops.show import isoflop_text

SURFACES = {
    "chinchilla": {"E": 1.817218, "A": 477.826, "B": 2143.42, "alpha": 0.347311, "beta": 0.367172},
    "asymmetric": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.465, "beta": 0.155},
}
NOISE = 0.002
FAULTS = (
    "clean",
    "outliers",
    "copies",
    "seeds",
    "digitised sizes",
    "digitised compute",
    "few sizes",
    "uneven",
    "edges",
    "drift",
    "all",
)


def true_exponent(law):
    return law["beta"] / (law["alpha"] + law["beta"])


def optimum(law, flops):
    ratio = law["alpha"] * law["A"] / (law["beta"] * law["B"])
    return ratio ** (1 / (law["alpha"] + law["beta"])) * (flops / 6) ** true_exponent(law)


def faulty(law, fault, seed, levels=7, sizes=9, width=5.0):
    """A table of levels x sizes runs over 3.5 decades of compute, with one fault, a + b, or all."""
    rng = np.random.default_rng(seed)
    has = {name: fault == "all" or name in fault.split("+") for name in FAULTS}
    budgets = np.geomspace(6e18, 2e22, levels)
    params, flops = [], []
    for index, budget in enumerate(budgets):
        count = sizes
        if has["few sizes"]:
            count = int(rng.integers(5, 8))
        steps = np.linspace(-1, 1, count)
        if has["uneven"]:
            steps = np.sort(rng.uniform(-1, 1, count))
            steps[[0, -1]] = -1, 1
        shift = 0.0
        if has["drift"]:
            shift = np.linspace(-0.5, 0.5, levels)[index]
        if has["edges"] and index in (1, 4):
            shift = (-1.2, 1.2)[index == 4]
        params.append(optimum(law, budget) * width ** (steps + shift))
        flops.append(np.full(count, budget))
    params, flops = np.concatenate(params), np.concatenate(flops)
    spent = flops * np.exp(0.02 * rng.standard_normal(len(flops)) * has["digitised compute"])
    tokens = spent / 6 / params
    loss = sl.LAWS["chinchilla"].loss(law, {"params": params, "tokens": tokens})
    if has["seeds"]:
        params, tokens, flops, spent, loss = (
            np.repeat(one, 2) for one in (params, tokens, flops, spent, loss)
        )
    loss = loss * np.exp(NOISE * rng.standard_normal(len(loss)))
    if has["outliers"]:
        off = rng.random(len(loss)) < 0.06
        loss = loss * np.where(
            off, np.exp(rng.choice([-1, 1, 1], len(loss)) * rng.uniform(0.02, 0.1, len(loss))), 1
        )
    if has["digitised sizes"]:
        params = params * np.exp(0.02 * rng.standard_normal(len(params)))
    table = {"params": params, "flops": spent, "loss": loss}
    if has["copies"]:
        again = np.sort(np.concatenate([np.arange(len(loss)), rng.choice(len(loss), len(loss) // 5)]))
        table = {name: values[again] for name, values in table.items()}
    return table


def exponents(table, method="auto", draws=200):
    """{approach: (exponent, interval or None)} of one table, as `lab isoflop` has them."""
    law = sl.fit(table, bootstrap=0)
    result = sl.isoflop(table, method, law=law, bootstrap=draws)
    found = {"minima": result.params_law, "bias off": result.corrected_law}
    out = {name: (one.exponent, one.interval) for name, one in found.items() if one is not None}
    return out, sum(curve.minimum is not None for curve in result.curves), result


def test_outliers_hardly_move_the_exponent():
    """With weights that never reach zero the error of these exponents was 0.014."""
    law = SURFACES["asymmetric"]
    tables = [faulty(law, "outliers", seed) for seed in range(16)]
    found = [exponents(table, "law", 0)[0]["minima"][0] for table in tables]
    assert np.sqrt(np.mean((np.array(found) - true_exponent(law)) ** 2)) < 0.01


def test_points_that_do_not_count_are_named():
    table = faulty(SURFACES["chinchilla"], "clean", 0)
    table["loss"][[13, 40]] *= 1.05, 0.96
    result = sl.isoflop(table, law=sl.fit(table, bootstrap=0), bootstrap=0)
    said = [note.text for curve in result.curves for note in curve.notes if note.code == "outliers"]
    assert len(said) == 2
    assert said[0].endswith("row 13")
    assert said[1].endswith("row 40")
    assert all(text in isoflop_text(result) for text in said), "what is in JSON is in the text"


def main(simulations=100, only=None):
    print("surface     fault              method     approach   covers  bias/se     sd   width/sd minima  s")
    for name, law in SURFACES.items():
        for fault in FAULTS if only is None else [only]:
            for method in ("auto", "law"):
                seen, minima, begin = {}, [], time.time()
                for seed in range(simulations):
                    found, count, _ = exponents(faulty(law, fault, seed), method)
                    minima.append(count)
                    for way, pair in found.items():
                        seen.setdefault(way, []).append((pair[0], *(pair[1] or (np.nan, np.nan))))
                for way, values in seen.items():
                    value, low, high = np.array(values).T
                    known = np.isfinite(low)
                    truth, sd = true_exponent(law), value.std()
                    covers = np.mean((low <= truth) & (truth <= high), where=known)
                    width = np.mean(high - low, where=known) / sd
                    print(
                        f"{name:11s} {fault:18s} {method:10s} {way:10s} {100 * covers:5.1f} "
                        f"{(value.mean() - truth) / sd:8.2f} {sd:7.4f} {width:8.2f} "
                        f"{np.mean(minima):6.1f} {time.time() - begin:4.0f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main(*(int(one) for one in sys.argv[1:2]), *sys.argv[2:3])
