"""Two virtual CPU devices for every test that starts jax; the published tables where they are."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from lab.machine import devices

devices.configure(cpu_devices=2)

# The same examples every time: a suite that fails by luck teaches people to run it again.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def oracles() -> Path:
    """Folder of published tables; tests that need it skip where it is not."""
    folder = Path(os.environ.get("SCALING_LAB_ORACLES", Path(__file__).parents[2] / "shared" / "oracles"))
    if not folder.is_dir():
        pytest.skip(f"no published tables at {folder}; set SCALING_LAB_ORACLES")
    return folder
