"""Local workers: one process a core or accelerator, watched by this one.

Workers are fresh processes (never forked: jax does not survive it) that are told their slot before jax
starts. They talk in JSON lines; a worker that dies is replaced, and its claim falls to the others.
"""

import json
import os
import queue
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab import python
from lab.machine.devices import PLATFORM, available_cores, found
from sweeps.work.engines.launch import DONE, INTERRUPTED, SOME_FAILED, Launch, crashed

_REPLACEMENTS = 3  # a slot whose workers keep dying is given up


@dataclass(frozen=True)
class Slot:
    """Where a worker runs: its cores, its virtual devices, and its accelerator if there are any."""

    cores: tuple[int, ...]
    cpu_devices: int = 1
    environment: dict[str, str] = field(default_factory=dict)  # that leaves it one accelerator alone


def slots(pack: str, workers: int | None, cells: int | None = None) -> list[Slot]:
    """One slot an accelerator where there are any, else one a core; all cores in one for a mapped pack.

    More workers than accelerators would halve each one's memory for nothing; more than cores are allowed.
    More than the `cells` that are left to train would start, import jax, and find nothing to do.
    Cores that another command's workers are bound to come last: two studies at once, a worker each, would
    else halve each other's speed beside an idle core.
    """
    cores = available_cores()
    if pack not in ("serial", "auto"):
        return [Slot(cores, cpu_devices=len(cores))]
    there = found()
    if names := there.names:
        count = min(workers or len(names), len(names), cells or len(names))
        return [Slot(cores[i::count] or cores, environment=there.only(names[i])) for i in range(count)]
    count = workers or len(cores)
    count = min(count, cells or count)
    bound = bound_processes()
    cores = tuple(sorted(cores, key=lambda core: bound[core]))
    return [Slot((cores[i % len(cores)],)) for i in range(count)]


def bound_processes() -> Counter[int]:
    """How many processes may run on this core alone, by core; nothing where the system does not tell."""
    found: Counter[int] = Counter()
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # it ended meanwhile
            facts = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            core = facts.get("Cpus_allowed_list", "").strip()
            if core.isdecimal() and "VmSize" in facts:  # threads of the kernel have no memory of their own
                found[int(core)] += 1
    return found


def run(launch: Launch, places: list[Slot], tell: Callable[[dict], None]) -> int:
    """Start a worker in each slot and pass on what they tell, until all have ended.

    SIGINT and SIGTERM are passed to the workers, which checkpoint and release what they hold; a second one
    kills them. Returns 0, 1 when cells were given up, 130 when interrupted.
    """
    events: queue.Queue = queue.Queue()
    alive: dict[int, subprocess.Popen] = {}
    left = dict.fromkeys(range(len(places)), _REPLACEMENTS)
    codes: list[int] = []
    signals = 0

    def start(slot: int) -> None:
        alive[slot] = _spawn(launch, places[slot])
        threading.Thread(target=_listen, args=(slot, alive[slot], events), daemon=True).start()

    def stop(*_) -> None:
        nonlocal signals
        signals += 1
        for process in alive.values():
            process.send_signal(signal.SIGTERM if signals == 1 else signal.SIGKILL)
        if signals == 1:
            tell({"kind": "stopping"})

    heard = threading.current_thread() is threading.main_thread()  # no other may set what signals do
    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM) if heard}
    try:
        for slot in range(len(places)):
            start(slot)
        while alive:
            try:
                slot, event = events.get(timeout=0.5)
            except queue.Empty:
                tell({"kind": "tick"})
                continue
            if isinstance(event, dict):
                tell({**event, "slot": slot})
                continue
            code = alive.pop(slot).wait()
            if signals or not crashed(code, event):
                codes.append(code)
            elif left[slot]:
                left[slot] -= 1
                _warn(tell, f"worker {slot} died ({_why(code)}); starting another")
                start(slot)
            else:
                codes.append(SOME_FAILED)
                _warn(tell, f"worker {slot} died ({_why(code)}) once too often")
    finally:
        for process in alive.values():
            process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)
    if signals or INTERRUPTED in codes:
        return INTERRUPTED
    return SOME_FAILED if any(codes) else DONE


def _spawn(launch: Launch, slot: Slot) -> subprocess.Popen:
    launch = replace(launch, cpu_devices=slot.cpu_devices)
    command = launch.command("--events", "--parent", os.getpid(), "--cores", *slot.cores)
    command += ["--accelerators", "1"] if slot.environment else []
    environment = python.environment() | {PLATFORM: found().platform} | slot.environment
    # a session of its own: Ctrl-C reaches this process alone, which tells the workers once
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def _listen(slot: int, process: subprocess.Popen, events: queue.Queue) -> None:
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reader.start()
    for line in process.stdout:
        try:
            events.put((slot, json.loads(line)))
        except ValueError:
            continue  # a library printed; only JSON lines are ours
    reader.join(timeout=5)
    said = "".join(errors)
    if said and crashed(process.wait(), said):
        events.put((slot, {"kind": "warning", "run_id": "", "text": errors[-1].strip()}))
    events.put((slot, said))


def _warn(tell: Callable[[dict], None], text: str) -> None:
    tell({"kind": "warning", "run_id": "", "text": text})


def _why(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
