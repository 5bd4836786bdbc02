"""Verbs that train: run and worker."""

import json
import os
import shlex
import signal
import socket
import sys
import traceback
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from lab.errors import InputError
from lab.machine.provenance import Detail
from lab.objects import url_of
from lab.runs import trackers
from lab.runs.trackers import Target
from sweeps.arguments import Json, Places, Sets, StudyFile
from sweeps.work.engines.launch import (
    CREW_BROKEN,
    DONE,
    INTERRUPTED,
    NO_STORE,
    STORE_FAULT,
    WRONG_DEVICES,
)
from sweeps.work.engines.options import Engine, EngineOptions

if TYPE_CHECKING:  # what is imported only once it is needed
    from sweeps.plan.cells import Plan
    from sweeps.running import Outcome
    from sweeps.store.store import Store
    from sweeps.verbs.adaptive import Aim

_LOCAL = EngineOptions()


def run(argv: list[str]) -> int:
    def command(
        study: StudyFile,
        out: Path,
        on: Engine = _LOCAL,
        sets: Sets = (),
        retry_failed: bool = False,
        allow_include: Places = (),
        provenance: Detail = "names",
        log: Target | None = None,
        adaptive: bool = False,
        budget: str = "",
        target: str = "exponent",
        at: str = "",
        as_json: Json = False,
    ) -> int:
        """Train what is missing of a study: on this machine, a Slurm cluster or a Ray cluster.

        Interrupt or kill it at any time: the same command goes on where it was. Finished cells are never
        trained again.

        Args:
            study: the study file.
            out: the store: a folder of run folders, which several studies may share.
            on: the engine, and what it needs to know.
            sets: change a key of the study, as in model.width=64; may be repeated.
            retry_failed: try again what was given up on.
            allow_include: a folder or file outside the study's folder that it may include; may be repeated.
            provenance: what specs tell of the machines: full adds paths, the host, the working folder.
            log: records go out while runs train, with tokens/s and the share of the peak: into the folder
                tensorboard, wandb (offline) or mlflow of the store.
            adaptive: not the study's own cells but those of its shapes and data that narrow the target's
                interval most, chosen round by round until the budget is spent (STORE/choices says why).
            budget: of an adaptive run, device time for all its rounds: 30min, 2h.
            target: what an adaptive run is after: exponent, allocation, loss, alpha, ..., as `lab next`.
            at: where, as `lab next` takes it; 10x is of the largest compute of the study's own grid.
            as_json: print one JSON object at the end.
        """
        asked = Asked(study, out, on, sets, retry_failed, allow_include, provenance, log, as_json)
        if adaptive:
            return _adaptive(asked, _aim(target, at, budget))
        if budget or at or target != "exponent":
            raise InputError("--budget, --target and --at: are of --adaptive")
        return _run(asked)

    return tyro.cli(command, args=argv, prog="lab run")


@dataclass(frozen=True)
class Asked:
    """What `lab run` was asked for, as its help tells."""

    study: Path
    out: Path
    on: EngineOptions
    sets: tuple[str, ...]
    retry_failed: bool
    allowed: tuple[Path, ...]
    provenance: Detail
    log: Target | None
    as_json: bool

    def opened(self) -> "Store":
        """The store, fit to be written in. Raises as :func:`sweeps.running.check` and :meth:`Store.check`."""
        from sweeps import running
        from sweeps.store.remote import opened

        running.check(self.out, self.on, self.log)
        store = opened(self.out)
        for note in store.check():
            _say(f"note: {note}")
        return store

    def train(self, plan: "Plan", text: str, store: "Store") -> "Outcome":
        from sweeps import running

        return running.train(
            plan, text, store, self.out, self.on, self.retry_failed, self.provenance, self.log, _say
        )


def _run(asked: Asked) -> int:
    from sweeps.store import damage
    from sweeps.study import loader

    text = loader.text_of(
        asked.study, asked.sets, asked.allowed
    )  # a study that cannot be read makes no store
    store = asked.opened()
    made = plan_of(asked.study, asked.sets, asked.allowed)
    done = asked.train(made, text, store)
    again = shlex.join(
        ["lab", "run", str(asked.study), "--out", done.out, *(f"--set={text}" for text in asked.sets)]
        + [f"--allow-include={place}" for place in asked.allowed]
    )
    if done.interrupted:
        _say(f"interrupted; nothing is lost. To go on: {again}")
    elif done.failed:
        _say(f"{len(done.failed)} failed: `lab status {done.out}` says why; to retry: {again} --retry-failed")
    for one in done.damaged:
        _say(f"damaged: {one}")
    if done.damaged:
        _say(damage.REMOVE)
    counts = Counter(done.states.values())
    if asked.as_json:
        said = {"study": done.study, "out": done.out, "states": dict(counts), "failed": list(done.failed)}
        print(json.dumps({**said, "damaged": [asdict(one) for one in done.damaged]}))
    else:
        print(f"{counts['done']} of {len(done.states)} runs done in {done.out}")
    return done.exit_code


def _aim(target: str, at: str, budget: str) -> "Aim":
    from sweeps.quantities import seconds_of
    from sweeps.verbs.adaptive import Aim

    if target in ("elbow", "rate"):
        raise InputError(
            f"--target {target}: rounds are chosen for a law; `lab next --target {target}` chooses"
        )
    try:
        return Aim(target, at, seconds_of(budget))
    except ValueError as error:
        raise InputError(f"--budget: {error}") from None


def _adaptive(asked: Asked, aim: "Aim") -> int:
    from sweeps.study import loader
    from sweeps.verbs.adaptive import adapt

    if asked.sets or asked.on.part or asked.on.detach or url_of(asked.out):
        raise InputError("--adaptive: goes without --set, --part and --detach, and needs a store in a folder")
    # A study that cannot be read makes no store.
    loader.parse(loader.resolved(asked.study, (), asked.allowed), str(asked.study))
    store = asked.opened()
    done = adapt(
        asked.study, asked.allowed, store, aim, lambda plan, text: asked.train(plan, text, store), _say
    )
    if done is None:
        _say(f"no round was trained in {asked.out}")
    elif done.interrupted:
        _say("interrupted; nothing is lost: the same command goes on in this round")
    elif done.failed:
        _say(f"{len(done.failed)} failed: `lab status {done.out}` says why; to retry: --retry-failed")
    if asked.as_json:
        counts = Counter({} if done is None else done.states.values())
        said = {"study": "", "out": str(asked.out), "failed": []}
        if done is not None:
            said = {"study": done.study, "out": done.out, "failed": done.failed}
        print(json.dumps({**said, "states": counts}))
    elif done is not None:
        print(str(done))
    return 0 if done is None else done.exit_code


def worker(argv: list[str]) -> int:
    def command(
        study: StudyFile,
        out: Path,
        cores: tuple[int, ...] = (),
        cpu_devices: int = 1,
        parent: int | None = None,
        events: bool = False,
        part: str | None = None,
        store_id: str | None = None,
        distributed: str = "off",
        accelerators: int | None = None,
        provenance: Detail = "names",
        log: Target | None = None,
    ) -> int:
        """One worker: claims cells of a study in a store until none is left. Engines start these.

        Args:
            study: the study file.
            out: the store.
            cores: processor numbers to use; all by default.
            cpu_devices: virtual CPU devices, for packs of runs.
            parent: stop when this process is no longer the parent.
            events: tell in JSON lines on stdout instead of text on stderr.
            part: K/N: work on this share of the study only.
            store_id: what the store must be called; another or none means that this machine does not see it.
            distributed: one worker over several processes: coordinator=HOST:PORT,processes=N,process=I; or
                auto, as jax finds them; or off.
            accelerators: how many this process was given; with others in sight it does not begin.
            provenance: names, or full: what specs tell of this machine.
            log: the tool that records go to while runs train.
        """
        from lab.machine import devices

        devices.configure(cpu_devices, cores or None)
        work = partial(_work, study, out, parent, events, part, store_id, provenance, accelerators, log)
        return work() if distributed == "off" else _work_together(distributed, work)

    return tyro.cli(command, args=argv, prog="lab worker")


def _work_together(cluster: str, work) -> int:
    """One process of a crew. A failure ends it at once: jax would wait for the others, and they for it."""
    from lab.machine import distributed

    distributed.start(distributed.parse(cluster), lambda text: print(text, file=sys.stderr, flush=True))
    try:
        return work()
    except Exception:
        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(CREW_BROKEN)


def _work(
    study: Path,
    out: Path,
    parent: int | None,
    as_events: bool,
    part: str | None,
    store_id: str | None,
    detail: Detail,
    accelerators: int | None = None,
    log: Target | None = None,
) -> int:
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, lambda *_: stopped.append(1))

    from sweeps.plan.study_parts import Part
    from sweeps.store import disk
    from sweeps.store.remote import opened

    store = opened(out)
    if store_id is not None and not store.is_seen(store_id):
        print(
            f"error: {socket.gethostname()} does not see the store at {url_of(out) or out}", file=sys.stderr
        )
        return NO_STORE
    from lab.machine import devices, distributed, provenance

    try:
        devices.check_promised(accelerators)
    except InputError as error:
        if as_events:
            print(json.dumps({"kind": "fault", "run_id": "", "text": str(error)}), flush=True)
        else:
            print(f"error: {error}", file=sys.stderr, flush=True)
        return WRONG_DEVICES
    if log:
        trackers.need(log, "--log")
    if url := url_of(study):
        study = store.fetch(f"studies/{study.name}")
        if not study.exists():
            raise InputError(f"{url}: no such study")
    made = plan_of(study)

    from lab.runs.hooks import Interrupted
    from sweeps.work import multihost
    from sweeps.work.worker import Event, Worker

    devices.enable_compilation_cache()

    def tell(event: Event) -> None:
        if as_events:
            print(json.dumps(asdict(event)), flush=True)
        elif event.kind != "progress":
            print(f"{event.kind} {event.run_id} {event.text}".rstrip(), file=sys.stderr, flush=True)

    def should_stop() -> bool:
        return bool(stopped) or (parent is not None and os.getppid() != parent)

    def track(job):
        return trackers.opened(log, out / log, job.run_id, made.study.name) if log else None

    share, crew = Part.parse(part) if part else None, None
    if distributed.count() > 1:
        crew = multihost.Crew(made)
    try:
        if not distributed.is_primary():
            multihost.follow(made, store, should_stop)
            return DONE
        told = provenance.collect(detail)
        failed = Worker(made, store, tell, should_stop, told, share, crew, track).work()
    except Interrupted:
        return INTERRUPTED
    except disk.StoreFault as fault:
        text = f"{fault}; nothing is lost: make room, and give the same command again"
        if as_events:
            tell(Event("fault", "", text))
        else:
            print(f"error: {text}", file=sys.stderr)
        return STORE_FAULT
    return 1 if failed else 0


def plan_of(path: Path, sets: tuple[str, ...] = (), allowed: tuple[Path, ...] = ()):
    """The plan of a study file; builds or reads its data.

    Raises:
        InputError: with all problems of the file.
    """
    from sweeps import running
    from sweeps.study import loader

    return running.planned(loader.load(path, sets, allowed), str(path))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
