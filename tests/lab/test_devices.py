"""The compilation cache: counted, and found again by a second process."""

from contextlib import nullcontext
from types import SimpleNamespace

import jax
import pytest

from lab.errors import InputError
from lab.machine import devices


def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    assert devices.cache_works(tmp_path)
    assert list(tmp_path.iterdir()) == [], "the probe leaves nothing behind"


def test_a_host_that_rejects_entries_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "_compile_tiny", lambda where: (0, 3))
    assert not devices.cache_works(tmp_path)


@pytest.mark.parametrize(
    ("platform", "generation", "refused"),
    [("gpu", "7.5", True), ("gpu", "8.0", False), ("tpu", None, False), ("cpu", None, False)],
)
def test_a_type_without_units_is_refused(platform, generation, refused, monkeypatch):
    device = SimpleNamespace(platform=platform, compute_capability=generation, device_kind="Old 2000")
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    devices.check_precision("float32")
    with (
        pytest.raises(InputError, match="bfloat16 is not supported by Old 2000") if refused else nullcontext()
    ):
        devices.check_precision("bfloat16")


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
