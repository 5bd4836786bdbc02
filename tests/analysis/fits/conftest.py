"""Where the published tables are, for tests that reproduce published numbers."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def oracles() -> Path:
    folder = Path(os.environ.get("SCALING_LAB_ORACLES", ROOT.parent / "shared" / "oracles"))
    if not folder.is_dir():
        pytest.skip(f"no published tables at {folder}; set SCALING_LAB_ORACLES")
    return folder
