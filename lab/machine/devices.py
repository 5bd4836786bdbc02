"""What must be settled before jax starts: virtual devices, threads, XLA flags, the compilation cache."""

import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points, version
from pathlib import Path

from lab import python
from lab.errors import InputError
from lab.private import cache_folder

# On CPU alone, since plugins of other platforms may not know the flags: dots are fused with their neighbours
# by the YNN library (1.2 to 1.4 times faster steps), and sums are not rewritten as trees of windows (1.1
# times; their rounding is that of a plain sum). LLVM's level 2 compiles narrow shapes in half the time of
# level 3, the default, others in 4 to 14 % less, and steps are no slower (benchmarks/compile_levels.py).
_CPU_FLAGS = (
    "--xla_backend_optimization_level=2",
    "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT",
    "--xla_disable_hlo_passes=tree_reduction_rewriter",
)
# What jax takes from the environment and a run id does not hold: with any of them the same id has other bits.
_NUMERICS = (
    "JAX_DEFAULT_DTYPE_BITS",
    "JAX_DEFAULT_MATMUL_PRECISION",
    "JAX_DEFAULT_PRNG_IMPL",
    "JAX_DISABLE_JIT",
    "JAX_ENABLE_X64",
    "JAX_NUMPY_DTYPE_PROMOTION",
    "JAX_RANDOM_SEED_OFFSET",
    "JAX_THREEFRY_PARTITIONABLE",
)


def configure(cpu_devices: int = 1, cores: tuple[int, ...] | None = None) -> None:
    """Set up this process for jax, which must not have been imported yet.

    Args:
        cpu_devices: number of (virtual) CPU devices, where the CPU is the platform.
        cores: processor numbers this process may use; the thread pools of XLA follow from it.

    Flags that the user set in ``XLA_FLAGS`` win over ours.

    Raises:
        InputError: for a variable of the environment by which jax would compute something else.
    """
    if "jax" in sys.modules:
        raise RuntimeError("lab.machine.devices.configure must be called before jax is imported")
    check_environment()
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    given = os.environ.get("XLA_FLAGS", "")
    flags = [given]
    ours = _CPU_FLAGS if (os.environ.get(PLATFORM) or found().platform) == "cpu" else ()
    for flag in (*ours, f"--xla_force_host_platform_device_count={cpu_devices}"):
        if flag.split("=")[0] not in given:
            flags.append(flag)
    os.environ["XLA_FLAGS"] = " ".join(filter(None, flags))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # cache notices of XLA are not for the user


def check_environment() -> None:
    """Raises InputError for each variable by which jax would compute other numbers under the same run id."""
    if given := [name for name in _NUMERICS if os.environ.get(name)]:
        raise InputError(
            *(f"{name} is set: runs would have other numbers under the same ids; unset it" for name in given)
        )


def check_platform() -> None:
    """Raises InputError, one line, where JAX_PLATFORMS names what jax cannot have here."""
    if os.environ.get("JAX_PLATFORMS") and not os.environ.get(PLATFORM):
        found()


PLATFORM = "LAB_PLATFORM"  # what a process found is told to those it starts on the same machine
_LOOK = """
import json
import jax
devices = jax.local_devices()
print(json.dumps([[d.platform, d.device_kind, str(getattr(d, "compute_capability", ""))] for d in devices]))
"""


@dataclass(frozen=True)
class Found:
    """The accelerators of this process, as jax sees them; none where the CPU is its platform.

    Attributes:
        names: of each, as :attr:`variable` takes them: those the user left visible.
        variable: the environment variable that leaves a process some of them.
    """

    platform: str = "cpu"
    kind: str = ""
    names: tuple[str, ...] = ()
    variable: str = ""

    def only(self, name: str) -> dict[str, str]:
        """The environment of a process that is to have this one alone."""
        alone = {self.variable: name}
        if self.platform == "tpu":  # a chip by itself is a slice of one process
            alone |= {"TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1", "TPU_PROCESS_BOUNDS": "1,1,1"}
        return alone


def found() -> Found:
    """What jax has here, asked in a child process that has ended: jax takes memory, or a whole TPU, for as
    long as the process that asked lives. Where no plugin of another platform is installed, nobody is asked.

    Raises:
        InputError: where jax fails, with the last line of what it said.
    """
    return _ask() if _has_plugin() else Found()


def _has_plugin() -> bool:
    wanted = os.environ.get("JAX_PLATFORMS", "").split(",")
    if wanted[0]:  # a name that jax does not know is told by it
        return wanted[0] != "cpu"
    modules = ("jax_plugins", "libtpu")
    return any(map(importlib.util.find_spec, modules)) or bool(entry_points(group="jax_plugins"))


@cache
def _ask() -> Found:
    environment = python.environment() | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    call = python.command("-c", _LOOK)
    done = subprocess.run(call, capture_output=True, text=True, timeout=300, env=environment)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no message"]
        last = next((line for line in reversed(said) if re.match(r"\w+Error: ", line)), said[-1])
        raise InputError(f"jax finds no device: {last}; JAX_PLATFORMS=cpu goes without accelerators")
    there = json.loads(done.stdout.strip().splitlines()[-1])
    platform, kind, capability = there[0]
    if platform == "cpu":
        return Found()
    if platform == "tpu":
        variable = "TPU_VISIBLE_CHIPS"
    else:
        variable = "HIP_VISIBLE_DEVICES" if capability.startswith("gfx") else "CUDA_VISIBLE_DEVICES"
    left = [name for name in os.environ.get(variable, "").split(",") if name]
    names = left if len(left) == len(there) else [str(i) for i in range(len(there))]
    return Found(platform, kind, tuple(names), variable)


def check_promised(accelerators: int | None) -> None:
    """Raises InputError, one line, where this process sees other accelerators than it was given."""
    if accelerators is None:
        return
    import jax

    devices = jax.local_devices()
    count = 0 if devices[0].platform == "cpu" else len(devices)
    if count != accelerators:
        kinds = ", ".join(sorted({device.device_kind for device in devices}))
        raise InputError(
            f"devices: this worker was given {accelerators} accelerators and sees {count} ({kinds}); "
            "what the engine grants and what the node makes visible should agree"
        )


def enable_compilation_cache() -> Path:
    """Keep compiled programs between processes; returns the folder."""
    import jax

    folder = compilation_folder()
    folder.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilations()  # counts from here on
    return folder


def compilation_folder() -> Path:
    """Where compiled programs are kept.

    The path names the processor and the jaxlib version, because entries of another machine can be
    rejected, or worse, contain instructions that this one lacks (jax#38445).
    """
    return cache_folder() / "xla" / f"{machine_name()}-jaxlib{version('jaxlib')}"


@dataclass
class Compilations:
    """How many programs this process found compiled (``hits``), and how many it compiled itself."""

    hits: int = 0
    misses: int = 0


@cache
def compilations() -> Compilations:
    """The one count of this process, kept up to date by jax's own events."""
    from jax import monitoring

    counted = Compilations()

    def listen(event: str, **_) -> None:
        counted.hits += event == "/jax/compilation_cache/cache_hits"
        counted.misses += event == "/jax/compilation_cache/cache_misses"

    monitoring.register_event_listener(listen)
    return counted


_TINY_PROGRAM = """
import sys
from lab.machine import devices
devices.configure()
import jax
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
counted = devices.compilations()
jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((8, 8))).block_until_ready()
print(counted.hits, counted.misses)
"""


def cache_works(folder: Path | None = None) -> bool:
    """Whether a second process finds what a first one compiled.

    Two processes compile the same tiny program into an empty folder. Some hosts reject each entry without a
    word (jax#38445): everything still runs, and each process compiles anew.

    Raises:
        RuntimeError: when a process fails, with the last line of what it said.
    """
    with tempfile.TemporaryDirectory(dir=folder) as where:
        counts = [_compile_tiny(where) for _ in range(2)]
    return counts[1][0] > 0 and counts[1][1] == 0


def _compile_tiny(where: str) -> tuple[int, int]:
    call = python.command("-c", _TINY_PROGRAM, where)
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, env=python.environment())
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(f"jax does not run here: {said[-1]}")
    hits, misses = done.stdout.split()[-2:]
    return int(hits), int(misses)


def check_precision(precision: str) -> None:
    """Raises InputError where the device has no units for the type of the activations.

    CPUs compute bfloat16 without such units, slowly and with the same result, so it can be tried on them.
    """
    import jax

    from lab.model import kernels

    device = jax.local_devices()[0]
    told = kernels.capability(device)
    if precision == "bfloat16" and device.platform == "gpu" and told is not None and told < (8, 0):
        raise InputError(f"precision: bfloat16 is not supported by {device.device_kind}; should be float32")


def available_cores() -> tuple[int, ...]:
    """Processor numbers this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def machine_name() -> str:
    """A name for machines whose compiled programs and speeds are interchangeable."""
    name = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    parts = [
        facts.get(f"{key}\t", facts.get(f"{key}\t\t", "")).strip()
        for key in ("model name", "cpu family", "model")
    ]
    return "-".join("".join(c if c.isalnum() else "_" for c in part) for part in [name, *parts] if part)
