"""Sampling with a key-value cache, until ``<end>``.

A token costs the same wherever it stands: the cache holds the window, and is written in place by the loop.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from lab.config import ModelConfig, Sampling
from lab.model import decoder, layers
from lab.model.rounding import Rounding
from lab.training import mesh as meshes

_BLOCK = 16  # positions of the prompts at once; lengths are rounded up to it, for fewer programs


def generate(
    params,
    prompts: list[list[int]],
    config: ModelConfig,
    vocab: int,
    end: int,
    window: int,
    max_new: int,
    sampling: Sampling | None = None,
    seed: int = 0,
    rounding: Rounding | None = None,
) -> list[list[int]]:
    """Continuations of token prompts of any lengths, each up to ``max_new`` tokens or ``<end>``.

    Args:
        end: the token that ends a document; it is not returned.
        window: positions each token sees back, the trained context.
        params: of a mesh, too; then all processes must call it together.

    Returns:
        the new tokens of each prompt.
    """
    if not all(prompts):
        raise ValueError("a prompt needs at least one token, <start> for an empty text")
    sampling = sampling or Sampling()
    lengths_B = np.array([len(p) for p in prompts], np.int32)
    S = -(-(int(lengths_B.max()) + max_new) // _BLOCK) * _BLOCK
    tokens_BxS = np.full((len(prompts), S), end, np.int32)
    for row, prompt in zip(tokens_BxS, prompts, strict=True):
        row[: len(prompt)] = prompt
    mesh = meshes.of(params)
    program = _program(config, vocab, end, window, sampling.top_k, sampling.temperature == 0, mesh)
    given = (
        tokens_BxS,
        lengths_B,
        np.int32((lengths_B.min() - 1) // _BLOCK),
        np.int32(max_new),
        np.uint32(seed),
        np.float32(sampling.temperature),
        np.float32(sampling.top_p),
    )
    given = given if mesh is None else meshes.put_same(given, mesh)
    tokens_BxS = np.asarray(program(params, *given, rounding))
    out = []
    for row, length in zip(tokens_BxS, lengths_B, strict=True):
        new = row[length : length + max_new].tolist()
        out.append(new[: new.index(end)] if end in new else new)
    return out


@cache
def _program(config, vocab, end, window, top_k, greedy, mesh=None):
    def fill(params, tokens_BxS, lengths_B, blocks, max_new, seed, temperature, top_p, rounding=None):
        B, S = tokens_BxS.shape
        key, params = jax.random.key(seed), layers.apart(params)

        def read(i, cache):
            # what all prompts have: a block of positions at once, and nothing is drawn
            block_BxT = jax.lax.dynamic_slice_in_dim(tokens_BxS, i * _BLOCK, _BLOCK, axis=1)
            return decoder.apply_cached(params, block_BxT, cache, config, vocab, window, rounding)[1]

        def unfinished(carry):
            t, _, _, ended_B = carry
            return (t + 1 < S) & ~ended_B.all()

        def advance(carry):
            # one position of all rows: prompts of different lengths need no padding rules
            t, tokens_BxS, cache, ended_B = carry
            column_Bx1 = jax.lax.dynamic_slice_in_dim(tokens_BxS, t, 1, axis=1)
            seen = cache, config, vocab, window, rounding
            logits_Bx1xV, cache = decoder.apply_cached(params, column_Bx1, *seen)
            drawn_B = _draw(logits_Bx1xV[:, 0], jax.random.fold_in(key, t), temperature, top_k, top_p, greedy)
            given_B = jax.lax.dynamic_slice_in_dim(tokens_BxS, t + 1, 1, axis=1)[:, 0]
            in_prompt_B = t + 1 < lengths_B
            next_B = jnp.where(in_prompt_B, given_B, jnp.where(ended_B, end, drawn_B))
            ended_B = ended_B | (~in_prompt_B & ((next_B == end) | (t + 2 >= lengths_B + max_new)))
            tokens_BxS = jax.lax.dynamic_update_slice_in_dim(tokens_BxS, next_B[:, None], t + 1, axis=1)
            return t + 1, tokens_BxS, cache, ended_B

        cache = decoder.empty_cache(config, B, min(window, S))
        cache = jax.lax.fori_loop(0, blocks, read, cache)
        start = (blocks * _BLOCK, tokens_BxS, cache, jnp.zeros(B, bool))
        return jax.lax.while_loop(unfinished, advance, start)[1]

    return meshes.over_rows(fill, mesh, donate_argnums=1)


def _draw(logits_BxV, key, temperature, top_k, top_p, greedy):
    if greedy:
        return jnp.argmax(logits_BxV, axis=-1).astype(jnp.int32)
    logits_BxV = logits_BxV / temperature
    sorted_BxV = -jnp.sort(-logits_BxV, axis=-1)
    if top_k:
        logits_BxV = jnp.where(logits_BxV < sorted_BxV[:, top_k - 1 : top_k], -jnp.inf, logits_BxV)
    # nucleus (1904.09751): the smallest set of tokens that holds top_p of the mass
    mass_BxV = jnp.cumsum(jax.nn.softmax(sorted_BxV, axis=-1), axis=-1)
    last_B = jnp.argmax(mass_BxV >= jnp.minimum(top_p, mass_BxV[:, -1:]), axis=-1)
    cut_Bx1 = jnp.take_along_axis(sorted_BxV, last_B[:, None], axis=-1)
    logits_BxV = jnp.where(logits_BxV < cut_Bx1, -jnp.inf, logits_BxV)
    return jax.random.categorical(key, logits_BxV, axis=-1).astype(jnp.int32)
