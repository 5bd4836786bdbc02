"""What all test processes share: devices, threads, XLA flags, compiled programs; the published tables."""

import atexit
import contextlib
import fcntl
import gc
import io
import os
import signal
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings

from lab.__main__ import main
from lab.machine import devices

# Modules and tests are made to stay: looking among them for what can go took a third of collecting
# them. What is there when the first test begins is never looked at again.
gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    gc.freeze()
    gc.enable()


# No test cuts the power: what a test's own process writes need not be on the disk when it goes on, which is
# milliseconds a file. The processes that it starts flush as ever.
os.fsync = lambda handle: None

# The processes of the suite fill the cores; more threads would wait for each other. numpy is not here yet.
for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(pool, "1")

# Most of the suite's time is compiling programs that then take a few steps; without LLVM's optimisation, and
# without MLIR for each fusion, that is six times shorter. SCALING_LAB_OPTIMISED=1 tests the programs exactly
# as users get them. XLA ends the process at a flag that it does not know, as another version may.
QUICK = ["--xla_backend_optimization_level=0"]
if metadata.version("jaxlib").startswith("0.10."):
    QUICK += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
if not os.environ.get("SCALING_LAB_OPTIMISED"):
    given = os.environ.get("XLA_FLAGS", "").split()  # here twice, as with -n, they would name other programs
    os.environ["XLA_FLAGS"] = " ".join([*(flag for flag in QUICK if flag not in given), *given])

devices.configure(cpu_devices=2)

# Every test process, and every process a test starts, finds what another one compiled: the folder is that of
# the `lab` command. A test that measures compiling, or wants an empty cache, sets its own.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(devices.compilation_folder()))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# Tokens of the texts that tests make are thrown away with them.
_TOKENS = tempfile.TemporaryDirectory(prefix="scaling-law-lab-tests-")
os.environ["SCALING_LAB_DATA"] = _TOKENS.name

# A traced program is a great many objects and few cycles: looking for those took a sixth of the suite's time.
gc.set_threshold(50_000, 20, 100)
atexit.register(gc.freeze)  # at the end there is no need to look again

# The same examples every time: a suite that fails by luck teaches people to run it again.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """``made_once(name, make)``: a folder that ``make(folder)`` filled, once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder_of(name: str, make) -> Path:
        folder = shared / name
        folder.mkdir(exist_ok=True)
        with open(folder / "lock", "w") as lock:  # let go of when this process ends, however it does
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "made").exists():
                make(folder)
                (folder / "made").touch()
        return folder

    return folder_of


HEARD = signal.SIGINT, signal.SIGTERM, signal.SIGUSR2


@pytest.fixture(scope="session")
def here():
    """``here(verb, *options)``: the `lab` command in this process, which has jax and its programs already."""

    def call(*args) -> subprocess.CompletedProcess:
        command = list(map(str, args))
        out, err = io.StringIO(), io.StringIO()
        heard = {number: signal.getsignal(number) for number in HEARD}
        done_above = mock.patch.object(devices, "configure")  # which is too late where jax is there
        with done_above, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(command)
            except SystemExit as end:
                code = end.code or 0
            finally:  # what a verb that trains listens to
                for number, handler in heard.items():
                    signal.signal(number, handler)
        assert "Traceback" not in err.getvalue(), err.getvalue()
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture(scope="session")
def own_devices() -> dict[str, str]:
    """The environment of a process that says itself how many devices it has; all else is as here."""
    flags = os.environ["XLA_FLAGS"].split()
    kept = [flag for flag in flags if not flag.startswith("--xla_force_host_platform_device_count")]
    return os.environ | {"XLA_FLAGS": " ".join(kept)}


@pytest.fixture(scope="session")
def oracles() -> Path:
    """Folder of published tables; tests that need it skip where it is not."""
    folder = Path(os.environ.get("SCALING_LAB_ORACLES", Path(__file__).parents[2] / "shared" / "oracles"))
    if not folder.is_dir():
        pytest.skip(f"no published tables at {folder}; set SCALING_LAB_ORACLES")
    return folder
