"""What a table cannot tell: refusals before a fit, remarks with codes after it."""

from __future__ import annotations

import numpy as np

from analysis.errors import InputError
from analysis.fits.certify import TOLD
from analysis.fits.results import Certificate
from analysis.laws.law import Law
from analysis.laws.sums import SumLaw
from analysis.notes import Note
from analysis.solve.scale import Noise, are_few
from analysis.tables.sample import Sample
from analysis.tables.trajectories import distinct

FEW_VALUES = 5
DECADE = 10.0
COLLINEAR = 0.97
# A residual that many robust standard deviations away is an outlier under any smooth noise.
FAR = 6.0
# Of few rows: the share of clean tables on which an outlier may be told.
FALSE_TABLES = 0.01
# Params and tokens this close to one power law of each other (rounding of published tables) are collinear.
ON_LINE = 0.05
# Losses written with seven digits, or kept in float32, cannot agree better than this with any law.
ROUNDING = 1e-7
# Share of the scatter of the log losses that a law may leave unexplained, in robust variances.
UNEXPLAINED = 0.1


def refuse(rows: Sample, law: Law, source: str) -> None:
    """Raises InputError, all reasons at once, where no fit of the law could mean anything."""
    problems = []
    count, width = len(rows), len(law.names)
    if count <= width:
        problems.append(
            f"{source}: {count} usable rows cannot determine the {width} parameters of {law.name}"
            + _excluded(rows)
        )
    elif (places := _places(rows, law)) < width:
        problems.append(
            f"{source}: {count} usable rows repeat {places} points of {', '.join(law.inputs)}, which cannot "
            f"determine the {width} parameters of {law.name}" + _excluded(rows)
        )
    if count > 1 and np.ptp(np.log(rows.loss)) < 1e-9:
        problems.append(
            f"{source}: the loss is {rows.loss[0]:g} in every usable row; there is nothing to fit"
        )
    offset = not isinstance(law, SumLaw) or any(not term.powers for term in law.terms)
    for name in law.inputs:
        # An offset needs a third point along the axis it is the limit of; a switch such as bits needs two.
        needed = 3 if offset and name in ("params", "tokens", "flops") else 2
        values = distinct(rows.inputs[name])
        if len(values) < needed and count:
            problems.append(
                f"{source}: {name} has {len(values)} distinct value(s) among the usable rows; "
                f"{law.name} needs at least {needed}" + _excluded(rows)
            )
    if not problems and (off := _off_line(rows, law)) < ON_LINE:
        how = "exactly" if off < 1e-6 else f"within {100 * off:.2g} %"
        problems.append(
            f"{source}: params and tokens rise together {how} (tokens = c params^k), so their terms "
            f"cannot be told apart; fit a law of one axis (power-flops-offset) or vary them separately"
        )
    if problems:
        raise InputError(*problems)


def _places(rows: Sample, law: Law) -> int:
    """How many different points the rows lie at; of very many rows the first tell enough."""
    logs = np.log(np.stack([rows.inputs[name][:10_000] for name in law.inputs]))
    return np.unique(np.round(logs, 9), axis=1).shape[1]


def _excluded(rows: Sample) -> str:
    if not rows.excluded:
        return ""
    first = rows.excluded[0]
    return f" ({len(rows.excluded)} rows were left out; row {first.row}: {first.reason})"


def _collinearity(rows: Sample, law: Law) -> float:
    if not {"params", "tokens"} <= set(law.inputs) or len(rows) < 3:
        return 0.0
    n, d = np.log(rows.inputs["params"]), np.log(rows.inputs["tokens"])
    return abs(float(np.corrcoef(n, d)[0, 1])) if n.std() > 1e-9 and d.std() > 1e-9 else 0.0


def _off_line(rows: Sample, law: Law) -> float:
    """How far tokens lie from a power of params at most, as a share; infinite for laws without both."""
    if not {"params", "tokens"} <= set(law.inputs) or len(rows) < 3:
        return np.inf
    n, d = np.log(rows.inputs["params"]), np.log(rows.inputs["tokens"])
    if n.std() < 1e-9:
        return np.inf
    slope = np.cov(n, d)[0, 1] / n.var(ddof=1)
    return float(np.expm1(np.abs(d - d.mean() - slope * (n - n.mean())).max()))


def remarks(
    rows: Sample,
    law: Law,
    certificate: Certificate,
    residual: np.ndarray,
    noise: Noise,
    value: float,
    lost: float,
    gone: np.ndarray,
) -> tuple[Note, ...]:
    """Everything about the fit that its numbers alone would hide.

    lost: share of bootstrap draws not at an optimum; gone (P,): share of draws in which a factor vanished.
    """
    said = [*_design(rows, law), *_optimum(law, certificate, value), *_residuals(rows, law, residual, noise)]
    if lost > 0.01:
        said.append(Note("draws_not_converged", f"{lost:.1%} of the bootstrap draws are not at an optimum"))
    for name, share in zip(law.names, gone, strict=True):
        if share > 0.025 and f"{name} = 0" not in certificate.bound_hits:
            said.append(Note(f"{name}_may_vanish", f"{name} is 0 in {share:.0%} of the bootstrap draws"))
    return tuple(said)


def _design(rows: Sample, law: Law) -> list[Note]:
    said = []
    codes = {"params": "few_sizes", "tokens": "few_budgets", "flops": "few_levels"}
    for name in law.inputs:
        values = distinct(rows.inputs[name])
        if name.startswith("exp_"):  # no logarithm of it is taken: neither decades nor a bend are asked of it
            continue
        if len(values) < FEW_VALUES:
            text = f"{name} has {len(values)} distinct values; the law's bend along it is barely seen"
            said.append(Note(codes.get(name, f"few_{name}"), text))
        span = float(values[-1] / values[0])
        if span < DECADE:
            said.append(Note("one_decade", f"{name} spans a factor of {span:.3g} only"))
    collinear = _collinearity(rows, law)
    if collinear > COLLINEAR:
        text = (
            f"log params and log tokens correlate by {collinear:.3f}: alpha and beta trade against each other"
        )
        said.append(Note("collinear", text))
    if len(rows) < 3 * len(law.names):
        said.append(Note("few_points", f"{len(rows)} rows for {len(law.names)} parameters"))
    stacked = np.stack([*(rows.inputs[name] for name in law.inputs), rows.loss])
    said += _rising(rows)
    for name in law.inputs:
        # A power of a covariate takes neither zero nor what is below; a third of a table can go that way.
        why = [one.reason for one in rows.excluded if one.reason.startswith(f"{name} is ")]
        lost = sum("positive" in reason for reason in why)
        if lost and name not in ("params", "tokens", "flops"):
            text = (
                f"{lost} of {lost + len(rows)} rows are left out because their {name} is zero or negative, "
                f"which {law.name} cannot take: shift that column, or fit a law without it"
            )
            said.append(Note("covariate_not_positive", text))
    copies = len(rows) - np.unique(stacked, axis=1).shape[1]
    if copies:
        text = f"{copies} rows repeat another row's {', '.join(law.inputs)} and loss exactly: no new evidence"
        said.append(Note("duplicates", text))
    return said


def _rising(rows: Sample) -> list[Note]:
    """A loss that rises with compute is none: a score, or a column of another kind."""
    spent = rows.inputs.get("flops")
    if spent is None or len(rows) < 8:
        return []
    ranks = [np.unique(values, return_inverse=True)[1] for values in (spent, rows.loss)]
    if min(rank.std() for rank in ranks) == 0:
        return []
    agree = float(np.corrcoef(*ranks)[0, 1])
    if agree < 2.5 / np.sqrt(len(rows)):
        return []
    text = (
        f"the loss rises with compute (rank correlation {agree:.2f}): a score is no loss, and is what "
        f"`lab downstream` and `lab thresholds` take"
    )
    return [Note("loss_rises", text)]


def _optimum(law: Law, certificate: Certificate, value: float) -> list[Note]:
    said = []
    if not certificate.converged:
        text = f"the best point found is not at an optimum (gradient norm {certificate.gradient_norm:.1e})"
        said.append(Note("not_converged", text))
    for name, gap in certificate.invariance.items():
        if abs(gap) > TOLD:
            text = f"from beside the optimum, in {name}, the fit ends {gap:+.1e} of the objective away"
            said.append(Note("not_invariant", text))
    for hit in certificate.bound_hits:
        name = hit.split()[0]
        code = "E_at_bound" if name == "E" else "bound_hit"
        said.append(
            Note(code, f"{hit}: the table does not show this term, or pushes it out of the law's domain")
        )
    near = [basin for basin in certificate.basins if basin.value < value * 1.05]
    if near:
        values = ", ".join(f"{name} {number:.4g}" for name, number in near[0].params.items())
        gap = near[0].value / value - 1
        said.append(Note("second_basin", f"another optimum is worse by {gap:.2%} only: {values}"))
    if certificate.condition > 1e8:
        text = (
            f"the Hessian's condition is {certificate.condition:.1e}: some combination of parameters is free"
        )
        said.append(Note("not_identified", text))
    return said


def _residuals(rows: Sample, law: Law, residual: np.ndarray, noise: Noise) -> list[Note]:
    said = []
    size = np.abs(residual)
    few = are_few(len(rows), len(law.names))
    scale = noise.size if few else 1.4826 * float(np.median(size))
    if size.max() < ROUNDING:
        return [Note("noise_free", "the law passes through every row exactly; intervals are zero, not small")]
    far = np.flatnonzero(noise.outlying(FALSE_TABLES) if few else size > FAR * scale)
    if few and len(far):
        worst = far[np.argsort(-size[far], kind="stable")][:5]
        shown = ", ".join(f"row {rows.rows[i]} ({np.expm1(residual[i]):+.1%})" for i in worst)
        text = f"{len(far)} rows lie further off than the others' noise puts one in a hundred tables: {shown}"
        said.append(Note("outliers", text))
    elif len(far):
        worst = far[np.argsort(-size[far], kind="stable")][:5]
        shown = ", ".join(f"row {rows.rows[i]} ({np.expm1(residual[i]):+.1%})" for i in worst)
        text = f"{len(far)} rows lie more than {FAR:g} robust standard deviations off: {shown}"
        said.append(Note("outliers", text))
    spread = 1.4826 * float(np.median(np.abs(np.log(rows.loss / np.median(rows.loss)))))
    if spread > 0 and (left := (scale / spread) ** 2) > UNEXPLAINED:
        text = (
            f"the law leaves {min(left, 1):.0%} of the losses' scatter unexplained: there is more in it than "
            f"{' and '.join(law.inputs)} (rates, data, recipes, unfinished schedules)"
        )
        said.append(Note("poor_fit", text))
    said += _mixed(rows, np.clip(residual, -4 * scale, 4 * scale))
    return said


def _mixed(rows: Sample, residual: np.ndarray) -> list[Note]:
    """Columns of text whose groups lie apart: different data or recipes follow different laws."""
    said = []
    total = float(((residual - residual.mean()) ** 2).sum()) / max(len(rows) - 1, 1)
    for name, group in rows.groups.items():
        count = np.bincount(group)
        used = int((count > 0).sum())
        if used < 2 or len(rows) < 4 * used or total <= 0:
            continue
        mean = np.bincount(group, residual) / np.maximum(count, 1)
        within = float(((residual - mean[group]) ** 2).sum()) / (len(rows) - used)
        between = float((count * (mean - residual.mean()) ** 2).sum()) / (used - 1)
        share = 1 - within / total
        if share > 0.1 and between > 8 * within:
            text = (
                f"{share:.0%} of the scatter lies between the groups of {name!r}: they follow "
                f"different laws; fit one of them with --where {name}=..."
            )
            said.append(Note("mixed_groups", text))
    return said
