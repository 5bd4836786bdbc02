"""``lab bench``: tokens per second of each shape, as part of what its products allow, and beside a peer.

Products of the step's own shapes may all be slow; so it is also said as part of the fastest large product of
any library here.

All cores work at once, a process each, as in a study. The lab, its bare matrix products and the peer take
turns within one run, so that a busy or a throttled machine slows all of them; medians over the turns are
reported.
"""

import json
import statistics
import subprocess
from dataclasses import asdict, dataclass

from lab import python
from lab.bench import peer as peers
from lab.machine.devices import available_cores


@dataclass(frozen=True)
class Shape:
    width: int
    layers: int
    heads: int


# one head of 32 for each 32 of width; the four sizes of a study of this lab, from its smallest to its largest
SHAPES = (Shape(32, 2, 1), Shape(64, 4, 2), Shape(128, 4, 4), Shape(256, 6, 8))


@dataclass(frozen=True)
class Options:
    """How long, and against what."""

    context: int = 128
    vocab: int = 256
    batch: int = 8  # sequences a step, of each of the lab's runs
    seconds: float = 2.0  # of one turn
    turns: int = 5
    peer_python: str | None = None  # an interpreter with torch


def bench(shapes: tuple[Shape, ...], options: Options, tell=lambda text: None) -> dict:
    """The measurements as plain JSON values (``lab bench --json``)."""
    reason = "not asked for"
    if options.peer_python:
        reason = peers.available(options.peer_python)
    measured = []
    for shape in shapes:
        tell(f"width {shape.width}, {shape.layers} layers: compiling")
        measured.append(_shape(shape, options, peer=reason is None, tell=tell))
    return {
        "device": measured[0].pop("device"),
        "cores": len(available_cores()),
        "gemm_flops_per_s": max(m["gemm_flops_per_s"] for m in measured),
        "library_flops_per_s": {
            name: max(m["library_flops_per_s"][name] for m in measured)
            for name in measured[0]["library_flops_per_s"]
        },
        "peer_missing": reason,
        "shapes": [{k: v for k, v in m.items() if k != "device"} for m in measured],
    }


def _shape(shape: Shape, options: Options, peer: bool, tell) -> dict:
    spec = {**asdict(shape), "context": options.context, "vocab": options.vocab, "batch": options.batch}
    lab = _Team([python.command("-m", "lab.bench.worker", json.dumps(spec | {"core": c})) for c in _cores()])
    rival, mode = _best_peer(spec, options, tell) if peer else (None, None)
    try:
        about = lab.ready[0]
        turns = []
        for turn in range(options.turns):
            tell(f"width {shape.width}, {shape.layers} layers: turn {turn + 1} of {options.turns}")
            step = _rate(lab.ask(f"step {options.seconds}"))
            bare = sum(1 / a["seconds_per_token"] for a in lab.ask("products"))
            large = lab.ask("libraries")
            against = _rate(rival.ask(str(options.seconds))) if rival else None
            turns.append((step, bare, {name: sum(a[name] for a in large) for name in large[0]}, against))
    finally:
        lab.stop()
        if rival:
            rival.stop()
    steps, bares, large, rivals = zip(*turns, strict=True)
    best = [max(rates.values()) / about["flops_per_token"] for rates in large]  # tokens a second
    found = {
        **asdict(shape),
        "batch": options.batch,
        "pack": "serial",  # a process a core, each with one run
        "tokens_per_s": statistics.median(steps),
        "gemm_flops_per_s": statistics.median(bares) * about["flops_per_token"],
        "gemm_fraction": statistics.median(a / b for a, b in zip(steps, bares, strict=True)),
        "library_flops_per_s": {name: statistics.median(r[name] for r in large) for name in large[0]},
        "machine_fraction": statistics.median(a / b for a, b in zip(steps, best, strict=True)),
        "compile_s": statistics.median(a["compile_s"] for a in lab.ready),
        "warm_s": statistics.median(a["warm_s"] for a in lab.ready),
        "peak_bytes": about["peak_bytes"],
        "device": about["device"],
        "peer": None,
        "ratio": None,
    }
    if rival:
        found["peer"] = {"name": "PyTorch", "mode": mode, "tokens_per_s": statistics.median(rivals)}
        found["ratio"] = statistics.median(a / b for a, b in zip(steps, rivals, strict=True))
    return found


def _best_peer(spec: dict, options: Options, tell):
    """The fastest of the peer's modes, warm and waiting, and its name."""
    best = None
    for mode in peers.modes():
        tell(f"width {spec['width']}, {spec['layers']} layers: peer, {peers.name(mode)}")
        whole = json.dumps(spec | mode | {"threads": 1})
        commands = [[options.peer_python, str(peers.PEER), whole] for _ in _cores()]
        try:
            team = _Team(
                [["taskset", "-c", str(c), *command] for c, command in zip(_cores(), commands, strict=True)]
            )
        except PeerFailed as failure:  # compiling needs a C++ compiler, which not every machine has
            tell(f"peer, {peers.name(mode)}: {failure}")
            continue
        rate = _rate(team.ask(str(options.seconds)))
        if best is None or rate > best[0]:
            if best:
                best[1].stop()
            best = rate, team, peers.name(mode)
        else:
            team.stop()
    return (best[1], best[2]) if best else (None, None)


class PeerFailed(Exception):
    """A process of a team ended before it was ready; the text is its last line."""


class _Team:
    """A process on each core, measuring at the same time."""

    def __init__(self, commands: list[list[str]]):
        pipe = subprocess.PIPE
        self.processes = [
            subprocess.Popen(
                c, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=python.environment()
            )
            for c in commands
        ]
        try:
            self.ready = [self._answer(p) for p in self.processes]
        except PeerFailed:
            self.stop()
            raise

    def ask(self, what: str) -> list[dict]:
        for process in self.processes:
            process.stdin.write(what + "\n")
            process.stdin.flush()
        return [self._answer(p) for p in self.processes]

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()

    @staticmethod
    def _answer(process) -> dict:
        line = process.stdout.readline()
        if not line:
            raise PeerFailed(f"{' '.join(process.args[:4])} ended with code {process.wait()}")
        return json.loads(line)


def _rate(answers: list[dict]) -> float:
    return sum(a["tokens"] / a["seconds"] for a in answers)


def _cores() -> tuple[int, ...]:
    return available_cores()


def text(found: dict) -> str:
    """The table for the screen."""
    large = ", ".join(f"{rate / 1e9:.0f} by {name}" for name, rate in found["library_flops_per_s"].items())
    lines = [
        f"{found['device']}, {found['cores']} cores, a run on each; "
        f"matrix products reach {found['gemm_flops_per_s'] / 1e9:.0f} GFLOP/s; a large one {large}",
        f"{'width':>5} {'layers':>6} {'batch':>5} {'tokens/s':>10} {'of products':>11} {'of machine':>10} "
        f"{'compile':>8} {'warm':>6} {'memory':>8}  {'peer tokens/s':>13} {'ratio':>6}",
    ]
    for s in found["shapes"]:
        rival = s["peer"]
        against = (
            f"{rival['tokens_per_s']:>13,.0f} {s['ratio']:>6.2f}  {rival['mode']}" if rival else f"{'-':>13}"
        )
        lines.append(
            f"{s['width']:>5} {s['layers']:>6} {s['batch']:>5} {s['tokens_per_s']:>10,.0f} "
            f"{s['gemm_fraction']:>10.0%} {s['machine_fraction']:>11.0%}  "
            f"{s['compile_s']:>6.1f} s {s['warm_s']:>4.1f} s {s['peak_bytes'] / 1e6:>5.0f} MB  {against}"
        )
    if found["peer_missing"]:
        lines.append(
            f"no peer: {found['peer_missing']}; --peer-python PYTHON names an interpreter with torch"
        )
    return "\n".join(lines)
