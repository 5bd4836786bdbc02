"""AdamW and its schedule as pure functions of traced numbers.

Everything a sweep varies (rate, horizon, decay, betas) is a traced argument: one compiled program serves all
learning rates and token budgets of a shape.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lab.config import RunConfig

_NEVER = 2**30  # a step no run reaches


class Hyper(NamedTuple):
    """Hyperparameters of one run as arrays (float32 and int32 scalars)."""

    learning_rate: jax.Array
    warmup: jax.Array  # steps
    hold: jax.Array  # first step of the cooldown
    steps: jax.Array
    final_fraction: jax.Array
    cosine: jax.Array  # 1 for the cosine schedule, 0 for warmup-stable-decay
    weight_decay: jax.Array
    beta1: jax.Array
    beta2: jax.Array
    eps: jax.Array
    clip: jax.Array
    z_loss: jax.Array


def hyper(config: RunConfig, trunk: bool = False) -> Hyper:
    """The traced numbers of ``config``; for its trunk, the horizon is out of reach."""
    o = config.optimizer
    return Hyper(
        learning_rate=jnp.float32(o.learning_rate),
        warmup=jnp.int32(config.warmup_steps),
        hold=jnp.int32(_NEVER if trunk else config.hold_steps),
        steps=jnp.int32(_NEVER + 1 if trunk else config.steps),
        final_fraction=jnp.float32(o.final_fraction),
        cosine=jnp.int32(o.schedule == "cosine"),
        weight_decay=jnp.float32(o.weight_decay),
        beta1=jnp.float32(o.beta1),
        beta2=jnp.float32(o.beta2),
        eps=jnp.float32(o.eps),
        clip=jnp.float32(o.clip),
        z_loss=jnp.float32(o.z_loss),
    )


def learning_rate(step: jax.Array, h: Hyper) -> jax.Array:
    """Rate of the update that leads from ``step`` to ``step + 1``.

    Warmup is linear; then either constant with a 1 - sqrt cooldown (2405.18392, section 3) or a half cosine
    (2203.15556). Up to ``hold`` the factor of the cooldown is exactly 1, so a trunk and a straight run agree
    to the bit.
    """
    warm = jnp.minimum(1.0, (step + 1) / jnp.maximum(h.warmup, 1))
    done = jnp.clip((step - h.hold) / jnp.maximum(h.steps - h.hold, 1), 0.0, 1.0)
    fall = jnp.where(h.cosine == 1, 0.5 * (1 + jnp.cos(jnp.pi * done)), 1 - jnp.sqrt(done))
    return h.learning_rate * warm * (h.final_fraction + (1 - h.final_fraction) * fall)


def adam(h: Hyper) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=h.beta1, b2=h.beta2, eps=h.eps)


def update(grads: dict, moments: optax.ScaleByAdamState, params: dict, h: Hyper):
    """One AdamW step (1711.05101): clipped gradients, decay of matrices decoupled from the moments.

    Returns:
        params, moments, and the global norm of the gradients before clipping.
    """
    norm = optax.tree.norm(grads)
    scale = jnp.minimum(1.0, h.clip / jnp.maximum(norm, 1e-12))
    direction, moments = adam(h).update(jax.tree.map(lambda g: g * scale, grads), moments)
    rate = learning_rate(moments.count - 1, h)
    params = jax.tree.map(
        # vectors (norm scales) are not decayed: they have no reason to be near zero
        lambda p, d: p - rate * (d + h.weight_decay * p * (p.ndim >= 2)),
        params,
        direction,
    )
    return params, moments, norm
