"""A study from its plan to its runs, whoever asks for it: the command line or Python."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.data import DataConfig, Dataset
from lab.errors import InputError
from lab.machine import devices
from lab.machine.provenance import Detail
from lab.objects import url_of
from lab.runs import trackers
from lab.runs.trackers import Target
from lab.verbs.common import load_data
from sweeps.plan import cells, pricing
from sweeps.plan.cells import Cell, Plan, Trunk
from sweeps.plan.study_parts import Part
from sweeps.quantities import duration
from sweeps.store import baselines, damage
from sweeps.store.damage import Damage
from sweeps.store.store import Store
from sweeps.study.schema import Study
from sweeps.work.display import Display
from sweeps.work.engines.launch import INTERRUPTED, Launch
from sweeps.work.engines.options import EngineOptions
from sweeps.work.engines.watch import StoreWatch

OPEN = ("new", "running")  # states of cells that are still to be trained


@dataclass(frozen=True)
class Outcome:
    """What became of a study's runs.

    Attributes:
        study: its name.
        out: the store, a folder or URL.
        states: of each cell by run id: done, failed, running, new or unreadable.
        failed: ids of the cells that were given up; their folders say why.
        damaged: files of the store that are not whole and could not be mended.
        code: how the engine ended: 0, 1 when cells were given up, 130 when interrupted.
    """

    study: str
    out: str
    states: dict[str, str]
    failed: tuple[str, ...] = ()
    damaged: tuple[Damage, ...] = ()
    code: int = 0

    @property
    def interrupted(self) -> bool:
        return self.code == INTERRUPTED

    @property
    def exit_code(self) -> int:
        """That of `lab run`: 0, 1 where something failed or is damaged, 130 when interrupted."""
        return INTERRUPTED if self.interrupted else int(bool(self.failed or self.damaged or self.code))

    def __str__(self) -> str:
        counts = Counter(self.states.values())
        said = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
        return f"study {self.study} in {self.out}: {said}"


def planned(study: Study, where: str = "study") -> Plan:
    """The plan of a study; builds or reads its data.

    Raises:
        InputError: with all problems of the study or its data; ``where`` names it.
    """
    devices.check_environment()
    devices.check_platform()

    def load(config: DataConfig) -> Dataset:
        try:
            return load_data(config)
        except InputError as error:  # of the data themselves: say where they are asked for
            raise InputError(*(f"{where}: data.source: {problem}" for problem in error.problems)) from None

    return cells.make(study, load)


def states(plan: Plan, store: Store) -> dict[str, str]:
    """State of each cell by run id: done, failed, running, new, or unreadable."""
    there, said = store.names(), {"diverged": "done", "waiting": "new"}
    found = {cell.run_id: store.state(cell.run_id, cell.trunk, there) for cell in plan.cells}
    return {run_id: said.get(state, state) for run_id, state in found.items()}


def headline(plan: Plan, of: dict[str, str]) -> str:
    """One line: how many runs, what is left, what it costs."""
    left = [cell for cell in plan.cells if of[cell.run_id] in OPEN]
    shares = pricing.Prices(plan).shares
    counts = Counter(of.values())
    parts = [f"{counts[name]} {name}" for name in ("done", "failed", "running") if counts[name]]
    done = f" ({', '.join(parts)})" if parts else ""
    cost = f"about {duration(sum(shares[cell.run_id] for cell in left))} of device time"
    return f"study {plan.study.name}: {len(left)} of {len(plan.cells)} runs to train{done}, {cost}"


def check(out: Path, on: EngineOptions, log: Target | None = None) -> None:
    """
    Raises:
        InputError: for an engine that cannot work in this store, and for a tool whose package is missing.
    """
    on.check()
    if on.part:
        Part.parse(on.part)
    url = url_of(out)
    if url and on.engine != "local":
        raise InputError(
            f"--out {url}: is for --engine local; give the same command on each machine, they share the store"
        )
    if log:
        trackers.need(log, "--log")
        if url:
            raise InputError(f"--log: needs a store in a folder, not {url}")


def train(
    plan: Plan,
    text: str,
    store: Store,
    out: Path,
    on: EngineOptions,
    retry_failed: bool,
    detail: Detail,
    log: Target | None,
    tell: Callable[[str], None],
) -> Outcome:
    """Train what is missing of a plan in a store, and mend what can be mended there.

    Args:
        text: the study as TOML; workers read the copy in the store, which later edits do not reach.
        store: opened and checked; ``out`` is where it is.
        tell: receives lines for people, as they come.

    Raises:
        InputError: for a store whose runs are links.
        OSError, Refused: where the store takes no files.
    """
    part, url = Part.parse(on.part) if on.part else None, url_of(out)
    found: list[Cell | Trunk] = [*plan.trunks, *plan.cells]
    damage.check_links(store, [of.run_id for of in found])
    store.write_study(plan, text)
    there = store.names()  # one listing instead of a look at each folder
    nodes = [store.node(of) for of in found if of.run_id in there]
    for node in nodes:
        store.forget_the_dead(node)
        if retry_failed:
            store.forgive(node.run_id)
    for one in damage.mend(store, plan, nodes) if url is None else ():  # objects are never torn
        if one.mended:
            tell(f"damaged: {one}")
    before = states(plan, store)
    tell(headline(plan, before))
    code = 0
    if to_train := sum(state in OPEN for state in before.values()):
        copied = out / "studies" / f"{plan.study.name}.toml"
        launch = Launch(copied, out, store.identity(), on.part, provenance=detail, log=log)
        with Display(plan, store) as display:
            code = on.run(
                launch, plan.study.run.pack, lambda: StoreWatch(plan, store, part), display, to_train
            )
    store.look_again()
    after = states(plan, store)
    failed = tuple(run_id for run_id, state in after.items() if state == "failed")
    if url is None and part is None and not code and not failed:
        for note in baselines.write(store, plan):
            tell(f"note: {note}")
    # who interrupts does not want to wait
    left = damage.left(store, found, reads_parameters=code != INTERRUPTED) if url is None else []
    return Outcome(plan.study.name, url or str(out), after, failed, tuple(left), code)
