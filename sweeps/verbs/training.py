"""Verbs that train: run and worker."""

import json
import os
import shlex
import signal
import socket
import sys
import traceback
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path

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
    Launch,
)
from sweeps.work.engines.options import Engine, EngineOptions

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
            as_json: print one JSON object at the end.
        """
        return _run(study, out, on, sets, retry_failed, allow_include, provenance, log, as_json)

    return tyro.cli(command, args=argv, prog="lab run")


def _run(
    study_path: Path,
    out: Path,
    on: EngineOptions,
    sets: tuple[str, ...],
    retry_failed: bool,
    allowed: tuple[Path, ...],
    detail: Detail,
    log: Target | None,
    as_json: bool,
) -> int:
    from sweeps.plan.study_parts import Part
    from sweeps.store import baselines, damage
    from sweeps.store.remote import opened
    from sweeps.study import loader
    from sweeps.verbs import plan_output
    from sweeps.work.display import Display
    from sweeps.work.engines.watch import StoreWatch

    on.check()
    part, url = Part.parse(on.part) if on.part else None, url_of(out)
    if url and on.engine != "local":
        raise InputError(
            f"--out {url}: is for --engine local; give the same command on each machine, they share the store"
        )
    if log:
        trackers.need(log, "--log")
        if url:
            raise InputError(f"--log: needs a store in a folder, not {url}")
    store = opened(out)
    for note in store.check():
        print(f"note: {note}", file=sys.stderr, flush=True)
    made = plan_of(study_path, sets, allowed)
    found = [*made.trunks, *made.cells]
    damage.check_links(store, [of.run_id for of in found])
    store.write_study(made, loader.text_of(study_path, sets, allowed))
    there = store.names()  # one listing instead of a look at each folder
    nodes = [store.node(of) for of in found if of.run_id in there]
    for node in nodes:
        store.forget_the_dead(node)
        if retry_failed:
            store.forgive(node.run_id)
    for one in damage.mend(store, made, nodes) if url is None else ():  # objects are never torn
        if one.mended:
            print(f"damaged: {one}", file=sys.stderr, flush=True)
    states = plan_output.states(made, store)
    todo = [run_id for run_id, state in states.items() if state in ("new", "running")]
    print(plan_output.headline(made, states), file=sys.stderr, flush=True)
    code = 0
    if todo:
        # workers read the copy, which later edits of the file do not reach
        copied = out / "studies" / f"{made.study.name}.toml"
        launch = Launch(copied, out, store.identity(), on.part, provenance=detail, log=log)
        with Display(made, store) as display:
            code = on.run(launch, made.study.run.pack, lambda: StoreWatch(made, store, part), display)
    store.look_again()
    states, shown = plan_output.states(made, store), url or str(out)
    failed = [run_id for run_id, state in states.items() if state == "failed"]
    again = shlex.join(
        ["lab", "run", str(study_path), "--out", shown, *(f"--set={text}" for text in sets)]
        + [f"--allow-include={place}" for place in allowed]
    )
    if code == 130:
        print(f"interrupted; nothing is lost. To go on: {again}", file=sys.stderr)
    elif failed:
        print(
            f"{len(failed)} failed: `lab status {shown}` says why; to retry: {again} --retry-failed",
            file=sys.stderr,
        )
    if url is None and part is None and not code and not failed:
        for note in baselines.write(store, made):
            print(f"note: {note}", file=sys.stderr)
    # who interrupts does not want to wait
    left = damage.left(store, found, reads_parameters=code != 130) if url is None else []
    for one in left:
        print(f"damaged: {one}", file=sys.stderr)
    if left:
        print(damage.REMOVE, file=sys.stderr)
    counts = Counter(states.values())
    if as_json:
        said = {"study": made.study.name, "out": shown, "states": dict(counts), "failed": failed}
        print(json.dumps({**said, "damaged": [asdict(one) for one in left]}))
    else:
        print(f"{counts['done']} of {len(states)} runs done in {shown}")
    return 130 if code == 130 else 1 if failed or left or code else 0


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

    distributed.start(distributed.parse(cluster))
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

    from lab.runs.loop import Interrupted
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
    from lab.machine import devices
    from lab.verbs.common import load_data
    from sweeps.plan import cells as planned
    from sweeps.study import loader

    devices.check_environment()
    devices.check_platform()

    def load(config):
        try:
            return load_data(config)
        except InputError as error:  # of the data themselves: say where they are asked for
            raise InputError(*(f"{path}: data.source: {problem}" for problem in error.problems)) from None

    return planned.make(loader.load(path, sets, allowed), load)
