"""Initial parameters on a CPU, drawn in blocks by one small program, whatever the shape of the model.

As part of a program of each shape, the draws of all its parameters take seconds to compile. Random bits
depend on a key and a place in the array, so a block of them is the same array's, to the bit.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32

from lab.config import ModelConfig
from lab.model import decoder

_BLOCK = 2**14  # values a call
# Stated, so that the same seed gives the same bits whatever level other programs are compiled at.
COMPILED = {"xla_backend_optimization_level": 2}


def params(seed: int, config: ModelConfig, vocab: int) -> dict:
    """What :func:`lab.model.decoder.init` gives at the same level of compiling, to the bit; host arrays."""
    shapes, stds = described(config, vocab)
    root = jax.random.key(seed)

    def one(path, like):
        path = tuple(key.key for key in path)
        if path not in stds:
            return np.ones(like.shape, like.dtype)
        key_2 = jax.random.key_data(decoder.key_of(root, path))
        return _normal(key_2, like.size, stds[path]).reshape(like.shape)

    return jax.tree_util.tree_map_with_path(one, shapes)


@cache  # a trace of the whole initialisation, asked for at every checkpoint that is read
def described(config: ModelConfig, vocab: int):
    return decoder.described(config, vocab)


def _normal(key_2, size: int, std: float) -> np.ndarray:
    # the compiler joins the two constant factors of a draw; it does so in float32
    factor = np.float32(np.sqrt(2)) * np.float32(std)
    starts = range(0, size, _BLOCK)
    # all are under way before the first is waited for
    blocks = [_program()(key_2, np.uint32(start), factor) for start in starts]
    return np.concatenate([np.asarray(block) for block in blocks])[:size]


@cache
def _program():
    return jax.jit(partial(_block, size=_BLOCK), compiler_options=COMPILED)


def _block(key_2, start, factor, size: int):
    """``size`` values from ``start`` on of ``jax.random.normal(key, shape) * std``, row after row."""
    places = start + jnp.arange(size, dtype=jnp.uint32)
    high, low = jnp.split(threefry_2x32(key_2, jnp.concatenate([jnp.zeros_like(places), places])), 2)
    # as jax.random.uniform: 23 bits are a fraction in [1, 2)
    bits = ((high ^ low) >> 9) | np.float32(1).view(np.uint32)
    fraction = jax.lax.bitcast_convert_type(bits.astype(jnp.uint32), jnp.float32) - 1
    least = np.nextafter(np.float32(-1), np.float32(0))
    return jax.lax.erf_inv(jnp.maximum(least, fraction * (1 - least) + least)) * factor
