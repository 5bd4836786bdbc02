"""The pure training step, and many of them in one call."""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lab.config import ModelConfig, RunConfig
from lab.model import decoder, drawn
from lab.training import optimizer


class State(NamedTuple):
    """All that training carries from step to step; the step number also is the state of the data."""

    params: dict
    moments: optimizer.Moments  # of AdamW or Muon; count is the step

    @property
    def step(self) -> jax.Array:
        return self.moments.count


class Metrics(NamedTuple):
    """Records of one call: of each step, shape (K,), and, where they cost a pass, of its last, shape ()."""

    loss_nats: jax.Array  # (K,) mean over scored tokens, without the z-loss
    grad_norm: jax.Array  # (K,) before clipping
    max_logit: jax.Array  # () largest absolute logit
    update_ratio: jax.Array  # () RMS of the update over that of the weights, attention and MLP matrices


def initial_state(config: RunConfig, vocab: int) -> State:
    """Fresh parameters and zero moments: a function of the shape and ``config.seed``."""
    if jax.default_backend() != "cpu":
        return _initial(config.model, config.optimizer.algorithm, vocab)(np.uint32(config.seed))
    empty = state_shapes(config, vocab).moments
    moments = jax.tree.map(lambda like: np.zeros(like.shape, like.dtype), empty)
    return State(drawn.params(config.seed, config.model, vocab), moments)


def state_shapes(config: RunConfig, vocab: int) -> State:
    """Shapes and types of :func:`initial_state`, without computing it."""
    return _shapes(config.model, config.optimizer.algorithm, vocab)


@cache
def _shapes(model: ModelConfig, algorithm: str, vocab: int) -> State:
    params, _ = drawn.described(model, vocab)
    return State(params, jax.eval_shape(partial(optimizer.init, algorithm=algorithm), params))


def initial(seed, model: ModelConfig, algorithm: str, vocab: int) -> State:
    """:func:`initial_state` as part of another program; the seed may be traced."""
    params = decoder.init(jax.random.key(seed), model, vocab)
    return State(params, optimizer.init(params, algorithm))


@cache
def _initial(model: ModelConfig, algorithm: str, vocab: int):
    return jax.jit(partial(initial, model=model, algorithm=algorithm, vocab=vocab))


def nats_of_logits(logits_BxTxV, targets_BxT):
    """Cross-entropy of each target, 0 where it is -1 (not scored); and log Z. Both (B, T)."""
    log_z_BxT = jax.nn.logsumexp(logits_BxTxV, axis=-1)
    # a masked sum, not a gather: its gradient is elementwise instead of a scatter
    gold_BxTxV = targets_BxT[..., None] == jnp.arange(logits_BxTxV.shape[-1])
    gold_BxT = jnp.sum(jnp.where(gold_BxTxV, logits_BxTxV, 0.0), axis=-1)
    return jnp.where(targets_BxT >= 0, log_z_BxT - gold_BxT, 0.0), log_z_BxT


def chunk(
    state: State,
    inputs_KxBxT,
    targets_KxBxT,
    n,
    h: optimizer.Hyper,
    *,
    model,
    precision,
    vocab,
    accumulate=1,
    **how,
):
    """Up to K steps in one program: the first ``n`` (traced) batches are taken.

    Args:
        accumulate: parts into which each batch is cut; their gradients are summed before the update.
        how: for :func:`lab.model.decoder.apply`.

    Returns:
        the state after ``n`` steps and :class:`Metrics` of K entries, of which n are filled.
    """

    def loss(params, inputs_BxT, targets_BxT, count, last):
        logits_BxTxV = decoder.apply(params, inputs_BxT, model, vocab, jnp.dtype(precision), **how)
        nats_BxT, log_z_BxT = nats_of_logits(logits_BxTxV, targets_BxT)
        scored_BxT = targets_BxT >= 0
        nats = nats_BxT.sum() / count
        z = jnp.where(scored_BxT, log_z_BxT**2, 0.0).sum() / count
        logits_BxTxV = jax.lax.stop_gradient(logits_BxTxV)
        largest = jax.lax.cond(last, lambda: jnp.abs(logits_BxTxV).max(), lambda: jnp.float32(0))
        return nats + h.z_loss * z, (nats, largest)

    def gradients(params, inputs_BxT, targets_BxT, last):
        count = jnp.maximum((targets_BxT >= 0).sum(), 1)  # of the whole batch, not of its parts
        of_part = jax.grad(loss, has_aux=True)
        if accumulate == 1:
            return of_part(params, inputs_BxT, targets_BxT, count, last)
        # part a takes sequences a, a + A, ...: of contiguous parts, devices that share a batch would hold few
        parts = tuple(a.reshape(-1, accumulate, a.shape[1]).swapaxes(0, 1) for a in (inputs_BxT, targets_BxT))

        def add(sums, part):
            grads, (nats, largest) = of_part(params, *part, count, last)
            return (
                jax.tree.map(jnp.add, sums[0], grads),
                (sums[1][0] + nats, jnp.maximum(sums[1][1], largest)),
            ), None

        nothing = jax.tree.map(jnp.zeros_like, params), (jnp.float32(0), jnp.float32(0))
        return jax.lax.scan(add, nothing, parts)[0]

    def one(i, carry):
        state, metrics = carry
        grads, (nats, largest) = gradients(state.params, inputs_KxBxT[i], targets_KxBxT[i], i == n - 1)
        params, moments, norm = optimizer.update(grads, state.moments, state.params, h, model)
        losses, norms = metrics.loss_nats.at[i].set(nats), metrics.grad_norm.at[i].set(norm)
        return State(params, moments), metrics._replace(loss_nats=losses, grad_norm=norms, max_logit=largest)

    empty = jnp.full(inputs_KxBxT.shape[0], jnp.nan)
    nothing = Metrics(empty, empty + 0, jnp.float32(jnp.nan), jnp.float32(jnp.nan))
    state, metrics = jax.lax.fori_loop(0, n, one, (state, nothing))
    ratio = optimizer.update_ratio(state.moments, state.params, h, model)
    return state, metrics._replace(update_ratio=ratio)
