"""Predicted memory against the compiler's own, the refusal, and predictions for other machines."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.config import ModelConfig, OptimizerConfig, RunConfig
from lab.data import DataConfig
from lab.errors import InputError
from lab.evaluation import evaluate
from lab.execution import Execution, MeshShape
from lab.machine import chips
from lab.model import accounting, kernels, memory
from lab.ram import Ram, ram
from lab.runs import loop
from lab.runs.folder import RunFolder
from lab.runs.job import Job
from lab.training import mesh as meshes
from lab.training import optimizer, train

V = 258
BASE = RunConfig(
    tokens=10**6, model=ModelConfig(width=64, layers=4), data=DataConfig(source="synthetic"), batch=16
)
SHAPES = {
    "narrow": replace(BASE, model=ModelConfig(width=32, layers=2, heads=2)),
    "deep": replace(BASE, model=replace(BASE.model, layers=8)),
    "gated": replace(BASE, model=replace(BASE.model, layers=2, mlp="gated", qk_norm=False)),
    "wide": replace(BASE, model=ModelConfig(width=256, layers=2, heads=4), batch=4),
    "muon": replace(
        BASE, model=replace(BASE.model, layers=2), optimizer=OptimizerConfig(algorithm="muon"), batch=2
    ),
    "long": replace(
        BASE,
        model=ModelConfig(width=32, layers=1, heads=4),
        data=DataConfig(source="synthetic", context=1024),
        batch=2,
    ),
    "long, two layers": replace(
        BASE,
        model=ModelConfig(width=32, layers=2, heads=4),
        data=DataConfig(source="synthetic", context=1024),
        batch=2,
    ),
}
REPEATED = ("deep", "long", "narrow")  # as deep, as long, and as narrow, as others here


def compiled(config, how):
    shape = (20, config.batch, config.data.context)
    tokens = jax.ShapeDtypeStruct(shape, jnp.int32)
    body = partial(
        train.chunk,
        model=config.model,
        precision=config.precision,
        vocab=V,
        accumulate=how.accumulate,
        remat=how.remat,
    )
    program = jax.jit(body, donate_argnums=0)
    state = train.state_shapes(config, V)
    return program.lower(state, tokens, tokens, np.int32(1), optimizer.hyper(config)).compile()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, Execution()) for name in SHAPES if name not in REPEATED),
        *(pytest.param(name, Execution(), marks=pytest.mark.weekly) for name in REPEATED),
        ("gated", Execution(remat=True)),
        ("narrow", Execution(accumulate=8)),
        pytest.param("deep", Execution(remat=True), marks=pytest.mark.weekly),
        pytest.param("deep", Execution(accumulate=8), marks=pytest.mark.weekly),
    ],
)
def test_prediction_and_compiler_agree(name, how):
    predicted = memory.breakdown(SHAPES[name], V, how=how).training
    assert 1 / memory.FACTOR < memory.measured(compiled(SHAPES[name], how)) / predicted < memory.FACTOR


@pytest.mark.parametrize("shape", [MeshShape(fsdp=2), MeshShape(tensor=2), MeshShape(data=2)], ids=str)
@pytest.mark.parametrize("name", ["narrow", pytest.param("wide", marks=pytest.mark.weekly)])
def test_prediction_and_compiler_agree_over_a_mesh(name, shape):
    agrees_over_a_mesh(SHAPES[name], Execution(mesh=shape))


@pytest.mark.parametrize("remat", [False, pytest.param(True, marks=pytest.mark.weekly)])
def test_prediction_and_compiler_agree_where_layers_are_gathered_one_by_one(remat):
    agrees_over_a_mesh(SHAPES["deep"], Execution(MeshShape(fsdp=2), remat=remat))


def agrees_over_a_mesh(config, how):
    mesh = meshes.make(how.mesh, tuple(jax.devices()[:2]))
    state = meshes.state_shapes(config, V, mesh)
    leaves, structure = jax.tree.flatten(state)
    program = meshes.program(config.model, config.precision, V, mesh, how, (tuple(leaves), structure))
    tokens = jax.ShapeDtypeStruct((20, config.batch, config.data.context), jnp.int32)
    compiled = program.lower(state, tokens, tokens, np.int32(1), optimizer.hyper(config)).compile()
    predicted = memory.breakdown(config, V, "mesh", how=how).training
    assert 1 / memory.FACTOR < memory.measured(compiled) / predicted < memory.FACTOR


@pytest.mark.parametrize(
    ("context", "precision"),
    [(512, "bfloat16"), (128, "float32"), pytest.param(512, "float32", marks=pytest.mark.weekly)],
)
def test_the_whole_square_of_other_accelerators_is_predicted(context, precision, monkeypatch):
    """Their attention runs here too: what it keeps is compared on this machine's compiler."""
    model = ModelConfig(width=32, layers=2, heads=4, mlp_ratio=1.0)
    data = DataConfig(source="synthetic", context=context)
    config = replace(BASE, model=model, data=data, batch=4, precision=precision)
    monkeypatch.setattr(kernels, "here", lambda dtype, width: "xla")
    predicted = memory.breakdown(config, V, platform="tpu").training
    found = memory.measured(compiled(config, Execution()))
    assert 1 / memory.FACTOR < found / predicted < memory.FACTOR


def test_a_kernel_that_keeps_no_scores_is_not_charged_for_them():
    def activations(platform, **changes):
        return memory.breakdown(replace(LARGE, **changes), 32_000, platform=platform).activations

    square = LARGE.model.layers * LARGE.model.heads * LARGE.data.context * LARGE.batch_tokens
    # On a CPU the blocks of queries also keep the keys and values they see, which have no part for each head.
    more = replace(LARGE.model, heads=2 * LARGE.model.heads)
    scores = activations("cpu", model=more) - activations("cpu")
    assert scores == pytest.approx(4 * square / 2, rel=0.1)
    assert activations("cpu") - activations("gpu") > scores
    assert activations("tpu") - activations("gpu") == pytest.approx(6 * square, rel=0.1)
    masked = replace(LARGE.model, document_mask=True)
    assert activations("gpu", model=masked) == activations("tpu", model=masked)


# Shapes whose peaks lie in different places: the MLP, attention with blocks of queries, the logits.
SCORED = {
    "mlp": (ModelConfig(width=64, layers=2), 128, V),
    "gated": (ModelConfig(width=64, layers=2, mlp="gated"), 128, V),
    "attention": (ModelConfig(width=32, layers=2, heads=4, mlp_ratio=1.0), 512, V),
    "logits": (ModelConfig(width=32, layers=2, heads=2), 128, 4096),
    "one layer": (ModelConfig(width=128, layers=1), 128, V),
    "one layer, wide MLP": (ModelConfig(width=64, layers=1, heads=2, mlp_ratio=8.0), 128, V),
    "one layer, long": (ModelConfig(width=64, layers=1), 1024, V),
    "long": (ModelConfig(width=64, layers=3), 1024, V),
}


def scored(model, context, vocab) -> tuple[int, int]:
    """Temporaries of scoring one batch: predicted, and by the compiler's account."""
    config = replace(BASE, model=model, data=DataConfig(source="synthetic", context=context))
    rows = memory.rows(config, vocab)
    tokens = jax.ShapeDtypeStruct((rows, context), jnp.int32)
    params = train.state_shapes(config, vocab).params
    program = evaluate._program(model, "float32", vocab).lower(params, tokens, tokens).compile()
    return memory.breakdown(config, vocab).evaluation, program.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.weekly] if name in ("mlp", "one layer", "long") else [])
        for name in SCORED
    ],
)
def test_what_scoring_takes_is_predicted(name):
    predicted, found = scored(*SCORED[name])
    assert 1 / memory.FACTOR < found / predicted < memory.FACTOR


def test_rows_that_are_scored_together_stay_what_they_were():
    def rows(layers, width, context, vocab, mlp="gelu"):
        model = ModelConfig(width=width, layers=layers, mlp=mlp)
        config = replace(BASE, model=model, data=DataConfig(source="synthetic", context=context))
        return memory.rows(config, vocab)

    # they decide how sums are rounded: with other rows the loss of a finished run would be another
    assert [rows(1, width, 128, V) for width in (32, 256, 512, 1024)] == [64, 64, 32, 16]
    assert [rows(layers, 512, 128, V, "gated") for layers in (1, 4)] == [64, 64]
    assert [rows(1, 64, context, V) for context in (512, 1024, 4096)] == [32, 16, 1]
    assert [rows(2, 64, 128, vocab) for vocab in (4096, 32_000)] == [64, 8]


@pytest.mark.parametrize("context", [16, 128, 1024, 8192, 131_072])
def test_rows_that_are_scored_together_are_as_many_as_the_bound_holds(context):
    config = replace(BASE, data=DataConfig(source="synthetic", context=context))
    rows, needed = memory.rows(config, V), memory.breakdown(config, V).evaluation
    assert 1 <= rows <= 64
    assert rows == 64 or 2 * needed > memory.EVALUATION_BYTES
    assert rows == 1 or needed <= memory.EVALUATION_BYTES


def test_an_estimate_refuses_no_run_that_may_fit(monkeypatch):
    needed = memory.predict(BASE, V)
    monkeypatch.setattr(memory, "ram", lambda: Ram(int(needed / 1.4), None))
    memory.check(BASE, V, "serial")
    monkeypatch.setattr(memory, "ram", lambda: Ram(int(needed / 1.6), None))
    with pytest.raises(InputError, match="memory: "):
        memory.check(BASE, V, "serial")


def test_state_is_counted_exactly():
    for config in (BASE, SHAPES["muon"]):
        leaves = jax.tree.leaves(train.state_shapes(config, V))
        exact = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves if leaf.ndim)
        assert memory.breakdown(config, V).state == exact


def test_what_each_way_of_computing_saves():
    plain = memory.breakdown(BASE, V)
    spread = memory.breakdown(BASE, V, "mesh", how=Execution(MeshShape(data=4)))
    assert (spread.state, spread.activations) == (plain.state, plain.activations // 4)
    whole = memory.breakdown(BASE, V, "mesh", how=Execution(MeshShape(fsdp=4)))
    params = accounting.count_params(BASE.model, V)
    assert whole.state == 12 * ((params.total - params.vectors) // 4 + params.vectors)
    assert memory.breakdown(BASE, V, "vmap", devices=1, runs=8).state == 8 * plain.state
    again = Execution(remat=True)
    kept, computed = (memory.breakdown(BASE, V, how=h, platform="gpu") for h in (Execution(), again))
    assert computed.training < 0.6 * kept.training
    assert memory.breakdown(BASE, V, how=again).training == plain.training, "the compiler for CPUs undoes it"
    assert memory.predict(BASE, V, how=Execution(accumulate=4)) < plain.total


def test_a_run_that_cannot_fit_is_refused_before_it_is_compiled(synthetic, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "ram", lambda: Ram(10**6, None))
    config = replace(BASE, data=synthetic.config)
    with pytest.raises(InputError) as refused:
        loop.run([Job(config, "x", RunFolder(tmp_path / "x"))], synthetic)
    (line,) = refused.value.problems
    assert line.startswith("memory: 0.0")
    assert "lower the batch" in line
    assert not (tmp_path / "x").exists()


def test_the_refusal_can_be_ignored(monkeypatch):
    monkeypatch.setattr(memory, "ram", lambda: Ram(10**6, None))
    with pytest.raises(InputError, match="--memory ignore tries it all the same"):
        memory.check(BASE, V, "serial")
    memory.check(BASE, V, "serial", how=Execution(memory="ignore"))


def test_free_memory_of_a_device():
    told = SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 100, "bytes_in_use": 30})
    assert memory.available(told) == 70
    assert memory.available(SimpleNamespace(platform="tpu", memory_stats=lambda: None)) is None
    alone = memory.available(jax.local_devices()[0])
    assert alone > 10**6
    assert memory.available(jax.local_devices()[0], sharing=2) == pytest.approx(alone / 2, rel=0.2)


LARGE = RunConfig(
    tokens=10**10,
    model=ModelConfig(width=2048, layers=24, heads=16),
    data=DataConfig(source="synthetic", context=2048),
    batch=256,
    precision="bfloat16",
)


def test_predicted_time_by_hand_without_communication():
    found = chips.predict(LARGE, 32_000, "h100", Execution())
    products = 3 * accounting.forward_flops(LARGE.model, 32_000, 2048, causal=False) * 256 * 2048
    assert found.products_s == pytest.approx(products / (0.4 * 989e12))
    assert found.communication_s == 0
    assert found.tokens_per_s == pytest.approx(256 * 2048 / found.step_s)
    assert found.hours == pytest.approx(found.step_s * LARGE.steps / 3600)
    assert not found.fits  # 1.3 billion parameters and a batch of half a million tokens


def test_predicted_communication_of_each_axis_by_hand():
    n = accounting.count_params(LARGE.model, 32_000).total
    link = chips.CHIPS["h100"].link
    seconds = {
        axis: chips.predict(LARGE, 32_000, "h100", Execution(MeshShape(**{axis: 8}))).communication_s * link
        for axis in ("data", "fsdp", "tensor")
    }
    assert seconds["data"] == pytest.approx(2 * 4 * n * 7 / 8)
    assert seconds["fsdp"] == pytest.approx((2 * 2 + 4) * n * 7 / 8)
    assert seconds["tensor"] == pytest.approx(24 * 4 * 2 * (256 * 2048 * 2048 * 2) * 7 / 8)
    small = Execution(MeshShape(fsdp=8), accumulate=8, remat=True)
    assert chips.predict(LARGE, 32_000, "h100", small).fits


def test_a_chip_without_figures():
    with pytest.raises(InputError, match="did you mean h100"):
        chips.find("h10")


def test_a_machine_tells_its_memory_also_where_linux_does_not(monkeypatch):
    free, total = ram()
    assert 0 < free <= total
    monkeypatch.setattr(Path, "read_text", lambda path: "MemTotal: 5 kB\n")
    told = ram()
    assert told.free == told.total > total / 2
