import pytest

STUDY = """
name = "small"
batch = 8
model = { layers = 1, heads = 1 }
optimizer = { warmup_tokens = 2_000 }
data = { source = "synthetic", context = 32, val_windows = 64 }

[[grids]]
name = "language"
tokens = [10_000, 20_000, 40_000]
seeds = [0, 1]
held_out = 1
sizes = [{ width = 8, learning_rate = 0.02 }, { width = 16, learning_rate = 0.01 }]
"""


@pytest.fixture(scope="session")
def small_study() -> str:
    """A study of 12 runs that takes a few seconds."""
    return STUDY


@pytest.fixture
def study_file(tmp_path, small_study):
    path = tmp_path / "small.toml"
    path.write_text(small_study)
    return path
