"""Activations and cached keys and values as an integer format would hold them: simulated, in float32.

Levels are traced, so that one program serves every number of bits.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Rounding(NamedTuple):
    """Largest integer of each format, as :func:`levels` gives it; 0: left as it is."""

    activations: jax.Array | float = 0.0  # what goes into each product of a layer, a scale a position
    cache: jax.Array | float = 0.0  # keys and values, a scale a position and head


def levels(bits: int) -> float:
    """Largest integer of a symmetric format: 1, 3, 7, ... 127 for 2, 3, 4, ... 8 bits; 0 for no bits."""
    return float(2 ** (bits - 1) - 1) if bits else 0.0


def rounded(x: jax.Array, top: jax.Array | float) -> jax.Array:
    """The nearest multiples of max |x| / top, the maximum over the last axis; x itself where top is 0."""
    largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True)
    step = jnp.where(largest > 0, largest, 1) / jnp.maximum(top, 1)
    return jnp.where(top > 0, jnp.round(x / step) * step, x).astype(x.dtype)
