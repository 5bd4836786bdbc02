"""What speaks against a study before it runs: data that repeat, designs that identify no law, memory."""

from collections import defaultdict

from lab.config import RunConfig
from lab.data import Dataset
from sweeps.plan import pricing
from sweeps.plan.cells import Cell, Plan
from sweeps.quantities import short
from sweeps.study.prior import Prior
from sweeps.study.schema import Grid

UNEQUAL = 1.2  # of one IsoFLOP level, how far FLOPs as they are spent may differ
_USUAL_RATES = (1e-5, 0.3)  # of AdamW and Muon here, from billions of params to thousands


def warnings(plan: Plan, prior: Prior | None = None) -> list[str]:
    """One line each: data that repeat, odd numbers, designs without a law, valleys off, memory."""
    found = []
    by_grid: dict[str, list[Cell]] = defaultdict(list)
    for cell in plan.cells:
        by_grid[cell.grid].append(cell)
    for grid in plan.study.grids:
        cells = by_grid[grid.name]
        if not cells:
            found.append(f"grid {grid.name}: all its runs belong to grids before it")
            continue
        dataset = plan.dataset(cells[0].config)
        lines = [*_of_budgets(grid, cells), *_of_data(cells, dataset), *_of_oddities(cells)]
        if not dataset.ability_sets() and not grid.factors:  # a law is fitted to sizes and tokens alone
            lines += _of_design(grid, cells)
            if grid.design == "isoflop":
                lines += _of_valleys(cells, prior or plan.study.prior, grid)
        found += [f"grid {grid.name}: {line}" for line in lines]
    return found + _of_memory(plan)


def _of_budgets(grid: Grid, cells: list[Cell]):
    """Budgets that differ by less than a batch are one run."""
    for batch in sorted({cell.config.batch_tokens for cell in cells}):
        by_steps: dict[int, list[int]] = defaultdict(list)
        for tokens in sorted(set(grid.tokens)):
            by_steps[max(1, round(tokens / batch))].append(tokens)
        for steps, same in by_steps.items():
            if len(same) > 1:
                yield (
                    f"tokens {', '.join(f'{one:,}' for one in same)} are one budget: each is {steps:,} steps "
                    f"of {batch:,} tokens"
                )


def _of_data(cells: list[Cell], dataset: Dataset):
    most = max(cell.config.tokens for cell in cells)
    if dataset.unique_tokens and most > dataset.unique_tokens:
        yield (
            f"the largest budget is {most / dataset.unique_tokens:.1f} times its "
            f"{short(dataset.unique_tokens)} unique tokens: repeated tokens are worth less"
        )
    for name, unique in (dataset.facts.get("unique_tokens_of") or {}).items():
        share = max(cell.config.data.shares[name] for cell in cells)
        if most * share > unique:
            yield (
                f"the largest budget goes {most * share / unique:.1f} times through the {short(unique)} "
                f"tokens of {name}: repeated tokens are worth less"
            )


def _of_oddities(cells: list[Cell]):
    """Numbers that can be and hardly are meant; what cannot be is refused with the study."""
    low, high = _USUAL_RATES
    rates = [cell.config.optimizer.learning_rate for cell in cells]
    for rate in (*(r for r in (min(rates),) if r < low), *(r for r in (max(rates),) if r > high)):
        yield f"a learning rate of {rate:g}: usual ones lie between {low:g} and {high:g}"
    forgotten = max(cell.config.optimizer.learning_rate * cell.config.weight_decay for cell in cells)
    if forgotten > 0.1:
        yield f"weights lose {forgotten:.0%} a step: learning rate x weight_decay is {forgotten:.3g}"
    short_runs = [cell.config for cell in cells if 1 < cell.config.warmup_steps >= _peak_ends(cell.config)]
    if short_runs:
        yield (
            f"{len(short_runs)} of {len(cells)} runs never stay at their peak rate: the warmup of "
            f"{short_runs[0].optimizer.warmup_tokens} tokens lasts until their cooldown or their end"
        )
    cut_off = [cell.config for cell in cells if cell.config.optimizer.warmup_tokens > cell.config.tokens]
    if cut_off:
        least = min(config.tokens for config in cut_off)
        yield (
            f"{len(cut_off)} of {len(cells)} runs are shorter than their warmup of "
            f"{short(cut_off[0].optimizer.warmup_tokens)} tokens (the shortest has {short(least)}): they "
            "warm up faster than the others, or never reach their rate"
        )
    depths = {cell.config.model.layers for cell in cells if cell.config.model.parametrization == "mup"}
    if len(depths) > 1:
        yield (
            f"muP carries a rate over widths, not over depths, and depths grow from {min(depths)} to "
            f"{max(depths)} layers: parametrization completep does both (arXiv 2505.01618)"
        )
    deep = max(cells, key=lambda cell: cell.config.model.layers / cell.config.model.width)
    if deep.config.model.layers > deep.config.model.width:
        yield f"{deep.config.model.layers} layers of width {deep.config.model.width}: deeper than wide"


def _peak_ends(config: RunConfig) -> int:
    return config.hold_steps if config.optimizer.schedule == "wsd" else config.steps


def _of_design(grid: Grid, cells: list[Cell]):
    fitted = [cell for cell in cells if not cell.held_out]
    if len(fitted) < 2:
        return
    sizes = {cell.params.total - cell.params.embedding for cell in fitted}
    budgets = {cell.config.tokens for cell in fitted}
    if len(sizes) < 4 or len(budgets) < 3:
        yield "fewer than 4 sizes or 3 token budgets hardly identify a law"
        return
    flops = [cell.flops["flops_6nd"] for cell in fitted]
    if max(flops) < 10 * min(flops):
        yield "all runs lie within one decade of compute: exponents will be uncertain"
    for name, values in (("sizes", sizes), ("token budgets", budgets)):
        if max(values) < 4 * min(values):
            yield f"{name} differ by less than a factor of 4: their exponent will be uncertain"
    depths = {cell.config.model.layers for cell in fitted}
    if len(depths) > 1 and "model.layers" not in grid.factors:
        said = ", ".join(map(str, sorted(depths)))
        yield f"depths differ ({said} layers): uneven depths bend a law of params"


def _of_valleys(cells: list[Cell], prior: Prior, grid: Grid):
    for flops in grid.flops:
        sizes = sorted(
            {
                n
                for n, d in ((c.params.total - c.params.embedding, c.config.tokens) for c in cells)
                if abs(6 * n * d / flops - 1) < 0.02
            }
        )
        if len(sizes) < 5:
            yield f"{flops:.3g} FLOPs have {len(sizes)} sizes; a minimum wants 5 or more"
        spent = [
            c.flops["flops_exact"]
            for c in cells
            if abs(6 * (c.params.total - c.params.embedding) * c.config.tokens / flops - 1) < 0.02
        ]
        if spent and max(spent) > UNEQUAL * min(spent):
            yield (
                f"{flops:.3g} FLOPs: at equal 6 params tokens its sizes spend FLOPs that differ by a factor "
                f"of {max(spent) / min(spent):.3g} (attention and head weigh more in narrow models): the "
                "valley is one of unequal compute"
            )
        best = prior.optimal_params(flops)
        if len(sizes) >= 3 and not sizes[1] <= best <= sizes[-2]:
            yield (
                f"{flops:.3g} FLOPs: the minimum is expected at {short(best)} params, off the middle of its "
                f"sizes ({short(sizes[0])} to {short(sizes[-1])}); tokens_per_param there would be "
                f"{flops / (6 * best * best):.3g}"
            )


def _of_memory(plan: Plan) -> list[str]:
    needed = max(pricing.Prices(plan).memory.values(), default=0)
    free = pricing.device_memory()
    if needed and free and needed > free:
        return [f"the largest run needs about {short(needed)}B of memory, a device has {short(free)}B"]
    return []
