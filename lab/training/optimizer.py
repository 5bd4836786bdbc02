"""AdamW and Muon as pure functions of traced numbers, with the factors of the parametrisation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from lab.config import ModelConfig
from lab.model.parametrization import Scales, is_matrix, is_stack, scales
from lab.training.schedule import Hyper, hyper, learning_rate

__all__ = ["Hyper", "MuonMoments", "hyper", "init", "learning_rate", "update", "update_ratio"]

_ADAM_RMS = 0.2  # what Adam's updates typically have; Muon's are brought to it (2502.16982, section 2.2)


class MuonMoments(NamedTuple):
    """State of Muon. Being another type than AdamW's, it says by itself which rule a run follows."""

    count: jax.Array  # int32: the step
    mu: dict  # first moments of all parameters
    nu: dict  # second moments of those that Adam updates; matrices are missing
    ratio: jax.Array  # update-to-weight ratio of the last step, which moments cannot tell afterwards


Moments = optax.ScaleByAdamState | MuonMoments


def init(params: dict, algorithm: str) -> Moments:
    """Zero moments. Each from its own zeros: one buffer donated under two names ends in a crash."""

    def zeros():
        return jax.tree.map(jnp.zeros_like, params)

    if algorithm == "adamw":
        return optax.ScaleByAdamState(jnp.int32(0), zeros(), zeros())
    nu = {path: jnp.zeros_like(p) for path, p in _flat(params) if not is_matrix(path, p.ndim)}
    return MuonMoments(jnp.int32(0), zeros(), _nested(nu), jnp.float32(0))


def update(grads: dict, moments: Moments, params: dict, h: Hyper, model: ModelConfig):
    """One step of AdamW (1711.05101) or Muon: clipped gradients, decay decoupled from the moments.

    Returns:
        params, moments, and the global norm of the gradients before clipping.
    """
    norm = optax.tree.norm(grads)
    clip = jnp.minimum(1.0, h.clip / jnp.maximum(norm, 1e-12))
    grads = jax.tree.map(lambda g: g * clip, grads)
    if isinstance(moments, MuonMoments):
        params, moments = _muon(grads, moments, params, h, model)
    else:
        params, moments = _adamw(grads, moments, params, h, model)
    return params, moments, norm


def _adamw(grads, moments, params, h, model):
    mu = jax.tree.map(lambda g, m: (1 - h.beta1) * g + h.beta1 * m, grads, moments.mu)
    nu = jax.tree.map(lambda g, v: (1 - h.beta2) * g**2 + h.beta2 * v, grads, moments.nu)
    count = moments.count + 1
    rate = learning_rate(moments.count, h)

    def one(path, p, m, v):
        s = scales(model, path, p.ndim)
        return _decayed(path, p, _adam(m, v, count, h, s), rate, h, s)

    return _map(one, params, mu, nu), optax.ScaleByAdamState(count, mu, nu)


def _muon(grads, moments, params, h, model):
    """Orthogonalised momentum for matrices (Jordan 2024; 2502.16982, equation 4); Adam for the rest."""
    count, rate = moments.count + 1, learning_rate(moments.count, h)
    flat_g, flat_p = _flat(grads), dict(_flat(params))
    flat_m, flat_v = dict(_flat(moments.mu)), dict(_flat(moments.nu))
    rule = scale_by_muon(beta=h.momentum, weight_dimension_numbers=lambda tree: {k: _axes(k) for k in tree})
    stacked = {path: _split(path, g) for path, g in flat_g if is_matrix(path, g.ndim)}
    state = rule.init(stacked)._replace(
        count=moments.count, mu={path: _split(path, flat_m[path]) for path in stacked}
    )
    directions, state = rule.update(stacked, state)
    mu, nu, new = {}, {}, {}
    update_2 = weight_2 = 0.0
    for path, g in flat_g:
        p = flat_p[path]
        s = scales(model, path, p.ndim, muon=True)
        if path in stacked:
            mu[path] = state.mu[path].reshape(p.shape)
            longest = max(p.shape[-2], p.shape[-1] // _parts(path))
            d = _ADAM_RMS * longest**0.5 * directions[path].reshape(p.shape)
        else:
            mu[path] = (1 - h.beta1) * g + h.beta1 * flat_m[path]
            nu[path] = (1 - h.beta2) * g**2 + h.beta2 * flat_v[path]
            d = _adam(mu[path], nu[path], count, h, s)
        new[path] = _decayed(path, p, d, rate, h, s)
        if path in stacked:
            update_2 += jnp.sum((new[path] - p) ** 2)
            weight_2 += jnp.sum(p**2)
    ratio = jnp.sqrt(update_2 / weight_2)
    return _nested(new), MuonMoments(count, _nested(mu), _nested(nu), ratio)


def update_ratio(moments: Moments, params: dict, h: Hyper, model: ModelConfig) -> jax.Array:
    """RMS(update) / RMS(weights before it) over attention and MLP matrices, of the step that led here.

    From the state after the step, so that it need not be computed in each: AdamW's update is a function of
    the new moments, and the weights before it follow from p' = p - r (d + lambda p).
    """
    if isinstance(moments, MuonMoments):
        return moments.ratio
    rate = learning_rate(moments.count - 1, h)
    mu, nu = dict(_flat(moments.mu)), dict(_flat(moments.nu))
    update_2 = weight_2 = 0.0
    for path, after in _flat(params):
        if is_matrix(path, after.ndim):
            s = scales(model, path, after.ndim)
            r = rate * s.rate
            d = _adam(mu[path], nu[path], moments.count, h, s)
            decay = h.weight_decay * s.decay
            before = (after + r * d) / (1 - r * decay)
            update_2 += jnp.sum((r * (d + decay * before)) ** 2)
            weight_2 += jnp.sum(before**2)
    return jnp.sqrt(update_2 / weight_2)


def _adam(m, v, count, h: Hyper, s: Scales):
    m_hat, v_hat = m / (1 - h.beta1**count), v / (1 - h.beta2**count)
    return m_hat / (jnp.sqrt(v_hat) + h.eps * s.eps)


def _decayed(path, p, d, rate, h: Hyper, s: Scales):
    decay = h.weight_decay * s.decay
    if path[0] in ("embed", "head"):
        decay = decay * (h.decay_embedding if path[0] == "embed" else h.decay_head)
    return p - rate * s.rate * (d + decay * p)


def _parts(path) -> int:
    return 3 if path[-2:] == ("qkv", "kernel") else 1  # queries, keys and values are matrices of their own


def _split(path, a):
    return a.reshape(*a.shape[:-1], 3, -1) if _parts(path) == 3 else a


def _axes(path) -> MuonDimensionNumbers:
    """Kernels are (in, out); what is split has its parts between, what is stacked its layers before."""
    first = int(is_stack(path))
    return MuonDimensionNumbers(reduction_axis=first, output_axis=first + (2 if _parts(path) == 3 else 1))


def _flat(tree) -> list:
    return [
        (tuple(str(key.key) for key in path), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _nested(flat: dict) -> dict:
    tree: dict = {}
    for path, leaf in flat.items():
        at = tree
        for key in path[:-1]:
            at = at.setdefault(key, {})
        at[path[-1]] = leaf
    return tree


def _map(function, tree, *rest):
    return jax.tree_util.tree_map_with_path(
        lambda path, *leaves: function(tuple(str(key.key) for key in path), *leaves), tree, *rest
    )
