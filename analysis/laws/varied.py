"""Laws for what else people vary: experts, vocabulary, mixtures, fine-tuning, streams, shape, an arm.

Terms go on a base law, as in `--law chinchilla+experts`. A covariate that may be zero or negative, or that
says yes or no, enters by its exponential: a law's input `exp_share` is exp of the table's column `share`, so
that 0 is a value like any other.
"""

from __future__ import annotations

from analysis.laws import jets
from analysis.laws.law import FormulaLaw, Law, Parameter, coefficient
from analysis.laws.sums import SumLaw, Term
from analysis.laws.terms import formula_of, on_base

# A rate in logs, of either sign; and a scale that lies within e^30 of the table's own.
_SIGNED = {"low": -12.0, "high": 12.0, "start": (-1.0, 1.0)}
_EXPONENT = {"high": 6.0, "start": (0.05, 1.5)}


def _worth(p, x, axis: str, gain: str, limit: str):
    """amount experts^(gain log(limit/amount)): experts stand for more of it, the less there is."""
    log = jets.log(x[axis])
    return jets.exp(log + p[gain] * jets.log(x["experts"]) * (jets.log(p[limit]) - log))


def experts(base: Law) -> FormulaLaw:
    """The base law with params that count for more by the experts they are routed among; 1 is a dense model.

    log params' = log params + g log experts (log params_limit - log params): linear in log experts, with an
    interaction, so that routing stops to pay at params_limit.
    """
    inner = formula_of(base)
    return on_base(
        base,
        "experts",
        lambda p, x: inner(p, {**x, "params": _worth(p, x, "params", "g", "params_limit")}),
        ("experts",),
        (
            Parameter("g", high=2.0, start=(0.0, 0.2)),
            Parameter("params_limit", True, {"params": 1}, -30.0, 30.0, (-2.0, 8.0)),
        ),
        base.formula.replace("params", "params'")
        + ", params' = params experts^(g log(params_limit/params)); experts are numbers, not in units",
        "Clark et al. 2022, arXiv 2202.01169, equation 2, as effective params (section 4.2)",
        unscaled=("experts",),
    )


def mixture_of_experts(base: Law) -> FormulaLaw:
    """`experts` for params and tokens both: what routing is worth changes with the tokens too."""
    inner = formula_of(base)

    def loss(p, x):
        params = _worth(p, x, "params", "g", "params_limit")
        tokens = _worth(p, x, "tokens", "h", "tokens_limit")
        return inner(p, {**x, "params": params, "tokens": tokens})

    return on_base(
        base,
        "moe",
        loss,
        ("experts",),
        (
            Parameter("g", low=-2.0, high=2.0, start=(-0.1, 0.2)),
            Parameter("params_limit", True, {"params": 1}, -30.0, 30.0, (-2.0, 8.0)),
            Parameter("h", low=-2.0, high=2.0, start=(-0.1, 0.2)),
            Parameter("tokens_limit", True, {"tokens": 1}, -30.0, 30.0, (-2.0, 8.0)),
        ),
        base.formula.replace("params", "params'").replace("tokens", "tokens'")
        + ", params' = params experts^(g log(params_limit/params)), tokens' alike with h",
        "Ludziejewski et al. 2025, arXiv 2502.05172, equation 5 (params are the active ones)",
        unscaled=("experts",),
    )


def vocabulary(base: Law) -> FormulaLaw:
    """The base law of the params that are no embedding, plus a term of the vocabulary's: C / vocab_params^nu.

    Only losses that compare across vocabularies can be fitted: nats a byte, or normalised by the unigram's
    (the publication's; that may be negative, and then has no logarithm).
    """
    inner = formula_of(base)
    return on_base(
        base,
        "vocab",
        lambda p, x: inner(p, x) + jets.exp(jets.log(p["C_vocab"]) - p["nu"] * jets.log(x["vocab_params"])),
        ("vocab_params",),
        (
            coefficient("C_vocab", {"loss": 1, "vocab_params": "nu"}),
            Parameter("nu", **_EXPONENT),
        ),
        f"{base.formula} + C_vocab/vocab_params^nu",
        "Tao et al. 2024, arXiv 2407.13623, equation 7",
    )


def parallel_streams(base: Law) -> FormulaLaw:
    """The base law with params that count for more by parallel streams: params (1 + k log streams)."""
    inner = formula_of(base)

    def loss(p, x):
        return inner(p, {**x, "params": x["params"] * (1.0 + p["k_streams"] * jets.log(x["streams"]))})

    return on_base(
        base,
        "parallel",
        loss,
        ("streams",),
        (Parameter("k_streams", high=10.0, start=(0.0, 1.0)),),
        base.formula.replace("params", "params'") + ", params' = params (1 + k_streams log streams)",
        "Chen et al. 2025, arXiv 2505.10475, equation 5",
        unscaled=("streams",),
    )


def mixed(base: Law) -> FormulaLaw:
    """The base law plus k exp(t share): what a share of the training data, from 0 to 1, does to the loss."""
    inner = formula_of(base)
    return on_base(
        base,
        "mixture",
        lambda p, x: inner(p, x) + jets.exp(jets.log(p["k"]) + p["t"] * jets.log(x["exp_share"])),
        ("exp_share",),
        (coefficient("k", {"loss": 1, "exp_share": "-t"}), Parameter("t", **_SIGNED)),
        f"{base.formula} + k*exp(t*share); exp_share is exp(share)",
        "Ye et al. 2024, arXiv 2403.16952, equation 1, with the base law for its constant",
    )


def arm(base: Law) -> FormulaLaw:
    """The base law times exp(t arm): by how much a change (arm 1) moves the loss of runs without it (0)."""
    inner = formula_of(base)
    return on_base(
        base,
        "arm",
        lambda p, x: inner(p, x) * jets.exp(p["t_arm"] * jets.log(x["exp_arm"])),
        ("exp_arm",),
        (Parameter("t_arm", low=-3.0, high=3.0, start=(-0.1, 0.1)),),
        f"loss = ({base.formula.removeprefix('loss = ')}) exp(t_arm arm); exp_arm is exp(arm)",
        "a factor for a yes or no, so that two arms share the law's other parameters",
        unscaled=("exp_arm",),
    )


def mixture_law(domains: int) -> FormulaLaw:
    """Loss over shares of domains that add up to 1, of which all but the last are inputs, from 0 on."""
    shares = [f"exp_share_{i}" for i in range(1, domains)]

    def loss(p, x):
        power = jets.log(p["k"])
        for index, name in enumerate(shares, 1):
            power = power + p[f"t_{index}"] * jets.log(x[name])
        return p["c"] + jets.exp(power)

    rates = " + ".join(f"t_{i}*share_{i}" for i in range(1, domains))
    units = {"loss": 1.0} | {name: f"-t_{i}" for i, name in enumerate(shares, 1)}
    return FormulaLaw(
        f"mixture-{domains}",
        loss,
        tuple(shares),
        (
            coefficient("c", {"loss": 1}),
            coefficient("k", units),
            *(Parameter(f"t_{i}", **_SIGNED) for i in range(1, domains)),
        ),
        f"loss = c + k exp({rates}); exp_share_1 is exp(share_1)",
        "Ye et al. 2024, arXiv 2403.16952, equation 1 (shares add up to 1: the last has no rate of its own)",
    )


def rectified() -> FormulaLaw:
    """Fine-tuning data: a power law of D_l + tokens^beta, flat while tokens are few beside what is known."""
    return FormulaLaw(
        "rectified",
        lambda p, x: p["E"] + p["B"] / (p["D_l"] + jets.exp(p["beta"] * jets.log(x["tokens"]))),
        ("tokens",),
        (
            coefficient("E", {"loss": 1}),
            coefficient("B", {"loss": 1, "tokens": "beta"}),
            coefficient("D_l", {"tokens": "beta"}),
            Parameter("beta", **_EXPONENT),
        ),
        "loss = E + B/(D_l + tokens^beta)",
        "Lin et al. 2024, arXiv 2402.02314, equation 1",
    )


WIDTH_DEPTH = SumLaw(
    "width-depth",
    (Term("E"), Term("A", {"width": "a"}), Term("L", {"depth": "l"}), Term("B", {"tokens": "beta"})),
    "McLeish et al. 2025, arXiv 2502.06857 (Gemstones): width and depth apart",
)
# Falls and rises again, or rises and falls for a score's distance from its best.
U_SHAPED = SumLaw(
    "u-shaped-flops",
    (Term("E"), Term("A", {"flops": "alpha"}), Term("U", {"flops": "-upsilon"})),
    "U-shaped and inverted scaling: Wei et al. 2022, arXiv 2211.02011; two powers of opposite sign",
)
TERMS = {
    "experts": experts,
    "moe": mixture_of_experts,
    "vocab": vocabulary,
    "parallel": parallel_streams,
    "mixture": mixed,
    "arm": arm,
}


def on(base: Law) -> tuple[Law, ...]:
    """All terms, each on the base law."""
    return tuple(term(base) for term in TERMS.values())


LAWS = (WIDTH_DEPTH, U_SHAPED, rectified(), *(mixture_law(domains) for domains in (2, 3, 4, 5)))
