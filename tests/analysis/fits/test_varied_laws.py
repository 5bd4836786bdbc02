"""Laws for what else people vary: planted on a grid with a little noise, and found again.

`python tests/analysis/fits/test_varied_laws.py` prints planted beside found.
"""

import numpy as np
import pytest

import analysis as sl
from analysis.laws.named import LAWS
from analysis.tables.columns import ALIASES, COVARIATES

BASE = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
NOISE = 5e-4
STEPS = (0, 0.15, 0.3, 0.5, 0.7, 1)
SHARES = {
    2: np.array([[0.0], [0.1], [0.25], [0.5], [0.75], [0.9], [1.0]] * 3),
    3: np.array([[a, b] for a in STEPS for b in STEPS if a + b <= 1.01]),
}


def grid(**more):
    return product(params=np.geomspace(1e7, 2e9, 5), tokens=np.geomspace(1e9, 5e10, 4), **more)


def product(**axes):
    """Every combination of these values: name -> (n,)."""
    values = np.meshgrid(*(np.asarray(v, float) for v in axes.values()), indexing="ij")
    return dict(zip(axes, (v.ravel() for v in values), strict=True))


# law -> (planted parameters, table, which parameters are compared and how closely).
PLANTED = {
    "chinchilla-experts": (
        {**BASE, "g": 0.06, "params_limit": 1e11},
        grid(experts=[1, 4, 16, 64]),
        {"g": 0.1, "alpha": 0.05, "beta": 0.05},
    ),
    "chinchilla-moe": (
        {**BASE, "g": 0.06, "params_limit": 1e11, "h": 0.03, "tokens_limit": 1e12},
        grid(experts=[1, 4, 16, 64]),
        {"g": 0.15, "h": 0.2, "alpha": 0.06, "beta": 0.06},
    ),
    "chinchilla-vocab": (
        {**BASE, "C_vocab": 300.0, "nu": 0.45},
        grid(vocab_params=np.geomspace(1e6, 3e8, 4)),
        {"nu": 0.1, "alpha": 0.05, "beta": 0.05},
    ),
    "chinchilla-parallel": (
        {**BASE, "k_streams": 0.35},
        grid(streams=[1, 2, 4, 8]),
        {"k_streams": 0.1, "alpha": 0.05},
    ),
    "chinchilla-mixture": (
        {**BASE, "k": 0.4, "t": -2.0},
        grid(share=[0, 0.1, 0.3, 0.6, 1]),
        {"t": 0.1, "alpha": 0.05},
    ),
    "chinchilla-arm": (
        {**BASE, "t_arm": -0.03},
        grid(arm=[0, 1]),
        {"t_arm": 0.05, "alpha": 0.05, "beta": 0.05},
    ),
    "mixture-2": (
        {"c": 1.5, "k": 1.2, "t_1": -2.5},
        {"share_1": SHARES[2][:, 0]},
        {"c": 0.02, "k": 0.02, "t_1": 0.02},
    ),
    "mixture-3": (
        {"c": 1.5, "k": 1.2, "t_1": -2.5, "t_2": 0.4},
        {"share_1": SHARES[3][:, 0], "share_2": SHARES[3][:, 1]},
        {"c": 0.02, "t_1": 0.03, "t_2": 0.1},
    ),
    "rectified": (
        {"E": 1.2, "B": 400.0, "D_l": 200.0, "beta": 0.55},
        {"tokens": np.geomspace(100, 1e8, 40)},
        {"E": 0.02, "beta": 0.05, "D_l": 0.2},
    ),
    "width-depth": (
        {"E": 1.8, "A": 60.0, "L": 2.0, "B": 2100.0, "a": 0.7, "l": 0.8, "beta": 0.37},
        product(width=[128, 256, 512, 1024, 2048], depth=[3, 6, 12, 24], tokens=np.geomspace(1e9, 5e10, 4)),
        {"a": 0.05, "l": 0.05, "beta": 0.05},
    ),
    "u-shaped-flops": (
        {"E": 0.5, "A": 1e4, "U": 1e-7, "alpha": 0.25, "upsilon": 0.3},
        {"flops": np.geomspace(1e17, 1e24, 40)},
        {"alpha": 0.1, "upsilon": 0.1},
    ),
}


def found(name, seed=0):
    truth, table, _ = PLANTED[name]
    law = LAWS[name]
    inputs = {
        one: table[one] if one in table else np.exp(table[one.removeprefix("exp_")]) for one in law.inputs
    }
    noise = NOISE * np.random.default_rng(seed).standard_normal(len(next(iter(table.values()))))
    return sl.fit({**table, "loss": law.loss(truth, inputs) * np.exp(noise)}, law=name, bootstrap=0)


@pytest.mark.parametrize("name", PLANTED)
def test_planted_parameters_are_found_again(name):
    truth, _, close = PLANTED[name]
    fit = found(name)
    assert fit.certificate.converged
    assert not fit.excluded, "zeros are values of these covariates"
    for parameter, within in close.items():
        assert fit.params[parameter] == pytest.approx(truth[parameter], rel=within), parameter
    assert np.std(fit.data["residual"]) < 1.2 * NOISE


def test_units_do_not_matter_to_terms():
    truth, table, _ = PLANTED["chinchilla-experts"]
    loss = LAWS["chinchilla-experts"].loss(truth, table)
    one = sl.fit({**table, "loss": loss}, law="chinchilla-experts", bootstrap=0)
    small = {**table, "params": table["params"] / 1e6, "tokens": table["tokens"] / 1e9, "loss": loss}
    other = sl.fit(small, law="chinchilla-experts", bootstrap=0)
    assert other.params["g"] == pytest.approx(one.params["g"], rel=1e-4)
    assert other.params["params_limit"] * 1e6 == pytest.approx(one.params["params_limit"], rel=1e-3)


def test_covariates_are_named_and_computed_on_the_command_line(tmp_path):
    truth, table, _ = PLANTED["chinchilla-arm"]
    loss = LAWS["chinchilla-arm"].loss(truth, {**table, "exp_arm": np.exp(table["arm"])})
    lines = [
        f"{n},{d},{1 - a},{x}"
        for n, d, a, x in zip(table["params"], table["tokens"], table["arm"], loss, strict=True)
    ]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["N,D,control,loss", *lines]))
    fit = sl.fit(sl.read(path, {"arm": "1-control"}), law="chinchilla+arm", bootstrap=0)
    assert fit.params["t_arm"] == pytest.approx(-0.03, rel=0.01)
    with pytest.raises(sl.InputError, match="no role 'expert'; nearest: 'experts'"):
        sl.read(path, {"expert": "control"})


def test_every_input_of_a_law_can_be_named():
    inputs = {name.removeprefix("exp_") for law in LAWS.values() for name in law.inputs}
    assert inputs - ALIASES.keys() == COVARIATES


if __name__ == "__main__":
    for name, (truth, _, _) in PLANTED.items():
        fit = found(name)
        told = (f"{key} {value:.4g} -> {fit.params[key]:.4g}" for key, value in truth.items())
        print(name, *told, sep="  ")


def test_an_arm_may_be_a_name():
    table = grid(arm=[0, 1])
    law = 1.8 + 480 / table["params"] ** 0.35 + 2100 / table["tokens"] ** 0.37
    loss = law * np.exp(-0.03 * table["arm"])
    names = np.where(table["arm"] > 0, "ours", "baseline").astype(object)
    made = {"params": table["params"], "tokens": table["tokens"], "loss": loss, "method": names}
    found = sl.fit(sl.as_runs(made, {"arm": "method"}), law="chinchilla+arm", bootstrap=0)
    assert found.params["t_arm"] == pytest.approx(-0.03, abs=1e-3)
    assert not [one for one in found.warnings if "exp_arm" in one.text], "nothing else is asked of an arm"
    assert "arm 'baseline' is 0 and 'ours' is 1" in [note.text for note in found.notes]
    made["method"] = np.array(["a", "b", "c", "d"] * (len(loss) // 4), object)
    with pytest.raises(sl.InputError, match="arm has 4 names, 'a', 'b', 'c', 'd'"):
        sl.fit(sl.as_runs(made, {"arm": "method"}), law="chinchilla+arm", bootstrap=0)
