"""What a running study shows: a live panel on a terminal, plain lines elsewhere. All on stderr."""

import os
import sys
import time
from dataclasses import dataclass, field

from lab.terminal import escaped, unescaped
from sweeps.plan.cells import Cell, Plan, Trunk
from sweeps.plan.pricing import Prices
from sweeps.quantities import duration, short
from sweeps.store.store import Store

_QUIET_SECONDS = 30.0  # without a terminal, at most one progress line in this time


def label(grid: str, of: Cell | Trunk) -> str:
    """A short name for people: grid, shape, seed, tokens."""
    config = of.config
    tokens = (
        f"{short(of.own_steps * config.batch_tokens)} trunk"
        if isinstance(of, Trunk)
        else short(config.tokens)
    )
    return f"{grid} {config.model.label} seed {config.seed} {tokens}"


@dataclass
class Display:
    """Receives the engine's events. ``plan`` gives names and weights, ``store`` what was done before."""

    plan: Plan
    store: Store
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self):
        nodes = [*self.plan.trunks, *self.plan.cells]
        self.nodes = {of.run_id: of for of in nodes}
        grids = {cell.trunk: cell.grid for cell in self.plan.cells}
        grids |= {cell.run_id: cell.grid for cell in self.plan.cells}
        self.labels = {of.run_id: label(grids[of.run_id], of) for of in nodes}
        done = {of.run_id for of in nodes if self.store.is_done(self.store.node(of))}
        prices = Prices(self.plan)
        self.weights = {of.run_id: prices.seconds(of) for of in nodes if of.run_id not in done}
        self.fraction = dict.fromkeys(self.weights, 0.0)
        self.cells_done = sum(cell.run_id in done for cell in self.plan.cells)
        self.running: dict[int, tuple[str, str]] = {}
        self.said = 0.0
        self.queue = ""  # how many workers wait and run, where a cluster decides it
        self.faults: set[str] = set()
        terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")
        self.live = _panel() if terminal else None

    def __enter__(self):
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_):
        if self.live:
            self.live.stop()

    def __call__(self, event: dict) -> None:
        kind, run_id, slot = event["kind"], event.get("run_id", ""), event.get("slot")
        name = self.labels.get(run_id, "")
        if kind == "stopping":
            self._line("stopping: workers save what they have; once more kills them")
        elif kind == "note":
            self._line(event["text"])
        elif kind == "fault" and event["text"] not in self.faults:  # every worker finds it; it is said once
            self.faults.add(event["text"])
            self._line(event["text"])
        elif kind == "queue":
            self.queue = event["text"]
        elif kind == "warning":
            self._line(f"{name}: {event['text']}" if name else event["text"])
        elif kind == "progress":
            progress = event["progress"]
            if run_id in self.fraction:
                first = self._first_step(run_id)
                span = max(progress["steps"] - first, 1)
                self.fraction[run_id] = min(max(progress["step"] - first, 0) / span, 1.0)
            self.running[slot] = (run_id, _progress_text(progress))
        elif kind in ("done", "failed"):
            self.fraction[run_id] = 1.0
            self.running.pop(slot, None)
            if isinstance(self.nodes.get(run_id), Cell):
                self.cells_done += kind == "done"
                outcome = f"loss {event['text']}" if kind == "done" else f"FAILED {event['text']}"
                self._line(f"[{self.cells_done}/{len(self.plan.cells)}] {name}  {outcome}")
        self._refresh()

    def time_left(self) -> float | None:
        """Seconds, from the share of the predicted work that is done; None before that can be told."""
        total = sum(self.weights.values())
        done = sum(self.weights[r] * f for r, f in self.fraction.items() if r in self.weights)
        if total == 0 or done / total < 0.02:
            return None
        return (time.monotonic() - self.started) * (total - done) / done

    def _first_step(self, run_id: str) -> int:
        of = self.nodes[run_id]
        return of.config.steps - of.own_steps if isinstance(of, Cell) else 0

    def _summary(self) -> str:
        left = self.time_left()
        eta = "" if left is None else f", about {duration(left)} left"
        so_far = duration(time.monotonic() - self.started)
        workers = f", workers: {self.queue}" if self.queue else ""
        return f"{self.cells_done} of {len(self.plan.cells)} runs, {so_far}{eta}{workers}"

    def _line(self, text: str) -> None:
        if self.live:
            self.live.console.print(_plain(text), highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _refresh(self) -> None:
        if self.live:
            lines = [self._summary()]
            lines += [f"  {self.labels.get(r, r)}: {text}" for _, (r, text) in sorted(self.running.items())]
            self.live.update(_plain("\n".join(lines)))
        elif time.monotonic() - max(self.said, self.started) > _QUIET_SECONDS:
            self.said = time.monotonic()
            self._line(self._summary())


def _panel():
    from rich.console import Console
    from rich.live import Live

    # What else is printed meanwhile goes its usual way: rich would read control codes in it.
    return Live(
        console=Console(file=unescaped(sys.stderr)),
        refresh_per_second=4,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _plain(text: str):
    """For rich: without control codes, and without its markup, which names may hold too."""
    from rich.text import Text

    return Text(escaped(text))


def _progress_text(progress: dict) -> str:
    if progress["phase"] != "train":
        return {"compile": "compiling", "evaluate": "evaluating"}[progress["phase"]]
    speed = f"{short(progress['tokens_per_s'])} tokens/s"
    if progress.get("share_of_peak"):
        speed += f", {progress['share_of_peak']:.0%} of the peak"
    return f"step {progress['step']}/{progress['steps']}  loss {progress['loss_nats']:.3f}  {speed}"
