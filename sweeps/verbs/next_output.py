"""What `lab next` says, in plain words."""

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
        lines.append("\n  params      tokens      seed  adds          narrower after it")
        lines += [
            f"  {one['params']:<10.4g}  {one['tokens']:<10.4g}  {one['seed']:<4}  "
            f"{cost(one['cost']):<12}  {one['narrowing']:.0%}"
            for one in made.steps
        ]
    lines.append("")
    if made.stop:
        lines.append(f"stop: {made.stop}")
    else:
        lines.append(f"go on: these cells take {made.narrowing:.0%} off the interval")
    return "\n".join(lines)


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
