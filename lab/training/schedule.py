"""The learning rate as a function of the step, and all numbers of a run that are traced."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lab.config import RunConfig

_NEVER = 2**30  # a step no run reaches
_SHAPES = ("sqrt", "cosine", "linear")


class Hyper(NamedTuple):
    """Hyperparameters of one run as arrays (float32 and int32 scalars).

    Being traced, they share a compiled program: one for all rates, horizons and schedules of a shape.
    """

    learning_rate: jax.Array
    warmup: jax.Array  # steps
    hold: jax.Array  # first step of the fall
    steps: jax.Array
    final_fraction: jax.Array
    shape: jax.Array  # of the fall: index into sqrt, cosine, linear
    weight_decay: jax.Array
    decay_embedding: jax.Array  # 1: the input table is decayed as other matrices are; 0: not at all
    decay_head: jax.Array
    beta1: jax.Array
    beta2: jax.Array
    momentum: jax.Array
    eps: jax.Array
    clip: jax.Array
    z_loss: jax.Array


def hyper(config: RunConfig, trunk: bool = False) -> Hyper:
    """The traced numbers of ``config``; for its trunk, the horizon is out of reach."""
    o = config.optimizer
    shape = o.cooldown_shape if o.schedule == "wsd" else o.schedule
    return Hyper(
        learning_rate=jnp.float32(o.learning_rate),
        warmup=jnp.int32(config.warmup_steps),
        hold=jnp.int32(_NEVER if trunk else config.hold_steps),
        steps=jnp.int32(_NEVER + 1 if trunk else config.steps),
        final_fraction=jnp.float32(o.final_fraction),
        shape=jnp.int32(_SHAPES.index(shape)),
        weight_decay=jnp.float32(config.weight_decay),
        decay_embedding=jnp.float32(o.decayed == "all"),
        decay_head=jnp.float32(o.decayed != "hidden"),
        beta1=jnp.float32(o.beta1),
        beta2=jnp.float32(o.beta2),
        momentum=jnp.float32(o.momentum),
        eps=jnp.float32(o.eps),
        clip=jnp.float32(o.clip),
        z_loss=jnp.float32(o.z_loss),
    )


def learning_rate(step: jax.Array, h: Hyper) -> jax.Array:
    """Rate of the update that leads from ``step`` to ``step + 1``.

    Warmup is linear; then either constant with a cooldown, 1 - sqrt (2405.18392, section 3) or straight, or a
    half cosine (2203.15556), or straight to the end (2502.15938). Up to ``hold`` the factor of the fall is
    exactly 1, so a trunk and a straight run agree to the bit.
    """
    warm = jnp.minimum(1.0, (step + 1) / jnp.maximum(h.warmup, 1))
    done = jnp.clip((step - h.hold) / jnp.maximum(h.steps - h.hold, 1), 0.0, 1.0)
    cosine = 0.5 * (1 + jnp.cos(jnp.pi * done))
    fall = jnp.where(h.shape == 1, cosine, 1 - jnp.where(h.shape == 0, jnp.sqrt(done), done))
    return h.learning_rate * warm * (h.final_fraction + (1 - h.final_fraction) * fall)
