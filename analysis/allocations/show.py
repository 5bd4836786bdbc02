"""Allocations, alone and under limits, as text for a terminal."""

from __future__ import annotations

from analysis.allocations.limits import Plan
from analysis.fits.reach import first, others
from analysis.fits.results import Allocation
from analysis.text import number, pair, remarks, table


def allocation_text(result: Allocation) -> str:
    rows = [
        (name, number(getattr(result, name)), pair(result.intervals.get(name)))
        for name in ("params", "tokens", "loss")
    ]
    rows.append(("tokens/params", number(result.tokens / result.params), ""))
    costs = [
        (
            f"{deviation.factor:g} x params",
            number(deviation.params),
            number(deviation.tokens),
            f"{deviation.loss:.4f}",
            f"+{deviation.extra_loss:.4f}",
            f"{100 * deviation.extra_flops:.1f} %",
        )
        for deviation in result.deviations
    ]
    head = ("", "params", "tokens", "loss", "extra", "flops wasted")
    parts = (
        first(result.warnings),
        f"compute-optimal at {result.flops:.4g} FLOPs by {result.law}",
        f"  {result.why}" if result.why else "",
        table(rows, ("", "optimum", f"{100 * result.level:g} % interval" if result.intervals else "")),
        "what deviating costs, at the same flops",
        table(costs, head),
        remarks(others(result.warnings)),
    )
    return "\n".join(part for part in parts if part)


def plan_text(result: Plan) -> str:
    rows = [
        (name, number(getattr(result, name)), pair(result.intervals.get(name)))
        for name in ("params", "tokens", "loss")
    ]
    rows.append(("flops", number(result.flops), pair(result.intervals.get("flops"))))
    if result.inference_flops > 0:
        rows.append(("  to train", number(result.train_flops), ""))
        rows.append(("  to serve", number(result.inference_flops), ""))
    if result.epochs is not None:
        rows.append(("epochs", number(result.epochs), ""))
    costs = [
        (
            f"{one.factor:g} x params",
            number(one.params),
            number(one.tokens),
            f"{one.loss:.4f}",
            f"{one.loss - result.loss:+.4f}",
            f"{100 * one.extra_flops:.1f} %",
        )
        for one in result.deviations
    ]
    free = result.free
    said = [
        f"  binding: {', '.join(result.binding)}" if result.binding else "  no limit binds",
    ]
    if result.naive_flops is None:
        said.append(
            f"  without limits the same flops: {number(free['params'])} params, {number(free['tokens'])} "
            f"tokens, loss {free['loss']:.4f}; the limits cost {100 * result.cost:.1f} % of the budget"
        )
    else:
        saved = 1 - result.flops / result.naive_flops
        said.append(
            f"  the compute-optimal model of this loss takes {number(result.naive_flops)} FLOPs to train and "
            f"serve; this one saves {100 * saved:.1f} %"
        )
    parts = (
        first(result.warnings),
        f"best run under limits by {result.law}",
        f"  {result.why}" if result.why else "",
        table(rows, ("", "optimum", f"{100 * result.level:g} % interval" if result.intervals else "")),
        *said,
        "what deviating costs, under the same limits" if costs else "",
        table(costs, ("", "params", "tokens", "loss", "extra", "flops wasted")) if costs else "",
        remarks(others(result.warnings)),
    )
    return "\n".join(part for part in parts if part)
