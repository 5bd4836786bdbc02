"""What `lab next` says, in plain words."""

from collections.abc import Callable, Mapping, Sequence

from sweeps.plan import next_runs
from sweeps.quantities import duration


def headline(made: next_runs.Proposal) -> str:
    low, high = made.now
    return f"{made.target}: {made.value:.4g} [{low:.4g}, {high:.4g}] at {made.level:.0%}"


def as_text(made: next_runs.Proposal, unit: str, budget: float) -> str:
    """In plain words."""

    def cost(value: float) -> str:
        return duration(value) if unit == "seconds" else f"{value:.3g} {unit}"

    laws = ", ".join(f"{name} {weight:.0%}" for name, weight in made.laws.items())
    lines = [f"now     {headline(made)}", f"known by {made.source} ({laws})"]
    if made.between > 0.5:
        lines.append(f"{made.between:.0%} of its width is that the laws in play part there")
    if made.steps:
        low, high = made.after
        lines.append(
            f"after   [{low:.4g}, {high:.4g}], {made.narrowing:.0%} narrower, for {cost(made.cost)} "
            f"of {cost(budget)}: {made.narrowing / made.cost:.2g} of the width per {unit.removesuffix('s')}"
        )
        lines += ["", *_table(made.steps, cost)]
    lines.append("")
    if made.stop:
        lines.append(f"stop: {made.stop}")
    else:
        lines.append(f"go on: these cells take {made.narrowing:.0%} off the interval")
    return "\n".join(lines)


def _table(steps: Sequence[Mapping], cost: Callable[[float], str]) -> list[str]:
    """A line a run; what none of them has is no column."""
    columns: dict[str, tuple[str, Callable]] = {
        "shape": ("shape", str),
        "params": ("params", "{:.4g}".format),
        "width": ("width", "{:.4g}".format),
        "tokens": ("tokens", "{:.4g}".format),
        "rate": ("rate", "{:.4g}".format),
        "seed": ("seed", str),
        "cost": ("adds", cost),
        "narrowing": ("narrower after it", "{:.0%}".format),
    }
    shown = [
        (title, [say(one[key]) for one in steps]) for key, (title, say) in columns.items() if key in steps[0]
    ]
    wide = [max(map(len, [title, *values])) for title, values in shown]
    rows = zip(*([title, *values] for title, values in shown), strict=True)
    return ["  " + "  ".join(map(str.ljust, row, wide)).rstrip() for row in rows]


def of_items(more: dict) -> str:
    said = (
        f"{more['items']:.0f} items a run: {more['part_of_items']:.0%} of the variance of a run at the elbow "
        "is theirs, the rest that of seeds"
    )
    if "times_items" in more:
        said += (
            f"; the same runs with {more['times_items']:.0f} times the items would take "
            f"{more['narrowing_with_more_items']:.0%} off"
        )
    return said


def of_rates(more: dict) -> str:
    parts = [
        f"{name}^{more[key]:.2f}"
        for key, name in (("power", "size"), ("tokens_power", "tokens"))
        if more[key] is not None
    ]
    said = f"runs scatter by {more['scatter']:.2%} about their valleys"
    if parts:
        said = f"it goes as {' '.join(parts)}; {said}"
    return "\n".join([said, *more["said"]])
