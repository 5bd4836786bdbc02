"""What to say where no column is recognised for a role: formulas over what is there, or names like it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from analysis.tables.columns import ALIASES, normal, shown
from analysis.tables.units import numbers

# What a name that could play a role holds.
_HINTS = {
    "params": r"param|size|weights|model",
    "tokens": r"token|tok|data|samples",
    "flops": r"flop|compute|budget",
    "loss": r"loss|ppl|perplex|bpb|bpc|nll|entropy|xent|bits",
}
_LOGARITHM = re.compile(r"^(log10|log2|log|ln)(.+)$")
_LAYERS = re.compile(r"^(n|num)?(layers?|hiddenlayers)$|^depth$")
_WIDTH = re.compile(r"^(n?embd|nembd|embeddim|dmodel|hiddensize|hiddendim|modeldim|width|nembed)$")
_STEPS = re.compile(r"^(n|num|max|total|train|training)?(steps?|iters?|iterations?|globalsteps?|updates)$")
_BATCH = re.compile(r"^(global|total|train|effective)?(batch|batchsize|bs|bsz)$")
_STEP_TOKENS = re.compile(
    r"^(batchtokens|tokensper(step|batch|iter)|tokensbatch|batchsizetokens|batchintokens)$"
)
_CONTEXT = re.compile(
    r"^(seqlen|sequencelength|seqlength|context|contextlength|ctx|ctxlen|blocksize|maxseqlen)$"
)
_RATIO = re.compile(r"^(tpp|tokensperparam(eter)?s?|tokenparamratio|tokenstoparams)$")
_ACCURACY = re.compile(r"acc(uracy)?$")
# Exponents: of ten for params and tokens, of ten for flops, of two or e for any.
_TEN, _TEN_FLOPS, _ANY = 14.0, 30.0, 80.0


def suggested(role: str, columns: Mapping[str, np.ndarray], roles: Mapping[str, str] | None = None) -> str:
    """`; perhaps --columns tokens=steps*batch_size*seq_len`, `; perhaps 'a' or 'b'`, or nothing.

    roles: the columns or formulas that are taken for other roles, by which a formula names them."""
    if formula := _formula(role, columns, roles or {}):
        return f"; perhaps --columns {shown(role, formula)}"
    if role == "tokens" and (steps := _named(_STEPS, columns)):
        return f"; perhaps --columns tokens={steps}*N, N the tokens of a step"
    last = {name: normal(re.split(r"[/.:]", name)[-1]) for name in columns}
    found = [name for name in columns if re.search(_HINTS.get(role, "$^"), last[name] or normal(name))][:4]
    if len(found) == 1:
        return f"; perhaps --columns {shown(role, found[0])}"
    return f"; perhaps {' or '.join(repr(name) for name in found)}" if found else ""


def _formula(role: str, columns: Mapping[str, np.ndarray], roles: Mapping[str, str]) -> str:
    """A formula that would give the role, or nothing."""
    if role in ("params", "tokens", "flops") and (exponent := _exponent(role, columns)):
        return exponent
    if role == "params" and (depth := _named(_LAYERS, columns)) and (width := _named(_WIDTH, columns)):
        return f"12*{depth}*{width}**2"
    if role == "tokens":
        if (ratio := _named(_RATIO, columns)) and (
            params := roles.get("params") or _alias("params", columns)
        ):
            return f"{params}*{ratio}"
        steps, batch, context = (_named(one, columns) for one in (_STEPS, _BATCH, _CONTEXT))
        if steps and (own := _named(_STEP_TOKENS, columns)):
            return f"{steps}*{own}"
        if steps and batch and context:
            return f"{steps}*{batch}*{context}"
    if role == "loss" and (score := _named(_ACCURACY, columns)):
        values = numbers(columns[score])
        return f"1-{score}/100" if np.nanmax(values, initial=0) > 1 else f"1-{score}"
    return ""


def _exponent(role: str, columns: Mapping[str, np.ndarray]) -> str:
    """`10**log_N` for a column of logarithms of what the role is."""
    for name, column in columns.items():
        found = _LOGARITHM.match(normal(name))
        if found and found[2] in {*ALIASES[role][0], *ALIASES[role][1]}:
            largest = np.nanmax(numbers(column), initial=0)
            if not 0 < largest < _ANY:
                continue
            base = {"log10": 10, "log2": 2}.get(found[1])
            if base is None:
                # ln of a million is 13.8, and 10**14 params are more than anybody has.
                base = (
                    10 if found[1] == "log" and largest < (_TEN_FLOPS if role == "flops" else _TEN) else None
                )
            return f"{base}**{name}" if base else f"exp({name})"
    return ""


def _named(pattern: re.Pattern[str], columns: Iterable[str]) -> str:
    last = {name: normal(re.split(r"[/.:]", name)[-1]) for name in columns}
    return next((name for name in columns if pattern.match(last[name])), "")


def _alias(role: str, columns: Iterable[str]) -> str:
    known = {alias for tier in ALIASES[role] for alias in tier}
    return next((name for name in columns if normal(name) in known), "")
