"""What this machine has, asked of jax in another process; the compilation cache."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from lab.errors import InputError
from lab.machine import devices

ROOT = Path(__file__).parents[2]


def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    assert devices.cache_works(tmp_path)
    assert list(tmp_path.iterdir()) == [], "the probe leaves nothing behind"


def test_a_host_that_rejects_entries_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "_compile_tiny", lambda where: (0, 3))
    assert not devices.cache_works(tmp_path)


@pytest.mark.parametrize(
    ("platform", "generation", "refused"),
    [
        ("gpu", "7.5", True),
        ("gpu", "8.0", False),
        ("gpu", "gfx942", False),  # AMD's names are no numbers
        ("tpu", None, False),
        ("cpu", None, False),
    ],
)
def test_a_type_without_units_is_refused(platform, generation, refused, monkeypatch):
    device = SimpleNamespace(platform=platform, compute_capability=generation, device_kind="Old 2000")
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    devices.check_precision("float32")
    with (
        pytest.raises(InputError, match="bfloat16 is not supported by Old 2000") if refused else nullcontext()
    ):
        devices.check_precision("bfloat16")


@pytest.fixture
def asked(monkeypatch):
    """``asked(program)``: what is found where another platform's plugin is installed and jax says this."""

    def ask(program: str, **environment: str):
        monkeypatch.setattr(devices, "_has_plugin", lambda: True)
        monkeypatch.setattr(devices, "_LOOK", program)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        devices._ask.cache_clear()
        return devices.found()

    yield ask
    devices._ask.cache_clear()


def test_what_is_there_is_what_jax_says_in_a_process_that_has_ended(asked):
    two = 'print(\'[["gpu", "H100", "9.0"], ["gpu", "H100", "9.0"]]\')'
    # as in a container with /dev/nvidia3 and /dev/nvidia5 alone, whose devices are jax's first and second
    assert asked(two) == devices.Found("gpu", "H100", ("0", "1"), "CUDA_VISIBLE_DEVICES")
    assert asked(two, CUDA_VISIBLE_DEVICES="GPU-a1,GPU-b2").names == ("GPU-a1", "GPU-b2")
    amd = asked('print(\'[["gpu", "MI300X", "gfx942"]]\')')
    assert amd.only("0") == {"HIP_VISIBLE_DEVICES": "0"}
    chips = asked("print('[' + ', '.join(4 * ['[\"tpu\", \"TPU v5 lite\", \"\"]']) + ']')")
    assert chips.names == ("0", "1", "2", "3")
    assert chips.only("2")["TPU_VISIBLE_CHIPS"] == "2"


def test_jax_itself_is_asked_and_a_plugin_without_a_device_is_a_cpu(asked):
    assert asked(devices._LOOK, JAX_PLATFORMS="cpu") == devices.Found()


def test_jax_that_finds_nothing_is_one_line(asked):
    with pytest.raises(InputError, match="jax finds no device: the TPU is in use"):
        asked("raise SystemExit('the TPU is in use')")


def test_where_no_plugin_is_installed_nobody_is_asked(monkeypatch):
    monkeypatch.setattr(devices, "_ask", None)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert devices.found() == devices.Found()


def test_a_platform_that_jax_does_not_know_is_one_line(monkeypatch):
    """Before: nobody was asked, and the worker died of a traceback."""
    monkeypatch.setenv("JAX_PLATFORMS", "banana")
    devices._ask.cache_clear()
    with pytest.raises(InputError, match=r"jax finds no device: .*'banana'"):
        devices.check_platform()


@pytest.mark.parametrize("name", devices._NUMERICS)
def test_a_variable_by_which_jax_computes_something_else_is_refused(name, monkeypatch):
    """Before: JAX_DEFAULT_PRNG_IMPL=rbg gave other losses under the same run ids."""
    devices.check_environment()
    monkeypatch.setenv(name, "1")
    with pytest.raises(InputError, match=f"{name} is set: .*unset it"):
        devices.check_environment()
    monkeypatch.setattr(sys, "modules", {k: v for k, v in sys.modules.items() if k != "jax"})
    with pytest.raises(InputError, match=name):
        devices.configure()


@pytest.mark.parametrize(("platform", "there"), [("cpu", True), ("gpu", False), ("tpu", False)])
def test_flags_for_cpus_are_given_to_cpus_alone(platform, there):
    program = (
        "from lab.machine import devices; devices.configure(); import os; print(os.environ['XLA_FLAGS'])"
    )
    environment = os.environ | {devices.PLATFORM: platform, "XLA_FLAGS": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert ("ynn_fusion" in done.stdout) == there, done.stderr
    assert "device_count=1" in done.stdout


def test_a_worker_that_sees_other_devices_than_it_was_given_says_so():
    devices.check_promised(None)
    devices.check_promised(0)
    with pytest.raises(InputError, match=r"was given 8 accelerators and sees 0 \(cpu\)"):
        devices.check_promised(8)


def test_compilations_are_counted(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        from jax.experimental.compilation_cache import compilation_cache

        compilation_cache.reset_cache()
        counted = devices.compilations()
        start = counted.hits, counted.misses
        for expected in ((0, 1), (1, 1)):
            jax.jit(lambda x: x * 3 + 1)(1.0)
            assert (counted.hits - start[0], counted.misses - start[1]) == expected
            jax.clear_caches()
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        compilation_cache.reset_cache()


def test_whoever_sets_devices_up_has_not_imported_jax_by_then():
    """In a process of its own: each module that calls ``configure``, and what predicts before."""
    callers = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("lab", "sweeps")
        for path in sorted((ROOT / package).rglob("*.py"))
        if "devices.configure(" in path.read_text()
    ]
    assert "lab.verbs.train" in callers
    code = (
        f"import importlib, sys\nfor name in {[*callers, 'lab.machine.chips', 'lab.model.memory']}:\n"
        " importlib.import_module(name)\n if 'jax' in sys.modules: sys.exit(name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
