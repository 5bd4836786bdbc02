"""From findings to one word: questions are asked in a fixed order, and the first answer stands."""

from __future__ import annotations

import numpy as np

from analysis.notes import Note
from analysis.thresholds.findings import BENT, FEWEST_SIZES, SMOOTH, Findings
from analysis.thresholds.seeds import FEWEST_SEEDS
from analysis.thresholds.tails import surely_above

FLOOR = 0.02  # of the way from chance to 1: below it a score says nothing about what lies underneath
MARGIN = 0.1  # a change of score (or of log nats) that is surely smaller is none
TINY = 0.02  # and one that is surely smaller than this is none even when it is significant
LEAST_RISE = 0.05  # of score (or of log nats), from the smallest to the largest size
_LEAST_POWER = 2 / 3  # of seeing a strong break; below it not to see one is no evidence of smoothness
_LEANING = 0.8  # weight of the bent curves from which "smooth" would say too much
_MAKES = 0.5  # share of a jump from which a smooth companion is said to make it
_LOTTERY_SD = 1.5  # logits: seeds of one size at 0.2 and 0.8 are no noise about a curve


def decide(found: Findings, q_value: float | None, alpha: float) -> tuple[str, list[Note]]:
    """The verdict on a series by its own scores, and the remarks that go with it."""
    cells = found.cells
    if cells.faults:
        return "invalid", []
    sizes, most_seeds = cells.x.size, int(cells.seeds.max())
    if sizes < FEWEST_SIZES:
        text = f"{sizes} size{'s' * (sizes > 1)}: a break needs {FEWEST_SIZES}, and 8 are good"
        return "undecided", [Note("few_sizes", text)]
    if _at_floor(found):
        items = int(np.nanmedian(cells.raw_items))
        text = (
            f"no size surely scores more than {FLOOR:g} above chance: with {items} items a cell nothing "
            "below is seen; score the log-probability of the answers (gold_nats), or add sizes"
        )
        return "floor_limited", [Note("at_floor", text)]
    if found.seed_sd.source == "unknown":
        return _without_seeds(found, alpha)
    above = None if cells.continuous or found.beats_chance.any() else _above_chance(found)
    if above is not None and above <= MARGIN:
        text = (
            f"no size beats chance ({cells.chance:g}), and none can be more than {above:.2g} above it (95 %)"
        )
        return "flat", [Note("at_chance", text)]
    if found.bimodal:
        at = ", ".join(f"{cells.place[i]:.4g}" for i in found.bimodal)
        text = f"at {at} {cells.axis} seeds fall into two modes: size sets the odds of success, not the score"
        return "seed_bimodal", [Note("two_modes", text)]
    if _lottery(found):
        text = (
            f"seeds of one size differ by {found.seed_sd.value:.1f} logits: with {most_seeds} seeds two "
            "modes and one wide one look alike; 8 seeds at the sizes in between would tell"
        )
        return "undecided", [Note("seeds_differ", text)]
    if found.turn_p is not None and found.turn_p <= alpha and found.turn_size > LEAST_RISE:
        kind = "falls, then rises" if found.turn_up else "rises, then falls"
        text = f"the score {kind}, both significant (p = {found.turn_p:.2g})"
        return "u_shaped", [Note("turn", text)]
    if found.p_value is not None and found.p_value <= alpha:
        word, notes = _broken(found, q_value, alpha)
    else:
        word, notes = _unbroken(found, alpha)
    if found.wide_sd is not None:
        text = (
            f"no curve fits within the spread of seeds: sizes differ by more than seeds do, as seeds of sd "
            f"{found.wide_sd:.2g} {cells.measure.unit} would; p is taken at that"
        )
        notes = [*notes, Note("lack_of_fit", text)]
    return word, notes


def _without_seeds(found: Findings, alpha: float) -> tuple[str, list[Note]]:
    """One seed a size: no rise can be told from luck, but that there is none can, by the scatter of sizes."""
    small = max(abs(end) for end in found.change)
    said = "one seed a size: seeds differ by no more than sizes do about a straight line, by which"
    unit = f"({found.cells.measure.unit})" if found.cells.continuous else "of score"
    if small <= TINY or (found.slope_p is not None and found.slope_p > alpha and small <= MARGIN):
        return "flat", [Note("bound", f"{said} the change over all sizes is below {small:.2g} {unit} (95 %)")]
    if found.trend < 0 and found.slope_p <= alpha and min(found.change) + max(found.change) < -2 * TINY:
        return "inverse", [Note("scatter", f"{said} the fall is significant (p = {found.slope_p:.2g})")]
    return "undecided", [_seeds_needed(found, alpha)]


def _lottery(found: Findings) -> bool:
    """Seeds too far apart for noise about a curve, and too few to see two modes."""
    cells = found.cells
    if cells.continuous or found.seed_sd.source != "estimated" or cells.seeds.max() >= FEWEST_SEEDS:
        return False
    apart = max(np.ptp(cells.score[cells.size == i]) for i in range(cells.x.size))
    return apart > 0.2 and (found.seed_sd.value > _LOTTERY_SD or found.weight("seed_mixture") > 0.8)


def _broken(found: Findings, q_value: float | None, alpha: float) -> tuple[str, list[Note]]:
    cells = found.cells
    if q_value is not None and q_value > alpha:
        word, notes = _unbroken(found, alpha)
        text = f"p = {found.p_value:.2g}, but q = {q_value:.2g} over all tasks: of many, some look broken"
        # A curve that bends is no reason to want more of this one: the other tests are what it lacks.
        return word, [*(note for note in notes if note.code != "leaning"), Note("multiplicity", text)]
    if found.trend < 0 and found.slope_p > alpha:
        word, notes = _unbroken(found, alpha)
        text = f"a bend (p = {found.p_value:.2g}) in a score that does not rise over the sizes"
        return word, [*notes, Note("slight", text)]
    if found.trend < 0:
        text = "the score falls over most sizes and the fall slows down: no ability appears"
        return "inverse", [Note("falling", text)]
    if not cells.continuous and not found.beats_chance[-1]:
        return "undecided", [Note("not_above_chance", "a break, but the largest size does not beat chance")]
    shape = found.shape(*BENT)
    rise = 0.0 if shape is None else _rise(found, shape)
    if rise < LEAST_RISE:
        word, notes = _unbroken(found, alpha)
        text = f"a bend (p = {found.p_value:.2g}) that lifts the score by {max(rise, 0):.2g} only"
        return word, [*notes, Note("slight", text)]
    if shape.elbow > cells.x[-3]:
        text = (
            f"a break (p = {found.p_value:.2g}) with no more than the last two sizes beyond it: one more "
            "size would tell it from a lucky run"
        )
        return "undecided", [Note("last_sizes", text)]
    notes = []
    if not cells.continuous and found.beats_chance[0] and cells.pooled[0] - cells.chance > MARGIN:
        text = f"the smallest size already scores {cells.pooled[0]:.2g}: it speeds up, it does not appear"
        notes.append(Note("accelerates", text))
    return "emergent", notes


def _above_chance(found: Findings) -> float:
    """Upper bound over sizes of score less chance, by the items or by the seeds, whichever is wider."""
    cells = found.cells
    total = np.bincount(cells.size, cells.items)
    spread = [np.var(cells.score[cells.size == i]) / max(n - 1, 1) for i, n in enumerate(cells.seeds)]
    error = np.sqrt(np.maximum(np.maximum(cells.pooled, 1 / total) * (1 - cells.pooled) / total, spread))
    return float((cells.pooled - cells.chance + 1.96 * error).max())


def _rise(found: Findings, shape) -> float:
    """By how much the score (the log of a loss) rises in all, or beyond its elbow if that is less."""
    x = found.cells.x
    start, elbow, end = shape.score(np.array([x[0], shape.elbow, x[-1]]))
    return float(end - max(start, elbow))


def _unbroken(found: Findings, alpha: float) -> tuple[str, list[Note]]:
    cells, (low, high) = found.cells, found.change
    small = max(abs(low), abs(high))
    unit = f"({cells.measure.unit})" if cells.continuous else "of score"
    if small <= TINY or (found.slope_p > alpha and small <= MARGIN):
        return "flat", [Note("bound", f"the change over all sizes is below {small:.2g} {unit} (95 %)")]
    if found.slope_p <= alpha:
        if found.trend < 0:
            return "inverse", []
        return _smooth(found)
    if not cells.continuous and not found.beats_chance.any():
        text = f"no size beats chance, and a change of {small:.2g} cannot be excluded: more items or seeds"
        return "floor_limited", [Note("few_items", text)]
    text = f"no trend (p = {found.slope_p:.2g}), nor its absence: the change is {low:+.2f} to {high:+.2f}"
    return "undecided", [Note("imprecise", text + "; more seeds or items")]


def _smooth(found: Findings) -> tuple[str, list[Note]]:
    """Not broken is not yet smooth: the rise must have been seen, and the straight curve preferred."""
    cells = found.cells
    if found.resolved < 3:
        seen = f"only {found.resolved} of {cells.x.size} sizes score clearly between chance and ceiling"
        if cells.pooled[-1] > 0.9:
            text = (
                f"{seen}, and most of the rise falls between {_transition(found)} {cells.axis}: no test on "
                "this metric can tell a steep smooth curve from a break; add sizes there, or gold_nats"
            )
        else:
            text = f"{seen}: it rises, but from where cannot be told; more items, or larger sizes"
        return "undecided", [Note("unresolved", text)]
    if found.power is not None and found.power < _LEAST_POWER:
        text = f"no break is seen, but even a strong one would be in {found.power:.0%} of such tables only"
        return "undecided", [Note("low_power", text + ": more seeds or sizes")]
    if found.weight(*BENT) > _LEANING:
        text = (
            f"a bent curve fits better, but not significantly (p = {found.p_value:.2g}): more seeds or sizes"
        )
        return "undecided", [Note("leaning", text)]
    return "smooth", []


def combine(
    hard: Findings,
    verdict: str,
    soft: Findings,
    soft_verdict: str,
    soft_q: float | None,
    share: float | None,
    alpha,
) -> tuple[str, list[Note], bool | None]:
    """Verdict on a thresholded metric given a continuous one of the same runs.

    Returns the verdict, remarks, and whether the continuous scale breaks (None where it was not tested).
    A verdict is on the metric that breaks: where only the continuous one does, a jump too fast to test by
    itself stays undecided, and the remark says in what the ability is emergent (Du et al. 2403.15796). Only a
    jump that the metric alone can make is called otherwise (Schaeffer et al. 2304.15004).
    """
    if soft.p_value is None or soft_verdict in ("invalid", "seed_bimodal"):
        return verdict, [], None
    name = soft.cells.metric
    broken = {"emergent": True, "undecided": None}.get(soft_verdict, False)
    if verdict in ("invalid", "seed_bimodal", "u_shaped", "inverse"):
        return verdict, [], broken
    if verdict == "floor_limited":
        if soft_verdict == "flat":
            return "flat", [Note("flat_below", f"{name} does not move either")], broken
        return verdict, [], broken
    jumps = verdict == "emergent" or looks_emergent(hard)
    if broken:
        said = f"p = {soft.p_value:.2g}, q = {soft_q:.2g}"
        if verdict == "emergent":
            text = f"{name} breaks too ({said}): not the metric's doing"
            return verdict, [Note("continuous_break", text)], True
        own = "" if hard.p_value is None else f" (p = {hard.p_value:.2g})"
        text = f"emergent in {name} ({said}); {hard.cells.metric} itself shows no break{own}"
        word = "undecided" if jumps and verdict == "smooth" else verdict
        return word, [Note("breaks_elsewhere", text)], True
    if jumps and soft_verdict == "smooth" and share is not None:
        if share >= _MAKES:
            text = f"{name} is smooth, and pushed through the metric it makes {share:.0%} of the jump"
            return "metric_artifact", [Note("metric_makes_it", text)], False
        if verdict == "emergent":
            text = f"{name} is smooth, but pushed through the metric it makes only {share:.0%} of the jump"
            return "emergent", [Note("metric_does_not", text)], False
    return verdict, [], broken


def pair(hard: Findings, soft: Findings, share: float | None) -> list[Note]:
    """What two metrics of one task say of a jump where no seeds let either be tested."""
    leading, other = hard.shape(), soft.shape()
    if leading is None or other is None or hard.cells.faults or not looks_emergent(hard):
        return []
    name = soft.cells.metric
    if other.name in BENT:
        return [
            Note(
                "pair_breaks", f"{name} leads to a {other.name} as well, so a jump would not be the metric's"
            )
        ]
    if other.name in SMOOTH and share is not None and share >= _MAKES:
        text = f"{name} looks smooth, and pushed through the metric it makes {share:.0%} of the jump"
        return [Note("pair_smooth", text + ": more likely the metric's doing than a threshold")]
    return []


def direction(found: Findings, leading) -> tuple[Note, ...]:
    """A remark where the leading curve runs downwards: its name does not say so."""
    ends = leading.eta(found.cells.x[[0, -1]]) if leading.mixture is None else np.zeros(2)
    if leading.name not in ("smooth", "power_law", "sigmoid") or ends[1] >= ends[0]:
        return ()
    return (Note("falls", "the leading curve falls: more is worse, as in inverse scaling"),)


def looks_emergent(found: Findings) -> bool:
    """As the eye sees it (Wei et al. 2206.07682): near chance at the small sizes, well above at the large."""
    cells = found.cells
    gain = (cells.pooled - cells.chance) / (1 - cells.chance)
    low = int(np.argmax(gain > 0.1)) if (gain > 0.1).any() else gain.size
    return bool(gain[-1] - gain[0] > 0.3 and (low >= 2 or np.diff(gain).max() > 0.4))


def _at_floor(found: Findings) -> bool:
    cells = found.cells
    if cells.continuous or cells.chance > FLOOR:
        return False
    if found.trend < 0:
        return False
    hits, total = np.bincount(cells.size, cells.correct), np.bincount(cells.size, cells.items)
    surely = surely_above(hits, total, 0.025)
    return bool((surely - cells.chance).max() < FLOOR * (1 - cells.chance))


def _transition(found: Findings) -> str:
    step = int(np.diff(found.cells.pooled).argmax())
    return f"{found.cells.place[step]:.4g} and {found.cells.place[step + 1]:.4g}"


def _seeds_needed(found: Findings, alpha: float) -> Note:
    cells = found.cells
    unit = cells.measure.unit
    if found.withstands is None:
        stands = "no break even if seeds do not differ at all"
    else:
        stands = f"a break would stand (p <= {alpha:g}) with a seed sd of up to {found.withstands:g} {unit}"
    plan = f"3 seeds at each of the {cells.x.size} {'sizes' if cells.axis == 'params' else 'places'}"
    if not cells.continuous and np.nanmedian(cells.raw_items) < 1000:
        plan += ", of 1,000 items each,"
    return Note(
        "one_seed", f"one seed a size: {stands}; {plan} would settle it, or --seed-sd gives the spread"
    )
