"""The matrix products of a training step, and the time that they alone would take.

They are read from the program itself: every ``dot_general`` of the gradient of the loss, with its shapes
and contracted axes, and how often it occurs. So forward, input-gradient and weight-gradient products count as
they are executed, those of attention included.
"""

import time
from collections import Counter
from dataclasses import dataclass
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from lab.config import RunConfig
from lab.model import decoder
from lab.training import train

_SECONDS = 2e-3  # of work in one call, so that dispatch does not show


@dataclass(frozen=True)
class Product:
    """A ``dot_general``: shapes of both operands, and its dimension numbers as in jax.lax."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    dimensions: tuple

    @property
    def flops(self) -> int:
        (_, contracted_right), (_, batch_right) = self.dimensions
        free = [n for i, n in enumerate(self.right) if i not in (*contracted_right, *batch_right)]
        return 2 * prod(self.left) * prod(free)

    @property
    def out(self) -> tuple[int, ...]:
        shapes = (jax.ShapeDtypeStruct(s, jnp.float32) for s in (self.left, self.right))
        return jax.eval_shape(lambda a, b: jax.lax.dot_general(a, b, self.dimensions), *shapes).shape


def of_step(config: RunConfig, vocab: int) -> Counter[Product]:
    """Products of one training step, with their counts."""

    def loss(params, tokens_BxT):
        logits_BxTxV = decoder.apply(params, tokens_BxT, config.model, vocab)
        return train.nats_of_logits(logits_BxTxV, tokens_BxT)[0].sum()

    params = train.state_shapes(config, vocab).params
    tokens_BxT = jax.ShapeDtypeStruct((config.batch, config.data.context), jnp.int32)
    found: Counter[Product] = Counter()
    _collect(jax.make_jaxpr(jax.grad(loss))(params, tokens_BxT).jaxpr, found)
    return found


def _collect(jaxpr, found: Counter) -> None:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            left, right = (v.aval.shape for v in equation.invars)
            dimensions = equation.params["dimension_numbers"]
            plain = tuple(tuple(tuple(map(int, axes)) for axes in pair) for pair in dimensions)
            found[Product(left, right, plain)] += 1
        for inner in jaxprs_in_params(equation.params):
            _collect(getattr(inner, "jaxpr", inner), found)


class Timer:
    """Measures all products of a step, one kind after the other."""

    def __init__(self, products: Counter[Product]):
        self.products = products
        self.flops = sum(p.flops * n for p, n in products.items())
        self._programs = {product: _program(product) for product in products}

    def seconds(self, rounds: int = 5) -> float:
        """Time that the products of one step take, each at the median of its measured rates."""
        total = 0.0
        for product, count in self.products.items():
            call, copies = self._programs[product]
            total += count * float(np.median([call() for _ in range(rounds)])) / copies
        return total


def of_libraries(size: int = 1024, rounds: int = 5) -> dict[str, float]:
    """FLOP/s of one large square product by each library at hand: the best is what this machine can do."""
    random = np.random.default_rng(0)
    left, right = (random.normal(size=(size, size)).astype(np.float32) for _ in "ab")
    there = jax.device_put((left, right))
    multiply = jax.jit(jnp.matmul)
    calls = {"XLA": lambda: jax.block_until_ready(multiply(*there)), "NumPy": lambda: left @ right}
    rates = {}
    for name, call in calls.items():
        call()  # compiled, and its threads started
        took = []
        for _ in range(rounds):
            started = time.perf_counter()
            call()
            took.append(time.perf_counter() - started)
        rates[name] = 2 * size**3 / min(took)
    return rates


def _program(product: Product):
    """A function that measures ``copies`` equal products on different numbers, and ``copies``."""
    copies = min(64, max(1, round(_SECONDS * 100e9 / product.flops)))
    random = np.random.default_rng(0)
    left, right = (
        jax.device_put([random.standard_normal(shape, np.float32) for _ in range(copies)])
        for shape in (product.left, product.right)
    )

    def multiply(left, right, out):
        return [jax.lax.dot_general(a, b, product.dimensions) for a, b in zip(left, right, strict=True)]

    # results take the place of the last ones: fresh memory would be most of the time
    program = jax.jit(multiply, donate_argnums=2, keep_unused=True)
    empty = jax.device_put([np.zeros(product.out, np.float32) for _ in range(copies)])
    held = [jax.block_until_ready(program(left, right, empty))]

    def call() -> float:
        started = time.perf_counter()
        held[0] = jax.block_until_ready(program(left, right, held[0]))
        return time.perf_counter() - started

    return call, copies
