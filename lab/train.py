"""The pure training step, and many of them in one call."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lab import model as decoder
from lab import optimizer
from lab.config import ModelConfig, RunConfig


class State(NamedTuple):
    """All that training carries from step to step; the step number also is the state of the data."""

    params: dict
    moments: optax.ScaleByAdamState  # count (the step), mu, nu

    @property
    def step(self) -> jax.Array:
        return self.moments.count


class Metrics(NamedTuple):
    """Per-step records, each of shape (K,)."""

    loss_nats: jax.Array  # mean over scored tokens, without the z-loss
    grad_norm: jax.Array  # before clipping


def initial_state(config: RunConfig, vocab: int) -> State:
    """Fresh parameters and zero moments: a function of the shape and ``config.seed``."""
    return _initial(config.model, vocab)(config.seed)


def state_shapes(config: RunConfig, vocab: int) -> State:
    """Shapes and types of :func:`initial_state`, without computing it."""
    return jax.eval_shape(_initial(config.model, vocab), config.seed)


@cache
def _initial(model: ModelConfig, vocab: int):
    def initial(seed):
        params = decoder.init(jax.random.key(seed), model, vocab)
        # each moment from its own zeros: one buffer donated under two names ends in a crash
        zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
        return State(params, optax.ScaleByAdamState(jnp.int32(0), *zeros))

    return jax.jit(initial)


def nats_of_logits(logits_BxTxV, targets_BxT):
    """Cross-entropy of each target, 0 where it is -1 (not scored); and log Z. Both (B, T)."""
    log_z_BxT = jax.nn.logsumexp(logits_BxTxV, axis=-1)
    # a masked sum, not a gather: its gradient is elementwise instead of a scatter
    gold_BxTxV = targets_BxT[..., None] == jnp.arange(logits_BxTxV.shape[-1])
    gold_BxT = jnp.sum(jnp.where(gold_BxTxV, logits_BxTxV, 0.0), axis=-1)
    return jnp.where(targets_BxT >= 0, log_z_BxT - gold_BxT, 0.0), log_z_BxT


def chunk(
    state: State, inputs_KxBxT, targets_KxBxT, n, h: optimizer.Hyper, *, model, precision, vocab, axis=None
):
    """Up to K steps in one program: the first ``n`` (traced) batches are taken.

    Args:
        axis: name of a mapped axis over which the sequences of each batch are spread; gradients and counts
            are summed over it (data parallelism).

    Returns:
        the state after ``n`` steps and :class:`Metrics` of K entries, of which n are filled.
    """

    def total(x):
        return x if axis is None else jax.lax.psum(x, axis)

    def loss(params, inputs_BxT, targets_BxT):
        logits_BxTxV = decoder.apply(params, inputs_BxT, model, vocab, jnp.dtype(precision))
        nats_BxT, log_z_BxT = nats_of_logits(logits_BxTxV, targets_BxT)
        scored_BxT = targets_BxT >= 0
        count = jnp.maximum(total(scored_BxT.sum()), 1)
        nats = nats_BxT.sum() / count
        z = jnp.where(scored_BxT, log_z_BxT**2, 0.0).sum() / count
        return nats + h.z_loss * z, nats

    def one(i, carry):
        state, metrics = carry
        grads, nats = jax.grad(loss, has_aux=True)(state.params, inputs_KxBxT[i], targets_KxBxT[i])
        params, moments, norm = optimizer.update(total(grads), state.moments, state.params, h)
        metrics = Metrics(metrics.loss_nats.at[i].set(total(nats)), metrics.grad_norm.at[i].set(norm))
        return State(params, moments), metrics

    empty = jnp.full(inputs_KxBxT.shape[0], jnp.nan)
    return jax.lax.fori_loop(0, n, one, (state, Metrics(empty, empty + 0)))
