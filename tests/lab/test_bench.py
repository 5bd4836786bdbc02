"""The bench measures what it says: the products of the step, all of them, as they run."""

import json
import subprocess
import sys

import pytest

from lab.bench import bench, peer, products
from lab.config import ModelConfig, RunConfig
from lab.data import DataConfig
from lab.model import accounting

CONFIG = RunConfig(
    tokens=10**6,
    model=ModelConfig(32, 2, 2, qk_norm=False),
    data=DataConfig(source="synthetic", context=64),
    batch=2,
)
OF_THE_BENCH = RunConfig(
    tokens=10**6,
    model=ModelConfig(16, 1, 1, qk_norm=False),
    data=DataConfig(source="synthetic", context=128),
    batch=8,
)

# The bench starts a process for each core that it may use.
ON_ONE_CORE = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
from lab.__main__ import main
sys.exit(main())
"""


def test_the_products_of_a_step_are_three_forward_passes():
    found = products.of_step(CONFIG, 256)
    flops = sum(product.flops * count for product, count in found.items())
    # at a context of one block of queries, the whole square is computed
    forward = accounting.forward_flops(CONFIG.model, 256, 64, causal=False)
    assert flops == 3 * forward * CONFIG.batch_tokens


def test_a_batched_product_counts_its_flops_and_shape():
    # (B, T, K) times (B, S, K) over K
    product = products.Product((3, 5, 7), (3, 11, 7), (((2,), (2,)), ((0,), (0,))))
    assert product.flops == 2 * 3 * 5 * 11 * 7
    assert product.out == (3, 5, 11)


@pytest.mark.slow
def test_bench_on_this_machine_prints_the_promised_object():
    command = [sys.executable, "-c", ON_ONE_CORE, "bench", "--shapes", "16,1,1"]
    command += ["--seconds", "0.1", "--turns", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) >= {"device", "gemm_flops_per_s", "shapes"}
    (shape,) = found["shapes"]
    assert set(shape) >= {
        *("width", "layers", "batch", "pack", "tokens_per_s", "gemm_fraction"),
        *("compile_s", "peak_bytes", "peer"),
    }
    assert shape["peer"] is None
    # speeds are not judged in a test: only that each figure follows from the others
    flops = (
        sum(p.flops * n for p, n in products.of_step(OF_THE_BENCH, 256).items()) / OF_THE_BENCH.batch_tokens
    )
    assert found["gemm_flops_per_s"] == shape["gemm_flops_per_s"]
    achieved = shape["gemm_fraction"] * shape["gemm_flops_per_s"]
    assert achieved == pytest.approx(shape["tokens_per_s"] * flops, rel=1e-6)
    assert set(found["library_flops_per_s"]) == {"XLA", "NumPy"}
    of_the_best = shape["machine_fraction"] * max(shape["library_flops_per_s"].values())
    assert of_the_best == pytest.approx(achieved, rel=1e-6)


def test_shapes_that_cannot_be_are_all_named():
    command = [sys.executable, "-m", "lab", "bench", "--shapes", "64,4", "30,2,4", "--turns", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    for part in ("'64,4'", "heads", "--turns"):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_peer_has_a_reason():
    assert "no-such-python" in peer.available("no-such-python")


def test_a_team_that_dies_says_so():
    with pytest.raises(bench.PeerFailed, match="code 3"):
        bench._Team([[sys.executable, "-c", "raise SystemExit(3)"]])
