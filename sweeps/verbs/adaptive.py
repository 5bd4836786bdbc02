"""`lab run --adaptive`: train, fit, choose again, until a budget is spent or nothing narrows the interval.

All it knows stands in the store: STORE/choices/STUDY-K.json holds round K, its study and why it was chosen. A
round that was begun is trained to its end before the next is chosen, so that any command goes on anywhere.
"""

import contextlib
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lab.errors import InputError
from lab.files import create, read_json
from lab.runs import claims
from sweeps import running
from sweeps.plan import next_runs
from sweeps.plan.cells import Plan
from sweeps.plan.next_cells import Family, There, chosen_study, of_family
from sweeps.plan.next_targets import beyond, optima, target_of
from sweeps.quantities import duration
from sweeps.store import step_times, trunks
from sweeps.store.store import Store
from sweeps.study import loader
from sweeps.study.overrides import to_toml
from sweeps.verbs.next_runs import Asked

FOLDER = "choices"
# Seconds that a shape takes beyond its steps where the store has none: two compilations, for which shapes of
# sweeps/studies/adaptive.toml took 6 to 9 s on two cores.
GUESS = 8.0
_FIRST = 0.25  # of the budget for the first round: without any law there is nothing to choose by
_ROUND = 0.34  # of what is left for each further one
_CELLS = 4  # of a round: every choice is made by all that the cells before it told
_MOST = 1000
_AT_COMPUTE = {"exponent": 1.0, "allocation": 10.0, "loss": 10.0}  # times the study's own, where none is said


@dataclass(frozen=True)
class Aim:
    """What an adaptive run is after: a target of `lab next`, and device-seconds for all its rounds."""

    target: str
    at: str
    budget: float
    least: float = 0.05


Train = Callable[[Plan, str], running.Outcome]


def adapt(
    study: Path, allowed: tuple[Path, ...], store: Store, aim: Aim, train: Train, tell: Callable[[str], None]
) -> running.Outcome | None:
    """Rounds until the budget is spent, nothing is worth training, or a round ends badly.

    train: trains the plan of a round; its outcome ends the rounds where it was interrupted or failed.
    Returns the last outcome; None where no round could be paid.
    """
    asked = Asked(study, allowed=allowed)
    of = asked.family(study)
    outcome: running.Outcome | None = None
    for number in range(1, _MOST):
        path = _path(store, of.plan.study.name, number)
        found = _kept(path, store)
        if found is not None and not found["study"] and found["budget"] < aim.budget:
            path.unlink()  # it ended for want of budget, and now there is more
            found = None
        if found is None:
            found = _chosen(number, asked, of, store, aim)
            try:
                create(path, (json.dumps(found, indent=1, allow_nan=False) + "\n").encode(), store.root)
            except FileExistsError:  # another command chose meanwhile: both train what it chose
                found = _kept(path, store) or found
        if not found["study"]:
            tell(f"round {number}: {found['why']}")
            if not of.plan.study.run.keep_trunks:
                for trunk in _spent(store, of.plan.study.name).trunks:
                    trunks.collect(store, trunk, claims.Owner.me())
            return outcome
        tell(f"round {number}: {found['why']}")
        made = running.planned(loader.parse(found["study"], str(path)), str(path))
        outcome = train(made, f"# round {number}: {found['why']}\n{to_toml(found['study'])}")
        if outcome.exit_code:
            return outcome
    return outcome


def _path(store: Store, name: str, number: int) -> Path:
    return store.root / FOLDER / f"{name}-{number}.json"


def _kept(path: Path, store: Store) -> dict | None:
    """The round as it was chosen. Raises InputError where the file is none."""
    found = read_json(path, store.root)
    if found is None:
        return None
    if not _is_choice(found):
        raise InputError(f"{path}: is no record of a choice; remove it, and it is chosen again")
    return found


def _is_choice(found) -> bool:
    if not isinstance(found, dict) or not {"study", "why", "budget"} <= found.keys():
        return False
    beyond = found.get("beyond", [])
    pairs = isinstance(beyond, list) and all(isinstance(one, list) and len(one) == 2 for one in beyond)
    return (
        isinstance(found["study"], dict | None)
        and isinstance(found["why"], str)
        and isinstance(found["budget"], int | float)
        and pairs
        and all(isinstance(shape, list) and isinstance(took, int | float) for shape, took in beyond)
    )


def _chosen(number: int, asked: Asked, of: Family, store: Store, aim: Aim) -> dict:
    """The record of a round: its study (None: stop), and why. Prices are of the steps before it."""
    from analysis.audits.ranking import candidates as laws_tried
    from analysis.designs.targets import checked
    from analysis.fits.reach import refuse_far

    name = of.plan.study.name
    seen = _spent(store, name)
    candidates = of_family(of, there(store, number, name, seen))
    spent, left = seen.total, aim.budget - seen.total
    about = {"round": number, "target": aim.target, "at": aim.at, "budget": aim.budget, "spent": spent}
    about |= {"beyond": [[list(shape), seconds] for shape, seconds in seen.beyond.items()]}
    known = _known(asked, of, store)
    open_cells = next_runs.untrained(known, candidates)
    cost = open_cells.alone
    if not len(open_cells) or cost.min() > left:
        said = (
            f"stop: {duration(spent)} of {duration(aim.budget)} are spent, and no cell fits into what is left"
        )
        return {**about, "study": None, "why": said}
    at = place(aim, of)
    with contextlib.suppress(ValueError):  # params,tokens; what is no number is refused below
        # Of a loss the optimum is the place that is asked for, and must be one.
        near = candidates if aim.target == "loss" else None
        asks = aim.target in _AT_COMPUTE and 0 < float(at) < float("inf")
        if asks and not optima(known, float(at), near):
            known = next_runs.believing(known, next_runs.of_prior(asked.expected(of)))
    target = target_of(aim.target, at, known, candidates)
    expected = next_runs.of_prior(asked.expected(of))
    far = beyond(target, at, expected, candidates)  # of what could be trained, which stays the same
    refuse_far(far, False, "`lab next --far` chooses runs for it all the same")
    made = None
    if len(known):
        part = max(_ROUND * left, float(cost.min()))
        made = next_runs.proposed(known, target, open_cells, part, _CELLS, aim.least)
        if made.stop:  # with all that is left, is anything worth it?
            made = next_runs.proposed(known, target, open_cells, left, 2 * _CELLS, aim.least)
    if made is None or (made.stop and known.too_few):
        checked(target, [*laws_tried(), *(one.law for one in known.laws)])
        indices: tuple[int, ...] = tuple(next_runs.starter(open_cells, min(left, _FIRST * aim.budget)))
        why = "a first grid: nothing is trained that a choice could rest on"
        if made is not None:
            runs = "1 run determines" if len(known) == 1 else f"{len(known)} runs determine"
            why = f"the grid goes on: {runs} no law that a choice could rest on"
        reason = None
    else:
        indices, reason = made.indices, made.to_dict()
        if made.stop:
            return {**about, "study": None, "why": f"stop: {made.stop}", "choice": reason}
        low, high = made.now
        why = (
            f"{made.target} is {made.value:.4g} [{low:.4g}, {high:.4g}]; these take {made.narrowing:.0%} off"
        )
        if known.contradicts:
            why += f"; {known.contradicts}"
    chosen = [open_cells.cells[index] for index in indices]
    study = chosen_study(of, f"{name}-round{number}", chosen)
    # A later round may ask for a longer budget of a size: its trunk is then only extended.
    study["run"] = {**study.get("run", {}), "keep_trunks": True}
    return {**about, "study": study, "why": why, "choice": reason}


def place(aim: Aim, of: Family) -> str:
    """Where, the same in every round: multiples are of the largest compute in the study's own grid, not of
    what was trained so far."""
    if aim.target not in _AT_COMPUTE or (aim.at and aim.at[-1] not in "x×"):
        return aim.at
    most = max(cell.steps * cell.config.batch_tokens * next_runs.params_of(cell) for cell in of.cells)
    try:
        times = float(aim.at[:-1]) if aim.at else _AT_COMPUTE[aim.target]
    except ValueError:
        return aim.at  # which is refused by name
    return repr(6.0 * times * most) if 0 < times < float("inf") else aim.at


def _known(asked: Asked, of: Family, store: Store) -> next_runs.Known:
    """What the runs of the store say; nothing but what is expected where it has none of them."""
    from analysis.errors import InputError as Unusable
    from analysis.tables.table import read

    prior = next_runs.of_prior(asked.expected(of))
    try:
        runs = read(store.root).where(grid=of.grid.name)
    except Unusable:
        return prior
    try:
        return next_runs.of_runs(runs, asked.expected(of))
    except Unusable:  # all diverged: none of them is chosen again
        return replace(prior, ids=next_runs.ended(runs))


def _spent(store: Store, name: str) -> step_times.Spent:
    """Device-seconds of all rounds so far, all attempts, trunks and compilation."""
    return step_times.spent(store, [p for p in store.study_files() if p.stem.startswith(f"{name}-round")])


def there(store: Store, number: int, name: str, spent: step_times.Spent | None = None) -> There:
    """What the rounds before round `number` left, and what their shapes took beyond steps; before any, what
    shapes of the store's other studies took.

    Records of rounds say what that was when each was chosen, so that the difference is what a round took.
    """
    spent = _spent(store, name) if spent is None else spent
    new, again = [], []
    before: dict[tuple, float] = {}
    for later in range(2, number + 1):
        after = dict(spent.beyond)
        if later < number:
            found = _kept(_path(store, name, later), store) or {}
            after = {tuple(shape): seconds for shape, seconds in found.get("beyond", [])}
        for shape, seconds in after.items():
            if shape not in before:
                new.append(seconds)
            elif seconds > before[shape]:
                again.append(seconds - before[shape])
        before = after
    if not new:
        new = [one for one in step_times.spent(store, store.study_files()).beyond.values() if one > 0]
    start = statistics.median(new) if new else GUESS
    return There(
        step_times.seen(store),
        {trunk: tuple(store.run(trunk).steps()) for trunk in spent.trunks},
        start,
        min(start, statistics.median(again)) if again else start,
        frozenset(before),
    )
