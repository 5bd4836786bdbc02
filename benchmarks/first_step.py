"""CPU seconds from nothing to the first steps of a shape, no program being compiled before.

    python -m benchmarks.first_step

Each row is a process: `lab train` for 40 steps of a shape of the quick start's abilities, and of one of its
text. Processor time is counted, so that other work on the machine changes it little.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHAPES = {
    "abilities, width 8": "--tokens 48640 --batch 64 --model.width 8 --model.heads 1 --data.source abilities "
    "--data.tasks sort 1 facts 1 coin 0.3",
    "text, width 48": "--tokens 40960 --batch 8 --model.width 48 --model.heads 2 --data.source python-docs "
    "--data.context 128",
}
COMMON = "--model.layers 2 --model.no-qk-norm --optimizer.warmup-tokens 9000"
# CPU s of this process when the training program stood; of compiling; in all
COLUMNS = ("first chunk", "compiling", "programs", "in all")


def measured(options: str, folder: Path) -> list[float]:
    """The row of one shape, whose training takes place in this process."""
    from lab import __main__ as command
    from lab.machine import devices

    compiling, lowered, first = [], 0.0, None
    enable = devices.enable_compilation_cache

    def listen(event: str, _seconds: float, fun_name: str = "", **_) -> None:
        nonlocal lowered, first
        now = time.process_time()
        if event.endswith("jaxpr_to_mlir_module_duration"):
            lowered = now
        elif event.endswith("backend_compile_duration"):
            compiling.append(now - lowered)
            first = now if "chunk" in fun_name else first

    def enabled() -> Path:
        from jax import monitoring

        monitoring.register_event_duration_secs_listener(listen)
        return enable()

    devices.compilation_folder = lambda: folder / "programs"
    devices.enable_compilation_cache = enabled
    if code := command.main(["train", "--out", str(folder / "run"), *COMMON.split(), *options.split()]):
        raise SystemExit(code)
    return [first, sum(compiling), len(compiling), time.process_time()]


def main() -> None:
    print(f"{'':20}" + "".join(f"{name:>13}" for name in COLUMNS))
    for name, options in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            call = [sys.executable, "-m", "benchmarks.first_step", options, folder]
            said = subprocess.run(
                call, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        first, compiling, programs, total = json.loads(said.stdout.splitlines()[-1])
        print(f"{name:20}{first:13.1f}{compiling:13.1f}{programs:13}{total:13.1f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measured(sys.argv[1], Path(sys.argv[2]))))
    else:
        main()
