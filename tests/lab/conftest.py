import pytest

from lab.config import ModelConfig, OptimizerConfig, RunConfig
from lab.data import DataConfig, load


@pytest.fixture(scope="session")
def synthetic():
    """A data set that costs nothing to build, of known entropy rate."""
    return load(DataConfig(source="synthetic", context=32, val_windows=64))


@pytest.fixture
def tiny(synthetic):
    """A run of a few seconds."""
    return RunConfig(
        tokens=60 * 8 * 32,
        model=ModelConfig(width=16, layers=1, heads=2),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_tokens=10 * 8 * 32),
        data=synthetic.config,
        batch=8,
    )
