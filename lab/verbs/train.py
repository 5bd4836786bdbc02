"""`lab train`: one model, on one device or many, in one process or many."""

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lab.config import RunConfig
from lab.errors import InputError
from lab.execution import Execution, MeshShape
from lab.machine.provenance import Detail
from lab.objects import url_of
from lab.runs import trackers
from lab.runs.trackers import Target
from lab.strict import build
from lab.terminal import unescaped
from lab.training import recipes
from lab.verbs.common import load_data, print_row, warn


def train(argv: list[str]) -> int:
    def command(
        config: Annotated[RunConfig, tyro.conf.arg(name="")],
        out: Path | None = None,
        mesh: str = "",
        accumulate: int = 1,
        remat: bool = False,
        memory: Literal["check", "ignore"] = "check",
        evaluate_every: int = 0,
        distributed: str = "",
        predict: str = "",
        provenance: Detail = "names",
        log: Target | None = None,
        as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    ) -> int:
        """Train one model into a run folder; the same command goes on after an interruption.

        What says how it is computed (mesh, accumulate, remat, distributed) is not part of the run:
        it may change at every resume, and the result stays the same up to rounding.

        Args:
            out: the run folder, or s3://bucket/place (gs://): the run is kept below it, as runs/<run id>.
            mesh: spread the run over devices of all processes (virtual ones on a CPU):
                data=2,fsdp=2,tensor=2. data: parts of the batch; fsdp: parts of the batch and of all
                matrices; tensor: heads and hidden units.
            accumulate: cut each batch into this many parts, one after the other.
            remat: keep only the input of each layer, and compute layers again in the backward pass.
            memory: check: refuse what by a prediction from the shapes cannot fit; ignore: try it anyway.
            evaluate_every: steps between two validations on the way, rounded up to whole calls of 20; 0: at
                the end alone.
            distributed: coordinator=HOST:PORT,processes=N,process=I; auto: as Slurm or the TPU pod says;
                off. By default LAB_COORDINATOR, LAB_PROCESSES and LAB_PROCESS, or Slurm where a step has
                several tasks. With wait=SECONDS (LAB_WAIT; 300 by default) until all have to be there.
            predict: train nothing; print the time and memory by arithmetic on this chip (h100, v5e, ...),
                as many as the mesh has.
            provenance: what the spec tells of this machine: full adds paths, the host, the working folder.
            log: records go out while it trains, with tokens/s and the share of the peak: into the folder
                tensorboard, wandb (offline) or mlflow of the run folder.
            as_json: print the result as one JSON object.
        """
        # tables check themselves; through the loader all problems come out at once
        config = build(RunConfig, asdict(config), "lab train")
        how = Execution(MeshShape.parse(mesh), accumulate, remat, memory, evaluate_every)
        how.check(config)
        if predict:
            return _predict(config, how, predict, as_json)
        if out is None:
            raise InputError("--out: is missing; the run folder")
        url = url_of(out)
        if log and url:
            raise InputError(f"--log: needs a run in a folder, not {url}")
        if log:
            trackers.need(log, "--log")
        return _train(out, config, "mesh" if mesh else "serial", how, distributed, provenance, log, as_json)

    return tyro.cli(command, args=argv, prog="lab train")


def _repeats(tokens: int, unique: int | None) -> str:
    """What to say where a run sees its data more than once; nothing where it does not."""
    if not unique or tokens <= 1.01 * unique:
        return ""
    return (
        f"{tokens / unique:.3g} epochs: {tokens:,} tokens of {unique:,} unique ones; repeated tokens are "
        "worth less (arXiv 2305.16264)"
    )


def _differing(spec: dict, config: RunConfig) -> str:
    """`model.width 32 there, 64 here`: the keys in which the run of a folder differs from what is asked."""

    def flat(values: dict, prefix: str = "") -> dict:
        out = {}
        for key, value in values.items():
            out |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return out

    there, here = (
        flat(json.loads(json.dumps(spec.get("config", {})))),
        flat(json.loads(json.dumps(asdict(config)))),
    )
    names = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    if not names:
        return "made of other data or by another version"
    told = [f"{key} {there.get(key)!r} there, {here.get(key)!r} here" for key in names[:6]]
    return "; ".join(told) + (f" and {len(names) - 6} more keys" if len(names) > 6 else "")


def _predict(config: RunConfig, how: Execution, chip: str, as_json: bool) -> int:
    from lab.machine import chips, devices

    chips.find(chip)
    devices.configure()
    vocab = load_data(config.data).vocab_size
    config = recipes.resolve(config, vocab, "lab train: ")
    found = chips.predict(config, vocab, chip, how)
    print(json.dumps(asdict(found)) if as_json else chips.as_text(found))
    return 0 if found.fits else 1


def _train(
    out: Path,
    config: RunConfig,
    mode: str,
    how: Execution,
    where: str,
    detail: Detail,
    log: Target | None,
    as_json: bool,
) -> int:
    from lab.machine import devices, distributed

    cluster = distributed.parse(where)
    if cluster and mode != "mesh":
        raise InputError("--distributed: needs --mesh, such as --mesh fsdp=N over N devices of all processes")
    count = how.mesh.devices
    devices.configure(-(-count // (cluster.processes or 1)) if cluster else count)
    distributed.start(cluster, warn)
    with distributed.ending_together():
        return _joined(out, config, mode, how, cluster, detail, log, as_json)


def _joined(
    out: Path,
    config: RunConfig,
    mode: str,
    how: Execution,
    cluster,
    detail: Detail,
    log: Target | None,
    as_json: bool,
) -> int:
    """What every process does once all have come."""
    from lab.machine import devices, distributed

    count = how.mesh.devices
    dataset = load_data(config.data)
    config = recipes.resolve(config, dataset.vocab_size, "lab train: ")
    how.check(config)  # a law may have set the batch
    devices.enable_compilation_cache()

    import jax

    from lab.machine import provenance
    from lab.runs import destination, loop
    from lab.runs.fence import Lost

    found = len(jax.devices())
    if count > found or (cluster and count != found):
        raise InputError(f"--mesh: {how.mesh} needs {count} devices, there are {found}")
    run_id = config.run_id(dataset.digest)
    place = destination.destination_of(out, run_id)
    folder = place.folder
    spec = folder.spec()
    if spec and spec["run_id"] != run_id:
        raise InputError(
            f"{place.name}: holds run {spec['run_id']} of another configuration, {_differing(spec, config)}; "
            "choose another folder"
        )
    row = (folder.result() or {}).get("row", {})
    if row.get("run_id", run_id) != run_id:
        raise InputError(f"{place.name}: holds the result of run {row['run_id']}; choose another folder")
    if spec is None and folder.steps():
        raise InputError(
            f"{place.name}: holds checkpoints, and no readable spec.json says of which run; "
            "choose another folder"
        )
    if said := _repeats(config.tokens, dataset.unique_tokens):
        warn(said)
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
    primary = distributed.is_primary()
    if primary and folder.result() is None:
        for note in place.check():
            warn(f"note: {note}")
    done = folder.result() is not None
    distributed.wait("looked for a result")  # nobody commits one before all have looked
    if not done:
        hooks = loop.Hooks(
            progress=_line if primary else lambda progress: None,
            should_stop=lambda: bool(stopped),
            provenance={
                **provenance.collect(detail),
                "execution": asdict(how),
                "processes": distributed.count(),
            },
            warn=warn if primary else lambda text: None,
            track=lambda job: trackers.opened(log, out / log, job.run_id, "") if log else None,
        )
        try:
            with _claimed(place, primary) as check:
                # another process may have finished between our look and our claim
                if not distributed.from_primary(int(folder.result() is not None)):
                    folder.fetch()
                    distributed.wait("brought the run here")  # nobody changes it before all have it
                    job = loop.Job(config, run_id, folder)
                    loop.run([job], dataset, mode, replace(hooks, check=check), how)
        except loop.Interrupted:
            if primary:
                warn("interrupted; the same command goes on from here")
            return 130
        except Lost as lost:
            raise InputError(str(lost)) from None
    result = folder.result()
    if result is None:
        raise InputError(
            f"{place.name}: lacks the result that process 0 wrote; should lie where all processes see it, "
            "or at a URL"
        )
    if primary:
        print(json.dumps(result)) if as_json else print_row(result["row"], result["abilities"])
    return 0 if result["row"]["status"] == "ok" else 1


@contextlib.contextmanager
def _claimed(place, primary: bool) -> Iterator[Callable[[], None]]:
    """The run's place, claimed as a worker claims one; yields what raises Lost once another process has it.

    Raises:
        InputError: where another process is at work here.
    """
    from lab.machine import distributed
    from lab.runs import claims
    from lab.runs.fence import Lost

    claim = place.claim() if primary else None
    if not distributed.from_primary(int(claim is not None)):
        held = place.held()
        who = f"process {held.owner.pid} on {held.owner.host}" if held else "another process"
        raise InputError(f"{place.name}: {who} is training here; wait for it, or choose another folder")
    if claim is None:
        try:
            yield lambda: None
        finally:
            place.folder.leave()
        return

    def check() -> None:
        if not claim.is_mine():
            raise Lost(f"{place.name}: another process took this run over; what it had saved is there")

    heart = claims.Heartbeat()
    heart.hold([claim])
    try:
        place.folder.withdraw(check)
        yield check
    finally:
        heart.stop()
        place.folder.leave()
        claim.release()


def _line(progress) -> None:
    if progress.phase != "train":
        print({"compile": "compiling", "evaluate": "evaluating"}[progress.phase], file=sys.stderr, flush=True)
        return
    speed = f"{progress.tokens_per_s:,.0f} tokens/s, {progress.seconds_left:.0f} s left"
    text = f"step {progress.step}/{progress.steps}  loss {progress.loss_nats:.4f}  {speed}"
    end = "\r" if sys.stderr.isatty() and progress.step < progress.steps else "\n"
    if end == "\r" or progress.step % 200 == 0 or progress.step == progress.steps:
        print(text, end=end, file=unescaped(sys.stderr), flush=True)
